"""Optimizers of torch.optim that set their own step sizes: by ratios, by signs, or by a law."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from linfit.method.optimizers.base import (
    Fraction,
    NonNegative,
    Positive,
    TorchOptimizer,
    ascend_or_descend,
)
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    proportional_to_lr,
)

if TYPE_CHECKING:
    from torch import Tensor

Pair = Annotated[tuple[Positive, Positive], Field(strict=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Adadelta(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adadelta (Zeiler, 2012): steps in the ratio of two running means.

    v ← rho·v + (1 − rho)·g², d = g·√(u + eps)/√(v + eps), u ← rho·u + (1 − rho)·d², w ← w − lr·d. ε
    is inside the roots, and sets the size of the first steps.
    """

    torch_name = "Adadelta"
    name: Literal["adadelta"] = "adadelta"
    lr: Positive = 1.0
    rho: Fraction = 0.9
    eps: NonNegative = 1e-6
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        rho = hyperparameters.tensor("rho")
        taken = hyperparameters.expand_values(1 - hyperparameters["rho"])
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = ascend_or_descend(self, g)
            if self.weight_decay:
                g = g + decay * W
            v = memory["square"].mul_(rho).add_(taken * g * g)
            u = memory["moved"]
            d = (u + eps).sqrt_().div_((v + eps).sqrt_()).mul_(g)
            u.mul_(rho).add_(taken * d * d)
            W.sub_(lr * d)

        return update


class ASGD(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.ASGD (Polyak and Juditsky, 1992): gradient descent whose path can be averaged.

    w ← (1 − lambd·η)·w − η·g with η = lr/(1 + lambd·lr·(k − 1))^alpha at step k, which torch rounds
    to float32. The weights are those of the path: their average, which torch forms from step `t0`
    on, is its state and nothing else, so that `t0` changes no number here.
    """

    torch_name = "ASGD"
    name: Literal["asgd"] = "asgd"
    lr: Positive = 1e-2
    lambd: NonNegative = 1e-4
    alpha: Share = 0.75
    t0: NonNegative = 1e6
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        decay = hyperparameters.tensor("weight_decay")
        lr, lambd = hyperparameters["lr"], hyperparameters["lambd"]
        rates = hyperparameters.iterate_by_step(falling_rates, lr, lambd, hyperparameters["alpha"])

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = ascend_or_descend(self, g)
            if self.weight_decay:
                g = g + decay * W
            kept, rate = rates(k)
            W.mul_(kept).sub_(rate * g)

        return update


def falling_rates(lr: float, lambd: float, alpha: float) -> Iterator[tuple[float, float]]:
    """Yield ASGD's 1 − lambd·η and η for each step."""
    for made in count():
        with np.errstate(over="ignore"):
            rate = float(np.float32(lr / (1 + lambd * lr * made) ** alpha))
        yield 1 - lambd * rate, rate


class Rprop(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Rprop (Riedmiller and Braun, 1993): by the sign of the gradient alone.

    Each weight has a step size of its own, `lr` at first. It is multiplied by the larger of `etas`
    where the gradient keeps its sign, by the smaller where the sign changes, after which the weight
    rests for a step; `step_sizes` are its bounds. It is meant for gradients of all samples.
    """

    torch_name = "Rprop"
    written = ("lr", "etas", "step_sizes")
    name: Literal["rprop"] = "rprop"
    lr: Positive = 1e-2
    etas: Pair = (0.5, 1.2)
    step_sizes: Pair = (1e-6, 50.0)
    maximize: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if not self.etas[0] < 1 < self.etas[1]:
            raise ValueError("etas are a factor below 1 and one above: etas=[0.5, 1.2]")
        if self.step_sizes[0] > self.step_sizes[1]:
            raise ValueError("step_sizes are the smallest and the largest: step_sizes=[1e-6, 50]")
        return self

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        start = hyperparameters.tensor("lr")
        shorter, longer = map(hyperparameters.expand_values, hyperparameters["etas"])
        smallest, largest = map(hyperparameters.expand_values, hyperparameters["step_sizes"])

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = ascend_or_descend(self, g)
            before = memory["gradient"]
            size = memory["size"]
            if k == 1:
                size.copy_(start)
            product = g * before
            turned = product < 0
            size.copy_(size.mul(longer).where(product > 0, size.mul(shorter).where(turned, size)))
            size.copy_(size.maximum(smallest).minimum(largest))
            g = g.masked_fill(turned, 0)
            W.sub_(g.sign() * size)
            before.copy_(g)

        return update
