"""Servers and clusters of the tests' own, on loopback, ended with the session.

Where one is not installed, its tests skip and say so; with LINFIT_NO_SKIPS=1, they fail.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.faults.harness import FITS, contents, log, missing, need_package, run
from tests.helpers import end_with_parent

PATIENCE = 90


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(*command: str, user: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the end, also at that of the tests where these are broken off.

    It is asked to, so that it takes its shared memory with it, and killed where it does not.
    """
    silent = subprocess.DEVNULL
    process = subprocess.Popen(
        command,
        user=user,
        stdout=silent,
        stderr=silent,
        cwd="/",
        preexec_fn=partial(end_with_parent, signal.SIGINT),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(there: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end, "it did not come up"
        time.sleep(0.2)


def answers(port: int) -> bool:
    with closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URI of an empty PostgreSQL database, with a password in it."""
    need_package("psycopg", "postgres")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        missing("PostgreSQL's server is not installed: apt-get install postgresql")
    # PostgreSQL refuses to run as root.
    binaries, user = programs[-1].parent, "postgres" if os.getuid() == 0 else None
    port = free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        if user:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        subprocess.run(
            [binaries / "initdb", "-D", data, "-A", "trust", "-U", "linfit"],
            user=user,
            check=True,
            cwd="/",
            capture_output=True,
        )
        options = ("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", folder)
        stack.enter_context(
            running(str(binaries / "postgres"), "-D", data, "-p", str(port), *options, user=user)
        )
        wait_until(lambda: answers(port))
        yield f"postgresql://linfit:canary@127.0.0.1:{port}/postgres"


@contextmanager
def dask() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address of a dask scheduler with two workers of one thread each, and its process."""
    distributed = need_package("distributed", "dask")
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = (
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    )
    worker = (
        "distributed.cli.dask_worker",
        address,
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
    )
    with ExitStack() as stack:
        process = stack.enter_context(running(sys.executable, "-m", *scheduler))
        wait_until(lambda: answers(port))
        for _ in range(2):
            stack.enter_context(running(sys.executable, "-m", *worker))
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        yield address, process


@pytest.fixture(scope="session")
def dask_cluster() -> Iterator[str]:
    """The address of a cluster that lives as long as the tests."""
    with dask() as (address, _):
        yield address


@pytest.fixture
def stored(tmp_path: Path, migrated_store: Path) -> Path:
    """A folder of its own with an empty store, which is not the working directory."""
    (tmp_path / "outputs").mkdir()
    shutil.copy(migrated_store, tmp_path / "outputs" / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> str:
    """Tables and runs of the sweep `FITS` that nothing disturbs."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    assert run(folder, *FITS) == 0, log(folder)
    return contents(folder)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how many sweeps were killed, and what was wrong after they had been resumed.

    The numbers come from all workers.
    """
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    properties = [
        pair
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for pair in report.user_properties
    ]
    rows = [value for name, value in properties if name == "kills"]
    if not rows:
        return
    columns = list(rows[0])
    totals = {key: sum(row[key] for row in rows) for key in columns[1:]}
    terminalreporter.section("kills")
    for row in (dict(zip(columns, columns, strict=True)), *rows, {columns[0]: "all", **totals}):
        terminalreporter.write_line(
            "".join(f"{row[key]!s:<{26 if key == columns[0] else 8}}" for key in columns)
        )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder: they start and kill processes, which takes seconds each."""
    for item in items:
        if (
            item.path.parent == Path(__file__).parent
            and item.get_closest_marker("faults_all") is None
        ):
            item.add_marker(pytest.mark.faults)
