"""How the gradient of the loss is obtained; it ends in the parameter's `.grad`, as torch's does.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, cast

from pydantic import Field

from linfit.component import Component, optional
from linfit.method.models import Model, TrainablePredictor
from linfit.problem.losses import Loss
from linfit.problem.penalties import Shrinkage
from linfit.script_fragments import GradientLines, Lines, LossLines, ModelLines, indent_lines

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Computes the losses `[r]` of r fits at W `[r, p, q]`, and their gradients `[r, p, q]`.
StackedEvaluation = Callable[["Tensor"], "tuple[Tensor, Tensor]"]
#: Computes the loss `[]` where the weights stand, and leaves its gradient in the parameter's
#: `.grad`.
Evaluation = Callable[[], "Tensor"]


class Gradient(Component):
    """How ∂loss/∂W is obtained."""

    #: True if it takes a summary of the data in place of the samples
    #: (linfit/problem/theory/sufficient_statistics.py).
    uses_summary: ClassVar[bool] = False
    #: True if it takes X and y, and computes, in float64 whatever the fit's dtype is.
    in_float64: ClassVar[bool] = False
    #: True if it reads X and y at every evaluation, so that each may find other samples in them.
    supports_batches: ClassVar[bool] = True

    def check_loss(self, loss: Loss) -> None:
        """Raise ValueError unless this obtains the gradient of `loss`."""

    def choose_data_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of X and y for weights of `dtype`."""
        import torch

        if self.in_float64:
            return torch.float64
        return dtype

    @abstractmethod
    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        """Return the evaluation of `loss` and its gradient.

        It is on X `[n, p]` and y `[n, q]`.
        """

    @optional
    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        """Return the evaluation in a plain program."""
        raise NotImplementedError(f"gradient {self.name} has no script lines")

    @optional
    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
        """Return the evaluation of r fits at once.

        It is on X `[r, p, 1, n]` and y `[r, q, n]`. Either is `[1, …]` if all fits share it.
        """
        raise NotImplementedError(f"gradient {self.name} has no stacked rule")


def add_penalty(
    evaluate: Evaluation, model: Model, weight: Tensor, shrinkage: Shrinkage, smooth: bool
) -> Evaluation:
    """Return the evaluation of loss + penalty.

    The penalty's gradient is written by hand: strength·W, and unless the gradient is to be of the
    `smooth` part alone, the subgradient l1·sign(W), whose sign of 0 is 0.
    """
    strength, _, l1 = shrinkage

    def shrunk(parameter: Tensor) -> Tensor:
        rows = model.transpose(parameter)  # W's, in the parameter's storage
        return model.transpose(rows[:-1]) if shrinkage.exempt else parameter

    def both() -> Tensor:
        loss = evaluate().detach()
        w = shrunk(weight.detach())
        assert weight.grad is not None
        gradient = shrunk(weight.grad)
        if strength:
            gradient.add_(strength * w)
            loss = loss + 0.5 * strength * w.square().sum()
        if l1:
            loss = loss + l1 * w.abs().sum()
        if l1 and not smooth:
            gradient.add_(l1 * w.sign())
        return loss

    return both


class StackedPenalty(NamedTuple):
    """The penalties of r fits, which all have the same of the two terms.

    `mask` `[r, p, 1]` is 0 where a row is exempt; the others are `[r, 1, 1]`, `corner` the l1 of
    fits whose gradient has the subgradient of ‖W‖₁, 0 for the others.
    """

    strength: Tensor
    l1: Tensor
    corner: Tensor
    mask: Tensor
    kind: tuple[bool, bool]

    def select(self, rows: Tensor) -> StackedPenalty:
        """Return the penalties of these fits alone."""
        strength, l1, corner, mask = (tensor[rows] for tensor in self[:4])
        return StackedPenalty(strength, l1, corner, mask, self.kind)


def add_stacked_penalty(evaluate: StackedEvaluation, penalty: StackedPenalty) -> StackedEvaluation:
    """Return the evaluation of r fits' loss + penalty at once."""
    strength, l1, corner, mask, (has_squares, has_l1) = penalty

    def both(W: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = evaluate(W)
        shrunk = W * mask
        if has_squares:
            losses = losses + 0.5 * strength[:, 0, 0] * shrunk.square().sum(dim=(1, 2))
            gradient = gradient + strength * shrunk
        if has_l1:
            losses = losses + l1[:, 0, 0] * shrunk.abs().sum(dim=(1, 2))
            gradient = gradient + corner * shrunk.sign()
        return losses, gradient

    return both


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
        return GradientLines((), _forward(model, loss), (f"gradient = {gradient}",))

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            eta = model.stacked(X, W)  # [r, q, n]
            gradient = (X * loss.derivative(eta, y).unsqueeze(1)).sum(dim=-1)  # [r, p, q]
            return loss.stacked(eta, y), gradient

        return evaluate


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
            _forward(model, loss),
            backward=("loss.backward()",),
            gradient=f"{model.weight}.grad",
            tracked=True,
        )

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
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
        return GradientLines(_objective(model, loss), (called,), ())


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

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
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
        return GradientLines(_objective(model, loss), forward, ())


def _jvp() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return torch.func.jvp, called once: its first call warns that torch uses deprecated code."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.func.jvp(torch.square, (torch.zeros(()),), (torch.ones(()),))
    return cast("Callable[..., tuple[Tensor, Tensor]]", torch.func.jvp)


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

    def stacked(self, model: Model, loss: Loss, X: Tensor, y: Tensor) -> StackedEvaluation:
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
        return GradientLines(_objective(model, loss), forward, ())

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


def write_loss_alone(model: ModelLines, loss: LossLines) -> GradientLines:
    """Return the loss without its gradient.

    It is for an optimizer that never uses one.
    """
    return GradientLines((), _forward(model, loss), (), gradient="")


def _forward(model: ModelLines, loss: LossLines) -> Lines:
    return loss.define(model.prediction), *loss.before, f"loss = {loss.value}"


def _objective(model: ModelLines, loss: LossLines) -> Lines:
    """Return the loss as a function of the weights, which torch does not record unasked."""
    return ("", "def objective(weight):", *indent_lines(loss.return_loss(model.pure)), "")
