"""The Parquet files of a sweep: its manifest, written before the first fit, and its results and curves.

A row number identifies a fit of the sweep; duplicates of one config are legal. float32 numbers are held exactly in float64.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Status
from linfit.tracking.layout import CURVES, MANIFEST, RESULTS, mask, stored_text

#: The most weights whose path is kept with the curves.
PATH_WEIGHTS = 2
ROW_GROUP = 5000

_NUMBERS, _STEPS = pa.list_(pa.float64()), pa.list_(pa.int64())
_MANIFEST = pa.schema(
    {"row": pa.int64(), "name": pa.string(), "overrides": pa.list_(pa.string()), "fingerprint": pa.string(), "config": pa.string()}
)
_RESULTS = pa.schema(
    {
        "row": pa.int64(),
        "name": pa.string(),
        "status": pa.string(),
        "loss": pa.float64(),
        "excess_loss": pa.float64(),
        "distance_to_optimum": pa.float64(),
        "distance_to_truth": pa.float64(),
        "steps_to_tolerance": pa.int64(),
        "diverged_at_step": pa.int64(),
        "dtype": pa.string(),
        "weights": _NUMBERS,
        "error": pa.string(),
    }
)
_CURVES = pa.schema({"row": pa.int64(), "step": _STEPS, "loss": _NUMBERS, "excess_loss": _NUMBERS, "path": _NUMBERS})
#: The columns of each file, with their types.
SCHEMAS = {MANIFEST: _MANIFEST, RESULTS: _RESULTS, CURVES: _CURVES}


def write_manifest(folder: Path, names: Iterable[str], overrides: Sequence[Sequence[str]], configs: Sequence[FitConfig]) -> None:
    """What is going to be run, before it is."""
    with _whole(folder / MANIFEST) as file, parquet.ParquetWriter(file, _MANIFEST) as writer:
        entries = enumerate(zip(names, overrides, configs, strict=True))
        while some := [_planned(*entry) for entry in islice(entries, ROW_GROUP)]:
            writer.write_table(pa.Table.from_pylist(some, schema=_MANIFEST))


def _planned(row: int, entry: tuple[str, Sequence[str], FitConfig]) -> dict[str, Any]:
    name, overrides, config = entry
    given = [mask(override) for override in overrides]
    return {"row": row, "name": name, "overrides": given, "fingerprint": config.fingerprint(), "config": stored_text(config)}


class Parts:
    """The results and curves of a sweep while it runs: a part for each block of fits, joined at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        for name in (RESULTS, CURVES):
            (folder / Path(name).stem).mkdir()

    def write(self, rows: Sequence[int], names: Sequence[str], fits: Sequence[Fit]) -> list[dict[str, Any]]:
        """Writes the next part, which counts when its runs are recorded too, and returns its results."""
        results = [{"row": row, "name": name, **result(fit)} for row, name, fit in zip(rows, names, fits, strict=True)]
        curves = [{"row": row, **_curve(fit)} for row, fit in zip(rows, fits, strict=True) if fit.path is not None]
        for name, table in (
            (RESULTS, pa.Table.from_pylist(results, schema=_RESULTS)),
            (CURVES, pa.Table.from_pylist(curves, schema=_CURVES)),
        ):
            with _whole(self._part(name, self.count)) as file:
                parquet.write_table(table, file)
        return results

    def join(self, run_ids: Mapping[int, str]) -> list[Path]:
        """Writes `results.parquet`, with the ids of the runs there are, and `curves.parquet`, and returns them."""
        tables = [parquet.read_table(self._part(RESULTS, number)) for number in range(self.count)]
        results = pa.concat_tables(tables or [_RESULTS.empty_table()]).sort_by("row")
        ids = pa.array([run_ids.get(row) for row in results["row"].to_pylist()], pa.string())
        with _whole(self.folder / RESULTS) as file:
            parquet.write_table(results.append_column("run_id", ids), file)
        self._join_curves()
        for name in (RESULTS, CURVES):
            shutil.rmtree(self.folder / Path(name).stem)
        return [self.folder / RESULTS, self.folder / CURVES]

    def _join_curves(self) -> None:
        """Part by part: together they may be larger than one would hold in memory. Rows are in order within a part."""
        with _whole(self.folder / CURVES) as file, parquet.ParquetWriter(file, _CURVES) as writer:
            for number in range(self.count):
                writer.write_table(parquet.read_table(self._part(CURVES, number)))

    def _part(self, name: str, number: int) -> Path:
        return self.folder / Path(name).stem / f"part-{number}.parquet"


def result(fit: Fit) -> dict[str, Any]:
    """What came out of a fit, as one row of a table; the weights `[p, q]` row by row."""
    ended = {"status": fit.status.value, "dtype": fit.config.dtype, "error": fit.error}
    if fit.status is Status.FAILED:
        return ended
    return {
        **ended,
        "loss": float(fit.losses[-1]),
        "excess_loss": float(fit.excess_losses[-1]),
        "distance_to_optimum": fit.distance_to_optimum,
        "distance_to_truth": fit.distance_to_truth,
        "steps_to_tolerance": fit.steps_to_tolerance,
        "diverged_at_step": fit.diverged_at_step,
        "weights": fit.weights.astype(float).ravel().tolist(),
    }


def _curve(fit: Fit) -> dict[str, Any]:
    assert fit.path is not None
    path = fit.path.weights.astype(float).ravel().tolist() if fit.weights.size <= PATH_WEIGHTS else None
    return {"step": fit.steps.tolist(), "loss": fit.losses.tolist(), "excess_loss": fit.excess_losses.tolist(), "path": path}


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A file that is there whole or not at all: written under a temporary name, flushed to the disk, then renamed."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
