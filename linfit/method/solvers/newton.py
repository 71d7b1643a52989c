"""Newton's method, the step that asks for no learning rate.

The Hessian is exact, in float64, and how much a step lowers the objective too: it is the excess
loss, in which no two losses are subtracted (Nesterov, Lectures on Convex Optimization, 2nd ed.,
2018, §1.2.4; Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, §3.1).

p features, q targets, b blocks of m weights that the Hessian couples, s fits of one kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from linfit.method.optimizers import Stepper
from linfit.method.solvers.problem_aware import Informed
from linfit.method.stacked_state import HyperparameterColumns, OptimizerState, Update
from linfit.problem.losses import Loss
from linfit.problem.theory.convex.newton import NEAR_MOVE
from linfit.problem.theory.convex.several import (
    compute_hessians,
    measure_moves,
    measure_objectives,
)
from linfit.problem.theory.memory import estimate_hessian_bytes
from linfit.problem.theory.optimum import Optimum
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array, Mask

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
#: Part of the objective's terms above which a difference of objectives is no rounding.
CLEAR_DESCENT = 1e-9
#: Roundings whose square is the part of the terms up to which a promised descent is rounding,
RESTING_ROUNDINGS = 32.0
#: and that above which it is not.
CLEAR_ROUNDINGS = 256.0


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
            moving = (~rests).nonzero().flatten()
            if len(moving):
                optima = [own[row].optimum for row in moving.tolist()]
                moved, found = move_by_newton(optima, W[moving], g[moving])
                W[moving] = moved
                rests[moving] = ~found

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
        if self.rests:
            return
        layout = self.optimizer.transpose
        weight = layout(self.parameter.detach())
        optima = [self.optimizer.optimum]
        moved, found = move_by_newton(optima, weight[None], layout(gradient)[None])
        weight.copy_(moved[0])
        self.rests = not found[0]


def move_by_newton(optima: Sequence[Optimum], W: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Return W `[s, p, q]` of s fits after a damped step, and if one was found `[s]`.

    g are the gradients `[s, p, q]`. Where no step lowers the objective, W is as it was.
    """
    import torch

    weights = W.cpu().numpy()
    with limit_blas_threads(), np.errstate(all="ignore"):
        moved = find_steps(optima, weights, g.cpu().numpy().astype(np.float64))
    is_found = torch.tensor([one is not None for one in moved], device=W.device)
    kept = [
        before if after is None else after for before, after in zip(weights, moved, strict=True)
    ]
    return torch.from_numpy(np.stack(kept)).to(W.device), is_found


def find_steps(
    optima: Sequence[Optimum], weights: NDArray[Any], gradients: Array
) -> list[NDArray[Any] | None]:
    """Return weights `[p, q]` of s fits after a step, in their dtype; None where a fit rests."""
    found: list[NDArray[Any] | None] = [None] * len(optima)
    blocks = compute_hessians(optima, weights.astype(np.float64))  # [s, b, m, m]
    usable = np.isfinite(blocks).all(axis=(1, 2, 3)) & np.isfinite(gradients).all(axis=(1, 2))
    rows = np.flatnonzero(usable).tolist()  # the others have diverged
    steps, is_partial = solve_blocks(blocks[rows], gradients[rows])
    own = [optima[row] for row in rows]
    moved = (weights[rows] - steps).astype(weights.dtype)
    is_sure, rests = judge_full_steps(own, weights[rows], gradients[rows], steps, moved)
    is_sure &= ~is_partial
    rests &= ~is_partial
    for i, row in enumerate(rows):
        if is_sure[i]:
            found[row] = moved[i]
        elif not rests[i]:
            partial = bool(is_partial[i])
            found[row] = search_step(optima[row], weights[row], gradients[row], steps[i], partial)
    return found


