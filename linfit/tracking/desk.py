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
from contextlib import suppress
from typing import IO, Any

from linfit.errors import LinfitError
from linfit.scratch import share_scratch
from linfit.settings import MLflowTracking
from linfit.system import exit_with_parent
from linfit.tracking.direct import open_store
from linfit.tracking.inserter import receive, send
from linfit.tracking.recorder import Recorder
from linfit.tracking.remote import BROKEN, DONE, LOGGED, OPEN, RAISED
from linfit.tracking.store import empty, locate

#: Seconds between two looks at whether the parent is there.
PAUSE = 0.1


class Desk:
    """The recorder of the process `parent`, once it is open."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        self.recorder: Recorder | None = None

    def do(self, name: str, arguments: Sequence[Any]) -> Any:
        return getattr(self if name == OPEN else self.recorder, name)(*arguments)

    def open(self, tracking: MLflowTracking, experiment: str) -> str:
        """The id of the MLflow experiment."""
        self.recorder = opened = open_store(tracking, experiment, self.parent)
        return opened.experiment_id


class Forward(logging.Handler):
    """Sends what is logged to where the log is kept."""

    def __init__(self, answers: IO[bytes]) -> None:
        super().__init__(logging.WARNING)
        self.answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(BrokenPipeError):  # the one who kept it is gone
            send(
                self.answers,
                pickle.dumps((LOGGED, (record.name, record.levelno, record.getMessage()))),
            )


def main(parent: int, scratch: str, elsewhere: bool) -> None:
    """Works for `parent` until it says nothing more, or is gone, with its folder for temporary files.

    `elsewhere` says that it will not ask for the default store.
    """
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # who ends all processes of a job means the parent, which ends this one
        signal.signal(number, signal.SIG_IGN)
    exit_with_parent(parent, PAUSE)
    share_scratch(scratch)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed goes where the log goes
    import linfit.tracking.database  # noqa: F401  now, and not when the first request has come

    logging.getLogger().addHandler(Forward(answers))
    if not elsewhere:
        make_ready()
    desk = Desk(parent)
    with suppress(BrokenPipeError):
        while (content := receive(requests)) is not None:
            send(answers, answer(desk, content))
    os._exit(0)  # there is nothing to put in order, and MLflow's modules would take their time


def make_ready() -> None:
    """What an absent default store will be made of."""
    with suppress(Exception):  # whoever opens the store says what is wrong
        file = locate().file
        if file is not None and not file.exists():
            empty()


def answer(desk: Desk, request: bytes) -> bytes:
    try:
        return pickle.dumps((DONE, desk.do(*pickle.loads(request))))
    except Exception as error:
        if isinstance(error, (LinfitError, OSError, ValueError)):
            with suppress(Exception):  # not every error can be pickled
                return pickle.dumps((RAISED, error))
        return pickle.dumps((BROKEN, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"))
