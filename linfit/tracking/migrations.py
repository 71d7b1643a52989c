"""Which MLflow the tables of a store belong to, and what to type where that is not the installed one.

MLflow's client migrates an older store when it opens it, one way, and locks the older environment out. linfit never lets it:
what only reads looks at a copy (`linfit.tracking.copies`), and what writes is refused before MLflow is asked.
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
from pathlib import Path
from urllib.parse import urlsplit

from linfit.errors import RecordingError, brief
from linfit.system import quote_word
from linfit.tracking import store as stores
from linfit.tracking.sqlite_files import connect
from linfit.tracking.store import Store, advise

#: The last revision of each MLflow's tables. Messages name the version; nothing else depends on it.
RELEASES = {
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
#: Databases that MLflow keeps runs in.
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
#: Tables without which a database holds no runs, and the two that tell it from another program's.
NEEDED = frozenset({"experiments", "runs", "tags", "params", "metrics", "latest_metrics"})
OWN = frozenset({"experiments", "runs"})
TABLE = "alembic_version"
MIGRATIONS = Path("store", "db_migrations", "versions")
_REVISION = re.compile(r"^revision\b[^=]*=\s*[\"'](\w+)", re.MULTILINE)
_FOLLOWS = re.compile(r"^down_revision\b[^=]*=([^\n]*)", re.MULTILINE)


class Age(Enum):
    """How the tables of a store stand to the installed MLflow."""

    ABSENT = "absent"
    CURRENT = "current"
    OLDER = "older"
    NEWER = "newer"
    BROKEN = "broken"


@dataclass(frozen=True)
class Schema:
    """The revisions that a database names, of which MLflow's has one, and the names of its tables."""

    revisions: tuple[str, ...]
    tables: frozenset[str]

    @property
    def age(self) -> Age:
        if not self.tables - {TABLE}:
            return Age.ABSENT
        if len(self.revisions) != 1 or not self.tables >= NEEDED:
            return Age.BROKEN
        [revision] = self.revisions
        if (
            revision == latest_revision() or not known_revisions()
        ):  # what is not known is left to MLflow
            return Age.CURRENT
        return Age.OLDER if revision in known_revisions() else Age.NEWER


def require_current(store: Store) -> None:
    """Raise RecordingError where MLflow would migrate a store, or does not know its tables."""
    if not is_database(store):
        return
    schema = read_schema(store)
    if schema.age not in (Age.ABSENT, Age.CURRENT):
        raise RecordingError(explain(store, schema))


def is_database(store: Store) -> bool:
    """True where MLflow opens a database itself, and does not ask a server."""
    return urlsplit(store.uri).scheme.partition("+")[0] in DATABASES


def read_schema(store: Store) -> Schema:
    """Return what a database says of its tables; RecordingError where it is not MLflow's."""
    schema = _read_file(store.file) if store.file is not None else _read_database(store)
    if schema.tables - {TABLE} and not schema.tables >= OWN:
        raise RecordingError(
            f"{store.file or store} is a database but not MLflow's: name another with tracking.uri"
        )
    return schema


def explain(store: Store, schema: Schema, meanwhile: str = "") -> str:
    """Return one line that names a store, both versions, what is done `meanwhile`, and what to type."""
    place, installed = store.file or store, version("mlflow")
    if schema.age is Age.BROKEN:
        lacks = ", ".join(sorted(NEEDED - schema.tables)) or "the revision of its tables"
        return f"the store {place} is damaged, it lacks {lacks}: put a copy of it back, or name another with tracking.uri"
    [revision] = schema.revisions
    newer = schema.age is Age.NEWER
    typed = _install_command(revision) if newer else upgrade_command(store)
    means = (
        "brings an MLflow that opens it"
        if newer
        else "upgrades it for good, and locks the older MLflow out: copy it first"
    )
    return f"the store {place} is of {release_of(revision)}, and {installed} is installed: {meanwhile}`{typed}` {means}"


def _install_command(revision: str) -> str:
    known = RELEASES.get(revision)
    return f"pip install 'mlflow>={known}'" if known else "pip install --upgrade mlflow"


def release_of(revision: str) -> str:
    """Return the MLflow that a revision belongs to: it may be one from between two releases."""
    if revision in RELEASES:
        return f"MLflow {RELEASES[revision]}"
    if revision not in known_revisions():
        return f"a later MLflow (revision {brief(revision, 40)})"
    later = next(
        (RELEASES[one] for one in _descendants(revision) if one in RELEASES), version("mlflow")
    )
    return f"an MLflow before {later}"


def upgrade_command(store: Store) -> str:
    """Return what to type to migrate a store; a password stays where it is."""
    masked = str(store)
    if masked == store.uri:
        return f"mlflow db upgrade {quote_word(store.uri)}"
    if os.environ.get("MLFLOW_TRACKING_URI") == store.uri:
        return 'mlflow db upgrade "$MLFLOW_TRACKING_URI"'
    return f"mlflow db upgrade {quote_word(masked)}` with the password in place of `***"


@cache
def known_revisions() -> Mapping[str, tuple[str, ...]]:
    """Return the revisions of the installed MLflow, each with those that it follows.

    Read from its migrations: alembic would import all of them, and MLflow before them.
    """
    found = find_spec("mlflow")
    if found is None or found.origin is None:
        return {}
    known: dict[str, tuple[str, ...]] = {}
    for file in (Path(found.origin).parent / MIGRATIONS).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        revision, follows = _REVISION.search(text), _FOLLOWS.search(text)
        if revision is not None and follows is not None:
            known[revision[1]] = tuple(re.findall(r"[\"'](\w+)[\"']", follows[1]))
    return known


def latest_revision() -> str | None:
    """Return the revision that no other follows."""
    known = known_revisions()
    followed = {one for follows in known.values() for one in follows}
    return next((one for one in known if one not in followed), None)


def _descendants(revision: str) -> list[str]:
    """Return the revisions after one, the nearest first."""
    after = {one: revision for revision, follows in known_revisions().items() for one in follows}
    chain: list[str] = []
    while revision in after:
        revision = after[revision]
        chain.append(revision)
    return chain


def _read_file(file: Path) -> Schema:
    try:
        if not file.exists() or file.stat().st_size == 0:
            return Schema((), frozenset())
        with connect(file, to_write=False, timeout=stores.SERVER_TIMEOUT) as database:
            tables = {
                name
                for (name,) in database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                )
            }
            rows = (
                database.execute(f"SELECT version_num FROM {TABLE}").fetchall()
                if TABLE in tables
                else []
            )
    except sqlite3.Error as error:
        raise RecordingError(
            f"the store {file} cannot be read: {error}; {advise(str(error))}"
        ) from error
    except OSError as error:
        why = f"{error.strerror or error}; {advise(str(error))}"
        raise RecordingError(f"the store {file} cannot be read: {why}") from error
    return Schema(tuple(str(row[0]) for row in rows), frozenset(tables))


def _read_database(store: Store) -> Schema:
    """MLflow is imported for its errors: these databases are never asked before it is."""
    from sqlalchemy import NullPool, create_engine, inspect, text

    from linfit.tracking.patience import persist

    def read() -> Schema:
        engine = create_engine(store.uri, poolclass=NullPool)
        with engine.connect() as connection:
            tables = frozenset(inspect(connection).get_table_names())
            rows = (
                connection.execute(text(f"SELECT version_num FROM {TABLE}")).all()
                if TABLE in tables
                else []
            )
        return Schema(tuple(str(row[0]) for row in rows), tables)

    return persist(store, read)
