"""Columns of a file, by name: what files of all kinds have in common."""

from __future__ import annotations

import csv
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from linfit.problem.categories import Levels
from linfit.problem.datasets.columns import ColumnName, ColumnNames
from linfit.problem.datasets.file_digest import FileVersion, find_settled_version
from linfit.problem.datasets.kept_blocks import FileContent, find_content, keep_while_read
from linfit.problem.datasets.number_lines import write_numbers
from linfit.problem.datasets.readers.pipes import copy_if_pipe
from linfit.problem.datasets.readers.tables import CellBlock, RowBlock
from linfit.problem.datasets.readers.text_codes import TextCodes
from linfit.problem.datasets.readers.validation import (
    ConstantColumns,
    RowValidator,
    describe_repeated_columns,
)
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.problem import Problem, multiply_rows
from linfit.problem.types import describe_limit
from linfit.script_fragments import Lines, ScriptScope, wrap_list

#: Prefix of a path to a file that linfit ships.
SHIPPED_PREFIX = "linfit:"
#: Largest number of lines that the numbers of a dataset take in a script.
MAX_SCRIPT_LINES = 14
SHIPPED_FOLDER = Path(__file__).parents[2] / "data"
#: Module of the kinds of files that linfit reads itself.
OWN_KINDS = "linfit.problem.datasets.files"


class TabularFile(Dataset):
    """Columns of a file, by name.

    There is no hidden intercept: name a column of ones, or choose `features.intercept=true`.

    `path` is relative to the working directory; `linfit:article.csv` is a file that linfit ships.
    A number must be finite, and is parsed exactly as Python's `float` does; truth values are 0 and
    1. A column of text is a feature for each of its levels, or a target that has classes. A missing
    cell is an error; with `missing=drop` its row is left out, and a note counts such rows.
    `weight` names a column of weights, by which the samples' squared errors are multiplied.
    """

    omitted_at_default = frozenset({"weight", "missing"})
    suffixes: ClassVar[tuple[str, ...]] = ()

    path: Annotated[str, Field(min_length=1)]
    features: ColumnNames
    target: ColumnNames
    weight: ColumnName | None = None
    missing: Literal["error", "drop"] = "error"

    @abstractmethod
    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        """Yield the columns `[b, m]`, a block of rows at a time."""

    def read_cells(self, columns: tuple[str, ...], texts: TextCodes) -> Iterator[RowBlock]:
        """Yield the columns like `read_rows`, with codes in columns of text.

        `texts` says which columns may be text, and keeps their texts.
        """
        return self.read_rows(columns)

    def find_text(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of columns that are text, without reading all rows."""
        return ()

    def has_text(self) -> bool:
        try:
            known = self._find_content()
            if known is not None:
                return known.has_text
            return bool(self.find_text((*self.features, *self.target)))
        except (ValueError, OSError, csv.Error):
            # The attempt to load the data gives the error.
            return False

    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self.target)

    def is_weighted(self) -> bool:
        return self.weight is not None

    def list_files(self) -> tuple[str, ...]:
        return (str(self.resolved_path),)

    def resolve_seed(self, seed: int) -> int | None:
        # A plug-in's subclass may draw.
        return None if type(self).__module__ == OWN_KINDS else seed

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
        texts = TextCodes({*self.features, *self.target} - {*weight})

        last = None
        for block in self._clean_rows(cleaner, columns, texts):
            if last is not None:
                yield self._problem(last, (), texts.levels)
            last = block
            constants.observe(block[:, : len(self.features)])

        if last is None:
            but = " but such with missing cells" if cleaner.dropped else ""
            raise ValueError(f"{self.path} has no rows{but}: give it one for each sample")
        notes = (
            *cleaner.describe_left_out(),
            *describe_repeated_columns(self.features, self.target, self.path),
            *constants.describe_constants(self.features, self.path, texts.levels),
        )
        yield self._problem(last, notes, texts.levels)

    def locate_sample(self, index: int) -> str:
        weight = () if self.weight is None else (self.weight,)
        texts = TextCodes({*self.features, *self.target} - {*weight})
        for block, name_row in self._read_any((*self.features, *self.target, *weight), texts):
            kept = np.flatnonzero(~np.isnan(block).any(axis=1))
            if index < len(kept):
                return name_row(int(kept[index]))
            index -= len(kept)
        return ""

    def _read_any(self, columns: tuple[str, ...], texts: TextCodes) -> Iterator[RowBlock]:
        """Yield the columns of a file; a plug-in's subclass may read rows in its own way."""
        is_own = type(self).__module__ == OWN_KINDS
        return self.read_cells(columns, texts) if is_own else self.read_rows(columns)

    def _clean_rows(
        self, cleaner: RowValidator, columns: tuple[str, ...], texts: TextCodes
    ) -> Iterator[CellBlock]:
        """Yield blocks of at least one row; ValueError if the file cannot be read."""
        try:
            for rows in self._read_any(columns, texts):
                block = cleaner.validate_rows(*rows)
                if len(block):
                    yield block
        except UnicodeError as error:
            failure = (
                f"dataset.path {self.path!r} cannot be read: {error}: "
                "name the file's dataset.encoding"
            )
            raise ValueError(self.find_invalid_bytes() or failure) from error
        except (OSError, csv.Error) as error:
            raise self._explain_unreadable(error) from error

    def _explain_unreadable(self, error: Exception) -> ValueError:
        reason = getattr(error, "strerror", None) or str(error)
        failure = f"dataset.path {self.path!r} cannot be read: {reason}"
        if isinstance(error, FileNotFoundError):
            failure += " (it begins at the working directory)"
        return ValueError(failure)

    def find_invalid_bytes(self) -> str | None:
        """Return a sentence on the first byte of a text file that is no text, if any."""
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

    def _problem(self, block: CellBlock, notes: tuple[str, ...], levels: Levels) -> Problem:
        p, q = self.shape()
        weights = None if self.weight is None else block[:, -1].astype(np.float64)
        return Problem(
            block[:, :p],
            block[:, p : p + q],
            self.features,
            self.target,
            self.path,
            weights=weights,
            levels=levels,
            notes=notes,
        )
