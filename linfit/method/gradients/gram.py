"""The gradient from sufficient statistics: after one pass a step costs O(p²), whatever n is.

n samples, p features, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from linfit.method.gradients.base import Evaluation, StackedEvaluation
from linfit.method.gradients.manual import Manual
from linfit.method.models import Model, TrainablePredictor
from linfit.method.products import StackedProducts
from linfit.problem.losses import Loss, SumOfSquares
from linfit.problem.theory.sufficient_statistics import find_root

if TYPE_CHECKING:
    from torch import Tensor


class Gram(Manual):
    """From sufficient statistics, XᵀX, Xᵀy and yᵀy, summed in one pass; a step costs O(p²).

    The engines give it a summary of the data, p + q rows with equal squared error for every W
    (linfit/problem/theory/sufficient_statistics.py); so data may be larger than memory, and the
    loss and its excess are exact sums of squares, never differences. It computes in float64
    whatever the fit's dtype is, to which samples, weights and gradients are rounded. Squared
    errors only. The optimum that it leads to has about 14 − 2·log₁₀ κ digits, κ being the
    condition number of X with its columns scaled. Not in torch.
    """

    name: Literal["gram"] = "gram"  # type: ignore[assignment]
    uses_summary: ClassVar[bool] = True
    in_float64: ClassVar[bool] = True
    supports_batches: ClassVar[bool] = False

    def check_loss(self, loss: Loss) -> None:
        if not loss.quadratic:
            raise ValueError(
                f"gram knows squared errors only, not {loss.name}: "
                "choose loss=mse, or gradient=manual"
            )

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        X, y, loss = _summed(X.double(), y.double(), loss)
        weight = predictor.weight.requires_grad_(False)

        def evaluate() -> Tensor:
            eta = X @ model.transpose(weight).double()  # [p + q, q]
            weight.grad = model.transpose(X.T @ loss.derivative(eta, y)).to(weight.dtype)
            return loss(eta, y).to(weight.dtype)

        return evaluate

    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        step = super().stacked(model, loss, X, y)

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            losses, gradient = step(W.double())
            return losses.to(W.dtype), gradient.to(W.dtype)

        return evaluate


def _summed(X: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Loss]:
    """Return p + q rows in place of X `[n, p]` and y `[n, q]`, and the loss of their residuals.

    Fewer rows are left as they are.
    """
    import torch

    n, p = X.shape
    q = y.shape[1]
    if n <= p + q:
        return X, y, loss
    A = torch.hstack([X, y])
    rows = torch.from_numpy(find_root((A.T @ A).cpu().numpy(), p)).to(X.device)
    return rows[:, :p], rows[:, p:], SumOfSquares(name=loss.name, factor=loss.scale(n, q))
