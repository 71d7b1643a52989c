"""Stopping rules of both engines: when a fit has diverged, or has converged within a tolerance.

Arguments and results are numbers for one fit, or arrays `[b]` for b fits. `at_zero` is the loss of
predicting zero.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from linfit.config import FitConfig
from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor

FloatOrArray = float | Array

#: Least value that the initial loss counts as, as a share of the loss of predicting zero.
LEAST_INITIAL_SHARE = 1e-6
#: A screen below every loss: it ends the search for a tolerance that was reached, or is not set.
BELOW_EVERY_LOSS = -sys.float_info.max


@dataclass(frozen=True)
class Tolerance:
    """A `threshold` of the excess, and a `screen` of loss.

    The threshold is one of the excess loss. Above the screen the threshold is surely not reached.
    The excess loss is exact, and costs as much as a step. It is therefore computed only where the
    loss, which every step has, is at most `screen`. Entries of array fields change in place.
    """

    threshold: Any
    screen: Any


def resolve_tolerance(
    share: FloatOrArray,
    initial: FloatOrArray,
    minimum: FloatOrArray,
    at_zero: FloatOrArray,
    p: int,
    dtype: str,
) -> Tolerance:
    """Return the tolerance, `share` × the `initial` excess loss.

    The fit has p features. The threshold is NaN, which no excess loss reaches, if the initial
    excess loss is not finite. The screen lies twice the threshold above the `minimum`, and wider by
    the rounding of a loss.
    """
    initial = np.asarray(initial, dtype=np.float64)
    finite = np.isfinite(initial)
    threshold = np.where(finite, share * np.where(finite, initial, 0), np.nan)
    rounding = 16 * p * float(np.finfo(dtype).eps) * at_zero
    return Tolerance(threshold, minimum + 2 * threshold + rounding)


def divergence_times(config: FitConfig) -> float:
    """Return the `times` of `divergence_limit`, the largest where only infinity is divergence."""
    return config.stop.divergence if config.optimizer.can_diverge else sys.float_info.max


def divergence_limit(times: FloatOrArray, initial: FloatOrArray, at_zero: FloatOrArray) -> Any:
    """Return the loss above which a fit has diverged.

    It is `times` × the size of the initial loss, which may be negative. NaN if that is NaN:
    `loss <= limit` then fails, and the fit diverges at once. The initial loss counts as at least
    1e-6 × the loss of predicting zero, because a start at the optimum of data without noise has
    loss zero, and any step would exceed every multiple of it.
    """
    with np.errstate(over="ignore"):
        return np.minimum(
            times * np.maximum(np.abs(initial), LEAST_INITIAL_SHARE * at_zero), sys.float_info.max
        )


def gradient_norm(gradient: Tensor) -> Tensor:
    """Return float64 Frobenius norms `[…]` of gradients `[…, p, q]`.

    float32 squares of small entries would underflow to zero.
    """
    return gradient.double().square().sum(dim=(-2, -1)).sqrt()
