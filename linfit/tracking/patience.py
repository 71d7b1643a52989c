"""Waiting for a store that is busy: locked by other writers, or a server that does not answer for a while.

What is tried again must do no harm if it was done already and only the answer was lost.
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

from linfit.errors import RecordingError, brief
from linfit.interrupts import seconds
from linfit.tracking.masking import mask
from linfit.tracking.sqlite_files import INTERRUPTED
from linfit.tracking.store import Store, quiet

T = TypeVar("T")
VARIABLE, DEFAULT = "LINFIT_PATIENCE", 120.0
FIRST_PAUSE, NOTICED, LONGEST_PAUSE = 0.05, 0.5, 2.0
#: What MLflow and the drivers say of a store that may do the same thing the next time.
_BUSY = re.compile(
    r"database (table )?is locked|lock wait timeout|deadlock|could not serialize|QueuePool limit"
    r"|UNIQUE constraint failed: datasets|duplicate key value.*datasets"  # another was quicker to add it
    r"|failed with (timeout )?exception(?!.*too many 500)|failed with error code (429|502|503|504)",
    re.IGNORECASE | re.DOTALL,
)
#: What SQLAlchemy puts before a driver's own words: (sqlite3.OperationalError).
#: How a line begins that SQLAlchemy puts before what a database says.
_ABOUT_IT = "(raised as a result of"
_DRIVER, _MEND = re.compile(r"^\((\w+\.)+\w+\) "), ": make room on its disk"
#: What MLflow is asked meanwhile. Its own repetition of requests would create a run twice where the first answer was lost; and it would
#: print a run's address, with the password in it, where results belong.
_ASKED = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def patience() -> float:
    """Seconds for which a store that is busy is waited for."""
    return seconds(VARIABLE, DEFAULT)


def persist(store: Store, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """The result of a call through MLflow, which is made again while the store is busy; RecordingError when patience is at an end."""

    def quietly() -> T:
        with quiet("mlflow", least=logging.CRITICAL):  # it logs tracebacks of what it raises
            return call(*arguments, **named)

    with one_line(store), once():
        return patiently(store, quietly)


def patiently(store: Store, call: Callable[..., T], *arguments: Any) -> T:
    """The result of a call, which is made again while the store is busy, until patience is at an end."""
    deadline, pause = time.monotonic() + patience(), FIRST_PAUSE
    while True:
        try:
            return call(*arguments)
        except (MlflowException, OperationalError, sqlite3.OperationalError) as error:
            if not busy(error) or time.monotonic() > deadline:
                raise
        if pause / 2 < NOTICED <= pause:  # once, when it takes long enough to be noticed
            logging.getLogger(__name__).warning(
                "the store %s is busy or does not answer: waiting for it", store
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


@contextmanager
def one_line(store: Store, artifacts: str = "") -> Iterator[None]:
    """MLflow's, SQLAlchemy's and sqlite3's errors as a RecordingError of one line, its passwords masked; the store is named, or where `artifacts` are."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        if store.file is not None and INTERRUPTED.search(str(error)):
            raise KeyboardInterrupt from error
        raise RecordingError(_explain(store, error)) from error
    except ModuleNotFoundError as error:
        raise RecordingError(
            f"{_needing(store, artifacts)} the Python package {error.name}, which is not installed"
        ) from error


def _needing(store: Store, artifacts: str) -> str:
    places = [place for place in (artifacts, store.artifacts) if place and "://" in place]
    return (
        f"the store {store}, or its artifacts at {brief(mask(places[0]))}, need"
        if places
        else f"the store {store} needs"
    )


def _explain(store: Store, error: Exception) -> str:
    lines = mask(str(error).replace(store.uri, str(store))).strip().splitlines()
    first = next((line for line in lines if not line.startswith(_ABOUT_IT)), type(error).__name__)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename} cannot be used: {error.strerror}, which the store {store.file or store} needs"
    if not busy(error):
        reason = _DRIVER.sub("", first)
        return f"the store {store.file or store} failed: {reason}{_MEND if 'disk is full' in reason else ''}"
    if store.is_server:
        return f"the tracking server {store} does not answer any more ({first}): start it again, or name another with tracking.uri"
    return f"the store {store} is kept locked by another program: wait for that program to end, or name another store with tracking.uri"


def busy(error: BaseException) -> bool:
    """Whether the same attempt may succeed later."""
    return bool(_BUSY.search(str(error)))


class _Once:
    """How many are inside of `once`, and what the variables were before the first."""

    lock, inside = Lock(), 0
    before: ClassVar[dict[str, str]] = {}


@contextmanager
def once() -> Iterator[None]:
    """MLflow makes each request once, and prints no address."""
    with _Once.lock:
        if not _Once.inside:
            _Once.before = {name: os.environ[name] for name in _ASKED if name in os.environ}
            os.environ.update(_ASKED)
        _Once.inside += 1
    try:
        yield
    finally:
        with _Once.lock:
            _Once.inside -= 1
            if not _Once.inside:
                for name in _ASKED:
                    os.environ.pop(name, None)
                os.environ.update(_Once.before)
