"""Check whether a database has the columns that blocks of runs are written into.

The columns decide, not the revision that the schema names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Boolean, Engine, Float, Integer, String, Table, inspect
from sqlalchemy.dialects.mysql import TINYINT

from linfit.tracking.write.rows import COLUMNS, LATEST, METRICS

#: The types of columns by what they hold. MySQL keeps truth values in small integers.
INTEGER_TYPES = (Integer,)
NUMBER_TYPES = (Float,)
FLAG_TYPES = (Boolean, TINYINT)
TEXT_TYPES = (String,)
INTEGER_COLUMNS = frozenset(
    {"start_time", "end_time", "deleted_time", "experiment_id", "timestamp", "step"}
)
#: Columns that NULL is written into.
NULL_COLUMNS = frozenset({"deleted_time"})


def find_obstacle(engine: Engine) -> str:
    """Return why blocks cannot be written into a database.

    Empty where nothing is in the way.
    """
    names = [table.name for table in COLUMNS]
    found = inspect(engine).get_multi_columns(filter_names=names)
    tables = {}
    for (_, name), columns in found.items():
        tables[name] = {column["name"]: column for column in columns}
    for table in COLUMNS:
        obstacle = _obstacle(table, tables.get(table.name))
        if obstacle:
            return obstacle
    return ""


def _obstacle(table: Table, found: Mapping[str, Mapping[str, Any]] | None) -> str:
    if found is None:
        return f"it has no table {table.name}"
    for name in COLUMNS[table]:
        if name not in found:
            return f"its table {table.name} has no column {name}"
        if not _holds(table, name, found[name]):
            return (
                f"the column {name} of its table {table.name} is {found[name]['type']!s}, "
                "and not as linfit knows it"
            )
    for name, column in found.items():
        if name not in COLUMNS[table] and _is_demanded(column):
            return f"its table {table.name} demands a column {name}"
    return ""


def _holds(table: Table, name: str, column: Mapping[str, Any]) -> bool:
    """Return True for a column that takes the values written there."""
    if column.get("computed") or (name in NULL_COLUMNS and not column["nullable"]):
        return False
    return isinstance(column["type"], _kinds(table, name))


def _kinds(table: Table, name: str) -> tuple[type, ...]:
    if name in INTEGER_COLUMNS:
        return INTEGER_TYPES
    if name == "is_nan":
        return FLAG_TYPES
    if name == "value" and table in (METRICS, LATEST):
        return NUMBER_TYPES
    return TEXT_TYPES


def _is_demanded(column: Mapping[str, Any]) -> bool:
    """Return True for a column that a row needs a value for."""
    filled = column["default"] is not None or column.get("computed") or column.get("identity")
    return not column["nullable"] and not filled
