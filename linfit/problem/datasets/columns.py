"""Names of columns in a config: one or several, as text or numbers, in a list or as a range."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

_RANGE = re.compile(r"(|.*\.)(\d+):(\d+)", re.ASCII)


def _named(value: Any) -> Any:
    """Return the name of a column, an integer as text; ValueError for other numbers."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError(f"{str(value).lower()} is no text; a name that looks so needs quotes")
    return value


def _one_or_more(value: Any) -> Any:
    return tuple(map(_named, value)) if isinstance(value, list | tuple) else (_named(value),)


ColumnNames = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_more, json_schema_input_type=tuple[str | int, ...] | str | int),
    Field(strict=False, min_length=1),
]


def _expand_ranges(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return `0:3` as `0`, `1`, `2`, and `X.0:3` as `X.0`, `X.1`, `X.2`."""
    names = []
    for column in columns:
        found = _RANGE.fullmatch(column)
        if not found:
            names.append(column)
            continue
        first = int(found[2])
        end = int(found[3])
        if not first < end <= 10**6:
            raise ValueError(
                f"{column!r} is no range of columns: "
                "write the first and the one after the last, as in 0:10"
            )
        names += [f"{found[1]}{i}" for i in range(first, end)]
    return tuple(names)


ColumnNumbers = Annotated[ColumnNames, AfterValidator(_expand_ranges)]
#: The name of one column.
ColumnName = Annotated[
    str, BeforeValidator(_named, json_schema_input_type=str | int), Field(min_length=1)
]
