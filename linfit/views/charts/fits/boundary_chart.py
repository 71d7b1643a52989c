"""The picture of a decision boundary: the likeliest class over the plane of two columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit
from linfit.problem.problem import Problem
from linfit.problem.types import Array
from linfit.views.charts.chart import Chart, ChartAxis, ClassRegions, LeftOut, Series, join_notes
from linfit.views.charts.fits.class_charts import NO_CLASSES, NOT_FINITE, describe_target
from linfit.views.charts.fits.class_predictions import (
    has_probabilities,
    name_classes,
    predicts_classes,
    share_classes,
    spread_predictors,
)
from linfit.views.charts.fits.data_chart import describe_shown, spread_evenly
from linfit.views.charts.fits.fit_titles import title_fit
from linfit.views.charts.fits.raw_data import RawData, load_raw_data

#: Points of the grid along each column.
REGION_POINTS = 201
#: The margin around the samples, as a share of their range.
MARGIN = 0.06
#: Classes whose markers can be told apart.
MOST_MARKED_CLASSES = 10


def plot_boundary(fit: Fit) -> Chart | LeftOut:
    """Return the samples over the regions of their likeliest classes, for two columns."""
    problem = fit.problem
    kind = fit.config.loss.target_kind
    assert problem is not None
    if not predicts_classes(kind):
        return NO_CLASSES
    data = load_raw_data(fit)
    if isinstance(data, str):
        return LeftOut(data)
    columns = data.list_varying_columns()
    names = name_classes(problem, kind)
    if len(columns) == 1:
        return LeftOut("its data have one column: the picture of the data shows it", False)
    if len(columns) != 2:
        return LeftOut(f"its data have {len(columns)} columns, and a plane shows two")
    if len(names) > MOST_MARKED_CLASSES:
        most = MOST_MARKED_CLASSES
        return LeftOut(f"it has {len(names)} classes, and up to {most} are told apart")
    regions = compute_regions(data, columns, fit.weights.astype(float), names)
    return NOT_FINITE if regions is None else _draw_plane(fit, data, columns, regions)


def compute_regions(
    data: RawData, columns: list[int], weights: Array, names: tuple[str, ...]
) -> ClassRegions | None:
    """Return the probabilities that weights give the classes over the plane of two columns.

    None if one is not finite.
    """
    x, y = [spread_side(data, column) for column in columns]
    across, up = np.meshgrid(x, y)
    places = np.repeat(data.train.X[:1], across.size, axis=0)
    places[:, columns] = np.stack([across.ravel(), up.ravel()], axis=1)
    eta = data.predict(places, weights)
    if not np.isfinite(eta).all():
        return None
    shape = (*across.shape, len(names))
    shares = share_classes(data.kind, eta).reshape(shape)
    return ClassRegions(x, y, shares, spread_predictors(data.kind, eta).reshape(shape), names)


def _draw_plane(fit: Fit, data: RawData, columns: list[int], regions: ClassRegions) -> Chart:
    shade = "shade: probability of the likeliest class; thick line: two are equally likely"
    note = join_notes(
        shade if has_probabilities(data.kind) else "shade: the class that is predicted",
        describe_shown(len(spread_evenly(data.train.y[:, 0])), len(data.train.y)),
        describe_target(fit),
    )
    below, beside = [data.train.features[column] for column in columns]
    return Chart(
        "boundary",
        title_fit("Decision boundary", fit),
        ChartAxis(below, limits=(regions.x[0], regions.x[-1])),
        ChartAxis(beside, limits=(regions.y[0], regions.y[-1])),
        _draw_samples(data, columns, regions.names),
        note=note,
        regions=regions,
    )


def spread_side(data: RawData, column: int) -> Array:
    """Return evenly spaced values of a column, from below its samples to above."""
    values = data.stack_columns()[:, column]
    low = float(values.min())
    high = float(values.max())
    margin = MARGIN * (high - low)
    return np.linspace(low - margin, high + margin, REGION_POINTS)


def _draw_samples(data: RawData, columns: list[int], names: tuple[str, ...]) -> list[Series]:
    """Return the samples of each class, then those held out, hollow."""
    series = []
    parts = [(data.train, False)]
    if data.held_out is not None:
        parts.append((data.held_out, True))
    for part, is_held in parts:
        rows = spread_evenly(part.y[:, 0])
        classes = _number_classes(part)[rows]
        x, y = part.X[rows][:, columns].T
        unlabelled = "held out (hollow)"
        for number, name in enumerate(names):
            own = classes == number
            if not own.any():
                continue
            places = (x[own], y[own])
            if is_held:
                series.append(Series(unlabelled, *places, kind="hollow", style=number))
                unlabelled = ""
            else:
                series.append(Series(f"class {name}", *places, kind="points", style=number))
    return series


def _number_classes(part: Problem) -> NDArray[np.intp]:
    """Return the number of each sample's class `[n]`."""
    if part.y.shape[1] > 1 and part.classes:
        return np.asarray(part.y.argmax(axis=1))
    return (part.y[:, 0] > 0).astype(np.intp)
