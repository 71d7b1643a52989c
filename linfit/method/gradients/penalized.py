"""The gradient of loss + penalty: the penalty's is written by hand.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from linfit.method.gradients.base import Evaluation, StackedEvaluation
from linfit.method.models import Model
from linfit.problem.penalties import Shrinkage

if TYPE_CHECKING:
    from torch import Tensor


def add_penalty(
    evaluate: Evaluation, model: Model, weight: Tensor, shrinkage: Shrinkage, smooth: bool
) -> Evaluation:
    """Return the evaluation of loss + penalty.

    The penalty's gradient is written by hand: strength·W, and unless the gradient is to be of the
    `smooth` part alone, the subgradient l1·sign(W), whose sign of 0 is 0.
    """
    strength, _, l1 = shrinkage

    def shrunk(parameter: Tensor) -> Tensor:
        rows = model.transpose(parameter)  # W's, in the parameter's storage
        return model.transpose(rows[:-1]) if shrinkage.exempt else parameter

    def both() -> Tensor:
        loss = evaluate().detach()
        w = shrunk(weight.detach())
        assert weight.grad is not None
        gradient = shrunk(weight.grad)
        if strength:
            gradient.add_(strength * w)
            loss = loss + 0.5 * strength * w.square().sum()
        if l1:
            loss = loss + l1 * w.abs().sum()
        if l1 and not smooth:
            gradient.add_(l1 * w.sign())
        return loss

    return both


class StackedPenalty(NamedTuple):
    """The penalties of r fits, which all have the same of the two terms.

    `mask` `[r, p, 1]` is 0 where a row is exempt; the others are `[r, 1, 1]`, `corner` the l1 of
    fits whose gradient has the subgradient of ‖W‖₁, 0 for the others.
    """

    strength: Tensor
    l1: Tensor
    corner: Tensor
    mask: Tensor
    kind: tuple[bool, bool]

    def select(self, rows: Tensor) -> StackedPenalty:
        """Return the penalties of these fits alone."""
        strength, l1, corner, mask = (tensor[rows] for tensor in self[:4])
        return StackedPenalty(strength, l1, corner, mask, self.kind)


def add_stacked_penalty(evaluate: StackedEvaluation, penalty: StackedPenalty) -> StackedEvaluation:
    """Return the evaluation of r fits' loss + penalty at once."""
    strength, l1, corner, mask, (has_squares, has_l1) = penalty

    def both(W: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradient = evaluate(W)
        shrunk = W * mask
        if has_squares:
            losses = losses + 0.5 * strength[:, 0, 0] * shrunk.square().sum(dim=(1, 2))
            gradient = gradient + strength * shrunk
        if has_l1:
            losses = losses + l1[:, 0, 0] * shrunk.abs().sum(dim=(1, 2))
            gradient = gradient + corner * shrunk.sign()
        return losses, gradient

    return both
