"""stdout and stderr in every encoding and state: missing characters, closed or full pipes."""

from __future__ import annotations

import ast
import errno
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import linfit as package
from linfit import cli
from linfit.system.output import (
    ASCII_STAND_INS,
    ENCODING_ERRORS,
    TolerantStream,
    print_to_stderr,
    replace_character,
    replace_for_encoding,
)
from linfit.views.terminal import tables
from linfit.views.terminal.tables import PlainConsole, format_table
from tests.helpers import started

Linfit = Callable[..., Any]
ROOT = Path(package.__file__).parents[1]
ENCODINGS = ["ascii", "cp1252", "latin-1", "cp437", "utf-16"]
#: A name with letters that few encodings have.
NAME = "Größe ε 😀"


def test_what_an_encoding_lacks_has_a_readable_stand_in() -> None:
    told = {
        "κ": "kappa",
        "²": "^2",
        "½": "1/2",
        "ᵀ": "^T",
        "₁": "1",
        "≤": "<=",
        "é": r"\xe9",
        "😀": r"\U0001f600",
        "\udcff": r"\udcff",
    }
    assert {letter: replace_character(letter) for letter in told} == told
    assert all(
        replace_for_encoding(sign, "ascii") == text for sign, text in ASCII_STAND_INS.items()
    )
    assert (
        replace_for_encoding("1 ≤ κ", "cp437"),
        replace_for_encoding("1 ≤ κ", "cp1252"),
        replace_for_encoding("1 ≤ κ", "utf-8"),
    ) == ("1 ≤ kappa", "1 <= kappa", "1 ≤ κ")


def test_columns_stay_below_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    out = PlainConsole(file=io.TextIOWrapper(raw, "ascii", ENCODING_ERRORS), width=200)
    monkeypatch.setattr(tables, "open_console", lambda: out)
    out.print(format_table({"stable lr ≤": ["0.5", "7"], "κ": ["11", "x"]}, ("stable lr ≤",)))
    out.file.flush()
    lines = raw.getvalue().decode().splitlines()
    assert {
        line.rstrip().find(word) for line, word in zip(lines, ("kappa", "11", "x"), strict=True)
    } == {14}


class Streams:
    """The command line in this process, with streams of an encoding."""

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding

    def __call__(self, *arguments: str) -> tuple[int, bytes, str]:
        out, err = io.BytesIO(), io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                sys,
                "stdout",
                io.TextIOWrapper(out, self.encoding, ENCODING_ERRORS, write_through=True),
            )
            patch.setattr(
                sys,
                "stderr",
                io.TextIOWrapper(err, self.encoding, ENCODING_ERRORS, write_through=True),
            )
            patch.setattr(sys, "argv", ["linfit", *arguments])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            return int(ended.value.code or 0), out.getvalue(), err.getvalue().decode(self.encoding)


@pytest.fixture
def _signals() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.slow
@pytest.mark.usefixtures("_signals")
def test_every_command_prints_in_every_encoding(linfit: Linfit, workdir: Path) -> None:
    assert linfit("run", "-m", f'name="{NAME}"', "seed=0,1", "steps=5", "pictures=false").code == 0
    sweep = package.load("last")
    [run, other] = sweep.table["run_id"]
    commands = {
        "list": "x",
        "list dataset": "parabola",
        "list optimizer/adam": "lr",
        "plan seed=0,1 -m": "kappa",
        f"show {sweep.run_id}": r"Gr\xf6\xdfe epsilon \U0001f600",
        f"show {run}": "exact optimum",
        f"report {sweep.run_id}": "95%",
        f"diff {run} {other}": "verdict",
        f"verify {sweep.run_id} --sample 1": "alone",
        f"reproduce {run} --set tracking=none": "identical",
        "relocate": "nothing to rewrite",
        "run --help": "optimizer",
        "--help": "reproduce",
        "run --help optimizer=adam": "lr",
    }
    for command, word in commands.items():
        code, out, err = Streams("ascii")(*command.split(" "))
        assert code in (0, 1), (command, err)
        assert word in out.decode("ascii"), command
    for encoding in ENCODINGS[1:]:
        for command in ("list", f"show {sweep.run_id}"):
            code, out, err = Streams(encoding)(*command.split(" "))
            assert code == 0 and out.decode(encoding), (encoding, command, err)


