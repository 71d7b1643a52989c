"""Find out which MLflow the tables of a store belong to, and what to type if that is not the
installed one.

MLflow's client migrates an older store when it opens it, one way, and locks the older environment
out. linfit never lets it: to read, it takes a copy (`linfit.tracking.store.copies`), and to
write is refused before MLflow is asked.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

from linfit.errors import RecordingError, shorten
from linfit.system.host import quote_word
from linfit.tracking.store import store as stores
from linfit.tracking.store.sqlite_files import open_checked
from linfit.tracking.store.store import Store, advise_on_error

#: The last revision of the tables of each MLflow. Only messages depend on it.
MLFLOW_RELEASES = {
    "1b5f0d9ad7c1": "3.10",
    "c3d6457b6d8a": "3.11",
    "7d34483879f0": "3.12",
    "da6fb0208061": "3.13",
    "b7e4c1a90f23": "3.14",
    "6f8d9c3b2a1e": "3.15",
    "b7e2c1a4d9f3": "3.16",
    "dc11669786a5": "3.17",
    "f4a9b2c7d1e6": "3.18",
}
#: Schemes of databases in which MLflow stores runs.
DATABASE_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql")
#: Tables that a database of runs needs, and the two that distinguish it from another program's.
REQUIRED_TABLES = frozenset({"experiments", "runs", "tags", "params", "metrics", "latest_metrics"})
MLFLOW_TABLES = frozenset({"experiments", "runs"})
VERSION_TABLE = "alembic_version"
MIGRATIONS_FOLDER = Path("store", "db_migrations", "versions")
_REVISION = re.compile(r"^revision\b[^=]*=\s*[\"'](\w+)", re.MULTILINE)
_FOLLOWS = re.compile(r"^down_revision\b[^=]*=([^\n]*)", re.MULTILINE)


class SchemaAge(Enum):
    """The age of a store's tables, compared with the installed MLflow."""

    ABSENT = "absent"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    BROKEN = "broken"


@dataclass(frozen=True)
class DatabaseSchema:
    """A database's revisions and table names.

    It names one revision if it is MLflow's.
    """

    revisions: tuple[str, ...]
    tables: frozenset[str]

    @property
    def age(self) -> SchemaAge:
        if not self.tables - {VERSION_TABLE}:
            return SchemaAge.ABSENT
        if len(self.revisions) != 1 or not self.tables >= REQUIRED_TABLES:
            return SchemaAge.BROKEN
        [revision] = self.revisions
        # Without known revisions, MLflow decides.
        if revision == find_latest_revision() or not read_revisions():
            return SchemaAge.CURRENT
        if revision in read_revisions():
            return SchemaAge.OLDER
        return SchemaAge.NEWER


def require_current(store: Store) -> None:
    """Raise RecordingError unless a store's schema is MLflow's current one.

    MLflow would migrate an older one, and does not know the tables of a newer one.
    """
    if not is_database(store):
        return
    schema = read_schema(store)
    if schema.age not in (SchemaAge.ABSENT, SchemaAge.CURRENT):
        raise RecordingError(explain_mismatch(store, schema))


def is_database(store: Store) -> bool:
    """Return True if MLflow opens the store's database itself.

    Otherwise it asks a server.
    """
    return urlsplit(store.uri).scheme.partition("+")[0] in DATABASE_SCHEMES


def read_schema(store: Store) -> DatabaseSchema:
    """Return a database's schema; RecordingError if it is not MLflow's."""
    schema = _read_file(store.file) if store.file is not None else _read_database(store)
    if schema.tables - {VERSION_TABLE} and not schema.tables >= MLFLOW_TABLES:
        raise RecordingError(
            f"{store.file or store} is a database but not MLflow's: name another with tracking.uri"
        )
    return schema


def explain_mismatch(store: Store, schema: DatabaseSchema, meanwhile: str = "") -> str:
    """Return one line about a store of another version.

    It names the store, both versions, what is done `meanwhile`, and what to type.
    """
    place = store.file or store
    if schema.age is SchemaAge.BROKEN:
        lacks = ", ".join(sorted(REQUIRED_TABLES - schema.tables)) or "the revision of its tables"
        return (
            f"the store {place} is damaged, it lacks {lacks}: "
            "put a copy of it back, or name another with tracking.uri"
        )

    [revision] = schema.revisions
    if schema.age is SchemaAge.NEWER:
        typed = _install_command(revision)
        effect = "brings an MLflow that opens it"
    else:
        typed = upgrade_command(store)
        effect = "upgrades it for good, and locks the older MLflow out: copy it first"
    versions = f"is of {name_release(revision)}, and {version('mlflow')} is installed"
    return f"the store {place} {versions}: {meanwhile}`{typed}` {effect}"


