"""Stores that are crowded, locked, full, gone or deaf: one clear line, no run twice, no finished run without numbers, and `resume` completes."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from linfit.tracking import layout
from linfit.tracking.client import ClientRecorder
from linfit.tracking.layout import Row
from linfit.tracking.store import Store
from tests.faults.harness import FOLDER, assert_whole, end, log, run, start, tables

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="real processes, limits and mounts, on Linux")
SWEEP = ("run", "-m", "seed=range(0,50)", "optimizer=sgd,adam", "steps=20", "pictures=false", f"hydra.sweep.dir={FOLDER}")
NUM_FITS = 100


@pytest.fixture
def workdir(tmp_path: Path, migrated_store: Path) -> Path:
    (tmp_path / "outputs").mkdir()
    shutil.copy(migrated_store, tmp_path / "outputs" / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    workdir = tmp_path_factory.mktemp("reference")
    assert run(workdir, *SWEEP, "tracking=none") == 0, log(workdir)
    return tables(workdir)


# ---- crowds ----


@pytest.mark.faults
@pytest.mark.parametrize("exists", [True, False])
def test_eight_writers_of_one_file(exists: bool, tmp_path: Path, migrated_store: Path, reference: str) -> None:
    """Each its own sweep of 100 fits, with a reader that polls; of no database they make one."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    if exists:
        shutil.copy(migrated_store, tmp_path / "mlflow.db")
    folders = [tmp_path / str(number) for number in range(8)]
    for folder in folders:
        folder.mkdir()
    writers = [start(folder, *SWEEP, f"tracking.uri={uri}", "name=crowd") for folder in folders]
    while any(writer.exitcode is None for writer in writers):
        if exists:
            with closing(sqlite3.connect(f"file:{tmp_path}/mlflow.db?mode=ro", uri=True, timeout=60)) as store:
                store.execute("SELECT count(*) FROM runs").fetchone()
        time.sleep(0.1)
    assert [end(writer) for writer in writers] == [0] * 8, "\n".join(map(log, folders))
    assert not any("locked" in log(folder) for folder in folders)
    for folder in folders:
        assert tables(folder) == reference
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        counts = store.execute(
            "SELECT e.name, r.status, count(*) FROM runs r JOIN experiments e USING (experiment_id) GROUP BY e.name, r.status"
        ).fetchall()
        assert counts == [("crowd", "FINISHED", 808)]
        rows = store.execute(
            "SELECT count(*) FROM (SELECT DISTINCT p.value, t.value FROM tags p JOIN tags t USING (run_uuid) WHERE p.key = ? AND t.key = ?)",
            (layout.PARENT, layout.ROW),
        )
        assert rows.fetchone() == (800,)
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.faults
def test_two_resumes_at_once(workdir: Path, reference: str) -> None:
    first = start(workdir, *SWEEP, block=5)
    while not (workdir / FOLDER / "results" / "part-0.parquet").exists() and first.exitcode is None:
        time.sleep(0.002)
    first.kill()
    first.join()
    resumes = [start(workdir, "resume", FOLDER) for _ in range(2)]
    assert sorted(end(process) for process in resumes) in ([0, 0], [0, 2]), log(workdir)
    assert_whole(workdir, NUM_FITS, reference)


def test_a_locked_database_is_one_line_and_resume_completes(workdir: Path, reference: str) -> None:
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db", isolation_level=None)) as other:
        process = start(workdir, *SWEEP, LINFIT_PATIENCE="1", PYTHONWARNINGS="ignore")
        while not (workdir / FOLDER / "manifest.parquet").exists():
            time.sleep(0.002)
        while not other.execute("SELECT count(*) FROM runs").fetchone()[0]:
            time.sleep(0.002)
        other.execute("BEGIN EXCLUSIVE")
        code = end(process)
        other.execute("ROLLBACK")
    assert code == 2, log(workdir)
    [line] = [line for line in log(workdir).splitlines() if line.startswith("linfit: the store")]
    assert "mlflow.db" in line and "locked" in line and f"go on with: linfit resume {FOLDER}" in line
    assert "Traceback" not in log(workdir)
    assert run(workdir, "resume") == 0, log(workdir)
    assert_whole(workdir, NUM_FITS, reference)


# ---- disks ----


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs may not be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def one_line(workdir: Path, name: str) -> None:
    assert "Traceback" not in log(workdir), log(workdir)
    lines = [line for line in log(workdir).splitlines() if line.startswith("linfit: ") and name in line]
    assert len(lines) >= 1, log(workdir)


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_full_disk(tmp_path: Path, migrated_store: Path, reference: str) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "6m"):
        (disk / "outputs").mkdir()
        shutil.copy(migrated_store, disk / "outputs" / "mlflow.db")
        ballast = disk / "ballast"
        free = os.statvfs(disk)
        ballast.write_bytes(b"\0" * max(0, free.f_bavail * free.f_bsize - 200_000))
        assert run(disk, *SWEEP, TMPDIR=str(tmp_path)) == 2, log(disk)
        ballast.unlink()
        one_line(disk, "outputs")
        if (disk / FOLDER / "manifest.parquet").exists():
            assert run(disk, "resume") == 0, log(disk)
        else:
            assert run(disk, *SWEEP) == 0, log(disk)
        assert_whole(disk, NUM_FITS, reference)


