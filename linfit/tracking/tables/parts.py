"""Write the Parquet files of a sweep, and read the parts of one that is not finished.

    manifest.parquet → results/part-N.parquet, curves/part-N.parquet, a pair for each block
                     → results.parquet, curves.parquet

A sweep is unfinished as long as its folder `results` exists. A row number identifies a fit of the
sweep, because two fits may have the same config. float64 columns hold float32 numbers exactly.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from linfit.engine.fit import Fit, Status
from linfit.errors import LinfitError
from linfit.problem.measures import HELD_OUT_MEASURE_NAMES, MEASURE_NAMES
from linfit.system.atomic_files import create_folder, flush_files, list_folder, write_atomically
from linfit.system.host import flush_folder
from linfit.system.scratch import name_temporary_file, note_leftover
from linfit.tracking.schema.mlflow_names import CURVES, MANIFEST, RESULTS
from linfit.tracking.secrets.masking import mask
from linfit.tracking.tables.parquet import read_table
from linfit.tracking.tables.swept_columns import read_swept_columns

#: The most weights whose path is kept with the curves.
MAX_PATH_WEIGHTS = 2
#: Options of writing: with checksums, a page that was changed on the disk is noticed when it is
#: read.
WRITE_OPTIONS = {"write_page_checksum": True}
#: The suffix of a table that nobody can read.
BROKEN_SUFFIX = ".broken"

#: Columns of which a sweep has those that its fits have.
MEASURE_COLUMNS = (*MEASURE_NAMES, *HELD_OUT_MEASURE_NAMES)
_NUMBERS = pa.list_(pa.float64())
_MANIFEST = pa.schema(
    {
        "row": pa.int64(),
        "name": pa.string(),
        "overrides": pa.list_(pa.string()),
        "fingerprint": pa.string(),
        "config": pa.string(),
    }
)
_RESULTS = pa.schema(
    {
        "row": pa.int64(),
        "name": pa.string(),
        "status": pa.string(),
        "loss": pa.float64(),
        "excess_loss": pa.float64(),
        "validation_loss": pa.float64(),
        "objective": pa.float64(),
        "distance_to_optimum": pa.float64(),
        "distance_to_truth": pa.float64(),
        "steps_to_tolerance": pa.int64(),
        "diverged_at_step": pa.int64(),
        **dict.fromkeys(MEASURE_COLUMNS, pa.float64()),
        "dtype": pa.string(),
        "weights": _NUMBERS,
        "error": pa.string(),
    }
)
_CURVES = pa.schema(
    {
        "row": pa.int64(),
        "step": pa.list_(pa.int64()),
        "loss": _NUMBERS,
        "excess_loss": _NUMBERS,
        "validation_loss": _NUMBERS,
        "path": _NUMBERS,
    }
)
#: Columns without which a row of a table says nothing.
RESULTS_REQUIRED = ("row", "name", "status", "loss", "excess_loss", "weights")
CURVES_REQUIRED = ("row", "step", "loss", "excess_loss")
#: The columns of each file, with their types.
TABLE_SCHEMAS = {
    MANIFEST: _MANIFEST,
    RESULTS: _RESULTS.append(pa.field("run_id", pa.string())),
    CURVES: _CURVES,
}


class SweepParts:
    """The results and curves of a sweep while it runs: a part for each block, merged at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (CURVES, RESULTS):
            create_folder(_parts_of(folder, name))
        numbers = [*_numbers(folder, RESULTS), *_numbers(folder, CURVES)]
        self.count = 1 + max(numbers, default=-1)

    def write_part(
        self, rows: Sequence[int], names: Sequence[str], fits: Sequence[Fit]
    ) -> list[dict[str, Any]]:
        """Write the next part and return its results.

        The part counts once its runs are recorded too.
        """
        results = []
        curves = []
        for row, name, fit in zip(rows, names, fits, strict=True):
            results.append({"row": row, "name": name, **build_result(fit)})
            if fit.path is not None:
                curves.append({"row": row, **_curve(fit)})
        # the results last: where they exist, the curves do too
        self._write(CURVES, self.count, pa.Table.from_pylist(curves, schema=_CURVES))
        self._write(RESULTS, self.count, pa.Table.from_pylist(results, schema=_RESULTS))
        return results

    def keep_rows(self, rows: Collection[int]) -> None:
        """Drop all other rows, and temporary files that killed processes left."""
        for temporary in (*self.folder.glob(".*.parquet.*"), *self.folder.glob("*/.*.parquet.*")):
            temporary.unlink()
        pairs = _pairs(self.folder)
        kept = pa.array(list(rows), pa.int64())
        # the results first: curves without results are dropped the next time
        for name in (RESULTS, CURVES):
            for number in _numbers(self.folder, name):
                part = _part(self.folder, name, number)
                table = _require_table(part)
                left = table.filter(compute.is_in(table["row"], kept))
                if number not in pairs:
                    part.unlink(missing_ok=True)
                elif left.num_rows < table.num_rows:
                    self._write(name, number, left)

    def merge(
        self, run_ids: Mapping[int, str], names: Mapping[int, str], varying: Sequence[str]
    ) -> list[Path]:
        """Write `results.parquet`, with the run ids there are, and `curves.parquet`; return both.

        `names` are those that have changed since the parts were written. Each key in `varying`
        becomes a column: which keys vary is settled only now. So are the measures that fits have.
        """
        parts = [_part(self.folder, RESULTS, number) for number in _pairs(self.folder)]
        tables = [_require_table(part) for part in parts]
        results = pa.concat_tables(tables or [_RESULTS.empty_table()]).sort_by("row")
        rows = results["row"].to_pylist()
        if names:
            written = results["name"].to_pylist()
            current = [names.get(row, name) for row, name in zip(rows, written, strict=True)]
            place = _RESULTS.get_field_index("name")
            results = results.set_column(
                place, _RESULTS.field(place), pa.array(current, pa.string())
            )
        ids = pa.array([run_ids.get(row) for row in rows], pa.string())
        results = results.append_column("run_id", ids)
        swept = read_swept_columns(
            self.folder / MANIFEST, rows, varying, taken=results.column_names
        )
        for key, column in swept.items():
            results = results.append_column(key, column)
        absent = [key for key in MEASURE_COLUMNS if results[key].null_count == len(results)]
        results = results.drop_columns(absent)
        with write_atomically(self.folder / RESULTS) as file:
            parquet.write_table(results, file, **WRITE_OPTIONS)
        self._join_curves()
        return [self.folder / RESULTS, self.folder / CURVES]

    def remove_parts(self) -> None:
        """Finish the sweep: its folder `results` vanishes in one step, then the rest."""
        note_leftover(_parts_of(self.folder, CURVES), unless="../results")
        for name in (RESULTS, CURVES):
            gone = name_temporary_file(_parts_of(self.folder, name))
            _parts_of(self.folder, name).rename(gone)
            # after a power loss without this, the folder might have its old name and no parts
            flush_folder(self.folder)
            shutil.rmtree(gone, ignore_errors=True)

    def _join_curves(self) -> None:
        """Copy the curves part by part, because together they may be larger than the memory.

        Rows are in order within a part.
        """
        with (
            write_atomically(self.folder / CURVES) as file,
            parquet.ParquetWriter(file, _CURVES, **WRITE_OPTIONS) as writer,
        ):
            for number in _pairs(self.folder):
                writer.write_table(_require_table(_part(self.folder, CURVES, number)))

    def _write(self, name: str, number: int, table: pa.Table) -> None:
        with write_atomically(_part(self.folder, name, number)) as file:
            parquet.write_table(table, file, **WRITE_OPTIONS)


