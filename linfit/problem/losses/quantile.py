"""The loss of quantiles.

n samples, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

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

    smooth: ClassVar[bool] = False
    name: Literal["quantile"] = "quantile"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        import torch

        residual = y - eta
        # Forward mode of a product with a number would import torch's compiler.
        return torch.add((-residual).clamp(min=0), residual, alpha=self.quantile)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        import torch

        below = torch.full_like(eta, 1 - self.quantile)
        return torch.where(y - eta > 0, -self.quantile, below) / self.count_terms(eta)

    def optimum(
        self, X: Array, y: Array, weights: Array | None, start: Array, shrinkage: Shrinkage
    ) -> Minimum:
        return minimize_quantile(X, y, self.quantile, 1 / y.size, weights)

    def check_penalty(self, penalty: Penalty) -> None:
        if penalty.squared() or penalty.absolute():
            raise ValueError(
                f"the optimum of quantile is known without a penalty, not with {penalty.name}: "
                "choose penalty=none, theory=none, or loss=huber"
            )

    def script_lines(self) -> LossLines:
        tau = self.quantile
        value = f"torch.add(residual.clamp(min=0), -residual, alpha={tau!r}).mean()"
        below = f"below = torch.full_like(residual, {1 - tau!r})"
        slope = f"torch.where(residual < 0, {-tau!r}, below) / residual.numel()"
        return LossLines(value, slope, (below,))
