"""Compare two outcomes of one fit.

The comparison says whether they have the same bits, if not how near they are, and at which step
they part.

k recorded steps, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.engine.difference import PARTING_TOLERANCE, compare_losses, relative_difference
from linfit.engine.fit import Status
from linfit.problem.types import Array
from linfit.tracking.read.outcome import Outcome

#: The word for the outcome that was stored, and for that of another run.
STORED_OUTCOME = "stored"
OTHER_OUTCOME = "the other"


class Verdict(StrEnum):
    """The verdict on a fit that was run again."""

    IDENTICAL = "identical"
    EQUAL = "equal within tolerance"
    DIFFERS = "differs"
    REFUSED = "refused"


@dataclass(frozen=True)
class OutcomeDifference:
    """How two outcomes differ.

    Sizes are relative, as `compare_losses` says, and infinite where only one of the two is finite.
    """

    verdict: Verdict
    losses: float
    """The largest difference of losses."""
    largest_at: int | None
    """The step of the largest difference; None where no loss differs."""
    weights: float
    """The largest difference of final weights, relative to the largest weight."""
    first_different: int | None
    """The first recorded step at which the losses have other bits."""
    parted_at: int | None
    """The first recorded step at which the losses differ by more than the tolerance."""
    why: str = ""
    """The difference in bits, in words."""


def compare_outcomes(
    then: Outcome, now: Outcome, common: bool = False, other: str = STORED_OUTCOME
) -> OutcomeDifference:
    """Return how `now` differs from `then`.

    With `common`, compare at the steps that both recorded, provided that they end at the same step.
    `other` is the text's word for `then`.
    """
    if not (then.complete and now.complete):
        then = then.drop_nonfinite()
        now = now.drop_nonfinite()
    if common and np.array_equal(then.steps[-1:], now.steps[-1:]):
        then = then.select_steps(now.steps)
        now = now.select_steps(then.steps)
    bits = "; ".join(list_differences(then, now, other))
    if not bits:
        return OutcomeDifference(Verdict.IDENTICAL, 0.0, None, 0.0, None, None)

    steps, mine, theirs = np.intersect1d(then.steps, now.steps, return_indices=True)
    dtype, limit = find_tolerance(then, now)
    losses = compare_losses(then.losses[mine], now.losses[theirs], dtype)  # [k]
    different = steps[_bits(then.losses[mine]) != _bits(now.losses[theirs])]
    parted = steps[losses > limit]
    weights = _weights_apart(then, now)
    verdict = Verdict.DIFFERS
    if _same_course(then, now) and not len(parted) and weights <= limit:
        verdict = Verdict.EQUAL
    return OutcomeDifference(
        verdict,
        float(losses.max(initial=0.0)),
        int(steps[losses.argmax()]) if len(different) else None,
        weights,
        next(iter(different.tolist()), None),
        next(iter(parted.tolist()), None),
        bits,
    )


def find_tolerance(then: Outcome, now: Outcome) -> tuple[str, float]:
    """Return the coarser of both dtypes, and its tolerance."""
    dtype = "float64" if then.dtype == now.dtype == "float64" else "float32"
    return dtype, PARTING_TOLERANCE[dtype]


def _same_course(then: Outcome, now: Outcome) -> bool:
    """Return True if both ended alike, at the same recorded steps.

    Two that diverged may end one step apart.
    """
    if then.status != now.status or then.dtype != now.dtype:
        return False
    if not len(then.steps) or not len(now.steps):
        return len(then.steps) == len(now.steps) and then.status != Status.FAILED
    if then.status == Status.DIVERGED and abs(then.steps[-1] - now.steps[-1]) <= 1:
        return True
    return np.array_equal(then.steps, now.steps)


def _weights_apart(then: Outcome, now: Outcome) -> float:
    """Return the difference of the final weights; 0 where they are absent or of different steps."""
    if then.weights is None or now.weights is None:
        return 0.0
    if not np.array_equal(then.steps[-1:], now.steps[-1:]):
        return 0.0
    if then.weights.shape != now.weights.shape:
        return float("inf")
    largest = np.abs(then.weights).max(initial=0.0)
    return float(relative_difference(then.weights, now.weights, largest).max(initial=0.0))


def list_differences(then: Outcome, now: Outcome, other: str = STORED_OUTCOME) -> list[str]:
    """Return in words how `now` differs from `then`, bit for bit.

    Empty if they are equal.
    """
    if now.status != then.status:
        return [f"status {now.status}, {other} {then.status}"]
    if now.status == Status.FAILED:
        return []
    found = []
    if then.dtype != now.dtype:
        found.append(f"dtype {now.dtype}, {other} {then.dtype}")
    if now.weights is not None and then.weights is not None:
        found.append(_difference("weights", now.weights, then.weights, other))
    found.append(_difference("steps", now.steps, then.steps, other))
    found.append(_difference("losses", now.losses, then.losses, other))
    return list(filter(None, found))


def _difference(name: str, mine: NDArray[Any], theirs: NDArray[Any], other: str) -> str:
    ours = mine.astype(np.float64)
    stored = theirs.astype(np.float64)
    if len(ours) != len(stored):
        return f"{len(ours)} {name}, {other} {len(stored)}"
    differ = np.flatnonzero(_bits(ours) != _bits(stored))
    if not len(differ):
        return ""
    first = differ[0]
    return (
        f"{len(differ)} of {len(ours)} {name}, the first at place {first}: "
        f"{ours[first]!s}, {other} {stored[first]!s}"
    )


def _bits(numbers: Array) -> NDArray[np.int64]:
    return np.ascontiguousarray(numbers, dtype=np.float64).view(np.int64)
