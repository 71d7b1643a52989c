"""Paths of descent over a plane of weights: both weights where there are two, otherwise the two directions of largest curvature.

k recorded steps; the Hessian is 2c·XᵀX for every target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linfit.problem.problem import Array, Problem
from linfit.problem.theory import Optimum
from linfit.views.charts import Axis, Chart, Mark, Series, Surface, join_notes

GRID = 121
#: A path may leave the start's distance from the optimum so many times before the picture stops following it.
FARTHEST = 2.5


@dataclass(frozen=True)
class Plane:
    """Two directions in the space of weights, the optimum in them, and the curvature `[2, 2]` there."""

    names: tuple[str, str]
    center: Array
    curvature: Array
    directions: Array | None
    """`[p, 2]` for the first target, None where the weights are the two coordinates themselves."""
    origin: Array
    """W* `[p]` of the first target, from which the directions lead."""

    def coordinates(self, weights: NDArray[np.floating]) -> Array:
        """The places `[k, 2]` of weights `[k, p, q]`."""
        if self.directions is None:
            return weights.astype(float).reshape(len(weights), -1)[
                :, :2
            ]  # of one feature and several targets the first two
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((weights[:, :, 0].astype(float) - self.origin) @ self.directions)

    def excess(self, places: Array) -> Array:
        """½(a − a*)ᵀH(a − a*) `[...]` of places `[..., 2]`: the excess loss within the plane."""
        away = places - self.center
        return np.asarray(0.5 * np.einsum("...i,ij,...j->...", away, self.curvature, away))


def plane_of(problem: Problem, optimum: Optimum) -> Plane:
    """The plane in which descent on `problem` is drawn. There must be at least two weights."""
    _, p, q = problem.shape
    hessian = 2 * optimum.scale * optimum.root.T @ optimum.root  # [p, p]
    if p * q == 2:
        names = problem.features if p == 2 else problem.targets
        own = hessian if p == 2 else np.eye(2) * hessian[0, 0]
        return Plane(
            (f"weight of {names[0]}", f"weight of {names[1]}"),
            optimum.weights.ravel(),
            own,
            None,
            optimum.weights[:, 0],
        )
    if p == 1:  # one feature, several targets: the first two of them
        first = (f"weight for {problem.targets[0]}", f"weight for {problem.targets[1]}")
        return Plane(
            first, optimum.weights[0, :2], np.eye(2) * hessian[0, 0], None, optimum.weights[:, 0]
        )
    curvatures, vectors = np.linalg.eigh(hessian)
    leading = vectors[:, ::-1][:, :2]  # [p, 2]
    leading = leading * np.where(
        leading[np.abs(leading).argmax(axis=0), [0, 1]] < 0, -1, 1
    )  # a sign of its own choice
    largest = np.maximum(curvatures[::-1][:2], 0)
    names = tuple(f"direction of curvature {curvature:.3g}" for curvature in largest)
    return Plane(
        (names[0], names[1]), np.zeros(2), np.diag(largest), leading, optimum.weights[:, 0]
    )


def plane_chart(
    name: str, title: str, plane: Plane, paths: Sequence[tuple[str, Array, int]], note: str = ""
) -> Chart:
    """The contours of the loss with paths `[k, 2]`, as far as these are near starts and optimum."""
    starts = np.array([path[0] for _, path, _ in paths if len(path)])
    reach = FARTHEST * max(float(np.abs(starts - plane.center).max()) if len(starts) else 1.0, 1e-9)
    kept = [(label, *within(path, plane.center, reach), style) for label, path, style in paths]
    seen = np.concatenate([plane.center[None], *(path for _, path, _, _ in kept)])
    low, high = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
    margin = np.maximum(0.12 * (high - low), 0.12 * (high - low).max()) + 1e-12
    x, y = (np.linspace(low[i] - margin[i], high[i] + margin[i], GRID) for i in (0, 1))
    z = plane.excess(np.stack(np.meshgrid(x, y), axis=-1))
    floor = max(float(z.max()) * 1e-5, 1e-300)
    series = [
        Series(label, path[:, 0], path[:, 1], kind="path", style=style, leaves=leaves)
        for label, path, leaves, style in kept
    ]
    optimum = Mark(float(plane.center[0]), "exact optimum", y=float(plane.center[1]))
    axes = (Axis(plane.names[0], limits=(x[0], x[-1])), Axis(plane.names[1], limits=(y[0], y[-1])))
    note = join_notes(note, ends(series))
    return Chart(
        name,
        title,
        *axes,
        series,
        [optimum],
        Surface(x, y, np.maximum(z, floor), "excess loss"),
        note,
    )


def within(path: Array, center: Array, reach: float) -> tuple[Array, bool]:
    """Return the path `[k, 2]` or `[k, 1]` within `reach` of the center, and whether it ends outside.

    It is drawn up to the edge where it leaves. Where it comes back it goes on, after a row of NaN,
    from the edge where it does.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        inside = np.abs(path - center).max(axis=1) <= reach
    if inside.all():
        return path, False
    kept = [path[:1]]
    for place in range(1, len(path)):
        before, after = path[place - 1 : place], path[place : place + 1]
        if inside[place - 1] and not inside[place]:
            kept.append(_edge(before, after, center, reach))
        elif inside[place] and not inside[place - 1]:
            gap = np.full_like(after, np.nan)
            kept += [gap, _edge(after, before, center, reach), after]
        elif inside[place]:
            kept.append(after)
    return np.concatenate(kept), not inside[-1]


def _edge(inside: Array, outside: Array, center: Array, reach: float) -> Array:
    """Return the point `[1, 2]` where a step crosses the edge; none `[0, 2]` if it is not finite."""
    if not np.isfinite(outside).all():
        return inside[:0]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = outside - inside
        shares = (center + np.sign(step) * reach - inside) / step
    return np.asarray(inside + np.nanmin(np.where(step == 0, np.nan, shares)) * step)


def ends(paths: Sequence[Series]) -> str:
    """What a note says of where paths start and end, and where they are outside."""
    gone = sum(path.leaves for path in paths)
    back = any(np.isnan(path.x).any() for path in paths)
    return join_notes(
        "ring: start",
        "large marker: end" if gone < len(paths) else "",
        "a path without an end leaves the picture" if gone else "",
        "a path that is interrupted was outside the picture" if back else "",
    )
