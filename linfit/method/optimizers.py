"""Optimizers: how the weights move by the gradient, by hand or by the real `torch.optim`.

The classes carry torch's own defaults. They leave out of torch's signatures the switches of the
implementation, which change speed or memory and not the method: `foreach`, `fused`, `capturable`,
`differentiable`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from linfit.component import Component, optional
from linfit.method.linear_steps import LinearConstants, divide_by_curvature, stable_momentum_lr
from linfit.method.models import Model
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    is_proportional_to_lr,
    proportional_to_lr,
    raise_to_steps,
    scale_quotient,
)
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array
from linfit.script_fragments import GradientLines, Lines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor

#: Fields that are added to an optimizer's state.
ADDED_TO_STATE = ("eps", "initial_accumulator_value")
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Fraction, Fraction], Field(strict=False)]


class Stepper(Protocol):
    """Result of `Optimizer.build`: `step()` updates the parameter in place from `.grad`."""

    def step(self) -> object: ...


class Optimizer(Component):
    """How the weights move.

    The optional rules are those of the very class that states them (linfit/component.py).
    """

    #: True if gradients of a few samples at a time are enough.
    supports_batches: ClassVar[bool] = True
    #: True if a step uses the gradient; otherwise a plain program computes none.
    uses_gradient: ClassVar[bool] = True
    #: True if `build` makes an optimizer of torch, and a plain program names it `optimizer`.
    is_torch_optimizer: ClassVar[bool] = False

    @abstractmethod
    def build(self, parameter: Tensor, n: float) -> Stepper:
        """Return a stepper for `parameter`, on a problem of n samples."""

    def averages(self) -> bool:
        """Return True if a step divides by n.

        n is the number of samples, counted by weight.
        """
        return False

    def count_samples(self, problem: Problem) -> float:
        """Return the n of `build`, by weight if the optimizer averages."""
        if self.averages():
            return problem.effective_samples
        return problem.shape[0]

    def tuned_to(self, optimum: Optimum, model: Model | None = None) -> Optimizer:
        """Return this optimizer with the problem's constants.

        They are decided before the first step. `model` tells in which layout the parameter is held;
        None in a stack, where it is W `[p, q]`.
        """
        return self

    @classmethod
    def needs_optimum(cls) -> bool:
        """Return True if it overrides `tuned_to`: stepping needs the optimum."""
        return cls.tuned_to is not Optimizer.tuned_to

    def check_loss(self, loss: Loss) -> None:
        """Raise ValueError if the loss lacks what the optimizer needs."""

    @optional
    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        """Return the update in a plain program."""
        raise NotImplementedError(f"optimizer {self.name} has no script lines")

    @optional
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        """Return the update of s fits at once.

        Their hyperparameters are columns. Of `self` only what all fits share counts: its switches,
        and which of its numbers are zero. It may be called again between two updates, when fits
        have left: all state is kept in `memory`.
        """
        raise NotImplementedError(f"optimizer {self.name} has no stacked rule")

    @classmethod
    def scales_with_lr(cls) -> bool:
        """Return True if the stacked rule's moves are proportional to `lr`."""
        return is_proportional_to_lr(cls.stacked)

    @optional
    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """Return the largest `lr` at which the weights do not grow without end.

        It is infinity if any is stable, None if no bound is known. `curvature` is λ, the largest
        eigenvalue of the objective's Hessian, on a problem of n samples. If the loss is quadratic,
        above the bound the component of w along λ's eigenvector grows at every step.
        """
        return None

    @classmethod
    def has_stable_lr(cls) -> bool:
        """Return True if this class states `largest_stable_lr`, for an `lr` of its own."""
        return cls.states(cls.largest_stable_lr) and "lr" in cls.model_fields

    @optional
    def is_stable_by_batches(self) -> bool:
        """Return True if the largest stable lr holds for batches too."""
        return False

    @optional
    def linear_constants(self, n: float) -> LinearConstants | None:
        """Return the constants of a step that is linear in error and velocity, else None."""
        return None

    @optional
    def propagators(self, curvatures: Array, n: float) -> Array | None:
        """Return the matrices `[m, 2, 2]` of a step.

        The step multiplies (error, velocity) by them. They are of curvatures `[m]` of a quadratic
        objective; None if the step is not linear.
        """
        constants = self.linear_constants(n)
        if constants is None:
            return None
        return constants.propagators(curvatures)

    @optional
    def optimal_lr(self, largest: float, smallest: float, n: float) -> float | None:
        """Return the `lr` contracting fastest between two curvatures, None if unknown."""
        return None


class DescentStepper:
    """w ← w − lr·∂loss/∂w, by hand."""

    def __init__(self, parameter: Tensor, lr: float, divisor: float) -> None:
        self.parameter = parameter
        self.lr = lr
        self.divisor = divisor
        # The same storage, outside the graph: the purpose of `with torch.no_grad()`.
        self.weight = parameter.detach()

    def step(self) -> None:
        gradient = self.parameter.grad
        assert gradient is not None
        if self.divisor != 1:
            gradient = gradient / self.divisor
        self.weight -= self.lr * gradient


