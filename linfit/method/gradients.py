"""How the gradient of the loss is obtained. Whatever the way, it ends in the parameter's `.grad`, where torch puts it.

n samples, p features, q targets.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from linfit.component import Component
from linfit.method.models import Model, Predictor
from linfit.problem.losses import Loss

if TYPE_CHECKING:
    from torch import Tensor

#: Computes the losses `[r]` of r fits at W `[r, p, q]`, and their gradients `[r, p, q]`.
StackedEvaluation = Callable[["Tensor"], "tuple[Tensor, Tensor]"]
#: Computes the loss `[]` where the weights stand, and leaves its gradient in the parameter's `.grad`.
Evaluation = Callable[[], "Tensor"]


class Gradient(Component):
    """How ∂loss/∂W is obtained."""

    @abstractmethod
    def bind(self, model: Model, predictor: Predictor, loss: Loss, X: Tensor, y: Tensor) -> Evaluation:
        """The evaluation of `loss` and its gradient for `predictor` on X `[n, p]` and y `[n, q]`."""

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
        """The same for r fits at once, on X `[r, p, 1, n]` and y `[r, q, n]`, of which either is `[1, …]` where all share it."""
        raise NotImplementedError(f"gradient {self.name} has no stacked rule")


class Manual(Gradient):
    """By hand, with the chain rule: ∂loss/∂W = Xᵀ ∂loss/∂ŷ, for squared error 2 Xᵀ(XW − y)."""

    name: Literal["manual"] = "manual"

    def bind(self, model: Model, predictor: Predictor, loss: Loss, X: Tensor, y: Tensor) -> Evaluation:
        weight = predictor.weight.requires_grad_(False)

        def evaluate() -> Tensor:
            residual = predictor(X) - y  # [n, q]
            gradient = X.T @ loss.derivative(residual)  # [p, q]
            weight.grad = model.transpose(gradient)
            return loss(residual)

        return evaluate

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            residual = model.stacked(X, W) - y  # [r, q, n]
            gradient = (X * loss.derivative(residual).unsqueeze(1)).sum(dim=-1)  # [r, p, q]
            return loss.stacked(residual), gradient

        return evaluate


class Autograd(Gradient):
    """By reverse-mode automatic differentiation: `loss.backward()`, the old gradient cleared first."""

    name: Literal["autograd"] = "autograd"

    def bind(self, model: Model, predictor: Predictor, loss: Loss, X: Tensor, y: Tensor) -> Evaluation:
        weight = predictor.weight

        def evaluate() -> Tensor:
            weight.grad = None
            value = loss(predictor(X) - y)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        return evaluate

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
        import torch

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            weight = W.detach().requires_grad_()
            losses = loss.stacked(model.stacked(X, weight) - y)  # [r]
            (gradient,) = torch.autograd.grad(losses.sum(), weight)  # each fit's own: no loss knows another's weights
            return losses.detach(), gradient

        return evaluate


class FuncGrad(Gradient):
    """As a function of a function: `torch.func.grad_and_value` of the loss as a pure function of the weights."""

    name: Literal["func_grad"] = "func_grad"

    def bind(self, model: Model, predictor: Predictor, loss: Loss, X: Tensor, y: Tensor) -> Evaluation:
        import torch

        weight = predictor.weight.requires_grad_(False)

        def objective(parameter: Tensor) -> Tensor:
            return loss(model.predict(predictor, parameter, X) - y)

        gradient_and_value = torch.func.grad_and_value(objective)

        def evaluate() -> Tensor:
            weight.grad, value = gradient_and_value(weight)
            return cast("Tensor", value)

        return evaluate

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
        import torch

        def objective(W: Tensor) -> tuple[Tensor, Tensor]:
            losses = loss.stacked(model.stacked(X, W) - y)  # [r]
            return losses.sum(), losses

        gradient_and_value = torch.func.grad_and_value(objective, has_aux=True)

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            gradient, (_, losses) = gradient_and_value(W)
            return losses, gradient

        return evaluate