def _install_command(revision: str) -> str:
    known = MLFLOW_RELEASES.get(revision)
    if known:
        return f"pip install 'mlflow>={known}'"
    return "pip install --upgrade mlflow"


def name_release(revision: str) -> str:
    """Return the name of the MLflow that a revision belongs to.

    It may be one between two releases.
    """
    if revision in MLFLOW_RELEASES:
        return f"MLflow {MLFLOW_RELEASES[revision]}"
    if revision not in read_revisions():
        return f"a later MLflow (revision {shorten(revision, 40)})"
    later = (MLFLOW_RELEASES[one] for one in _descendants(revision) if one in MLFLOW_RELEASES)
    return f"an MLflow before {next(later, version('mlflow'))}"


def upgrade_command(store: Store) -> str:
    """Return the command that migrates a store, without its password."""
    masked = str(store)
    if masked == store.uri:
        return f"mlflow db upgrade {quote_word(store.uri)}"
    if os.environ.get("MLFLOW_TRACKING_URI") == store.uri:
        return 'mlflow db upgrade "$MLFLOW_TRACKING_URI"'
    return f"mlflow db upgrade {quote_word(masked)}` with the password in place of `***"


@cache
def read_revisions() -> Mapping[str, tuple[str, ...]]:
    """Return the revisions of the installed MLflow, each with its predecessors.

    They are read from the source of its migrations: alembic would import MLflow and all of them.
    """
    found = find_spec("mlflow")
    if found is None or found.origin is None:
        return {}
    known: dict[str, tuple[str, ...]] = {}
    for file in (Path(found.origin).parent / MIGRATIONS_FOLDER).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        revision = _REVISION.search(text)
        follows = _FOLLOWS.search(text)
        if revision is not None and follows is not None:
            known[revision[1]] = tuple(re.findall(r"[\"'](\w+)[\"']", follows[1]))
    return known


def find_latest_revision() -> str | None:
    """Return the revision that no other follows."""
    known = read_revisions()
    followed = set(chain.from_iterable(known.values()))
    return next((one for one in known if one not in followed), None)


def _descendants(revision: str) -> list[str]:
    """Return the revisions after one, the nearest first."""
    after: dict[str, str] = {}
    for successor, follows in read_revisions().items():
        after.update(dict.fromkeys(follows, successor))
    found: list[str] = []
    while revision in after:
        revision = after[revision]
        found.append(revision)
    return found


def _read_file(file: Path) -> DatabaseSchema:
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    revisions: list[str] = []
    try:
        if not file.exists() or file.stat().st_size == 0:
            return DatabaseSchema((), frozenset())
        with open_checked(file, to_write=False, timeout=stores.SERVER_TIMEOUT) as database:
            tables = frozenset(name for (name,) in database.execute(query))
            if VERSION_TABLE in tables:
                found = database.execute(f"SELECT version_num FROM {VERSION_TABLE}")
                revisions = [str(row[0]) for row in found]
    except (sqlite3.Error, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecordingError(
            f"the store {file} cannot be read: {why}; {advise_on_error(str(error))}"
        ) from error
    return DatabaseSchema(tuple(revisions), tables)


def _read_database(store: Store) -> DatabaseSchema:
    # MLflow is imported for its errors: nothing asks these databases before it is imported anyway.
    from sqlalchemy import NullPool, create_engine, inspect, text

    from linfit.tracking.store.retry import call_with_retry

    def read() -> DatabaseSchema:
        engine = create_engine(store.uri, poolclass=NullPool)
        revisions: list[str] = []
        with engine.connect() as connection:
            tables = frozenset(inspect(connection).get_table_names())
            if VERSION_TABLE in tables:
                found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}"))
                revisions = [str(row[0]) for row in found]
        return DatabaseSchema(tuple(revisions), tables)

    return call_with_retry(store, read)