@pytest.mark.faults
def test_a_limit_of_file_sizes(workdir: Path, reference: str) -> None:
    size = (workdir / "outputs" / "mlflow.db").stat().st_size
    process = start(workdir, *SWEEP)
    while not (workdir / FOLDER / "manifest.parquet").exists():
        time.sleep(0.002)
    assert process.pid is not None
    limit = size + 100_000
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    code = end(process)
    assert code in (0, 2), log(workdir)
    if code:
        one_line(workdir, "outputs")
    assert run(workdir, "resume") == 0, log(workdir)
    assert_whole(workdir, NUM_FITS, reference)


@pytest.mark.faults
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, "1m"):
        (disk / "log").touch()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = subprocess.run(
            [sys.executable, "-c", "from linfit.cli import main; main()", *SWEEP],
            cwd=disk,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert "outputs" in done.stderr


def test_a_database_of_another_mlflow(workdir: Path) -> None:
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as store:
        store.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        store.commit()
    assert run(workdir, *SWEEP) == 2
    one_line(workdir, "mlflow.db")
    assert not (workdir / "outputs" / "sweeps").exists()


# ---- servers ----


class Deaf:
    """A proxy before a server that drops every third reply after the request was done."""

    def __init__(self, port: int) -> None:
        self.server, self.count, self.dropped = port, 0, 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, closing(socket.create_connection(("127.0.0.1", self.server))) as server:
            while request := read_message(client):
                server.sendall(request.replace(f"127.0.0.1:{self.port}".encode(), f"127.0.0.1:{self.server}".encode()))
                reply = read_message(server)
                self.count += 1
                if self.count % 3 == 0:
                    self.dropped += 1
                    return
                client.sendall(reply)

    def close(self) -> None:
        self.socket.close()


def read_message(connection: socket.socket) -> bytes:
    """One HTTP message with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])}
    if b"content-length" in fields:
        while len(body) < int(fields[b"content-length"]):
            body += connection.recv(65536)
    elif fields.get(b"transfer-encoding") == b"chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def server(workdir: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{workdir}/outputs/mlflow.db",
        "--host",
        "127.0.0.1",
    ]
    command += [
        "--port",
        str(port),
        "--workers",
        "1",
        "--serve-artifacts",
        "--artifacts-destination",
        str(workdir / "outputs" / "artifacts"),
    ]
    with (workdir / "server.log").open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        try:
            wait_for(lambda: answers(port), process)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def assert_whole_on_server(workdir: Path, reference: str) -> None:
    assert tables(workdir) == reference
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as store:
        counts = Counter(store.execute("SELECT status, lifecycle_stage FROM runs").fetchall())
        assert counts[("FINISHED", "active")] == NUM_FITS + 1, counts
        assert not [key for key in counts if key[1] == "active" and key[0] != "FINISHED"], counts
        twice = "SELECT run_uuid, key, step FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        assert store.execute(twice).fetchall() == []
        empty = "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' AND run_uuid NOT IN (SELECT run_uuid FROM metrics)"
        assert store.execute(empty).fetchall() == []


@pytest.mark.faults
def test_every_third_reply_is_lost(workdir: Path, reference: str) -> None:
    port = free_port()
    with server(workdir, port):
        proxy = Deaf(port)
        try:
            code = run(workdir, *SWEEP, f"tracking.uri=http://127.0.0.1:{proxy.port}")
        finally:
            proxy.close()
    assert code == 0, log(workdir)
    assert proxy.dropped > NUM_FITS
    assert_whole_on_server(workdir, reference)
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (NUM_FITS + 1,)
        assert store.execute("SELECT count(*) FROM logged_models").fetchone() == (1,)


@pytest.mark.faults
def test_a_server_that_dies_in_the_middle(workdir: Path, reference: str) -> None:
    port = free_port()
    database = workdir / "outputs" / "mlflow.db"
    with server(workdir, port) as process:
        sweep = start(workdir, *SWEEP, f"tracking.uri=http://127.0.0.1:{port}", LINFIT_PATIENCE="2")
        wait_for(lambda: sweep.exitcode is not None or num_runs(database) > 20, process)
        assert sweep.exitcode is None, log(workdir)
    assert end(sweep) == 2, log(workdir)
    one_line(workdir, f"127.0.0.1:{port}")
    with server(workdir, port):
        assert run(workdir, "resume") == 0, log(workdir)
    assert_whole_on_server(workdir, reference)


def num_runs(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as store:
        return int(store.execute("SELECT count(*) FROM runs").fetchone()[0])


def test_a_run_whose_answer_was_lost_is_not_made_twice(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    recorder = ClientRecorder(Store(f"sqlite:///{workdir}/outputs/mlflow.db", str(workdir / "outputs" / "artifacts")), "lossy")
    truth: dict[str, Any] = {name: getattr(recorder.client, name) for name in ("create_run", "log_batch", "set_terminated")}
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
    tags = [{layout.PARENT: "0" * 32, layout.ROW: str(number)} for number in range(3)] + [{layout.ID: "abc"}]
    rows = [Row("r", 1, 2, "FINISHED", own, {"p": "1"}, (("loss", 1.0, 0), ("loss", 0.5, 1))) for own in tags]
    ids = recorder.add(rows)
    found = recorder.client.search_runs([recorder.experiment_id])
    assert sorted(run.info.run_id for run in found) == sorted(ids)
    assert {run.info.status for run in found} == {"FINISHED"}
    for run_id in ids:
        assert [(point.step, point.value) for point in recorder.client.get_metric_history(run_id, "loss")] == [(0, 1.0), (1, 0.5)]
    assert calls["create_run"] == len(rows)
