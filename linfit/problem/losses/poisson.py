"""The loss of counts.

n samples, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from linfit.problem.losses.base import Loss, TargetKind
from linfit.problem.theory.convex.divergence import poisson_divergence
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class Poisson(Loss):
    """Poisson's loss of counts, exp(η) − yη, mean over n·q, for whole y ≥ 0.

    As torch's PoissonNLLLoss; log y! is left out, so that it may be negative: samples held out are
    compared by their deviance, which is not. exp(η) is the expected count. It overflows above
    η = 88 in float32: the fit has diverged. Its curvature has no bound, so that no learning rate is
    stable from everywhere. The optimum is that of scikit-learn's
    `PoissonRegressor(alpha=…)` at `penalty=ridge` of strength alpha.
    """

    target_kind: ClassVar[TargetKind] = "count"
    self_concordance: ClassVar[float | None] = 1.0
    held_out_objective: ClassVar[str] = "validation_mean_poisson_deviance"
    name: Literal["poisson"] = "poisson"

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        return eta.exp() - y * eta

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        return (eta.exp() - y) / self.count_terms(eta)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rates = eta.exp()
        terms = rates - y * eta
        return terms, rates.sub_(y).div_(self.count_terms(eta))

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        return eta.exp()

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        return poisson_divergence(eta, delta)

    def script_lines(self) -> LossLines:
        before = ("rates = eta.exp()",)
        return LossLines("(rates - y * eta).mean()", "(rates - y) / eta.numel()", before, "eta")
