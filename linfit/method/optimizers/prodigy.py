"""Prodigy (Mishchenko and Defazio, 2023), which estimates its step size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from linfit.method.optimizers.base import Betas, Fraction, NonNegative, Positive
from linfit.method.optimizers.own import OwnOptimizer
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    raise_to_steps,
    sum_over,
)
from linfit.problem.types import Array
from linfit.script_fragments import GradientLines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor

Growth = Annotated[float, Field(ge=1)]


class Prodigy(OwnOptimizer):
    """Prodigy (Mishchenko and Defazio, 2023): Adam that finds its learning rate.

    It is d·lr, where d is the largest lower bound so far of the distance from the start to the
    optimum: with γ = lr·d²/d0, r ← β₃r + γ·⟨g, w₀ − w⟩, s ← β₃s + γ·g, d ← max(d, d_coef·r/‖s‖₁).
    The step is Adam's of the gradients d·g, w ← w − lr·d·m/(√v + d·eps), by default without bias
    correction. β₃ is √β₂ unless given, and `growth_rate` bounds the growth of d per step. d is one
    number for all weights, so that targets are not independent of each other.
    """

    steps_name = "ProdigySteps"
    name: Literal["prodigy"] = "prodigy"
    lr: Positive = 1.0
    betas: Betas = (0.9, 0.999)
    beta3: Fraction | None = None
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    decouple: bool = True
    use_bias_correction: bool = False
    safeguard_warmup: bool = False
    d0: Positive = 1e-6
    d_coef: Positive = 1.0
    growth_rate: Growth | None = None

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        w = model.weight
        beta1, beta2 = self.betas
        beta3 = beta2**0.5 if self.beta3 is None else self.beta3
        g, lr, update = gradient.gradient, repr(self.lr), []
        if self.weight_decay and not self.decouple:
            update.append(f"slope = {g} + {self.weight_decay!r} * {w}")
            g = "slope"
        if self.use_bias_correction:
            correction = f"(1 - {beta2!r} ** (step + 1)) ** 0.5 / (1 - {beta1!r} ** (step + 1))"
            update.append(f"rate = {lr} * ({correction})")
            lr = "rate"
        share = f"d / {self.d0!r} * d" if self.safeguard_warmup else "scale"
        update += (
            f"scale = d / {self.d0!r} * (d * {lr})",
            f"bound = {beta3!r} * bound + scale * ((start - {w}) * {g}).sum()",
            f"mean = {beta1!r} * mean + d * (1 - {beta1!r}) * {g}",
            f"square = {beta2!r} * square + d * d * (1 - {beta2!r}) * {g} * {g}",
            f"total = {beta3!r} * total + {share} * {g}",
        )
        if self.weight_decay and self.decouple:
            update.append(f"{w} *= 1 - {self.weight_decay!r} * (d * {lr})")
        found = f"torch.where(total.any(), {self.d_coef!r} * bound / total.abs().sum(), d)"
        update.append(f"{w} -= d * {lr} * mean / (square.sqrt() + d * {self.eps!r})")
        if self.growth_rate is None:
            update.append(f"d = torch.maximum(d, {found})")
        else:
            update += (
                f"found = {found}",
                "largest = torch.maximum(largest, found)",
                "d = torch.where(d == first, torch.maximum(d, found), d)",
                f"d = torch.minimum(largest, {self.growth_rate!r} * d)",
            )
        zeros = f"torch.zeros_like({w})"
        before = (
            f"start, first = {w}.detach().clone(), {w}.new_tensor({self.d0!r})",
            "d, largest, bound = first, first, 0 * first",
            f"mean, square, total = {zeros}, {zeros}, {zeros}",
        )
        return OptimizerLines(before, in_place(update, gradient.tracked))

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        beta1, beta2 = hyperparameters["betas"]
        beta3 = hyperparameters["beta3"]
        kept3 = hyperparameters.expand_values(np.where(np.isnan(beta3), np.sqrt(beta2), beta3))
        kept1, taken1 = map(hyperparameters.expand_values, (beta1, 1 - beta1))
        kept2, taken2 = map(hyperparameters.expand_values, (beta2, 1 - beta2))
        names = ("eps", "weight_decay", "d0", "d_coef", "growth_rate")
        eps, decay, d0, d_coef, growth = map(hyperparameters.tensor, names)

        def rates(steps: range) -> Array:
            lr = hyperparameters["lr"]
            if not self.use_bias_correction:
                return np.stack([lr for _ in steps])
            root = np.sqrt(1 - raise_to_steps(beta2, steps))
            return lr * (root / (1 - raise_to_steps(beta1, steps)))

        rate = hyperparameters.compute_by_step(rates)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            d, largest = memory["d"], memory["largest"]
            if k == 1:
                memory["start"].copy_(W)
                d.copy_(d0)
                largest.copy_(d0)
            if self.weight_decay and not self.decouple:
                g = g + decay * W

            step = d * rate(k)
            scale = d / d0 * step
            away = sum_over(((memory["start"] - W) * g).flatten(1), 1)  # [s]
            bound = memory["bound"].mul_(kept3).add_(scale * away[:, None, None])
            mean = memory["mean"].mul_(kept1).add_(d * taken1 * g)
            square = memory["square"].mul_(kept2).add_(d * d * taken2 * g * g)
            share = d / d0 * d if self.safeguard_warmup else scale
            total = memory["total"].mul_(kept3).add_(share * g)

            if self.weight_decay and self.decouple:
                W.mul_(1 - decay * step)
            W.sub_(step * mean / square.sqrt().add_(d * eps))

            size = sum_over(total.abs().flatten(1), 1)[:, None, None]
            found = (d_coef * bound / size).where(size > 0, d)
            largest.copy_(largest.maximum(found))
            if self.growth_rate is None:
                d.copy_(largest)
            else:
                grown = d.maximum(found).where(d == d0, d)
                d.copy_(largest.minimum(growth * grown))

        return update
