"""Optimizers that step by the proximal operator of ‖W‖₁: they reach weights of exactly 0.

A step of the smooth part of the objective, the loss and ‖W‖², is followed by soft thresholding,
S(v, τ) = v − max(−τ, min(v, τ)), at τ = lr·l1: it minimizes ½‖w − v‖² + τ‖w‖₁ (Beck and Teboulle,
"A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems", 2009). Without
‖W‖₁ these are gradient descent and Nesterov's method for objectives that are not strongly convex.

p features, q targets, s fits of one kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import PrivateAttr

from linfit.method.linear_steps import (
    LinearConstants,
    divide_by_curvature,
    stable_momentum_lr,
)
from linfit.method.models import Model
from linfit.method.optimizers import Optimizer, Positive, Stepper
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    sum_over,
)
from linfit.problem.losses import Loss
from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.optimum import Optimum
from linfit.script_fragments import GradientLines, Lines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor


class Proximal(Optimizer):
    """A step of the smooth part, then the proximal operator of ‖W‖₁."""

    handles_l1: ClassVar[bool] = True

    lr: Positive | None = None

    _shrinkage: Shrinkage = PrivateAttr(default_factory=Shrinkage)
    _model: Model | None = PrivateAttr(default=None)

    def check_loss(self, loss: Loss) -> None:
        if self.lr is None and loss.curvature_bound is None and not loss.quadratic:
            raise ValueError(
                f"the curvature of loss {loss.name} has no bound that would give {self.name} a "
                "learning rate: give optimizer.lr"
            )

    def tuned_to(self, optimum: Optimum, model: Model | None = None) -> Optimizer:
        largest = optimum.curvature_range[0]
        safe = 1 / largest if largest > 0 else 1.0
        tuned = self.model_copy(update={"lr": self.lr or safe})
        tuned._shrinkage = optimum.shrinkage
        tuned._model = model
        return tuned

    def needs_answer(self) -> bool:
        return self.lr is None

    def require_lr(self) -> float:
        """Return the learning rate, which is decided before anything moves."""
        assert self.lr is not None, "the problem is known before anything moves"
        return self.lr

    def transpose(self, tensor: Tensor) -> Tensor:
        """Return a tensor in the parameter's layout as W `[p, q]`, in the same storage."""
        return tensor if self._model is None else self._model.transpose(tensor)

    def threshold(self, W: Tensor, lr: float) -> None:
        """Replace the penalized rows of W `[p, q]` by S(W, lr·l1), in place."""
        threshold = lr * self._shrinkage.l1
        if threshold:
            penalized = W[:-1] if self._shrinkage.exempt else W
            penalized -= penalized.clamp(-threshold, threshold)

    def write_threshold(self, W: str) -> Lines:
        """Return the line that does so to the expression W, none without ‖W‖₁."""
        if not self._shrinkage.l1:
            return ()
        penalized = f"{W}[:-1]" if self._shrinkage.exempt else W
        threshold = self.require_lr() * self._shrinkage.l1
        clamped = f"{penalized}.clamp({-threshold!r}, {threshold!r})"
        return (f"{penalized}.sub_({clamped})  # soft thresholding",)

    def stack_steps(self, hyperparameters: HyperparameterColumns) -> StackedSteps:
        """Return the proximal steps of s fits."""
        lr = hyperparameters.tensor("lr")
        own = [one for one in hyperparameters.components if isinstance(one, Proximal)]
        if not own[0]._shrinkage.l1:
            return StackedSteps(lr)
        p = hyperparameters.like.shape[1]
        l1 = np.stack([one._shrinkage.l1 * one._shrinkage.mark_penalized(p) for one in own])
        threshold = hyperparameters["lr"] * l1[:, :, None]  # [s, p, 1]
        return StackedSteps(lr, hyperparameters.round_values(threshold))


class StackedSteps:
    """W ← S(W − lr·g, threshold) of s fits, without a threshold if there is no ‖W‖₁."""

    def __init__(self, lr: Tensor, threshold: Tensor | None = None) -> None:
        self.lr = lr
        self.threshold = threshold

    def __call__(self, W: Tensor, g: Tensor) -> Tensor:
        v = W - self.lr * g
        if self.threshold is None:
            return v
        return v - v.maximum(-self.threshold).minimum(self.threshold)


class ProximalGradient(Proximal):
    """Proximal gradient descent (ISTA): w ← S(w − lr·g, lr·l1), g that of the smooth part.

    S is soft thresholding, l1 the strength of ‖W‖₁ in the penalty. `lr` is 1/L unless given, L the
    largest curvature of the smooth part: then no step raises the objective. Without ‖W‖₁ it is
    gradient descent. torch.optim has no counterpart.
    """

    name: Literal["proximal_gradient"] = "proximal_gradient"

    def build(self, parameter: Tensor, n: float) -> Stepper:
        return ProximalStepper(self, parameter)

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        update = (
            f"{model.weight} -= {self.require_lr()!r} * {gradient.gradient}",
            *self.write_threshold(f"{model.weight}{model.transposed}"),
        )
        return OptimizerLines((), in_place(update, gradient.tracked))

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        steps = self.stack_steps(hyperparameters)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            W.copy_(steps(W, g))

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """Return 2/λ: up to it every start converges, with ‖W‖₁ too (Combettes and Wajs, 2005)."""
        return divide_by_curvature(2.0, curvature)

    def is_stable_by_batches(self) -> bool:
        return True

    def linear_constants(self, n: float) -> LinearConstants | None:
        """Return those of gradient descent, as which weights that are not 0 move."""
        if self.lr is None:
            return None
        return LinearConstants(self.lr)

    def optimal_lr(self, largest: float, smallest: float, n: float) -> float | None:
        return 2 / (largest + smallest)


