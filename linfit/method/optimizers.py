"""What an update does with the gradient: by hand, or by the real `torch.optim`.

The classes carry torch's own defaults. What they leave out of torch's signatures are switches of the implementation, which
change speed or memory and not the method: `foreach`, `fused`, `capturable`, `differentiable`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from linfit.component import Component
from linfit.lines import GradientLines, ModelLines, OptimizerLines, in_place
from linfit.method.models import Model
from linfit.method.stacks import Columns, Memory, Update, powers, scaled_quotient
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory import Optimum

if TYPE_CHECKING:
    from torch import Tensor

#: Fields that are added to what an optimizer remembers.
ADDED = ("eps", "initial_accumulator_value")
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Fraction, Fraction], Field(strict=False)]


class Stepper(Protocol):
    """What an optimizer builds: each `step()` updates the parameter in place from its `.grad`."""

    def step(self) -> object: ...


class Optimizer(Component):
    """How the weights move."""

    #: Whether it can do with the gradients of a few samples at a time.
    batches: ClassVar[bool] = True
    #: Whether a step looks at the gradient; a plain program computes none otherwise.
    descends: ClassVar[bool] = True

    @abstractmethod
    def build(self, parameter: Tensor, n: float) -> Stepper:
        """A stepper for `parameter`, on a problem of n samples."""

    def averages(self) -> bool:
        """Return True if a step divides by the number of samples n, which then are counted by weight."""
        return False

    def count(self, problem: Problem) -> float:
        """Return the n of `build`: samples count as they weigh where the optimizer averages over them."""
        return problem.count if self.averages() else problem.shape[0]

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        """The same in the program that `linfit script` prints."""
        raise NotImplementedError(f"optimizer {self.name} has no lines")

    def know(self, optimum: Optimum, model: Model | None = None) -> Optimizer:
        """This optimizer with what the problem decides of it, known before the first step: a constant that was left open.

        `model` says in which layout the parameter is held; None in a stack, where it is W `[p, q]`.
        """
        return self

    @classmethod
    def proportional(cls) -> bool:
        """Whether this very class says, by `scales`, that its stacked rule moves the weights in proportion to `lr`."""
        return bool(vars(cls).get("scales"))

    def check(self, loss: Loss) -> None:
        """Raises ValueError where the optimizer cannot know what it needs of the loss."""

    def asks(self) -> bool:
        """Whether this optimizer must `know` the problem before it moves anything."""
        return type(self).know is not Optimizer.know

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        """The same update for s fits at once, whose numbers stand in `h`.

        Of `self` only what all of them share counts: its switches, and which of its numbers are zero. It may be called again
        between two updates, when fits have left: whatever must be remembered stands in `memory`.
        """
        raise NotImplementedError(f"optimizer {self.name} has no stacked rule")

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """The largest `lr` at which the weights do not grow without end; infinity for any, None where no bound is known.

        `curvature` is λ, the largest eigenvalue of the objective's Hessian, on a problem of n samples. Where the loss is a
        quadratic function, above the bound the component of w along λ's eigenvector grows at every step. As of `stacked`,
        a class has only a bound that it states itself: what changes its parent's deeds may break its bound.
        """
        return None

    def knows_its_bound(self) -> bool:
        """Whether this very class states `largest_stable_lr`, for an `lr` of its own."""
        return "largest_stable_lr" in vars(type(self)) and "lr" in type(self).model_fields


class Descent:
    """w ← w − lr·∂loss/∂w, by hand."""

    def __init__(self, parameter: Tensor, lr: float, divisor: float) -> None:
        self.parameter, self.lr, self.divisor = parameter, lr, divisor
        self.weight = (
            parameter.detach()
        )  # the same storage, outside the graph: what `with torch.no_grad()` is for

    def step(self) -> None:
        gradient = self.parameter.grad
        assert gradient is not None
        self.weight -= self.lr * (gradient if self.divisor == 1 else gradient / self.divisor)


class ManualSGD(Optimizer):
    """Gradient descent with the update by hand, w ← w − lr·g; `average` divides the gradient g by n, as the article does.

    Where samples have weights, n is their sum, unless `mean_over=samples`.
    """

    scales: ClassVar[bool] = True
    name: Literal["manual_sgd"] = "manual_sgd"
    lr: Positive = 1e-3
    average: bool = False

    def averages(self) -> bool:
        return self.average

    def build(self, parameter: Tensor, n: float) -> Stepper:
        return Descent(parameter, self.lr, n if self.average else 1)

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        step = f"({gradient.gradient} / {gradient.count})" if self.average else gradient.gradient
        return OptimizerLines(
            (), in_place((f"{model.weight} -= {self.lr!r} * {step}",), gradient.tracked)
        )

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        lr = h.column(h["lr"])

        def update(k: int, W: Tensor, g: Tensor) -> None:
            W.sub_(lr * (g / n if self.average else g))

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """2/λ, or 2n/λ with `average`: each step multiplies the error along λ by 1 − lr·λ, or 1 − lr·λ/n (Polyak, 1964)."""
        return _ratio(2.0 * (n if self.average else 1), curvature)


class TorchOptimizer(Optimizer):
    """An optimizer of torch.optim: its fields are that class's keyword arguments."""

    torch_name: ClassVar[str]

    def build(self, parameter: Tensor, n: float) -> Stepper:
        import torch

        from linfit.method.eager import eager

        given = self.model_dump(exclude={"name"})
        largest = torch.finfo(parameter.dtype).max
        for (
            field
        ) in ADDED:  # torch fills tensors with it, and raises where their dtype cannot hold it
            if given.get(field, 0.0) > largest:
                given[field] = math.inf
        stepper: Stepper = eager(getattr(torch.optim, self.torch_name))([parameter], **given)
        return stepper

    def called(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        """The lines of a class that is torch's own and nothing else: with `lr`, and what is not at torch's default."""
        fields = type(self).model_fields
        given = {
            key: value
            for key, value in self
            if key == "lr" or (key != "name" and value != fields[key].default)
        }
        keywords = "".join(f", {key}={value!r}" for key, value in given.items())
        handed = () if gradient.tracked else (f"{model.weight}.grad = {gradient.gradient}",)
        return OptimizerLines(
            (f"optimizer = torch.optim.{self.torch_name}({model.parameters}{keywords})",),
            (*handed, "optimizer.step()"),
            clear="optimizer.zero_grad()",
        )


class SGD(TorchOptimizer):
    """torch.optim.SGD: b ← momentum·b + (1 − dampening)·g, w ← w − lr·b, or with Nesterov w ← w − lr·(g + momentum·b).

    Differs from Sutskever et al. (2013) in that the velocity does not contain lr.
    """

    torch_name = "SGD"
    scales: ClassVar[bool] = True
    name: Literal["sgd"] = "sgd"
    lr: Positive = 1e-3
    momentum: NonNegative = 0.0
    dampening: float = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False
    maximize: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                "nesterov needs momentum above 0 and dampening 0: set momentum=0.9 or nesterov=false"
            )
        return self

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        return self.called(model, gradient)

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        lr, momentum, decay = (h.column(h[field]) for field in ("lr", "momentum", "weight_decay"))
        taken = h.column(1 - h["dampening"])

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = _signed(self, g)
            if self.weight_decay:
                g = g + decay * W
            if self.momentum:
                b = memory["velocity"]
                b = b.copy_(g) if k == 1 else b.mul_(momentum).add_(taken * g)
                g = g + momentum * b if self.nesterov else b
            W.sub_(lr * g)

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """2(1 + momentum)/(λ + weight_decay), for momentum ≤ 1 (Polyak, 1964; Goh, "Why Momentum Really Works", 2017).

        With Nesterov it is 1 + 2·momentum times less. No bound is stated with dampening of a momentum, and where `maximize` meets weight decay; without
        decay `maximize` climbs at any lr.
        """
        if self.maximize:
            return 0.0 if not self.weight_decay and not self.momentum and curvature > 0 else None
        if self.momentum > 1 or (self.momentum and self.dampening):
            return None
        return momentum_bound(self.momentum, self.nesterov, curvature + self.weight_decay)


