"""Losses of classes: logistic, softmax and the squared hinge.

They are written with elementary functions that have the same bits in any length and place (exp,
log1p, log, abs, where), and stay finite for predictors of any size.

n samples, q targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from linfit.problem.losses.base import Loss, TargetKind
from linfit.problem.theory.convex.divergence import (
    logistic_divergence,
    softmax_divergence,
    squared_hinge_divergence,
)
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class Logistic(Loss):
    """Log loss of two classes, log(1 + exp(η)) − yη, mean over n·q, for y of 0 or 1.

    As torch's BCEWithLogitsLoss. exp(η)/(1 + exp(η)) is the probability of class 1. The optimum is
    that of scikit-learn's `LogisticRegression(C=…)` at `penalty=ridge` of strength 1/(C·n), with Σw
    in place of n where samples have weights.
    """

    target_kind: ClassVar[TargetKind] = "binary"
    curvature_bound: ClassVar[float | None] = 0.25
    self_concordance: ClassVar[float | None] = 1.0
    name: Literal["logistic"] = "logistic"

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        import torch

        # Forward mode of a product with a number would import torch's compiler.
        z = (1 - y - y) * eta  # the loss is log(1 + exp(z)), for either class
        size = z.abs()
        # z + ½(|z| − z) is the larger of z and 0, with the derivative ½ at 0.
        return (-size).exp().log1p() + torch.add(z, size - z, alpha=0.5)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        sign = 1 - y - y
        z = sign * eta
        small = (-z.abs()).exp()
        return sign * _choose(z >= 0, 1, small) / (1 + small) / self.count_terms(eta)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        sign = 1 - y - y
        z = eta.mul_(sign)
        size = z.abs()
        small = size.neg().exp_()
        terms = small.log1p().add_(torch.add(z, size.sub_(z), alpha=0.5))
        slope = _choose(z >= 0, 1, small).mul_(sign).div_(small.add_(1))
        return terms, slope.div_(self.count_terms(eta))

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        small = (-eta.abs()).exp()
        return small / (1 + small).square()

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        return logistic_divergence(eta, delta)

    def script_lines(self) -> LossLines:
        before = (
            "sign = 1 - y - y",
            "signed = sign * eta",
            "size = signed.abs()",
            "small = (-size).exp()",
        )
        value = "(small.log1p() + torch.add(signed, size - signed, alpha=0.5)).mean()"
        slope = "sign * torch.where(signed >= 0, 1, small) / (1 + small) / eta.numel()"
        return LossLines(value, slope, before, "eta")


class CrossEntropy(Loss):
    """Log loss of q classes, log(Σ exp(ηₖ)) − η_y, mean over n: softmax regression.

    As torch's CrossEntropyLoss. exp(ηₖ)/Σ exp(ηⱼ) is the probability of class k; each class has its
    own weights, so that without a penalty only their differences are determined. The optimum is
    that of scikit-learn's `LogisticRegression(C=…)` at `penalty=ridge` of strength 1/(C·n), with Σw
    in place of n where samples have weights.
    """

    couples_targets: ClassVar[bool] = True
    target_kind: ClassVar[TargetKind] = "classes"
    curvature_bound: ClassVar[float | None] = 0.5
    self_concordance: ClassVar[float | None] = 1.0
    name: Literal["cross_entropy"] = "cross_entropy"

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        axis = _target_axis(eta)
        above = eta - eta.amax(axis, keepdim=True)
        return above.exp().sum(axis, keepdim=True).log() - (y * above).sum(axis, keepdim=True)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        axis = _target_axis(eta)
        shares = (eta - eta.amax(axis, keepdim=True)).exp()
        # The share of the other classes, as they are: 1 − p would be rounding where p is near 1.
        others = ((1 - y) * shares).sum(axis, keepdim=True)
        slope = _choose(y > 0, -others, shares) / shares.sum(axis, keepdim=True)
        return slope / self.count_terms(eta)

    def terms_and_derivative(self, eta: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        axis = _target_axis(eta)
        above = eta - eta.amax(axis, keepdim=True)
        shares = above.exp()
        partition = shares.sum(axis, keepdim=True)
        terms = partition.log() - (y * above).sum(axis, keepdim=True)
        others = ((1 - y) * shares).sum(axis, keepdim=True)
        slope = _choose(y > 0, -others, shares).div_(partition)
        return terms, slope.div_(self.count_terms(eta))

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        """Return ∂²terms/∂η² `[n, q, q]` of one fit."""
        import torch

        shares = (eta - eta.amax(-1, keepdim=True)).exp()
        p = shares / shares.sum(-1, keepdim=True)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        return softmax_divergence(eta, delta)

    def script_lines(self) -> LossLines:
        before = (
            "above = eta - eta.amax(1, keepdim=True)",
            "shares = above.exp()",
            "partition = shares.sum(1, keepdim=True)",
        )
        value = "(partition.log() - (y * above).sum(1, keepdim=True)).mean()"
        others = "((1 - y) * shares).sum(1, keepdim=True)"
        slope = f"torch.where(y > 0, -{others}, shares) / partition / len(eta)"
        return LossLines(value, slope, before, "eta")


class SquaredHinge(Loss):
    """Squared hinge of two classes, max(0, 1 − yη)², mean over n·q, for y of −1 or +1.

    The loss of a linear support vector machine. The optimum is that of scikit-learn's
    `LinearSVC(C=…)` without an intercept at `penalty=ridge` of strength 1/(C·n). Not in torch.
    """

    target_kind: ClassVar[TargetKind] = "sign"
    curvature_bound: ClassVar[float | None] = 2.0
    self_concordance: ClassVar[float | None] = 0.0
    name: Literal["squared_hinge"] = "squared_hinge"

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        return (1 - y * eta).clamp(min=0).square()

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        return -2 * y * (1 - y * eta).clamp(min=0) / self.count_terms(eta)

    def curvature(self, eta: Tensor, y: Tensor) -> Tensor:
        return 2 * (y * eta < 1).to(eta.dtype)

    def divergence(self, eta: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        return squared_hinge_divergence(eta, y, delta)

    def script_lines(self) -> LossLines:
        before = ("short = (1 - y * eta).clamp(min=0)",)
        return LossLines("short.square().mean()", "-2 * y * short / eta.numel()", before, "eta")


def _choose(condition: Tensor, then: Tensor | float, otherwise: Tensor) -> Tensor:
    import torch

    return torch.where(condition, then, otherwise)


def _target_axis(eta: Tensor) -> int:
    """Return the axis of the targets: that of `[n, q]`, or of a stack's `[r, q, n]`."""
    return 1 if eta.ndim == 2 else -2
