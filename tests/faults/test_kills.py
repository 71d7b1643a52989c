"""SIGKILL to any process of a sweep, at any time, and at the calls that flush and rename.

Afterwards `linfit resume` ends the sweep as if nothing had been.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.faults.harness import (
    FOLDER,
    assert_whole,
    contents,
    end,
    log,
    missing,
    need,
    run,
    start,
    until,
)
from tests.faults.kills import SWEEP, VARIANTS, Kills, fill_store

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks real processes and kills them, on Linux"
)
#: Kills of each variant: those of CI, and those by hand.
FEW, MANY = range(2), range(2, 16)


@pytest.fixture(scope="module")
def prepared(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an empty store."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def stores(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a folder for each size of store: absent, small, big.

    Each is made when it is first asked for.
    """
    made = {"small": prepared}

    def of_size(size: str) -> Path:
        if size not in made:
            made[size] = tmp_path_factory.mktemp(size)
            if size == "big":
                fill_store(prepared, made[size])
        return made[size]

    return of_size


@pytest.fixture
def kills(
    variant: str,
    stores: Callable[[str], Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> Iterator[Kills]:
    """Return sweeps of a variant, to be killed.

    They are counted in the table at the end of the tests.
    """
    made = Kills(VARIANTS[variant], stores(VARIANTS[variant].store), tmp_path)
    yield made
    record_property("kills", {"variant": variant, **made.counts})


@pytest.mark.parametrize("variant", ["no helper"])
def test_a_sweep_that_is_killed(kills: Kills) -> None:
    assert kills.kill(1) == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_sweeps_that_are_killed(kills: Kills) -> None:
    assert [trouble for number in FEW for trouble in kills.kill(number)] == []


@pytest.mark.faults_all
@pytest.mark.parametrize("variant", VARIANTS)
def test_many_sweeps_that_are_killed(kills: Kills) -> None:
    assert [trouble for number in MANY for trouble in kills.kill(number)] == []


#: Calls before which a killed process left something, or lost it.
CALLS = {
    "settings without manifest": ("no helper", "open */one/.manifest.parquet.*"),
    "half an artifact": ("no helper", "os.rename *.artifact.uploading.*"),
    "curves without results": ("no helper", "os.rename */one/curves"),
    "no description": ("no helper", "os.rmdir *"),
    "files of fits": ("child artifacts", "os.rename *.artifact.uploading.*"),
    "half a store": ("store absent, no helper", "os.rename *.mlflow.db.*"),
    "no pictures": ("pictures", "os.mkdir */one/pictures"),
    "no report": ("pictures", "open */one/.report.html.*"),
}


@pytest.mark.parametrize(("variant", "call"), CALLS.values(), ids=CALLS)
def test_calls_before_which_sweeps_are_killed(kills: Kills, call: str) -> None:
    assert kills.kill_at(call) == []


@pytest.mark.faults_all
@pytest.mark.parametrize(
    "variant", ["no helper", "child artifacts", "pictures", "store absent, no helper"]
)
def test_every_touch_before_which_sweeps_are_killed(kills: Kills) -> None:
    troubles: list[str] = []
    number = 1
    while (found := kills.kill_at(number)) is not None:
        troubles += found
        number += 1
    assert number > 100
    assert troubles == []


def copied(prepared: Path, folder: Path) -> Path:
    return Path(shutil.copytree(prepared, folder, dirs_exist_ok=True))


SMALL = ("run", "-m", "seed=range(0,6)", "steps=20", "pictures=false", f"hydra.sweep.dir={FOLDER}")
COMMAND = (
    "from linfit.sweeps.run import block_pipeline as recording; recording.BLOCK = 2; "
    "from linfit.cli import main; main()"
)


@pytest.mark.parametrize("when", [1, 2, 4, 7])
@pytest.mark.parametrize("call", ["fsync", "fdatasync", "rename"])
def test_crash_points(call: str, when: int, prepared: Path, tmp_path: Path, small: str) -> None:
    need("strace")
    copied(prepared, tmp_path)
    point = f"/^{call}(at2?)?$"
    strace = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={point}",
        "-e",
        f"inject={point}:signal=KILL:when={when}",
    ]
    done = subprocess.run(
        [*strace, sys.executable, "-c", COMMAND, *SMALL],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    if b"PTRACE" in done.stderr or b"ptrace" in done.stderr:
        missing("strace may not trace here")
    desk_killed = (
        done.returncode == 2 and done.stderr.count(b"the process that writes to it has ended") == 1
    )
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL) or desk_killed, (
        f"there was no call {when} of {call} to be killed at: {done.stderr!r}"
    )
    if not (tmp_path / FOLDER / "manifest.parquet").exists() or not (tmp_path / FOLDER).exists():
        # The sweep was killed before it was planned: there is nothing to resume.
        shutil.rmtree(tmp_path / FOLDER, ignore_errors=True)
        assert run(tmp_path, *SMALL) == 0, log(tmp_path)
    else:
        assert run(tmp_path, "resume") == 0, log(tmp_path)
    assert_whole(tmp_path, 6, small)


@pytest.mark.parametrize("when", [1, 2, 3, 5])
def test_the_process_that_records_is_killed(
    when: int, prepared: Path, tmp_path: Path, small: str
) -> None:
    """Kill the process at its n-th write.

    The sweep goes on without it if it was opening the store. Otherwise the sweep ends, and is
    resumed later.
    """
    need("strace")
    copied(prepared, tmp_path)
    killer = tmp_path / "killer.py"
    killer.write_text(KILLER.format(when=when))
    done = subprocess.run(
        [sys.executable, str(killer), *SMALL],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "ptrace" in done.stderr.lower():
        missing("strace may not trace here")
    assert "Traceback" not in done.stderr, done.stderr
    told = done.stderr.count("the process that writes to it has ended")
    assert (done.returncode, told) in ((0, 0), (2, 1)), done.stderr
    if told:
        resumed = run(tmp_path, "resume") if (tmp_path / FOLDER).exists() else run(tmp_path, *SMALL)
        assert resumed == 0, log(tmp_path)
    assert_whole(tmp_path, 6, small)


#: Runs a sweep whose recording process is traced by strace, and killed at one of its writes.
KILLER = """
import sys
from linfit.sweeps.run import block_pipeline as recording
from linfit.tracking.write.background import prestart as head_start, processes
recording.BLOCK = 2
start = processes.start_detached
strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=pwrite64"]
strace += ["-e", "inject=pwrite64:signal=KILL:when={when}"]
processes.start_detached = lambda program, **more: start([*strace, *program], **more)
head_start.start_process(elsewhere=False)
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
LONG = (
    "run",
    "-m",
    "steps=5,100000000",
    "seed=range(0,8)",
    "engine=single",
    f"hydra.sweep.dir={FOLDER}",
)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_sweep_within_five_seconds(
    number: signal.Signals, code: int, workers: int, prepared: Path, tmp_path: Path
) -> None:
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
        assert (
            store.execute("SELECT count(*) FROM runs WHERE status = 'FINISHED'").fetchone()[0]
            >= kept
            > 0
        )


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
