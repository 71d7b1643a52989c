"""The exact answer as an optimizer: the reference for every other one.

p features, q targets, s fits of one kind, m curvatures that are not zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from linfit.method.optimizers import Stepper
from linfit.method.solvers.problem_aware import Informed
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.theory.refinement import MAX_REFINEMENTS
from linfit.problem.types import Array
from linfit.script_fragments import (
    GradientLines,
    Lines,
    ModelLines,
    OptimizerLines,
    in_place,
    indent_lines,
)

if TYPE_CHECKING:
    from torch import Tensor


class ClosedForm(Informed):
    """The closed form: the first step goes to the least-squares solution, later ones stay there.

    W = argmin ‖XW − y‖², including the objective's penalty, by a singular value decomposition of X
    with its columns scaled to norm one, in float64 whatever the fit's dtype is, to which only the
    data and the solution are rounded (Golub and Van Loan, Matrix Computations, 4th ed., §5.5);
    where that would cost digits it is refined (Björck, 1967). Where there are many solutions,
    because columns depend on each other or features outnumber samples, it is the one of smallest
    norm, not the one nearest the start, at which descent ends. The loss at step 0 is that of the
    start, so `steps_to_tolerance` is 1. torch.optim has no counterpart.

    Of data that dtype had to round, about 15 − log₁₀(κ + κ²·‖r‖/(‖X‖‖W‖)) digits are those of the
    exact answer, 6 − … in float32, where κ is the condition number of X with its columns scaled and
    r the residual; with `gradient=gram`, which squares it, at most 14 − 2·log₁₀ κ. Where fewer than
    9 are left, 3 in float32, the fit says so.
    """

    uses_gradient: ClassVar[bool] = False
    name: Literal["closed_form"] = "closed_form"

    def build(self, parameter: Tensor, n: float) -> Stepper:
        import torch

        return ClosedFormStepper(
            parameter, self.transpose(torch.from_numpy(self.optimum.weights).to(parameter))
        )

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        if self.optimum.rank == len(self.optimum.weights):
            found = self._unique()
        else:
            found = self._smallest()
        before = (
            f"A = {self.write_features()}  # [n, p]",
            f"b = {self.write_targets()}  # [n, q]",
            *found,
            f"best = torch.tensor(best).to(X){model.transposed}",
        )
        return OptimizerLines(before, in_place((f"{model.weight}.copy_(best)",), gradient.tracked))

    def _unique(self) -> Lines:
        return (
            "norms = np.linalg.norm(A, axis=0)[:, None]  # [p, 1]",
            "left, singular, right = np.linalg.svd(A / norms.T, full_matrices=False)",
            "best = right.T @ (left.T @ b / singular[:, None]) / norms  # [p, q]",
            *(REFINEMENT_LINES if self.optimum.refined else ()),
        )

    def _smallest(self) -> Lines:
        rank = self.optimum.rank
        return (
            "left, singular, right = np.linalg.svd(A, full_matrices=False)",
            f"singular[{rank}:] = np.inf  # the rank is {rank}: the solution of smallest norm",
            "best = right.T @ (left.T @ b / singular[:, None])  # [p, q]",
        )

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        best = hyperparameters.round_values(
            np.stack([one.optimum.weights for one in self.list_alike(hyperparameters)])
        )

        def update(k: int, W: Tensor, g: Tensor) -> None:
            W.copy_(best)

        return update

    def propagators(self, curvatures: Array, n: float) -> Array | None:
        """Return zeros `[m, 2, 2]`: one step leaves no error."""
        return np.zeros((len(curvatures), 2, 2))


#: linfit/problem/theory/refinement.py, with Python's own fractions.
REFINEMENT_LINES: Lines = (
    "exact, rest = np.vectorize(fractions.Fraction, otypes=[object]), b - left @ (left.T @ b)",
    f"for _ in range({MAX_REFINEMENTS}):"
    "  # what is still wrong, in exact arithmetic (Björck, 1967)",
    *indent_lines(
        (
            "wrong = (exact(b) - exact(rest) - exact(A) @ exact(best)).astype(float)  # [n, q]",
            "slope = -(exact(A).T @ exact(rest)).astype(float)  # [p, q]",
            "turned = left.T @ wrong - right @ (slope / norms) / singular[:, None]",
            "best, before = best + right.T @ (turned / singular[:, None]) / norms, best",
            "rest = rest + (wrong - left @ turned)",
            "if (best == before).all():",
            "    break",
        )
    ),
)


class ClosedFormStepper:
    """Stepper that puts the parameter at the solution."""

    def __init__(self, parameter: Tensor, best: Tensor) -> None:
        self.weight = parameter.detach()
        self.best = best

    def step(self) -> None:
        self.weight.copy_(self.best)
