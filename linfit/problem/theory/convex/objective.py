"""A smooth convex objective of one block of weights, in coordinates of similar size.

f(W) = Σᵢ shareᵢ·L(xᵢW, yᵢ) + ½Σ decay∘W², in float64. Where targets are coupled, adding one vector
to all columns of W changes no loss: rows of W that are not penalized get the term ½·tie·(Σₖ Wⱼₖ)²,
which is 0 at the optimum of smallest norm and makes the Hessian regular.

n samples, p coordinates, m targets: all of a coupled loss, else one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING_UNIT = float(np.finfo(float).eps)


class SmoothLoss(Protocol):
    """What the search of a minimum asks of a loss (linfit/problem/losses/base.py)."""

    couples_targets: ClassVar[bool]
    target_kind: ClassVar[Literal["number", "binary", "sign", "classes", "count"]]
    curvature_bound: ClassVar[float | None]
    self_concordance: ClassVar[float | None]

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each sample."""

    def reduce(self, terms: Tensor) -> Tensor:
        """Return the mean or the sum of terms."""

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return ∂loss/∂η."""

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return ∂²terms/∂η²."""

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        """Return terms(η + δ) − terms(η) − ∂terms/∂η·δ."""


def call_on_arrays(function: Callable[..., Tensor], *arrays: Array) -> Array:
    """Return the array of what a loss makes of tensors."""
    import torch

    tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
    return np.asarray(function(*tensors).detach().numpy(), dtype=np.float64)


def measure_factor(loss: SmoothLoss, y: Array) -> float:
    """Return the factor of a sample's term in the loss of targets `[n, m]`: 1/(n·m) for a mean."""
    import torch

    zeros = torch.zeros(y.shape, dtype=torch.float64)
    ones = torch.ones_like(loss.terms(zeros, torch.from_numpy(y)))
    return float(loss.reduce(ones)) / ones.numel()


@dataclass(frozen=True)
class SmoothObjective:
    """The loss of a block of weights and its penalty."""

    loss: SmoothLoss
    X: Array
    """`[n, p]`"""
    y: Array
    """`[n, m]`"""
    shares: Array
    """Factor of each sample's term `[n, 1]`."""
    offset: Array
    """Added to the predictors `[n, m]`: −10⁴ where a class is out of the question."""
    decay: Array
    """`[p]`"""
    tie: Array
    """`[p]`"""
    sizes: Array | None = None
    """Sums of the sizes of the terms `[n, p]` that X was computed from; None if X is given."""

    @cached_property
    def factor(self) -> float:
        """The factor in `derivative` that `terms` do not have."""
        return measure_factor(self.loss, self.y)

    @cached_property
    def magnitudes(self) -> Array:
        """|X| `[n, p]`"""
        return np.abs(self.X)

    def predict(self, W: Array) -> Array:
        """Return the predictors `[n, m]`."""
        return np.asarray(self.X @ W + self.offset)

    def value(self, W: Array) -> float:
        """Return the objective."""
        terms = call_on_arrays(self.loss.terms, self.predict(W), self.y)
        penalty = 0.5 * (self.decay[:, None] * np.square(W)).sum()
        return float((self.shares * terms).sum() + penalty)

    def slope(self, eta: Array) -> Array:
        """Return ∂terms/∂η `[n, m]`."""
        return call_on_arrays(self.loss.derivative, eta, self.y) / self.factor

    def curvature(self, eta: Array) -> Array:
        """Return ∂²terms/∂η² `[n, m, m]`."""
        found = call_on_arrays(self.loss.curvature, eta, self.y)
        return found if found.ndim == 3 else found[:, :, None]

    def gradient(self, W: Array, slope: Array) -> Array:
        """Return the gradient `[p, m]`."""
        data = self.X.T @ (self.shares * slope)
        tied = self.tie[:, None] * W.sum(axis=1, keepdims=True)
        return np.asarray(data + self.decay[:, None] * W + tied)

    def bound_rounding(self, W: Array, slope: Array, curvature: Array) -> Array:
        """Return how wrong a computed gradient may be `[p, m]`."""
        n, p = self.X.shape
        sizes = self.magnitudes if self.sizes is None else self.sizes
        moved = (np.sqrt(p) + 2) * (sizes @ np.abs(W)) + 2  # roundings of η, and of its functions
        bent = np.einsum("nkl,nl->nk", np.abs(curvature), moved)
        sums = sizes.T @ (self.shares * (np.sqrt(n) + 4) * np.abs(slope))
        sums = sums + self.magnitudes.T @ (self.shares * bent)
        kept = self.decay[:, None] * np.abs(W)
        tied = self.tie[:, None] * np.abs(W).sum(axis=1, keepdims=True)
        return np.asarray(ROUNDING_UNIT * (sums + 4 * (kept + tied)))

    def hessian(self, curvature: Array, tied: bool = True) -> Array:
        """Return the Hessian `[p·m, p·m]`, of W row by row."""
        p = self.X.shape[1]
        m = self.y.shape[1]
        found = np.empty((p, m, p, m))
        for k in range(m):
            for other in range(k):
                rows = (self.shares[:, 0] * curvature[:, k, other])[:, None] * self.X
                block = self.X.T @ rows
                found[:, k, :, other] = block
                found[:, other, :, k] = block.T
        for k in range(m):
            # A matrix times its own transpose is half the work.
            roots = np.sqrt(self.shares[:, 0] * curvature[:, k, k].clip(min=0))
            rows = roots[:, None] * self.X
            found[:, k, :, k] = rows.T @ rows
            found[range(p), k, range(p), k] += self.decay
        if tied and self.tie.any():
            for j in range(p):
                found[j, :, j, :] += self.tie[j]
        return found.reshape(p * m, p * m)

    def measure_step(self, eta: Array, moved: Array, step: Array) -> float:
        """Return f(W + step) − f(W) − ⟨gradient, step⟩, never negative; `moved` is X·step."""
        terms = call_on_arrays(self.loss.divergence, eta, self.y, moved)
        penalty = 0.5 * (self.decay[:, None] * np.square(step)).sum()
        tied = 0.5 * (self.tie * np.square(step.sum(axis=1))).sum()
        return float((self.shares * terms).sum() + penalty + tied)
