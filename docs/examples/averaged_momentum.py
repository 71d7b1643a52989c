"""An optimizer as a plug-in, with all rules that linfit's own have: `plugins: [averaged_momentum]`.

It has a stacked rule, so that a sweep of it is a few tensor programs; a largest stable learning
rate and a rate of convergence, which `linfit plan` tells before anything runs; and a part in plain
programs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from linfit.method.linear_steps import LinearConstants, stable_momentum_lr
from linfit.method.optimizers import Fraction, Optimizer, Positive
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    proportional_to_lr,
)
from linfit.script_fragments import GradientLines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor


class AveragedMomentum(Optimizer):
    """Steps along an average of gradients: v ← momentum·v + (1 − momentum)·g, w ← w − lr·v."""

    name: Literal["averaged_momentum"] = "averaged_momentum"
    lr: Positive = 1e-3
    momentum: Fraction = 0.9

    def build(self, parameter: Tensor, n: float) -> AveragedSteps:
        return AveragedSteps(parameter, self.lr, self.momentum)

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        momentum = hyperparameters.tensor("momentum")
        taken = hyperparameters.expand_values(1 - hyperparameters["momentum"])

        def update(k: int, W: Tensor, g: Tensor) -> None:
            velocity = memory["velocity"].mul_(momentum).add_(taken * g)
            W.sub_(lr * velocity)

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        return stable_momentum_lr(self.momentum, False, curvature) / (1 - self.momentum)

    def linear_constants(self, n: float) -> LinearConstants | None:
        return LinearConstants(self.lr * (1 - self.momentum), self.momentum)

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        average = f"{self.momentum!r} * velocity + {1 - self.momentum!r} * {gradient.gradient}"
        update = (f"velocity = {average}", f"{model.weight} -= {self.lr!r} * velocity")
        before = (f"velocity = torch.zeros_like({model.weight})",)
        return OptimizerLines(before, in_place(update, gradient.tracked))


class AveragedSteps:
    """The update by hand, for one fit."""

    def __init__(self, parameter: Tensor, lr: float, momentum: float) -> None:
        self.parameter = parameter
        self.lr = lr
        self.momentum = momentum
        self.weight = parameter.detach()  # the same storage, outside the graph
        self.velocity = self.weight.new_zeros(self.weight.shape)

    def step(self) -> None:
        gradient = self.parameter.grad
        assert gradient is not None
        self.velocity = self.momentum * self.velocity + (1 - self.momentum) * gradient
        self.weight -= self.lr * self.velocity
