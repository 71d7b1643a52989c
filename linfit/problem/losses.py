"""Losses, as functions of the residuals r = ŷ − y alone.

| loss | formula | in torch |
|---|---|---|
| sse  | Σ r²          | `MSELoss(reduction="sum")` |
| mse  | Σ r² / (n·q)  | `MSELoss()`, which divides by every element, targets included |
| huber | Σ ρ(r) / (n·q), ρ(r) = ½r² up to delta, straight beyond | `HuberLoss(delta=…)` |

The convention is defined here once: no other module divides by n, except an optimizer that is asked
to. Where samples have weights, a mean divides by their sum Σw in place of n, so that weight 2 is a
row twice: the rows are multiplied beforehand (linfit/problem/datasets/prepare.py).

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from linfit.component import Component, optional
from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.huber import minimize_huber
from linfit.problem.types import Array, ExcessLoss
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Component):
    """Scalar function of the residuals."""

    #: True if the loss is c·Σr² everywhere: its optimum then is a least-squares solution, its
    #: Hessian constant.
    quadratic: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, residual: Tensor) -> Tensor:
        """Return the loss `[]` of the residuals `[n, q]`."""

    @abstractmethod
    def derivative(self, residual: Tensor) -> Tensor:
        """Return ∂loss/∂ŷ `[n, q]` at residuals `[n, q]`, elementwise.

        In stacks it is `[r, q, n]`.
        """

    @optional
    def stacked(self, residual: Tensor) -> Tensor:
        """Return losses `[r]` of r fits' residuals `[r, q, n]`.

        Each has the bits that it has next to any other fits.
        """
        raise NotImplementedError(f"loss {self.name} has no stacked rule")

    @optional
    def script_lines(self) -> LossLines:
        """Return the loss and its derivative in a plain program."""
        raise NotImplementedError(f"loss {self.name} has no script lines")

    @abstractmethod
    def scale(self, n: float, q: int) -> float:
        """Return the c of loss = c·Σr².

        The loss is of n samples of q targets. Where the loss is not `quadratic`, it is the c of
        small residuals.
        """

    def averages(self) -> bool:
        """Return True if the loss is a mean over samples.

        It is a sum otherwise.
        """
        return self.scale(2, 1) != self.scale(1, 1)

    def optimum(
        self, X: Array, y: Array, start: Array, shrinkage: Shrinkage
    ) -> tuple[Array, float, ExcessLoss] | None:
        """Return W* `[p, q]`, the objective there, and the excess.

        The objective is loss + penalty; the excess loss is around W*.

        Return None if the least-squares solution is the optimum, as it is of a quadratic loss. That
        solution is given as `start` `[p, q]`, for X `[n, p]` and y `[n, q]`.
        """
        return None


class SSE(Loss):
    """Sum of squared errors, Σ r²."""

    name: Literal["sse"] = "sse"

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.square().sum()

    def stacked(self, residual: Tensor) -> Tensor:
        return residual.square().sum(dim=(1, 2))

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 * residual

    def script_lines(self) -> LossLines:
        return LossLines("residual.square().sum()", "2 * residual")

    def scale(self, n: float, q: int) -> float:
        return 1.0


class MSE(Loss):
    """Mean squared error, Σ r² / (n·q), as torch's MSELoss.

    Where samples have weights it is Σ w·r² / (Σw·q): weight 2 is a row twice, weight 0 a row less.
    `mean_over=samples` divides by n·q all the same.
    """

    name: Literal["mse"] = "mse"

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.square().mean()

    def stacked(self, residual: Tensor) -> Tensor:
        return residual.square().mean(dim=(1, 2))

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 / (residual.shape[-2] * residual.shape[-1]) * residual

    def script_lines(self) -> LossLines:
        return LossLines("residual.square().mean()", "2 / residual.numel() * residual")

    def scale(self, n: float, q: int) -> float:
        return 1 / (n * q)


class Huber(Loss):
    """Huber's loss (1964), Σ ρ(r) / (n·q): squares up to `delta`, lines beyond.

    With g = r cut off at ±delta, ρ(r) = g·(r − ½g) and its derivative is g. As torch's HuberLoss,
    whose factor ½ it has too. The optimum is found in float64 by Newton's method with an exact line
    search (linfit/problem/theory/huber.py).
    """

    quadratic = False
    name: Literal["huber"] = "huber"
    delta: Annotated[float, Field(gt=0)] = 1.0

    def __call__(self, residual: Tensor) -> Tensor:
        return self._rho(residual).mean()

    def stacked(self, residual: Tensor) -> Tensor:
        return self._rho(residual).mean(dim=(1, 2))

    def _rho(self, residual: Tensor) -> Tensor:
        import torch

        cut = residual.clamp(-self.delta, self.delta)
        # Forward mode of `0.5 * cut` would import torch's compiler.
        return cut * torch.sub(residual, cut, alpha=0.5)

    def script_lines(self) -> LossLines:
        cut = f"cut = residual.clamp({-self.delta!r}, {self.delta!r})"
        return LossLines("(cut * (residual - 0.5 * cut)).mean()", "cut / residual.numel()", (cut,))

    def derivative(self, residual: Tensor) -> Tensor:
        return residual.clamp(-self.delta, self.delta) / (residual.shape[-2] * residual.shape[-1])

    def scale(self, n: float, q: int) -> float:
        return 0.5 / (n * q)

    def optimum(
        self, X: Array, y: Array, start: Array, shrinkage: Shrinkage
    ) -> tuple[Array, float, ExcessLoss]:
        return minimize_huber(X, y, start, self.delta, 2 * self.scale(*y.shape), shrinkage)


class SumOfSquares(Loss):
    """factor·Σ r²: the squared error of rows that summarize other rows.

    It has no name of its own: it is no choice of its group.
    """

    factor: float

    def __call__(self, residual: Tensor) -> Tensor:
        return self.factor * residual.square().sum()

    def stacked(self, residual: Tensor) -> Tensor:
        return self.factor * residual.square().sum(dim=(1, 2))

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 * self.factor * residual

    def scale(self, n: float, q: int) -> float:
        return self.factor
