"""Which sweep `linfit resume` goes on with, and folders in which none can."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from linfit.tracking.schema import mlflow_names
from tests.sweeps.conftest import FOLDER, NUM_FITS, SWEEP, Linfit


def test_two_at_once(linfit: Linfit, workdir: Path, break_off: Any) -> None:
    from linfit.sweeps.folder.sweep_folder import lock_folder

    break_off(2, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    lock = lock_folder(FOLDER)
    try:
        for command in (("resume", str(FOLDER)), ("resume",), SWEEP):
            refused = linfit(*command)
            assert (
                refused.code,
                refused.err.count("is being run by another process"),
                "go on" in refused.err,
            ) == (2, 1, False)
    finally:
        lock.release()
    taken = linfit(*SWEEP)
    assert (taken.code, "holds another sweep" in taken.err, taken.err.count("linfit resume")) == (
        2,
        True,
        1,
    )


def test_a_folder_in_which_nothing_can_be_written(
    linfit: Linfit, workdir: Path, break_off: Any
) -> None:
    break_off(2, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    (FOLDER / ".lock").unlink(missing_ok=True)
    (FOLDER / ".lock").mkdir()
    assert f"{NUM_FITS} fits, 2 done" in linfit("resume", "--plan").out
    for command in (("resume",), ("resume", str(FOLDER))):
        done = linfit(*command)
        assert (done.code, done.err) == (
            2,
            f"linfit: no sweep can be run in {FOLDER}: Is a directory\n",
        )


@pytest.mark.parametrize("name", [mlflow_names.MANIFEST, "multirun.yaml"])
def test_a_disk_without_space_is_one_line_and_no_folder(
    name: str, linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        written = [path.stat() for path in FOLDER.glob(f".{name}.*")]
        if any(os.path.samestat(os.fstat(file), one) for one in written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("linfit.tracking.tables.parts.os.fsync", full)
    done = linfit(*SWEEP)
    assert (done.code, done.err) == (
        2,
        f"linfit: {FOLDER}/{name} cannot be written: No space left on device\n",
    )
    assert not FOLDER.exists()


def test_a_killed_single_run_is_ended(linfit: Linfit, workdir: Path, client: Any) -> None:
    """No sweep is unfinished, and a process is gone; runs of living processes are not touched."""
    from linfit.system.process_owner import process_identity

    assert linfit("run", "steps=1").code == 0 and linfit("run", "steps=1", "name=other").code == 0
    found = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id])
    ]
    living, dead = (run.info.run_id for run in found)
    for run_id, process in (
        (living, process_identity()),
        (dead, f"{process_identity().rpartition(' ')[0]} 1"),
    ):
        client.set_tag(run_id, mlflow_names.OWNER, process)
        client.update_run(run_id, "RUNNING")
    assert linfit("resume", "--plan").code == 0 and client.get_run(dead).info.status == "RUNNING"
    done = linfit("resume")
    assert (done.code, "1 run of processes that are gone" in done.err) == (0, True)
    assert [client.get_run(run_id).info.status for run_id in (living, dead)] == [
        "RUNNING",
        "KILLED",
    ]


@pytest.mark.parametrize("whole", [False, True])
def test_a_manifest_that_was_cut(
    whole: bool, linfit: Linfit, workdir: Path, break_off: Any
) -> None:
    """Of the file or of its rows."""
    for name in ("one", "two"):
        break_off(5, KeyboardInterrupt())
        assert linfit(*SWEEP[:-1], f"hydra.sweep.dir=outputs/sweeps/{name}").code == 130
    file = Path("outputs/sweeps/two", mlflow_names.MANIFEST)
    if whole:
        parquet.write_table(parquet.read_table(file).slice(0, 3), file)
    else:
        file.write_bytes(file.read_bytes()[:100])
    told = f"{file} has 3 of the sweep's 18 fits" if whole else f"{file} is no manifest of a sweep"
    for plan in ((), ("--plan",)):
        done = linfit("resume", "outputs/sweeps/two", *plan)
        assert (done.code, str(file) in done.err, len(done.err.splitlines())) == (2, True, 1), (
            done.err
        )
    other = linfit("resume")  # the older one
    assert (
        other.code,
        f"left out: {told}" in other.err,
        (FOLDER / mlflow_names.RESULTS).exists(),
    ) == (
        0,
        True,
        True,
    ), other.err


@pytest.mark.parametrize("reference", ["nothing/here", "conf", "0123abcd"])
def test_no_such_sweep_is_one_line(reference: str, linfit: Linfit, workdir: Path) -> None:
    Path("conf").mkdir()
    done = linfit("resume", reference)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)


def test_a_run_that_is_no_sweep_and_a_folder_that_is_gone(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    assert linfit("run", "steps=1").code == 0
    [run] = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()]
    )
    assert "is no sweep" in linfit("resume", run.info.run_id).err
    assert linfit(*SWEEP).code == 0
    shutil.move(FOLDER, "outputs/sweeps/moved")
    assert "nothing is left" in linfit("resume", "last").err
    shutil.rmtree("outputs/sweeps/moved")
    assert "is gone" in linfit("resume", "last").err
