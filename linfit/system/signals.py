"""Ctrl-C and SIGTERM: an orderly end, or after a grace period an abrupt one.

Python handles a signal only between two of its own instructions: not while torch computes or SQLite
waits for a lock. The signal's number is therefore also written to a socket, which a thread reads.
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
from linfit.system.output import ENCODING_ERRORS

#: Variable with the seconds that an orderly end may take. A crowded machine may need more.
GRACE_VARIABLE = "LINFIT_GRACE"
#: Its default: whoever sent the signal waits for about five seconds.
DEFAULT_GRACE = 4.0
#: Signals that are ignored after the first. A terminal sends one to all processes of a job, and
#: some of these send it on to each other.
IGNORED_REPEATS = 1
#: Seconds until an interrupt that Python has ignored is raised again.
REPEAT_DELAY = 0.02


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a sweep as Ctrl-C does."""


class _Received:
    """Signals that this process has received since `install_signal_handlers`."""

    numbers: ClassVar[list[int]] = []


def install_signal_handlers() -> None:
    """Let Ctrl-C and SIGTERM end this process in order.

    Ctrl-C stays ignored if it is ignored already, as under nohup.
    """
    _Received.numbers.clear()
    signal.signal(signal.SIGTERM, handle_signal)
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, handle_signal):
        signal.signal(signal.SIGINT, handle_signal)
    if not isinstance(sys.unraisablehook, _Repeat):
        sys.unraisablehook = _Repeat(sys.unraisablehook)


def handle_signal(signum: int, frame: FrameType | None = None) -> None:
    """Raise at the first signal, ignore the second, exit at the third.

    The second would break off the orderly end that the first has begun.
    """
    _Received.numbers.append(signum)
    first = _Received.numbers[0]
    if len(_Received.numbers) == 1:
        if signum == signal.SIGTERM:
            raise Terminated
        raise KeyboardInterrupt
    if len(_Received.numbers) > IGNORED_REPEATS + 1:
        os._exit(128 + first)


def exit_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code of a process this exception ended."""
    return 128 + (signal.SIGTERM if isinstance(stop, Terminated) else signal.SIGINT)


class _Repeat:
    """Hook for exceptions that Python ignores, as in callbacks: raise an interrupt again later."""

    def __init__(self, otherwise: Callable[[Any], object]) -> None:
        self.otherwise = otherwise

    def __call__(self, ignored: Any) -> None:
        if not isinstance(ignored.exc_value, KeyboardInterrupt) or not _Received.numbers:
            self.otherwise(ignored)
            return
        number = _Received.numbers[0]
        _Received.numbers.clear()
        again = threading.Timer(REPEAT_DELAY, _thread.interrupt_main, [number])
        again.daemon = True
        again.start()


def read_seconds(variable: str, default: float) -> float:
    """Return the seconds in an environment variable.

    Raise LinfitError if it holds something else.
    """
    given = os.environ.get(variable, "")
    try:
        found = float(given or default)
    except ValueError:
        found = -1.0
    if not 0 <= found <= threading.TIMEOUT_MAX:
        raise LinfitError(f"{variable}: got {given!r}, must be a number of seconds")
    return found


@contextmanager
def exit_within_grace_period(last_words: Callable[[], str]) -> Iterator[None]:
    """Print `last_words` on Ctrl-C or SIGTERM, and limit the orderly end.

    If the block outlasts the grace period of `LINFIT_GRACE` seconds, the process exits with 130 or
    143.
    """
    grace = read_seconds(GRACE_VARIABLE, DEFAULT_GRACE)
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    over = threading.Event()
    words = _LastWords(last_words)
    threading.Thread(target=_exit_when_late, args=(reader, over, grace, words), daemon=True).start()
    try:
        yield
    except KeyboardInterrupt:
        words.print_once()
        raise
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        writer.close()


class _LastWords:
    """Last words, printed once: by the block, or by the thread that exits before it ends."""

    def __init__(self, words: Callable[[], str]) -> None:
        self._words = words
        self._unprinted = threading.Semaphore()

    def print_once(self) -> None:
        if self._unprinted.acquire(blocking=False):
            line = f"linfit: interrupted{self._words()}\n"
            with suppress(OSError):  # stderr is closed
                os.write(2, line.encode(sys.stderr.encoding, ENCODING_ERRORS))


def _exit_when_late(
    reader: socket.socket, over: threading.Event, grace: float, words: _LastWords
) -> None:
    # The socket stays open until the block ends: Python prints a traceback if it cannot write a
    # second signal.
    with reader:
        while heard := reader.recv(1):
            if heard[0] in (signal.SIGINT, signal.SIGTERM):
                break
        else:
            return
        if not over.wait(grace):
            words.print_once()
            os._exit(128 + heard[0])
