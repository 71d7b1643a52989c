"""Let the n-th system call fail: the command reports it in one line, and the sweep can be resumed.

The resumed sweep ends as if nothing had been.
"""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from linfit.system import host
from linfit.tracking.write.background import processes
from tests.faults import harness
from tests.faults.harness import FOLDER, assert_whole, contents, context, end, log, missing
from tests.faults.syscalls import may_trace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace, on Linux")
NUM_FITS = 20
SWEEP = (
    "run",
    "-m",
    "seed=range(0,10)",
    "optimizer=sgd,adam",
    "steps=20",
    f"hydra.sweep.dir={FOLDER}",
)
#: What may fail, and how: a full disk, a quota, a broken or read-only disk, a limit of files.
ERRORS = {
    "openat": ("EMFILE", "ENOSPC", "EACCES"),
    "mkdir": ("ENOSPC", "EROFS"),
    "write": ("ENOSPC", "EIO", "EDQUOT"),
    "pwrite64": ("ENOSPC", "EIO", "EFBIG"),
    "ftruncate": ("EIO",),
    "sendfile": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO",),
    "rename": ("ENOSPC", "EIO"),
    "renameat": ("ENOSPC",),
    "link": ("EIO",),
}
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)


@dataclass(frozen=True)
class Variant:
    """The arguments of a sweep, whether its store exists before, and the process that fails.

    The process is the main one, or a helper.
    """

    more: tuple[str, ...] = ("pictures=false",)
    with_store: bool = True
    helper: str = ""


VARIANTS = {
    "store there": Variant(),
    "store absent": Variant(with_store=False),
    "pictures": Variant(("pictures=true",)),
    "child artifacts": Variant(("pictures=false", "tracking.child_artifacts=true")),
    "who records": Variant(
        ("pictures=false", "tracking.child_artifacts=true"),
        helper="linfit.tracking.write.background.server",
    ),
}
STRACE = ("strace", "-f", "-qq", "-yy", "-o", "calls")


# ---- a process whose calls fail ----


