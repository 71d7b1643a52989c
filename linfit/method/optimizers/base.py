"""What every optimizer is, and the optimizers that are torch's own.

The classes carry torch's own defaults. They leave out of torch's signatures the switches of the
implementation, which change speed or memory and not the method: `foreach`, `fused`, `capturable`,
`differentiable`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from pydantic import Field

from linfit.component import Component, optional
from linfit.method.linear_steps import LinearConstants
from linfit.method.models import Model
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    is_proportional_to_lr,
)
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array
from linfit.script_fragments import GradientLines, Lines, ModelLines, OptimizerLines

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
    #: True if a step takes ‖W‖₁ of the penalty by its proximal operator: the gradient then is that
    #: of the rest of the objective.
    handles_l1: ClassVar[bool] = False
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

    def needs_answer(self) -> bool:
        """Return True if its settings leave to theory what theory=none does not compute."""
        return self.needs_optimum()

    def check_loss(self, loss: Loss) -> None:
        """Raise ValueError if the loss lacks what the optimizer needs."""

    def check_l1(self, penalty: str) -> None:
        """Raise ValueError if it does not minimize a penalty with ‖W‖₁, given by its name."""

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


class TorchOptimizer(Optimizer):
    """An optimizer of torch.optim: its fields are that class's keyword arguments."""

    torch_name: ClassVar[str]
    #: Fields that torch writes into tensors: it raises where their dtype cannot hold one.
    written: ClassVar[tuple[str, ...]] = ADDED_TO_STATE
    is_torch_optimizer = True

    def build(self, parameter: Tensor, n: float) -> Stepper:
        import torch

        from linfit.method.eager import eager

        given = self.model_dump(exclude={"name"})
        largest = torch.finfo(parameter.dtype).max
        for field in self.written:
            if field in given:
                given[field] = _cap(given[field], largest)
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


def _cap(value: Any, largest: float) -> Any:
    """Return infinity in place of a number, or of numbers of a tuple, above the largest."""
    if isinstance(value, tuple):
        return tuple(_cap(part, largest) for part in value)
    if isinstance(value, float) and value > largest:
        return math.inf
    return value


def ascend_or_descend(optimizer: TorchOptimizer, g: Tensor) -> Tensor:
    """Return the gradient that is descended: −g if the optimizer is to `maximize`."""
    return -g if vars(optimizer)["maximize"] else g