def judge_full_steps(
    optima: Sequence[Optimum],
    weights: NDArray[Any],
    gradients: Array,
    steps: Array,
    moved: NDArray[Any],
) -> tuple[Mask, Mask]:
    """Return where whole steps `[s, p, q]` have Armijo's descent for sure, and where fits rest.

    λ² = gᵀH⁻¹g is twice the descent that the parabola promises. A fit rests where that is rounding.
    With R = M·max |xᵢd| the descent is at least λ²·(1 − (exp(R) − R − 1)/R²) (certificate.py), and
    more than λ²/4 where R ≤ 1. Elsewhere it is a difference of objectives, quick to compute, but
    rounding near the optimum. Both masks `[s]` are false where only an exact search tells.
    """
    before, sizes = measure_objectives(optima, weights.astype(np.float64))
    promised = (gradients * steps).sum(axis=(1, 2))
    unit = float(np.finfo(weights.dtype).eps)
    rests = promised <= (RESTING_ROUNDINGS * unit) ** 2 * sizes
    is_sure = promised > (CLEAR_ROUNDINGS * unit) ** 2 * sizes
    is_sure &= measure_moves(optima, steps) <= NEAR_MOVE

    far = np.flatnonzero(~is_sure & ~rests).tolist()
    after, _ = measure_objectives([optima[i] for i in far], moved[far].astype(np.float64))
    descent = before[far] - after
    is_clear = descent > CLEAR_DESCENT * sizes[far]
    is_sure[far] = is_clear & (descent >= LEAST_DESCENT * promised[far])
    return is_sure, rests


def search_step(
    optimum: Optimum, weights: NDArray[Any], gradient: Array, step: Array, is_partial: bool
) -> NDArray[Any] | None:
    """Return the weights after a part of Newton's `step` `[p, q]`, None if there is none.

    Where the gradient has a part along which H is flat, or Newton's step is far too long, the step
    of a constant curvature, that of the loss's bound, may lead further down.
    """
    found = search_line(optimum, weights, gradient, -step)
    if is_partial or found is None or found.length < SHORT_LENGTH:
        bound = 2 * optimum.scale * optimum.root.T @ optimum.root
        blocks = np.stack([bound] * gradient.shape[1])
        steps, _ = solve_blocks(blocks[None], gradient[None])
        other = search_line(optimum, weights, gradient, -steps[0], widens=True)
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


def solve_blocks(blocks: Array, gradients: Array) -> tuple[Array, Mask]:
    """Return the H⁻¹g `[s, p, q]` of smallest norm of blocks `[s, b, m, m]`.

    Return also where a part of g is left out, along which H is flat `[s]`.
    """
    s, b, m, _ = blocks.shape
    each = b == gradients.shape[2]  # a block for each target, or one for all
    rows = gradients.swapaxes(1, 2) if each else gradients.reshape(s, 1, -1)
    found, is_partial = _solve(blocks.reshape(-1, m, m), rows.reshape(-1, m))
    steps = found.reshape(s, b, m).swapaxes(1, 2) if each else found.reshape(gradients.shape)
    return steps, np.asarray(is_partial.reshape(s, b).any(axis=1))


def _solve(hessians: Array, gradients: Array) -> tuple[Array, Mask]:
    """Return H⁻¹g `[k, m]`, and where a part of g is left out `[k]`."""
    sizes = np.sqrt(np.diagonal(hessians, axis1=1, axis2=2))  # [k, m]
    sizes = np.where(sizes > 0, sizes, 1)
    scaled = hessians / sizes[:, None] / sizes[:, :, None]
    slopes = gradients / sizes
    is_partial = np.zeros(len(scaled), dtype=bool)
    pivots = np.diagonal(factor_each(scaled), axis1=1, axis2=2)
    regular = (pivots > SAFE_PIVOT).all(axis=1)  # False of NaN
    found = np.empty_like(slopes)
    found[regular] = np.linalg.solve(scaled[regular], slopes[regular, :, None])[:, :, 0]
    for i in np.flatnonzero(~regular).tolist():
        found[i], is_partial[i] = _solve_flat(scaled[i], slopes[i])
    return found / sizes, is_partial


def factor_each(matrices: Array) -> Array:
    """Return the Cholesky factors of matrices `[k, m, m]`, NaN where there is none."""
    try:
        return np.asarray(np.linalg.cholesky(matrices))
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.full_like(matrices, np.nan)
    return np.concatenate([factor_each(matrix[None]) for matrix in matrices])


def _solve_flat(hessian: Array, slope: Array) -> tuple[Array, bool]:
    """Return H⁻¹g `[m]` of smallest norm, and True if a part of g is left out."""
    values, vectors = np.linalg.eigh(hessian)
    is_curved = values > max(len(values) * np.finfo(float).eps * values[-1], 0)
    along = vectors.T @ slope
    solved = np.where(is_curved, along, 0) / np.where(is_curved, values, 1)
    left = np.linalg.norm(along[~is_curved])
    return vectors @ solved, bool(left > FLAT_PART * np.linalg.norm(along))
