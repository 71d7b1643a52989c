"""Huber's loss, which outliers move less than squared errors.

n samples, p features, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from linfit.problem.losses.base import Loss
from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.huber import minimize_huber
from linfit.problem.types import Array, Minimum
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class Huber(Loss):
    """Huber's loss (1964), Σ ρ(r) / (n·q): squares up to `delta`, lines beyond.

    With r = η − y and g = r cut off at ±delta, ρ(r) = g·(r − ½g) and its derivative is g. As
    torch's HuberLoss, whose factor ½ it has too. The optimum is found in float64 by Newton's method
    with an exact line search (linfit/problem/theory/huber.py).
    """

    curvature_bound: ClassVar[float | None] = 1.0
    self_concordance: ClassVar[float | None] = 0.0
    name: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 1.0

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        import torch

        residual = eta - y
        cut = residual.clamp(-self.delta, self.delta)
        # Forward mode of `0.5 * cut` would import torch's compiler.
        return cut * torch.sub(residual, cut, alpha=0.5)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        return (eta - y).clamp(-self.delta, self.delta) / self.count_terms(eta)

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        return ((eta - y).abs() <= self.delta).to(eta.dtype)

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        residual = eta - y
        cut = residual.clamp(-self.delta, self.delta)
        beyond = residual - cut + delta
        change = beyond.maximum(-self.delta - cut).minimum(self.delta - cut)  # of the derivative
        return change * (beyond - change / 2)

    def script_lines(self) -> LossLines:
        cut = f"cut = residual.clamp({-self.delta!r}, {self.delta!r})"
        return LossLines("(cut * (residual - 0.5 * cut)).mean()", "cut / residual.numel()", (cut,))

    def optimum(
        self, X: Array, y: Array, weights: Array | None, start: Array, shrinkage: Shrinkage
    ) -> Minimum:
        factor = 2 * self.scale(*y.shape)
        return Minimum(*minimize_huber(X, y, start, self.delta, factor, shrinkage, weights))
