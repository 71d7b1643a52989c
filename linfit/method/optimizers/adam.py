"""Adam and its kin: steps by a running mean of gradients over one of their squares."""

from __future__ import annotations

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
        g = ascend_or_descend(optimizer, g)
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
