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
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from linfit.errors import RecordingError
from linfit.tracking import inserter
from linfit.tracking.inserter import Answer, Request
from linfit.tracking.patience import one_line, patiently
from linfit.tracking.processes import Child, Line
from linfit.tracking.store import Store

#: What is said where the process refuses to commit; of what is absent the one who asks knows more.
REFUSALS = {
    inserter.ABSENT: "",
    inserter.GONE: "the process that inserts rows is not a child of this one, and commits nothing",
}


class Background:
    """Transactions in the SQLite file of `store`, in the order in which they are submitted; the process begins with the first.

    Whoever ends this process does not wait for it, and nothing is committed afterwards.
    """

    def __init__(self, store: Store, pragmas: Sequence[str]) -> None:
        self.store, self.pragmas = store, pragmas
        self._line = Line()
        self._child: Child | None = None

    def submit(
        self, request: Request, finish: Callable[[], list[str]], absent: str
    ) -> Future[list[str]]:
        """What `finish` returns once the rows are there; RecordingError, which says `absent` where what is needed is not there."""
        return self._line.attempt(self._insert, marshal.dumps(request), finish, absent)

    def wait(self) -> None:
        """Until all that was submitted is over, however it came out, and whether or not its future has reached anybody."""
        self._line.wait()

    def close(self) -> None:
        """Ends the process, when it has done what was submitted; with the next request another one begins."""
        self.wait()
        if self._child is not None:
            self._end(self._child)

    def _insert(self, request: bytes, finish: Callable[[], list[str]], absent: str) -> list[str]:
        with one_line(self.store):
            require_done(patiently(self.store, self._asked, request), absent)
        return finish()

    def _asked(self, request: bytes) -> Answer:
        """What the process answers; what sqlite3 has raised there is raised here, OSError if it has ended."""
        child = self._child = self._child or self._begun()
        child.tell(request)
        answer = child.answer()
        if answer is None:
            raise OSError(
                f"the process that inserts rows has ended with exit code {self._end(child)}"
            )
        name, text = marshal.loads(answer)
        if text:
            raise getattr(sqlite3, name, OSError)(text)
        return name, text

    def _begun(self) -> Child:
        program = [
            sys.executable,
            "-I",
            "-S",
            str(Path(inserter.__file__)),
            str(self.store.file),
            str(os.getpid()),
            *self.pragmas,
        ]
        return Child(program, subprocess.DEVNULL)

    def _end(self, child: Child) -> int:
        self._child = None
        return child.end()


def require_done(answer: Answer, absent: str) -> None:
    """RecordingError where nothing was committed, which says `absent` where what is needed is not there."""
    if answer in REFUSALS:
        raise RecordingError(REFUSALS[answer] or absent)
