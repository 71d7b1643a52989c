"""The gradient by hand.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from linfit.method.gradients.base import Evaluation, Gradient, StackedEvaluation
from linfit.method.gradients.writing import write_loss
from linfit.method.models import Model, TrainablePredictor
from linfit.method.products import StackedProducts
from linfit.problem.losses import Loss
from linfit.script_fragments import GradientLines, LossLines, ModelLines

if TYPE_CHECKING:
    from torch import Tensor


class Manual(Gradient):
    """By hand, with the chain rule: ∂loss/∂W = Xᵀ ∂loss/∂η, for squared error 2 Xᵀ(XW − y)."""

    name: Literal["manual"] = "manual"

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        weight = predictor.weight.requires_grad_(False)

        def evaluate() -> Tensor:
            eta = predictor(X)  # [n, q]
            gradient = X.T @ loss.derivative(eta, y)  # [p, q]
            weight.grad = model.transpose(gradient)
            return loss(eta, y)

        return evaluate

    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        product = f"X.T @ ({loss.derivative})"
        gradient = f"({product}){model.transposed}" if model.transposed else product
        return GradientLines((), write_loss(model, loss), (f"gradient = {gradient}",))

    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            eta = model.stacked(X, W)  # [r, q, n]
            terms, slope = loss.terms_and_derivative(eta, y)
            return loss.reduce(terms, (1, 2)), X.multiply_transposed(slope)

        return evaluate
