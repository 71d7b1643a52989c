"""How the gradient of the loss is obtained; it ends in the parameter's `.grad`, as torch's does.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, cast

from pydantic import Field

from linfit.component import Component, optional
from linfit.method.batches import Batch, batch_gradient_scale
from linfit.method.models import Model, TrainablePredictor
from linfit.problem.losses import Loss
from linfit.problem.penalties import Shrinkage
from linfit.script_fragments import (
    BatchLines,
    GradientLines,
    Lines,
    LossLines,
    ModelLines,
    indent_lines,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: Computes the losses `[r]` of r fits at W `[r, p, q]`, and their gradients `[r, p, q]`.
StackedEvaluation = Callable[["Tensor"], "tuple[Tensor, Tensor]"]
#: Computes the loss `[]` where the weights stand, and leaves its gradient in the parameter's
#: `.grad`.
Evaluation = Callable[[], "Tensor"]
#: Leaves the gradient that a batch gives in the parameter's `.grad`, from its rows `[m]`.
BatchStep = Callable[["Tensor"], None]
#: Computes the gradients `[r, p, q]` of r fits at W `[r, p, q]` from their batches' rows `[r, m]`.
StackedBatchStep = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass
class BatchMemory:
    """What the gradients of r fits remember of their batches.

    It outlasts the fits that leave their stack.
    """

    steps: int = 0
    """Batches that were taken."""
    tensors: dict[str, Tensor] = field(default_factory=dict)
    """Tensors `[r, …]` by name."""

    def keep_fits(self, rows: Tensor) -> None:
        """Keep the memory of these fits only, in this order."""
        self.tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}


class Gradient(Component):
    """How ∂loss/∂W is obtained."""

    #: True if it takes a summary of the data in place of the samples
    #: (linfit/problem/theory/sufficient_statistics.py).
    uses_summary: ClassVar[bool] = False
    #: True if it takes X and y, and computes, in float64 whatever the fit's dtype is.
    in_float64: ClassVar[bool] = False
    #: True if it reads X and y at every evaluation, so that each may find other samples in them.
    supports_batches: ClassVar[bool] = True
    #: True if it corrects the gradient of a batch so that its noise vanishes at the optimum. It
    #: takes batches alone.
    reduces_variance: ClassVar[bool] = False

    def check_loss(self, loss: Loss) -> None:
        """Raise ValueError unless this obtains the gradient of `loss`."""

    def choose_data_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of X and y for weights of `dtype`."""
        import torch

        if self.in_float64:
            return torch.float64
        return dtype

    def batch_curvature(
        self, batch: Batch, largest: float, steepest: float, n: int
    ) -> float | None:
        """Return the curvature λ with which batches are stable at learning rates up to 2/λ.

        The rates are gradient descent's. None if no bound is known. Of n samples, `largest` is the
        curvature of the loss, `steepest` the largest that any sample by itself would give it.
        """
        return batch.effective_curvature(largest, steepest, n)

    @abstractmethod
    def bind(
        self, model: Model, predictor: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
    ) -> Evaluation:
        """Return the evaluation of `loss` and its gradient.

        It is on X `[n, p]` and y `[n, q]`.
        """

    def bind_batches(
        self,
        model: Model,
        predictor: TrainablePredictor,
        loss: Loss,
        X: Tensor,
        y: Tensor,
        size: int,
    ) -> BatchStep:
        """Return the step that takes an unbiased gradient from a batch of `size` samples.

        X is `[n, p]` and y `[n, q]`. Every step copies its batch into the same two buffers.
        """
        import torch

        n = len(X)
        batch_X = X.new_empty(size, *X.shape[1:])
        batch_y = y.new_empty(size, *y.shape[1:])
        evaluate = self.bind(model, predictor, loss, batch_X, batch_y)
        share = batch_gradient_scale(loss, n, size, y.shape[1])

        def step(rows: Tensor) -> None:
            torch.index_select(X, 0, rows, out=batch_X)
            torch.index_select(y, 0, rows, out=batch_y)
            evaluate()
            if share != 1 and predictor.weight.grad is not None:
                predictor.weight.grad *= share

        return step

    def stack_batches(
        self,
        model: Model,
        loss: Loss,
        X: Tensor,
        y: Tensor,
        shape: tuple[int, int],
        memory: BatchMemory,
    ) -> StackedBatchStep:
        """Return the step of r fits at once, each with a batch of m samples, (r, m) in `shape`.

        X is `[r, p, 1, n]` and y `[r, q, n]`. Either is `[1, …]` if all fits share it.
        """
        import torch

        r, m = shape
        _, p, _, n = X.shape
        q = y.shape[1]
        batch_X = X.new_empty(r, p, 1, m)
        batch_y = y.new_empty(r, q, m)
        evaluate = self.stacked(model, loss, batch_X, batch_y)
        share = batch_gradient_scale(loss, n, m, q)
        all_X = X.expand(r, p, 1, n)
        all_y = y.expand(r, q, n)

        def step(W: Tensor, rows: Tensor) -> Tensor:
            torch.gather(all_X, 3, rows[:, None, None].expand(r, p, 1, m), out=batch_X)
            torch.gather(all_y, 2, rows[:, None].expand(r, q, m), out=batch_y)
            _, gradient = evaluate(W)
            if share != 1:
                gradient = gradient * share
            return gradient

        return step

    @optional
    def script_lines(self, model: ModelLines, loss: LossLines) -> GradientLines:
        """Return the evaluation in a plain program."""
        raise NotImplementedError(f"gradient {self.name} has no script lines")

    def batch_lines(self, model: ModelLines, loss: LossLines, batch: BatchLines) -> GradientLines:
        """Return the evaluation by batches in a plain program: the loss is that of all samples."""
        lines = self.script_lines(model, loss)
        scaled = () if batch.share == 1 else (f"{lines.gradient} *= {batch.share!r}",)
        step = (*lines.forward, *lines.backward, *scaled)
        return replace(
            lines,
            forward=(),
            backward=(*batch.take, *step, batch.release, *write_loss(model, loss)),
            completes=True,
        )

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
        return GradientLines((), write_loss(model, loss), (f"gradient = {gradient}",))

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
            write_loss(model, loss),
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
    return GradientLines((), write_loss(model, loss), (), gradient="")


def write_loss(model: ModelLines, loss: LossLines) -> Lines:
    """Return the lines that leave the loss in `loss`."""
    return loss.define(model.prediction), *loss.before, f"loss = {loss.value}"


def _objective(model: ModelLines, loss: LossLines) -> Lines:
    """Return the loss as a function of the weights, which torch does not record unasked."""
    return ("", "def objective(weight):", *indent_lines(loss.return_loss(model.pure)), "")
