"""The evidence of twins (engine/rounding_twins.py): a file next to the tables, and a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linfit.engine.rounding_twins import TwinComparison
from linfit.errors import LinfitError
from linfit.problem.datasets.readers.opened import read_bounded
from linfit.system.atomic_files import write_atomically
from linfit.tracking.schema import mlflow_names

#: The most bytes that are read of a file of twins.
MAX_TWINS_BYTES = 2**20
#: Fits of a sweep whose twins are fitted.
MOST_TWINS = 6
#: By the row of the fit.
Twins = Mapping[int, TwinComparison]


def write_twins(twins: Twins, file: Path) -> Path:
    """Write twins as JSON and return the file.

    Null is an infinite spread.
    """
    rows = [
        {
            "row": row,
            "step": parting.step,
            "spread": _drop_infinity(parting.spread),
            "least": parting.least,
            "loss_spread": _drop_infinity(parting.loss_spread),
        }
        for row, parting in twins.items()
    ]
    with write_atomically(file) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return file


def read_twins(file: Path) -> Twins:
    """Return the twins that `write_twins` wrote.

    LinfitError, which names the file, otherwise.
    """
    try:
        rows = json.loads(read_bounded(file, MAX_TWINS_BYTES))
        return {row["row"]: _parse(row) for row in rows}
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise LinfitError(f"{file} cannot be read: {type(error).__name__} {error}") from error


def _parse(row: dict[str, Any]) -> TwinComparison:
    step = None if row["step"] is None else int(row["step"])
    spread = _read_spread(row["spread"])
    loss_spread = _read_spread(row.get("loss_spread", 0.0))  # older files have none
    return TwinComparison(step, spread, float(row["least"]), loss_spread)


def _drop_infinity(spread: float) -> float | None:
    return spread if math.isfinite(spread) else None


def _read_spread(value: Any) -> float:
    return math.inf if value is None else float(value)


def find_horizon(twins: Twins) -> int | None:
    """Return the first step at which twins of any fit part.

    None where none do.
    """
    steps = [parting.step for parting in twins.values() if parting.step is not None]
    return min(steps, default=None)


def is_within_rounding(
    one: float,
    own: TwinComparison,
    other: float,
    best: TwinComparison,
    measure: str = mlflow_names.EXCESS,
) -> bool:
    """Return True if two losses named `measure` are no further apart than twins are.

    Twins tell nothing of other measures.
    """
    if measure in (mlflow_names.LOSS, mlflow_names.VALIDATION):
        return bool(abs(np.log10(one / other)) <= max(own.loss_spread, best.loss_spread))
    if measure != mlflow_names.EXCESS:
        return False
    least = max(own.least, best.least, np.finfo(float).tiny)
    with np.errstate(invalid="ignore"):
        gap = abs(np.log10(max(one, least) / max(other, least)))
        return bool(gap <= max(own.spread, best.spread))


def describe_twins(twins: Twins) -> str:
    """Return a sentence on the twins, empty without twins."""
    if not twins:
        return ""

    many = len(twins) > 1
    fits = f"{len(twins)} fits were" if many else "1 fit was"
    subject = f"{fits} run again with nothing changed but rounding"
    step = find_horizon(twins)
    if step is None:
        return f"{subject}: the losses never come apart."

    parted = sum(parting.step is not None for parting in twins.values())
    losses = f"the losses of {parted}" if many else "the losses"
    return (
        f"{subject}: {losses} come apart, the first at step {step}. "
        "From there on those losses tell of rounding, not of methods."
    )
