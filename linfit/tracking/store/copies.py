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
from linfit.system.log_limits import limit_logging
from linfit.system.scratch import create_temporary_folder, discard_folder
from linfit.tracking.store.addresses import format_sqlite_uri
from linfit.tracking.store.migrations import (
    VERSION_TABLE,
    DatabaseSchema,
    SchemaAge,
    explain_mismatch,
    find_latest_revision,
    is_database,
    read_schema,
)
from linfit.tracking.store.retry import as_recording_error
from linfit.tracking.store.sqlite_files import harden_file, open_checked
from linfit.tracking.store.store import SERVER_TIMEOUT, Store, skip_flushing

#: Free space that a copy needs, as a multiple of the store's size: an upgrade writes some tables
#: anew.
ROOM_FACTOR = 3
COPY_NAME = "mlflow.db"
#: The tables of runs that MLflow reads.
TABLES_READ: tuple[Table, ...] = tuple(
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


class ReadableDatabase:
    """A database to read in place of `store`, at `uri`.

    It is the store's own, or a copy that is deleted with this object.
    """

    def __init__(self, store: Store) -> None:
        self.uri = store.uri
        harden_file(store.file)
        if not is_database(store):
            return
        schema = read_schema(store)
        if schema.age is SchemaAge.ABSENT:
            place = store.file or store
            raise RecordingError(
                f"the store {place} has no tables yet: "
                "run something first, or name another with --uri"
            )
        if schema.age is SchemaAge.CURRENT:
            return
        if store.file is None or schema.age is SchemaAge.BROKEN:
            raise RecordingError(explain_mismatch(store, schema))

        copy = create_temporary_folder() / COPY_NAME
        weakref.finalize(self, _remove, copy)
        self.uri = format_sqlite_uri(copy)
        harden_file(copy)
        _copy(store, store.file, copy)
        _adopt(store, schema, copy)
        _warn_once(explain_mismatch(store, schema, "it is read from a copy; "))


def _copy(store: Store, source: Path, target: Path) -> None:
    if shutil.disk_usage(gettempdir()).free < ROOM_FACTOR * source.stat().st_size:
        why = explain_mismatch(store, read_schema(store))
        raise RecordingError(f"{why}; to read a copy of it, {gettempdir()} has too little room")
    with (
        as_recording_error(store),
        open_checked(source, to_write=False, timeout=SERVER_TIMEOUT) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        new.execute("PRAGMA synchronous = OFF")
        old.backup(new)


def _adopt(store: Store, schema: DatabaseSchema, file: Path) -> None:
    """Turn a copy into a store of the installed MLflow; RecordingError if it lacks a column."""
    engine = create_engine(format_sqlite_uri(file), poolclass=NullPool)
    if schema.age is SchemaAge.OLDER:
        # If the upgrade stops half-way, the columns that are there decide.
        with suppress(Exception), limit_logging("mlflow", "alembic"), skip_flushing(file):
            utils._upgrade_db(engine)
    if _lacks_columns(engine):
        raise RecordingError(explain_mismatch(store, schema))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = ?", (find_latest_revision(),))


def _lacks_columns(engine: Engine) -> bool:
    found = inspect(engine)
    existing = set(found.get_table_names())
    for table in TABLES_READ:
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
    engine = SqlAlchemyStore._engine_map.pop(format_sqlite_uri(copy), None)
    if engine is not None:
        engine.dispose()
    discard_folder(copy.parent)