class Adam(TorchOptimizer):
    """torch.optim.Adam (Kingma and Ba, 2015): w ← w − lr·m̂/(√v̂ + eps), ε outside the root, decay added to the gradient."""

    torch_name = "Adam"
    scales: ClassVar[bool] = True
    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False
    maximize: bool = False
    decoupled_weight_decay: bool = False

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        return self.called(model, gradient)

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        return _adam(self, self.decoupled_weight_decay, h, memory)


class AdamW(TorchOptimizer):
    """torch.optim.AdamW (Loshchilov and Hutter, 2019): Adam whose decay acts on the weights, w ← (1 − lr·weight_decay)·w."""

    torch_name = "AdamW"
    scales: ClassVar[bool] = True
    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: bool = False
    maximize: bool = False

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        return self.called(model, gradient)

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        return _adam(self, True, h, memory)


class RMSprop(TorchOptimizer):
    """torch.optim.RMSprop (Hinton, 2012): v ← alpha·v + (1 − alpha)·g², w ← w − lr·g/(√v + eps), ε outside the root."""

    torch_name = "RMSprop"
    scales: ClassVar[bool] = True
    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    alpha: Fraction = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: NonNegative = 0.0
    centered: bool = False
    maximize: bool = False

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        return self.called(model, gradient)

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        lr, alpha, eps, decay, momentum = (
            h.column(h[field]) for field in ("lr", "alpha", "eps", "weight_decay", "momentum")
        )
        taken, huge = h.column(1 - h["alpha"]), h.huge_rates()

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = _signed(self, g)
            if self.weight_decay:
                g = g + decay * W
            v = memory["square"].mul_(alpha)
            if self.centered:  # the very operations of torch: where rounding is all that is left, its root may be NaN
                mean = memory["mean"].lerp_(g, taken)
                v = v.addcmul_(taken * g, g).addcmul(mean, mean, value=-1)
            else:
                v.add_(taken * g * g)
            root = v.sqrt().add_(eps)
            if self.momentum:
                W.sub_(lr * memory["velocity"].mul_(momentum).add_(g / root))
            else:
                W.sub_(scaled_quotient(lr, g, root, huge))

        return update