class ManualSGD(Optimizer):
    """Gradient descent with the update by hand, w ← w − lr·g.

    `average` divides the gradient g by n, as the article does. Where samples have weights, n is
    their sum, unless `mean_over=samples`.
    """

    name: Literal["manual_sgd"] = "manual_sgd"
    lr: Positive = 1e-3
    average: bool = False

    def averages(self) -> bool:
        return self.average

    def build(self, parameter: Tensor, n: float) -> Stepper:
        return DescentStepper(parameter, self.lr, self._divisor(n))

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        step = gradient.gradient
        if self.average:
            step = f"({step} / {gradient.count})"
        update = f"{model.weight} -= {self.lr!r} * {step}"
        return OptimizerLines((), in_place((update,), gradient.tracked))

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")

        def update(k: int, W: Tensor, g: Tensor) -> None:
            if self.average:
                g = g / n
            W.sub_(lr * g)

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """Return 2/λ, or 2n/λ with `average` (Polyak, 1964).

        Each step multiplies the error along λ by 1 − lr·λ, or 1 − lr·λ/n.
        """
        return divide_by_curvature(2.0 * self._divisor(n), curvature)

    def is_stable_by_batches(self) -> bool:
        return True

    def linear_constants(self, n: float) -> LinearConstants | None:
        return LinearConstants(self.lr / self._divisor(n))

    def optimal_lr(self, largest: float, smallest: float, n: float) -> float | None:
        return 2 / (largest + smallest) * self._divisor(n)

    def _divisor(self, n: float) -> float:
        return n if self.average else 1


class TorchOptimizer(Optimizer):
    """An optimizer of torch.optim: its fields are that class's keyword arguments."""

    torch_name: ClassVar[str]
    is_torch_optimizer = True

    def build(self, parameter: Tensor, n: float) -> Stepper:
        import torch

        from linfit.method.eager import eager

        given = self.model_dump(exclude={"name"})
        largest = torch.finfo(parameter.dtype).max
        # torch fills tensors with these fields, and raises where their dtype cannot hold them.
        for field in ADDED_TO_STATE:
            if given.get(field, 0.0) > largest:
                given[field] = math.inf
        stepper: Stepper = eager(getattr(torch.optim, self.torch_name))([parameter], **given)
        return stepper

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        """Return torch's own optimizer, with `lr` and fields not at default."""
        fields = type(self).model_fields
        keywords = ""
        for key, value in self:
            if key == "lr" or (key != "name" and value != fields[key].default):
                keywords += f", {key}={value!r}"
        update: Lines = ("optimizer.step()",)
        if not gradient.tracked:
            update = (f"{model.weight}.grad = {gradient.gradient}", *update)
        return OptimizerLines(
            (f"optimizer = torch.optim.{self.torch_name}({model.parameters}{keywords})",),
            update,
            clear="optimizer.zero_grad()",
        )


