"""Squared errors, c·Σ(η − y)².

n samples, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from linfit.problem.losses.base import Loss
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class SSE(Loss):
    """Sum of squared errors, Σ (η − y)²."""

    quadratic: ClassVar[bool] = True
    curvature_bound: ClassVar[float | None] = 2.0
    name: Literal["sse"] = "sse"

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        return (eta - y).square()

    def reduce(self, terms: Tensor, dim: tuple[int, int] | None = None) -> Tensor:
        return terms.sum(dim=dim)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        return 2 * (eta - y)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return square_residuals(eta, y, 2)

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        return eta.new_full(eta.shape, 2)

    def script_lines(self) -> LossLines:
        return LossLines("residual.square().sum()", "2 * residual")

    def scale(self, n: float, q: int) -> float:
        return 1.0


class MSE(Loss):
    """Mean squared error, Σ (η − y)² / (n·q), as torch's MSELoss.

    Where samples have weights it is Σ w·(η − y)² / (Σw·q): weight 2 is a row twice, weight 0 a row
    less. `mean_over=samples` divides by n·q all the same.
    """

    quadratic: ClassVar[bool] = True
    curvature_bound: ClassVar[float | None] = 2.0
    name: Literal["mse"] = "mse"

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        return (eta - y).square()

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        return 2 / self.count_terms(eta) * (eta - y)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return square_residuals(eta, y, 2 / self.count_terms(eta))

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        return eta.new_full(eta.shape, 2)

    def script_lines(self) -> LossLines:
        return LossLines("residual.square().mean()", "2 / residual.numel() * residual")

    def scale(self, n: float, q: int) -> float:
        return 1 / (n * q)


class SumOfSquares(SSE):
    """factor·Σ (η − y)²: the squared error of rows that summarize other rows.

    It has no name of its own: it is no choice of its group.
    """

    name: str  # type: ignore[assignment]
    factor: float

    def reduce(self, terms: Tensor, dim: tuple[int, int] | None = None) -> Tensor:
        return self.factor * super().reduce(terms, dim)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        return 2 * self.factor * (eta - y)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return square_residuals(eta, y, 2 * self.factor)

    def scale(self, n: float, q: int) -> float:
        return self.factor


def square_residuals(eta: Tensor, y: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Return (η − y)² and factor·(η − y), which overwrites η."""
    residual = eta.sub_(y)
    return residual.square(), residual.mul_(factor)
