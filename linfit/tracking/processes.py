"""Work that is done beside this process: a thread that waits, and a process that it asks."""

from __future__ import annotations

import os
import subprocess
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import IO, Any, TypeVar

from linfit.errors import RecordingError
from linfit.system import ISOLATED, start_apart
from linfit.tracking.inserter import receive, send

T = TypeVar("T")


class Line:
    """Calls one after the other, in a thread of their own. It is a daemon: whoever ends this process does not wait for it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._failures, self._said = 0, ""
        weakref.finalize(self, self._calls.put, None)
        threading.Thread(
            target=_work, args=(self._calls,), name="linfit-recorder", daemon=True
        ).start()

    def do(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Its result, when its turn has come."""
        future: Future[T] = Future()
        self._calls.put(partial(_answer, future, call, *arguments))
        return future

    def attempt(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """The same; where one fails with a RecordingError, those that wait behind it fail with it: each would wait as long for the same."""
        return self.do(self._attempted, self._failures, call, *arguments)

    def wait(self) -> None:
        """Until all is over, however it came out, and whether or not its future has reached anybody."""
        self.do(lambda: None).result()

    def _attempted(self, failures: int, call: Callable[..., T], *arguments: Any) -> T:
        if failures != self._failures:
            raise RecordingError(self._said)
        try:
            return call(*arguments)
        except RecordingError as error:
            self._failures, self._said = failures + 1, str(error)
            raise


class Child:
    """A process that is told things and answers, over two pipes. It is started apart: Ctrl-C is for this process, which ends that one."""

    def __init__(self, program: Sequence[str], stderr: int | None) -> None:
        pipe = subprocess.PIPE
        self.process = start_apart(
            program, stdin=pipe, stdout=pipe, stderr=stderr, env={**os.environ, **ISOLATED}
        )

    def tell(self, content: bytes) -> None:
        """Whether it has heard it shows in whether it answers."""
        with suppress(OSError):  # a broken pipe, which Windows calls an invalid argument
            send(_pipes(self.process)[0], content)

    def answer(self) -> bytes | None:
        """What it says next; None where it has ended."""
        return receive(_pipes(self.process)[1])

    def close(self) -> None:
        """Tells it that nothing more comes."""
        for pipe in _pipes(self.process):
            with suppress(OSError):  # what was left in it cannot be written any more
                pipe.close()

    def end(self) -> int:
        """Its exit code, when it has noticed that nothing more comes."""
        self.close()
        return self.process.wait()


def _work(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # which would keep the one who gave it


def _answer(future: Future[T], call: Callable[..., T], *arguments: Any) -> None:
    try:
        future.set_result(call(*arguments))
    except BaseException as error:
        future.set_exception(error)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout
