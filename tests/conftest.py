"""Fixtures of all tests: a working directory with a store, and the command line in this process."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import forget_mlflow

# Collections of garbage took a tenth of the tests' time: torch and MLflow make many objects that
# live as long as the process.
gc.set_threshold(50_000)


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _products_begun() -> None:
    """Leave MKL_CBWR as it is for all tests of this process, also for runs of another setting."""
    from linfit.engine.product_settings import note_products

    note_products()


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty MLflow store in SQLite.

    It is made once, because migrating takes seconds and copying none.
    """
    from linfit.tracking.store.store import Store, ensure_store

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    ensure_store(Store(f"sqlite:///{file}", None))
    return file


def _publish_nothing(*_: Any) -> Any:
    from linfit.publication import Publication

    return Publication()


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable pictures, which cost more than most runs of the tests.

    A test that is marked `pictures` has them.
    """
    if request.node.get_closest_marker("pictures") is None:
        monkeypatch.setattr("linfit.publication.compare_sweep", lambda result: None)
        monkeypatch.setattr("linfit.publication.publish_artifacts", _publish_nothing)


def _drop_streams() -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, logging.StreamHandler)]:
        if not isinstance(handler.stream, StringIO):
            root.removeHandler(handler)
            handler.close()
    root.setLevel(logging.WARNING)


@pytest.fixture(autouse=True)
def _unlogged() -> Iterator[None]:
    """Remove the handlers that Hydra leaves in this process, before a test and after it.

    Each writes to the captured stream of the test that made it: once that is closed, logging prints
    a traceback for every message instead.
    """
    _drop_streams()
    yield
    _drop_streams()


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with nothing about MLflow in the environment."""
    forget_mlflow(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def workdir(bare: Path, migrated_store: Path) -> Path:
    """A working directory that has the default store, without runs."""
    (bare / "outputs").mkdir()
    shutil.copy(migrated_store, bare / "outputs" / "mlflow.db")
    return bare


@pytest.fixture
def linfit(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """The command line in this process: `linfit("run", "steps=3").code`.

    MLflow is loaded before, else the first command would begin a process to record in.
    """
    import mlflow  # noqa: F401

    from linfit import cli

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: str) -> Ran:
        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.argv", ["linfit", *arguments])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = capfd.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def client(workdir: Path) -> Any:
    """An MlflowClient on the default store of the working directory."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{workdir}/outputs/mlflow.db")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process believe that it is on Windows, without what is absent there.

    torch is loaded before, because it looks for its libraries at import.
    """
    import mlflow  # noqa: F401
    import torch  # noqa: F401

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.delenv("MSYSTEM", raising=False)
    for name in (
        "killpg",
        "getpgid",
        "setsid",
        "sched_getaffinity",
        "set_blocking",
        "mkfifo",
        "fork",
    ):
        monkeypatch.delattr(os, name)
    for name in ("SIGKILL", "SIGHUP"):
        monkeypatch.delattr(signal, name)


@pytest.fixture
def without_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says nothing of processes in files, as macOS and Windows do not."""
    monkeypatch.setattr("linfit.system.process_owner.PROC_FOLDER", tmp_path / "no proc")
