"""Tracking servers that die, and answers that are lost."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.store.store import Store
from linfit.tracking.write.client import ClientRecorder
from tests.faults.conftest import answers, free_port
from tests.faults.harness import FITS, PAIRS, contents, end, log, one_line, run, start
from tests.faults.proxy import Deaf
from tests.helpers import started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="real servers, on Linux")


@contextmanager
def server(stored: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", f"sqlite:///{stored}/outputs/mlflow.db"]
    command += [
        "--serve-artifacts",
        "--artifacts-destination",
        str(stored / "outputs" / "artifacts"),
    ]
    # Without this setting, the server starts seven more processes, which are not needed here.
    alone = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (
        (stored / "server.log").open("ab") as output,
        started(command, stdout=output, stderr=output, env=alone) as process,
    ):
        wait_for(lambda: answers(port), process)
        yield process


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)


def assert_whole_on_server(stored: Path, reference: str) -> None:
    assert contents(stored) == reference
    with closing(sqlite3.connect(stored / "outputs" / "mlflow.db")) as store:
        counts = Counter(store.execute("SELECT status, lifecycle_stage FROM runs").fetchall())
        assert counts[("FINISHED", "active")] == PAIRS + 1, counts
        assert not [key for key in counts if key[1] == "active" and key[0] != "FINISHED"], counts
        twice = (
            "SELECT run_uuid, key, step FROM metrics "
            "GROUP BY run_uuid, key, step HAVING count(*) > 1"
        )
        assert store.execute(twice).fetchall() == []


def test_every_third_reply_is_lost(stored: Path, reference: str) -> None:
    port = free_port()
    with server(stored, port):
        proxy = Deaf(port)
        try:
            code = run(stored, *FITS, f"tracking.uri=http://127.0.0.1:{proxy.port}")
        finally:
            proxy.close()
    assert code == 0, log(stored)
    assert proxy.dropped > PAIRS
    assert_whole_on_server(stored, reference)
    with closing(sqlite3.connect(stored / "outputs" / "mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (PAIRS + 1,)
        assert store.execute("SELECT count(*) FROM logged_models").fetchone() == (1,)


def test_a_server_that_dies_in_the_middle(stored: Path, reference: str) -> None:
    port = free_port()
    database = stored / "outputs" / "mlflow.db"
    with server(stored, port) as process:
        sweep = start(stored, *FITS, f"tracking.uri=http://127.0.0.1:{port}", LINFIT_PATIENCE="2")
        wait_for(lambda: sweep.exitcode is not None or num_runs(database) > 20, process)
        assert sweep.exitcode is None, log(stored)
    assert end(sweep) == 2, log(stored)
    one_line(stored, f"127.0.0.1:{port}")
    with server(stored, port):
        assert run(stored, "resume") == 0, log(stored)
    assert_whole_on_server(stored, reference)


def num_runs(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as store:
        return int(store.execute("SELECT count(*) FROM runs").fetchone()[0])


def test_a_run_whose_answer_was_lost_is_not_made_twice(
    stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    recorder = ClientRecorder(
        Store(f"sqlite:///{stored}/outputs/mlflow.db", str(stored / "outputs" / "artifacts")),
        "lossy",
    )
    truth: dict[str, Any] = {
        name: getattr(recorder.client, name)
        for name in ("create_run", "log_batch", "set_terminated")
    }
    calls = Counter[str]()

    def lossy(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            calls[name] += 1
            result = truth[name](*arguments, **named)
            if calls[name] % 2:
                raise MlflowException("API request to http://x failed with exception lost")
            return result

        return call

    for name in truth:
        monkeypatch.setattr(recorder.client, name, lossy(name))
    tags = [
        {mlflow_names.PARENT: "0" * 32, mlflow_names.ROW: str(number)} for number in range(3)
    ] + [{mlflow_names.ID: "abc"}]
    rows = [
        RunRecord("r", 1, 2, "FINISHED", own, {"p": "1"}, (("loss", 1.0, 0), ("loss", 0.5, 1)))
        for own in tags
    ]
    ids = recorder.log_runs(rows)
    found = recorder.client.search_runs([recorder.experiment_id])
    assert sorted(run.info.run_id for run in found) == sorted(ids)
    assert {run.info.status for run in found} == {"FINISHED"}
    for run_id in ids:
        assert [
            (point.step, point.value)
            for point in recorder.client.get_metric_history(run_id, "loss")
        ] == [(0, 1.0), (1, 0.5)]
    assert calls["create_run"] == len(rows)
