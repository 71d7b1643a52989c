"""Coordinate descent on squared errors: a step minimizes over one feature's weights after another.

p features, q targets, s fits of one kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from linfit.method.optimizers import Stepper
from linfit.method.solvers.problem_aware import Informed
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.types import Array
from linfit.script_fragments import (
    GradientLines,
    ModelLines,
    OptimizerLines,
    in_place,
    indent_lines,
)

if TYPE_CHECKING:
    from torch import Tensor


class CoordinateDescent(Informed):
    """Cyclic coordinate descent (Friedman, Hastie and Tibshirani, 2010) on squared errors.

    A step goes once through the features: w ← S(w − g/h, l1/h) for the weights of each, with their
    slope g, their curvature h and soft thresholding S, which is exact along them; then the slopes
    of all others follow, g ← g + H·δ, from the Hessian H of the loss and ‖W‖². Every step lowers
    the objective, there is no learning rate, and zeros of lasso are reached. A step takes p² beside
    the gradient's n·p. As scikit-learn's `Lasso`; not in torch.optim.
    """

    handles_l1: ClassVar[bool] = True
    name: Literal["coordinate_descent"] = "coordinate_descent"

    def check_l1(self, penalty: str) -> None:
        """Take any: the objective is quadratic beside ‖W‖₁."""

    def compute_hessian(self) -> Array:
        """Return the Hessian `[p, p]` of the smooth part, for each target."""
        root = self.optimum.root
        return np.asarray(2 * self.optimum.scale * (root.T @ root))

    def compute_thresholds(self) -> Array:
        """Return the thresholds `[p]` of coordinates with curvature one."""
        shrinkage = self.optimum.shrinkage
        return shrinkage.l1 * shrinkage.mark_penalized(len(self.optimum.weights))

    def build(self, parameter: Tensor, n: float) -> Stepper:
        import torch

        hessian = torch.from_numpy(self.compute_hessian()).to(parameter)
        thresholds = torch.from_numpy(self.compute_thresholds()).to(parameter)
        return CoordinateStepper(self, parameter, hessian, thresholds)

    def script_lines(self, model: ModelLines, gradient: GradientLines) -> OptimizerLines:
        w = f"{model.weight}{model.transposed}"
        g = f"{gradient.gradient}{model.transposed}"
        numbers = ", ".join(map(repr, self.compute_thresholds().tolist()))
        before = (
            f'root = np.linalg.qr({self.write_features()}, mode="r")  # RᵀR = XᵀX',
            f"hessian = torch.tensor({2 * self.optimum.scale!r} * (root.T @ root)).to(X)  # [p, p]",
            "bent = hessian.diagonal().masked_fill(hessian.diagonal() == 0, 1)",
            f"soft = torch.tensor([{numbers}], dtype=torch.float64).to(X) / bent",
        )
        loop = (
            f"v = {w}[j] - slope[j] / bent[j]",
            f"moved = v - v.maximum(-soft[j]).minimum(soft[j]) - {w}[j]",
            f"{w}[j].add_(moved)",
            "slope.add_(hessian[:, j, None] * moved)",
        )
        update = (
            f"slope = {g}.clone()",
            "for j in range(len(bent)):  # one feature after another",
            *indent_lines(loop),
        )
        return OptimizerLines(before, in_place(update, gradient.tracked))

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        own = self.list_alike(hyperparameters)
        hessian = hyperparameters.round_values(np.stack([one.compute_hessian() for one in own]))
        soft = hyperparameters.round_values(np.stack([one.compute_thresholds() for one in own]))
        bent = hessian.diagonal(dim1=1, dim2=2)  # [s, p]
        bent = bent.masked_fill(bent == 0, 1)
        soft = soft / bent

        def update(k: int, W: Tensor, g: Tensor) -> None:
            slope = g.clone()
            for j in range(W.shape[1]):
                v = W[:, j] - slope[:, j] / bent[:, j, None]  # [s, q]
                most = soft[:, j, None]
                moved = v - v.maximum(-most).minimum(most) - W[:, j]
                W[:, j] += moved
                slope += hessian[:, :, j, None] * moved[:, None]

        return update


class CoordinateStepper:
    """Coordinate descent in W's layout `[p, q]`."""

    def __init__(
        self, optimizer: CoordinateDescent, parameter: Tensor, hessian: Tensor, thresholds: Tensor
    ) -> None:
        self.parameter = parameter
        self.optimizer = optimizer
        self.hessian = hessian
        self.bent = hessian.diagonal().masked_fill(hessian.diagonal() == 0, 1)
        self.soft = thresholds / self.bent
        self.weight = optimizer.transpose(parameter.detach())  # the same storage

    def step(self) -> None:
        assert self.parameter.grad is not None
        slope = self.optimizer.transpose(self.parameter.grad).clone()
        for j in range(len(self.bent)):
            v = self.weight[j] - slope[j] / self.bent[j]
            moved = v - v.maximum(-self.soft[j]).minimum(self.soft[j]) - self.weight[j]
            self.weight[j].add_(moved)
            slope.add_(self.hessian[:, j, None] * moved)
