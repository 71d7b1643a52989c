"""The pictures of one fit: the data with the fitted curve, the losses, and the path of descent."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit, Status
from linfit.problem.problem import Array
from linfit.views.charts import Axis, Chart, Mark, Series, join_notes, on_steps, positive
from linfit.views.floor import clamp, get_floor, say_floor
from linfit.views.planes import FARTHEST, GRID, ends, plane_chart, plane_of, within
from linfit.views.prediction import predicted_rate

#: Samples that a picture shows: more cannot be told apart, and make a slow picture and a large file.
MOST_SAMPLES = 2000


def data_chart(fit: Fit) -> Chart:
    """The data with the fitted curve, the exact answer, and the truth where it is known; of several targets the first."""
    problem, optimum = fit.problem, fit.optimum
    assert problem is not None and optimum is not None
    target = (
        f"{problem.targets[0]}, the first of {len(problem.targets)} targets"
        if len(problem.targets) > 1
        else problem.targets[0]
    )
    name, x = inputs(fit)
    y = problem.y[:, 0]
    shown = _spread(y if x is None else x)
    weights = {
        "fit": fit.weights.astype(float),
        "exact optimum": optimum.weights,
        "truth": problem.truth,
    }
    curves = {
        label: (problem.X[shown] @ w)[:, 0]
        for label, w in weights.items()
        if w is not None and np.isfinite(w).all()
    }
    ends = (float(y.min()), float(y.max()))
    margin = (0.3 if x is None else 0.15) * (ends[1] - ends[0]) or 1.0
    limits = (ends[0] - margin, ends[1] + margin) if fit.status is Status.DIVERGED else None
    note = join_notes(_thinned(len(shown), len(y)), _unseen(curves.get("fit"), limits))
    up = Axis("predicted" if x is None else target, limits=limits)
    if x is None:
        return Chart(
            "data",
            f"Predictions{_ended(fit)}",
            Axis(f"{target}, measured"),
            up,
            _against(curves, y[shown], ends),
            note=note,
        )
    data = Series("data", x[shown], y[shown], kind="points", style=6)
    lines = [
        Series(label, x[shown], curve, kind="plain", style=i)
        for i, (label, curve) in enumerate(curves.items())
    ]
    return Chart("data", f"Data and fit{_ended(fit)}", Axis(name), up, [data, *lines], note=note)


def _against(curves: dict[str, Array], y: Array, ends: tuple[float, float]) -> list[Series]:
    """Many features: what is predicted over what was measured."""
    labels = [label for label in ("fit", "exact optimum") if label in curves]
    points = [
        Series(label, y, curves[label], kind="points", style=i) for i, label in enumerate(labels)
    ]
    return [
        *points,
        Series("prediction = target", np.array(ends), np.array(ends), kind="predicted"),
    ]


def _spread(values: Array) -> NDArray[np.intp]:
    """The places of the values in order; of too many evenly some, the first and the last among them."""
    order = np.argsort(values, kind="stable")
    return (
        order
        if len(order) <= MOST_SAMPLES
        else order[np.linspace(0, len(order) - 1, MOST_SAMPLES).round().astype(np.intp)]
    )


def _thinned(shown: int, samples: int) -> str:
    return f"{shown} of {samples} samples, evenly" if shown < samples else ""


def _unseen(curve: Array | None, limits: tuple[float, float] | None) -> str:
    """What a note says of a fit that is far from the data."""
    if limits is None or (
        curve is not None and bool(((curve >= limits[0]) & (curve <= limits[1])).any())
    ):
        return ""
    return (
        "the fit lies outside the picture"
        if curve is not None
        else "the fit's weights are not finite"
    )


def inputs(fit: Fit) -> tuple[str, Array | None]:
    """What the data are drawn over: the one number that all features are functions of, or the only feature that is not constant."""
    problem = fit.problem
    assert problem is not None
    x = fit.config.dataset.inputs()
    if x is not None:
        return "x", x
    vary = [place for place in range(problem.X.shape[1]) if np.ptp(problem.X[:, place]) > 0]
    if len(vary) == 1:
        return problem.features[vary[0]], problem.X[:, vary[0]]
    return "", None


def loss_chart(fit: Fit) -> Chart:
    """Loss and excess loss over the steps, with what theory predicts of the excess loss."""
    assert fit.optimum is not None
    steps = on_steps(fit.steps)
    excess = clamp_excess(fit)
    series = [
        Series("loss", steps, positive(fit.losses)),
        Series("excess loss", steps, positive(excess)),
    ]
    rate = predicted_rate(fit)
    if rate is not None:
        series.append(_predicted(fit, rate))
    axes = (Axis("step", "steps"), Axis("loss", "log"))
    note = say_floor(fit.excess_losses, get_floor_of(fit))
    return Chart("loss", f"Loss{_ended(fit)}", *axes, series, note=note)


def get_floor_of(fit: Fit) -> float:
    """The excess loss of a fit at or below which there is only rounding."""
    return get_floor(fit.excess_losses[0], fit.config.dtype)


def clamp_excess(fit: Fit) -> Array:
    """The excess losses of a fit, as far down as they mean something."""
    return clamp(fit.excess_losses, get_floor_of(fit))


def _predicted(fit: Fit, rate: float) -> Series:
    """The excess loss as it would shrink from its start at the predicted rate, as far down as the fit came."""
    with np.errstate(over="ignore", under="ignore"):
        line = fit.excess_losses[0] * (rate * rate) ** fit.steps.astype(float)
    seen = positive(clamp_excess(fit))
    floor, top = (
        (np.nanmin(seen) / 3, np.nanmax(seen) * 3) if np.isfinite(seen).any() else (0.0, np.inf)
    )
    return Series(
        f"predicted rate {rate:.4g} per step",
        on_steps(fit.steps),
        np.where((line >= floor) & (line <= top), line, np.nan),
        kind="predicted",
    )


def descent_chart(fit: Fit) -> Chart:
    """The path of descent: over both weights where there are two, otherwise in the two directions of largest curvature."""
    assert fit.path is not None and fit.problem is not None and fit.optimum is not None
    title = f"Path of descent{_ended(fit)}"
    if fit.weights.size == 1:
        return _one_weight(fit, title)
    seen = fit.problem.cast(fit.config.dtype)
    plane = plane_of(seen, fit.optimum)
    _, p, q = fit.problem.shape
    notes = (
        ""
        if plane.directions is None
        else "distances from the optimum in the two directions of largest curvature",
        "" if plane.directions is None or q == 1 else f"the first of {q} targets",
        "" if p > 1 or q <= 2 else f"the first two of {q} targets",
        ""
        if fit.optimum.robust is None
        else "contours as of small residuals, where the loss is quadratic",
    )
    path = ("path", plane.coordinates(fit.path.weights), 0)
    return plane_chart("descent", title, plane, [path], join_notes(*notes))


def _one_weight(fit: Fit, title: str) -> Chart:
    """The parabola of the loss over the only weight there is."""
    assert fit.path is not None and fit.optimum is not None and fit.problem is not None
    best, weights = float(fit.optimum.weights[0, 0]), fit.path.weights[:, 0].astype(float)  # [k, 1]
    reach = FARTHEST * max(abs(float(weights[0, 0]) - best), 1e-9)
    path, leaves = within(weights, fit.optimum.weights[0], reach)
    grid = np.linspace(best - reach, best + reach, GRID)
    heights = [fit.optimum.loss + fit.optimum.excess(own.reshape(-1, 1, 1)) for own in (grid, path)]
    path_series = Series("path", path[:, 0], heights[1], kind="path", style=0, leaves=leaves)
    series = [Series("loss", grid, heights[0], kind="plain", style=7), path_series]
    mark = Mark(best, "exact optimum", y=fit.optimum.loss)
    axes = (Axis(f"weight of {fit.problem.features[0]}"), Axis("loss"))
    return Chart("descent", title, *axes, series, [mark], note=ends([path_series]))


def _ended(fit: Fit) -> str:
    return f" (diverged at step {fit.diverged_at_step})" if fit.status is Status.DIVERGED else ""


#: All pictures of a fit that did not fail.
CHARTS: tuple[Callable[[Fit], Chart], ...] = (data_chart, loss_chart, descent_chart)
