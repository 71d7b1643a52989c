"""Find out whether a database has the columns that blocks of runs are written into, whatever revision its schema names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, Engine, Float, Integer, String, Table, inspect
from sqlalchemy.dialects.mysql import TINYINT

from linfit.tracking.block import COLUMNS, LATEST, METRICS

#: The types of columns that are not texts. MySQL keeps truth values in small integers.
INTEGER, NUMBER, FLAG, TEXT = (Integer,), (Float,), (Boolean, TINYINT), (String,)
INTEGERS = frozenset(
    {"start_time", "end_time", "deleted_time", "experiment_id", "timestamp", "step"}
)
#: Columns that NULL is written into.
EMPTY = frozenset({"deleted_time"})


def find_obstacle(engine: Engine) -> str:
    """Return why blocks cannot be written into a database; empty where nothing is in the way."""
    names = [table.name for table in COLUMNS]
    found = inspect(engine).get_multi_columns(filter_names=names)
    tables = {
        name: {column["name"]: column for column in columns} for (_, name), columns in found.items()
    }
    reasons = (_obstacle(table, tables.get(table.name)) for table in COLUMNS)
    return next(filter(None, reasons), "")


def _obstacle(table: Table, found: Mapping[str, Mapping[str, Any]] | None) -> str:
    if found is None:
        return f"it has no table {table.name}"
    for name in COLUMNS[table]:
        if name not in found:
            return f"its table {table.name} has no column {name}"
        if not _holds(table, name, found[name]):
            return f"the column {name} of its table {table.name} is {found[name]['type']!s}, and not as linfit knows it"
    other = (
        name
        for name, column in found.items()
        if name not in COLUMNS[table] and _is_demanded(column)
    )
    demanded = next(other, None)
    return f"its table {table.name} demands a column {demanded}" if demanded else ""


def _holds(table: Table, name: str, column: Mapping[str, Any]) -> bool:
    """True for a column that takes what is written there: neither computed, nor of another kind of value."""
    if column.get("computed") or (name in EMPTY and not column["nullable"]):
        return False
    return isinstance(column["type"], _kinds(table, name))


def _kinds(table: Table, name: str) -> tuple[type, ...]:
    if name in INTEGERS:
        return INTEGER
    if name == "is_nan":
        return FLAG
    return NUMBER if name == "value" and table in (METRICS, LATEST) else TEXT


def _is_demanded(column: Mapping[str, Any]) -> bool:
    """True for a column that a row needs a value for."""
    filled = column["default"] is not None or column.get("computed") or column.get("identity")
    return not column["nullable"] and not filled