def is_unfinished(folder: Path) -> bool:
    """Return True where the sweep of a folder has not come to its end."""
    return _parts_of(folder, RESULTS).is_dir() or not (folder / RESULTS).exists()


def read_results(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the results of a sweep so far, by row, whether or not it is finished; reads only."""
    files = [folder / RESULTS]
    if is_unfinished(folder):
        files = [_part(folder, RESULTS, number) for number in _pairs(folder)]
    results: dict[int, dict[str, Any]] = {}
    for file in files:
        table = _read_table(file)
        if table is not None:
            results |= {row["row"]: row for row in table.to_pylist()}
    return results


def set_broken_aside(folder: Path) -> list[Path]:
    """Rename broken tables, so that their fits are run again; return the new names."""
    if is_unfinished(folder):
        files = [
            _part(folder, name, number)
            for name in (RESULTS, CURVES)
            for number in _numbers(folder, name)
        ]
        broken = [file for file in files if _read_table(file) is None]
    else:
        # neither is of use without the other
        files = [folder / RESULTS, folder / CURVES]
        broken = files if any(_read_table(file) is None for file in files) else []
    return [file.replace(file.with_name(file.name + BROKEN_SUFFIX)) for file in broken]


def _read_table(file: Path) -> pa.Table | None:
    """Return a part, or the results without run ids; None where its content is broken.

    A column that is absent is null, unless a row says nothing without it. LinfitError where the
    file cannot be read now.
    """
    is_curves = Path(CURVES).stem in (file.parent.name, file.stem)
    schema = _CURVES if is_curves else _RESULTS
    needed = CURVES_REQUIRED if is_curves else RESULTS_REQUIRED
    try:
        found = read_table(file, schema.names)
        if not set(needed) <= set(found.column_names):
            return None
        columns = [_column(found, field) for field in schema]
    except OSError as error:
        # Arrow raises OSError without a number for content that makes no sense
        if error.errno:
            raise LinfitError(f"{file} cannot be read: {os.strerror(error.errno)}") from error
        return None
    except (pa.ArrowException, ValueError):
        return None
    return pa.table(columns, schema=schema)


def _column(table: pa.Table, field: pa.Field) -> Any:
    if field.name in table.column_names:
        return table[field.name].cast(field.type)
    return pa.nulls(table.num_rows, field.type)


def _require_table(part: Path) -> pa.Table:
    """Return a part; LinfitError where it is broken."""
    table = _read_table(part)
    if table is None:
        raise LinfitError(f"{part} is broken: its fits have to be run again")
    return table


def reopen_parts(folder: Path) -> SweepParts:
    """Return the parts of a sweep that goes on.

    The tables of a finished sweep become its first part.
    """
    if is_unfinished(folder):
        return SweepParts(folder)
    curves = _parts_of(folder, CURVES)
    results = name_temporary_file(_parts_of(folder, RESULTS))
    for place in (results, curves):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    shutil.copyfile(folder / CURVES, curves / "part-0.parquet")
    parquet.write_table(
        _require_table(folder / RESULTS), results / "part-0.parquet", **WRITE_OPTIONS
    )
    flush_files([curves / "part-0.parquet", results / "part-0.parquet"], folder)
    # with this name the sweep is unfinished
    results.rename(_parts_of(folder, RESULTS))
    flush_folder(folder)
    return SweepParts(folder)


def _parts_of(folder: Path, name: str) -> Path:
    return folder / Path(name).stem


def _part(folder: Path, name: str, number: int) -> Path:
    return _parts_of(folder, name) / f"part-{number}.parquet"


def _pairs(folder: Path) -> list[int]:
    """Return the numbers of the parts that have both tables."""
    return sorted({*_numbers(folder, RESULTS)} & {*_numbers(folder, CURVES)})


def _numbers(folder: Path, name: str) -> list[int]:
    """Return the numbers of the parts of one table."""
    parts = list_folder(_parts_of(folder, name), "part-*.parquet")
    return sorted(int(part.stem.removeprefix("part-")) for part in parts)


def build_result(fit: Fit) -> dict[str, Any]:
    """Return the results of a fit as one row of a table, with the weights `[p, q]` row by row."""
    ended = {
        "status": fit.status.value,
        "objective": fit.objective,
        "dtype": fit.config.dtype,
        "error": fit.error and mask(fit.error),
    }
    if fit.status is Status.FAILED:
        return ended
    held_out = fit.validation_losses
    return {
        **ended,
        "loss": float(fit.losses[-1]),
        "excess_loss": _known(float(fit.excess_losses[-1])),
        "validation_loss": None if held_out is None else float(held_out[-1]),
        "distance_to_optimum": _known(fit.distance_to_optimum),
        "distance_to_truth": fit.distance_to_truth,
        "steps_to_tolerance": fit.steps_to_tolerance,
        "diverged_at_step": fit.diverged_at_step,
        **fit.list_measures(),
        "weights": fit.weights.astype(float).ravel().tolist(),
    }


def _known(number: float) -> float | None:
    """Return a number, None in place of NaN."""
    return None if math.isnan(number) else number


def _curve(fit: Fit) -> dict[str, Any]:
    assert fit.path is not None
    path = None
    if fit.weights.size <= MAX_PATH_WEIGHTS:
        path = fit.path.weights.astype(float).ravel().tolist()
    held_out = fit.validation_losses
    return {
        "step": fit.steps.tolist(),
        "loss": fit.losses.tolist(),
        "excess_loss": fit.excess_losses.tolist(),
        "validation_loss": None if held_out is None else held_out.tolist(),
        "path": path,
    }


def hash_table(file: Path) -> str:
    """Return the SHA-256 of a file, by which a reader knows that the file was not changed."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