class ProximalStepper:
    """Proximal gradient descent by hand."""

    def __init__(self, optimizer: Proximal, parameter: Tensor) -> None:
        self.parameter = parameter
        self.optimizer = optimizer
        self.lr = optimizer.require_lr()
        self.weight = parameter.detach()

    def step(self) -> None:
        assert self.parameter.grad is not None
        self.weight -= self.lr * self.parameter.grad
        self.optimizer.threshold(self.optimizer.transpose(self.weight), self.lr)


class FISTA(Proximal):
    """FISTA (Beck and Teboulle, 2009): proximal gradient descent with Nesterov's momentum.

    x ← S(w − lr·g, lr·l1), w ← x + (t − 1)/t'·(x − x before), t' = (1 + √(1 + 4t²))/2, t = 1 at
    first. The weights are the points w, where the gradient is taken. The excess loss of x is within
    2L‖x₀ − x*‖²/(k + 1)² after k steps with `lr` 1/L, as it is unless given. `restart=gradient`
    sets t of a target to 1 where its x moves against the descent, (w − x)·(x − x before) > 0
    (O'Donoghue and Candès, "Adaptive Restart for Accelerated Gradient Schemes", 2015): then it
    converges as fast as the curvature around the optimum allows. torch.optim has no counterpart.
    """

    name: Literal["fista"] = "fista"
    restart: Literal["none", "gradient"] = "gradient"

    def build(self, parameter: Tensor, n: float) -> Stepper:
        return FISTAStepper(self, parameter)

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        w = f"{model.weight}{model.transposed}"
        turned: Lines = ()
        if self.restart == "gradient":
            turned = (
                f"turned = (({w} - x) * (x - before)).sum(dim=0) > 0  # against the descent",
                "t, momentum = t.masked_fill(turned, 1), momentum.masked_fill(turned, 0)",
            )
        update = (
            f"x, before = {w} - {self.require_lr()!r} * {gradient.gradient}{model.transposed}, x",
            *self.write_threshold("x"),
            "t, momentum = (1 + (1 + 4 * t * t).sqrt()) / 2, t - 1",
            "momentum = momentum / t",
            *turned,
            f"{w}.copy_(x + momentum * (x - before))",
        )
        before = (f"x, t = {w}.detach().clone(), X.new_ones(1)",)
        return OptimizerLines(before, in_place(update, gradient.tracked))

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        steps = self.stack_steps(hyperparameters)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            before = memory["before"]
            t = memory["t"]
            if k == 1:
                before.copy_(W)
                t.fill_(1)
            x = steps(W, g)
            moved = x - before
            following = (1 + (1 + 4 * t * t).sqrt()) / 2
            momentum = (t - 1) / following
            if self.restart == "gradient":
                turned = (sum_over((W - x) * moved, 1) > 0).unsqueeze(1)  # [s, 1, q]
                following = following.masked_fill(turned, 1)
                momentum = momentum.masked_fill(turned, 0)
            before.copy_(x)
            t.copy_(following)
            W.copy_(x + momentum * moved)

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """Return 4/(3λ), the bound of Nesterov's momentum near 1; None with restarts."""
        if self.restart == "gradient":
            return None
        return stable_momentum_lr(1.0, True, curvature)


class FISTAStepper:
    """FISTA by hand, in W's layout `[p, q]`; each target has its own t `[q]`."""

    def __init__(self, optimizer: FISTA, parameter: Tensor) -> None:
        self.parameter = parameter
        self.optimizer = optimizer
        self.lr = optimizer.require_lr()
        self.weight = optimizer.transpose(parameter.detach())  # the same storage
        self.x = self.weight.clone()
        self.t = self.weight.new_ones(1)

    def step(self) -> None:
        assert self.parameter.grad is not None
        before = self.x
        self.x = self.weight - self.lr * self.optimizer.transpose(self.parameter.grad)
        self.optimizer.threshold(self.x, self.lr)
        moved = self.x - before
        following = (1 + (1 + 4 * self.t * self.t).sqrt()) / 2
        momentum = (self.t - 1) / following
        if self.optimizer.restart == "gradient":
            turned = ((self.weight - self.x) * moved).sum(dim=0) > 0
            following = following.masked_fill(turned, 1)
            momentum = momentum.masked_fill(turned, 0)
        self.t = following
        self.weight.copy_(self.x + momentum * moved)
