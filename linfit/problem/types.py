"""Types and limits that all modules of the problem share; this module imports none of them."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Largest number of a fit in float64: squares of such numbers can still be summed.
LARGEST_NUMBER = 1e150


class ExcessLoss(Protocol):
    """The loss around its optimum W*."""

    def excess(self, away: Array) -> Array:
        """Return loss(W) − loss(W*) `[…]`, never negative.

        It is given W − W* `[…, p, q]`.
        """


@runtime_checkable
class CurvedExcessLoss(ExcessLoss, Protocol):
    """The loss around its optimum W*, with second derivatives."""

    def hessian(self, away: Array) -> Array:
        """Return the Hessian at W as blocks `[b, m, m]`, given W − W* `[p, q]`.

        Their rows are the weights of one target each, or all weights row by row.
        """


class Minimum(NamedTuple):
    """The minimum of a loss that is not quadratic, and what is proved of it."""

    weights: Array
    """W* `[p, q]`"""
    objective: float
    """The loss there, penalty included; the infimum if there is no minimum."""
    around: ExcessLoss
    curvatures: Array | None = None
    """Eigenvalues of the Hessian at W* that are not zero, largest first; None if unknown."""
    largest_curvature: float | None = None
    """Bound of the Hessian's eigenvalues anywhere; None if there is none."""
    gap: float | None = None
    """Bound of the objective's own excess; None if nothing is proved."""
    attained: bool = True
    """False if the loss has only an infimum."""
    note: str | None = None
    """A sentence that the user should read."""


def describe_limit(dtype: str) -> tuple[float, str]:
    """Return the largest number of a fit in `dtype`.

    The text says also how to refuse a larger one.
    """
    if dtype == "float64":
        return LARGEST_NUMBER, "is too large to be squared in float64: scale the data"
    largest = float(np.finfo(dtype).max)
    return largest, f"is beyond {dtype}: choose dtype=float64, or scale the data"
