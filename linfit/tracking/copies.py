"""A copy of a store whose tables are not those of the installed MLflow: it is read in place of the store, which stays as it is.

The copy is upgraded as MLflow would upgrade the store. A later MLflow's has columns that this one does not read: it is taken for
one of the installed MLflow's, if it has those that this one does.
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

#: Times the size of a store that is left on the disk for its copy: an upgrade writes some tables anew.
ROOM = 3
NAME = "mlflow.db"
#: What MLflow reads of runs.
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
    """The database that is read for `store`, at `uri`: its own, or a copy that is deleted with this object."""

    def __init__(self, store: Store) -> None:
        self.uri = store.uri
        guard(store.file)
        if not is_database(store):
            return
        schema = read_schema(store)
        if schema.age is Age.ABSENT:
            raise RecordingError(
                f"the store {store.file or store} has no tables yet: run something first, or name another with --uri"
            )
        if schema.age is Age.CURRENT:
            return
        if store.file is None or schema.age is Age.BROKEN:
            raise RecordingError(explain(store, schema))
        folder = new_folder()
        weakref.finalize(self, _remove, folder)
        self.uri = sqlite_uri(folder / NAME)
        guard(folder / NAME)
        _copy(store, store.file, folder / NAME)
        _adopt(store, schema, folder / NAME)
        _tell(explain(store, schema, "it is read from a copy; "))


def _copy(store: Store, source: Path, target: Path) -> None:
    room, size = shutil.disk_usage(gettempdir()).free, source.stat().st_size
    if room < ROOM * size:
        raise RecordingError(
            f"{explain(store, read_schema(store))}; to read a copy of it, {gettempdir()} has too little room"
        )
    with (
        one_line(store),
        connect(source, to_write=False, timeout=SERVER_TIMEOUT) as old,
        closing(sqlite3.connect(target)) as new,
    ):
        new.execute("PRAGMA synchronous = OFF")
        old.backup(new)


def _adopt(store: Store, schema: Schema, file: Path) -> None:
    """Make a copy one of the installed MLflow's; RecordingError where it lacks what that one reads."""
    engine = create_engine(sqlite_uri(file), poolclass=NullPool)
    if schema.age is Age.OLDER:
        with (
            suppress(Exception),
            quiet("mlflow", "alembic"),
            unflushed(file),
        ):  # half migrated: what is there decides
            utils._upgrade_db(engine)
    if _lacks_columns(engine):
        raise RecordingError(explain(store, schema))
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE {TABLE} SET version_num = ?", (latest_revision(),))


def _lacks_columns(engine: Engine) -> bool:
    found = inspect(engine)
    there = set(found.get_table_names())
    return any(
        table.name not in there
        or not {column["name"] for column in found.get_columns(table.name)}
        >= set(table.columns.keys())
        for table in READ
    )


@cache
def _tell(text: str) -> None:
    """Once, however often a store is read."""
    logging.getLogger(__name__).warning(text)


def _remove(folder: Path) -> None:
    """Delete a copy, whose connections MLflow keeps: Windows deletes no file that is open."""
    engine = SqlAlchemyStore._engine_map.pop(sqlite_uri(folder / NAME), None)
    if engine is not None:
        engine.dispose()
    discard_folder(folder)
