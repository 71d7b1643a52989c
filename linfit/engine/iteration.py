"""How many steps linear iterations take, of many fits at once.

The error along a curvature that turns as it shrinks, as momentum makes it, comes near zero and goes away again: the first
step within a tolerance is looked for step by step. Where no error turns, the excess loss only falls, and powers of the
matrices by doubling, then by halving, find the step however far it is.

r fits, m curvatures that are not zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.problem.problem import Array

#: Steps beyond which no prediction goes, as a power of two; numbers of matrices that are multiplied at once.
FARTHEST, TOGETHER = 50, 2**15
#: Steps that are looked at one by one, at the most, and numbers of errors that are held at once.
LOOKED_AT, HELD = 2**20, 2**19
NEVER = -1
Steps = NDArray[np.int64]
Mask = NDArray[np.bool_]


def contraction(matrices: Array) -> Array:
    """The factor `[…]` by which a step shrinks the error in the long run, of matrices `[…, m, 2, 2]`."""
    return np.asarray(np.abs(np.linalg.eigvals(matrices)).max(axis=(-2, -1)))


def steps_until(
    matrices: Sequence[Array], shares: Sequence[Array], tolerances: Sequence[float]
) -> list[int]:
    """Return the first step at which each of r fits is within its tolerance, NEVER where none is known.

    Of a fit, `matrices` `[m, 2, 2]` are what a step multiplies (error, velocity) by, and `shares` `[m]` the excess loss
    at the start along each curvature: within is where what is left of it is at most `tolerances` of all.
    """
    found = [NEVER] * len(matrices)
    alike: dict[int, list[int]] = {}
    for place, matrix in enumerate(matrices):
        if contraction(matrix) < 1:
            alike.setdefault(len(matrix), []).append(place)
    for m, places in alike.items():
        size = max(1, TOGETHER // m)
        for start in range(0, len(places), size):
            some = places[start : start + size]
            stacked, parts = (
                np.stack([sequence[place] for place in some]) for sequence in (matrices, shares)
            )
            allowed = np.array([tolerances[place] for place in some]) * parts.sum(axis=1)
            with np.errstate(over="ignore", invalid="ignore"):  # powers that rounding lets grow
                steps = _together(stacked, parts, allowed)
            for place, step in zip(some, steps.tolist(), strict=True):
                found[place] = step
    return found


def _together(matrices: Array, shares: Array, allowed: Array) -> Steps:
    """The same `[r]` of matrices `[r, m, 2, 2]` that contract, where `allowed` `[r]` of the shares `[r, m]` may be left."""
    turning = _turns(matrices)
    falling = Falling(matrices, np.where(turning, 0, shares), allowed)
    steps, before = falling.first()  # no step before is within: what turns only adds to what falls
    looked_at = np.flatnonzero(turning.any(axis=1) & (steps != NEVER))
    for row in looked_at.tolist():
        steps[row] = _look(
            matrices[row], shares[row], float(allowed[row]), int(steps[row]), before[row]
        )
    return steps


def _turns(matrices: Array) -> Mask:
    """True `[r, m]` where the error may grow in between, false where it only shrinks.

    Without momentum it is multiplied by one number at every step. With a momentum whose two eigenvalues are real and not
    negative it is a difference of two powers, from 1 down to 0.
    """
    trace = matrices[..., 0, 0] + matrices[..., 1, 1]
    determinant = (
        matrices[..., 0, 0] * matrices[..., 1, 1] - matrices[..., 0, 1] * matrices[..., 1, 0]
    )
    real = trace**2 >= 4 * determinant
    positive = (trace >= 0) & (determinant >= 0)
    return np.asarray((matrices[..., 0, 1] != 0) & ~(real & positive))


class Falling:
    """Excess losses of r fits that never grow: matrices `[r, m, 2, 2]`, shares `[r, m]`, what is `allowed` `[r]`."""

    def __init__(self, matrices: Array, shares: Array, allowed: Array) -> None:
        self.matrices, self.shares, self.allowed = matrices, shares, allowed

    def reached(self, powers: Array) -> Mask:
        left = self.shares * np.square(powers[:, :, 0, 0])
        return np.asarray(left.sum(axis=1) <= self.allowed)

    def first(self) -> tuple[Steps, Array]:
        """The first steps `[r]` within what is allowed, and the powers `[r, m, 2, 2]` one step before, or at step 0."""
        start = np.broadcast_to(np.eye(2), self.matrices.shape)
        at_once = self.reached(start)
        ladder = [self.matrices]
        level = np.where(self.reached(self.matrices), 0, NEVER)  # by doubling
        while (~at_once & (level == NEVER)).any() and len(ladder) <= FARTHEST:
            ladder.append(ladder[-1] @ ladder[-1])
            level = np.where((level == NEVER) & self.reached(ladder[-1]), len(ladder) - 1, level)
        last, before = self._last(ladder, np.where(at_once, NEVER, level), start)
        steps = np.where(level == NEVER, NEVER, 1 + last)
        return np.where(at_once, 0, steps), before

    def _last(self, ladder: Sequence[Array], level: Steps, start: Array) -> tuple[Steps, Array]:
        """The last steps `[r]` before 2^level outside what is allowed, by halving, and the powers there."""
        count = np.where(level > 0, 2 ** np.maximum(level - 1, 0), 0)
        at = start.copy()
        for j, powers in enumerate(ladder):
            at[level == j + 1] = powers[level == j + 1]
        for j in range(int(level.max(initial=0)) - 2, -1, -1):
            further = at @ ladder[j]
            on = (level - 2 >= j) & ~self.reached(further)
            at[on], count = further[on], count + np.where(on, 2**j, 0)
        return count, at


def _look(matrices: Array, shares: Array, allowed: float, first: int, before: Array) -> int:
    """The first step from `first` on that is within what is allowed, of one fit whose powers one step before are given.

    Powers `[m, 2, 2]` of its matrices; NEVER where it is too far.
    """
    columns = np.eye(2)[None, :, :1].repeat(
        len(matrices), axis=0
    )  # [m, 2, b], the first columns of b powers
    power = matrices
    while columns.shape[2] < min(LOOKED_AT, HELD // len(matrices)) and columns.shape[2] < 2**12:
        columns, power = np.concatenate([columns, power @ columns], axis=2), power @ power
    now = (before if first == 0 else before @ matrices)[:, :1]  # [m, 1, 2]
    for start in range(0, LOOKED_AT, columns.shape[2]):
        left = shares @ np.square(now @ columns)[:, 0]  # [b]
        within = left <= allowed
        if within.any():
            return first + start + int(within.argmax())
        now = now @ power
    return NEVER
