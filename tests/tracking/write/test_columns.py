"""Blocks are written where the tables have the columns, and kept if MLflow reads them back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import create_engine

from linfit.settings import MLflowTracking
from linfit.tracking.schema.run_records import Amendment, RunRecord
from linfit.tracking.write import database, readback
from linfit.tracking.write.client import ClientRecorder
from linfit.tracking.write.columns import find_obstacle
from linfit.tracking.write.database import DatabaseRecorder
from linfit.tracking.write.open import open_recorder
from linfit.tracking.write.rows import RunBlock
from tests.tracking.written import (
    DATA,
    NAME,
    Written,
    children,
    contents,
    file_of,
    named,
    row,
    sound,
    uri,
)


def rewrite(file: Path, table: str, old: str, new: str) -> None:
    """Change how a table is declared, which SQLite's ALTER TABLE does not do."""
    with closing(sqlite3.connect(file)) as store, store:
        store.execute("PRAGMA writable_schema = ON")
        done = store.execute(
            "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ? AND instr(sql, ?)",
            (old, new, table, old),
        )
        assert done.rowcount == 1, f"{table} is not declared with {old}"


def execute(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as store, store:
        for statement in statements:
            store.execute(statement)


# ---- columns ----


@pytest.mark.parametrize(
    "added",
    [
        "ALTER TABLE runs ADD COLUMN later TEXT",
        "ALTER TABLE metrics ADD COLUMN later INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tags ADD COLUMN later TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE params ADD COLUMN later TEXT "
        "GENERATED ALWAYS AS (key || value) VIRTUAL NOT NULL",
        "CREATE TABLE later (run_uuid TEXT NOT NULL)",
        "UPDATE alembic_version SET version_num = '0123456789ab'",
    ],
)
def test_what_fills_itself_is_no_obstacle(added: str, template: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(template, tmp_path / "mlflow.db"))
    execute(file, added)
    assert find_obstacle(create_engine(uri(file))) == ""


@pytest.mark.parametrize(
    ("table", "old", "new", "why"),
    [
        (
            "runs",
            "run_uuid VARCHAR(32) NOT NULL",
            "run_uuid VARCHAR(32) NOT NULL, later TEXT NOT NULL",
            "its table runs demands a column later",
        ),
        ("params", "value VARCHAR", "content VARCHAR", "its table params has no column value"),
        (
            "latest_metrics",
            "value FLOAT",
            "value VARCHAR(20)",
            "the column value of its table latest_metrics is VARCHAR(20), and not as",
        ),
        (
            "runs",
            "start_time BIGINT",
            "start_time DATETIME",
            "the column start_time of its table runs is DATETIME, and not as",
        ),
        (
            "tags",
            "value VARCHAR(8000)",
            "value INTEGER",
            "the column value of its table tags is INTEGER, and not as",
        ),
        (
            "runs",
            "deleted_time BIGINT",
            "deleted_time BIGINT NOT NULL",
            "the column deleted_time of its table runs is BIGINT, and not as",
        ),
    ],
)
def test_an_obstacle_is_named_and_the_client_writes(
    table: str,
    old: str,
    new: str,
    why: str,
    template: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = Path(shutil.copy(template, tmp_path / "mlflow.db"))
    rewrite(file, table, old, new)
    opened = open_recorder(MLflowTracking(uri=uri(file), artifacts=named(file).artifacts), NAME)
    assert isinstance(opened, ClientRecorder)
    [warning] = caplog.records
    assert f"the store {uri(file)}: {why}" in warning.getMessage()
    assert warning.getMessage().endswith(
        "runs are written one by one through MLflow's client, which is slower"
    )
    assert "\n" not in warning.getMessage()


def test_a_table_that_is_gone_or_a_view_is_an_obstacle(template: Path, tmp_path: Path) -> None:
    file = Path(shutil.copy(template, tmp_path / "mlflow.db"))
    execute(
        file,
        "ALTER TABLE input_tags RENAME TO kept",
        "CREATE VIEW input_tags AS SELECT * FROM kept",
    )
    assert find_obstacle(create_engine(uri(file))) == "it has no table input_tags"


# ---- what was written is read back ----

#: What the client writes is right: it has a run that is RUNNING meanwhile, and a block has none.
MEDDLED = (
    "WHEN NOT EXISTS (SELECT 1 FROM runs WHERE status = 'RUNNING') "
    "BEGIN {} WHERE rowid = new.rowid; END"
)
CHANGED = {
    "run name": ("runs", "UPDATE runs SET name = 'x' || new.name"),
    "end time": ("runs", "UPDATE runs SET end_time = new.end_time / 1000"),
    "status": ("runs", "UPDATE runs SET status = 'KILLED'"),
    "the run itself": ("runs", "UPDATE runs SET experiment_id = 0"),
    "params": ("params", "UPDATE params SET value = value || '0'"),
    "tags": ("tags", "DELETE FROM tags"),
    "metrics": ("latest_metrics", "UPDATE latest_metrics SET value = value + 1"),
    "curves": ("metrics", "UPDATE metrics SET step = step + 1"),
    "datasets": ("datasets", "UPDATE datasets SET digest = 'x' || substr(digest, 2)"),
    "inputs": ("inputs", "UPDATE inputs SET destination_type = 'OTHER'"),
}
WAYS = ["here", "for a parent"]


@pytest.fixture(scope="module")
def given() -> list[RunRecord]:
    return [*children()[:2], row("data", dataset=DATA)]


@pytest.fixture(scope="module")
def right(
    given: list[RunRecord], template: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """All that the client makes of two blocks."""
    file = Path(shutil.copy(template, tmp_path_factory.mktemp("right")))
    client = ClientRecorder(named(file), NAME)
    return contents(file, client.log_runs([*given, given[0]]))


def add(recorder: DatabaseRecorder, given: list[RunRecord], way: str) -> list[str]:
    """Both blocks, the second before the first is known to be wrong."""
    if way == "for a parent":
        recorder.parent = os.getppid()
    blocks = [recorder.log_runs_async(rows) for rows in (given, given[:1])]
    return [run_id for block in blocks for run_id in block.result()]


@pytest.mark.parametrize(
    ("changed", "way"),
    [*((changed, "here") for changed in CHANGED), *(("params", way) for way in WAYS[1:])],
)
def test_a_block_that_reads_back_otherwise_is_taken_out_and_the_client_writes(
    changed: str,
    way: str,
    given: list[RunRecord],
    right: dict[str, list[str]],
    recorder: DatabaseRecorder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file, (table, statement) = file_of(recorder), CHANGED[changed]
    execute(file, f"CREATE TRIGGER meddling AFTER INSERT ON {table} {MEDDLED.format(statement)}")
    run_ids = add(recorder, given, way)
    assert contents(file, run_ids) == right
    assert sound(file)
    [warning] = caplog.records
    named = {"inputs": "datasets"}.get(changed, changed)
    assert (
        f"{uri(file)}: what was written into its tables reads back otherwise ({named}): runs are"
        in warning.getMessage()
    )
    recorder.amend_runs({run_ids[0]: Amendment("amended", {}, {}, {})})
    assert recorder.client.client.get_run(run_ids[0]).info.run_name == "amended"


def test_where_a_wrong_block_cannot_be_taken_out_it_is_deleted(
    given: list[RunRecord], recorder: DatabaseRecorder
) -> None:
    _, statement = CHANGED["params"]
    execute(
        file_of(recorder),
        f"CREATE TRIGGER meddling AFTER INSERT ON params {MEDDLED.format(statement)}",
        "CREATE TRIGGER kept BEFORE DELETE ON runs BEGIN SELECT RAISE(ABORT, 'runs are kept'); END",
    )
    run_ids = recorder.log_runs(given)
    found = recorder.client.client.search_runs(["1"])
    assert {run.info.run_id for run in found} == set(run_ids)


def test_only_the_first_block_is_read_back(
    given: list[RunRecord], recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    truth = readback.find_difference

    def find(client: MlflowClient, block: RunBlock) -> str:
        read.append(len(block.run_ids))
        return truth(client, block)

    monkeypatch.setattr(database, "find_difference", find)
    for rows in (given, given[:1], given):
        recorder.log_runs(rows)
    assert read == [3]


def test_every_kind_of_row_reads_back_as_it_was_given(
    written: Written, template: Path, tmp_path: Path
) -> None:
    """Each alone, so that it is looked at."""
    file = Path(shutil.copy(template, tmp_path / "mlflow.db"))
    recorder = DatabaseRecorder(ClientRecorder(named(file), NAME))
    for one in written.rows:
        recorder._is_right = None
        recorder.log_runs([one])
        assert recorder._is_right, one.name
