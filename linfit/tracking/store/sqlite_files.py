"""Open SQLite files that somebody else may have written: nothing in them is executed, and Ctrl-C is
heard.

A view in place of a table, a trigger, or a function in a table's definition runs as soon as the
table is read or written. A log beside the file that is a link, or a journal that names another one,
makes SQLite write or delete elsewhere.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from linfit.errors import RecordingError, shorten
from linfit.tracking.store import addresses

#: Settings of a connection: no function that a schema names is trusted, and the pages of a table
#: are checked.
HARDENING_PRAGMAS = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
#: Steps of SQLite's machine after which Python checks for Ctrl-C.
STEPS_BETWEEN_CHECKS = 200_000
#: MLflow's tables that linfit has MLflow read or write.
CHECKED_TABLES = frozenset(
    {
        "alembic_version",
        "workspaces",
        "experiments",
        "experiment_tags",
        "runs",
        "tags",
        "params",
        "metrics",
        "latest_metrics",
        "datasets",
        "inputs",
        "input_tags",
        "logged_models",
        "logged_model_metrics",
        "logged_model_params",
        "logged_model_tags",
        "registered_models",
        "model_versions",
        "trace_info",
        "trace_tags",
        "trace_request_metadata",
    }
)
#: Most tables, indexes, views and triggers of a database; MLflow's has some two hundred.
MAX_SCHEMA_OBJECTS = 10_000
#: Words before a parenthesis in the definitions of MLflow's tables. Any other is a function, or a
#: column's expression.
_WORDS = frozenset(
    {
        "VARCHAR",
        "CHAR",
        "KEY",
        "CHECK",
        "IN",
        "UNIQUE",
        "FLOAT",
        "NUMERIC",
        "DECIMAL",
        "BIGINT",
        "INTEGER",
        "TEXT",
        "BLOB",
    }
)
_TEXT = re.compile(r"'(?:[^']|'')*'")
_NAMED = re.compile(r'(?:\bREFERENCES|^CREATE TABLE)\s+(?:"\w+"|\w+)\s*\(', re.IGNORECASE)
_CALL = re.compile(r'("\w+"|\w+)\s*\(')
_NOT_PLAIN = re.compile(r"/\*|--|\[|`")
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL", re.IGNORECASE)
_COLUMN = r'\s*(?:"\w+"|\w+)(?:\s+(?:ASC|DESC))?\s*'
_INDEX = re.compile(
    rf'CREATE (?:UNIQUE )?INDEX (?:"\w+"|\w+) ON (?:"\w+"|\w+)\s*\({_COLUMN}(?:,{_COLUMN})*\)',
    re.IGNORECASE,
)
#: The end of a journal that names a journal of several databases, which SQLite deletes with it.
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
INTERRUPTED_PATTERN = re.compile(r"(?:^|\(sqlite3\.OperationalError\) )interrupted\b")
#: Files whose connections by MLflow in this process are hardened.
_guarded: set[Path] = set()


@contextmanager
def open_checked(file: Path, to_write: bool, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open a store's file to read or to write it.

    RecordingError if it holds more than MLflow creates. KeyboardInterrupt if a query was
    interrupted.
    """
    require_plain_files(file)
    if to_write:
        address = addresses.format_connection_uri(file)
    else:
        address = addresses.format_reading_uri(file)
    with (
        raise_interrupts(),
        closing(sqlite3.connect(address, uri=True, timeout=timeout)) as database,
    ):
        harden_connection(database)
        require_plain(database, file)
        yield database


def harden_connection(database: Any) -> None:
    """Have a connection trust nothing in its file.

    It hears Ctrl-C while it works.
    """
    for pragma in HARDENING_PRAGMAS:
        database.execute(pragma)
    database.set_progress_handler(lambda: 0, STEPS_BETWEEN_CHECKS)


@contextmanager
def raise_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for a query that Ctrl-C has ended.

    SQLite raises an error of its own.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if INTERRUPTED_PATTERN.search(str(error)):
            raise KeyboardInterrupt from error
        raise


def harden_file(file: Path | None) -> None:
    """Harden the connections that MLflow opens to a SQLite file.

    From now on, in this process.
    """
    if file is None:
        return
    from sqlalchemy import Engine, event

    if not _guarded:
        event.listen(Engine, "connect", _harden_guarded)
    _guarded.add(file.resolve())


def _harden_guarded(connection: Any, _: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        (_, _, name) = connection.execute("PRAGMA database_list").fetchone()
        if name and Path(name).resolve() in _guarded:
            harden_connection(connection)


def require_plain_files(file: Path) -> None:
    """Raise RecordingError if a harmful file lies beside a store.

    It would have SQLite write or delete elsewhere.
    """
    real = file.resolve()
    for ending in ("-journal", "-wal", "-shm"):
        beside = real.with_name(f"{real.name}{ending}")
        if beside.is_symlink():
            raise _refusal(file, f"{beside.name} beside it is a link")

    journal = real.with_name(f"{real.name}-journal")
    if not journal.is_file() or journal.stat().st_size <= len(_SUPER_JOURNAL):
        return
    with journal.open("rb") as opened:
        opened.seek(-len(_SUPER_JOURNAL), 2)
        end = opened.read()
    if end == _SUPER_JOURNAL:
        why = f"{journal.name} beside it names another file, which SQLite would delete"
        raise _refusal(file, why)


def require_plain(database: sqlite3.Connection, file: Path) -> None:
    """Raise RecordingError if a database would run foreign code.

    Foreign is what MLflow does not create.
    """
    query = f"SELECT type, name, tbl_name, sql FROM sqlite_master LIMIT {MAX_SCHEMA_OBJECTS + 1}"
    found = database.execute(query).fetchall()
    if len(found) > MAX_SCHEMA_OBJECTS:
        raise _refusal(file, f"it has more than {MAX_SCHEMA_OBJECTS:,} tables")
    for kind, name, table, sql in found:
        why = _find_fault(str(kind), str(table).lower(), str(sql or ""))
        if why:
            raise _refusal(file, f"its {kind} {shorten(repr(name), 80)} {why}")


def _find_fault(kind: str, table: str, sql: str) -> str:
    """Return what is wrong with an entry of a schema; empty if MLflow creates such entries."""
    if kind == "view":
        return "runs a query of its own"
    if kind == "table" and _VIRTUAL.match(sql):
        return "is read through a module"
    if table not in CHECKED_TABLES or not sql:
        return ""
    if kind == "trigger":
        return "runs when linfit writes"

    plain = _TEXT.sub("''", sql)
    if kind == "index":
        if _INDEX.fullmatch(plain.strip()):
            return ""
        return "has an expression"
    calls = {word.strip('"').upper() for word in _CALL.findall(_NAMED.sub("", plain))}
    if _NOT_PLAIN.search(plain) or not calls <= _WORDS:
        return "computes something"
    return ""


def _refusal(file: Path, why: str) -> RecordingError:
    return RecordingError(
        f"the store {file} is not as MLflow makes one: {why}; "
        "take another copy of it, or name another store with --uri"
    )