class SGD(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.SGD: b ← momentum·b + (1 − dampening)·g, w ← w − lr·b.

    With Nesterov the update is w ← w − lr·(g + momentum·b). Differs from Sutskever et al. (2013) in
    that the velocity does not contain lr.
    """

    torch_name = "SGD"
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
                "nesterov needs momentum above 0 and dampening 0: "
                "set momentum=0.9 or nesterov=false"
            )
        return self

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        momentum = hyperparameters.tensor("momentum")
        decay = hyperparameters.tensor("weight_decay")
        taken = hyperparameters.expand_values(1 - hyperparameters["dampening"])

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = _signed(self, g)
            if self.weight_decay:
                g = g + decay * W
            if self.momentum:
                b = memory["velocity"]
                if k == 1:
                    b.copy_(g)
                else:
                    b.mul_(momentum).add_(taken * g)
                g = g + momentum * b if self.nesterov else b
            W.sub_(lr * g)

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """Return 2(1 + momentum)/(λ + weight_decay), for momentum ≤ 1.

        (Polyak, 1964; Goh, "Why Momentum Really Works", 2017.) With Nesterov it is 1 + 2·momentum
        times less. No bound is stated with dampening of a momentum, and where `maximize` meets
        weight decay; without decay `maximize` climbs at any lr.
        """
        if self.maximize:
            if not self.weight_decay and not self.momentum and curvature > 0:
                return 0.0
            return None
        if self.momentum > 1 or (self.momentum and self.dampening):
            return None
        return stable_momentum_lr(self.momentum, self.nesterov, curvature + self.weight_decay)

    def is_stable_by_batches(self) -> bool:
        return not self.momentum

    def linear_constants(self, n: float) -> LinearConstants | None:
        if self.weight_decay or self.dampening or self.maximize:
            return None
        return LinearConstants(self.lr, self.momentum, self.nesterov)

    def optimal_lr(self, largest: float, smallest: float, n: float) -> float | None:
        if self.linear_constants(n) is None or self.momentum:
            return None
        return 2 / (largest + smallest)


class Adam(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adam (Kingma and Ba, 2015): w ← w − lr·m̂/(√v̂ + eps).

    ε is outside the root, and decay is added to the gradient.
    """

    torch_name = "Adam"
    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False
    maximize: bool = False
    decoupled_weight_decay: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        return _adam(self, self.decoupled_weight_decay, hyperparameters, memory)


class AdamW(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.AdamW (Loshchilov and Hutter, 2019): Adam whose decay acts on the weights.

    The decay is w ← (1 − lr·weight_decay)·w.
    """

    torch_name = "AdamW"
    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: bool = False
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        return _adam(self, True, hyperparameters, memory)


class RMSprop(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.RMSprop (Hinton, 2012): v ← alpha·v + (1 − alpha)·g², w ← w − lr·g/(√v + eps).

    ε is outside the root.
    """

    torch_name = "RMSprop"
    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    alpha: Fraction = 0.99
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: NonNegative = 0.0
    centered: bool = False
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        alpha = hyperparameters.tensor("alpha")
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")
        momentum = hyperparameters.tensor("momentum")
        taken = hyperparameters.expand_values(1 - hyperparameters["alpha"])
        huge = hyperparameters.mark_huge_rates()

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = _signed(self, g)
            if self.weight_decay:
                g = g + decay * W
            v = memory["square"].mul_(alpha)
            if self.centered:
                # torch's very operations: where only rounding is left, the root may be NaN.
                mean = memory["mean"].lerp_(g, taken)
                v = v.addcmul_(taken * g, g).addcmul(mean, mean, value=-1)
            else:
                v.add_(taken * g * g)
            root = v.sqrt().add_(eps)
            if self.momentum:
                W.sub_(lr * memory["velocity"].mul_(momentum).add_(g / root))
            else:
                W.sub_(scale_quotient(lr, g, root, huge))

        return update


class Adagrad(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adagrad (Duchi et al., 2011): steps shrink with the sum of all squared gradients.

    s ← s + g², w ← w − lr/(1 + k·lr_decay)·g/(√s + eps).
    """

    torch_name = "Adagrad"
    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")
        start = hyperparameters.tensor("initial_accumulator_value")
        huge = hyperparameters.mark_huge_rates()

        def rates(steps: range) -> Array:
            made = np.array(steps).reshape(-1, 1, 1, 1) - 1
            return hyperparameters["lr"] / (1 + made * hyperparameters["lr_decay"])

        rate = hyperparameters.compute_by_step(rates)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = _signed(self, g)
            if self.weight_decay:
                g = g + decay * W
            total = memory["sum"]
            if k == 1:
                total.copy_(start)
            total.add_(g * g)
            step_size = rate(k) if self.lr_decay else lr
            W.sub_(scale_quotient(step_size, g, total.sqrt().add_(eps), huge))

        return update


def _signed(optimizer: SGD | Adam | AdamW | RMSprop | Adagrad, g: Tensor) -> Tensor:
    if optimizer.maximize:
        return -g
    return g


def _adam(
    optimizer: Adam | AdamW,
    decoupled: bool,
    hyperparameters: HyperparameterColumns,
    memory: OptimizerState,
) -> Update:
    """Return m ← m + (1 − β₁)(g − m), v ← β₂v + (1 − β₂)g², w ← w − lr·m̂/(√v̂ + eps).

    m̂ = m/(1 − β₁ᵏ) and v̂ = v/(1 − β₂ᵏ).
    """
    lr = hyperparameters["lr"]
    beta1, beta2 = hyperparameters["betas"]
    mixed = hyperparameters.expand_values(1 - beta1)
    kept = hyperparameters.expand_values(beta2)
    taken = hyperparameters.expand_values(1 - beta2)
    eps = hyperparameters.tensor("eps")
    decay = hyperparameters.tensor("weight_decay")
    shrunk = hyperparameters.expand_values(1 - lr * hyperparameters["weight_decay"])
    step_size = hyperparameters.compute_by_step(
        lambda steps: lr / (1 - raise_to_steps(beta1, steps))
    )
    correction = hyperparameters.compute_by_step(
        lambda steps: np.sqrt(1 - raise_to_steps(beta2, steps))
    )
    huge = hyperparameters.mark_huge_rates()

    def update(k: int, W: Tensor, g: Tensor) -> None:
        g = _signed(optimizer, g)
        if optimizer.weight_decay and decoupled:
            W.mul_(shrunk)
        elif optimizer.weight_decay:
            g = g + decay * W
        m = memory["mean"]
        m.add_(mixed * (g - m))
        v = memory["square"]
        v.mul_(kept).add_(taken * g * g)
        if optimizer.amsgrad:
            v = memory["largest"].copy_(memory["largest"].maximum(v))
        root = v.sqrt().div_(correction(k))
        W.sub_(scale_quotient(step_size(k), m, root.add_(eps), huge))

    return update
