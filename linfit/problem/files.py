"""The user's own data: columns of a CSV, Parquet or numpy file, by name."""

from __future__ import annotations

import csv
import re
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from linfit.lines import WIDTH, Lines, Scope, indented, listed
from linfit.problem.cells import Cleaner, Constants, repeated
from linfit.problem.datasets import Dataset
from linfit.problem.loading import prepared
from linfit.problem.npy import columns_in, numpy_rows
from linfit.problem.pipes import readable
from linfit.problem.problem import Problem
from linfit.problem.tables import SEPARATORS, Numbers, Rows, csv_rows, no_utf8, parquet_rows
from linfit.problem.types import Array

SHIPPED = "linfit:"
#: Lines that the numbers of a dataset may take in a program.
MOST_LINES = 14
SHIPPED_FOLDER = Path(__file__).parents[1] / "data"
_RANGE = re.compile(r"(|.*\.)(\d+):(\d+)", re.ASCII)


def _named(value: Any) -> Any:
    """Return the name of a column: an integer that stands for one becomes text, nothing else does."""
    if type(value) is int:
        return str(value)
    if isinstance(value, bool | float):
        raise ValueError(f"{str(value).lower()} is no text; a name that looks so needs quotes")
    return value


def _one_or_more(value: Any) -> Any:
    return tuple(map(_named, value)) if isinstance(value, list | tuple) else (_named(value),)


Columns = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_more, json_schema_input_type=tuple[str | int, ...] | str | int),
    Field(strict=False, min_length=1),
]


def _ranges(columns: tuple[str, ...]) -> tuple[str, ...]:
    """`0:3` as `0`, `1`, `2`, and `X.0:3` as `X.0`, `X.1`, `X.2`."""
    return tuple(name for column in columns for name in _range(column))


def _range(column: str) -> tuple[str, ...]:
    found = _RANGE.fullmatch(column)
    if not found:
        return (column,)
    if not int(found[2]) < int(found[3]) <= 10**6:
        raise ValueError(
            f"{column!r} is no range of columns: write the first and the one after the last, as in 0:10"
        )
    return tuple(f"{found[1]}{i}" for i in range(int(found[2]), int(found[3])))


def _separator(value: Any) -> Any:
    """A tab under its name, which a command line, a table and a log can show."""
    return SEPARATORS["\t"] if value in ("\t", "\\t") else value


NumberedColumns = Annotated[Columns, AfterValidator(_ranges)]


