"""Blocks that a thread inserts: the same rows, each once, whatever happens to the process."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np
import pytest

from linfit.errors import RecordingError
from linfit.tracking.write import database, sql
from linfit.tracking.write.client import ClientRecorder
from linfit.tracking.write.database import WRITING_PRAGMAS, DatabaseRecorder
from tests.tracking.written import (
    NAME,
    ODD,
    Written,
    children,
    contents,
    file_of,
    named,
    numbers,
    row,
    run_count,
    sound,
)


def test_it_writes_what_the_client_writes(written: Written, template: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(template, file)
    by_block = DatabaseRecorder(ClientRecorder(named(file), NAME))
    half = len(written.rows) // 2  # the second finds datasets of the first
    blocks = [
        by_block.log_runs_async(rows) for rows in (written.rows[:half], written.rows[half:], [])
    ]
    run_ids = [run_id for block in blocks for run_id in block.result()]
    assert contents(file, run_ids) == contents(written.by_client, written.client_ids)
    assert sound(file)


def test_blocks_are_there_before_anything_else_is_done(recorder: DatabaseRecorder) -> None:
    parent = recorder.start_run(row("parent"))
    blocks = [
        recorder.log_runs_async(
            [row(str(number), tags={"mlflow.parentRunId": parent, "linfit.row": str(number)})]
        )
        for number in range(20)
    ]
    assert len(recorder.open_history().find_children(parent)) == 20
    last = recorder.log_runs_async([row("last")])
    recorder.set_tags(last.result()[0], {"more": "…"})
    assert recorder.client.client.get_run(last.result()[0]).data.tags["more"] == "…"
    assert all(block.done() for block in blocks)
    assert len(recorder.log_runs(ODD)) == len(ODD)


@pytest.mark.parametrize("most", [1, 5, 6, 7, 6000])
def test_rows_are_the_same_however_many_go_with_one_statement(
    most: int,
    written: Written,
    recorder: DatabaseRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sql, "VALUES_PER_STATEMENT", most * 14)
    run_ids = recorder.log_runs(written.rows)
    assert contents(file_of(recorder), run_ids) == contents(written.by_client, written.client_ids)


@pytest.mark.parametrize("alive", [True, False])
def test_nothing_is_committed_for_a_parent_that_is_gone(
    alive: bool, recorder: DatabaseRecorder
) -> None:
    recorder.parent = os.getppid() if alive else 1
    refused = pytest.raises(RecordingError, match=r"not a child of this one, and commits nothing$")
    with nullcontext() if alive else refused:
        recorder.log_runs(ODD)
    assert run_count(file_of(recorder)) == alive * len(ODD)


KILLED = """
import os, signal, sys, time
from linfit.settings import MLflowTracking
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.open import open_recorder
metrics = tuple(("loss", 1.0, step) for step in range(1000))
rows = [RunRecord("child", 1, 2, "FINISHED", {{}}, {{}}, metrics) for _ in range(400)]
recorder = open_recorder(MLflowTracking(uri={uri!r}, artifacts={artifacts!r}), {name!r})
blocks = [recorder.log_runs_async(rows) for _ in range(3)]
time.sleep({moment})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", [0, 0.3])
@pytest.mark.slow
def test_a_parent_that_is_killed_leaves_whole_blocks(
    moment: float, recorder: DatabaseRecorder
) -> None:
    program = KILLED.format(
        uri=recorder.store.uri, artifacts=recorder.store.artifacts, name=NAME, moment=moment
    )
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=120, check=False, stderr=subprocess.DEVNULL
    )
    assert done.returncode == -signal.SIGKILL
    recorder.start_run(row("after"))  # waits for the lock, as whoever goes on does
    count = run_count(file_of(recorder))
    assert count % 400 == 1
    time.sleep(0.5)
    assert run_count(file_of(recorder)) == count, "something was written for a process that is gone"
    assert sound(file_of(recorder))


