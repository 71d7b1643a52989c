"""The evidence of twins (linfit/engine/twins.py): a file next to the tables, and a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linfit.engine.twins import Parting
from linfit.errors import LinfitError
from linfit.problem.opened import read_bounded
from linfit.writing import whole

#: The most bytes that are read of a file of twins.
MAX_BYTES = 2**20
#: Fits of a sweep whose twins are fitted.
MOST = 6
#: By the row of the fit.
Twins = Mapping[int, Parting]


def write(twins: Twins, file: Path) -> Path:
    """Write twins as JSON and return the file.

    Null is an infinite spread.
    """
    rows = []
    for row, parting in twins.items():
        spread = parting.spread if math.isfinite(parting.spread) else None
        rows.append(
            {
                "row": row,
                "step": parting.step,
                "spread": spread,
                "least": parting.least,
            }
        )
    with whole(file) as temporary:
        temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return file


def read(file: Path) -> Twins:
    """Return the twins that `write` wrote.

    LinfitError, which names the file, otherwise.
    """
    try:
        rows = json.loads(read_bounded(file, MAX_BYTES))
        return {row["row"]: _parse(row) for row in rows}
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise LinfitError(f"{file} cannot be read: {type(error).__name__} {error}") from error


def _parse(row: dict[str, Any]) -> Parting:
    step = None if row["step"] is None else int(row["step"])
    spread = math.inf if row["spread"] is None else float(row["spread"])
    return Parting(step, spread, float(row["least"]))


def horizon(twins: Twins) -> int | None:
    """Return the first step at which twins of any fit part.

    None where none do.
    """
    steps = [parting.step for parting in twins.values() if parting.step is not None]
    return min(steps, default=None)


def within_rounding(one: float, own: Parting, other: float, best: Parting) -> bool:
    """Return True if two excess losses are no further apart than twins are."""
    least = max(own.least, best.least, np.finfo(float).tiny)
    with np.errstate(invalid="ignore"):
        gap = abs(np.log10(max(one, least) / max(other, least)))
        return bool(gap <= max(own.spread, best.spread))


def said(twins: Twins) -> str:
    """Return a sentence on the twins, empty without twins."""
    if not twins:
        return ""

    fits = f"{len(twins)} fit{'s' if len(twins) > 1 else ''}"
    subject = f"Twins of {fits}, which differ from them by rounding only,"
    step = horizon(twins)
    if step is None:
        return f"{subject} never part from them."

    several = sum(parting.step is not None for parting in twins.values())
    return (
        f"{subject} part from {several} of them, the first at step {step}: "
        "beyond it those losses tell of rounding, not of methods."
    )
