"""Two outcomes of one fit compared: are they the same bits, if not how near are they, and at which step do they part.

k recorded steps, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.engine.difference import PARTED, relative, relative_losses
from linfit.engine.fit import Fit, Status
from linfit.problem.problem import Array

#: What a text calls the outcome that was kept, and that of another run.
STORED, OTHER = "stored", "the other"


class Verdict(StrEnum):
    """What running a fit again showed."""

    IDENTICAL = "identical"
    EQUAL = "equal within tolerance"
    DIFFERS = "differs"
    REFUSED = "refused"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out of a fit, run now or read back: every recorded loss, and the final weights row by row, all as float64."""

    status: str
    dtype: str
    steps: NDArray[np.int64]
    """The recorded steps `[k]`."""
    losses: Array
    """The losses there `[k]`."""
    weights: Array | None
    """The final weights `[p·q]`; None where they were not kept."""
    whole: bool = True
    """Whether losses that are not finite are among the losses; MLflow keeps none."""

    @staticmethod
    def of(fit: Fit) -> Outcome:
        if fit.status is Status.FAILED:
            return Outcome(
                fit.status.value, fit.config.dtype, np.array([], int), np.array([]), None
            )
        return Outcome(
            fit.status.value,
            fit.config.dtype,
            fit.steps,
            fit.losses,
            fit.weights.astype(np.float64).ravel(),
        )

    def finite(self) -> Outcome:
        there = np.isfinite(self.losses)
        return replace(self, steps=self.steps[there], losses=self.losses[there], whole=False)

    def at(self, steps: NDArray[np.int64]) -> Outcome:
        there = np.isin(self.steps, steps)
        return replace(self, steps=self.steps[there], losses=self.losses[there])


@dataclass(frozen=True)
class Difference:
    """How two outcomes differ; sizes are infinite where only one of the two is finite, and relative, as `relative_losses` says."""

    verdict: Verdict
    losses: float
    """The largest difference of losses."""
    at: int | None
    """The step of the largest difference; None where no loss differs."""
    weights: float
    """The largest difference of final weights, relative to the largest weight."""
    first: int | None
    """The first recorded step at which the losses have other bits."""
    parted: int | None
    """The first recorded step at which the losses differ by more than the tolerance of their dtype."""
    why: str = ""
    """What differs, in bits."""


def difference(
    then: Outcome, now: Outcome, common: bool = False, other: str = STORED
) -> Difference:
    """How `now` differs from `then`; with `common`, at the steps that both have, where they end at the same.

    `other` is what the text calls `then`.
    """
    if not (then.whole and now.whole):
        then, now = then.finite(), now.finite()
    if common and np.array_equal(then.steps[-1:], now.steps[-1:]):
        then, now = then.at(now.steps), now.at(then.steps)
    bits = "; ".join(differences(then, now, other))
    if not bits:
        return Difference(Verdict.IDENTICAL, 0.0, None, 0.0, None, None)
    steps, mine, theirs = np.intersect1d(then.steps, now.steps, return_indices=True)
    dtype, limit = tolerance(then, now)
    losses = relative_losses(then.losses[mine], now.losses[theirs], dtype)  # [k]
    different = steps[_bits(then.losses[mine]) != _bits(now.losses[theirs])]
    parted = steps[losses > limit]
    largest = int(losses.argmax()) if len(different) else None
    weights = _weights(then, now)
    equal = _same_course(then, now) and not len(parted) and weights <= limit
    return Difference(
        Verdict.EQUAL if equal else Verdict.DIFFERS,
        float(losses.max(initial=0.0)),
        None if largest is None else int(steps[largest]),
        weights,
        int(different[0]) if len(different) else None,
        int(parted[0]) if len(parted) else None,
        bits,
    )


def tolerance(then: Outcome, now: Outcome) -> tuple[str, float]:
    """The coarser of both dtypes, and what is allowed in it."""
    dtype = "float64" if then.dtype == now.dtype == "float64" else "float32"
    return dtype, PARTED[dtype]


def _same_course(then: Outcome, now: Outcome) -> bool:
    """Whether both ended alike, at the same recorded steps; two that diverged, within one step."""
    alike = then.status == now.status and then.dtype == now.dtype
    if not alike or not len(then.steps) or not len(now.steps):
        return alike and len(then.steps) == len(now.steps) and then.status != Status.FAILED
    near = then.status == Status.DIVERGED and abs(then.steps[-1] - now.steps[-1]) <= 1
    return bool(near) or np.array_equal(then.steps, now.steps)


def _weights(then: Outcome, now: Outcome) -> float:
    """0 where either has none; weights that belong to different steps are not compared."""
    if (
        then.weights is None
        or now.weights is None
        or not np.array_equal(then.steps[-1:], now.steps[-1:])
    ):
        return 0.0
    if then.weights.shape != now.weights.shape:
        return float("inf")
    return float(
        relative(then.weights, now.weights, np.abs(then.weights).max(initial=0.0)).max(initial=0.0)
    )


def differences(then: Outcome, now: Outcome, other: str = STORED) -> list[str]:
    """What of an outcome is not, bit for bit, what it was; empty where all is."""
    if now.status != then.status:
        return [f"status {now.status}, {other} {then.status}"]
    if now.status == Status.FAILED:
        return []
    pairs = {
        "weights": (now.weights, then.weights),
        "steps": (now.steps, then.steps),
        "losses": (now.losses, then.losses),
    }
    found = [
        _difference(name, mine, theirs, other)
        for name, (mine, theirs) in pairs.items()
        if mine is not None and theirs is not None
    ]
    dtype = [] if then.dtype == now.dtype else [f"dtype {now.dtype}, {other} {then.dtype}"]
    return dtype + [text for text in found if text]


def _difference(name: str, mine: NDArray[Any], theirs: NDArray[Any], other: str) -> str:
    ours, stored = mine.astype(np.float64), theirs.astype(np.float64)
    if len(ours) != len(stored):
        return f"{len(ours)} {name}, {other} {len(stored)}"
    differ = np.flatnonzero(_bits(ours) != _bits(stored))
    if not len(differ):
        return ""
    first = differ[0]
    return f"{len(differ)} of {len(ours)} {name}, the first at place {first}: {ours[first]!s}, {other} {stored[first]!s}"


def _bits(numbers: Array) -> NDArray[np.int64]:
    return np.ascontiguousarray(numbers, dtype=np.float64).view(np.int64)
