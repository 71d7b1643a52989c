"""Numbers of steps that linear iterations take, for many fits at once.

With momentum the error along a curvature may oscillate as it shrinks: it comes near zero and grows
again. The first step within a tolerance is then searched step by step. Where no error oscillates,
the excess loss only falls; powers of the matrices, by doubling and then by halving, find the step
however far it is.

r fits, m curvatures that are not zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array, Mask

#: No prediction exceeds 2 to this power steps.
MAX_DOUBLINGS = 50
#: Matrices that are multiplied at once.
MATRICES_AT_ONCE = 2**15
#: Most steps that are searched one by one.
MAX_SEARCHED_STEPS = 2**20
#: Most numbers of errors that are held at once.
MAX_HELD_ERRORS = 2**19
#: The step at which a fit is within its tolerance, if that is unknown.
UNKNOWN_STEP = -1
StepNumbers = NDArray[np.int64]


def contraction_factor(matrices: Array) -> Array:
    """Return the factors `[…]` of contraction of `[…, m, 2, 2]` matrices.

    Each is the factor by which a step shrinks the error in the long run.
    """
    return np.asarray(np.abs(np.linalg.eigvals(matrices)).max(axis=(-2, -1)))


def count_steps_to_tolerance(
    matrices: Sequence[Array], shares: Sequence[Array], tolerances: Sequence[float]
) -> list[int]:
    """Return each fit's first step within tolerance, or NEVER.

    There are r fits, each with its own tolerance. A step multiplies (error, velocity) by the
    `matrices` `[m, 2, 2]` of a fit. Its `shares` `[m]` are the initial excess loss along each
    curvature. A fit is within its tolerance where at most that part of the sum of its shares is
    left.
    """
    found = [UNKNOWN_STEP] * len(matrices)
    alike: dict[int, list[int]] = {}
    for index, matrix in enumerate(matrices):
        if contraction_factor(matrix) < 1:
            alike.setdefault(len(matrix), []).append(index)

    for m, indices in alike.items():
        size = max(1, MATRICES_AT_ONCE // m)
        for start in range(0, len(indices), size):
            some = indices[start : start + size]
            stacked = np.stack([matrices[index] for index in some])
            parts = np.stack([shares[index] for index in some])
            allowed = np.array([tolerances[index] for index in some]) * parts.sum(axis=1)
            with np.errstate(over="ignore", invalid="ignore"):  # powers that rounding lets grow
                steps = _count_steps(stacked, parts, allowed)
            for index, step in zip(some, steps.tolist(), strict=True):
                found[index] = step
    return found


def _count_steps(matrices: Array, shares: Array, allowed: Array) -> StepNumbers:
    """Return the first steps `[r]` at which at most `allowed` `[r]` is left.

    The matrices `[r, m, 2, 2]` contract; the shares are `[r, m]`.
    """
    oscillating = _oscillates(matrices)
    falling = DecayingExcess(matrices, np.where(oscillating, 0, shares), allowed)
    # Oscillating errors only add to the falling ones, so that no earlier step is within.
    steps, before = falling.find_first_steps()
    searched = np.flatnonzero(oscillating.any(axis=1) & (steps != UNKNOWN_STEP))
    for row in searched.tolist():
        first = int(steps[row])
        steps[row] = _search_from(
            matrices[row], shares[row], float(allowed[row]), first, before[row]
        )
    return steps


def _oscillates(matrices: Array) -> Mask:
    """Return `[r, m]`: True where the error may grow on its way, False where it only shrinks.

    Without momentum every step multiplies the error by one number. With a momentum whose two
    eigenvalues are real and not negative, the error is a difference of two powers: it falls from 1
    to 0.
    """
    trace = matrices[..., 0, 0] + matrices[..., 1, 1]
    diagonal = matrices[..., 0, 0] * matrices[..., 1, 1]
    determinant = diagonal - matrices[..., 0, 1] * matrices[..., 1, 0]
    real = trace**2 >= 4 * determinant
    positive = (trace >= 0) & (determinant >= 0)
    return np.asarray((matrices[..., 0, 1] != 0) & ~(real & positive))


class DecayingExcess:
    """Excess losses of r fits that never grow.

    Matrices `[r, m, 2, 2]`, shares `[r, m]`, and the excess loss that is `allowed` `[r]`.
    """

    def __init__(self, matrices: Array, shares: Array, allowed: Array) -> None:
        self.matrices = matrices
        self.shares = shares
        self.allowed = allowed

    def is_within_tolerance(self, powers: Array) -> Mask:
        """Return which fits `[r]` are within their tolerance.

        Their powers are `[r, m, 2, 2]`.
        """
        left = self.shares * np.square(powers[:, :, 0, 0])
        return np.asarray(left.sum(axis=1) <= self.allowed)

    def find_first_steps(self) -> tuple[StepNumbers, Array]:
        """Return the first steps `[r]` within, and powers before.

        The powers are those one step before. The powers are `[r, m, 2, 2]`. For step 0 they are
        those of step 0.
        """
        start = np.broadcast_to(np.eye(2), self.matrices.shape)
        at_once = self.is_within_tolerance(start)
        ladder = [self.matrices]
        level = np.where(
            self.is_within_tolerance(self.matrices), 0, UNKNOWN_STEP
        )  # within after 2^level steps
        while (~at_once & (level == UNKNOWN_STEP)).any() and len(ladder) <= MAX_DOUBLINGS:
            ladder.append(ladder[-1] @ ladder[-1])
            level = np.where(
                (level == UNKNOWN_STEP) & self.is_within_tolerance(ladder[-1]),
                len(ladder) - 1,
                level,
            )
        last, before = self._last_outside(ladder, np.where(at_once, UNKNOWN_STEP, level), start)
        steps = np.where(level == UNKNOWN_STEP, UNKNOWN_STEP, 1 + last)
        return np.where(at_once, 0, steps), before

    def _last_outside(
        self, ladder: Sequence[Array], level: StepNumbers, start: Array
    ) -> tuple[StepNumbers, Array]:
        """Return the last steps `[r]` before 2^level that are not within, and their powers.

        They are found by halving, from 2^(level − 1) on.
        """
        count = np.where(level > 0, 2 ** np.maximum(level - 1, 0), 0)
        at = start.copy()
        for j, powers in enumerate(ladder):
            at[level == j + 1] = powers[level == j + 1]
        for j in range(int(level.max(initial=0)) - 2, -1, -1):
            further = at @ ladder[j]
            on = (level - 2 >= j) & ~self.is_within_tolerance(further)
            at[on] = further[on]
            count = count + np.where(on, 2**j, 0)
        return count, at


def _search_from(matrices: Array, shares: Array, allowed: float, first: int, before: Array) -> int:
    """Return the first step of one fit, from `first` on, that is within.

    NEVER if too far.

    The fit's matrices are `[m, 2, 2]`, `before` their powers one step before `first`. The first
    columns of b successive powers are computed at once.
    """
    columns = np.eye(2)[None, :, :1].repeat(len(matrices), axis=0)  # [m, 2, b]
    power = matrices
    most = min(MAX_SEARCHED_STEPS, MAX_HELD_ERRORS // len(matrices), 2**12)
    while columns.shape[2] < most:
        columns = np.concatenate([columns, power @ columns], axis=2)
        power = power @ power
    if first != 0:
        before = before @ matrices
    now = before[:, :1]  # [m, 1, 2]
    for start in range(0, MAX_SEARCHED_STEPS, columns.shape[2]):
        left = shares @ np.square(now @ columns)[:, 0]  # [b]
        within = left <= allowed
        if within.any():
            return first + start + int(within.argmax())
        now = now @ power
    return UNKNOWN_STEP
