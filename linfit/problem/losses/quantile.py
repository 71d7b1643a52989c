"""The loss of quantiles.

n samples, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from linfit.problem.losses.base import Loss
from linfit.problem.penalties import Penalty, Shrinkage
from linfit.problem.theory.quantile import minimize_quantile
from linfit.problem.types import Array, Minimum
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class Quantile(Loss):
    """Pinball loss (Koenker and Bassett, 1978), max(τr, (τ − 1)r) with r = y − η, mean over n·q.

    τ is `quantile`: its share of the targets lies below the predictions; ½ is half the absolute
    error. The optimum is that of scikit-learn's `QuantileRegressor(quantile=τ, alpha=0)`. The loss
    is not smooth: at a fixed learning rate descent does not come to rest. Not in torch.
    """

    name: Literal["quantile"] = "quantile"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        residual = y - eta
        return (self.quantile * residual).maximum((self.quantile - 1) * residual)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        import torch

        residual = y - eta
        tau = self.quantile
        at_zero = torch.full_like(eta, 0.5 - tau)
        below = torch.where(residual < 0, 1 - tau, at_zero)
        return torch.where(residual > 0, -tau, below) / self.count_terms(eta)

    def optimum(
        self, X: Array, y: Array, weights: Array | None, start: Array, shrinkage: Shrinkage
    ) -> Minimum:
        return minimize_quantile(X, y, self.quantile, 1 / y.size, weights)

    def check_penalty(self, penalty: Penalty) -> None:
        if penalty.squared():
            raise ValueError(
                f"the optimum of quantile is known without a penalty, not with {penalty.name}: "
                "choose penalty=none, or loss=huber"
            )

    def script_lines(self) -> LossLines:
        tau = self.quantile
        value = f"torch.maximum({-tau!r} * residual, {1 - tau!r} * residual).mean()"
        before = (
            f"at_zero = torch.full_like(residual, {0.5 - tau!r})",
            f"below = torch.where(residual > 0, {1 - tau!r}, at_zero)",
            f"slope = torch.where(residual < 0, {-tau!r}, below)",
        )
        return LossLines(value, "slope / residual.numel()", before)
