"""Several processes at once on one store.

Eight writers and a reader, two resumes of one sweep, another program that keeps the database
locked.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from linfit.tracking.schema import mlflow_names
from tests.faults.harness import (
    FITS,
    FOLDER,
    PAIRS,
    assert_whole,
    contents,
    end,
    log,
    run,
    start,
    until,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="real processes, on Linux")


@pytest.mark.parametrize("exists", [True, False])
def test_eight_writers_of_one_file(
    exists: bool, tmp_path: Path, migrated_store: Path, reference: str
) -> None:
    """Each its own sweep of 100 fits, with a reader that polls; of no database they make one."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    if exists:
        shutil.copy(migrated_store, tmp_path / "mlflow.db")
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    writers = [start(folder, *FITS, f"tracking.uri={uri}", "name=crowd") for folder in folders]
    while any(writer.exitcode is None for writer in writers):
        if (tmp_path / "mlflow.db").exists():
            with closing(
                sqlite3.connect(f"file:{tmp_path}/mlflow.db?mode=ro", uri=True, timeout=60)
            ) as store:
                store.execute("SELECT count(*) FROM runs").fetchone()
        time.sleep(0.1)
    assert [end(writer) for writer in writers] == [0] * 8, "\n".join(map(log, folders))
    assert not any("locked" in log(folder) for folder in folders)
    for folder in folders:
        assert contents(folder, tmp_path / "mlflow.db") == reference
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        counts = store.execute(
            "SELECT e.name, r.status, count(*) FROM runs r "
            "JOIN experiments e USING (experiment_id) GROUP BY e.name, r.status"
        ).fetchall()
        assert counts == [("crowd", "FINISHED", 808)]
        rows = store.execute(
            "SELECT count(*) FROM (SELECT DISTINCT p.value, t.value FROM tags p "
            "JOIN tags t USING (run_uuid) WHERE p.key = ? AND t.key = ?)",
            (mlflow_names.PARENT, mlflow_names.ROW),
        )
        assert rows.fetchone() == (800,)
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("exists", [True, False])
def test_the_same_sweep_started_twice_at_once(exists: bool, stored: Path, reference: str) -> None:
    """One runs it, also where there is no database yet; the other says that it is being run."""
    if not exists:
        (stored / "outputs" / "mlflow.db").unlink()
    both = [start(stored, *FITS, block=5) for _ in range(2)]
    assert sorted(end(process) for process in both) == [0, 2], log(stored)
    said = (stored / "log").read_text()
    assert said.count("is being run by another process") == 1 and "Traceback" not in said
    assert_whole(stored, PAIRS, reference)


def test_two_resumes_at_once(stored: Path, reference: str) -> None:
    first = start(stored, *FITS, block=5)
    until((stored / FOLDER / "results" / "part-0.parquet").exists, first, stored)
    first.kill()
    first.join()
    resumes = [start(stored, "resume", FOLDER) for _ in range(2)]
    assert sorted(end(process) for process in resumes) in ([0, 0], [0, 2]), log(stored)
    assert_whole(stored, PAIRS, reference)


def test_a_locked_database_is_one_line_and_resume_completes(stored: Path, reference: str) -> None:
    with closing(sqlite3.connect(stored / "outputs" / "mlflow.db", isolation_level=None)) as other:
        process = start(stored, *FITS, LINFIT_PATIENCE="1", PYTHONWARNINGS="ignore")
        until(
            lambda: bool(other.execute("SELECT count(*) FROM runs").fetchone()[0]), process, stored
        )
        other.execute("BEGIN EXCLUSIVE")
        code = end(process)
        other.execute("ROLLBACK")
    assert code == 2, log(stored)
    [line] = [line for line in log(stored).splitlines() if line.startswith("linfit: the store")]
    assert (
        "mlflow.db" in line and "locked" in line and f"go on with: linfit resume {FOLDER}" in line
    )
    assert "Traceback" not in log(stored)
    assert run(stored, "resume") == 0, log(stored)
    assert_whole(stored, PAIRS, reference)
