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

from linfit.problem.datasets.file_digest import FileVersion, find_settled_version
from linfit.problem.datasets.kept_blocks import FileContent, find_content, keep_while_read
from linfit.problem.datasets.readers.npy import list_array_columns, read_numpy_rows
from linfit.problem.datasets.readers.pipes import copy_if_pipe
from linfit.problem.datasets.readers.tables import (
    SEPARATORS,
    CellBlock,
    RowBlock,
    locate_invalid_utf8,
    read_csv_rows,
    read_parquet_rows,
)
from linfit.problem.datasets.readers.validation import (
    ConstantColumns,
    RowValidator,
    describe_repeated_columns,
)
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.problem import Problem, multiply_rows
from linfit.problem.types import Array, describe_limit
from linfit.script_fragments import SCRIPT_WIDTH, Lines, ScriptScope, indent_lines, wrap_list

#: Prefix of a path to a file that linfit ships.
SHIPPED_PREFIX = "linfit:"
#: Largest number of lines that the numbers of a dataset take in a script.
MAX_SCRIPT_LINES = 14
SHIPPED_FOLDER = Path(__file__).parents[2] / "data"
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


def _name_separator(value: Any) -> Any:
    """Return a tab under its name, which a command line, a table and a log can show."""
    return SEPARATORS["\t"] if value in ("\t", "\\t") else value


ColumnNumbers = Annotated[ColumnNames, AfterValidator(_expand_ranges)]


_Column = Annotated[
    str, BeforeValidator(_named, json_schema_input_type=str | int), Field(min_length=1)
]


