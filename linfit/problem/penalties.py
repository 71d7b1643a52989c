"""What is added to the loss so that weights stay small. The convention stands here once: ½·strength·‖W‖².

Its gradient is strength·W and its Hessian strength·I, as of `weight_decay` in torch.optim.SGD, which
however does not count it in the loss.

A column of ones that `features.intercept` adds is the last, and its weights are left out, as in
scikit-learn's `Ridge`: the prediction for a mean sample is not shrunk. `penalty.intercept=true`
includes them. A column of ones of the data is a feature like any other.

p features, q targets.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from linfit.component import Component
from linfit.lines import PenaltyLines

Mask = NDArray[np.float64]


class Shrinkage(NamedTuple):
    """½·strength·‖W‖² of one fit, without the last row of W where that is an `exempt` intercept."""

    strength: float = 0.0
    exempt: bool = False

    def mask(self, p: int) -> Mask:
        """Return 1 for each of the p rows of W that are shrunk, and 0 for one that is not."""
        mask = np.ones(p)
        if self.exempt:
            mask[-1] = 0
        return mask


class Penalty(Component):
    """½·s·‖W‖² beside the loss: the objective is the sum of both, and so is everything called loss."""

    @abstractmethod
    def squared(self) -> float:
        """The s."""

    def shrinks_intercept(self) -> bool:
        """Return True if an intercept that `features` add is penalized like any other feature."""
        return True

    def lines(self, weight: str) -> PenaltyLines:
        """The same in the program that `linfit script` prints, for the parameter that the expression `weight` names."""
        raise NotImplementedError(f"penalty {self.name} has no lines")


class NoPenalty(Penalty):
    """Nothing: the loss alone."""

    name: Literal["none"] = "none"

    def squared(self) -> float:
        return 0.0

    def lines(self, weight: str) -> PenaltyLines:
        return PenaltyLines()


class Ridge(Penalty):
    """½·strength·‖W‖² (Hoerl and Kennard, 1970): the optimum is unique whatever the data, and smaller than without.

    An intercept that `features.intercept` adds is not penalized unless `intercept` is true. The optimum
    is that of scikit-learn's `Ridge(alpha)`, which minimizes Σr² + alpha·‖w‖², at strength 2·alpha for the
    loss sse and at 2·alpha/(n·q) for mse, with the sum of the weights in place of n where samples have
    weights. For huber it has no counterpart there.
    """

    name: Literal["ridge"] = "ridge"
    strength: Annotated[float, Field(ge=0)] = 1.0
    intercept: bool = False

    def squared(self) -> float:
        return self.strength

    def shrinks_intercept(self) -> bool:
        return self.intercept

    def lines(self, weight: str) -> PenaltyLines:
        if not self.strength:
            return PenaltyLines()
        return PenaltyLines(
            f"{0.5 * self.strength!r} * {weight}.square().sum()", f"{self.strength!r} * {weight}"
        )
