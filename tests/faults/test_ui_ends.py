"""However `linfit ui` ends, none of its processes is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.views.browsing import environment, free_port, marked, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")
LINFIT = (sys.executable, "-P", "-c", "from linfit.cli import main; main()")
#: What ends it, and its exit code.
ENDS = {"SIGHUP": 0, "SIGTERM": 0, "SIGINT": 0, "SIGKILL": -9}


@contextmanager
def running(
    folder: Path, *options: str, until_there: Callable[[str], bool] | None = None
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start `linfit ui` as a terminal does, and yield it with the mark of its processes.

    It answers already, or `until_there` holds.
    """
    name, mark = "LINFIT_TEST", uuid4().hex
    there = until_there or (lambda _: "linfit: start" in log.read_text())
    log = folder / "ui.log"
    serve = [*LINFIT, "ui", "--no-browser", "--port", str(free_port()), *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            serve,
            cwd=folder,
            env=environment(**{name: mark}),
            stderr=stderr,
            stdout=stderr,
            preexec_fn=hear,
        )
    try:
        until(lambda: there(f"{name}={mark}") or process.poll() is not None, 120)
        assert process.poll() is None, log.read_text()
        yield process, f"{name}={mark}"
    finally:
        process.kill()
        process.wait()
        for one in marked(f"{name}={mark}"):
            os.kill(one, signal.SIGKILL)


def hear() -> None:
    """Hear what a terminal sends, also where whoever runs the tests ignores it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def assert_ends(process: subprocess.Popen[bytes], mark: str, number: str) -> None:
    process.send_signal(getattr(signal, number))
    assert process.wait(15) == ENDS[number]
    until(lambda: not marked(mark), 8)


@pytest.mark.parametrize("number", ["SIGHUP", "SIGKILL"])
def test_nothing_remains_of_the_ui(number: str, workdir: Path) -> None:
    with running(workdir) as (process, mark):
        assert len(marked(mark)) == 2
        assert_ends(process, mark, number)


@pytest.mark.parametrize("number", ["SIGHUP", "SIGKILL"])
def test_nothing_remains_of_mlflow_s_own_server(number: str, workdir: Path) -> None:
    with running(workdir, "--unguarded") as (process, mark):
        assert len(marked(mark)) >= 3
        assert "unguarded" in (workdir / "ui.log").read_text()
        assert_ends(process, mark, number)


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_nothing_remains_where_the_ui_is_asked_to_end(number: str, workdir: Path) -> None:
    with running(workdir) as (process, mark):
        assert_ends(process, mark, number)


def test_nothing_remains_where_the_server_is_killed(workdir: Path) -> None:
    with running(workdir) as (process, mark):
        [server] = [one for one in marked(mark) if one != process.pid]
        os.kill(server, signal.SIGKILL)
        assert process.wait(15) == 2
        assert (
            "linfit: MLflow's server has ended by itself (-9)" in (workdir / "ui.log").read_text()
        )
        until(lambda: not marked(mark), 8)


def test_nothing_remains_where_it_is_killed_as_it_begins(workdir: Path) -> None:
    with running(workdir, until_there=lambda mark: len(marked(mark)) == 2) as (process, mark):
        assert_ends(process, mark, "SIGKILL")
