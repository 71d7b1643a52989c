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
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

#: Seconds that an orderly end may take: whoever sent the signal waits for five. A crowded machine may need more.
GRACE = float(os.environ.get("LINFIT_GRACE", "4"))


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a sweep as Ctrl-C does."""


def terminate(signum: int, frame: FrameType | None) -> NoReturn:
    """The handler of SIGTERM."""
    raise Terminated


@contextmanager
def within_seconds(last_words: Callable[[], str]) -> Iterator[None]:
    """Ends this process with 130 or 143 where it is not over `GRACE` seconds after the first signal; says `last_words` before."""
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_listen, args=(ear, over, last_words), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        over.set()
        mouth.close()


def _listen(ear: socket.socket, over: threading.Event, last_words: Callable[[], str]) -> None:
    with ear:
        while heard := ear.recv(1):
            if heard[0] in (signal.SIGINT, signal.SIGTERM):
                break
        else:
            return
    if not over.wait(GRACE):
        os.write(2, f"linfit: interrupted{last_words()}\n".encode())
        os._exit(128 + heard[0])
