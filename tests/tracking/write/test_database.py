"""The database recorder writes what the client recorder writes, all of a block or nothing of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any
from uuid import UUID

import mlflow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from sqlalchemy import create_engine

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.errors import RecordingError
from linfit.settings import MLflowTracking
from linfit.system.host import end_detached
from linfit.tracking.schema import run_records
from linfit.tracking.schema.config_record import record_config
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.store.store import Store
from linfit.tracking.write import database, sql
from linfit.tracking.write.client import MAX_CONCURRENT_RUNS, ClientRecorder
from linfit.tracking.write.database import DatabaseRecorder
from linfit.tracking.write.open import open_recorder
from linfit.tracking.write.rows import RunIds
from linfit.views.ui.server import start_server
from tests.tracking.written import (
    DATA,
    END,
    NAME,
    ODD,
    START,
    Written,
    children,
    contents,
    file_of,
    named,
    numbers,
    row,
    run_count,
    sound,
    uri,
    write,
)


def everything(client: MlflowClient, run_ids: Sequence[str]) -> list[str]:
    """All that a client can read of runs."""
    return [
        repr(
            (
                run_as_text(client, run_id),
                [
                    histories(client, run_id, key)
                    for key in sorted(client.get_run(run_id).data.metrics)
                ],
            )
        )
        for run_id in run_ids
    ]


def run_as_text(client: MlflowClient, run_id: str) -> str:
    return json.dumps(client.get_run(run_id).to_dictionary(), sort_keys=True).replace(run_id, "ID")


def histories(client: MlflowClient, run_id: str, key: str) -> list[str]:
    return sorted(
        repr((point.key, point.value, point.timestamp, point.step))
        for point in client.get_metric_history(run_id, key)
    )


@pytest.mark.matrix
def test_every_field_of_every_table_is_what_the_client_writes(written: Written) -> None:
    ours, theirs = (
        contents(written.by_database, written.database_ids),
        contents(written.by_client, written.client_ids),
    )
    assert ours.keys() == theirs.keys()
    for table, records in theirs.items():
        assert ours[table] == records, table
    assert all(
        ours[table]
        for table in (
            "runs",
            "tags",
            "params",
            "metrics",
            "latest_metrics",
            "datasets",
            "inputs",
            "input_tags",
        )
    )


@pytest.mark.matrix
def test_a_client_reads_the_same(written: Written) -> None:
    theirs, ours = written.clients()
    assert everything(ours, written.database_ids) == everything(theirs, written.client_ids)


@pytest.mark.matrix
def test_a_search_finds_the_same(written: Written) -> None:
    frames = []
    for file, run_ids in (
        (written.by_client, written.client_ids),
        (written.by_database, written.database_ids),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MLFLOW_TRACKING_URI", uri(file))
            found = mlflow.search_runs(search_all_experiments=True).set_index("run_id").loc[run_ids]
        found["artifact_uri"] = [
            address.replace(run_id, "ID") for run_id, address in found["artifact_uri"].items()
        ]
        frames.append(found.reset_index(drop=True).sort_index(axis=1))
    assert frames[0].equals(frames[1])
    assert len(frames[0]) == len(written.rows)


@pytest.mark.parametrize(
    "condition",
    [
        "metrics.loss < 3",
        "params.optimizer = 'sgd'",
        "tags.more = '…'",
        "attributes.status = 'KILLED'",
    ],
)
def test_a_condition_finds_the_same(written: Written, condition: str) -> None:
    theirs, ours = (
        sorted(run.info.run_name for run in client.search_runs(["1"], condition))
        for client in written.clients()
    )
    assert ours == theirs
    assert ours


POINTS = st.tuples(st.sampled_from(["loss", "weight/0"]), st.floats(width=64), st.integers(-2, 3))


def test_any_points_are_kept_as_the_client_keeps_them(
    template: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @settings(derandomize=True, database=None, deadline=None, max_examples=5)
    @given(st.lists(st.lists(POINTS, max_size=12), min_size=8, max_size=8))
    def law(points: list[list[tuple[str, float, int]]]) -> None:
        done = write([numbers(*some) for some in points], template, tmp_path_factory.mktemp("any"))
        assert contents(done.by_database, done.database_ids) == contents(
            done.by_client, done.client_ids
        )

    law()


@pytest.mark.matrix
def test_the_database_is_sound(written: Written) -> None:
    assert sound(written.by_database)


def test_ids_are_mlflows_but_grow() -> None:
    first, second = RunIds(), RunIds()
    ids = [next(first) for _ in range(2000)]
    assert ids == sorted(ids)
    assert len({*ids, *(next(second) for _ in range(2000))}) == 4000
    assert all(re.fullmatch("[0-9a-f]{32}", one) and UUID(one).version == 4 for one in ids)
    assert len({one[:12] for one in ids}) == 2000


def test_runs_that_are_begun_and_ended_go_through_the_client(
    recorder: DatabaseRecorder, tmp_path: Path
) -> None:
    begun = run_records.record_start(record_config(FitConfig(steps=5)), "single", START, {})
    run_id = recorder.start_run(begun)
    result = fit(FitConfig(steps=5))
    (tmp_path / "config.json").write_text("{}")
    recorder.end_run(
        run_id, run_records.record_result(begun, result, END), [tmp_path / "config.json"]
    )
    [child] = recorder.log_runs(
        [
            run_records.record_child(
                result, record_config(result.config), "child", run_id, 0, (START, END)
            )
        ]
    )
    client = recorder.client.client
    assert [file.path for file in client.list_artifacts(run_id)] == ["config.json"]
    assert [
        run.info.run_id
        for run in client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{run_id}'")
    ] == [child]
    single, added = (
        client.get_run(one).inputs.dataset_inputs[0].dataset.to_dictionary()
        for one in (run_id, child)
    )
    assert single == added
    assert recorder.how_to_view() == recorder.client.how_to_view()
    assert recorder.log_runs([]) == []


def test_a_block_that_fails_leaves_nothing(
    recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(file_of(recorder), [])

    def broken(*_: Any) -> Any:
        assert run_count(file_of(recorder)) == 0, "others see a block before it is whole"
        raise OSError("the disk is gone")

    monkeypatch.setattr(sql, "find_known_datasets", broken)
    with pytest.raises(
        RecordingError, match=rf"^the store {file_of(recorder)} failed: the disk is gone$"
    ):
        recorder.log_runs(ODD)
    assert contents(file_of(recorder), []) == before
    monkeypatch.undo()
    assert len(recorder.log_runs(ODD)) == len(ODD)


@pytest.mark.slow
def test_a_process_that_is_killed_leaves_nothing(recorder: DatabaseRecorder) -> None:
    program = f"""
