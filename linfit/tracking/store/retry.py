"""Retry while a store is busy: locked by other writers, or a server that does not answer for a
while.

Whatever is retried must do no harm if it had succeeded and only the answer was lost.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar, TypeVar

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from linfit.errors import RecordingError, shorten
from linfit.system.log_limits import limit_logging
from linfit.system.signals import read_seconds
from linfit.tracking.secrets.masking import mask
from linfit.tracking.store.sqlite_files import INTERRUPTED_PATTERN
from linfit.tracking.store.store import Store

_T = TypeVar("_T")
#: The environment variable with the seconds for which a busy store is retried, and its default.
PATIENCE_VARIABLE = "LINFIT_PATIENCE"
DEFAULT_PATIENCE = 120.0
#: Seconds between attempts: they double from the first to the longest. A warning is logged at
#: `NOTICEABLE_PAUSE`.
FIRST_PAUSE = 0.05
NOTICEABLE_PAUSE = 0.5
LONGEST_PAUSE = 2.0
#: Messages of MLflow and the drivers for calls that may succeed later.
_BUSY = re.compile(
    r"database (table )?is locked|lock wait timeout|deadlock|could not serialize|QueuePool limit"
    # Another process has added the dataset first.
    r"|UNIQUE constraint failed: datasets|duplicate key value.*datasets"
    r"|failed with (timeout )?exception(?!.*too many 500)|failed with error code (429|502|503|504)",
    re.IGNORECASE | re.DOTALL,
)
#: The start of a line that SQLAlchemy puts before the message of a database.
_CONTEXT = "(raised as a result of"
#: The error class of a driver, which SQLAlchemy puts before its message, as in
#: `(sqlite3.OperationalError) `.
_DRIVER = re.compile(r"^\((\w+\.)+\w+\) ")
_DISK_ADVICE = ": make room on its disk"
#: Variables of MLflow while it is called. Its own retries would create a run twice if the first
#: answer was lost. It would print a run's address, with the password in it, among the results.
_MLFLOW_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def retry_timeout() -> float:
    """Return the seconds for which a busy store is retried."""
    return read_seconds(PATIENCE_VARIABLE, DEFAULT_PATIENCE)


def call_with_retry(store: Store, call: Callable[..., _T], *arguments: Any, **named: Any) -> _T:
    """Call MLflow, and retry while the store is busy.

    RecordingError if it stays busy or fails.
    """

    def call_quietly() -> _T:
        # MLflow logs tracebacks of errors that it raises.
        with limit_logging("mlflow", least=logging.CRITICAL):
            return call(*arguments, **named)

    with as_recording_error(store), disable_mlflow_retries():
        return retry_call(store, call_quietly)


def retry_call(store: Store, call: Callable[[], _T]) -> _T:
    """Call, and retry a busy store until patience is used up."""
    deadline = time.monotonic() + retry_timeout()
    pause = FIRST_PAUSE
    while True:
        try:
            return call()
        except (MlflowException, OperationalError, sqlite3.OperationalError) as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        # Once, as soon as a user may notice.
        if pause / 2 < NOTICEABLE_PAUSE <= pause:
            logging.getLogger(__name__).warning(
                "the store %s is busy or does not answer: waiting for it", store
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


@contextmanager
def as_recording_error(store: Store, artifacts: str = "") -> Iterator[None]:
    """Raise errors of a store as RecordingError without passwords.

    The errors are those of MLflow, SQLAlchemy and sqlite3; the message is one line. It names the
    store, or the place of `artifacts`.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        if store.file is not None and INTERRUPTED_PATTERN.search(str(error)):
            raise KeyboardInterrupt from error
        raise RecordingError(_explain(store, error)) from error
    except ModuleNotFoundError as error:
        raise RecordingError(
            f"{_needing(store, artifacts)} the Python package {error.name}, which is not installed"
        ) from error


def _needing(store: Store, artifacts: str) -> str:
    for place in (artifacts, store.artifacts):
        if place and "://" in place:
            return f"the store {store}, or its artifacts at {shorten(mask(place))}, need"
    return f"the store {store} needs"


def _explain(store: Store, error: Exception) -> str:
    place = store.file or store
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}, which the store {place} needs"

    lines = mask(str(error).replace(store.uri, str(store))).strip().splitlines()
    first = next((line for line in lines if not line.startswith(_CONTEXT)), type(error).__name__)
    if not is_busy(error):
        reason = _DRIVER.sub("", first)
        advice = _DISK_ADVICE if "disk is full" in reason else ""
        return f"the store {place} failed: {reason}{advice}"
    if store.is_server:
        return (
            f"the tracking server {store} does not answer any more ({first}): "
            "start it again, or name another with tracking.uri"
        )
    return (
        f"the store {store} is kept locked by another program: "
        "wait for that program to end, or name another store with tracking.uri"
    )


def is_busy(error: BaseException) -> bool:
    """Return True if the same call may succeed later."""
    return bool(_BUSY.search(str(error)))


class _Settings:
    """Number of threads within `disable_mlflow_retries`; MLflow's variables before the first."""

    lock = Lock()
    inside = 0
    before: ClassVar[dict[str, str]] = {}


@contextmanager
def disable_mlflow_retries() -> Iterator[None]:
    """Have MLflow send each request once, and print no address."""
    with _Settings.lock:
        if not _Settings.inside:
            known = _MLFLOW_SETTINGS.keys() & os.environ.keys()
            _Settings.before = {name: os.environ[name] for name in known}
            os.environ.update(_MLFLOW_SETTINGS)
        _Settings.inside += 1
    try:
        yield
    finally:
        with _Settings.lock:
            _Settings.inside -= 1
            if not _Settings.inside:
                for name in _MLFLOW_SETTINGS:
                    os.environ.pop(name, None)
                os.environ.update(_Settings.before)