class Adagrad(TorchOptimizer):
    """torch.optim.Adagrad (Duchi et al., 2011): s ← s + g², w ← w − lr/(1 + k·lr_decay)·g/(√s + eps)."""

    torch_name = "Adagrad"
    scales: ClassVar[bool] = True
    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10
    maximize: bool = False

    def lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        return self.called(model, gradient)

    def stacked(self, h: Columns, memory: Memory, n: float) -> Update:
        lr, eps, decay, start = (
            h.column(h[field])
            for field in ("lr", "eps", "weight_decay", "initial_accumulator_value")
        )
        huge = h.huge_rates()
        rate = h.by_step(
            lambda steps: h["lr"] / (1 + (np.array(steps).reshape(-1, 1, 1, 1) - 1) * h["lr_decay"])
        )

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = _signed(self, g)
            if self.weight_decay:
                g = g + decay * W
            total = memory["sum"]
            if k == 1:
                total.copy_(start)
            total.add_(g * g)
            W.sub_(
                scaled_quotient(rate(k) if self.lr_decay else lr, g, total.sqrt().add_(eps), huge)
            )

        return update


def momentum_bound(momentum: float, ahead: bool, curvature: float) -> float:
    """The lr at which an eigenvalue of a step with momentum, Nesterov's if `ahead`, reaches −1 along a curvature."""
    return _ratio(2 * (1 + momentum) / (1 + 2 * momentum if ahead else 1), curvature)


def _ratio(numerator: float, curvature: float) -> float:
    return numerator / curvature if curvature > 0 else math.inf


def _signed(optimizer: SGD | Adam | AdamW | RMSprop | Adagrad, g: Tensor) -> Tensor:
    return -g if optimizer.maximize else g


def _adam(optimizer: Adam | AdamW, decoupled: bool, h: Columns, memory: Memory) -> Update:
    """m ← m + (1 − β₁)(g − m), v ← β₂v + (1 − β₂)g², w ← w − lr·m̂/(√v̂ + eps) with m̂ = m/(1 − β₁ᵏ), v̂ = v/(1 − β₂ᵏ)."""
    lr, (beta1, beta2) = h["lr"], h["betas"]
    mixed, kept, taken, eps = (
        h.column(1 - beta1),
        h.column(beta2),
        h.column(1 - beta2),
        h.column(h["eps"]),
    )
    decay, shrunk = h.column(h["weight_decay"]), h.column(1 - lr * h["weight_decay"])
    step_size = h.by_step(lambda steps: lr / (1 - powers(beta1, steps)))
    correction = h.by_step(lambda steps: np.sqrt(1 - powers(beta2, steps)))
    huge = h.huge_rates()

    def update(k: int, W: Tensor, g: Tensor) -> None:
        g = _signed(optimizer, g)
        if optimizer.weight_decay and decoupled:
            W.mul_(shrunk)
        elif optimizer.weight_decay:
            g = g + decay * W
        m, v = memory["mean"], memory["square"]
        m.add_(mixed * (g - m))
        v.mul_(kept).add_(taken * g * g)
        if optimizer.amsgrad:
            v = memory["largest"].copy_(memory["largest"].maximum(v))
        root = v.sqrt().div_(correction(k))
        W.sub_(scaled_quotient(step_size(k), m, root.add_(eps), huge))

    return update
