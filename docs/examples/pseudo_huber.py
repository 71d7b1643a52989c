"""A loss as a plug-in: `plugins: [pseudo_huber]`. Its optimum is found by Newton's method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from linfit.problem.losses import Loss
from linfit.script_fragments import LossLines

if TYPE_CHECKING:
    from torch import Tensor


class PseudoHuber(Loss):
    """Mean of delta²·(√(1 + (r/delta)²) − 1): squares up to about `delta`, smooth everywhere."""

    curvature_bound: ClassVar[float | None] = 1.0
    name: Literal["pseudo_huber"] = "pseudo_huber"
    delta: Annotated[float, Field(gt=0)] = 1.0

    def terms(self, eta: Tensor, y: Tensor) -> Tensor:
        return self.delta**2 * ((1 + ((eta - y) / self.delta).square()).sqrt() - 1)

    def derivative(self, eta: Tensor, y: Tensor) -> Tensor:
        residual = eta - y
        return residual / (1 + (residual / self.delta).square()).sqrt() / self.count_terms(eta)

    def script_lines(self) -> LossLines:
        root = f"root = (1 + (residual / {self.delta!r}).square()).sqrt()"
        value = f"({self.delta**2!r} * (root - 1)).mean()"
        return LossLines(value, "residual / root / residual.numel()", (root,))
