"""Inserting blocks of runs in the background: a thread that waits, and a process that works.

Into SQLite the rows of a block are inserted about as fast as the next fits are made and worked out, so that the two together take
half of the time. Python's own sqlite3 takes and releases the interpreter's lock for every row, which a thread of a busy process gets
every 5 ms: hence a process. It is `linfit.tracking.inserter`, and imports neither torch nor MLflow.
"""

from __future__ import annotations

import marshal
import os
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeVar

from linfit.errors import RecordingError
from linfit.tracking import inserter
from linfit.tracking.inserter import Answer, Request, receive, send
from linfit.tracking.patience import one_line, patiently
from linfit.tracking.store import Store

T = TypeVar("T")
#: What is said where the process refuses to commit; of what is absent the one who asks knows more.
REFUSALS = {inserter.ABSENT: "", inserter.GONE: "the process that inserts rows is not a child of this one, and commits nothing"}


class Background:
    """Transactions in the SQLite file of `store`, in the order in which they are submitted; the process begins with the first.

    The thread is a daemon: whoever ends this process does not wait for it, and nothing is committed afterwards.
    """

    def __init__(self, store: Store, pragmas: Sequence[str]) -> None:
        self.store, self.pragmas = store, pragmas
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._failures, self._said = 0, ""
        self._process: subprocess.Popen[bytes] | None = None
        weakref.finalize(self, self._jobs.put, None)
        threading.Thread(target=_work, args=(self._jobs,), name="linfit-recorder", daemon=True).start()

    def submit(self, request: Request, run_ids: list[str], absent: str) -> Future[list[str]]:
        """The ids as soon as their runs are there; RecordingError, which says `absent` where what is needed is not there."""
        return self._do(self._insert, marshal.dumps(request), run_ids, absent, self._failures)

    def wait(self) -> None:
        """Until all that was submitted is over, however it came out, and whether or not its future has reached anybody."""
        self._do(lambda: None).result()

    def close(self) -> None:
        """Ends the process, when it has done what was submitted; with the next request another one begins."""
        self.wait()
        if self._process is not None:
            self._end(self._process)

    def _do(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        future: Future[T] = Future()
        self._jobs.put(partial(_answer, future, call, *arguments))
        return future

    def _insert(self, request: bytes, run_ids: list[str], absent: str, failures: int) -> list[str]:
        if failures != self._failures:  # those that waited behind one that failed do not each wait as long for the same
            raise RecordingError(self._said)
        try:
            with one_line(self.store):
                answer = patiently(self.store, self._asked, request)
            if answer in REFUSALS:
                raise RecordingError(REFUSALS[answer] or absent)
        except RecordingError as error:
            self._failures, self._said = failures + 1, str(error)
            raise
        return run_ids

    def _asked(self, request: bytes) -> Answer:
        """What the process answers; what sqlite3 has raised there is raised here, OSError if it has ended."""
        process = self._process = self._process or self._begun()
        requests, answers = _pipes(process)
        answer = None
        with suppress(BrokenPipeError):
            send(requests, request)
            answer = receive(answers)
        if answer is None:
            code = self._end(process)
            raise OSError(f"the process that inserts rows has ended with exit code {code}")
        name, text = marshal.loads(answer)
        if text:
            raise getattr(sqlite3, name, OSError)(text)
        return name, text

    def _begun(self) -> subprocess.Popen[bytes]:
        """In a session of its own: Ctrl-C is for this process, which ends that one when it is done."""
        program = [sys.executable, "-I", "-S", str(Path(inserter.__file__)), str(self.store.file), str(os.getpid()), *self.pragmas]
        return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        self._process = None
        for pipe in _pipes(process):
            with suppress(OSError):  # what was left in it cannot be written any more
                pipe.close()
        return process.wait()


def _work(jobs: SimpleQueue[Callable[[], None] | None]) -> None:
    while (job := jobs.get()) is not None:
        job()
        del job  # which would keep the one who gave it


def _answer(future: Future[T], call: Callable[..., T], *arguments: Any) -> None:
    try:
        future.set_result(call(*arguments))
    except BaseException as error:
        future.set_exception(error)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout
