"""Optimizers that torch.optim lacks, and the first of them: Lion.

The single engine makes their steps by a torch.optim.Optimizer of ours (own_steps.py). The defaults
are those of the authors' packages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from linfit.method.optimizers.base import Betas, NonNegative, Optimizer, Positive, Stepper
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    proportional_to_lr,
)
from linfit.script_fragments import GradientLines, Lines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor


class OwnOptimizer(Optimizer):
    """An optimizer whose steps are a class of own_steps.py, which takes its fields."""

    steps_name: ClassVar[str]

    def build(self, parameter: Tensor, n: float) -> Stepper:
        from linfit.method.eager import eager
        from linfit.method.optimizers import own_steps

        made: Any = eager(getattr(own_steps, self.steps_name))
        stepper: Stepper = made([parameter], **self.model_dump(exclude={"name"}))
        return stepper


class Lion(OwnOptimizer):
    """Lion (Chen et al., 2023): steps of size lr along the sign of a running mean.

    w ← (1 − lr·weight_decay)·w − lr·sign(β₁m + (1 − β₁)g), m ← β₂m + (1 − β₂)g. At a fixed lr the
    weights come no nearer to the optimum than about lr. The best lr is a third to a tenth of
    Adam's.
    """

    steps_name = "LionSteps"
    name: Literal["lion"] = "lion"
    lr: Positive = 1e-4
    betas: Betas = (0.9, 0.99)
    weight_decay: NonNegative = 0.0

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        beta1, beta2 = self.betas
        g = gradient.gradient
        update: Lines = (
            f"{model.weight} -= {self.lr!r} * ({beta1!r} * mean + (1 - {beta1!r}) * {g}).sign()",
            f"mean = {beta2!r} * mean + (1 - {beta2!r}) * {g}",
        )
        if self.weight_decay:
            update = (f"{model.weight} *= 1 - {self.lr!r} * {self.weight_decay!r}", *update)
        before = (f"mean = torch.zeros_like({model.weight})",)
        return OptimizerLines(before, in_place(update, gradient.tracked))

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        beta1, beta2 = map(hyperparameters.expand_values, hyperparameters["betas"])
        taken1, taken2 = (
            hyperparameters.expand_values(1 - beta) for beta in hyperparameters["betas"]
        )
        shrunk = hyperparameters.expand_values(
            1 - hyperparameters["lr"] * hyperparameters["weight_decay"]
        )

        def update(k: int, W: Tensor, g: Tensor) -> None:
            mean = memory["mean"]
            if self.weight_decay:
                W.mul_(shrunk)
            W.sub_(lr * (beta1 * mean + taken1 * g).sign())
            mean.mul_(beta2).add_(taken2 * g)

        return update
