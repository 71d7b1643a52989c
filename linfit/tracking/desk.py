"""The process in which MLflow lives while linfit's own fits: it opens one recorder, and does for it what it is asked.

`linfit.tracking.remote` runs it and speaks to it. Requests and answers are pickled, on pipes that nobody else has: a method of the
recorder with its arguments, and what came of it, after what was logged meanwhile. It ends when nobody can ask any more.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import IO, Any

from linfit.errors import LinfitError
from linfit.settings import MLflowTracking
from linfit.tracking.inserter import receive, send
from linfit.tracking.layout import Row
from linfit.tracking.opening import open_store
from linfit.tracking.recorder import Recorder
from linfit.tracking.remote import BROKEN, DONE, LOGGED, OPEN, REFUSED
from linfit.tracking.store import empty, locate


class Desk:
    """The recorder of the process `parent`, once it is open."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        self.recorder: Recorder | None = None

    def do(self, name: str, arguments: Sequence[Any]) -> Any:
        return getattr(self if name in (OPEN, "add") else self.recorder, name)(*arguments)

    def open(self, tracking: MLflowTracking, experiment: str) -> tuple[str, str]:
        """The id of the MLflow experiment, and how to look at it."""
        self.recorder = opened = open_store(tracking, experiment, self.parent)
        return opened.experiment_id, opened.where()

    def add(self, rows: Sequence[Row]) -> list[str]:
        assert self.recorder is not None
        return self.recorder.submit(rows).result()


class Forward(logging.Handler):
    """Sends what is logged to where the log is kept."""

    def __init__(self, answers: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self.answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        send(self.answers, pickle.dumps((LOGGED, (record.name, record.levelno, record.getMessage()))))


def main(parent: int, elsewhere: bool) -> None:
    """Works for `parent` until it says nothing more, or is gone; `elsewhere` says that it will not ask for the default store."""
    for number in (signal.SIGINT, signal.SIGTERM):  # who ends all processes of a job means the parent, which ends this one
        signal.signal(number, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed goes where the log goes
    import linfit.tracking.database  # noqa: F401  now, and not when the first request has come

    logging.getLogger().addHandler(Forward(answers))
    default = locate().file
    if not elsewhere and default is not None and not default.exists():
        empty()  # it will be made of this
    desk = Desk(parent)
    while (content := receive(requests)) is not None and os.getppid() == parent:
        send(answers, pickle.dumps(answer(desk, *pickle.loads(content))))
    os._exit(0)  # there is nothing to put in order, and MLflow's modules would take their time


def answer(desk: Desk, name: str, arguments: Sequence[Any]) -> tuple[str, Any]:
    try:
        return DONE, desk.do(name, arguments)
    except LinfitError as error:
        return REFUSED, str(error)
    except Exception:
        return BROKEN, traceback.format_exc()
