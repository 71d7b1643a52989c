"""The gradient by differences of losses.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from linfit.method.gradients.base import Evaluation, Gradient, StackedEvaluation
from linfit.method.gradients.writing import write_objective
from linfit.method.models import Model, TrainablePredictor
from linfit.method.products import StackedProducts
from linfit.problem.losses import Loss
from linfit.script_fragments import GradientLines, LossLines, ModelLines

if TYPE_CHECKING:
    from torch import Tensor


class FiniteDifference(Gradient):
    """By central differences, (loss(w + h) − loss(w − h))/2h with h = step·max(1, |w|).

    `step` is the cube root of the dtype's precision unless given, which balances rounding and
    truncation. A quadratic loss has no truncation: only rounding is left, about the loss times
    precision/step. torch.autograd.gradcheck takes h = 1e-6 instead, which is for float64.
    """

    name: Literal["finite_difference"] = "finite_difference"
    step: Annotated[float, Field(gt=0)] | None = None

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        weight = predictor.weight.requires_grad_(False)

        def objective(parameter: Tensor) -> Tensor:
            return loss(model.predict(predictor, parameter, X), y)

        def evaluate() -> Tensor:
            start = weight.detach().unsqueeze(0)
            weight.grad = self._slopes(lambda parameter: objective(parameter[0]), start)[0]
            return objective(weight)

        return evaluate

    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        def objective(W: Tensor) -> Tensor:
            return loss.stacked(model.stacked(X, W), y)  # [r]

        return lambda W: (objective(W), self._slopes(objective, W))

    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        w = model.weight
        step = repr(self.step)
        if self.step is None:
            step = "torch.finfo(X.dtype).eps ** (1 / 3)"
        forward = (
            f"loss, gradient = objective({w}), torch.empty_like({w})",
            f"h = torch.diagflat({step} * {w}.abs().clamp(min=1)).view(-1, *gradient.shape)",
            f"for place, (above, below) in enumerate(zip({w} + h, {w} - h)):"
            "  # one weight at a time",
            "    gradient.view(-1)[place] = "
            "(objective(above) - objective(below)) / (above - below).sum()",
        )
        return GradientLines(write_objective(model, loss), forward, ())

    def _slopes(self, objective: Callable[[Tensor], Tensor], W: Tensor) -> Tensor:
        """Return the gradients `[r, …]` of r weights `[r, …]`."""
        import torch

        step = self.step or torch.finfo(W.dtype).eps ** (1 / 3)
        flat = W.reshape(len(W), -1)
        gradient = torch.empty_like(flat)
        for place in range(flat.shape[1]):
            above = flat.clone()
            below = flat.clone()
            h = step * flat[:, place].abs().clamp(min=1)
            above[:, place] += h
            below[:, place] -= h
            rise = objective(above.view_as(W)) - objective(below.view_as(W))
            gradient[:, place] = rise / (above[:, place] - below[:, place])
        return gradient.view_as(W)
