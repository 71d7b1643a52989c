"""The Parquet files of a sweep: its results and curves, and what is in each file.

    manifest.parquet → results/part-N.parquet, curves/part-N.parquet, a pair for each block → results.parquet, curves.parquet

A sweep is unfinished as long as its folder `results` is there. A row number identifies a fit of the sweep; duplicates of one config are legal. float32 numbers are held exactly in float64.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from linfit.engine.fit import Fit, Status
from linfit.errors import LinfitError
from linfit.scratch import name_beside, note_leftover
from linfit.system import flush_folder
from linfit.tracking.layout import CURVES, MANIFEST, RESULTS
from linfit.tracking.masking import mask
from linfit.tracking.parquet_tables import read_table
from linfit.writing import flush_files, list_folder, make_folder, whole

#: The most weights whose path is kept with the curves.
PATH_WEIGHTS = 2
#: How tables are written: a page that was changed on the disk is noticed when it is read.
CHECKED = {"write_page_checksum": True}
#: What the name of a table ends with that nobody can read.
BROKEN = ".broken"

_NUMBERS, _STEPS = pa.list_(pa.float64()), pa.list_(pa.int64())
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
        "dtype": pa.string(),
        "weights": _NUMBERS,
        "error": pa.string(),
    }
)
_CURVES = pa.schema(
    {
        "row": pa.int64(),
        "step": _STEPS,
        "loss": _NUMBERS,
        "excess_loss": _NUMBERS,
        "validation_loss": _NUMBERS,
        "path": _NUMBERS,
    }
)
#: What every row of a table has to say.
RESULTS_NEEDED, CURVES_NEEDED = (
    ("row", "name", "status", "loss", "excess_loss", "weights"),
    ("row", "step", "loss", "excess_loss"),
)
#: The columns of each file, with their types.
SCHEMAS = {
    MANIFEST: _MANIFEST,
    RESULTS: _RESULTS.append(pa.field("run_id", pa.string())),
    CURVES: _CURVES,
}


class Parts:
    """The results and curves of a sweep while it runs: a part for each block of fits, joined at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (CURVES, RESULTS):
            make_folder(_parts_of(folder, name))
        self.count = 1 + max(*_numbers(folder, RESULTS), *_numbers(folder, CURVES), -1, -1)

    def write(
        self, rows: Sequence[int], names: Sequence[str], fits: Sequence[Fit]
    ) -> list[dict[str, Any]]:
        """Writes the next part, which counts when its runs are recorded too, and returns its results."""
        results = [
            {"row": row, "name": name, **result(fit)}
            for row, name, fit in zip(rows, names, fits, strict=True)
        ]
        curves = [
            {"row": row, **_curve(fit)}
            for row, fit in zip(rows, fits, strict=True)
            if fit.path is not None
        ]
        self._write(CURVES, self.count, pa.Table.from_pylist(curves, schema=_CURVES))
        self._write(
            RESULTS, self.count, pa.Table.from_pylist(results, schema=_RESULTS)
        )  # last: where it is, the curves are too
        return results

    def keep(self, rows: Collection[int]) -> None:
        """Drops all other rows, and what killed processes left half-written."""
        for temporary in (*self.folder.glob(".*.parquet.*"), *self.folder.glob("*/.*.parquet.*")):
            temporary.unlink()
        pairs, kept = _pairs(self.folder), pa.array(list(rows), pa.int64())
        for name in (
            RESULTS,
            CURVES,
        ):  # in this order: curves that nobody claims are dropped the next time
            for number in _numbers(self.folder, name):
                table = _sound(self._part(name, number))
                left = table.filter(compute.is_in(table["row"], kept))
                if number not in pairs:
                    self._part(name, number).unlink(missing_ok=True)
                elif left.num_rows < table.num_rows:
                    self._write(name, number, left)

    def join(self, run_ids: Mapping[int, str], names: Mapping[int, str]) -> list[Path]:
        """Write `results.parquet`, with the ids of the runs there are, and `curves.parquet`.

        `names` are those that have changed since the parts were written. Returns both files.
        """
        tables = [_sound(self._part(RESULTS, number)) for number in _pairs(self.folder)]
        results = pa.concat_tables(tables or [_RESULTS.empty_table()]).sort_by("row")
        ids = pa.array([run_ids.get(row) for row in results["row"].to_pylist()], pa.string())
        if names:
            results = _with_names(results, names)
        with whole(self.folder / RESULTS) as file:
            parquet.write_table(results.append_column("run_id", ids), file, **CHECKED)
        self._join_curves()
        return [self.folder / RESULTS, self.folder / CURVES]

    def remove(self) -> None:
        """Says that the sweep is finished: `results` is gone in one step, then the rest."""
        note_leftover(_parts_of(self.folder, CURVES), unless="../results")
        for name in (RESULTS, CURVES):
            gone = name_beside(_parts_of(self.folder, name))
            _parts_of(self.folder, name).rename(gone)
            flush_folder(
                self.folder
            )  # else the parts might be gone, and their folder be there under its old name
            shutil.rmtree(gone, ignore_errors=True)

    def _join_curves(self) -> None:
        """Part by part: together they may be larger than one would hold in memory. Rows are in order within a part."""
        with (
            whole(self.folder / CURVES) as file,
            parquet.ParquetWriter(file, _CURVES, **CHECKED) as writer,
        ):
            for number in _pairs(self.folder):
                writer.write_table(_sound(self._part(CURVES, number)))

    def _write(self, name: str, number: int, table: pa.Table) -> None:
        with whole(self._part(name, number)) as file:
            parquet.write_table(table, file, **CHECKED)

    def _part(self, name: str, number: int) -> Path:
        return _part(self.folder, name, number)


