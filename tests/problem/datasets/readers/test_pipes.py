"""Data files that are pipes or devices: pipes are read once, files without an end are refused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import linfit as package
from linfit.problem.datasets.file_digest import hash_file
from linfit.problem.datasets.files import CSV
from linfit.problem.datasets.readers.pipes import copy_if_pipe, is_pipe
from tests.conftest import Ran

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes with names, and /dev")

Linfit = Callable[..., Ran]
TEXT = "a,b,y\n" + "".join(f"{i},{i * i % 7},{2 * i + 1}\n" for i in range(12))
CHOSEN = [
    "dataset=csv",
    "dataset.features=[a,b]",
    "dataset.target=y",
    "init=zeros",
    "steps=20",
    "optimizer.lr=0.001",
]


@pytest.fixture
def pipe() -> Iterator[Callable[..., str]]:
    """Make a pipe with some text, to which nobody writes any more, and return its path.

    A shell's <(…) is such a pipe.
    """
    opened: list[int] = []

    def make(text: str = TEXT) -> str:
        reads, writes = os.pipe()
        opened.append(reads)
        os.write(writes, text.encode())
        os.close(writes)
        return f"/dev/fd/{reads}"

    yield make
    for reads in opened:
        os.close(reads)


def test_a_pipe_is_read_once_for_its_hash_and_its_rows(
    pipe: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "x.csv").write_text(TEXT)
    path = pipe()
    table = CSV(path=path, features=("a", "b"), target=("y",))
    assert hash_file(path) == hash_file(str(tmp_path / "x.csv"))
    table.check_data("float32")
    assert table.load(0).y.ravel().tolist() == [2 * i + 1 for i in range(12)]
    assert table.load(0).source == path
    assert copy_if_pipe(path) == copy_if_pipe(path)


def test_another_fifo_of_the_same_name_is_another(tmp_path: Path) -> None:
    fifo = tmp_path / "data.fifo"
    for text in ("a,b,y\n1,2,3\n", "a,b,y\n4,5,6\n"):
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo)
        writer = threading.Thread(target=fifo.write_text, args=(text,), daemon=True)
        writer.start()
        assert copy_if_pipe(str(fifo)).read_text() == text
        writer.join()


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/full", "/dev/urandom"])
def test_a_device_is_refused(path: str, linfit: Linfit, bare: Path) -> None:
    for command in ("run", "plan"):
        ran = linfit(command, *CHOSEN, "tracking=none", f"dataset.path={path}")
        assert (ran.code, ran.out) == (2, "")
        assert (
            ran.err
            == f"linfit: dataset.path '{path}' is a device: name a file, or a pipe that ends\n"
        )
    assert not Path("outputs").exists()


def test_a_socket_and_a_folder_are_refused(linfit: Linfit, bare: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("data.sock")
        ran = linfit("run", *CHOSEN, "tracking=none", "dataset.path=data.sock")
    assert (ran.code, ran.err) == (
        2,
        "linfit: dataset.path 'data.sock' is a socket: name a file, or a pipe that ends\n",
    )
    ran = linfit("run", *CHOSEN, "tracking=none", "dataset.path=.")
    assert (ran.code, ran.err) == (
        2,
        "linfit: dataset.path '.' cannot be read: Is a directory\n",
    )


def test_a_pipe_without_an_end_is_refused(
    monkeypatch: pytest.MonkeyPatch, pipe: Callable[..., str]
) -> None:
    monkeypatch.setattr(
        "linfit.problem.datasets.readers.pipes.shutil.disk_usage",
        lambda _: SimpleNamespace(free=100),
    )
    with pytest.raises(ValueError, match="bytes and no end: save it in a file first"):
        copy_if_pipe(pipe())


def test_a_bad_cell_of_a_pipe_is_refused(
    linfit: Linfit, bare: Path, pipe: Callable[..., str]
) -> None:
    path = pipe("a,b,y\n1,2,3\n1,five,3\n")
    ran = linfit("run", *CHOSEN, "tracking=none", f"dataset.path={path}")
    assert (ran.code, ran.err) == (
        2,
        f"linfit: {path}, line 3, column 'b': 'five' is not a finite number: "
        "mend the cell, or leave its column out\n",
    )
    assert not Path("outputs").exists()


def test_an_empty_pipe_is_refused(linfit: Linfit, bare: Path, pipe: Callable[..., str]) -> None:
    assert (
        "is empty: a header line"
        in linfit("run", *CHOSEN, "tracking=none", f"dataset.path={pipe('')}").err
    )


def test_a_fit_of_a_pipe_is_a_fit_of_its_rows_and_reproduces(
    linfit: Linfit, workdir: Path, pipe: Callable[..., str]
) -> None:
    (workdir / "x.csv").write_text(TEXT)
    path = pipe()
    ran = linfit("run", *CHOSEN, f"dataset.path={path}")
    assert ran.code == 0
    assert (
        f"{path} can be read once: its numbers are kept with what is recorded, as dataset=arrays"
        in ran.err
    )
    of_file = linfit("run", *CHOSEN, "dataset.path=x.csv")
    assert (
        ran.out.partition("weights")[2].splitlines()[0]
        == of_file.out.partition("weights")[2].splitlines()[0]
    )
    (run,) = [line.split()[1] for line in ran.out.splitlines() if line.startswith("run ")]
    again = linfit("reproduce", run)
    assert again.code == 0
    assert "identical" in again.out


SWEPT = (
    "dataset=csv",
    "seed=0,1",
    "dataset.target=y,b",
    "dataset.features=a",
    "init=zeros",
    "steps=3",
)


def test_a_sweep_over_pipes_reads_each_once(
    pipe: Callable[..., str], workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = pipe(), pipe(TEXT.replace("3,2,7", "3,2,8"))
    table = package.sweep([*SWEPT, f"dataset.path={first},{second}"])
    assert len(table.table) == 8
    assert capfd.readouterr().err.count("can be read once") == 4  # for each of two targets


def test_rows_that_are_left_out_are_told(
    pipe: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    path = pipe("a,b,y\n1,2,3\n1,,3\n4,5,7\n")
    config = package.compose([*CHOSEN, "dataset.missing=drop", f"dataset.path={path}"])
    assert "1 row with missing cells left out" in capfd.readouterr().err
    assert config.dataset.num_samples() == 2


def test_what_stdin_is_redirected_to_is_kept_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_text(TEXT)
    assert not is_pipe(str(tmp_path / "x.csv"))
    with (tmp_path / "x.csv").open() as opened:
        config = package.compose([*CHOSEN, f"dataset.path=/dev/fd/{opened.fileno()}"])
    assert config.dataset.name == "arrays"
    np.testing.assert_array_equal(config.problem().y.ravel(), [2 * i + 1 for i in range(12)])


def test_waiting_for_a_fifo_is_told_and_can_be_interrupted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.fifo")
    # The tests themselves may run where SIGINT is ignored.
    listening = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    imported = "from linfit.problem.datasets.readers.pipes import copy_if_pipe"
    program = f"{listening}; {imported}; copy_if_pipe(sys.argv[1])"
    with subprocess.Popen(
        [sys.executable, "-c", program, "data.fifo"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        try:
            assert waiting.stderr is not None
            assert (
                waiting.stderr.readline()
                == "linfit: waiting for data.fifo: nothing has been written to this pipe yet\n"
            )
            waiting.send_signal(signal.SIGINT)
            assert "KeyboardInterrupt" in waiting.communicate(timeout=30)[1]
        finally:
            waiting.kill()
