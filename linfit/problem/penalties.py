"""What is added to the loss so that weights stay small. The convention stands here once: ½·strength·‖W‖², every weight included.

Its gradient is strength·W and its Hessian strength·I, as of `weight_decay` in torch.optim.SGD, which however does not count it
in the loss. scikit-learn's `Ridge(alpha)` minimizes Σr² + alpha·‖w‖²: of the loss sse, alpha is strength/2.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from linfit.component import Component
from linfit.lines import PenaltyLines


class Penalty(Component):
    """½·s·‖W‖² beside the loss: the objective is the sum of both, and so is everything called loss."""

    @abstractmethod
    def squared(self) -> float:
        """The s."""

    def lines(self, weight: str) -> PenaltyLines:
        """The same in the program that `linfit script` prints, for the parameter that the expression `weight` names."""
        raise NotImplementedError(f"penalty {self.name} has no lines")


class NoPenalty(Penalty):
    """Nothing: the loss alone."""

    name: Literal["none"] = "none"

    def squared(self) -> float:
        return 0.0

    def lines(self, weight: str) -> PenaltyLines:
        return PenaltyLines()


class Ridge(Penalty):
    """½·strength·‖W‖² (Hoerl and Kennard, 1970): the optimum is unique whatever the data, and smaller than without."""

    name: Literal["ridge"] = "ridge"
    strength: Annotated[float, Field(ge=0)] = 1.0

    def squared(self) -> float:
        return self.strength

    def lines(self, weight: str) -> PenaltyLines:
        if not self.strength:
            return PenaltyLines()
        return PenaltyLines(f"{0.5 * self.strength!r} * {weight}.square().sum()", f"{self.strength!r} * {weight}")
