"""Steps that squares of past gradients scale, for each weight by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

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
    scale_quotient,
)
from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor


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
            g = ascend_or_descend(self, g)
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
            g = ascend_or_descend(self, g)
            if self.weight_decay:
                g = g + decay * W
            total = memory["sum"]
            if k == 1:
                total.copy_(start)
            total.add_(g * g)
            step_size = rate(k) if self.lr_decay else lr
            W.sub_(scale_quotient(step_size, g, total.sqrt().add_(eps), huge))

        return update