class TabularFile(Dataset):
    """Columns of a file, by name.

    There is no hidden intercept: name a column of ones, or choose `features.intercept=true`.

    `path` is relative to the working directory; `linfit:article.csv` is a file that linfit ships.
    Every cell used must be a finite number, parsed exactly as Python's `float` does. A missing
    cell is an error; with `missing=drop` its row is left out, and a note counts such rows.
    `weight` names a column of weights, by which the samples' squared errors are multiplied.
    """

    omitted_at_default = frozenset({"weight", "missing"})
    suffixes: ClassVar[tuple[str, ...]] = ()

    path: Annotated[str, Field(min_length=1)]
    features: ColumnNames
    target: ColumnNames
    weight: _Column | None = None
    missing: Literal["error", "drop"] = "error"

    @abstractmethod
    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        """Yield the columns `[b, m]`, a block of rows at a time."""

    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self.target)

    def is_weighted(self) -> bool:
        return self.weight is not None

    def list_files(self) -> tuple[str, ...]:
        return (str(self.resolved_path),)

    def resolve_seed(self, seed: int) -> int | None:
        # A plug-in's subclass may draw.
        return None if type(self).__module__ == __name__ else seed

    @property
    def readable_file(self) -> Path:
        """The file that is read: the one at `resolved_path`, or a copy of a pipe's content."""
        return copy_if_pipe(str(self.resolved_path))

    @property
    def resolved_path(self) -> Path:
        """The path, resolved if it names a file that linfit ships."""
        if not self.path.startswith(SHIPPED_PREFIX):
            return Path(self.path)
        shipped = SHIPPED_FOLDER / self.path.removeprefix(SHIPPED_PREFIX)
        if shipped.parent != SHIPPED_FOLDER:
            names = sorted(file.name for file in SHIPPED_FOLDER.glob("*.csv"))
            raise ValueError(
                f"dataset.path {self.path!r}: what linfit ships has no folders; "
                f"there are {', '.join(names)}"
            )
        return shipped

    def find_version(self) -> FileVersion | None:
        """Return the version of the file whose rows may be kept, None if they may not.

        Raise ValueError if there is no file.
        """
        # A plug-in's subclass may read more than the file.
        if self.resolve_seed(0) is not None:
            return None
        try:
            return find_settled_version(self.readable_file.stat())
        except OSError as error:
            raise self._explain_unreadable(error) from error

    def check_data(self, dtype: str) -> None:
        # All rows are read, once: a bad cell would fail every fit of a sweep.
        known = self._find_content()
        if known is None or known.largest > describe_limit(dtype)[0]:
            deque(self._read_blocks(dtype), maxlen=0)

    def count_samples(self, seed: int) -> Iterator[int]:
        known = self._find_content()
        return super().count_samples(seed) if known is None else iter((known.num_rows,))

    def load(self, seed: int) -> Problem:
        blocks = list(self.blocks(seed))
        X = np.concatenate([block.X for block in blocks]).astype(np.float64, copy=False)
        y = np.concatenate([block.y for block in blocks]).astype(np.float64, copy=False)
        weights = None
        if self.weight is not None:
            weights = np.concatenate([block.weights for block in blocks])
        return replace(blocks[-1], X=X, y=y, weights=weights)

    def blocks(self, seed: int) -> Iterator[Problem]:
        known = self._find_content()
        return iter(known.blocks) if known and known.blocks else self._read_blocks()

    def _find_content(self) -> FileContent | None:
        return find_content(self, self.find_version())

    def _read_blocks(self, dtype: str | None = None) -> Iterator[Problem]:
        return keep_while_read(self, self.find_version, self._parse_blocks(dtype))

    def _parse_blocks(self, dtype: str | None) -> Iterator[Problem]:
        """Yield problems of some rows each; the last has the notes on all rows.

        With a `dtype`, raise ValueError for a number that a fit in `dtype` cannot take.
        """
        weight = () if self.weight is None else (self.weight,)
        columns = (*self.features, *self.target, *weight)
        cleaner = RowValidator(
            self.path, columns, self.missing == "drop", self.is_weighted(), dtype
        )
        constants = ConstantColumns(len(self.features))

        last = None
        for block in self._clean_rows(cleaner, columns):
            if last is not None:
                yield self._problem(last, ())
            last = block
            constants.observe(block[:, : len(self.features)])

        if last is None:
            but = " but such with missing cells" if cleaner.dropped else ""
            raise ValueError(f"{self.path} has no rows{but}")
        notes = (
            *cleaner.describe_left_out(),
            *describe_repeated_columns(self.features, self.target, self.path),
            *constants.describe_constants(self.features, self.path),
        )
        yield self._problem(last, notes)

    def _clean_rows(self, cleaner: RowValidator, columns: tuple[str, ...]) -> Iterator[CellBlock]:
        """Yield blocks of at least one row; ValueError if the file cannot be read."""
        try:
            for rows in self.read_rows(columns):
                block = cleaner.validate_rows(*rows)
                if len(block):
                    yield block
        except UnicodeDecodeError as error:
            failure = f"dataset.path {self.path!r} cannot be read: {error}"
            raise ValueError(self.find_invalid_utf8() or failure) from error
        except (OSError, csv.Error) as error:
            raise self._explain_unreadable(error) from error

    def _explain_unreadable(self, error: Exception) -> ValueError:
        reason = getattr(error, "strerror", None) or str(error)
        return ValueError(
            f"dataset.path {self.path!r} cannot be read: {reason} "
            "(it begins at the working directory)"
        )

    def find_invalid_utf8(self) -> str | None:
        """Return a sentence on the first byte of a text file that is not UTF-8, if any."""
        return None

    def _write_numbers(self, scope: ScriptScope) -> Lines:
        """Return lines with the numbers themselves if they are few, or linfit's own.

        Return none if the script has to read the numbers from the file.
        """
        loaded = self.load(scope.seed)
        problem = multiply_rows(loaded, loaded.weights).cast(scope.dtype)
        written = write_numbers(problem, scope)
        return (
            written
            if len(written) <= MAX_SCRIPT_LINES or self.path.startswith(SHIPPED_PREFIX)
            else ()
        )

    def _write_reading(
        self, before: Lines, opening: str, column: Callable[[str], str], closing: str
    ) -> Lines:
        """Return lines that read the file.

        After the lines `before`, each array is written as `opening`, an expression for each of
        its columns, and `closing`. Rows are then left out or weighted as the dataset says.
        """
        parts = {"X": self.features, "y": self.target}
        if self.weight is not None:
            parts["weights"] = (self.weight,)

        lines = [*before]
        for name, names in parts.items():
            lines += wrap_list(f"{name} = {opening}", [*map(column, names)], closing)
        if self.missing == "drop":
            arrays = ", ".join(parts)
            lines.append(f"kept = ~np.isnan(np.hstack([{arrays}])).any(axis=1)")
            lines.append(f"{arrays} = (array[kept] for array in ({arrays}))")
        if self.is_weighted():
            lines.append("X, y = (array * np.sqrt(weights) for array in (X, y))")
        return tuple(lines)

    def _problem(self, block: CellBlock, notes: tuple[str, ...]) -> Problem:
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


