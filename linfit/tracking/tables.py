"""The Parquet files of a sweep: its manifest, written before the first fit, and its results and curves.

A row number identifies a fit of the sweep; duplicates of one config are legal. float32 numbers are held exactly in float64.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from linfit.config import FitConfig, canonical
from linfit.engine.fit import Fit, Status
from linfit.tracking.layout import CURVES, MANIFEST, RESULTS, mask, stored_config

#: The most weights whose path is kept with the curves.
PATH_WEIGHTS = 2

_NUMBERS, _STEPS = pa.list_(pa.float64()), pa.list_(pa.int64())
_MANIFEST = pa.schema(
    {"row": pa.int64(), "name": pa.string(), "overrides": pa.list_(pa.string()), "fingerprint": pa.string(), "config": pa.string()}
)
_RESULTS = pa.schema(
    {
        "row": pa.int64(),
        "run_id": pa.string(),
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


def write_manifest(folder: Path, names: Sequence[str], overrides: Sequence[Sequence[str]], configs: Sequence[FitConfig]) -> None:
    rows = [
        {
            "row": i,
            "name": name,
            "overrides": list(map(mask, given)),
            "fingerprint": config.fingerprint(),
            "config": canonical(stored_config(config)),
        }
        for i, (name, given, config) in enumerate(zip(names, overrides, configs, strict=True))
    ]
    _write(folder / MANIFEST, rows, _MANIFEST)


def write_results(folder: Path, names: Sequence[str], run_ids: Sequence[str], fits: Sequence[Fit]) -> None:
    _write(
        folder / RESULTS,
        [
            {"row": i, "name": name, "run_id": run_id, **result(fit)}
            for i, (name, run_id, fit) in enumerate(zip(names, run_ids, fits, strict=True))
        ],
        _RESULTS,
    )
    _write(folder / CURVES, [{"row": i, **_curve(fit)} for i, fit in enumerate(fits) if fit.path is not None], _CURVES)


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


def _write(file: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Whole or not at all: a temporary file, flushed to the disk, then renamed."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    with temporary.open("rb+") as written:
        os.fsync(written.fileno())
    temporary.replace(file)
