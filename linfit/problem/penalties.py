"""Penalties: terms added to the loss so that weights stay small, or become zero.

| penalty | term |
|---|---|
| ridge | ½·strength·‖W‖² |
| lasso | strength·‖W‖₁ |
| elastic_net | strength·(ρ·‖W‖₁ + ½(1 − ρ)·‖W‖²), ρ the `l1_ratio` |

The convention is defined here once. The gradient of ½s‖W‖² is s·W and its Hessian s·I, as of
`weight_decay` in torch.optim.SGD, which however does not count it in the loss. ‖W‖₁ has no gradient
where a weight is 0: there 0 is taken of its subgradients.

A column of ones that `features.intercept` adds is the last, and its weights are left out, as in
scikit-learn's `Ridge` and `Lasso`: the prediction for a mean sample is not shrunk.
`penalty.intercept=true` includes them. A column of ones of the data is a feature like any other.

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
    """The penalty ½·strength·‖W‖² + l1·‖W‖₁ of one fit.

    The last row of W is left out if that is an `exempt` intercept.
    """

    strength: float = 0.0
    exempt: bool = False
    l1: float = 0.0

    @property
    def is_nothing(self) -> bool:
        """Return True if nothing is penalized."""
        return not (self.strength or self.l1)

    @property
    def kind(self) -> tuple[bool, bool]:
        """Return which of the two terms there are: fits of a stack agree in that."""
        return self.strength > 0, self.l1 > 0

    def mark_penalized(self, p: int) -> Array:
        """Return 1 for each shrunk row of W, else 0.

        W has p rows.
        """
        mask = np.ones(p)
        if self.exempt:
            mask[-1] = 0
        return mask


def stack_shrinkages(shrinkages: Sequence[Shrinkage], p: int) -> tuple[Array, Array]:
    """Return strengths `[k]` of the squares and masks `[k, p]` of k penalties."""
    strengths = np.array([shrinkage.strength for shrinkage in shrinkages])
    return strengths, np.stack([shrinkage.mark_penalized(p) for shrinkage in shrinkages])


class Penalty(Component):
    """The terms ½·s·‖W‖² + t·‖W‖₁: the objective is loss + penalty, and everything called loss."""

    @abstractmethod
    def squared(self) -> float:
        """Return the s of ½·s·‖W‖²."""

    def absolute(self) -> float:
        """Return the t of t·‖W‖₁."""
        return 0.0

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
        return _write_terms(self, weight)


class Lasso(Penalty):
    """strength·‖W‖₁ (Tibshirani, 1996): weights that help little are exactly 0 at the optimum.

    An intercept that `features.intercept` adds is not penalized unless `intercept` is true. The
    optimum is that of scikit-learn's `Lasso(alpha)`, which minimizes Σr²/2n + alpha·‖w‖₁, at
    strength 2·alpha for mse of one target, 2·alpha/q for each of q targets, and 2·n·alpha for sse,
    with the sum of the weights in place of n where samples have weights. `optimizer=fista` and
    `proximal_gradient` reach its zeros; any other one descends by a subgradient, and does not.
    """

    name: Literal["lasso"] = "lasso"
    strength: Annotated[float, Field(ge=0)] = 1.0
    intercept: bool = False

    def squared(self) -> float:
        return 0.0

    def absolute(self) -> float:
        return self.strength

    def shrinks_intercept(self) -> bool:
        return self.intercept

    def script_lines(self, weight: str) -> PenaltyLines:
        return _write_terms(self, weight)


class ElasticNet(Penalty):
    """strength·(ρ·‖W‖₁ + ½(1 − ρ)·‖W‖²) (Zou and Hastie, 2005), ρ the `l1_ratio`.

    Zeros as of lasso, and a unique optimum as of ridge. An intercept that `features.intercept` adds
    is not penalized unless `intercept` is true. The optimum is that of scikit-learn's
    `ElasticNet(alpha, l1_ratio)` at strength 2·alpha for mse of one target, as of lasso.
    """

    name: Literal["elastic_net"] = "elastic_net"
    strength: Annotated[float, Field(ge=0)] = 1.0
    l1_ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    intercept: bool = False

    def squared(self) -> float:
        return self.strength * (1 - self.l1_ratio)

    def absolute(self) -> float:
        return self.strength * self.l1_ratio

    def shrinks_intercept(self) -> bool:
        return self.intercept

    def script_lines(self, weight: str) -> PenaltyLines:
        return _write_terms(self, weight)


def _write_terms(penalty: Penalty, weight: str) -> PenaltyLines:
    """Return the terms of a penalty that are not 0, in the engines' order."""
    values = []
    slope = corner = ""
    if strength := penalty.squared():
        values.append(f"{0.5 * strength!r} * {weight}.square().sum()")
        slope = f"{strength!r} * {weight}"
    if l1 := penalty.absolute():
        values.append(f"{l1!r} * {weight}.abs().sum()")
        corner = f"{l1!r} * {weight}.sign()"
    return PenaltyLines(" + ".join(values), slope, corner)
