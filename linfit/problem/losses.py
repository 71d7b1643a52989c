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
    """A scalar objective of the residuals."""

    @abstractmethod
    def __call__(self, residual: Tensor) -> Tensor:
        """The loss `[]` of the residuals `[n, q]`."""

    @abstractmethod
    def derivative(self, residual: Tensor) -> Tensor:
        """∂loss/∂ŷ `[n, q]` at the residuals `[n, q]`."""

    @abstractmethod
    def scale(self, n: int, q: int) -> float:
        """The c in loss = c·Σr², for n samples of q targets."""


class SSE(Loss):
    """Sum of squared errors, Σ r²."""

    name: Literal["sse"] = "sse"

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.square().sum()

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 * residual

    def scale(self, n: int, q: int) -> float:
        return 1.0


class MSE(Loss):
    """Mean squared error, Σ r² / (n·q), as torch's MSELoss."""

    name: Literal["mse"] = "mse"

    def __call__(self, residual: Tensor) -> Tensor:
        return residual.square().mean()

    def derivative(self, residual: Tensor) -> Tensor:
        return 2 / residual.numel() * residual

    def scale(self, n: int, q: int) -> float:
        return 1 / (n * q)
