"""Schedule-free SGD and AdamW (Defazio et al., "The Road Less Scheduled", 2024)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from linfit.method.optimizers.averaging import schedule_free_rates
from linfit.method.optimizers.base import Betas, Fraction, NonNegative, Positive
from linfit.method.optimizers.own import OwnOptimizer
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.script_fragments import GradientLines, Lines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor

WarmupSteps = Annotated[int, Field(ge=0)]


class ScheduleFree(OwnOptimizer):
    """An average x of a fast point z, with the gradient at y between them, and no schedule."""

    lr: Positive
    weight_decay: NonNegative = 0.0
    warmup_steps: WarmupSteps = 0
    r: NonNegative = 0.0
    weight_lr_power: NonNegative = 2.0

    @abstractmethod
    def interpolation(self) -> float:
        """Return the share of x in y."""

    @abstractmethod
    def rate_lines(self, gradient: str) -> tuple[Lines, str, str]:
        """Return lines, then factors of a step's rate and its direction as expressions."""

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        w = model.weight
        lines, factor, direction = self.rate_lines(gradient.gradient)
        warmup = f" * min(1, (step + 1) / {self.warmup_steps})" if self.warmup_steps else ""
        before: Lines = (f"z = {w}.detach().clone()",)
        averaging: Lines = ("share = 1 / (step + 1)",)
        if warmup or factor or self.r:
            before = (f"z, largest, inverse = {w}.detach().clone(), 0.0, 0.0",)
            averaging = (
                "before, largest = largest, max(largest, rate)",
                f"lighter = (step / (step + 1)) ** {self.r!r}"
                f" * (before / largest) ** {self.weight_lr_power!r}",
                "inverse = 1 + inverse * lighter",
                "share = 1 / inverse",
            )
        if lines:
            before = (*before, f"square = torch.zeros_like({w})")
        if self.weight_decay:
            direction = f"{direction} + {self.weight_decay!r} * {w}"
        update = (
            *lines,
            f"rate, direction = {self.lr!r}{warmup}{factor}, {direction}",
            *averaging,
            f"{w} += share * (z - {w})",
            f"{w} -= rate * (1 - {self.interpolation()!r} * (1 - share)) * direction",
            "z -= rate * direction",
        )
        return OptimizerLines(before, in_place(update, gradient.tracked))


class ScheduleFreeSGD(ScheduleFree, keeps=[ScheduleFree.script_lines]):
    """Schedule-free SGD (Defazio et al., 2024): it averages as it goes, and needs no schedule.

    z ← z − γ·g(y), x ← (1 − c)·x + c·z, y = (1 − momentum)·z + momentum·x, where γ is lr after a
    linear warmup, and the k-th point's weight in the average kʳ·γᵖ with p = weight_lr_power. The
    fit's weights are y, where the gradient and with it the loss are taken, not x, at which the
    authors evaluate: a step has one evaluation. They differ by (1 − momentum)·(z − x).
    """

    steps_name = "ScheduleFreeSteps"
    name: Literal["schedule_free_sgd"] = "schedule_free_sgd"
    lr: Positive = 1.0
    momentum: Fraction = 0.9

    def interpolation(self) -> float:
        return self.momentum

    def rate_lines(self, gradient: str) -> tuple[Lines, str, str]:
        return (), "", gradient

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        fields = ("lr", "momentum", "warmup_steps", "r", "weight_lr_power")
        rates = hyperparameters.iterate_by_step(
            schedule_free_rates, *(hyperparameters[field] for field in fields)
        )
        decay = hyperparameters.tensor("weight_decay")

        def update(k: int, W: Tensor, g: Tensor) -> None:
            z = memory["z"]
            if k == 1:
                z.copy_(W)
            if self.weight_decay:
                g = g + decay * W
            share, near, far = rates(k)
            W.add_(share * (z - W)).sub_(near * g)
            z.sub_(far * g)

        return update


class ScheduleFreeAdamW(ScheduleFree, keeps=[ScheduleFree.script_lines]):
    """Schedule-free AdamW (Defazio et al., 2024): the same along the step of Adam without momentum.

    v ← β₂v + (1 − β₂)g(y)², z ← z − γ·(g(y)/(√v + eps) + weight_decay·y), x ← (1 − c)·x + c·z,
    y = (1 − β₁)·z + β₁·x, where γ = lr·√(1 − β₂ᵏ) after a linear warmup. The fit's weights are y,
    as those of schedule_free_sgd are. So says the paper; the package schedulefree 1.4 has γ without
    the root, and v/(1 − β₂ᵏ) for v, which weighs the first points more.
    """

    steps_name = "ScheduleFreeAdamWSteps"
    name: Literal["schedule_free_adamw"] = "schedule_free_adamw"
    lr: Positive = 2.5e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8

    def interpolation(self) -> float:
        return self.betas[0]

    def rate_lines(self, gradient: str) -> tuple[Lines, str, str]:
        beta = self.betas[1]
        mean = f"square = {beta!r} * square + (1 - {beta!r}) * {gradient} * {gradient}"
        factor = f" * (1 - {beta!r} ** (step + 1)) ** 0.5"
        return (mean,), factor, f"{gradient} / (square.sqrt() + {self.eps!r})"

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        beta1, beta2 = hyperparameters["betas"]
        rates = hyperparameters.iterate_by_step(
            schedule_free_rates,
            hyperparameters["lr"],
            beta1,
            *(hyperparameters[field] for field in ("warmup_steps", "r", "weight_lr_power")),
            beta2,
        )
        kept = hyperparameters.expand_values(beta2)
        taken = hyperparameters.expand_values(1 - beta2)
        eps = hyperparameters.tensor("eps")
        decay = hyperparameters.tensor("weight_decay")

        def update(k: int, W: Tensor, g: Tensor) -> None:
            z = memory["z"]
            if k == 1:
                z.copy_(W)
            v = memory["square"].mul_(kept).add_(taken * g * g)
            g = g / v.sqrt().add_(eps)
            if self.weight_decay:
                g = g + decay * W
            share, near, far = rates(k)
            W.add_(share * (z - W)).sub_(near * g)
            z.sub_(far * g)

        return update
