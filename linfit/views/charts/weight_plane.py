"""Paths of descent over a plane: of two weights, or of the two directions of largest curvature.

k recorded steps; the Hessian is 2c·XᵀX for every target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Mark,
    Series,
    Surface,
    join_notes,
    merge_equal_series,
)

GRID_POINTS = 121
#: Losses of a residual that are computed for contours, and the grid below which they are rough.
MOST_EVALUATIONS = 5e7
FEWEST_GRID_POINTS = 31
#: The distance from the optimum, as a multiple of the start's, up to which a path is drawn.
FARTHEST_REACH = 2.5


@dataclass(frozen=True)
class WeightPlane:
    """Two directions in the space of weights, with optimum and curvature `[2, 2]` in them."""

    names: tuple[str, str]
    center: Array
    """The optimum `[2]` in the plane."""
    curvature: Array
    directions: Array | None
    """`[p, 2]` for the first target, None where the weights are the two coordinates themselves."""
    origin: Array
    """W* `[p]` of the first target, from which the directions lead."""
    around: Optimum | None = None
    """The optimum of a loss that is not quadratic, if its own contours are drawn."""
    grid_points: int = GRID_POINTS
    has_optimum: bool = True
    is_approximate: bool = False
    """True if contours are those of small residuals, of a loss with too many of them."""

    def project(self, weights: NDArray[np.floating]) -> Array:
        """Return the places `[k, 2]` of weights `[k, p, q]`."""
        values = weights.astype(float)
        if self.directions is None:
            # Of one feature and several targets the first two.
            return values.reshape(len(values), -1)[:, :2]
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((values[:, :, 0] - self.origin) @ self.directions)

    def lift(self, places: Array, weights: Array) -> Array:
        """Return weights `[..., p, q]` at places `[..., 2]`, which are W* `[p, q]` elsewhere."""
        lifted = np.broadcast_to(weights, (*places.shape[:-1], *weights.shape)).copy()
        if self.directions is not None:
            lifted[..., 0] = self.origin + places @ self.directions.T
        elif weights.shape[0] == 1:
            lifted[..., 0, :2] = places
        else:
            lifted[..., 0] = places
        return lifted

    def compute_excess(self, places: Array) -> Array:
        """Return the excess loss `[...]` at places `[..., 2]`.

        Of a quadratic loss it is ½(a − a*)ᵀH(a − a*).
        """
        if self.around is not None:
            rows = [self.lift(row, self.around.weights) for row in places]
            return np.stack([self.around.excess_loss(row) for row in rows])
        away = places - self.center
        return np.asarray(
            0.5
            * np.einsum(
                "...i,ij,...j->...",
                away,
                self.curvature,
                away,
            )
        )


def choose_plane(problem: Problem, optimum: Optimum) -> WeightPlane:
    """Return the plane in which descent is drawn, for two weights or more."""
    plane = replace(_choose_directions(problem, optimum), has_optimum=optimum.attained)
    if optimum.around is None:
        return plane
    n, _, q = problem.shape
    points = int(min(GRID_POINTS, (MOST_EVALUATIONS / (n * q)) ** 0.5))
    if points < FEWEST_GRID_POINTS:
        return replace(plane, is_approximate=True)
    return replace(plane, around=optimum, grid_points=points)


def _choose_directions(problem: Problem, optimum: Optimum) -> WeightPlane:
    _, p, q = problem.shape
    hessian = 2 * optimum.scale * optimum.root.T @ optimum.root  # [p, p]
    origin = optimum.weights[:, 0]
    if p == 2 and q == 1:
        names = (f"weight of {problem.features[0]}", f"weight of {problem.features[1]}")
        return WeightPlane(names, optimum.weights.ravel(), hessian, None, origin)
    if p == 1:  # one feature, the first two targets
        word = "of" if q == 2 else "for"
        names = (f"weight {word} {problem.targets[0]}", f"weight {word} {problem.targets[1]}")
        curvature = np.eye(2) * hessian[0, 0]
        return WeightPlane(names, optimum.weights[0, :2], curvature, None, origin)

    curvatures, vectors = np.linalg.eigh(hessian)
    leading = vectors[:, ::-1][:, :2]  # [p, 2]
    # An eigenvector has no sign of its own: the largest component is positive.
    largest_components = leading[np.abs(leading).argmax(axis=0), [0, 1]]
    leading = leading * np.where(largest_components < 0, -1, 1)
    first, second = np.maximum(curvatures[::-1][:2], 0)
    names = (f"direction of curvature {first:.3g}", f"direction of curvature {second:.3g}")
    return WeightPlane(
        names,
        np.zeros(2),
        np.diag([first, second]),
        leading,
        origin,
    )


def plot_plane(
    name: str,
    title: str,
    plane: WeightPlane,
    paths: Sequence[tuple[str, Array, int]],
    note: str = "",
) -> Chart:
    """Return the contours of the loss with paths `[k, 2]`, as far as these are near the optimum.

    A path is (label, places, style).
    """
    starts = [np.abs(path[0] - plane.center).max() for _, path, _ in paths if len(path)]
    reach = FARTHEST_REACH * max(float(max(starts, default=1.0)), 1e-9)
    series = []
    seen = [plane.center[None]]
    for label, path, style in paths:
        kept, leaves = clip_path(path, plane.center, reach)
        x, y = kept.T
        series.append(
            Series(
                label,
                x,
                y,
                kind="path",
                style=style,
                leaves_picture=leaves,
            )
        )
        seen.append(kept)

    x, y = _grid(np.concatenate(seen), plane.grid_points)
    z = plane.compute_excess(np.stack(np.meshgrid(x, y), axis=-1))
    floor = max(float(z.max()) * 1e-5, 1e-300)
    return Chart(
        name,
        title,
        ChartAxis(plane.names[0], limits=(x[0], x[-1])),
        ChartAxis(plane.names[1], limits=(y[0], y[-1])),
        merge_equal_series(series),
        _mark_optimum(plane),
        Surface(x, y, np.maximum(z, floor), "excess loss"),
        join_notes(
            note,
            "contours as of small residuals, where the loss is quadratic"
            if plane.is_approximate
            else "",
            describe_ends(series),
        ),
    )


def _grid(seen: Array, points: int) -> tuple[Array, Array]:
    """Return the coordinates of a grid around all places `[k, 2]` that are drawn."""
    low = np.nanmin(seen, axis=0)
    high = np.nanmax(seen, axis=0)
    size = high - low
    margin = np.maximum(0.12 * size, 0.12 * size.max()) + 1e-12
    x, y = np.linspace(low - margin, high + margin, points).T
    return x, y


def _mark_optimum(plane: WeightPlane) -> list[Mark]:
    """Return the mark of the optimum, none if the loss has no minimum."""
    if not plane.has_optimum:
        return []
    return [Mark(float(plane.center[0]), "exact optimum", y=float(plane.center[1]))]


def clip_path(path: Array, center: Array, reach: float) -> tuple[Array, bool]:
    """Return the path `[k, 2]` or `[k, 1]` within `reach` of the center, and if it ends outside.

    It is drawn up to the edge where it leaves. Where it comes back it goes on, after a row of NaN,
    from the edge where it does.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        inside = np.abs(path - center).max(axis=1) <= reach
    if inside.all():
        return path, False

    kept = [path[:1]]
    for place in range(1, len(path)):
        before = path[place - 1 : place]
        after = path[place : place + 1]
        if inside[place - 1] and not inside[place]:
            kept.append(_edge(before, after, center, reach))
        elif inside[place] and not inside[place - 1]:
            gap = np.full_like(after, np.nan)
            kept += [gap, _edge(after, before, center, reach), after]
        elif inside[place]:
            kept.append(after)
    return np.concatenate(kept), not inside[-1]


def _edge(inside: Array, outside: Array, center: Array, reach: float) -> Array:
    """Return the point `[1, 2]` where a step crosses the edge; `[0, 2]` if it is not finite."""
    if not np.isfinite(outside).all():
        return inside[:0]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        step = outside - inside
        shares = (center + np.sign(step) * reach - inside) / step
    return np.asarray(inside + np.nanmin(np.where(step == 0, np.nan, shares)) * step)


def describe_ends(paths: Sequence[Series]) -> str:
    """Return a note on where paths start and end, and where they are outside."""
    gone = sum(path.leaves_picture for path in paths)
    back = any(np.isnan(path.x).any() for path in paths)
    return join_notes(
        "ring: start",
        "large marker: end" if gone < len(paths) else "",
        "a path without an end leaves the picture" if gone else "",
        "a path that is interrupted was outside the picture" if back else "",
    )
