"""Read the tables of a sweep back: rows of its Parquet files.

Each file is checked against the hash that the sweep's run has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pyarrow import ArrowException

from linfit.errors import LinfitError
from linfit.tracking.read.access import contained_file
from linfit.tracking.schema import mlflow_names
from linfit.tracking.tables.parquet import read_metadata, read_table
from linfit.tracking.tables.parts import TABLE_SCHEMAS, hash_table

#: The columns that are read of each file.
MANIFEST_COLUMNS = ("row", "name", "fingerprint", "config")
RESULTS_COLUMNS = ("row", "status", "dtype", "weights", "run_id")
CURVES_COLUMNS = ("row", "step", "loss")

TableEntry = dict[str, Any]
"""One row of a table, by column."""


class FitRows(NamedTuple):
    """The rows of one fit in a sweep's three tables.

    A row that a table lacks is None.
    """

    planned: TableEntry | None
    result: TableEntry | None
    curve: TableEntry | None


@dataclass(frozen=True)
class SweepTables:
    """The three Parquet files of a sweep."""

    manifest: Path
    results: Path
    curves: Path
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files by name, as far as the sweep's run has them."""

    @staticmethod
    def in_folder(folder: Path) -> SweepTables:
        """Return the tables in a sweep's folder.

        LinfitError where the sweep was interrupted.
        """
        names = (mlflow_names.MANIFEST, mlflow_names.RESULTS, mlflow_names.CURVES)
        files = [contained_file(folder, name) for name in names]
        for file in files:
            if not file.is_file():
                raise LinfitError(
                    f"{folder} has no {file.name}: the sweep was interrupted; "
                    "go on with it, or name one of its fits"
                )
        manifest, results, curves = files
        return SweepTables(manifest, results, curves)

    def draw_rows(self, sample: int, seed: int) -> list[int]:
        """Return the numbers of `sample` rows, drawn with `seed`, increasing."""
        total = count_rows(self.manifest)
        if not total:
            raise LinfitError(f"{self.manifest} lists no fit")
        generator = np.random.default_rng(seed)
        drawn = generator.choice(total, min(sample, total), replace=False)
        rows: list[int] = np.sort(drawn).tolist()
        return rows

    def read_fits(self, rows: Sequence[int]) -> list[FitRows]:
        """Return the rows with these numbers, from all three tables."""
        planned = self._read(self.manifest, MANIFEST_COLUMNS, rows)
        results = self._read(self.results, RESULTS_COLUMNS, rows)
        curves = self._read(self.curves, CURVES_COLUMNS, rows)
        return [FitRows(planned.get(row), results.get(row), curves.get(row)) for row in rows]

    def _read(
        self, file: Path, columns: Sequence[str], rows: Sequence[int]
    ) -> dict[int, TableEntry]:
        return read_table_rows(file, columns, rows, self.hashes.get(file.name))


def read_table_hashes(tags: Mapping[str, str], run_id: str) -> Mapping[str, str]:
    """Return the hashes of a sweep's tables by name.

    They are tags of its run.
    """
    try:
        found = json.loads(tags.get(mlflow_names.FILES, "{}"))
    except (ValueError, RecursionError) as error:
        raise LinfitError(
            f"tag {mlflow_names.FILES} of run {run_id} cannot be read: {error}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise LinfitError(
            f"tag {mlflow_names.FILES} of run {run_id} cannot be read: it has no hashes by name"
        )
    return found


def require_table_hash(file: Path, hashes: Mapping[str, str], run_id: str) -> None:
    """Raise LinfitError if a table's hash is not the sweep's.

    The run of the sweep has the hash of each table by name.
    """
    known = hashes.get(file.name)
    if known is not None and hash_table(file) != known:
        raise LinfitError(
            f"{file} was changed after it was written: "
            f"its hash is not the one in tag {mlflow_names.FILES} of run {run_id}"
        )


def count_rows(file: Path) -> int:
    """Return the number of rows of a Parquet file."""
    try:
        return int(read_metadata(file).num_rows)
    except (ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error) from error


def read_table_rows(
    file: Path, columns: Sequence[str], rows: Sequence[int], sha256: str | None = None
) -> dict[int, TableEntry]:
    """Return those `rows` that a sweep's file has, by number.

    LinfitError if the file is none of a sweep's, or its hash is not `sha256`.
    """
    schema = TABLE_SCHEMAS[file.name]
    try:
        table = read_table(file, columns, rows, sha256)
        wrong = [name for name in columns if _lacks(table, name, schema.field(name).type)]
        found: list[TableEntry] = [] if wrong else table.to_pylist()
    except (ArrowException, OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    if wrong:
        raise LinfitError(
            f"{file} is not as linfit writes it: {', '.join(wrong)} is missing or of another type"
        )
    by_number = {entry["row"]: entry for entry in found}
    if len(by_number) < len(found):
        raise LinfitError(f"{file} has a row twice: it was changed after it was written")
    return by_number


def _lacks(table: Any, column: str, kind: Any) -> bool:
    return column not in table.column_names or table.schema.field(column).type != kind


def _unreadable(file: Path, error: Exception) -> LinfitError:
    return LinfitError(f"{file} cannot be read: {' '.join(str(error).split())}")
