"""Penalties: terms added to the loss so that weights stay small, ½·strength·‖W‖².

The convention is defined here once. The gradient is strength·W and the Hessian strength·I, as of
`weight_decay` in torch.optim.SGD, which however does not count it in the loss.

A column of ones that `features.intercept` adds is the last, and its weights are left out, as in
scikit-learn's `Ridge`: the prediction for a mean sample is not shrunk. `penalty.intercept=true`
includes them. A column of ones of the data is a feature like any other.

p features, q targets.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from linfit.component import Component, optional
from linfit.problem.types import Array
from linfit.script_fragments import PenaltyLines


class Shrinkage(NamedTuple):
    """The penalty ½·strength·‖W‖² of one fit.

    The last row of W is left out if that is an `exempt` intercept.
    """

    strength: float = 0.0
    exempt: bool = False

    def mark_penalized(self, p: int) -> Array:
        """Return 1 for each shrunk row of W, else 0.

        W has p rows.
        """
        mask = np.ones(p)
        if self.exempt:
            mask[-1] = 0
        return mask


def stack_shrinkages(shrinkages: Sequence[Shrinkage], p: int) -> tuple[Array, Array]:
    """Return strengths `[k]` and masks `[k, p]` of k penalties."""
    strengths = np.array([shrinkage.strength for shrinkage in shrinkages])
    return strengths, np.stack([shrinkage.mark_penalized(p) for shrinkage in shrinkages])


class Penalty(Component):
    """The term ½·s·‖W‖²: the objective is loss + penalty, and so is everything called loss."""

    @abstractmethod
    def squared(self) -> float:
        """Return the s of ½·s·‖W‖²."""

    def shrinks_intercept(self) -> bool:
        """Return True if the intercept of `features` is penalized.

        It is then penalized like any other feature.
        """
        return True

    @optional
    def script_lines(self, weight: str) -> PenaltyLines:
        """Return the penalty of the parameter `weight`, as an expression.

        It is part of a plain program.
        """
        raise NotImplementedError(f"penalty {self.name} has no script lines")


class NoPenalty(Penalty):
    """Nothing: the loss alone."""

    name: Literal["none"] = "none"

    def squared(self) -> float:
        return 0.0

    def script_lines(self, weight: str) -> PenaltyLines:
        return PenaltyLines()


class Ridge(Penalty):
    """½·strength·‖W‖² (Hoerl and Kennard, 1970): the optimum is unique and smaller.

    An intercept that `features.intercept` adds is not penalized unless `intercept` is true. The
    optimum is that of scikit-learn's `Ridge(alpha)`, which minimizes Σr² + alpha·‖w‖², at strength
    2·alpha for the loss sse and at 2·alpha/(n·q) for mse, with the sum of the weights in place of n
    where samples have weights. For huber it has no counterpart there.
    """

    name: Literal["ridge"] = "ridge"
    strength: Annotated[float, Field(ge=0)] = 1.0
    intercept: bool = False

    def squared(self) -> float:
        return self.strength

    def shrinks_intercept(self) -> bool:
        return self.intercept

    def script_lines(self, weight: str) -> PenaltyLines:
        if not self.strength:
            return PenaltyLines()
        value = f"{0.5 * self.strength!r} * {weight}.square().sum()"
        return PenaltyLines(value, f"{self.strength!r} * {weight}")
