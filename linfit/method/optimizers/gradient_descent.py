"""Gradient descent, by hand and as torch.optim.SGD."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from linfit.method.linear_steps import LinearConstants, divide_by_curvature, stable_momentum_lr
from linfit.method.optimizers.base import (
    NonNegative,
    Optimizer,
    Positive,
    Stepper,
    TorchOptimizer,
    ascend_or_descend,
)
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    proportional_to_lr,
)
from linfit.script_fragments import GradientLines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor


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
            g = ascend_or_descend(self, g)
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
