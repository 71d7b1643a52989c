"""Ctrl-C and SIGTERM: an orderly end, and where that takes too long an end all the same.

Python hears a signal only between two of its own instructions: not while torch computes or SQLite waits for a lock. The signal's number
comes through a socket instead, to a thread that is always listening.
"""

from __future__ import annotations

import _thread
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ClassVar

from linfit.errors import LinfitError
from linfit.output import REPLACE

#: Seconds that an orderly end may take: whoever sent the signal waits for five. A crowded machine may need more.
VARIABLE, DEFAULT = "LINFIT_GRACE", 4.0
#: Signals that are let pass after the first: what a terminal sends to all processes of a job, some of them send to each other too.
LET_PASS = 1
#: Seconds until an interrupt that Python has ignored is raised again.
PAUSE = 0.02


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a sweep as Ctrl-C does."""


class _Heard:
    """The signals that have come since this process listens."""

    numbers: ClassVar[list[int]] = []


def listen() -> None:
    """Let Ctrl-C and SIGTERM end this process in order; Ctrl-C not where it is ignored, as under nohup."""
    _Heard.numbers.clear()
    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, interrupt):
        signal.signal(signal.SIGINT, interrupt)
    if not isinstance(sys.unraisablehook, _Repeat):
        sys.unraisablehook = _Repeat(sys.unraisablehook)


def interrupt(signum: int, frame: FrameType | None = None) -> None:
    """Raise at the first signal. The second is let pass, since it would break the orderly end off; the third ends the process at once."""
    _Heard.numbers.append(signum)
    first = _Heard.numbers[0]
    if len(_Heard.numbers) == 1:
        raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt
    if len(_Heard.numbers) > LET_PASS + 1:
        os._exit(128 + first)


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return what a process exits with that this has ended."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


class _Repeat:
    """What Python calls where it ignores an exception, as in a callback: an interrupt is raised once more, a little later."""

    def __init__(self, otherwise: Callable[[Any], object]) -> None:
        self.otherwise = otherwise

    def __call__(self, ignored: Any) -> None:
        if not isinstance(ignored.exc_value, KeyboardInterrupt) or not _Heard.numbers:
            self.otherwise(ignored)
            return
        number = _Heard.numbers[0]
        _Heard.numbers.clear()
        again = threading.Timer(PAUSE, _thread.interrupt_main, [number])
        again.daemon = True
        again.start()


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
                os.write(
                    2, f"linfit: interrupted{self._words()}\n".encode(sys.stderr.encoding, REPLACE)
                )


def _listen(ear: socket.socket, over: threading.Event, grace: float, words: _Words) -> None:
    with ear:  # until the work is over: Python says so with a traceback where a second signal cannot be written
        while heard := ear.recv(1):
            if heard[0] in (signal.SIGINT, signal.SIGTERM):
                break
        else:
            return
        if not over.wait(grace):
            words.say()
            os._exit(128 + heard[0])
