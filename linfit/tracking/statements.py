"""A block of runs as SQL: how its rows get into a database, through MLflow's own table definitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from mlflow.entities import LifecycleStage
from mlflow.store.tracking.dbmodels.models import SqlExperiment
from sqlalchemy import ClauseElement, Connection, Table, bindparam, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

from linfit.tracking.block import COLUMNS, DATASETS, INPUT_TAGS, INPUTS, Block, Key, Record
from linfit.tracking.client import parts

#: A statement, and the records that it is executed for.
Statement = tuple[str, list[Record]]
SQLITE = sqlite.dialect(paramstyle="qmark")
EXPERIMENTS = SqlExperiment.__table__
DATASETS_A_QUERY = 500


def statements(block: Block, ids: Iterator[str]) -> list[Statement]:
    """For SQLite, and without a look at what is there: a dataset that the MLflow experiment has already stays, and is found by its key."""
    new = block.inputs({}, ids)
    keys = ((block.experiment, *key) for _, key in block.used)
    links = [
        (edge, kind, of, run_id, *key)
        for (edge, kind, _, of, run_id), key in zip(new[INPUTS], keys, strict=True)
    ]
    rows = [(_into(table, SQLITE), records) for table, records in block.records.items()]
    inputs = [
        (_if_new(DATASETS), new[DATASETS]),
        (_link(), links),
        (_into(INPUT_TAGS, SQLITE), new[INPUT_TAGS]),
    ]
    return [(statement, records) for statement, records in rows + inputs if records]


def active(block: Block) -> tuple[str, Record]:
    """A query with its parameters, which finds something unless the block's MLflow experiment was deleted."""
    columns = EXPERIMENTS.c
    query = select(columns.experiment_id).where(
        columns.experiment_id == bindparam("id"), columns.lifecycle_stage == bindparam("stage")
    )
    return _text(query, SQLITE, ("id", "stage")), (block.experiment, LifecycleStage.ACTIVE)


def insert_block(connection: Connection, block: Block, ids: Iterator[str]) -> None:
    """For any database."""
    for (
        table,
        records,
    ) in (
        block.records.items()
    ):  # from here on SQLite holds the lock, so what is read below stays true
        insert(connection, table, records)
    for table, records in block.inputs(known_datasets(connection, block), ids).items():
        insert(connection, table, records)


def insert(connection: Connection, table: Table, records: Sequence[Record]) -> None:
    """A driver that takes tuples gets them as they are: SQLAlchemy's handling of each would cost half of the insert again."""
    if not records:
        return
    if not connection.dialect.positional:
        connection.execute(
            table.insert(), [dict(zip(COLUMNS[table], record, strict=True)) for record in records]
        )
        return
    connection.exec_driver_sql(_into(table, connection.dialect), list(records))


def known_datasets(connection: Connection, block: Block) -> dict[Key, str]:
    """The ids of those of the block's datasets that the MLflow experiment has already."""
    columns = DATASETS.c
    query = select(columns.name, columns.digest, columns.dataset_uuid).where(
        columns.experiment_id == block.experiment
    )
    digests = sorted({digest for _, digest in block.datasets})
    pages = (
        connection.execute(query.where(columns.digest.in_(page)))
        for page in parts(digests, DATASETS_A_QUERY)
    )
    return {(name, digest): uuid for page in pages for name, digest, uuid in page}


@cache
def _into(table: Table, dialect: Dialect) -> str:
    return _text(table.insert(), dialect, COLUMNS[table])


@cache
def _if_new(table: Table) -> str:
    return _text(sqlite.insert(table).on_conflict_do_nothing(), SQLITE, COLUMNS[table])


@cache
def _link() -> str:
    """An input whose source is the dataset with a key."""
    own: list[Any] = [
        bindparam(name)
        for name in ("input_uuid", "source_type", "destination_type", "destination_id")
    ]
    key: dict[str, Any] = {name: bindparam(name) for name in ("experiment_id", "name", "digest")}
    found = select(*own[:2], DATASETS.c.dataset_uuid, *own[2:]).where(
        *(DATASETS.c[name] == value for name, value in key.items())
    )
    return _text(
        INPUTS.insert().from_select(list(COLUMNS[INPUTS]), found),
        SQLITE,
        [*(each.key for each in own), *key],
    )


def _text(statement: ClauseElement, dialect: Dialect, names: Sequence[str]) -> str:
    """The statement, which takes its values in the order of `names`."""
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)
    assert compiled.positiontup == list(names), f"{statement} takes its values in another order"
    return str(compiled)
