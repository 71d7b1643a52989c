"""Relatives of Adam in torch.optim: NAdam with Nesterov's momentum, RAdam rectified, and Adamax."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING, Literal

import numpy as np

from linfit.method.optimizers.base import (
    Betas,
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
    raise_to_steps,
    scale_quotient,
)

if TYPE_CHECKING:
    from torch import Tensor

#: torch rectifies the steps of RAdam once the mean of squares is as good as of so many of them.
RECTIFIED_ABOVE = 5.0


class NAdam(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.NAdam (Dozat, 2016): Adam with Nesterov's momentum.

    w ← w − lr·((1 − μₖ)/(1 − μ₁…μₖ)·g + μₖ₊₁/(1 − μ₁…μₖ₊₁)·m)/(√v̂ + eps), where the momentum μₖ
    = β₁·(1 − 0.96^(k·momentum_decay)/2) grows from β₁/2 to β₁.
    """

    torch_name = "NAdam"
    name: Literal["nadam"] = "nadam"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    momentum_decay: NonNegative = 4e-3
    decoupled_weight_decay: bool = False
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters["lr"]
        beta1, beta2 = hyperparameters["betas"]
        mixed = hyperparameters.expand_values(1 - beta1)
        kept = hyperparameters.expand_values(beta2)
        taken = hyperparameters.expand_values(1 - beta2)
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")
        shrunk = hyperparameters.expand_values(1 - lr * hyperparameters["weight_decay"])
        correction = hyperparameters.compute_by_step(lambda steps: 1 - raise_to_steps(beta2, steps))
        rates = hyperparameters.iterate_by_step(
            nesterov_rates, lr, beta1, hyperparameters["momentum_decay"]
        )

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = ascend_or_descend(self, g)
            if self.weight_decay and self.decoupled_weight_decay:
                W.mul_(shrunk)
            elif self.weight_decay:
                g = g + decay * W
            m = memory["mean"]
            m.add_(mixed * (g - m))
            v = memory["square"].mul_(kept).add_(taken * g * g)
            root = v.div(correction(k)).sqrt_().add_(eps)
            of_gradient, of_mean = rates(k)
            W.sub_(of_gradient * g / root)
            W.sub_(of_mean * m / root)

        return update


def nesterov_rates(lr: float, beta: float, decay: float) -> Iterator[tuple[float, float]]:
    """Yield NAdam's rates of the gradient and of its mean, for each step.

    torch keeps the product of the momenta in float32, whatever the weights' dtype is.
    """
    product = np.float32(1.0)
    for k in count(1):
        momentum = beta * (1 - 0.5 * 0.96 ** (k * decay))
        coming = beta * (1 - 0.5 * 0.96 ** ((k + 1) * decay))
        product = product * np.float32(momentum)
        made = float(product)
        yield lr * (1 - momentum) / (1 - made), lr * coming / (1 - made * coming)


class RAdam(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.RAdam (Liu et al., 2020): Adam whose first steps are held back.

    They are w ← w − lr·m̂ until the variance of 1/√v̂ is bounded, and w ← w − lr·r·m̂/(√v + eps)·
    √(1 − β₂ᵏ) from then on, where r grows to 1 (with the default betas, from the sixth step on).
    """

    torch_name = "RAdam"
    name: Literal["radam"] = "radam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled_weight_decay: bool = False
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        beta1, beta2 = hyperparameters["betas"]
        mixed = hyperparameters.expand_values(1 - beta1)
        kept = hyperparameters.expand_values(beta2)
        taken = hyperparameters.expand_values(1 - beta2)
        lr = hyperparameters.tensor("lr")
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")
        shrunk = hyperparameters.expand_values(
            1 - hyperparameters["lr"] * hyperparameters["weight_decay"]
        )
        correction = hyperparameters.compute_by_step(lambda steps: 1 - raise_to_steps(beta1, steps))
        rectified = hyperparameters.iterate_by_step(rectified_shares, beta2)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = ascend_or_descend(self, g)
            if self.weight_decay and self.decoupled_weight_decay:
                W.mul_(shrunk)
            elif self.weight_decay:
                g = g + decay * W
            m = memory["mean"]
            m.add_(mixed * (g - m))
            v = memory["square"].mul_(kept).add_(taken * g * g)
            step = m / correction(k) * lr
            root_correction, share = rectified(k)
            adapted = step * (root_correction / v.sqrt().add_(eps)) * share
            W.sub_(adapted.where(share > 0, step))

        return update


def rectified_shares(beta: float) -> Iterator[tuple[float, float]]:
    """Yield RAdam's √(1 − βᵏ) and r for each step; r is 0 while the step is not rectified."""
    longest = 2 / (1 - beta) - 1
    for k in count(1):
        power = beta**k
        length = longest - 2 * k * power / (1 - power)
        share = 0.0
        if length > RECTIFIED_ABOVE:
            gained = (length - 4) * (length - 2) * longest
            share = (gained / ((longest - 4) * (longest - 2) * length)) ** 0.5
        yield (1 - power) ** 0.5, share


class Adamax(TorchOptimizer, keeps=[TorchOptimizer.script_lines]):
    """torch.optim.Adamax (Kingma and Ba, 2015): Adam by largest gradients, not mean squares.

    u ← max(β₂·u, |g| + eps), w ← w − lr/(1 − β₁ᵏ)·m/u.
    """

    torch_name = "Adamax"
    name: Literal["adamax"] = "adamax"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    weight_decay: NonNegative = 0.0
    maximize: bool = False

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        beta1, beta2 = hyperparameters["betas"]
        mixed = hyperparameters.expand_values(1 - beta1)
        kept = hyperparameters.expand_values(beta2)
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")
        step_size = hyperparameters.compute_by_step(
            lambda steps: hyperparameters["lr"] / (1 - raise_to_steps(beta1, steps))
        )
        huge = hyperparameters.mark_huge_rates()

        def update(k: int, W: Tensor, g: Tensor) -> None:
            g = ascend_or_descend(self, g)
            if self.weight_decay:
                g = g + decay * W
            m = memory["mean"]
            m.add_(mixed * (g - m))
            largest = memory["largest"]
            largest.copy_(largest.mul(kept).maximum(g.abs().add_(eps)))
            W.sub_(scale_quotient(step_size(k), m, largest, huge))

        return update
