"""The user's own data: columns of a CSV file, by name."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from linfit.problem.datasets import Dataset
from linfit.problem.problem import Problem

SHIPPED = "linfit:"
SHIPPED_FOLDER = Path(__file__).parents[1] / "data"


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Columns = Annotated[tuple[str, ...], BeforeValidator(_one_or_more), Field(strict=False, min_length=1)]


class CSV(Dataset):
    """Columns of a CSV file with a header line. Every cell used must be a finite number; no row is ever dropped.

    `path` is relative to the working directory; `linfit:article.csv` is a file that linfit ships. Numbers are parsed
    exactly, as Python's `float` does. There is no hidden intercept: name a column of ones.
    """

    name: Literal["csv"] = "csv"
    path: Annotated[str, Field(min_length=1)]
    features: Columns
    target: Columns

    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self.target)

    def files(self) -> tuple[str, ...]:
        return (str(self.file),)

    def drawn_from(self, seed: int) -> int | None:
        return None if type(self) is CSV else seed  # a subclass may draw

    @property
    def file(self) -> Path:
        if not self.path.startswith(SHIPPED):
            return Path(self.path)
        shipped = SHIPPED_FOLDER / self.path.removeprefix(SHIPPED)
        if shipped.parent != SHIPPED_FOLDER:
            raise ValueError(f"dataset.path {self.path!r}: what linfit ships has no folders; there are {', '.join(_shipped())}")
        return shipped

    def check(self) -> None:
        self.load(0)

    def load(self, seed: int) -> Problem:
        columns = (*self.features, *self.target)
        try:
            with self.file.open(newline="", encoding="utf-8-sig") as lines:
                table = np.array(list(_rows(csv.reader(lines, strict=True), columns, self.path)))  # [n, p + q]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"dataset.path {self.path!r} cannot be read: {error}") from error
        if not len(table):
            raise ValueError(f"{self.path} has no rows below its header")
        p = len(self.features)
        return Problem(table[:, :p], table[:, p:], self.features, self.target, self.path)


def file_digest(path: str) -> str:
    """SHA-256 of a data file, as hexadecimal digits."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"data file {path!r} cannot be read: {error.strerror}") from error


def _rows(reader: Any, columns: tuple[str, ...], path: str) -> Iterator[list[float]]:
    header = next(reader, None)
    if not header:
        raise ValueError(f"{path} is empty: a header line with the names of the columns is needed")
    places = [_place(header, column, path) for column in columns]
    for row in reader:
        if not row:
            continue  # a blank line, as the csv module reads it
        if len(row) != len(header):
            raise ValueError(f"{path}, line {reader.line_num}: {len(row)} cells below a header of {len(header)}")
        yield [_number(row[place], path, reader.line_num, header[place]) for place in places]


def _place(header: list[str], column: str, path: str) -> int:
    if header.count(column) > 1:
        raise ValueError(f"{path} has {header.count(column)} columns named {column!r}: rename all but one")
    if column not in header:
        near = get_close_matches(column, header, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{path} has no column {column!r}: {hint}there are {', '.join(header)}")
    return header.index(column)


def _number(cell: str, path: str, line: int, column: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{path}, line {line}, column {column!r}: {cell!r} is not a finite number")
    return number


def _shipped() -> list[str]:
    return sorted(file.name for file in SHIPPED_FOLDER.glob("*.csv"))
