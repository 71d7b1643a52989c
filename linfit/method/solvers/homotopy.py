"""The homotopy method for lasso: from one breakpoint of its path to the next.

p features, q targets, s fits of one kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PrivateAttr

from linfit.method.optimizers import Stepper
from linfit.method.solvers.problem_aware import Informed
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.theory.sparse.path import LassoPaths
from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor


class Homotopy(Informed):
    """Homotopy, LARS for lasso (Osborne et al., 2000; Efron et al., 2004), on squared errors.

    The optimum as a function of the strength of ‖W‖₁ is linear between breakpoints, where a weight
    becomes or ceases to be zero. The first step goes to the breakpoint at the largest strength, at
    which all penalized weights are 0, and each step to the next, for every target along its own
    path. The last one goes to the optimum at the fit's own strength, where the fit has converged;
    the loss on the way is that at the fit's own strength. Without ‖W‖₁ the path goes on to strength
    0, and a least-squares solution. ‖W‖² is p more rows of X, as usual for elastic nets.

    The path depends on the data, whatever the start, and is computed from XᵀX and Xᵀy in float64:
    fits of one stack that differ in strength share it. It has about 14 − 2·log₁₀ κ digits, κ the
    condition number of the active columns, scaled; columns that depend on active ones stay at zero
    for κ above 10⁷. As scikit-learn's `LassoLars`. It has no plain program, and no counterpart in
    torch.optim.
    """

    uses_gradient: ClassVar[bool] = False
    handles_l1: ClassVar[bool] = True
    can_diverge: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = True
    name: Literal["homotopy"] = "homotopy"

    _paths: LassoPaths | None = PrivateAttr(default=None)

    def check_l1(self, penalty: str) -> None:
        """Take any: ‖W‖₁ is what a path is about."""

    @property
    def paths(self) -> LassoPaths:
        """The paths of the data, which other fits may follow too."""
        if self._paths is None:
            self._paths = self.optimum.open_paths()
        return self._paths

    def count_steps(self, most: int) -> int | None:
        return self.paths.count_steps(self.optimum.level, most)

    def find_weights(self, step: int) -> Array:
        """Return the weights `[p, q]` after that many steps."""
        return self.paths.find_weights(self.optimum.level, step)

    def build(self, parameter: Tensor, n: float) -> Stepper:
        return HomotopyStepper(parameter, self)

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        own = self.list_alike(hyperparameters)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            on_the_way: dict[int, list[int]] = {}
            for row, one in enumerate(own):
                if one.paths.is_above(one.optimum.level, k):
                    on_the_way.setdefault(id(one.paths), []).append(row)
                elif one.count_steps(k - 1) is None:
                    W[row] = hyperparameters.round_values(one.find_weights(k))
            for rows in on_the_way.values():
                shared = own[rows[0]].paths.list_weights(k)
                W[rows] = hyperparameters.round_values(shared)

        return update


class HomotopyStepper:
    """Stepper that puts the parameter at one breakpoint after another."""

    def __init__(self, parameter: Tensor, optimizer: Homotopy) -> None:
        self.weight = optimizer.transpose(parameter.detach())  # the same storage
        self.optimizer = optimizer
        self.steps = 0

    def step(self) -> None:
        import torch

        self.steps += 1
        if self.optimizer.count_steps(self.steps - 1) is None:
            self.weight.copy_(torch.from_numpy(self.optimizer.find_weights(self.steps)))
