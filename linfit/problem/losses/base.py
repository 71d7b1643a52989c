"""What a loss is: a function of the linear predictor η = XW and the targets y.

| loss | per sample | in torch |
|---|---|---|
| sse  | Σ (η − y)², summed | `MSELoss(reduction="sum")` |
| mse  | the same, ÷ (n·q)  | `MSELoss()`, which divides by every element, targets included |
| huber | ρ(η − y), mean over n·q; ρ(r) = ½r² up to delta, straight beyond | `HuberLoss(delta=…)` |
| quantile | max(τr, (τ − 1)r), r = y − η, mean over n·q | – |
| logistic | log(1 + exp(η)) − yη, mean over n·q, y 0 or 1 | `BCEWithLogitsLoss()` |
| squared_hinge | max(0, 1 − yη)², mean over n·q, y −1 or +1 | – |
| cross_entropy | log(Σ exp(ηₖ)) − η_y, mean over n, y one of q classes | `CrossEntropyLoss()` |
| poisson | exp(η) − yη, mean over n·q, y a count | `PoissonNLLLoss()` |

The convention is defined here once: no other module divides by n, except an optimizer that is asked
to. Where samples have weights, a mean divides by their sum Σw in place of n, so that weight 2 is a
row twice and weight 0 a row less (weighted.py; rows of squared errors are multiplied beforehand,
linfit/problem/datasets/prepare.py).

η and y have one shape, `[n, q]` for one fit and `[r, q, n]` in a stack: n samples, p features, q
targets, r fits of a stack.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from linfit.component import Component, optional
from linfit.problem.penalties import Penalty, Shrinkage
from linfit.problem.theory.convex.divergence import estimate_divergence
from linfit.problem.types import Array, Minimum
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


#: What the targets of a loss are: numbers; 0 or 1; −1 or +1; a class, one column for each; counts.
TargetKind = Literal["number", "binary", "sign", "classes", "count"]


class Loss(Component):
    """Scalar function of the linear predictor and the targets, convex in the predictor.

    A loss states `terms`, the value of each sample. The rest follows from it: its mean, and the
    derivatives by automatic differentiation, unless they are stated too.
    """

    #: True if the loss is c·Σ(η − y)² everywhere: its optimum then is a least-squares solution, its
    #: Hessian constant.
    quadratic: ClassVar[bool] = False
    #: True if the targets of a sample depend on each other, as the classes of softmax do. `terms`
    #: then have one value a sample, with the axis of the targets kept.
    couples_targets: ClassVar[bool] = False
    target_kind: ClassVar[TargetKind] = "number"
    #: True if the derivative is continuous, so that there is a curvature but for single points.
    smooth: ClassVar[bool] = True
    #: Largest second derivative of `terms`, None if there is none.
    curvature_bound: ClassVar[float | None] = None
    #: The M of |L‴| ≤ M·L″ of `terms`, 0 for piecewise squares, None if there is none. It tells how
    #: far a computed optimum may be off.
    self_concordance: ClassVar[float | None] = None
    #: What `objective: auto` compares of samples held out. It is never negative: factors compare.
    held_out_objective: ClassVar[str] = "validation_loss"

    @abstractmethod
    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each sample and target, in the shape of `eta`."""

    def reduce(self, terms: Tensor, dim: tuple[int, int] | None = None) -> Tensor:
        """Return the mean of `terms` over the axes `dim`, all if None; a sum overrides it."""
        return terms.mean(dim=dim)

    def __call__(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return the loss `[]` of predictors and targets `[n, q]`."""
        return self.reduce(self.terms(eta, y))

    def stacked(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return losses `[r]` of r fits' predictors and targets `[r, q, n]`.

        Each has the bits that it has next to any other fits.
        """
        return self.reduce(self.terms(eta, y), (1, 2))

    @classmethod
    def supports_stacking(cls) -> bool:
        """Return True: `terms` serve a stack as they serve one fit."""
        return True

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return ∂loss/∂η in the shape of `eta`."""
        import torch

        with torch.enable_grad():
            moving = eta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.terms(moving, y).sum(), moving)
        return slope / self.count_terms(eta)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return `terms` and `derivative` with their bits; what both need may be computed once.

        `eta` may be overwritten.
        """
        return self.terms(eta, y), self.derivative(eta, y)

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return ∂²terms/∂η² of one fit, in the shape of `eta`.

        It is `[n, q, q]` where targets are coupled.
        """
        import torch

        with torch.enable_grad():
            moving = eta.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.terms(moving, y).sum(), moving, create_graph=True)
            columns = [
                torch.autograd.grad(part.sum(), moving, retain_graph=True)[0]
                for part in (slope.unbind(1) if self.couples_targets else [slope])
            ]
        return torch.stack(columns, 1) if self.couples_targets else columns[0]

    def count_terms(self, eta: Tensor) -> int:
        """Return the number of terms of one fit, by which a mean divides."""
        if not self.couples_targets:
            return eta.shape[-2] * eta.shape[-1]
        return eta.shape[0] if eta.ndim == 2 else eta.shape[-1]

    @optional
    def script_lines(self) -> LossLines:
        """Return the loss and its derivative in a plain program."""
        raise NotImplementedError(f"loss {self.name} has no script lines")

    def scale(self, n: float, q: int) -> float:
        """Return the c of loss = c·Σ(η − y)².

        The loss is of n samples of q targets. Where the loss is not `quadratic`, 2c is its largest
        curvature, or 1 over the number of terms if there is none.
        """
        count = n if self.couples_targets else n * q
        return 0.5 * (self.curvature_bound or 1.0) / count

    def averages(self) -> bool:
        """Return True if the loss is a mean over samples.

        It is a sum otherwise.
        """
        return self.scale(2, 1) != self.scale(1, 1)

    def check_penalty(self, penalty: Penalty) -> None:
        """Raise ValueError unless the optimum is known with this penalty."""

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        """Return terms(η + δ) − terms(η) − ⟨∂terms/∂η, δ⟩ of one fit, never negative.

        η, y and δ are `[n, q]`.
        """
        return estimate_divergence(
            lambda at: self.terms(at, y), lambda at: self.curvature(at, y), eta, delta
        )

    def optimum(
        self, X: Array, y: Array, weights: Array | None, start: Array, shrinkage: Shrinkage
    ) -> Minimum | None:
        """Return the minimum of loss + penalty, by Newton's method unless a loss knows better.

        Return None if the least-squares solution is the optimum, as it is of a quadratic loss. That
        solution is given as `start` `[p, q]`, for X `[n, p]` and y `[n, q]`; `weights` `[n]` are
        those of the samples, with mean 1, None if all count the same.
        """
        if self.quadratic:
            return None
        from linfit.problem.theory.convex.minimize import minimize_smooth

        return minimize_smooth(self, X, y, weights, start, shrinkage)