def unfinished(folder: Path) -> bool:
    """Whether the sweep of a folder has not come to its end."""
    return _parts_of(folder, RESULTS).is_dir() or not (folder / RESULTS).exists()


def stored_results(folder: Path) -> dict[int, dict[str, Any]]:
    """What came out of the fits of a sweep so far, by row, whether it is finished or not; reads only."""
    files = [folder / RESULTS]
    if unfinished(folder):
        files = [_part(folder, RESULTS, number) for number in _pairs(folder)]
    tables = [table for file in files if (table := _table(file)) is not None]
    return {row["row"]: row for table in tables for row in table.to_pylist()}


def set_aside(folder: Path) -> list[Path]:
    """Gives the tables that are broken another name, so that their fits are run again; returns the new names."""
    if unfinished(folder):
        parts = [
            _part(folder, name, number)
            for name in (RESULTS, CURVES)
            for number in _numbers(folder, name)
        ]
        broken = [part for part in parts if _table(part) is None]
    else:  # neither is of use without the other
        both = [folder / RESULTS, folder / CURVES]
        broken = both if any(_table(file) is None for file in both) else []
    return [file.replace(file.with_name(file.name + BROKEN)) for file in broken]


def _table(file: Path) -> pa.Table | None:
    """A part, or the results without the ids of runs; None where its content is broken.

    Columns that are not there are null, but for those without which a row says nothing. LinfitError where it cannot be read now.
    """
    schema, needed = (
        (_CURVES, CURVES_NEEDED)
        if Path(CURVES).stem in (file.parent.name, file.stem)
        else (_RESULTS, RESULTS_NEEDED)
    )
    try:
        found = read_table(file, schema.names)
        columns = [
            found[field.name].cast(field.type) if field.name in found.column_names else None
            for field in schema
        ]
    except OSError as error:  # Arrow's own, of content that makes no sense, have no number
        if error.errno:
            raise LinfitError(f"{file} cannot be read: {os.strerror(error.errno)}") from error
        return None
    except (pa.ArrowException, ValueError):
        return None
    if not set(needed) <= set(found.column_names):
        return None
    filled = [
        pa.nulls(found.num_rows, field.type) if column is None else column
        for field, column in zip(schema, columns, strict=True)
    ]
    return pa.table(filled, schema=schema)


def _sound(part: Path) -> pa.Table:
    """A part that has to be whole; LinfitError where it is not."""
    table = _table(part)
    if table is None:
        raise LinfitError(f"{part} is broken: its fits have to be run again")
    return table


def reopen(folder: Path) -> Parts:
    """The parts of a sweep that goes on; of one that was finished, its tables are the first part."""
    if unfinished(folder):
        return Parts(folder)
    temporary = name_beside(_parts_of(folder, RESULTS))
    for place in (temporary, _parts_of(folder, CURVES)):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
    shutil.copyfile(folder / CURVES, _parts_of(folder, CURVES) / "part-0.parquet")
    parquet.write_table(_sound(folder / RESULTS), temporary / "part-0.parquet", **CHECKED)
    flush_files([_part(folder, CURVES, 0), temporary / "part-0.parquet"], folder)
    temporary.rename(_parts_of(folder, RESULTS))
    flush_folder(folder)
    return Parts(folder)


def _parts_of(folder: Path, name: str) -> Path:
    return folder / Path(name).stem


def _part(folder: Path, name: str, number: int) -> Path:
    return _parts_of(folder, name) / f"part-{number}.parquet"


def _pairs(folder: Path) -> list[int]:
    """The numbers of the parts of which both tables are there."""
    return sorted({*_numbers(folder, RESULTS)} & {*_numbers(folder, CURVES)})


def _numbers(folder: Path, name: str) -> list[int]:
    """The numbers of the parts there are."""
    parts = list_folder(_parts_of(folder, name), "part-*.parquet")
    return sorted(int(part.stem.removeprefix("part-")) for part in parts)


def result(fit: Fit) -> dict[str, Any]:
    """What came out of a fit, as one row of a table; the weights `[p, q]` row by row."""
    ended = {
        "status": fit.status.value,
        "objective": fit.objective,
        "dtype": fit.config.dtype,
        "error": fit.error and mask(fit.error),
    }
    if fit.status is Status.FAILED:
        return ended
    return {
        **ended,
        "loss": float(fit.losses[-1]),
        "excess_loss": float(fit.excess_losses[-1]),
        "validation_loss": None
        if fit.validation_losses is None
        else float(fit.validation_losses[-1]),
        "distance_to_optimum": fit.distance_to_optimum,
        "distance_to_truth": fit.distance_to_truth,
        "steps_to_tolerance": fit.steps_to_tolerance,
        "diverged_at_step": fit.diverged_at_step,
        "weights": fit.weights.astype(float).ravel().tolist(),
    }


def _curve(fit: Fit) -> dict[str, Any]:
    assert fit.path is not None
    path = (
        fit.path.weights.astype(float).ravel().tolist()
        if fit.weights.size <= PATH_WEIGHTS
        else None
    )
    held = None if fit.validation_losses is None else fit.validation_losses.tolist()
    losses = {
        "loss": fit.losses.tolist(),
        "excess_loss": fit.excess_losses.tolist(),
        "validation_loss": held,
    }
    return {"step": fit.steps.tolist(), **losses, "path": path}


def _with_names(results: pa.Table, names: Mapping[int, str]) -> pa.Table:
    new = [
        names.get(row["row"], row["name"]) for row in results.select(["row", "name"]).to_pylist()
    ]
    place = results.column_names.index("name")
    return results.set_column(place, results.schema.field("name"), pa.array(new, pa.string()))


def file_hash(file: Path) -> str:
    """SHA-256 of a file, by which a reader knows that it is what was written."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
