"""Objectives, as functions of the residuals r = ŷ − y alone.

| loss | formula | in torch |
|---|---|---|
| sse  | Σ r²          | `MSELoss(reduction="sum")` |
| mse  | Σ r² / (n·q)  | `MSELoss()`, which divides by every element, targets included |

The convention stands here once: no other module divides by n, except an optimizer that is asked to.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from linfit.component import Component

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Component):
    """A scalar objective of the residuals. `derivative` is elementwise, so that it serves stacks `[r, q, n]` too."""

    @abstractmethod
    def __call__(self, residual: Tensor) -> Tensor:
        """The loss `[]` of the residuals `[n, q]`."""

    @abstractmethod
    def derivative(self, residual: Tensor) -> Tensor:
        """∂loss/∂ŷ `[n, q]` at the residuals `[n, q]`."""

    def stacked(self, residual: Tensor) -> Tensor:
        """The losses `[r]` of the residuals `[r, q, n]` of r fits, each with the bits that it has beside any others."""
        raise NotImplementedError(f"loss {self.name} has no stacked rule")

    @abstractmethod
    def scale(self, n: int, q: int) -> float:
        """The c in loss = c·Σr², for n samples of q targets."""


class SSE(Loss):
    """Sum of squared errors, Σ r²."""

    name: Literal["sse"] = "sse"

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.square().sum()

    def stacked(self, residual: Tensor) -> Tensor:
        return residual.square().sum(dim=(1, 2))

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 * residual

    def scale(self, n: int, q: int) -> float:
        return 1.0


class MSE(Loss):
    """Mean squared error, Σ r² / (n·q), as torch's MSELoss."""

    name: Literal["mse"] = "mse"

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.square().mean()

    def stacked(self, residual: Tensor) -> Tensor:
        return residual.square().mean(dim=(1, 2))

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 / (residual.shape[-2] * residual.shape[-1]) * residual

    def scale(self, n: int, q: int) -> float:
        return 1 / (n * q)
