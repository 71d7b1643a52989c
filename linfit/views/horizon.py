"""What twins of a sweep's fits show (linfit/engine/twins.py): kept beside the sweep's tables, told with its leaderboard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from linfit.engine.twins import Parting, partings
from linfit.errors import LinfitError
from linfit.problem.opened import read_bounded
from linfit.views.swept import Swept
from linfit.writing import whole

#: Bytes of what is kept of them, at the most.
MAX_BYTES = 2**20
#: Fits of a sweep of which twins are run.
MOST = 6
#: By the row of the fit.
Twins = Mapping[int, Parting]


def run(swept: Swept, rows: Iterable[int]) -> Twins:
    """Runs the twins of some fits of a sweep; those whose data or plug-ins are gone, or that are too large, are left out."""
    configs = {}
    for row in rows:
        try:
            configs[row] = swept.runnable(row)
        except (LinfitError, ValueError, OSError):
            continue
    found = zip(configs, partings(list(configs.values())), strict=True)
    return {row: parting for row, parting in found if parting is not None}


def write(twins: Twins, file: Path) -> Path:
    """Writes what they show as JSON, which has no infinity: null stands for it."""
    rows = [{"row": row, **asdict(parting)} for row, parting in twins.items()]
    finite = [
        {**row, "spread": row["spread"] if np.isfinite(row["spread"]) else None} for row in rows
    ]
    with whole(file) as temporary:
        temporary.write_text(json.dumps(finite, indent=1) + "\n", encoding="utf-8")
    return file


def read(file: Path) -> Twins:
    """What `write` wrote; LinfitError, which names the file, if it is something else."""
    try:
        rows = json.loads(read_bounded(file, MAX_BYTES))
        spreads = {
            row["row"]: float("inf") if row["spread"] is None else float(row["spread"])
            for row in rows
        }
        steps = {row["row"]: None if row["step"] is None else int(row["step"]) for row in rows}
        return {
            row["row"]: Parting(steps[row["row"]], spreads[row["row"]], float(row["least"]))
            for row in rows
        }
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise LinfitError(f"{file} cannot be read: {type(error).__name__} {error}") from error


def horizon(twins: Twins) -> int | None:
    """The first step at which twins of any fit part; None where none do."""
    return min(
        (parting.step for parting in twins.values() if parting.step is not None), default=None
    )


def within_rounding(one: float, own: Parting, other: float, best: Parting) -> bool:
    """Whether two excess losses are no further apart than twins are."""
    least = max(own.least, best.least, np.finfo(float).tiny)
    with np.errstate(invalid="ignore"):
        return bool(
            abs(np.log10(max(one, least) / max(other, least))) <= max(own.spread, best.spread)
        )


def said(twins: Twins) -> str:
    """In a sentence."""
    if not twins:
        return ""
    count = f"Twins of {len(twins)} fit{'s' if len(twins) > 1 else ''}, which differ from them by rounding only,"
    step = horizon(twins)
    if step is None:
        return f"{count} never part from them."
    several = sum(parting.step is not None for parting in twins.values())
    return f"{count} part from {several} of them, the first at step {step}: beyond it those losses tell of rounding, not of methods."
