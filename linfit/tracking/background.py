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
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO

from linfit.errors import RecordingError
from linfit.tracking import inserter
from linfit.tracking.inserter import Answer, Request, receive, send
from linfit.tracking.patience import one_line, patiently
from linfit.tracking.store import Store


class Background:
    """Transactions in the SQLite file of `store`, in the order in which they are submitted; the process begins with the first."""

    def __init__(self, store: Store, pragmas: Sequence[str]) -> None:
        self.store, self.pragmas = store, pragmas
        self._thread = ThreadPoolExecutor(1, "linfit-recorder")
        self._under_way: list[Future[list[str]]] = []
        self._failures, self._said = 0, ""
        self._process: subprocess.Popen[bytes] | None = None

    def submit(self, request: Request, run_ids: list[str], absent: str) -> Future[list[str]]:
        """The ids as soon as their runs are there; RecordingError, which says `absent` where what is needed is not there."""
        future = self._thread.submit(self._insert, marshal.dumps(request), run_ids, absent, self._failures)
        self._under_way = [*(other for other in self._under_way if not other.done()), future]
        return future

    def wait(self) -> None:
        """Until no transaction is under way any more, however each came out."""
        wait(self._under_way)

    def close(self) -> None:
        """Ends the process, when it has done what was submitted; with the next request another one begins."""
        self.wait()
        if self._process is not None:
            self._end(self._process)

    def _insert(self, request: bytes, run_ids: list[str], absent: str, failures: int) -> list[str]:
        if failures != self._failures:  # those that waited behind one that failed do not each wait as long for the same
            raise RecordingError(self._said)
        try:
            with one_line(self.store):
                answer = patiently(self.store, self._asked, request)
            if answer == inserter.ABSENT:
                raise RecordingError(absent)
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
        if isinstance(raised := getattr(sqlite3, name, None), type):
            raise raised(text)
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


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None and process.stdout is not None
    return process.stdin, process.stdout
