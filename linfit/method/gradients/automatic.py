"""Gradients by automatic differentiation, backward and forward.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from linfit.method.gradients.base import Evaluation, Gradient, StackedEvaluation
from linfit.method.gradients.writing import write_loss, write_objective
from linfit.method.models import Model, TrainablePredictor
from linfit.method.products import StackedProducts
from linfit.problem.losses import Loss
from linfit.script_fragments import GradientLines, LossLines, ModelLines

if TYPE_CHECKING:
    from torch import Tensor


class Autograd(Gradient):
    """By reverse-mode automatic differentiation, `loss.backward()`, after clearing the gradient."""

    name: Literal["autograd"] = "autograd"

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        weight = predictor.weight

        def evaluate() -> Tensor:
            weight.grad = None
            value = loss(predictor(X), y)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        return evaluate

    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        before = () if model.frozen else (f"{model.weight}.requires_grad_()",)
        return GradientLines(
            before,
            write_loss(model, loss),
            backward=("loss.backward()",),
            gradient=f"{model.weight}.grad",
            tracked=True,
        )

    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        import torch

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            weight = W.detach().requires_grad_()
            losses = loss.stacked(model.stacked(X, weight), y)  # [r]
            # Each fit's own gradient: no loss depends on another's weights.
            (gradient,) = torch.autograd.grad(losses.sum(), weight)
            return losses.detach(), gradient

        return evaluate


class FuncGrad(Autograd, keeps=[Autograd.stacked]):
    """By `torch.func.grad_and_value` of the loss as a pure function of the weights.

    Its first call imports torch's compiler, which takes as long as importing torch. A stack takes
    the gradient of that function by `torch.autograd.grad`, with the same bits.
    """

    name: Literal["func_grad"] = "func_grad"  # type: ignore[assignment]

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        import torch

        weight = predictor.weight.requires_grad_(False)

        def objective(parameter: Tensor) -> Tensor:
            return loss(model.predict(predictor, parameter, X), y)

        gradient_and_value = torch.func.grad_and_value(objective)

        def evaluate() -> Tensor:
            weight.grad, value = gradient_and_value(weight)
            return cast("Tensor", value)

        return evaluate

    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        called = f"gradient, loss = torch.func.grad_and_value(objective)({model.weight})"
        return GradientLines(write_objective(model, loss), (called,), ())


class ForwardMode(Gradient):
    """By forward-mode automatic differentiation, `torch.func.jvp` along each weight's direction.

    The derivatives are exact, as those of reverse mode, which takes one pass where this takes one
    for each of the p·q weights. The prediction is linear in the weights: its derivative along a
    direction is the prediction with that direction for weights.
    """

    name: Literal["forward"] = "forward"

    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        import torch

        weight = predictor.weight.requires_grad_(False)
        jvp = _jvp()
        # Targets that move by 0: arithmetic with a tensor that does not move, or with a number,
        # would import torch's compiler.
        still = torch.zeros_like(y)

        def evaluate() -> Tensor:
            eta = model.predict(predictor, weight, X)
            gradient = torch.empty_like(weight)
            value = None
            for place in range(weight.numel()):
                direction = torch.zeros_like(weight)
                direction.view(-1)[place] = 1
                slope = model.predict(predictor, direction, X)
                value, along = jvp(loss, (eta, y), (slope, still))
                gradient.view(-1)[place] = along
            weight.grad = gradient
            return cast("Tensor", value)

        return evaluate

    def stacked(self, model: Model, loss: Loss, X: StackedProducts, y: Tensor) -> StackedEvaluation:
        import torch

        jvp = _jvp()
        still = torch.zeros_like(y)

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            eta = model.stacked(X, W)  # [r, q, n]
            gradient = torch.empty_like(W)
            losses = None
            for place in range(W[0].numel()):
                direction = torch.zeros_like(W)
                direction.view(len(W), -1)[:, place] = 1
                slope = model.stacked(X, direction)
                losses, along = jvp(loss.stacked, (eta, y), (slope, still))
                gradient.view(len(W), -1)[:, place] = along
            return cast("Tensor", losses), gradient

        return evaluate

    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        forward = (
            f"gradient = torch.empty_like({model.weight})",
            "for along in torch.eye(gradient.numel()).to(gradient).view(-1, *gradient.shape):"
            "  # each weight's own direction",
            "    loss, gradient[along > 0] = "
            f"torch.func.jvp(objective, ({model.weight},), (along,))",
        )
        return GradientLines(write_objective(model, loss), forward, ())


def _jvp() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return torch.func.jvp, called once: its first call warns that torch uses deprecated code."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.square, (torch.zeros(()),), (torch.ones(()),))
    return cast("Callable[..., tuple[Tensor, Tensor]]", torch.func.jvp)