def trace_this(options: Sequence[str]) -> None:
    """In the child: have strace follow this process, from now on."""
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY)  # by a child of its own
    subprocess.Popen([*STRACE, *options, "-p", str(os.getpid())], stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while "TracerPid:\t0" in Path("/proc/self/status").read_text():
        assert time.monotonic() < deadline, "strace does not come"
        time.sleep(0.005)


def trace_helper(helper: str, options: Sequence[str]) -> None:
    """In the child, have strace follow the processes that it starts for that work.

    They stay the child's own children.
    """
    start = host.start_detached

    def start_traced(program: Sequence[str], **more: Any) -> subprocess.Popen[bytes]:
        strace = [*STRACE, "-A", "-D", *options] if any(helper in word for word in program) else []
        return start([*strace, *program], **more)

    vars(processes)["start_detached"] = start_traced


def main_traced(
    workdir: str,
    arguments: Sequence[str],
    options: Sequence[str],
    helper: str,
    environment: dict[str, str],
) -> None:
    os.chdir(workdir)
    if helper:
        trace_helper(helper, options)
    else:
        trace_this(options)
    harness.main(workdir, arguments, 8, bool(helper), None, environment)


def run_traced(workdir: Path, arguments: Sequence[str], options: Sequence[str], helper: str) -> int:
    """Run a command whose calls are written into `calls`, and fail as strace's `options` say."""
    environment = {"LINFIT_GRACE": "30", "TMPDIR": str(workdir / "tmp")}
    process = context().Process(
        target=main_traced, args=(str(workdir), arguments, options, helper, environment)
    )
    process.start()
    return end(process)


@dataclass(frozen=True)
class Fault:
    """A call of a thread: its name, its number among calls of that name, and its error."""

    call: str
    number: int
    error: str
    where: str

    @property
    def options(self) -> list[str]:
        return [
            "-e",
            f"trace={','.join(ERRORS)}",
            "-e",
            f"inject={self.call}:error={self.error}:when={self.number}",
        ]


def is_ours(line: str, workdir: Path) -> bool:
    """Return True for a call on the store, on what is below outputs, or on a temporary file."""
    return re.search(rf'[<"]{re.escape(str(workdir))}/(outputs|tmp)|"outputs', line) is not None


def read_faults(workdir: Path) -> Iterator[Fault]:
    """Yield what may fail in a run that was traced.

    It may fail in the main thread and in the one that writes blocks. strace counts the calls of
    each thread by themselves: a number at which another thread would fail elsewhere is left out.
    """
    lines = (workdir / "calls").read_text(encoding="utf-8", errors="replace").splitlines()
    calls: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        if found := re.match(r"(\d+) +(\w+)\((.*)", line):
            calls.setdefault(found[2], {}).setdefault(found[1], []).append(found[3])
    for call in [call for call in ERRORS if call in calls]:
        for number in range(1, max(map(len, calls[call].values())) + 1):
            there = [of[number - 1] for of in calls[call].values() if len(of) >= number]
            if all(is_ours(where, workdir) for where in there):
                for error in ERRORS[call]:
                    yield Fault(call, number, error, there[0][:200])


# ---- what comes of it ----


@dataclass(frozen=True)
class Rehearsal:
    """An undisturbed sweep of a variant.

    It has the folder where the sweep begins, what may fail in it, and what comes out.
    """

    prepared: Path
    workdir: Path
    command: tuple[str, ...]
    helper: str
    faults: list[Fault]
    reference: str


def rehearse(name: str, store: Path, folder: Path) -> Rehearsal:
    if not may_trace():
        missing("strace may not trace here")
    variant, prepared, workdir = VARIANTS[name], folder / "prepared", folder / "work"
    (prepared / "outputs").mkdir(parents=True)
    (prepared / "tmp").mkdir()
    if variant.with_store:
        shutil.copy(store, prepared / "outputs" / "mlflow.db")
    else:
        (prepared / "outputs").rmdir()
    shutil.copytree(prepared, workdir)
    command = (*SWEEP, *variant.more)
    assert run_traced(workdir, command, ["-e", f"trace={','.join(ERRORS)}"], variant.helper) == 0, (
        log(workdir)
    )
    return Rehearsal(
        prepared, workdir, command, variant.helper, list(read_faults(workdir)), contents(workdir)
    )


def fail_and_go_on(fault: Fault, rehearsal: Rehearsal) -> str:
    """Return how a command ends whose call fails, after the sweep is resumed and whole.

    Raise AssertionError if it is not.
    """
    workdir = rehearsal.workdir
    shutil.rmtree(workdir)
    shutil.copytree(rehearsal.prepared, workdir)
    code = run_traced(workdir, rehearsal.command, fault.options, rehearsal.helper)
    said, calls = log(workdir), (workdir / "calls").read_text(errors="replace").splitlines()
    injected = [line for line in calls if "(INJECTED)" in line]
    if not injected or not is_ours(injected[0], workdir):
        return "missed"
    assert "Traceback" not in said, said
    notes = [line for line in said.splitlines() if line.startswith("linfit: ")]
    assert code in (0, 2), (code, said)
    if code == 2:
        assert len(notes) == 1, said
        assert re.search(r"/|outputs", notes[0]), notes
        go_on = (
            ("resume", FOLDER)
            if (workdir / FOLDER / "manifest.parquet").exists()
            else rehearsal.command
        )
        (workdir / "log").unlink()
        again = harness.run(workdir, *go_on, block=8, TMPDIR=str(workdir / "tmp"))
        assert again == 0, f"{notes[0]}\nand then {again}: {log(workdir)}"
    assert_whole(workdir, NUM_FITS, rehearsal.reference)
    return f"{code}: {notes[0] if notes else 'as if nothing had been'}"


def fail_each(faults: Sequence[Fault], rehearsal: Rehearsal) -> None:
    """Have none of the faults end otherwise than it should, and nearly all of them happen."""
    outcomes, wrong = Counter[str](), []
    for fault in faults:
        try:
            outcomes[f"{fault.call} {fault.error}: {fail_and_go_on(fault, rehearsal)[:4]}"] += 1
        except AssertionError as error:
            wrong.append(f"{fault}: {str(error)[:1500]}")
    missed = sum(count for outcome, count in outcomes.items() if outcome.endswith("miss"))
    print(*sorted(outcomes.items()), sep="\n")  # noqa: T201 - the table, for `pytest -s`
    assert not wrong, f"{len(wrong)} of {len(faults)}:\n" + "\n".join(wrong[:5])
    assert missed <= len(faults) / 4, outcomes


#: Calls of a kind that are tried until one of them is made.
TRIES = 5
#: Each share is of the whole command, and takes minutes.
SHARES = 20
#: How the folder for temporary files begins that a command has in TMPDIR.
TEMPORARY = "/tmp/linfit-"


def draw_faults(rehearsal: Rehearsal) -> list[Fault]:
    """Return each call once, with an error drawn by a seed.

    Of the calls that make an absent store, which are thousands, one in twenty is returned.
    """
    draws, calls = random.Random(0), dict[tuple[str, int], list[Fault]]()
    for fault in rehearsal.faults:
        calls.setdefault((fault.call, fault.number), []).append(fault)
    drawn = [draws.choice(faults) for faults in calls.values()]
    return [
        fault
        for fault in drawn
        if TEMPORARY not in fault.where or fault.call != "pwrite64" or draws.random() < 0.05
    ]


@pytest.fixture(scope="module", params=VARIANTS)
def rehearsal(
    request: pytest.FixtureRequest, migrated_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Rehearsal:
    return rehearse(request.param, migrated_store, tmp_path_factory.mktemp("calls"))


def test_some_calls_that_fail(rehearsal: Rehearsal) -> None:
    """Let three calls of each variant fail.

    One is on a temporary file, one on the store or a table, and one makes, names or flushes a file.
    """
    faults, draws = draw_faults(rehearsal), random.Random(1)
    kinds = [
        [fault for fault in faults if TEMPORARY in fault.where],
        [fault for fault in faults if "write" in fault.call and TEMPORARY not in fault.where],
        [fault for fault in faults if fault.call in ("mkdir", "rename", "fsync", "fdatasync")],
    ]
    for kind in filter(None, kinds):
        tried = draws.sample(kind, min(len(kind), TRIES))
        # Two threads write: how many calls each makes differs a little from run to run.
        assert any(fail_and_go_on(fault, rehearsal) != "missed" for fault in tried), tried


@pytest.mark.faults_all
@pytest.mark.parametrize("share", range(SHARES))
def test_every_call_that_fails(share: int, rehearsal: Rehearsal) -> None:
    fail_each(draw_faults(rehearsal)[share::SHARES], rehearsal)


# ---- limits and places that a user may have ----


def run_limited(
    workdir: Path, limit: str, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run linfit below a limit of the shell's."""
    shell = f'{limit} && exec "$0" -c "from linfit.__main__ import main; main()" "$@"'
    command = ["bash", "-c", shell, sys.executable, *arguments]
    return subprocess.run(
        command,
        cwd=workdir,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "command", [("run", "-m", "seed=0,1", "steps=3"), ("run", "steps=3")], ids=["a sweep", "a fit"]
)
def test_a_store_that_is_too_large_for_a_limit_is_told_in_one_line(
    command: tuple[str, ...], bare: Path
) -> None:
    ran = run_limited(bare, "ulimit -f 200", *command, TMPDIR=str(bare))
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert ran.stderr.startswith(f"linfit: MLflow's tables cannot be made in {bare}/linfit-"), (
        ran.stderr
    )
    assert [
        file.name for file in bare.rglob("*") if file.is_file() and file.suffix != ".lock"
    ] == []


def test_outputs_that_is_a_file_is_told_in_one_line(bare: Path) -> None:
    (bare / "outputs").touch()
    ran = run_limited(bare, "true", "run", "-m", "seed=0,1", "steps=3")
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "outputs" in ran.stderr and "Not a directory" in ran.stderr
