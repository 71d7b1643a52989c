"""Schedules: how the learning rate changes with the step.

The single engine uses the real `torch.optim.lr_scheduler`, stepped after every update. The stacked
engine multiplies each update by the factor of the scheduler's closed form, which gives equal steps
wherever the update is proportional to lr. torch computes the factor from step to step, and rounds
once more at each.

w updates, s fits of one kind.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from linfit.component import Component, optional
from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch.optim import Optimizer as TorchOptimizer
    from torch.optim.lr_scheduler import LRScheduler

    from linfit.method.optimizers import Stepper

DecayFactor = Annotated[float, Field(gt=0, le=1)]
UpdateCount = Annotated[int, Field(ge=1)]
UpdateNumbers = NDArray[np.int64]


class Schedule(Component):
    """The learning rate of every update."""

    #: True if the learning rate stays as it is.
    is_constant: ClassVar[bool] = False

    @abstractmethod
    def build(self, optimizer: TorchOptimizer, steps: int) -> LRScheduler | None:
        """Return torch's scheduler for a fit of `steps`.

        None if the learning rate is constant.
        """

    @optional
    def script_lines(self, steps: int) -> str:
        """Return a plain program's scheduler of `optimizer`, an expression.

        Empty if there is none.
        """
        raise NotImplementedError(f"schedule {self.name} has no script lines")

    @optional
    def lr_factors(self, made: UpdateNumbers, lr: Array, steps: int) -> Array:
        """Return the factors `[w, s]` of rates `lr` `[s]`.

        They are those after `made` updates `[w, 1]`.
        """
        raise NotImplementedError(f"schedule {self.name} has no stacked rule")

    @classmethod
    def supports_stacking(cls) -> bool:
        return cls.states(cls.lr_factors)


class Constant(Schedule):
    """No schedule: the learning rate stays as it is."""

    is_constant = True
    name: Literal["none"] = "none"

    def script_lines(self, steps: int) -> str:
        return ""

    def build(self, optimizer: TorchOptimizer, steps: int) -> None:
        return None

    def lr_factors(self, made: UpdateNumbers, lr: Array, steps: int) -> Array:
        return np.ones((len(made), len(lr)))


class TorchSchedule(Schedule):
    """A scheduler of torch.optim.lr_scheduler, made of the optimizer and some arguments."""

    torch_name: ClassVar[str]

    @abstractmethod
    def arguments(self, steps: int) -> tuple[float, ...]:
        """Return torch's arguments after the optimizer, for a fit of `steps`."""

    def build(self, optimizer: TorchOptimizer, steps: int) -> LRScheduler:
        from torch.optim import lr_scheduler

        scheduler: Callable[..., LRScheduler] = getattr(lr_scheduler, self.torch_name)
        return scheduler(optimizer, *self.arguments(steps))

    def script_lines(self, steps: int) -> str:
        arguments = ", ".join(map(repr, self.arguments(steps)))
        return f"torch.optim.lr_scheduler.{self.torch_name}(optimizer, {arguments})"


class StepDecay(TorchSchedule, keeps=[TorchSchedule.script_lines]):
    """torch's StepLR: every `step_size` updates, lr ← gamma·lr."""

    torch_name = "StepLR"
    name: Literal["step"] = "step"
    step_size: UpdateCount = 250
    gamma: DecayFactor = 0.1

    def arguments(self, steps: int) -> tuple[float, ...]:
        return self.step_size, self.gamma

    def lr_factors(self, made: UpdateNumbers, lr: Array, steps: int) -> Array:
        return _powers(self.gamma, made // self.step_size, lr)


class Exponential(TorchSchedule, keeps=[TorchSchedule.script_lines]):
    """torch's ExponentialLR: after every update, lr ← gamma·lr."""

    torch_name = "ExponentialLR"
    name: Literal["exponential"] = "exponential"
    gamma: DecayFactor = 0.999

    def arguments(self, steps: int) -> tuple[float, ...]:
        return (self.gamma,)

    def lr_factors(self, made: UpdateNumbers, lr: Array, steps: int) -> Array:
        return _powers(self.gamma, made, lr)


class Cosine(TorchSchedule, keeps=[TorchSchedule.script_lines]):
    """torch's CosineAnnealingLR (Loshchilov and Hutter, 2017): half a cosine from lr to eta_min.

    It takes `T_max` updates, the number of the fit's steps unless given; torch wants it given.
    After it the learning rate rises again.
    """

    torch_name = "CosineAnnealingLR"
    name: Literal["cosine"] = "cosine"
    T_max: UpdateCount | None = None
    eta_min: Annotated[float, Field(ge=0)] = 0.0

    def arguments(self, steps: int) -> tuple[float, ...]:
        return self.T_max or max(1, steps), self.eta_min

    def lr_factors(self, made: UpdateNumbers, lr: Array, steps: int) -> Array:
        period, _ = self.arguments(steps)
        # math.cos, whose bits do not depend on the number of k.
        shares = [(1 + math.cos(math.pi * k / period)) / 2 for k in made[:, 0].tolist()]
        falling = np.array(shares)[:, None]
        return np.asarray((self.eta_min + (lr - self.eta_min) * falling) / lr)


class Linear(TorchSchedule, keeps=[TorchSchedule.script_lines]):
    """torch's LinearLR: lr times a factor that goes evenly from start_factor to end_factor.

    It reaches end_factor after total_iters updates, and keeps it.
    """

    torch_name = "LinearLR"
    name: Literal["linear"] = "linear"
    start_factor: DecayFactor = 1 / 3
    end_factor: Annotated[float, Field(ge=0, le=1)] = 1.0
    total_iters: UpdateCount = 5

    def arguments(self, steps: int) -> tuple[float, ...]:
        return self.start_factor, self.end_factor, self.total_iters

    def lr_factors(self, made: UpdateNumbers, lr: Array, steps: int) -> Array:
        gone = np.minimum(made, self.total_iters) / self.total_iters
        factor = self.start_factor + (self.end_factor - self.start_factor) * gone
        return np.asarray(factor * np.ones_like(lr))


class ScheduledStepper:
    """A stepper whose learning rate torch's scheduler changes after every update.

    torch schedules its own optimizers only: the learning rate of an update by hand is read from one
    that moves nothing.
    """

    def __init__(self, stepper: Any, schedule: Schedule, steps: int) -> None:
        import torch

        from linfit.method.eager import eager

        self.stepper = stepper
        self.own = isinstance(stepper, torch.optim.Optimizer)
        if self.own:
            self.optimizer = stepper
        else:
            self.optimizer = eager(torch.optim.SGD)([torch.zeros(1)], lr=stepper.lr)
        self.scheduler = schedule.build(self.optimizer, steps)
        self._follow()

    def step(self) -> None:
        self.stepper.step()
        if not self.own:
            self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self._follow()

    def _follow(self) -> None:
        if not self.own:
            self.stepper.lr = self.optimizer.param_groups[0]["lr"]


def attach_schedule(stepper: Stepper, schedule: Schedule, steps: int) -> Stepper:
    """Return the stepper with its learning rate scheduled for `steps`."""
    if schedule.is_constant:
        return stepper
    return ScheduledStepper(stepper, schedule, steps)


def _powers(base: float, exponents: UpdateNumbers, lr: Array) -> Array:
    """Return baseᵏ `[w, s]` by Python's own power, whose bits do not depend on the number of k."""
    powers = np.array([base**k for k in exponents[:, 0].tolist()])[:, None]
    return np.asarray(powers * np.ones_like(lr))
