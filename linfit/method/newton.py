"""Newton's method, the step that asks for no learning rate.

The Hessian is exact, in float64, and how much a step lowers the objective too: it is the excess
loss, in which no two losses are subtracted (Nesterov, Lectures on Convex Optimization, 2nd ed.,
2018, §1.2.4; Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, §3.1).

p features, q targets, b blocks of m weights that the Hessian couples, s fits of one kind.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from linfit.method.optimizers import Stepper
from linfit.method.problem_aware import Informed
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.losses import Loss
from linfit.problem.theory.memory import estimate_hessian_bytes
from linfit.problem.theory.optimum import Optimum
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor

#: Part of the descent that the slope promises with which a step is accepted (Armijo).
LEAST_DESCENT = 1e-4
#: Halvings of a step before it is given up.
MOST_HALVINGS = 60
#: A length of Newton's step below which another step is tried too,
SHORT_LENGTH = 1 / 16
#: as it is where this part of the gradient lies along directions in which the Hessian is flat.
FLAT_PART = 1e-6
#: Pivots of a Hessian, its diagonal one, that is regular for sure.
SAFE_PIVOT = 1e-6


class Newton(Informed):
    """Newton's method, damped: w ← w − t·H⁻¹g, H the Hessian of the objective at w.

    t is the first of 1, ½, ¼, … with which the objective falls by 10⁻⁴ of what the slope promises
    (Armijo, 1966), so that it converges from anywhere. H and the objective are computed in float64,
    penalty included; g is the fit's own gradient. One step solves squared errors, few any smooth
    loss: near the optimum the error is squared. The step is the shortest where H has no inverse.
    Where that leaves out a part of g, as far from Huber's bend, or t is below 1/16, it is the step
    of the loss's largest curvature, doubled while the objective falls, if that leads further down.
    The weights of classes that can be separated grow without end. A step costs O(np² + p³) for each
    target, O(np²q² + p³q³) for softmax. For logistic and softmax it is iteratively reweighted least
    squares. It has no plain program, and no counterpart in torch.optim.
    """

    name: Literal["newton"] = "newton"

    def check_loss(self, loss: Loss) -> None:
        if not loss.smooth:
            raise ValueError(
                f"{self.name} needs a second derivative, which {loss.name} has not: "
                "choose optimizer=adam, or loss=huber"
            )

    def check_l1(self, penalty: str) -> None:
        raise ValueError(
            f"{self.name} minimizes smooth objectives, which penalty {penalty} is not: "
            "choose optimizer=fista, or penalty=ridge"
        )

    def build(self, parameter: Tensor, n: float) -> Stepper:
        return NewtonStepper(parameter, self)

    def stacked(
        self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
    ) -> Update:
        import torch

        own = self.list_alike(hyperparameters)
        at_first = torch.zeros_like(memory.like[:, 0, 0], dtype=torch.bool)
        rests = memory.tensors.setdefault("rests", at_first)

        def update(k: int, W: Tensor, g: Tensor) -> None:
            for row in (~rests).nonzero().flatten().tolist():
                rests[row] = not move_by_newton(own[row].optimum, W[row], g[row])

        return update

    def count_update_bytes(self, shape: tuple[int, int, int], loss: Loss) -> int:
        return estimate_hessian_bytes(shape, loss)

    def propagators(self, curvatures: Array, n: float) -> Array | None:
        """Return zeros `[m, 2, 2]`: one step leaves no error of a quadratic objective."""
        return np.zeros((len(curvatures), 2, 2))


class NewtonStepper:
    """Stepper that moves the parameter by the rule of a fit alone."""

    def __init__(self, parameter: Tensor, optimizer: Newton) -> None:
        self.parameter = parameter
        self.optimizer = optimizer
        self.rests = False

    def step(self) -> None:
        gradient = self.parameter.grad
        assert gradient is not None
        layout = self.optimizer.transpose
        if not self.rests:
            weight = layout(self.parameter.detach())
            self.rests = not move_by_newton(self.optimizer.optimum, weight, layout(gradient))


def move_by_newton(optimum: Optimum, W: Tensor, g: Tensor) -> bool:
    """Move W `[p, q]` in place by a damped step; return False if none lowers the objective."""
    import torch

    with limit_blas_threads(), np.errstate(all="ignore"):
        moved = find_step(optimum, W.cpu().numpy(), g.cpu().numpy().astype(np.float64))
    if moved is None:
        return False
    W.copy_(torch.from_numpy(moved))
    return True


def find_step(optimum: Optimum, weights: NDArray[Any], gradient: Array) -> NDArray[Any] | None:
    """Return the weights after a step from `weights` `[p, q]`, in their dtype; None if it rests.

    Where the gradient has a part along which H is flat, or Newton's step is far too long, the step
    of a constant curvature, that of the loss's bound, may lead further down.
    """
    blocks = optimum.hessian(weights.astype(np.float64))  # [b, m, m]
    if not (np.isfinite(blocks).all() and np.isfinite(gradient).all()):
        return None  # a fit that has diverged
    step, is_partial = solve_blocks(blocks, gradient)
    found = search_line(optimum, weights, gradient, -step)
    if is_partial or found is None or found.length < SHORT_LENGTH:
        bound = 2 * optimum.scale * optimum.root.T @ optimum.root
        step, _ = solve_blocks(np.stack([bound] * gradient.shape[1]), gradient)
        other = search_line(optimum, weights, gradient, -step, widens=True)
        found = min((one for one in (found, other) if one), key=attrgetter("excess"), default=None)
    return None if found is None else found.weights


class Trial(NamedTuple):
    """Weights `[p, q]` after a step of some length, and their excess loss."""

    length: float
    weights: NDArray[Any]
    excess: float


def search_line(
    optimum: Optimum, weights: NDArray[Any], gradient: Array, step: Array, widens: bool = False
) -> Trial | None:
    """Return the first of the lengths 1, ½, ¼, … with Armijo's descent, None if none has it.

    If it `widens`, a length of 1 is doubled as long as the objective falls.
    """

    def attempt(length: float) -> Trial:
        moved = (weights + length * step).astype(weights.dtype)
        return Trial(length, moved, float(optimum.excess_loss(moved.astype(np.float64))))

    before = float(optimum.excess_loss(weights.astype(np.float64)))
    slope = float((gradient * step).sum())
    for halvings in range(MOST_HALVINGS):
        found = attempt(0.5**halvings)
        if (found.weights == weights).all():
            return None
        if found.excess <= before + LEAST_DESCENT * found.length * slope < math.inf:
            break
    else:
        return None
    while widens and (wider := attempt(2 * found.length)).excess < found.excess:
        found = wider
    return found


def solve_blocks(blocks: Array, gradient: Array) -> tuple[Array, bool]:
    """Return the H⁻¹g `[p, q]` of smallest norm of blocks `[b, m, m]`.

    Return True if a part of g is left out, along which H is flat.
    """
    each = len(blocks) == gradient.shape[1]  # a block for each target, or one for all
    rows = gradient.T if each else gradient.reshape(1, -1)
    solved = [_solve(*pair) for pair in zip(blocks, rows, strict=True)]
    found = np.stack([step for step, _ in solved])
    step = found.T if each else found.reshape(gradient.shape)
    return step, any(is_partial for _, is_partial in solved)


def _solve(hessian: Array, gradient: Array) -> tuple[Array, bool]:
    """Return H⁻¹g `[m]`, and True if a part of g is left out."""
    sizes = np.sqrt(np.diag(hessian))
    sizes = np.where(sizes > 0, sizes, 1)
    scaled = hessian / sizes / sizes[:, None]
    slope = gradient / sizes
    try:
        factor = cho_factor(scaled)
        if np.diag(factor[0]).min() > SAFE_PIVOT:
            return cho_solve(factor, slope) / sizes, False
    except np.linalg.LinAlgError:
        pass
    values, vectors = np.linalg.eigh(scaled)
    is_curved = values > max(len(values) * np.finfo(float).eps * values[-1], 0)
    along = vectors.T @ slope
    solved = np.where(is_curved, along, 0) / np.where(is_curved, values, 1)
    left = np.linalg.norm(along[~is_curved])
    return vectors @ solved / sizes, bool(left > FLAT_PART * np.linalg.norm(along))
