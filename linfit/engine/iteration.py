"""How many steps linear iterations take, of many fits at once: powers of their matrices by doubling, then by halving.

r fits, m curvatures that are not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.problem.problem import Array

#: Steps beyond which no prediction goes, as a power of two; numbers of matrices that are multiplied at once.
FARTHEST, TOGETHER = 50, 2**15
NEVER = -1
Reached = Callable[[Array], NDArray[np.bool_]]


def contraction(matrices: Array) -> Array:
    """The factor `[…]` by which a step shrinks the error in the long run, of matrices `[…, m, 2, 2]`."""
    return np.asarray(np.abs(np.linalg.eigvals(matrices)).max(axis=(-2, -1)))


def steps_until(matrices: Sequence[Array], shares: Sequence[Array], tolerances: Sequence[float]) -> list[int]:
    """The step at which each of r fits is within its tolerance, NEVER where it never is.

    Of a fit, `matrices` `[m, 2, 2]` are what a step multiplies (error, velocity) by, and `shares` `[m]` the excess loss at the start
    along each curvature: within is where what is left of it is at most `tolerances` of all.
    """
    found = [NEVER] * len(matrices)
    alike: dict[int, list[int]] = {}
    for place, matrix in enumerate(matrices):
        if contraction(matrix) < 1:
            alike.setdefault(len(matrix), []).append(place)
    for m, places in alike.items():
        size = max(1, TOGETHER // m)
        for some in (places[at : at + size] for at in range(0, len(places), size)):
            stacked, parts = (np.stack([sequence[place] for place in some]) for sequence in (matrices, shares))
            with np.errstate(over="ignore", invalid="ignore"):  # powers by squaring, where rounding alone outgrows the contraction: never
                steps = _together(stacked, parts, np.array([tolerances[place] for place in some]))
            for place, step in zip(some, steps.tolist(), strict=True):
                found[place] = step
    return found


def _together(matrices: Array, shares: Array, tolerances: Array) -> NDArray[np.int64]:
    """The same `[r]` of matrices `[r, m, 2, 2]` that contract, shares `[r, m]`, tolerances `[r]`."""
    allowed = tolerances * shares.sum(axis=1)

    def reached(powers: Array) -> NDArray[np.bool_]:
        return np.asarray((shares * np.square(powers[:, :, 0, 0])).sum(axis=1) <= allowed)

    start = np.broadcast_to(np.eye(2), matrices.shape)
    at_once = reached(start)
    ladder, level = [matrices], np.where(reached(matrices), 0, NEVER)  # by doubling
    while (~at_once & (level == NEVER)).any() and len(ladder) <= FARTHEST:
        ladder.append(ladder[-1] @ ladder[-1])
        level = np.where((level == NEVER) & reached(ladder[-1]), len(ladder) - 1, level)
    steps = np.where(level == NEVER, NEVER, 1 + _short(ladder, level, start, reached))
    return np.where(at_once, 0, steps)


def _short(ladder: Sequence[Array], level: NDArray[np.int64], start: Array, reached: Reached) -> NDArray[np.int64]:
    """The last steps `[r]` before 2^level at which it is not reached, by halving."""
    count = np.where(level > 0, 2 ** np.maximum(level - 1, 0), 0)
    at = start.copy()
    for j, powers in enumerate(ladder):
        at[level == j + 1] = powers[level == j + 1]
    for j in range(int(level.max(initial=0)) - 2, -1, -1):
        further = at @ ladder[j]
        on = (level - 2 >= j) & ~reached(further)
        at[on], count = further[on], count + np.where(on, 2**j, 0)
    return count