def test_a_lock_is_waited_for(
    recorder: DatabaseRecorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        database, "WRITING_PRAGMAS", (WRITING_PRAGMAS[0], "PRAGMA busy_timeout = 50")
    )
    recorder._artifacts()
    with closing(
        sqlite3.connect(file_of(recorder), check_same_thread=False, isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        blocks = [recorder.log_runs_async(ODD), recorder.log_runs_async(ODD)]
        Timer(1.5, lambda: other.execute("ROLLBACK")).start()
        assert [len(block.result()) for block in blocks] == [len(ODD)] * 2
    said = [record.getMessage() for record in caplog.records if record.name.startswith("linfit")]
    assert said == [f"the store {recorder.store} is busy or does not answer: waiting for it"]
    assert run_count(file_of(recorder)) == 2 * len(ODD)


def test_a_lock_that_stays_is_one_line_and_nothing_is_written(
    recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        database, "WRITING_PRAGMAS", (WRITING_PRAGMAS[0], "PRAGMA busy_timeout = 10")
    )
    monkeypatch.setenv("LINFIT_PATIENCE", "0.1")
    with closing(sqlite3.connect(file_of(recorder), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            RecordingError, match=r"is kept locked by another program: wait"
        ) as error:
            recorder.log_runs_async(ODD).result()
        assert "\n" not in str(error.value)
        other.execute("ROLLBACK")
    assert run_count(file_of(recorder)) == 0
    assert len(recorder.log_runs_async(ODD).result()) == len(ODD)


LEAVES = """
from linfit.settings import MLflowTracking
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.open import open_recorder
import sys, time
recorder = open_recorder(MLflowTracking(uri={uri!r}, artifacts={artifacts!r}), {name!r})
recorder.log_runs_async([RunRecord("first", 1, 2, "FINISHED", {{}})]).result()
print(flush=True)
sys.stdin.readline()
blocks = [recorder.log_runs_async([RunRecord("late", 1, 2, "FINISHED", {{}})]) for _ in range(3)]
time.sleep(0.5)
print(time.time())
"""


def test_whoever_leaves_does_not_wait_for_a_lock(recorder: DatabaseRecorder) -> None:
    program = LEAVES.format(uri=recorder.store.uri, artifacts=recorder.store.artifacts, name=NAME)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as leaving:
        assert leaving.stdin is not None and leaving.stdout is not None
        leaving.stdout.readline()
        with closing(sqlite3.connect(file_of(recorder), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            left = float(leaving.communicate("\n", timeout=60)[0])
            assert time.time() - left < 10
            other.execute("ROLLBACK")
    time.sleep(1.5)  # as long as a connection may wait for the lock itself
    assert run_count(file_of(recorder)) == 1


@pytest.mark.parametrize("number", [np.float64(1.5), np.int64(2), 3])
def test_any_number_is_kept_as_one(number: Any, recorder: DatabaseRecorder) -> None:
    ids = [
        *recorder.log_runs_async([numbers(("n", number, 0))]).result(),
        *recorder.log_runs([numbers(("n", number, 0))]),
    ]
    with closing(sqlite3.connect(file_of(recorder))) as store:
        kept = store.execute("SELECT typeof(value), value FROM metrics").fetchall()
    assert len(ids) == 2 and kept == [("real", float(number))] * 2


def test_what_cannot_be_written_is_said(recorder: DatabaseRecorder) -> None:
    with pytest.raises(RecordingError, match=r"surrogates not allowed|failed:"):
        recorder.log_runs_async([row(params={"key": "\ud800"})]).result()
    assert len(recorder.log_runs_async([row()]).result()) == 1


def test_blocks_that_wait_behind_a_lock_fail_with_the_first(
    recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        database, "WRITING_PRAGMAS", (WRITING_PRAGMAS[0], "PRAGMA busy_timeout = 10")
    )
    monkeypatch.setenv("LINFIT_PATIENCE", "1")
    write, calls = DatabaseRecorder._write, [0]

    def counted(self: DatabaseRecorder, block: Any) -> None:
        calls[0] += 1
        write(self, block)

    monkeypatch.setattr(DatabaseRecorder, "_write", counted)
    recorder._artifacts()
    with closing(sqlite3.connect(file_of(recorder), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        blocks = [recorder.log_runs_async(ODD) for _ in range(4)]
        said = {str(block.exception()) for block in blocks[:1]}
        tried = calls[0]
        assert {str(block.exception()) for block in blocks} == said
        assert calls[0] == tried
        other.execute("ROLLBACK")
    assert len(recorder.log_runs_async(ODD).result()) == len(ODD)
    assert run_count(file_of(recorder)) == len(ODD)


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (row(status="LOST"), "failed: .*CHECK constraint"),
        (row(params={"a+b": "1"}), r"failed: Invalid value .*a\+b"),
    ],
)
def test_a_row_that_is_refused_takes_its_block_along_and_no_other(
    refused: Any, why: str, recorder: DatabaseRecorder
) -> None:
    before = recorder.log_runs_async([row()])
    with pytest.raises(RecordingError, match=why) as error:
        recorder.log_runs_async([row(), refused]).result()
    assert "\n" not in str(error.value)
    assert len(before.result()) == len(recorder.log_runs_async([row()]).result()) == 1
    assert run_count(file_of(recorder)) == 2


def test_a_deleted_experiment_takes_no_runs(recorder: DatabaseRecorder) -> None:
    recorder.log_runs_async(children()).result()
    recorder.client.client.delete_experiment(recorder.client.experiment_id)
    with pytest.raises(
        RecordingError,
        match=r"^the MLflow experiment 'a block' was deleted in sqlite:.* "
        r"while its runs were added$",
    ):
        recorder.log_runs_async([row()]).result()