class CSV(TabularFile):
    """Columns of a CSV file in UTF-8 with a header line.

    Its cells are separated by commas unless `separator` says otherwise.
    """

    omitted_at_default = TabularFile.omitted_at_default | {"separator"}

    name: Literal["csv"] = "csv"
    separator: Annotated[Literal[",", ";", "tab", "|"], BeforeValidator(_name_separator)] = ","

    @property
    def delimiter(self) -> str:
        """The character between two cells."""
        return next(letter for letter, name in SEPARATORS.items() if name == self.separator)

    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        return read_csv_rows(
            self.readable_file, columns, self.path, self.missing == "drop", self.delimiter
        )

    def find_invalid_utf8(self) -> str | None:
        return locate_invalid_utf8(self.readable_file, self.path, self.delimiter)

    def script_lines(self, scope: ScriptScope) -> Lines:
        if written := self._write_numbers(scope):
            return written
        if self.missing == "drop":
            raise ValueError(
                f"{self.path}: a plain program reads all rows of a CSV file: "
                "leave out dataset.missing"
            )
        separator = "" if self.separator == "," else f", delimiter={self.delimiter!r}"
        before = (
            f'with open({self.path!r}, newline="", encoding="utf-8-sig") as lines:',
            f"    rows = list(csv.DictReader(lines{separator}))",
        )
        opening = "np.array([[float(row[name]) for name in ("
        return self._write_reading(before, opening, repr, ",)] for row in rows])")


class Parquet(TabularFile):
    """Columns of a Parquet file: floats, integers that float64 holds, decimals, booleans."""

    name: Literal["parquet"] = "parquet"

    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        return read_parquet_rows(self.readable_file, columns, self.path)

    def script_lines(self, scope: ScriptScope) -> Lines:
        if written := self._write_numbers(scope):
            return written
        # Arrow would take a path with a colon for an address.
        source = f'open({self.path!r}, "rb")' if ":" in self.path else repr(self.path)
        before = (f"table = parquet.read_table({source})",)
        opening = "np.stack([table[name].to_numpy().astype(float) for name in ("
        return self._write_reading(before, opening, repr, ",)], axis=1)")


class Npy(TabularFile):
    """Columns of numpy's .npy or .npz file, without objects: nothing is unpickled.

    The names of a .npy file's columns are numbers, from 0 on, or the fields of its records. In a
    .npz file an array of one dimension is a column, and the columns of an array X of two are
    `X.0`, `X.1` …. `0:10` is short for `0` … `9`, and `X.0:10` for `X.0` … `X.9`.
    """

    name: Literal["npy"] = "npy"
    features: ColumnNumbers
    target: ColumnNumbers

    def find_version(self) -> None:
        # Who writes through a memory map may leave the times of the file as they are.
        return None

    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        return read_numpy_rows(self.readable_file, columns, self.path)

    def script_lines(self, scope: ScriptScope) -> Lines:
        if written := self._write_numbers(scope):
            return written
        index = list_array_columns(self.readable_file)
        before = (f"data = np.load({self.path!r})",)
        return self._write_reading(
            before, "np.stack([", lambda name: f"data{index(name)}", "], axis=1).astype(float)"
        )


def write_numbers(problem: Problem, scope: ScriptScope) -> Lines:
    """Return lines with the numbers of a problem themselves, column by column."""
    lines = (
        *_write_array("X", problem.X, problem.features, scope),
        *_write_array("y", problem.y, problem.targets, scope),
    )
    shares = problem.mean_one_weights
    if shares is None:
        return lines
    return (*lines, *_write_array("weights", shares[:, None], ("weights",), scope))


def _write_array(name: str, values: Array, titles: tuple[str, ...], scope: ScriptScope) -> Lines:
    *columns, last = values.T.tolist()
    lines: list[str] = []
    for column in columns:
        lines += scope.format_array(column, ",")
    lines += scope.format_array(last, "], axis=1)")
    opening = f"{name} = np.stack([  # {', '.join(map(repr, titles))}"[:SCRIPT_WIDTH]
    return (opening, *indent_lines(lines))
