"""Insert a block of runs into a database, through MLflow's own table definitions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from mlflow.entities import LifecycleStage
from mlflow.store.db.db_types import SQLITE
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from sqlalchemy import Connection, Table, select
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from linfit.tracking.write.client import split_sequence
from linfit.tracking.write.rows import COLUMNS, DATASETS, DatasetKey, RunBlock, TableRecord

DATASETS_PER_QUERY = 500
#: Values of a statement for SQLite; parsing a statement with more takes longer than that statement
#: saves.
VALUES_PER_STATEMENT = 6000


def insert_block(connection: Connection, block: RunBlock, ids: Iterator[str]) -> bool:
    """Insert a block within a transaction.

    Return False if its MLflow experiment was deleted.
    """
    if connection.dialect.name == SQLITE:
        # Take the lock now, so that what is read below stays true.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    if not is_active(connection, block.experiment_id):
        return False
    for table, records in block.records.items():
        insert_records(connection, table, records)
    known = find_known_datasets(connection, block)
    for table, records in block.build_input_records(known, ids).items():
        insert_records(connection, table, records)
    return True


def is_active(connection: Connection, experiment: int) -> bool:
    """Return True if an MLflow experiment exists, and was not deleted."""
    query = select(SqlExperiment.lifecycle_stage).where(SqlExperiment.experiment_id == experiment)
    return bool(connection.execute(query).scalar() == LifecycleStage.ACTIVE)


def insert_records(connection: Connection, table: Table, records: Sequence[TableRecord]) -> None:
    """Insert records, as tuples if the driver takes them.

    SQLAlchemy's handling would cost half as much again. SQLite gets hundreds of rows with each
    statement, which takes a quarter less time. Its driver releases the interpreter's lock while a
    statement runs: a thread can insert while the main thread fits.
    """
    if not records:
        return
    if not connection.dialect.positional:
        named = [dict(zip(COLUMNS[table], record, strict=True)) for record in records]
        connection.execute(table.insert(), named)
        return

    text = _insert_into(table, connection.dialect)
    rest = list(records)
    if connection.dialect.name == SQLITE:
        driver: Any = connection.connection.driver_connection
        limit = driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        count = min(VALUES_PER_STATEMENT, limit) // len(COLUMNS[table])
        together = len(rest) // count * count
        row = text.partition(" VALUES ")[2]
        many = text + f", {row}" * (count - 1)
        for rows in split_sequence(rest[:together], count):
            connection.exec_driver_sql(many, tuple(chain.from_iterable(rows)))
        rest = rest[together:]
    if rest:
        connection.exec_driver_sql(text, rest)


def find_known_datasets(connection: Connection, block: RunBlock) -> dict[DatasetKey, str]:
    """Return the ids of a block's datasets that exist already.

    Only datasets of its MLflow experiment count.
    """
    columns = DATASETS.c
    query = select(columns.name, columns.digest, columns.dataset_uuid).where(
        columns.experiment_id == block.experiment_id
    )
    known = {}
    digests = sorted({digest for _, digest in block.datasets})
    for page in split_sequence(digests, DATASETS_PER_QUERY):
        for name, digest, uuid in connection.execute(query.where(columns.digest.in_(page))):
            known[name, digest] = uuid
    return known


@cache
def _insert_into(table: Table, dialect: Dialect) -> str:
    """Return the statement that inserts a record, in the order of its columns."""
    columns = COLUMNS[table]
    compiled = table.insert().compile(dialect=dialect, column_keys=list(columns))
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup == list(columns), f"{compiled} takes its values in another order"
    return str(compiled)
