"""The homotopy method for lasso: from one breakpoint of its path to the next.

p features, q targets, s fits of one kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from linfit.method.optimizers import Stepper
from linfit.method.solvers.problem_aware import Informed
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.theory.sparse.path import LassoPaths
from linfit.problem.types import Array, Mask

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
        followers = group_followers(self.list_alike(hyperparameters))

        def update(k: int, W: Tensor, g: Tensor) -> None:
            for group in followers:
                above = group.find_above(k)
                if above.any():
                    rows = group.rows[above].tolist()
                    W[rows] = hyperparameters.round_values(group.paths.list_weights(k))
                for row, level in group.take_arriving(k, above):
                    W[row] = hyperparameters.round_values(group.paths.find_weights(level, k))

        return update


@dataclass
class Followers:
    """The fits of a stack that follow the same paths, as long as they are on the way."""

    paths: LassoPaths
    rows: NDArray[np.int64]
    levels: Array
    """The λ to which each goes."""

    def find_above(self, step: int) -> Mask:
        """Return the fits of which no target is at its λ after that many steps."""
        return self.paths.find_above(self.levels, step)

    def take_arriving(self, step: int, above: Mask) -> list[tuple[int, float]]:
        """Return row and λ of the others that move in this step; forget those that arrive."""
        moving = []
        goes_on = above.copy()
        for i in np.flatnonzero(~above).tolist():
            level = float(self.levels[i])
            if self.paths.count_steps(level, step - 1) is None:
                moving.append((int(self.rows[i]), level))
            goes_on[i] = self.paths.count_steps(level, step) is None
        self.rows = self.rows[goes_on]
        self.levels = self.levels[goes_on]
        return moving


def group_followers(fits: Sequence[Homotopy]) -> list[Followers]:
    """Return the rows of a stack, grouped by their paths."""
    grouped: dict[int, list[int]] = {}
    for row, fit in enumerate(fits):
        grouped.setdefault(id(fit.paths), []).append(row)
    return [
        Followers(
            paths=fits[rows[0]].paths,
            rows=np.array(rows),
            levels=np.array([fits[row].optimum.level for row in rows]),
        )
        for rows in grouped.values()
    ]


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
