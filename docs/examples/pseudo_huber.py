"""A loss as a plug-in, with a stacked rule and an exact optimum: `plugins: [pseudo_huber]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from linfit.problem.losses import Loss
from linfit.problem.penalties import Shrinkage
from linfit.problem.types import Array, Minimum
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class PseudoHuber(Loss):
    """Mean of delta²·(√(1 + (r/delta)²) − 1): squares up to about `delta`, smooth everywhere."""

    curvature_bound: ClassVar[float | None] = 1.0
    name: Literal["pseudo_huber"] = "pseudo_huber"
    delta: Annotated[float, Field(gt=0)] = 1.0

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        return self.delta**2 * ((1 + ((eta - y) / self.delta).square()).sqrt() - 1)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        residual = eta - y
        return residual / (1 + (residual / self.delta).square()).sqrt() / self.count_terms(eta)

    def script_lines(self) -> LossLines:
        root = f"root = (1 + (residual / {self.delta!r}).square()).sqrt()"
        value = f"({self.delta**2!r} * (root - 1)).mean()"
        return LossLines(value, "residual / root / residual.numel()", (root,))

    def optimum(
        self, X: Array, y: Array, weights: Array | None, start: Array, shrinkage: Shrinkage
    ) -> Minimum:
        """Return the optimum, by least squares that is reweighted until nothing changes."""
        n, p = X.shape
        factor = 2 * self.scale(n, y.shape[1])
        mask = shrinkage.mark_penalized(p)
        penalty = np.sqrt(shrinkage.strength / factor) * np.diag(mask)  # [p, p]
        shares = np.ones(n) if weights is None else weights
        W = start.copy()
        for target in range(y.shape[1]):
            for _ in range(1000):
                before = W[:, target].copy()
                away = (X @ before - y[:, target]) / self.delta
                roots = np.sqrt(shares) * (1 + away**2) ** -0.25
                rows = np.vstack([roots[:, None] * X, penalty])
                wanted = np.append(roots * y[:, target], np.zeros(p))
                W[:, target] = np.linalg.lstsq(rows, wanted)[0]
                if np.abs(W[:, target] - before).max() <= 1e-15 * np.abs(before).max():
                    break
        around = Around(X, X @ W - y, self.delta, factor * shares[:, None], shrinkage)
        values = self.delta**2 * (np.sqrt(1 + (around.residual / self.delta) ** 2) - 1)
        squares = np.square(mask[:, None] * W).sum()
        value = float((around.factor * values).sum() + 0.5 * shrinkage.strength * squares)
        return Minimum(W, value, around)


@dataclass(frozen=True)
class Around:
    """The loss around its optimum: features X `[n, p]` and residuals XW* − y `[n, q]`."""

    X: Array
    residual: Array
    delta: float
    factor: Array
    """Factor of each sample's terms `[n, 1]`."""
    shrinkage: Shrinkage

    def excess(self, away: Array) -> Array:
        """Return loss(W) − loss(W*) of W − W* `[…, p, q]`, a sum of terms that are not negative."""
        moved = self.X @ away / self.delta  # […, n, q]
        best = self.residual / self.delta
        s = np.sqrt(1 + (best + moved) ** 2)
        s_best = np.sqrt(1 + best**2)
        divergence = moved**2 / (s_best * (s * s_best + 1 + best * (best + moved)))
        shrunk = self.shrinkage.mark_penalized(self.X.shape[1])[:, None] * away
        penalty = 0.5 * self.shrinkage.strength * np.square(shrunk).sum(axis=(-2, -1))
        terms = self.factor * self.delta**2 * divergence
        return np.asarray(terms.sum(axis=(-2, -1)) + penalty)
