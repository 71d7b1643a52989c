"""The pictures of one fit: the data with the fitted curve, the losses, and the path of descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit, Status
from linfit.problem.types import Array
from linfit.views.analysis.rounding_floor import clip_to_floor, compute_floor, describe_floor
from linfit.views.analysis.theory import predict_rate
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Mark,
    Series,
    join_notes,
    mask_nonpositive,
    move_step_zero,
)
from linfit.views.charts.weight_plane import (
    FARTHEST_REACH,
    GRID_POINTS,
    choose_plane,
    clip_path,
    describe_ends,
    plot_plane,
)

#: Samples that a picture shows: more cannot be told apart, and make the file slow and large.
MOST_SAMPLES = 2000


def plot_data(fit: Fit) -> Chart:
    """Return the data with the fit, the exact optimum, and the truth if it is known.

    Of several targets the first is drawn.
    """
    problem = fit.problem
    optimum = fit.optimum
    assert problem is not None and optimum is not None
    target = problem.targets[0]
    if len(problem.targets) > 1:
        target = f"{target}, the first of {len(problem.targets)} targets"
    name, x = choose_inputs(fit)
    y = problem.y[:, 0]
    shown = _spread(y if x is None else x)

    weights = {
        "fit": fit.weights.astype(float),
        "exact optimum": optimum.weights,
        "truth": problem.truth,
    }
    curves = {}
    for label, own in weights.items():
        if own is not None and np.isfinite(own).all():
            curves[label] = (problem.X[shown] @ own)[:, 0]

    extremes = (float(y.min()), float(y.max()))
    limits = None
    if fit.status is Status.DIVERGED:
        limits = _limits(extremes, margin=0.3 if x is None else 0.15)
    note = join_notes(_describe_shown(len(shown), len(y)), _unseen(curves.get("fit"), limits))
    if x is None:
        title = f"Predictions{_ended(fit)}"
        axes = (ChartAxis(f"{target}, measured"), ChartAxis("predicted", limits=limits))
        return Chart(
            "data",
            title,
            *axes,
            _against(curves, y[shown], extremes),
            note=note,
        )

    series = [Series("data", x[shown], y[shown], kind="points", color=INK)]
    for style, (label, curve) in enumerate(curves.items()):
        series.append(
            Series(
                label,
                x[shown],
                curve,
                kind="plain",
                style=style,
            )
        )
    axes = (ChartAxis(name), ChartAxis(target, limits=limits))
    return Chart(
        "data",
        f"Data and fit{_ended(fit)}",
        *axes,
        series,
        note=note,
    )


def _limits(extremes: tuple[float, float], margin: float) -> tuple[float, float]:
    """Return the extremes with a margin on both sides, a share of their distance."""
    low, high = extremes
    wide = margin * (high - low) or 1.0
    return low - wide, high + wide


def _against(curves: Mapping[str, Array], y: Array, extremes: tuple[float, float]) -> list[Series]:
    """Return predicted over measured targets, for many features."""
    labels = [label for label in ("fit", "exact optimum") if label in curves]
    series = []
    for style, label in enumerate(labels):
        series.append(
            Series(
                label,
                y,
                curves[label],
                kind="points",
                style=style,
            )
        )
    line = np.array(extremes)
    return [
        *series,
        Series(
            "prediction = target",
            line,
            line,
            kind="predicted",
        ),
    ]


def _spread(values: Array) -> NDArray[np.intp]:
    """Return the indices that sort the values; of too many, evenly some with both ends."""
    order = np.argsort(values, kind="stable")
    if len(order) <= MOST_SAMPLES:
        return order
    return order[np.linspace(0, len(order) - 1, MOST_SAMPLES).round().astype(np.intp)]


def _describe_shown(shown: int, samples: int) -> str:
    return f"{shown} of {samples} samples, evenly" if shown < samples else ""


def _unseen(curve: Array | None, limits: tuple[float, float] | None) -> str:
    """Return a note if the fit is far from the data."""
    if limits is None:
        return ""
    if curve is None:
        return "the fit's weights are not finite"
    low, high = limits
    inside = (curve >= low) & (curve <= high)
    return "" if inside.any() else "the fit lies outside the picture"


def choose_inputs(fit: Fit) -> tuple[str, Array | None]:
    """Return the name and values of the number over which the data are drawn.

    All features are functions of it, or it is the only feature that is not constant.
    """
    problem = fit.problem
    assert problem is not None
    x = fit.config.dataset.plot_inputs()
    if x is not None:
        return "x", x
    vary = np.flatnonzero(np.ptp(problem.X, axis=0) > 0)
    if len(vary) == 1:
        return problem.features[vary[0]], problem.X[:, vary[0]]
    return "", None


def plot_loss(fit: Fit) -> Chart:
    """Return loss and excess loss over the steps, with the excess loss that theory predicts."""
    assert fit.optimum is not None
    steps = move_step_zero(fit.steps)
    series = [
        Series("loss", steps, mask_nonpositive(fit.losses)),
        Series("excess loss", steps, mask_nonpositive(clip_fit_excess(fit))),
    ]
    rate = predict_rate(fit)
    if rate is not None:
        series.append(_predicted(fit, rate))
    axes = (ChartAxis("step", "steps"), ChartAxis("loss", "log"))
    note = describe_floor(fit.excess_losses, compute_fit_floor(fit))
    return Chart("loss", f"Loss{_ended(fit)}", *axes, series, note=note)


def compute_fit_floor(fit: Fit) -> float:
    """Return the excess loss of a fit at or below which there is only rounding."""
    return compute_floor(fit.excess_losses[0], fit.config.dtype)


def clip_fit_excess(fit: Fit) -> Array:
    """Return the excess losses of a fit, raised to its rounding floor."""
    return clip_to_floor(fit.excess_losses, compute_fit_floor(fit))


def _predicted(fit: Fit, rate: float) -> Series:
    """Return the excess loss as it would shrink at the predicted rate, as far as the fit came."""
    with np.errstate(over="ignore", under="ignore"):
        line = fit.excess_losses[0] * (rate * rate) ** fit.steps.astype(float)
    seen = mask_nonpositive(clip_fit_excess(fit))
    if np.isfinite(seen).any():
        inside = (line >= np.nanmin(seen) / 3) & (line <= np.nanmax(seen) * 3)
    else:
        inside = line >= 0
    label = f"predicted rate {rate:.4g} per step"
    return Series(
        label,
        move_step_zero(fit.steps),
        np.where(inside, line, np.nan),
        kind="predicted",
    )


def plot_descent(fit: Fit) -> Chart:
    """Return the path of descent over both weights.

    Over the two directions of largest curvature if there are more weights.
    """
    assert fit.path is not None and fit.problem is not None and fit.optimum is not None
    title = f"Path of descent{_ended(fit)}"
    if fit.weights.size == 1:
        return _one_weight(fit, title)

    plane = choose_plane(fit.problem.cast(fit.config.dtype), fit.optimum)
    _, p, q = fit.problem.shape
    notes = []
    if plane.directions is not None:
        notes.append("distances from the optimum in the two directions of largest curvature")
        if q > 1:
            notes.append(f"the first of {q} targets")
    if p == 1 and q > 2:
        notes.append(f"the first two of {q} targets")
    if fit.optimum.huber is not None:
        notes.append("contours as of small residuals, where the loss is quadratic")
    path = ("path", plane.project(fit.path.weights), 0)
    return plot_plane("descent", title, plane, [path], join_notes(*notes))


def _one_weight(fit: Fit, title: str) -> Chart:
    """Return the parabola of the loss over the only weight."""
    optimum = fit.optimum
    problem = fit.problem
    assert fit.path is not None and optimum is not None and problem is not None
    best = float(optimum.weights[0, 0])
    weights = fit.path.weights[:, 0].astype(float)  # [k, 1]
    reach = FARTHEST_REACH * max(abs(float(weights[0, 0]) - best), 1e-9)
    path, leaves = clip_path(weights, optimum.weights[0], reach)
    grid = np.linspace(best - reach, best + reach, GRID_POINTS)

    def losses(points: Array) -> Array:
        return np.asarray(optimum.loss + optimum.excess_loss(points.reshape(-1, 1, 1)))

    line = Series(
        "path",
        path[:, 0],
        losses(path),
        kind="path",
        style=0,
        leaves_picture=leaves,
    )
    series = [Series("loss", grid, losses(grid), kind="plain", style=7), line]
    mark = Mark(best, "exact optimum", y=optimum.loss)
    axes = (ChartAxis(f"weight of {problem.features[0]}"), ChartAxis("loss"))
    return Chart("descent", title, *axes, series, [mark], note=describe_ends([line]))


def _ended(fit: Fit) -> str:
    return f" (diverged at step {fit.diverged_at_step})" if fit.status is Status.DIVERGED else ""


#: All pictures of a fit that did not fail, by name.
FIT_CHARTS: dict[str, Callable[[Fit], Chart]] = {
    "data_chart": plot_data,
    "loss_chart": plot_loss,
    "descent_chart": plot_descent,
}