class Table(Dataset):
    """Columns of a file, by name. There is no hidden intercept: name a column of ones, or choose `features.intercept=true`.

    `path` is relative to the working directory; `linfit:article.csv` is a file that linfit ships. Every cell used must be a finite
    number, parsed exactly as Python's `float` does. A missing one is an error, or with `missing=drop` its row is left out, and
    how many were is said. `weight` names a column of weights: a sample's squared error counts so many times.
    """

    later = frozenset({"weight", "missing"})
    suffixes: ClassVar[tuple[str, ...]] = ()

    path: Annotated[str, Field(min_length=1)]
    features: Columns
    target: Columns
    weight: (
        Annotated[
            str, BeforeValidator(_named, json_schema_input_type=str | int), Field(min_length=1)
        ]
        | None
    ) = None
    missing: Literal["error", "drop"] = "error"

    @abstractmethod
    def rows(self, columns: tuple[str, ...]) -> Iterator[Rows]:
        """The columns `[b, m]`, some rows at a time."""

    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self.target)

    def weighted(self) -> bool:
        return self.weight is not None

    def files(self) -> tuple[str, ...]:
        return (str(self.place),)

    def drawn_from(self, seed: int) -> int | None:
        return None if type(self).__module__ == __name__ else seed  # a subclass may draw

    @property
    def file(self) -> Path:
        """The file that is read: the one at `place`, or a copy of what came through a pipe there."""
        return readable(str(self.place))

    @property
    def place(self) -> Path:
        """Where `path` leads."""
        if not self.path.startswith(SHIPPED):
            return Path(self.path)
        shipped = SHIPPED_FOLDER / self.path.removeprefix(SHIPPED)
        if shipped.parent != SHIPPED_FOLDER:
            raise ValueError(
                f"dataset.path {self.path!r}: what linfit ships has no folders; there are {', '.join(_shipped())}"
            )
        return shipped

    def check(self, dtype: str) -> None:
        deque(
            self._blocks(dtype), maxlen=0
        )  # all of it, once: a bad cell would fail every fit of a sweep

    def load(self, seed: int) -> Problem:
        blocks = list(self.blocks(seed))
        X, y = (
            np.concatenate([getattr(block, part) for block in blocks]).astype(
                np.float64, copy=False
            )
            for part in ("X", "y")
        )
        weights = (
            None
            if self.weight is None
            else np.concatenate([block.weights for block in blocks if block.weights is not None])
        )
        return replace(blocks[-1], X=X, y=y, weights=weights)

    def blocks(self, seed: int) -> Iterator[Problem]:
        return self._blocks()

    def _blocks(self, dtype: str | None = None) -> Iterator[Problem]:
        """The blocks; what is to be said of all rows stands in the notes of the last. Every number is one that a fit in `dtype` can take."""
        columns = (
            *self.features,
            *self.target,
            *((self.weight,) if self.weight is not None else ()),
        )
        cleaner = Cleaner(self.path, columns, self.missing == "drop", self.weighted(), dtype)
        constants, last = Constants(len(self.features)), None
        try:
            for rows in self.rows(columns):
                block = cleaner.clean(*rows)
                if len(block):
                    if last is not None:
                        yield self._problem(last, ())
                    last = block
                    constants.look(block[:, : len(self.features)])
        except UnicodeDecodeError as error:
            raise ValueError(
                self.where_no_utf8() or f"dataset.path {self.path!r} cannot be read: {error}"
            ) from error
        except (OSError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise ValueError(
                f"dataset.path {self.path!r} cannot be read: {reason} (it begins at the working directory)"
            ) from error
        if last is None:
            raise ValueError(
                f"{self.path} has no rows{' but such with missing cells' if cleaner.dropped else ''}"
            )
        yield self._problem(
            last,
            (
                *cleaner.notes(),
                *repeated(self.features, self.target, self.path),
                *constants.notes(self.features, self.path),
            ),
        )

    def where_no_utf8(self) -> str | None:
        """Say where the first byte of a text file stands that is no UTF-8."""
        return None

    def _written(self, scope: Scope) -> Lines:
        """The numbers themselves where they are few, or linfit's own; none where a program has to read them from the file."""
        problem = prepared(self.load(scope.seed), None).cast(scope.dtype)
        written = written_out(problem, scope)
        return written if len(written) <= MOST_LINES or self.path.startswith(SHIPPED) else ()

    def _read(
        self, before: Lines, opening: str, column: Callable[[str], str], closing: str
    ) -> Lines:
        """Lines that read the file: `before`, then arrays made of the expression for each column, and what is done with their rows."""
        parts = {
            "X": self.features,
            "y": self.target,
            **({} if self.weight is None else {"weights": (self.weight,)}),
        }
        arrays = [
            line
            for name, names in parts.items()
            for line in listed(f"{name} = {opening}", [*map(column, names)], closing)
        ]
        names = ", ".join(parts)
        kept = (
            f"kept = ~np.isnan(np.hstack([{names}])).any(axis=1)",
            f"{names} = (array[kept] for array in ({names}))",
        )
        weighted = ("X, y = (array * np.sqrt(weights) for array in (X, y))",)
        return (
            *before,
            *arrays,
            *(kept if self.missing == "drop" else ()),
            *(weighted if self.weighted() else ()),
        )

    def _problem(self, block: Numbers, notes: tuple[str, ...]) -> Problem:
        p, q = self.shape()
        weights = None if self.weight is None else block[:, -1].astype(np.float64)
        return Problem(
            block[:, :p],
            block[:, p : p + q],
            self.features,
            self.target,
            self.path,
            weights=weights,
            notes=notes,
        )


class CSV(Table):
    """Columns of a CSV file with a header line, in UTF-8, cells separated by commas unless `separator` says otherwise."""

    later = Table.later | {"separator"}

    name: Literal["csv"] = "csv"
    separator: Annotated[Literal[",", ";", "tab", "|"], BeforeValidator(_separator)] = ","

    @property
    def letter(self) -> str:
        """The character between two cells."""
        return next(letter for letter, name in SEPARATORS.items() if name == self.separator)

    def rows(self, columns: tuple[str, ...]) -> Iterator[Rows]:
        return csv_rows(self.file, columns, self.path, self.missing == "drop", self.letter)

    def where_no_utf8(self) -> str | None:
        return no_utf8(self.file, self.path, self.letter)

    def lines(self, scope: Scope) -> Lines:
        if written := self._written(scope):
            return written
        if self.missing == "drop":
            raise ValueError(
                f"{self.path}: a plain program reads all rows of a CSV file: leave out dataset.missing"
            )
        separator = "" if self.separator == "," else f", delimiter={self.letter!r}"
        read = (
            f'with open({self.path!r}, newline="", encoding="utf-8-sig") as lines:',
            f"    rows = list(csv.DictReader(lines{separator}))",
        )
        return self._read(
            read, "np.array([[float(row[name]) for name in (", repr, ",)] for row in rows])"
        )


class Parquet(Table):
    """Columns of a Parquet file: floats, integers that float64 holds, decimals, booleans."""

    name: Literal["parquet"] = "parquet"

    def rows(self, columns: tuple[str, ...]) -> Iterator[Rows]:
        return parquet_rows(self.file, columns, self.path)

    def lines(self, scope: Scope) -> Lines:
        source = (
            f'open({self.path!r}, "rb")' if ":" in self.path else repr(self.path)
        )  # else Arrow takes it for an address
        read = (f"table = parquet.read_table({source})",)
        return self._written(scope) or self._read(
            read,
            "np.stack([table[name].to_numpy().astype(float) for name in (",
            repr,
            ",)], axis=1)",
        )


class Npy(Table):
    """Columns of numpy's .npy or .npz file, without objects: nothing is unpickled.

    Columns of a .npy file have numbers as names, from 0 on, or the names of its records' fields; of a .npz file an array of one
    dimension is a column, and `X.0`, `X.1` … are those of an array X of two. `0:10` stands for `0` … `9`, `X.0:10` alike.
    """

    name: Literal["npy"] = "npy"
    features: NumberedColumns
    target: NumberedColumns

    def rows(self, columns: tuple[str, ...]) -> Iterator[Rows]:
        return numpy_rows(self.file, columns, self.path)

    def lines(self, scope: Scope) -> Lines:
        if written := self._written(scope):
            return written
        taken = columns_in(self.file)
        return self._read(
            (f"data = np.load({self.path!r})",),
            "np.stack([",
            lambda name: f"data{taken(name)}",
            "], axis=1).astype(float)",
        )


def written_out(problem: Problem, scope: Scope) -> Lines:
    """The numbers of a problem themselves, column by column."""
    return (
        *_columns("X", problem.X, problem.features, scope),
        *_columns("y", problem.y, problem.targets, scope),
    )


def _columns(name: str, values: Array, titles: tuple[str, ...], scope: Scope) -> Lines:
    """An array as the columns that it is stacked of."""
    *columns, last = values.T.tolist()
    written = [*(scope.array(column, ",") for column in columns), scope.array(last, "], axis=1)")]
    return (
        f"{name} = np.stack([  # {', '.join(map(repr, titles))}"[:WIDTH],
        *indented(line for lines in written for line in lines),
    )


def _shipped() -> list[str]:
    return sorted(file.name for file in SHIPPED_FOLDER.glob("*.csv"))
