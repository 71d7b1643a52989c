"""Optimizers of quadratic objectives whose constants follow from the problem.

They are compared with optimizers that know nothing of it. With the largest curvature L of the
objective, the smallest one that is not zero μ, and κ = L/μ (Lessard, Recht and Packard, "Analysis
and Design of Optimization Algorithms via Integral Quadratic Constraints", 2016, Proposition 1):

| method | lr | momentum | contraction per step |
|---|---|---|---|
| gradient descent | 2/(L + μ) | | (κ − 1)/(κ + 1) |
| heavy_ball | 4/(√L + √μ)² | ((√κ − 1)/(√κ + 1))² | (√κ − 1)/(√κ + 1) |
| nesterov | 4/(3L + μ) | (√(3κ + 1) − 2)/(√(3κ + 1) + 2) | 1 − 2/√(3κ + 1) |
| conjugate_gradient | best of every step | best of every step | 0 after one step per curvature |
| closed_form | | | 0 after one step |

p features, q targets, m = min(n, p), s fits of one kind.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from linfit.method.linear_steps import LinearConstants, stable_momentum_lr
from linfit.method.models import Model
from linfit.method.optimizers import Fraction, Optimizer, Positive, Stepper
from linfit.method.solvers.problem_aware import Informed
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    proportional_to_lr,
    sum_over,
)
from linfit.problem.losses import Loss
from linfit.problem.theory.magnitudes import measure_column_norms
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array
from linfit.script_fragments import GradientLines, ModelLines, OptimizerLines, in_place

if TYPE_CHECKING:
    from torch import Tensor


class Accelerated(Optimizer):
    """Momentum with optimal `lr` and `momentum`, unless given.

    They are optimal for the problem in theory.
    """

    #: True if the gradient is taken where the velocity will lead.
    lookahead: ClassVar[bool]

    lr: Positive | None = None
    momentum: Fraction | None = None

    @abstractmethod
    def optimal_constants(self, largest: float, smallest: float) -> tuple[float, float]:
        """Return the optimal lr and momentum for these curvatures.

        They are 1 and 0 if nothing is curved.
        """

    def tuned_to(self, optimum: Optimum, model: Model | None = None) -> Optimizer:
        if not self.has_open_constants():
            return self
        lr, momentum = self.optimal_constants(*optimum.curvature_range)
        if self.momentum is not None:
            momentum = self.momentum
        return self.model_copy(update={"lr": self.lr or lr, "momentum": momentum})

    def check_loss(self, loss: Loss) -> None:
        if self.has_open_constants() and not loss.quadratic:
            raise ValueError(
                f"the optimal constants of {self.name} are known for quadratic losses, "
                f"not for {loss.name}: give optimizer.lr and optimizer.momentum"
            )

    def check_l1(self, penalty: str) -> None:
        if self.has_open_constants():
            raise ValueError(
                f"the optimal constants of {self.name} are known for quadratic objectives, which "
                f"penalty {penalty} is not: choose optimizer=fista, or give optimizer.lr and "
                "optimizer.momentum"
            )

    def has_open_constants(self) -> bool:
        """Return True if a constant is left to theory.

        Theory knows quadratic objectives only.
        """
        return self.lr is None or self.momentum is None

    def needs_answer(self) -> bool:
        return self.has_open_constants()

    def build(self, parameter: Tensor, n: float) -> Stepper:
        assert self.lr is not None and self.momentum is not None, (
            "the problem is known before anything moves"
        )
        return MomentumStepper(parameter, self.lr, self.momentum, self.lookahead)

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        step = "velocity"
        if self.lookahead:
            step = f"({gradient.gradient} + {self.momentum!r} * velocity)"
        update = (
            f"velocity = {self.momentum!r} * velocity + {gradient.gradient}",
            f"{model.weight} -= {self.lr!r} * {step}",
        )
        before = (f"velocity = torch.zeros_like({model.weight})",)
        return OptimizerLines(before, in_place(update, gradient.tracked))

    @proportional_to_lr
    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        lr = hyperparameters.tensor("lr")
        momentum = hyperparameters.tensor("momentum")

        def update(k: int, W: Tensor, g: Tensor) -> None:
            step = velocity = memory["velocity"].mul_(momentum).add_(g)
            if self.lookahead:
                step = g + momentum * velocity
            W.sub_(lr * step)

        return update

    def largest_stable_lr(self, curvature: float, n: float) -> float | None:
        """Return 2(1 + momentum)/λ, divided by 1 + 2·momentum if `lookahead`.

        None without a momentum.
        """
        if self.momentum is None:
            return None
        return stable_momentum_lr(self.momentum, self.lookahead, curvature)

    def linear_constants(self, n: float) -> LinearConstants | None:
        if self.lr is None or self.momentum is None:
            return None
        return LinearConstants(self.lr, self.momentum, self.lookahead)

    def optimal_lr(self, largest: float, smallest: float, n: float) -> float | None:
        return self.optimal_constants(largest, smallest)[0]


#: Rules of every class that chooses its constants and otherwise steps as `Accelerated` does.
ACCELERATED_RULES = (
    Accelerated.script_lines,
    Accelerated.stacked,
    Accelerated.largest_stable_lr,
    Accelerated.linear_constants,
    Accelerated.optimal_lr,
)


class MomentumStepper:
    """Momentum by hand.

    b ← momentum·b + g, w ← w − lr·b, or if `lookahead` w ← w − lr·(g + momentum·b).
    """

    def __init__(self, parameter: Tensor, lr: float, momentum: float, lookahead: bool) -> None:
        self.parameter = parameter
        self.lr = lr
        self.momentum = momentum
        self.lookahead = lookahead
        self.weight = parameter.detach()
        self.velocity = self.weight.new_zeros(self.weight.shape)

    def step(self) -> None:
        gradient = self.parameter.grad
        assert gradient is not None
        step = self.velocity = self.momentum * self.velocity + gradient
        if self.lookahead:
            step = gradient + self.momentum * self.velocity
        self.weight -= self.lr * step


class HeavyBall(Accelerated, keeps=ACCELERATED_RULES):
    """Polyak's heavy ball (1964), with the constants that are optimal for the problem.

    w ← w − lr·g + momentum·(w − w before). These are the steps of torch.optim.SGD(momentum=…),
    whose velocity does not contain lr either; torch has no optimal constants.
    """

    lookahead = False
    name: Literal["heavy_ball"] = "heavy_ball"

    def optimal_constants(self, largest: float, smallest: float) -> tuple[float, float]:
        if largest <= 0:
            return 1.0, 0.0
        above = math.sqrt(largest)
        below = math.sqrt(smallest)
        lr = 4 / max((above + below) ** 2, math.ulp(0.0))
        return lr, ((above - below) / (above + below)) ** 2


class Nesterov(Accelerated, keeps=ACCELERATED_RULES):
    """Nesterov's accelerated gradient (1983), with the constants that are optimal for the problem.

    The gradient is taken where the velocity will lead. The weights are those points y of the scheme
    w ← y − lr·g(y), y ← w + momentum·(w − w before). So are those of
    torch.optim.SGD(nesterov=True), which makes the same steps; torch has no optimal constants. The
    momentum does not change with the step, as it does in the scheme for objectives that are not
    strongly convex.
    """

    lookahead = True
    name: Literal["nesterov"] = "nesterov"

    def optimal_constants(self, largest: float, smallest: float) -> tuple[float, float]:
        if largest <= 0:
            return 1.0, 0.0
        root = math.sqrt(3 * largest / smallest + 1)
        return 4 / (3 * largest + smallest), max(0.0, (root - 2) / (root + 2))


class ConjugateGradient(Informed):
    """Conjugate gradients (Hestenes and Stiefel, 1952): every step is the best along its direction.

    Each target has its own direction: d ← −h/N + β·d with h = g/N and β = max(0, h·(h − h before)/h
    before·h before) (Polak and Ribière, 1969), w ← w + α·d with the exact α = −g·d/dᵀHd, where dᵀHd
    = 2c‖Rd‖² comes from the triangular root R of the problem. N is 1, or with
    `preconditioner=jacobi` the columns' norms: then the units of the features do not matter, and it
    reaches the digits that the condition number of scaled columns leaves; no other diagonal one has
    a κ smaller by more than a factor √p (van der Sluis, 1969). For a quadratic objective it ends,
    but for rounding, after as many steps as the Hessian, of the scaled columns, has different
    eigenvalues: the baseline that no fixed learning rate beats. torch.optim has no counterpart.
    """

    omitted_at_default = frozenset({"preconditioner"})

    name: Literal["conjugate_gradient"] = "conjugate_gradient"
    preconditioner: Literal["none", "jacobi"] = "none"

    def build(self, parameter: Tensor, n: float) -> Stepper:
        import torch

        root = torch.from_numpy(self.optimum.root).to(parameter)  # [m, p]
        norms = torch.from_numpy(self.measure_columns()).to(parameter)  # [p, 1]
        return ConjugateStepper(parameter, root, norms, self.optimum.scale, self.transpose)

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        norms = "X.new_ones(1)"
        if self.preconditioner == "jacobi":
            norms = "torch.tensor(np.linalg.norm(root, axis=0)[:, None]).to(X)"
        zeros = f"X.new_zeros{(2, *self.optimum.weights.shape)}"
        before = (
            f'root = np.linalg.qr({self.write_features()}, mode="r")  # RᵀR = XᵀX',
            f"root, norms, (direction, scaled) = torch.tensor(root).to(X), {norms}, {zeros}"
            "  # [p, 1], [p, q]",
            "ratio = lambda over, under: "
            "(over / under.masked_fill(under == 0, 1)).masked_fill(under == 0, 0)",
        )
        bent = f"{2 * self.optimum.scale!r} * (root @ direction).square().sum(dim=0)"
        length = f"ratio((scaled * norms * direction).sum(dim=0), {bent})"
        update = (
            f"scaled, before = ratio({gradient.gradient}{model.transposed}, norms), scaled"
            "  # [p, q]",
            "direction = ratio((scaled * (scaled - before)).sum(dim=0), before.square().sum(dim=0))"
            ".clamp(min=0) * direction - ratio(scaled, norms)",
            f"{model.weight} -= ({length} * direction){model.transposed}",
        )
        return OptimizerLines(before, in_place(update, gradient.tracked))

    def measure_columns(self) -> Array:
        """Return the divisors of the columns `[p, 1]`."""
        sizes = measure_column_norms(self.optimum.root).T
        if self.preconditioner == "none":
            return np.ones_like(sizes)
        return np.asarray(sizes)

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        own = self.list_alike(hyperparameters)
        roots = hyperparameters.round_values(np.stack([one.optimum.root for one in own])).unsqueeze(
            -1
        )  # [s, m, p, 1]
        norms = hyperparameters.round_values(
            np.stack([one.measure_columns() for one in own])
        )  # [s, p, 1]
        scale = 2 * self.optimum.scale  # of one loss and one shape

        def update(k: int, W: Tensor, g: Tensor) -> None:
            d = memory["direction"]
            before = memory["gradient"]
            scaled = _ratio(g, norms)
            growth = sum_over(scaled * (scaled - before), 1)
            kept = _ratio(growth, sum_over(before * before, 1)).clamp(min=0)  # [s, q]
            d.mul_(kept.unsqueeze(1)).sub_(_ratio(scaled, norms))
            before.copy_(scaled)
            bent = sum_over(roots * d.unsqueeze(1), 2)  # [s, m, q]
            far = _ratio(
                sum_over(scaled * norms * d, 1), scale * sum_over(bent * bent, 1)
            )  # [s, q]
            W.sub_(far.unsqueeze(1) * d)

        return update


class ConjugateStepper:
    """A direction for each target.

    `layout` leads from the parameter's layout to W's `[p, q]`.
    """

    def __init__(
        self,
        parameter: Tensor,
        root: Tensor,
        norms: Tensor,
        scale: float,
        layout: Callable[[Tensor], Tensor],
    ) -> None:
        self.parameter = parameter
        self.root = root
        self.norms = norms
        self.scale = scale
        self.layout = layout
        self.weight = layout(parameter.detach())  # [p, q], the same storage
        self.direction = self.weight.new_zeros(self.weight.shape)
        self.before = self.weight.new_zeros(self.weight.shape)

    def step(self) -> None:
        assert self.parameter.grad is not None
        h = _ratio(self.layout(self.parameter.grad), self.norms)  # [p, q]
        growth = (h * (h - self.before)).sum(dim=0)
        kept = _ratio(growth, self.before.square().sum(dim=0)).clamp(min=0)  # [q]
        self.direction = kept * self.direction - _ratio(h, self.norms)
        self.before = h
        curvature = 2 * self.scale * (self.root @ self.direction).square().sum(dim=0)  # [q]
        length = _ratio((h * self.norms * self.direction).sum(dim=0), curvature)
        self.weight -= length * self.direction


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, 0 where the denominator is 0."""
    nothing = denominator == 0
    return (numerator / denominator.masked_fill(nothing, 1)).masked_fill(nothing, 0)