import os, signal
from linfit.settings import MLflowTracking
from linfit.tracking.write import sql as statements
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.open import open_recorder
statements.find_known_datasets = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
metrics = tuple(("loss", 1.0, step) for step in range(1000))
rows = [RunRecord("child", 1, 2, "FINISHED", {{}}, {{}}, metrics) for _ in range(200)]
tracking = MLflowTracking(uri={recorder.store.uri!r}, artifacts={recorder.store.artifacts!r})
open_recorder(tracking, {NAME!r}).log_runs(rows)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert run_count(file_of(recorder)) == 0
    assert sound(file_of(recorder))
    assert len(recorder.log_runs(ODD)) == len(ODD)


def test_a_lock_is_waited_for(recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        database, "WRITING_PRAGMAS", ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 200")
    )
    with closing(
        sqlite3.connect(file_of(recorder), check_same_thread=False, isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        Timer(
            0.3, lambda: other.execute("ROLLBACK")
        ).start()  # after the first attempt, before the end of the second
        assert len(recorder.log_runs(ODD)) == len(ODD)
    assert run_count(file_of(recorder)) == len(ODD)


def test_a_lock_that_stays_is_one_line_and_nothing_is_written(
    recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        database, "WRITING_PRAGMAS", ("PRAGMA foreign_keys = ON", "PRAGMA busy_timeout = 10")
    )
    monkeypatch.setenv("LINFIT_PATIENCE", "0.1")
    with closing(sqlite3.connect(file_of(recorder), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            RecordingError, match=r"is kept locked by another program: wait"
        ) as error:
            recorder.log_runs(ODD)
        assert "\n" not in str(error.value)
        other.execute("ROLLBACK")
    assert run_count(file_of(recorder)) == 0


def test_a_dataset_that_another_process_was_quicker_to_add(
    recorder: DatabaseRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.log_runs([row(dataset=DATA)])
    seen, truth = [0], sql.find_known_datasets

    def late(*arguments: Any) -> Any:
        seen[0] += 1
        return {} if seen[0] == 1 else truth(*arguments)

    monkeypatch.setattr(sql, "find_known_datasets", late)
    recorder.log_runs([row(dataset=DATA)])
    assert seen == [2]
    assert run_count(file_of(recorder)) == 2


def test_a_driver_that_takes_no_tuples(written: Written, template: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(template, file)
    by_name = DatabaseRecorder(ClientRecorder(named(file), NAME))
    by_name.engine = create_engine(uri(file), paramstyle="named")
    run_ids = by_name.log_runs(written.rows)
    by_name.engine.dispose()
    assert contents(file, run_ids) == contents(written.by_client, written.client_ids)


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (numbers(("loss[0]", 1.0, 0)), r"failed: Invalid value .*loss\[0\]"),
        (row(params={"a+b": "1"}), r"failed: Invalid value .*a\+b"),
        (
            row(dataset=replace(DATA, digest="x" * 37)),
            "failed: .digest. exceeds the maximum length",
        ),
        (row(status="LOST"), "failed: .*CHECK constraint"),
    ],
)
def test_what_mlflow_refuses_is_refused_in_one_line(
    recorder: DatabaseRecorder, refused: RunRecord, why: str
) -> None:
    with pytest.raises(RecordingError, match=why) as error:
        recorder.log_runs([row(), refused])
    assert "\n" not in str(error.value)
    assert run_count(file_of(recorder)) == 0


def test_a_deleted_experiment_takes_no_runs(recorder: DatabaseRecorder) -> None:
    recorder.client.client.delete_experiment(recorder.client.experiment_id)
    with pytest.raises(
        RecordingError, match=r"the MLflow experiment 'a block' was deleted in sqlite:"
    ):
        recorder.log_runs([row()])


@pytest.mark.matrix
@pytest.mark.slow
def test_it_survives_gc_and_upgrade(recorder: DatabaseRecorder) -> None:
    run_ids = recorder.log_runs([*children(), *ODD])
    before = everything(recorder.client.client, run_ids[1:])
    recorder.client.client.delete_run(run_ids[0])
    store = recorder.store.uri
    run_mlflow("gc", "--backend-store-uri", store, "--tracking-uri", store)
    run_mlflow("db", "upgrade", store)
    assert run_count(file_of(recorder)) == len(run_ids) - 1
    assert sound(file_of(recorder))
    assert everything(recorder.client.client, run_ids[1:]) == before
    assert len(recorder.log_runs(ODD)) == len(ODD)


def run_mlflow(*arguments: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
    }
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def server(written: Written) -> Iterator[str]:
    """MLflow's own server on what the database recorder wrote."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = written.by_database.with_name("server.log").open("wb")
    store = named(written.by_database)
    process = start_server(store, port, stdout=log, stderr=log, cwd=written.by_database.parent)
    try:
        answer(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end_detached(process, 20)
        log.close()


def answer(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not start")


def test_a_server_tells_the_same(server: str, written: Written) -> None:
    theirs, _ = written.clients()
    remote = MlflowClient(tracking_uri=server)
    assert everything(remote, written.database_ids) == everything(theirs, written.client_ids)
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/runs/search",
        json.dumps({"experiment_ids": ["1"], "filter": "attributes.run_name = 'data'"}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as reply:
        [found] = json.load(reply)["runs"]
    assert found["inputs"]["dataset_inputs"][0]["dataset"]["digest"] == DATA.digest


def test_several_runs_at_once_go_to_a_server(server: str, written: Written, template: Path) -> None:
    remote = open_recorder(MLflowTracking(uri=server), NAME)
    assert isinstance(remote, ClientRecorder)
    run_ids = remote.log_runs(written.rows)
    theirs, _ = written.clients()
    assert everything(remote.client, run_ids) == everything(theirs, written.client_ids)


@pytest.fixture
def sending(recorder: DatabaseRecorder) -> ClientRecorder:
    """A client that takes its store for a server."""
    recorder.client.store = Store("http://127.0.0.1:9", None)
    return recorder.client


MANY = [row(str(number)) for number in range(40)]


def test_ids_come_in_the_order_of_the_rows(
    sending: ClientRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(one: RunRecord) -> str:
        time.sleep(0.001 * (7 - int(one.name) % 7))
        return f"id of {one.name}"

    monkeypatch.setattr(sending, "_add", add)
    assert sending.log_runs(MANY) == [f"id of {one.name}" for one in MANY]


def test_the_first_error_is_raised_when_the_others_have_ended(
    sending: ClientRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = [], []

    def add(one: RunRecord) -> str:
        begun.append(one.name)
        time.sleep({"1": 0.2, "3": 0.05}.get(one.name, 0.4))
        ended.append(one.name)
        if one.name in ("1", "3"):
            raise RecordingError(f"no {one.name}")
        return one.name

    monkeypatch.setattr(sending, "_add", add)
    with pytest.raises(RecordingError, match="no 1"):
        sending.log_runs(MANY)
    assert sorted(begun) == sorted(ended)
    assert MAX_CONCURRENT_RUNS <= len(begun) < len(MANY), "the rest was begun after an error"
