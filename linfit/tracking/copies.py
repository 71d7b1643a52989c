"""Read a store from a copy if its tables are not those of the installed MLflow; the store stays as
it is.

The copy is upgraded as MLflow would upgrade the store. A later MLflow adds columns that this one
does not read: its copy is marked as one of the installed MLflow's, if it has all columns that this
one reads.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import weakref
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from mlflow.store.db import utils
from mlflow.store.tracking.dbmodels import models
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import Engine, NullPool, Table, create_engine, inspect

from linfit.errors import RecordingError
from linfit.scratch import discard_folder, new_folder
from linfit.tracking.addresses import sqlite_uri
from linfit.tracking.migrations import (
    TABLE,
    Age,
    Schema,
    explain,
    is_database,
    latest_revision,
    read_schema,
)
from linfit.tracking.patience import one_line
from linfit.tracking.sqlite_files import connect, guard
from linfit.tracking.store import SERVER_TIMEOUT, Store, quiet, unflushed

#: Free space that a copy needs, as a multiple of the store's size: an upgrade writes some tables
#: anew.
ROOM = 3
NAME = "mlflow.db"
#: The tables of runs that MLflow reads.
READ: tuple[Table, ...] = tuple(
    model.__table__
    for model in (
        models.SqlExperiment,
        models.SqlExperimentTag,
        models.SqlRun,
        models.SqlTag,
        models.SqlParam,
        models.SqlMetric,
        models.SqlLatestMetric,
        models.SqlDataset,
        models.SqlInput,
        models.SqlInputTag,
    )
)


class Readable:
    """A database to read in place of `store`, at `uri`.

    It is the store's own, or a copy that is deleted with this object.
    """

    def __init__(self, store: Store) -> None:
        self.uri = store.uri
        guard(store.file)
        if not is_database(store):
            return
        schema = read_schema(store)
        if schema.age is Age.ABSENT:
            place = store.file or store
            raise RecordingError(
                f"the store {place} has no tables yet: "
                "run something first, or name another with --uri"
            )
        if schema.age is Age.CURRENT:
            return
        if store.file is None or schema.age is Age.BROKEN:
            raise RecordingError(explain(store, schema))

        copy = new_folder() / NAME
        weakref.finalize(self, _remove, copy)
        self.uri = sqlite_uri(copy)
        guard(copy)
        _copy(store, store.file, copy)
        _adopt(store, schema, copy)
        _warn_once(explain(store, schema, "it is read from a copy; "))


def _copy(store: Store, source: Path, target: Path) -> None:
    if shutil.disk_usage(gettempdir()).free < ROOM * source.stat().st_size:
        why = explain(store, read_schema(store))
        raise RecordingError(f"{why}; to read a copy of it, {gettempdir()} has too little room")
    with (
        one_line(store),
        connect(source, to_write=False, timeout=SERVER_TIMEOUT) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        new.execute("PRAGMA synchronous = OFF")
        old.backup(new)


def _adopt(store: Store, schema: Schema, file: Path) -> None:
    """Turn a copy into a store of the installed MLflow; RecordingError if it lacks a column."""
    engine = create_engine(sqlite_uri(file), poolclass=NullPool)
    if schema.age is Age.OLDER:
        # If the upgrade stops half-way, the columns that are there decide.
        with suppress(Exception), quiet("mlflow", "alembic"), unflushed(file):
            utils._upgrade_db(engine)
    if _lacks_columns(engine):
        raise RecordingError(explain(store, schema))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE {TABLE} SET version_num = ?", (latest_revision(),))


def _lacks_columns(engine: Engine) -> bool:
    found = inspect(engine)
    existing = set(found.get_table_names())
    for table in READ:
        if table.name not in existing:
            return True
        names = {column["name"] for column in found.get_columns(table.name)}
        if not names >= set(table.columns.keys()):
            return True
    return False


@cache
def _warn_once(text: str) -> None:
    """Log a warning, once however often a store is read."""
    logging.getLogger(__name__).warning(text)


def _remove(copy: Path) -> None:
    """Delete a copy after MLflow's connections to it: Windows deletes no open file."""
    engine = SqlAlchemyStore._engine_map.pop(sqlite_uri(copy), None)
    if engine is not None:
        engine.dispose()
    discard_folder(copy.parent)
