"""The same recorder against a real MLflow server over HTTP."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from linfit.errors import LinfitError
from linfit.system.host import end_detached
from linfit.tracking.read.reader import RunReader
from linfit.tracking.store.store import Store, resolve_store
from linfit.views.ui.server import start_server
from tests.helpers import started

CANARY = "s3cretcanary"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """The folder of the server's store."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(migrated_store, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def server(served: Path) -> Iterator[str]:
    """`linfit ui`'s own server process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    store = Store(f"sqlite:///{served}/mlflow.db", str(served / "artifacts"))
    address = f"http://127.0.0.1:{port}"
    with (served / "server.log").open("wb") as log:
        process = start_server(store, port, stdout=log, stderr=log)
        try:
            _wait(address, process)
            yield address
        finally:
            end_detached(process, 30)


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server has ended"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not start")


@pytest.mark.matrix
def test_runs_and_sweeps_over_http(
    server: str, linfit: Callable[..., Any], workdir: Path, served: Path
) -> None:
    from mlflow import MlflowClient

    single = linfit("run", "article/linear_adam", f"tracking.uri={server}")
    assert single.code == 0, single.err
    assert f"browse         {server}/#/experiments/" in single.out
    swept = linfit("run", "-m", "seed=0,1", "steps=20", f"tracking.uri={server}")
    assert swept.code == 0, swept.err
    client = MlflowClient(tracking_uri=server)
    experiments = {found.name: found.experiment_id for found in client.search_experiments()}
    assert len(client.search_runs([experiments["adhoc"]])) == 3
    [run] = client.search_runs([experiments["article"]])
    assert len(client.get_metric_history(run.info.run_id, "loss")) >= 35
    assert run.info.run_name == "linear_adam"
    downloaded = client.download_artifacts(run.info.run_id, "weights.safetensors", str(workdir))
    assert Path(downloaded).stat().st_size > 0
    reader = RunReader(resolve_store(server))
    assert reader.find_run(run.info.run_id).config().optimizer.name == "adam"
    with pytest.raises(
        LinfitError, match=r"config\.json is larger than it can be: .* bytes, 9 at most"
    ):
        reader.find_run(run.info.run_id).fetch_file("config.json", 9)
    with pytest.raises(LinfitError, match=r"has no file other\.json"):
        reader.find_run(run.info.run_id).fetch_file("other.json")
    shown = linfit("show", "last", "--uri", server)
    assert shown.code == 0
    assert "seed=1" in shown.out
    model = client.get_logged_model(run.outputs.model_outputs[0].model_id)
    assert model.status.value == "READY"
    assert list((served / "artifacts").rglob("weights.safetensors")), (
        "beside the database of the server, not here"
    )
    assert not (workdir / "outputs" / "artifacts").exists()


@pytest.mark.parametrize(
    "password",
    [
        f"p@{CANARY}",
        *(pytest.param(one, marks=pytest.mark.slow) for one in (CANARY, "${oc.env:CANARY}")),
    ],
)
def test_no_secret_is_written_or_said_anywhere(
    password: str,
    server: str,
    linfit: Callable[..., Any],
    workdir: Path,
    served: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file, table or line that a command prints has it, here or on the server."""
    monkeypatch.setenv("CANARY", CANARY)
    named, known = (
        f"tracking.uri={server.replace('//', f'//user:{password}@')}",
        server.replace("//", f"//user:{CANARY}@"),
    )
    # A store that has the experiment does not need it.
    beside = f"tracking.artifacts=ftp://user:{password}@nowhere.invalid/x"
    said = [
        linfit("run", "-m", "seed=0,1", "steps=2", named),
        linfit("run", "steps=2", named, beside),
    ]
    said += [
        linfit(command, "last", "--uri", known)
        for command in ("show", "reproduce", "verify", "report")
    ]
    said += [
        linfit("resume", "last", "--plan", "--uri", known),
        linfit("plan", "steps=2", named),
        linfit("script", "last", "--uri", known),
    ]
    assert [ran.code for ran in said] == [0] * len(said), [ran.err for ran in said]
    said.append(linfit("run", "steps=2", f"tracking.uri=http://user:{password}@127.0.0.1:1"))
    assert said[-1].code == 2 and "does not answer" in said[-1].err
    assert [text for ran in said for text in (ran.out, ran.err) if CANARY in text] == []
    files = [file for folder in (workdir, served) for file in folder.rglob("*") if file.is_file()]
    assert {
        "config.json",
        "overrides.yaml",
        "multirun.yaml",
        "manifest.parquet",
        "report.html",
        "mlflow.db",
    } <= {file.name for file in files}
    assert [file for file in files if CANARY in content(file)] == []
    shown = "user:${oc.env:CANARY}@" if password.startswith("$") else "user:***@"
    own = [
        file
        for name in ("config.json", "manifest.parquet")
        for file in (workdir / "outputs").rglob(name)
    ]
    assert len(own) == 2 and all(shown in content(file) for file in own)


def content(file: Path) -> str:
    """What a file holds, unpacked where it is packed."""
    if file.suffix == ".parquet":
        table = parquet.read_table(file)
        return f"{table.schema.metadata} {table.to_pylist()}"
    if file.suffix == ".db":
        with closing(sqlite3.connect(file)) as database:
            return "\n".join(database.iterdump())
    return file.read_bytes().decode("latin-1")


@pytest.mark.slow
def test_the_ui_leaves_no_process_behind(workdir: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-c",
        "from linfit.cli import main; main()",
        "ui",
        "--port",
        str(port),
    ]
    with started(command, stderr=subprocess.DEVNULL) as process:
        _wait(f"http://127.0.0.1:{port}", process)
        process.send_signal(signal.SIGINT)  # to this process alone, not to its group
        assert process.wait(30) == 0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)


def test_a_strangers_host_name_is_refused(server: str) -> None:
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/experiments/search?max_results=1",
        headers={"Host": "evil.example"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403
    refused.value.close()


def test_the_ui_of_a_server_is_its_own(linfit: Callable[..., Any], server: str) -> None:
    assert "is a server already" in linfit("ui", "--uri", server).err


def test_a_port_in_use_is_said(linfit: Callable[..., Any], workdir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = linfit("ui", "--port", port)
    assert done.code == 2
    assert f"port {port} cannot be used" in done.err
