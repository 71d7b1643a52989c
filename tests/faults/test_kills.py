"""SIGKILL at seeded random moments and at the calls that flush and rename: afterwards `linfit resume` ends the sweep as if nothing had been."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from tests.faults.harness import FOLDER, assert_whole, contents, end, kill_within, log, missing, need, run, start, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks real processes and kills them, on Linux")
SWEEP = ("run", "-m", "seed=range(0,50)", "optimizer=sgd,adam,rmsprop,adagrad", "steps=40", "pictures=false", f"hydra.sweep.dir={FOLDER}")
NUM_FITS, ATTEMPTS = 200, 6


@pytest.fixture(scope="module")
def prepared(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty store."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """Tables and runs of the sweep that nobody interrupts, and how many seconds it takes from its manifest to its end."""
    workdir = copied(prepared, tmp_path_factory.mktemp("reference"))
    process = start(workdir, *SWEEP)
    until((workdir / FOLDER / "manifest.parquet").exists, process, workdir)
    began = time.monotonic()
    assert end(process) == 0, log(workdir)
    took = time.monotonic() - began
    assert_whole(workdir, NUM_FITS, contents(workdir))
    return contents(workdir), took


def copied(prepared: Path, folder: Path) -> Path:
    return Path(shutil.copytree(prepared, folder, dirs_exist_ok=True))


def killed_and_resumed(number: int, prepared: Path, workdir: Path, uninterrupted: tuple[str, float]) -> int:
    """Kills the sweep, and of every three resumes the first two; returns how often something was killed.

    Rows are inserted by a process of their own, which may live a little longer, by the one that is killed, or where MLflow lives.
    """
    moments, (reference, took) = random.Random(number), uninterrupted
    how: dict[str, Any] = ({"large": 1}, {"large": 200}, {"desk": True})[number % 3]
    kills = 0
    for attempt in range(ATTEMPTS):  # it may be quicker than the reference was, and end before its moment
        place = copied(prepared, workdir / str(attempt))
        kills += kill_within(start(place, *SWEEP, **how), place, moments.uniform(0, took / 2**attempt))
        if kills:
            break
    assert kills == 1, log(place)
    for _ in range(number // 3 % 3):
        kills += kill_within(start(place, "resume", **how), place, moments.uniform(0, took))
    assert run(place, "resume") == 0, log(place)
    assert_whole(place, NUM_FITS, reference)
    return kills


def test_some_sweeps_that_are_killed(prepared: Path, tmp_path: Path, uninterrupted: tuple[str, float]) -> None:
    assert sum(killed_and_resumed(number, prepared, tmp_path / str(number), uninterrupted) for number in (1, 2)) >= 1


@pytest.mark.faults
@pytest.mark.parametrize("number", range(50))
def test_fifty_sweeps_that_are_killed(number: int, prepared: Path, tmp_path: Path, uninterrupted: tuple[str, float]) -> None:
    killed_and_resumed(number, prepared, tmp_path, uninterrupted)


SMALL = ("run", "-m", "seed=range(0,6)", "steps=20", "pictures=false", f"hydra.sweep.dir={FOLDER}")
COMMAND = "from linfit.sweeps import recording; recording.BLOCK = 2; from linfit.cli import main; main()"


@pytest.mark.faults
@pytest.mark.parametrize("when", [1, 2, 4, 7])
@pytest.mark.parametrize("call", ["fsync", "fdatasync", "rename"])
def test_crash_points(call: str, when: int, prepared: Path, tmp_path: Path, small: str) -> None:
    need("strace")
    copied(prepared, tmp_path)
    point = f"/^{call}(at2?)?$"
    strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={point}", "-e", f"inject={point}:signal=KILL:when={when}"]
    done = subprocess.run([*strace, sys.executable, "-c", COMMAND, *SMALL], cwd=tmp_path, capture_output=True, timeout=120, check=False)
    if b"PTRACE" in done.stderr or b"ptrace" in done.stderr:
        missing("strace may not trace here")
    desk_killed = done.returncode == 2 and done.stderr.count(b"the process that writes to it has ended") == 1
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL) or desk_killed, (
        f"there was no call {when} of {call} to be killed at: {done.stderr!r}"
    )
    if not (tmp_path / FOLDER / "manifest.parquet").exists() or not (tmp_path / FOLDER).exists():
        shutil.rmtree(tmp_path / FOLDER, ignore_errors=True)  # it was killed before it was planned: nothing to go on with
        assert run(tmp_path, *SMALL) == 0, log(tmp_path)
    else:
        assert run(tmp_path, "resume") == 0, log(tmp_path)
    assert_whole(tmp_path, 6, small)


@pytest.mark.faults
@pytest.mark.parametrize("when", [1, 2, 3, 5])
def test_the_process_that_inserts_is_killed(when: int, prepared: Path, tmp_path: Path, small: str) -> None:
    """At its first such call, and so is every other one that takes its place; the sweep says so, and goes on later."""
    need("strace")
    copied(prepared, tmp_path)
    killer = tmp_path / "killer.py"
    killer.write_text(KILLER.format(when=when))
    done = subprocess.run([sys.executable, str(killer), *SMALL], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    if "ptrace" in done.stderr.lower():
        missing("strace may not trace here")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("the process that inserts rows has ended") == 1 and "Traceback" not in done.stderr, done.stderr
    assert run(tmp_path, "resume") == 0, log(tmp_path)
    assert_whole(tmp_path, 6, small)


#: Runs a sweep whose inserting process is under strace, and killed at its call number so-and-so.
KILLER = """
import sys
from linfit.sweeps import recording
from linfit.tracking import background, database
recording.BLOCK, database.LARGE = 2, 1
begun = background.subprocess.Popen
strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64", "-e", "inject=pwrite64:signal=KILL:when={when}"]
background.subprocess.Popen = lambda program, **pipes: begun([*strace, *program] if "-I" in program else program, **pipes)
from linfit.cli import main
sys.argv[0] = "linfit"
main()
"""


@pytest.fixture(scope="module")
def small(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    workdir = copied(prepared, tmp_path_factory.mktemp("small"))
    assert run(workdir, *SMALL, block=2) == 0, log(workdir)
    return contents(workdir)


#: A sweep that begins with fits that end, and goes on with some that do not.
LONG = ("run", "-m", "steps=5,100000000", "seed=range(0,8)", "engine=single", f"hydra.sweep.dir={FOLDER}")


@pytest.mark.faults
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_sweep_within_five_seconds(number: signal.Signals, code: int, workers: int, prepared: Path, tmp_path: Path) -> None:
    copied(prepared, tmp_path)
    process = start(tmp_path, *LONG, f"hydra.launcher.workers={workers}", block=2, LINFIT_GRACE="4")
    part = tmp_path / FOLDER / "results" / "part-0.parquet"
    until(part.exists, process, tmp_path)
    kept = parquet.read_table(part).num_rows
    assert process.pid is not None
    sent = time.monotonic()
    os.kill(process.pid, number)
    assert end(process, 60) == code, log(tmp_path)
    assert time.monotonic() - sent < 5
    assert log(tmp_path).count("linfit: interrupted") == 1, log(tmp_path)
    assert f"go on with: linfit resume {FOLDER}" in log(tmp_path)
    with closing(sqlite3.connect(tmp_path / "outputs" / "mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0] >= kept > 0


@pytest.mark.faults
def test_a_signal_is_heard_while_nothing_else_is(prepared: Path, tmp_path: Path) -> None:
    """The store is locked, SQLite waits for it: the process ends all the same."""
    copied(prepared, tmp_path)
    store = sqlite3.connect(tmp_path / "outputs" / "mlflow.db", isolation_level=None)
    process = start(tmp_path, *SWEEP, LINFIT_GRACE="2")
    until((tmp_path / FOLDER / "results").is_dir, process, tmp_path)
    store.execute("BEGIN EXCLUSIVE")
    time.sleep(1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    code = end(process, 30)
    store.execute("ROLLBACK")
    store.close()
    assert code in (0, 130), log(tmp_path)  # 0: it was quicker than the lock
    assert run(tmp_path, "resume") == 0, log(tmp_path)
