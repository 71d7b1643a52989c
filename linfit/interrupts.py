"""Ctrl-C and SIGTERM: an orderly end, and where that takes too long an end all the same.

Python hears a signal only between two of its own instructions: not while torch computes or SQLite waits for a lock. The signal's number
comes through a socket instead, to a thread that is always listening.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from linfit.errors import LinfitError

#: Seconds that an orderly end may take: whoever sent the signal waits for five. A crowded machine may need more.
VARIABLE, DEFAULT = "LINFIT_GRACE", 4.0


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a sweep as Ctrl-C does."""


def terminate(signum: int, frame: FrameType | None) -> NoReturn:
    """The handler of SIGTERM."""
    raise Terminated


def seconds(variable: str, default: float) -> float:
    """The seconds that an environment variable says; LinfitError where it says something else."""
    given = os.environ.get(variable, "")
    try:
        found = float(given) if given else default
    except ValueError:
        found = -1.0
    if not 0 <= found <= threading.TIMEOUT_MAX:
        raise LinfitError(f"{variable}: got {given!r}, must be a number of seconds")
    return found


@contextmanager
def within_seconds(last_words: Callable[[], str]) -> Iterator[None]:
    """Says `last_words` on a Ctrl-C or SIGTERM, and ends this process with 130 or 143 where it has not left `LINFIT_GRACE` seconds later."""
    grace = seconds(VARIABLE, DEFAULT)
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    over, words = threading.Event(), _Words(last_words)
    threading.Thread(target=_listen, args=(ear, over, grace, words), daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        words.say()
        raise
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        mouth.close()


class _Words:
    """What is said once, by whoever ends first: the work, or the thread that will not wait for it."""

    def __init__(self, words: Callable[[], str]) -> None:
        self._words, self._left = words, threading.Semaphore()

    def say(self) -> None:
        if self._left.acquire(blocking=False):
            with suppress(OSError):  # nobody listens
                os.write(2, f"linfit: interrupted{self._words()}\n".encode())


def _listen(ear: socket.socket, over: threading.Event, grace: float, words: _Words) -> None:
    with ear:
        while heard := ear.recv(1):
            if heard[0] in (signal.SIGINT, signal.SIGTERM):
                break
        else:
            return
    if not over.wait(grace):
        words.say()
        os._exit(128 + heard[0])
