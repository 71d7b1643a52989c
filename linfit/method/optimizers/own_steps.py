"""Optimizers that torch.optim lacks, as torch.optim.Optimizer: the single engine's steps.

Python's numbers and tensors meet as in the plain programs, operation by operation, so that these
have the same bits.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from linfit.method.optimizers.averaging import Averaging


class OwnSteps(torch.optim.Optimizer):
    """A step moves each parameter by its gradient and its state."""

    def __init__(self, params: list[Tensor], **fields: Any) -> None:
        super().__init__(params, fields)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for w in group["params"]:
                if not self.state[w]:
                    self.state[w] = self.begin(w, group)
                self.move(w, w.grad, group, self.state[w])

    @abstractmethod
    def begin(self, w: Tensor, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the state before the first step."""

    @abstractmethod
    def move(self, w: Tensor, g: Tensor, fields: dict[str, Any], state: dict[str, Any]) -> None:
        """Move the weights and the state in place."""


class LionSteps(OwnSteps):
    """w ← (1 − lr·weight_decay)·w − lr·sign(β₁m + (1 − β₁)g), m ← β₂m + (1 − β₂)g."""

    def begin(self, w: Tensor, fields: dict[str, Any]) -> dict[str, Any]:
        return {"mean": torch.zeros_like(w)}

    def move(self, w: Tensor, g: Tensor, fields: dict[str, Any], state: dict[str, Any]) -> None:
        beta1, beta2 = fields["betas"]
        lr = fields["lr"]
        mean = state["mean"]
        if fields["weight_decay"]:
            w *= 1 - lr * fields["weight_decay"]
        w -= lr * (beta1 * mean + (1 - beta1) * g).sign()
        state["mean"] = beta2 * mean + (1 - beta2) * g


class ScheduleFreeSteps(OwnSteps):
    """y ← y + c·(z − y) − γ·(1 − momentum·(1 − c))·g, z ← z − γ·g, where c is z's share in x."""

    def begin(self, w: Tensor, fields: dict[str, Any]) -> dict[str, Any]:
        return {"z": w.clone(), "averaging": Averaging(fields["r"], fields["weight_lr_power"])}

    def move(self, w: Tensor, g: Tensor, fields: dict[str, Any], state: dict[str, Any]) -> None:
        k = state["averaging"].k + 1
        rate = fields["lr"]
        if k < fields["warmup_steps"]:
            rate = rate * (k / fields["warmup_steps"])
        rate, g = self.scale(k, rate, g, fields, state)
        if fields["weight_decay"]:
            g = g + fields["weight_decay"] * w
        share = state["averaging"].take(rate)
        momentum = fields["momentum"] if "momentum" in fields else fields["betas"][0]
        w += share * (state["z"] - w)
        w -= rate * (1 - momentum * (1 - share)) * g
        state["z"] -= rate * g

    def scale(
        self, k: int, rate: float, g: Tensor, fields: dict[str, Any], state: dict[str, Any]
    ) -> tuple[float, Tensor]:
        """Return the rate and the direction of the k-th step."""
        return rate, g


class ScheduleFreeAdamWSteps(ScheduleFreeSteps):
    """The same along g/(√v + eps), where γ has the factor √(1 − β₂ᵏ)."""

    def begin(self, w: Tensor, fields: dict[str, Any]) -> dict[str, Any]:
        return {**super().begin(w, fields), "square": torch.zeros_like(w)}

    def scale(
        self, k: int, rate: float, g: Tensor, fields: dict[str, Any], state: dict[str, Any]
    ) -> tuple[float, Tensor]:
        beta2 = fields["betas"][1]
        state["square"] = beta2 * state["square"] + (1 - beta2) * g * g
        return rate * (1 - beta2**k) ** 0.5, g / (state["square"].sqrt() + fields["eps"])


class ProdigySteps(OwnSteps):
    """Adam whose step size d is the largest lower bound so far of the distance to the optimum."""

    def begin(self, w: Tensor, fields: dict[str, Any]) -> dict[str, Any]:
        zeros = {name: torch.zeros_like(w) for name in ("mean", "square", "sum")}
        d = w.new_tensor(fields["d0"])
        return {"k": 0, "start": w.clone(), "d": d, "largest": d, "numerator": 0 * d, **zeros}

    def move(self, w: Tensor, g: Tensor, fields: dict[str, Any], state: dict[str, Any]) -> None:
        beta1, beta2 = fields["betas"]
        beta3 = beta2**0.5 if fields["beta3"] is None else fields["beta3"]
        d, d0 = state["d"], fields["d0"]
        state["k"] += 1
        lr = fields["lr"]
        if fields["use_bias_correction"]:
            lr = lr * ((1 - beta2 ** state["k"]) ** 0.5 / (1 - beta1 ** state["k"]))
        if fields["weight_decay"] and not fields["decouple"]:
            g = g + fields["weight_decay"] * w

        scale = d / d0 * (d * lr)
        away = ((state["start"] - w) * g).sum()
        state["numerator"] = beta3 * state["numerator"] + scale * away
        state["mean"] = beta1 * state["mean"] + d * (1 - beta1) * g
        state["square"] = beta2 * state["square"] + d * d * (1 - beta2) * g * g
        state["sum"] = (
            beta3 * state["sum"] + (d / d0 * d if fields["safeguard_warmup"] else scale) * g
        )

        if fields["weight_decay"] and fields["decouple"]:
            w *= 1 - fields["weight_decay"] * (d * lr)
        w -= d * lr * state["mean"] / (state["square"].sqrt() + d * fields["eps"])

        total = state["sum"].abs().sum()
        found = torch.where(total > 0, fields["d_coef"] * state["numerator"] / total, d)
        state["largest"] = largest = torch.maximum(state["largest"], found)
        if fields["growth_rate"] is None:
            state["d"] = largest
        else:
            grown = torch.where(d == d.new_tensor(d0), torch.maximum(d, found), d)
            state["d"] = torch.minimum(largest, fields["growth_rate"] * grown)
