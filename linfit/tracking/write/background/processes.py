"""Work beside the main thread.

A daemon thread runs calls in turn, and a child process answers messages.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from linfit.errors import RecordingError
from linfit.system.host import SAFE_PATH, start_detached
from linfit.tracking.write.background.messages import receive_frame

_T = TypeVar("_T")


class SerialWorker:
    """Run calls one after the other in a daemon thread.

    A process that exits does not wait for them.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._failures = 0
        self._failure = ""
        weakref.finalize(self, self._calls.put, None)
        thread = threading.Thread(
            target=_run_calls, args=(self._calls,), name="linfit-recorder", daemon=True
        )
        thread.start()

    def submit(self, call: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Queue a call, and return its Future."""
        future: Future[_T] = Future()
        self._calls.put(partial(_resolve, future, call, *arguments))
        return future

    def submit_unless_failed(self, call: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Queue a call that fails at once after a failed one.

        A failed one is a call before it in the queue that raised RecordingError. It would otherwise
        wait as long for the same reason.
        """
        return self.submit(self._run_unless_failed, self._failures, call, *arguments)

    def wait_until_idle(self) -> None:
        """Wait until all queued calls have ended, with result or error."""
        self.submit(lambda: None).result()

    def _run_unless_failed(self, failures: int, call: Callable[..., _T], *arguments: Any) -> _T:
        if failures != self._failures:
            raise RecordingError(self._failure)
        try:
            return call(*arguments)
        except RecordingError as error:
            self._failures = failures + 1
            self._failure = str(error)
            raise


class ChildProcess:
    """A process that is started with a connection to this one.

    The connection's handle is the last word of its program. It has a session of its own: Ctrl-C
    reaches only this process, which then ends the child.
    """

    def __init__(self, program: Sequence[str]) -> None:
        # Imported here: every command imports this module, and most start no process.
        from multiprocessing.connection import Pipe

        self._connection, theirs = Pipe()
        with theirs:
            handle = theirs.fileno()
            self.process = start_detached(
                [*program, str(handle)],
                pass_fds=[handle],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **SAFE_PATH},
            )

    def send(self, message: object) -> None:
        """Send a message; only `receive` shows if the child has ended."""
        content = pickle.dumps(message)
        with suppress(OSError):
            self._connection.send_bytes(content)

    def receive(self) -> Any:
        """Return the next message; None if the child has ended."""
        frame = receive_frame(self._connection)
        return None if frame is None else pickle.loads(frame)

    def discard(self) -> None:
        """Let the child end once idle, and return at once."""
        self._connection.close()
        # Its exit code is read by a thread: the child would otherwise stay as a zombie.
        threading.Thread(target=self.process.wait, name="linfit-reaper", daemon=True).start()

    def wait(self) -> int:
        """Close the connection, wait for the child, return its exit code."""
        self._connection.close()
        return self.process.wait()


def _run_calls(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        # A name that outlives the call would keep the worker alive, and with it this thread.
        del call


def _resolve(future: Future[_T], call: Callable[..., _T], *arguments: Any) -> None:
    try:
        future.set_result(call(*arguments))
    except BaseException as error:
        future.set_exception(error)