@pytest.mark.usefixtures("_signals", "bare")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_an_error_shows_what_was_typed_as_far_as_it_can_be_shown(encoding: str) -> None:
    for typed in ("optimizer=ädäm", "optimizer=😀", "seed=\udcff", "nosuch.ε=1"):
        code, _, err = Streams(encoding)("plan", typed)
        assert (code, len(err.splitlines())) == (2, 1)
        assert replace_for_encoding(typed.split("=")[0], encoding) in err


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_a_program_reads_is_utf_8(encoding: str, bare: Path) -> None:
    (bare / "größe.csv").write_text("x,y\n1,2\n2,3\n3,5\n", encoding="utf-8")
    run = Streams(encoding)
    code, out, err = run(
        "script",
        "dataset=csv",
        'dataset.path="größe.csv"',
        "dataset.features=[x]",
        "dataset.target=y",
        "steps=2",
    )
    assert code == 0, err
    ast.parse(out)
    assert "größe.csv" in out.decode()
    assert json.loads(run("list", "--json")[1])["optimizer"]
    assert json.loads(run("list", "--schema")[1])["properties"]


class Refusing(io.RawIOBase):
    """A stream that writes nothing."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.asked = number, 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.asked += 1
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO, errno.EBADF])
def test_a_stream_that_fails_fails_nobody_and_is_asked_once(number: int) -> None:
    refusing = Refusing(number)
    raw = TolerantStream(refusing)
    stream = io.TextIOWrapper(io.BufferedWriter(raw), "utf-8", line_buffering=True)
    for _ in range(3):
        stream.write("a line\n")
    assert raw.error is not None
    assert (raw.error.errno, refusing.asked) == (number, 1)


def test_a_pipe_that_somebody_made_non_blocking_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    code = (
        "import sys; from linfit.system.output import open_streams; open_streams(); "
        f"print('x' * {2**20})"
    )
    with started([sys.executable, "-c", code], stdout=writing) as process:
        os.close(writing)
        with open(reading, "rb") as pipe:  # noqa: PTH123 - a pipe
            time.sleep(0.2)
            assert len(pipe.read()) == 2**20 + 1
        assert process.wait(60) == 0


def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    full = io.TextIOWrapper(io.BufferedWriter(Refusing(errno.ENOSPC)), "utf-8", line_buffering=True)
    for stream in (None, closed, full):
        monkeypatch.setattr(sys, "stderr", stream)
        print_to_stderr("a line")
    with pytest.raises(OSError, match="space"):
        full.close()  # what it holds cannot be written


def sh(command: str, workdir: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **more}
    line = command.replace("linfit", f"{sys.executable} -m linfit", 1)
    return subprocess.run(
        ["bash", "-c", line],
        cwd=workdir,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


unix = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@unix
def test_a_run_whose_output_has_no_room_is_kept_and_says_so(workdir: Path) -> None:
    done = sh("linfit run steps=2 pictures=false > /dev/full", workdir)
    kept, why = done.stderr.splitlines()
    assert (done.returncode, why) == (
        2,
        "linfit: stdout cannot be written: No space left on device",
    )
    assert re.fullmatch(r"linfit: what was run is kept: linfit show [0-9a-f]{32}", kept)


@unix
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("linfit list 2> /dev/full", 0),
        ("linfit list x 2> /dev/full", 2),
        ("linfit list > /dev/full", 2),
    ],
)
def test_a_full_stream_is_no_traceback(command: str, code: int, bare: Path) -> None:
    done = sh(command, bare)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


@unix
@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_workers_have_streams_that_are_closed(closed: str, bare: Path) -> None:
    command = "linfit run -m seed=0,1 steps=2 tracking=none pictures=false hydra.launcher.workers=2"
    assert sh(f"{command} {closed}", bare).returncode == 0


#: A locale of ASCII alone. Python reads .pth files in the locale's encoding, and does not start if
#: one names a folder with other letters, as that of an editable installation may. The base
#: interpreter, which reads none of ours, is therefore given the path.
ASCII_LOCALE = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "",
    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
}
LINFIT_OF_BASE = [getattr(sys, "_base_executable", sys.executable), "-m", "linfit"]


def test_a_locale_without_letters_is_enough(bare: Path) -> None:
    command = [*LINFIT_OF_BASE, "plan", "steps=5"]
    environment = {**os.environ, **ASCII_LOCALE}
    done = subprocess.run(
        command, cwd=bare, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "30x2x1" in done.stdout and done.stdout.isascii()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pipe of a given size")
def test_ctrl_c_ends_a_command_whose_reader_does_not_read(bare: Path) -> None:
    import fcntl

    reading, writing = os.pipe()
    size = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with started(
        [sys.executable, "-m", "linfit", "list"], stdout=writing, stderr=subprocess.PIPE
    ) as process:
        os.close(writing)
        until = time.monotonic() + 60
        while waiting(reading) < size // 2 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (130, b"")
    os.close(reading)


def waiting(pipe: int) -> int:
    """Return how many bytes wait in a pipe."""
    import fcntl
    import termios

    found = fcntl.ioctl(pipe, termios.FIONREAD, struct.pack("i", 0))
    return int(struct.unpack("i", found)[0])


@contextmanager
def terminal(columns: int) -> Iterator[tuple[int, int]]:
    import fcntl
    import termios

    outside, inside = os.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        yield outside, inside
    finally:
        os.close(outside)


def test_a_terminal_of_twenty_columns_shows_whole_numbers(bare: Path) -> None:
    command = [
        *LINFIT_OF_BASE,
        "run",
        "-m",
        "optimizer=adam,sgd",
        "steps=30",
        "tracking=none",
        "pictures=false",
    ]
    environment = {**os.environ, **ASCII_LOCALE, "TERM": "xterm", "NO_COLOR": "1"}
    environment.pop("COLUMNS", None)
    with (
        terminal(20) as (outside, inside),
        started(command, stdout=inside, stderr=inside, env=environment) as process,
    ):
        os.close(inside)
        shown = "".join(iter(lambda: read(outside), ""))
        assert process.wait(120) == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).splitlines()
    assert "2/2 fits" in shown
    assert max(map(len, lines)) <= 20
    [head] = [line for line in lines if line.startswith("run")]
    rows = [line.split() for line in lines if line.startswith(("adam ", "sgd "))]
    assert head.split() == ["run", "excess", "loss"]
    assert len(rows) == 2
    assert all(float(number) > 0 for _, number in rows)


def read(terminal: int) -> str:
    try:
        return os.read(terminal, 2**16).decode()
    except OSError:  # nobody has it open any more
        return ""


def test_no_width_cuts_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (*range(12, 40), 60, 100):
        assert_whole_numbers(width, monkeypatch)


def assert_whole_numbers(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tables,
        "open_console",
        lambda: PlainConsole(file=io.StringIO(), width=width, highlight=False),
    )
    columns = {
        "run": ["manual_sgd lr=0.00012345 seed=12"],
        "loss": ["3.448501e-13"],
        "steps": ["1200"],
        "why": ["a long reason"],
    }
    out = tables.open_console()
    out.print(format_table(columns, ("loss", "steps")))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    body = text.split("no room")[0]
    assert max(map(len, text.splitlines())) <= width
    for number in ("3.448501e-13", "1200"):
        assert number in body or "no room for" in " ".join(text.split())
    assert ("loss" in body) == ("3.448501e-13" in body)
    assert width < 13 or "0.00012345" in body


@pytest.mark.parametrize(
    ("environment", "width"),
    [
        ({"COLUMNS": "0"}, 80),
        ({"COLUMNS": "5"}, 12),
        ({"TERM": "dumb", "COLUMNS": "30"}, 30),
        ({"COLUMNS": "200"}, 200),
    ],
)
def test_the_width_is_what_the_environment_says(
    environment: dict[str, str], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {"TERM": "xterm", "FORCE_COLOR": "1", **environment}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    assert tables.open_console(io.StringIO()).width == width


#: Methods that open a file as text.
TEXT = {"read_text", "write_text"}
#: The mode of a file that is opened as bytes.
BINARY = re.compile(r"[rwax+]*b[rwax+]*")


def test_files_are_read_and_written_in_utf_8_whatever_the_locale() -> None:
    for file in [*ROOT.glob("linfit/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]:
        calls = (
            node
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
        )
        lacking = [
            f"{file}:{call.lineno}"
            for call in calls
            if opens_text(call) and "encoding" not in {word.arg for word in call.keywords}
        ]
        assert lacking == []


def opens_text(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr in TEXT
    modes = [part.value for part in call.args[1:2] if isinstance(part, ast.Constant)]
    return ast.unparse(call.func) == "open" and not any(
        BINARY.fullmatch(str(mode)) for mode in modes
    )
