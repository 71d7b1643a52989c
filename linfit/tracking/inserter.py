"""The program of the process that inserts rows into a SQLite file while linfit works out the next: python inserter.py FILE PARENT PRAGMA…

`linfit.tracking.background` runs it and speaks to it. It imports nothing but the standard library, so that it starts at once.
A request is a transaction: what must be there, and statements with the records of each. Requests and answers are marshal, each after
its length: both ends are one Python. It ends when nobody can ask any more, and commits nothing for a parent that is gone: that one's
sweep may be in other hands already.
"""

from __future__ import annotations

import marshal
import os
import signal
import sqlite3
import sys
from collections.abc import Sequence
from itertools import chain
from typing import IO, Any
from urllib.parse import quote

#: Bytes that say how long the rest is.
LENGTH = 8
#: Values in a statement; with more it takes longer to be read than it saves.
MOST_VALUES = 6000
#: A query with its parameters that has to find something, and statements with the records of each.
Request = tuple[tuple[str, tuple[Any, ...]], list[tuple[str, list[tuple[Any, ...]]]]]
#: The name and the text of what was raised; or what was done, with an empty text.
Answer = tuple[str, str]
DONE: Answer = ("done", "")
#: What must be there is not; the one who asks is no parent.
ABSENT: Answer = ("absent", "")
GONE: Answer = ("gone", "")


def send(pipe: IO[bytes], content: bytes) -> None:
    pipe.write(len(content).to_bytes(LENGTH, "big") + content)
    pipe.flush()


def receive(pipe: IO[bytes]) -> bytes | None:
    """None at the end, also where it comes in the middle."""
    header = pipe.read(LENGTH)
    length = int.from_bytes(header, "big")
    content = pipe.read(length)
    return content if len(header) == LENGTH and len(content) == length else None


def main(file: str, parent: int, pragmas: Sequence[str]) -> None:
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # who ends all processes of a job means the parent, which ends this one
        signal.signal(number, signal.SIG_IGN)
    requests, answers, database = sys.stdin.buffer, sys.stdout.buffer, None
    while (content := receive(requests)) is not None:
        try:
            database = database or connected(file, pragmas)
            answer = transact(database, marshal.loads(content), parent)
        except Exception as error:
            answer = type(error).__name__, str(error) or "no reason was given"
        send(answers, marshal.dumps(answer))


def connected(file: str, pragmas: Sequence[str]) -> sqlite3.Connection:
    """The database, which has to be there."""
    database = sqlite3.connect(f"file:{quote(file)}?mode=rw", uri=True, isolation_level=None)
    for pragma in pragmas:
        database.execute(pragma)
    return database


def transact(database: sqlite3.Connection, request: Request, parent: int) -> Answer:
    """All of it, or nothing where this process is not the child of `parent` any more; what sqlite3 raises is raised after the rollback."""
    needed, statements = request
    try:
        database.execute("BEGIN IMMEDIATE")
        absent = database.execute(*needed).fetchone() is None
        for statement, records in () if absent or os.getppid() != parent else statements:
            insert(database, statement, records)
        gone = (
            os.getppid() != parent
        )  # asked while the lock is held: whoever goes on with the work waits for that lock before looking
        database.execute("ROLLBACK" if absent or gone else "COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    return ABSENT if absent else GONE if gone else DONE


def insert(
    database: sqlite3.Connection, statement: str, records: Sequence[tuple[Any, ...]]
) -> None:
    """Plain rows by the hundred with one statement, which takes a quarter less than one by one; others one by one."""
    into, _, row = statement.partition(" VALUES ")
    count = min(MOST_VALUES, database.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)) // len(
        records[0]
    )
    together = len(records) // count * count if set(row) == set("(?, )") else 0
    many = f"{into} VALUES {', '.join([row] * count)}"
    for first in range(0, together, count):
        database.execute(many, list(chain.from_iterable(records[first : first + count])))
    database.executemany(statement, records[together:])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
