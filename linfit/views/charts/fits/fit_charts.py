"""The pictures of one fit: the data with the fit, the losses, and the path of descent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from linfit.engine.fit import Fit
from linfit.problem.types import Array
from linfit.views.analysis.rounding_floor import clip_to_floor, compute_floor, describe_floor
from linfit.views.analysis.theory import predict_rate
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    LeftOut,
    Mark,
    Series,
    is_sparse,
    join_notes,
    mask_nonpositive,
    move_step_zero,
)
from linfit.views.charts.fits.data_chart import plot_data
from linfit.views.charts.fits.fit_titles import title_fit
from linfit.views.charts.fits.predicted_curve import predict_excess
from linfit.views.charts.weight_plane import (
    FARTHEST_REACH,
    GRID_POINTS,
    choose_plane,
    clip_path,
    describe_ends,
    plot_plane,
)


def plot_loss(fit: Fit) -> Chart:
    """Return loss and excess loss over the steps, with the excess loss that theory predicts."""
    assert fit.optimum is not None
    steps = move_step_zero(fit.steps)
    sparse = is_sparse(fit.steps)
    losses = {"loss": fit.losses}
    if fit.optimum.is_known:
        losses["excess loss"] = clip_fit_excess(fit)
    if fit.validation_losses is not None:
        losses["validation loss"] = fit.validation_losses
    series = []
    below = [label for label, values in losses.items() if (values < 0).any()]
    for label, values in losses.items():
        series.append(Series(label, steps, mask_nonpositive(values), is_sparse=sparse))
    series += _draw_prediction(fit)
    axes = (ChartAxis("step", "steps"), ChartAxis("loss", "log"))
    note = join_notes(
        describe_floor(fit.excess_losses, compute_fit_floor(fit)),
        f"{' and '.join(below)} below 0 is not on this axis" if below else "",
    )
    return Chart("loss", title_fit("Loss", fit), *axes, series, note=note)


def compute_fit_floor(fit: Fit) -> float:
    """Return the excess loss of a fit at or below which there is only rounding."""
    return compute_floor(fit.excess_losses[0], fit.config.dtype)


def clip_fit_excess(fit: Fit) -> Array:
    """Return the excess losses of a fit, raised to its rounding floor."""
    return clip_to_floor(fit.excess_losses, compute_fit_floor(fit))


def _draw_prediction(fit: Fit) -> list[Series]:
    """Return the excess loss that is predicted, as far as the fit came; none where it is not."""
    predicted = predict_excess(fit)
    rate = predict_rate(fit)
    if predicted is None or rate is None:
        return []
    steps, line = predicted
    seen = mask_nonpositive(clip_fit_excess(fit))
    if np.isfinite(seen).any():
        inside = (line >= np.nanmin(seen) / 3) & (line <= np.nanmax(seen) * 3)
    else:
        inside = line >= 0
    values = np.where(inside, line, np.nan)
    label = "predicted excess loss" + (f", rate {rate:.4g} in the end" if rate else "")
    return [Series(label, move_step_zero(steps), values, kind="predicted")]


def plot_descent(fit: Fit) -> Chart:
    """Return the path of descent over both weights.

    Over the two directions of largest curvature if there are more weights.
    """
    assert fit.path is not None and fit.problem is not None and fit.optimum is not None
    title = title_fit("Path of descent", fit)
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
    marks = [Mark(best, "exact optimum", y=optimum.loss)] if optimum.attained else []
    axes = (ChartAxis(f"weight of {problem.features[0]}"), ChartAxis("loss"))
    return Chart("descent", title, *axes, series, marks, note=describe_ends([line]))


def plot_known_descent(fit: Fit) -> Chart | LeftOut:
    """Return the path of descent if the optimum is known, around which it is drawn."""
    if fit.optimum is not None and not fit.optimum.is_known:
        return LeftOut("it is drawn around the optimum, which theory=none does not compute")
    return plot_descent(fit)


#: All pictures of a fit that did not fail, by name.
FIT_CHARTS: dict[str, Callable[[Fit], Chart | LeftOut]] = {
    "data_chart": plot_data,
    "loss_chart": plot_loss,
    "descent_chart": plot_known_descent,
}
