"""The user's own data: columns of a CSV, Parquet or numpy file, by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, model_validator

from linfit.problem.datasets.columns import ColumnNumbers
from linfit.problem.datasets.readers.csv_text import (
    SEPARATORS,
    UTF_8,
    CSVFormat,
    find_encoding,
    is_gzip,
    locate_invalid_bytes,
)
from linfit.problem.datasets.readers.npy import list_array_columns, read_numpy_rows
from linfit.problem.datasets.readers.opened import open_regular
from linfit.problem.datasets.readers.tables import (
    RowBlock,
    find_csv_text,
    find_parquet_text,
    has_truth_values,
    read_csv_rows,
    read_parquet_rows,
)
from linfit.problem.datasets.readers.text_codes import TRUTH_VALUES, TextCodes
from linfit.problem.datasets.tabular_file import TabularFile
from linfit.script_fragments import Lines, ScriptScope


def _name_separator(value: Any) -> Any:
    """Return a tab under its name, which a command line, a table and a log can show."""
    return SEPARATORS["\t"] if value in ("\t", "\\t") else value


class CSV(TabularFile):
    """Columns of a CSV file with a header line, in UTF-8 unless `encoding` names another.

    Cells are separated by commas unless `separator` says otherwise, and `decimal` is what stands
    before the fraction of a number. A file that gzip compressed is read as it is.
    """

    omitted_at_default = TabularFile.omitted_at_default | {"separator", "decimal", "encoding"}

    name: Literal["csv"] = "csv"
    separator: Annotated[Literal[",", ";", "tab", "|"], BeforeValidator(_name_separator)] = ","
    decimal: Literal[".", ","] = "."
    encoding: Annotated[str, AfterValidator(find_encoding)] = UTF_8

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.decimal == self.separator:
            raise ValueError(
                f"a cell cannot be told from a fraction: {self.decimal!r} is both "
                "dataset.separator and dataset.decimal: name the file's separator, ';' or tab"
            )
        return self

    @property
    def format(self) -> CSVFormat:
        """How the file is written."""
        letters = {name: letter for letter, name in SEPARATORS.items()}
        return CSVFormat(letters[self.separator], self.decimal, self.encoding)

    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        return self.read_cells(columns, TextCodes())

    def read_cells(self, columns: tuple[str, ...], texts: TextCodes) -> Iterator[RowBlock]:
        drop = self.missing == "drop"
        return read_csv_rows(self.readable_file, columns, self.path, drop, self.format, texts)

    def find_text(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return find_csv_text(self.readable_file, columns, self.path, self.format)

    def find_invalid_bytes(self) -> str | None:
        return locate_invalid_bytes(self.readable_file, self.path, self.format)

    def script_lines(self, scope: ScriptScope) -> Lines:
        if written := self._write_numbers(scope):
            return written
        if self.missing == "drop":
            raise ValueError(
                f"{self.path}: a plain program reads all rows of a CSV file: "
                "leave out dataset.missing"
            )
        separator = "" if self.separator == "," else f", delimiter={self.format.separator!r}"
        names = (*self.features, *self.target)
        with open_regular(self.readable_file) as opened:
            is_zipped = is_gzip(opened)
            has_truths = has_truth_values(opened, names, self.path, self.format)
        cell = "row[name]" if self.decimal == "." else f'row[name].replace({self.decimal!r}, ".")'
        before: Lines = (
            f"with {self._write_opening(is_zipped)} as lines:",
            f"    rows = list(csv.DictReader(lines{separator}))",
        )
        if has_truths:
            before = (f"words = {TRUTH_VALUES!r}", *before)
            cell = f"words.get(row[name].strip().lower(), {cell})"
        opening = f"np.array([[float({cell}) for name in ("
        return self._write_reading(before, opening, repr, ",)] for row in rows])")

    def _write_opening(self, is_zipped: bool) -> str:
        """Return the expression that opens the file as text."""
        encoding = "utf-8-sig" if self.encoding == UTF_8 else self.encoding
        opener = f'gzip.open({self.path!r}, "rt"' if is_zipped else f"open({self.path!r}"
        return f'{opener}, newline="", encoding="{encoding}")'


class Parquet(TabularFile):
    """Columns of a Parquet file: numbers, truth values, and text.

    They are floats, integers that float64 holds, decimals, booleans, strings or categories.
    """

    name: Literal["parquet"] = "parquet"

    def read_rows(self, columns: tuple[str, ...]) -> Iterator[RowBlock]:
        return self.read_cells(columns, TextCodes())

    def read_cells(self, columns: tuple[str, ...], texts: TextCodes) -> Iterator[RowBlock]:
        return read_parquet_rows(self.readable_file, columns, self.path, texts)

    def find_text(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return find_parquet_text(self.readable_file, columns, self.path)

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
