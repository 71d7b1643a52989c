"""The picture of a fit's data: over one column with the curve, or predicted over measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit, Status
from linfit.problem.losses import Quantile
from linfit.problem.types import Array
from linfit.views.charts.chart import Chart, ChartAxis, LeftOut, Series, join_notes
from linfit.views.charts.drawing.looks import INK
from linfit.views.charts.fits.class_predictions import name_classes, predicts_classes
from linfit.views.charts.fits.fit_titles import title_fit
from linfit.views.charts.fits.raw_data import RawData, load_raw_data

#: Samples that a picture shows: more cannot be told apart, and make the file slow and large.
MOST_SAMPLES = 2000
#: Targets that a picture shows.
MOST_TARGETS = 3


@dataclass(frozen=True)
class DrawnTargets:
    """The targets that are drawn, with the words for them."""

    names: tuple[str, ...]
    number: int
    """Of all targets."""

    @property
    def label(self) -> str:
        """The label of the axis, which names a target that is drawn alone."""
        return self.names[0] if len(self.names) == 1 else "targets"

    @property
    def note(self) -> str:
        shown = len(self.names)
        return f"the first {shown} of {self.number} targets" if shown < self.number else ""

    def name(self, target: int, what: str) -> str:
        """Return the label of what is drawn for a target."""
        return what if len(self.names) == 1 else f"{self.names[target]}: {what}"


def plot_data(fit: Fit) -> Chart | LeftOut:
    """Return the data with the fit, over the only column if there is one.

    Of one target also the exact optimum, and the truth if it is known.
    """
    problem = fit.problem
    assert problem is not None and fit.optimum is not None
    data = load_raw_data(fit)
    if isinstance(data, str):
        return LeftOut(data)

    targets = DrawnTargets(problem.targets[:MOST_TARGETS], len(problem.targets))
    weights = {
        "fit": fit.weights.astype(float),
        "exact optimum": fit.optimum.weights if fit.optimum.attained else None,
        "truth": problem.truth,
    }
    known = {}
    for label, own in weights.items():
        is_drawn = label == "fit" or len(targets.names) == 1
        if own is not None and is_drawn and np.isfinite(own).all():
            known[label] = own
    column = data.find_column()
    if column is None and data.inputs is None:
        if predicts_classes(fit.config.loss.target_kind):
            return LeftOut("its classes are shown by other pictures", is_missed=False)
        return _plot_predictions(fit, data, known, targets)
    return _plot_curve(fit, data, known, targets, column)


def _plot_curve(
    fit: Fit,
    data: RawData,
    weights: Mapping[str, Array],
    targets: DrawnTargets,
    column: int | None,
) -> Chart:
    """Return the samples and the curves over one number, of which all columns are functions."""
    if data.inputs is not None:
        name = "x"
        x, held_x = data.inputs
        order = spread_evenly(np.concatenate([x, held_x]))
        curve_x = np.concatenate([x, held_x])[order]
        columns = data.stack_columns()[order]
    else:
        assert column is not None
        name = data.train.features[column]
        x = data.train.X[:, column]
        held_x = np.empty(0) if data.held_out is None else data.held_out.X[:, column]
        columns = data.spread_column(column)
        curve_x = columns[:, column]

    shown = spread_evenly(x)
    held = spread_evenly(held_x)
    series = []
    for target in range(len(targets.names)):
        color = INK if len(targets.names) == 1 else None
        points = (x[shown], data.train.y[shown, target])
        label = targets.name(target, "data")
        series.append(Series(label, *points, kind="points", style=target, color=color))
        if data.held_out is not None:
            points = (held_x[held], data.held_out.y[held, target])
            label = targets.name(target, "held out")
            series.append(Series(label, *points, kind="hollow", style=target, color=color))

    curves = {label: data.predict_mean(columns, own) for label, own in weights.items()}
    for target in range(len(targets.names)):
        for place, (label, curve) in enumerate(curves.items()):
            style = place if len(targets.names) == 1 else target
            own = (targets.name(target, label), curve_x, curve[:, target])
            series.append(Series(*own, kind="plain", style=style))

    limits = _limit_to(fit, data.train.y[:, : len(targets.names)], margin=0.15)
    note = join_notes(
        describe_shown(len(shown), len(x)),
        targets.note,
        _describe_mean(fit),
        _describe_unseen(curves.get("fit"), limits),
    )
    axes = (ChartAxis(name), ChartAxis(targets.label, limits=limits))
    return Chart("data", title_fit("Data", fit), *axes, series, note=note)


def _plot_predictions(
    fit: Fit, data: RawData, weights: Mapping[str, Array], targets: DrawnTargets
) -> Chart:
    """Return predicted over measured targets, for several columns."""
    shown = spread_evenly(data.train.y[:, 0])
    parts = [("", data.train, shown)]
    if data.held_out is not None:
        parts.append(("held out", data.held_out, spread_evenly(data.held_out.y[:, 0])))

    series = []
    found: dict[str, Array] = {}
    drawn = {label: own for label, own in weights.items() if label != "truth"}
    for place, (label, own) in enumerate(drawn.items()):
        for held, part, rows in parts:
            if held and label != "fit":
                continue
            predicted = data.predict_mean(part.X[rows], own)
            found.setdefault(label, predicted)
            kind = "hollow" if held else "points"
            style = place if len(targets.names) == 1 else None
            series += _compare(targets, held or label, part.y[rows], predicted, kind, style)

    y = data.train.y[:, : len(targets.names)]
    line = np.array([y.min(), y.max()])
    limits = _limit_to(fit, y, margin=0.3)
    note = join_notes(
        describe_shown(len(shown), len(data.train.y)),
        targets.note,
        _describe_unseen(found.get("fit"), limits),
    )
    return Chart(
        "data",
        title_fit("Predictions", fit),
        ChartAxis(f"{targets.label}, measured"),
        ChartAxis("predicted", limits=limits),
        [*series, Series("prediction = target", line, line, kind="predicted")],
        note=note,
    )


def _compare(
    targets: DrawnTargets, label: str, y: Array, predicted: Array, kind: str, style: int | None
) -> list[Series]:
    """Return points of predicted over measured values, of each target that is drawn."""
    series = []
    for target in range(len(targets.names)):
        own = (targets.name(target, label), y[:, target], predicted[:, target])
        look = target if style is None else style
        if kind == "hollow":
            series.append(Series(*own, kind="hollow", style=look))
        else:
            series.append(Series(*own, kind="points", style=look))
    return series


def spread_evenly(values: Array) -> NDArray[np.intp]:
    """Return the indices that sort the values; of too many, evenly some with both ends."""
    order = np.argsort(values, kind="stable")
    if len(order) <= MOST_SAMPLES:
        return order
    return order[np.linspace(0, len(order) - 1, MOST_SAMPLES).round().astype(np.intp)]


def _limit_to(fit: Fit, y: Array, margin: float) -> tuple[float, float] | None:
    """Return limits around the targets for a fit that diverged: a margin is a share of them."""
    if fit.status is not Status.DIVERGED:
        return None
    low = float(y.min())
    high = float(y.max())
    wide = margin * (high - low) or 1.0
    return low - wide, high + wide


def describe_shown(shown: int, samples: int) -> str:
    return f"{shown} of {samples} samples, evenly" if shown < samples else ""


def _describe_mean(fit: Fit) -> str:
    """Return what the curves of a loss are that do not meet the targets themselves."""
    kind = fit.config.loss.target_kind
    assert fit.problem is not None
    if kind == "count":
        return "curves: the mean count"
    if kind == "classes":
        return "curves: the probability of the class"
    if kind == "binary":
        low, high = name_classes(fit.problem, kind)
        return f"curves: the probability of class {high}; 1 is class {high}, 0 class {low}"
    if kind == "sign":
        low, high = name_classes(fit.problem, kind)
        return f"1 is class {high}, −1 class {low}; a curve above 0 predicts class {high}"
    if isinstance(fit.config.loss, Quantile):
        return f"curves: the quantile {fit.config.loss.quantile:g}"
    return ""


def _describe_unseen(curve: Array | None, limits: Sequence[float] | None) -> str:
    """Return a note if the fit is far from the data."""
    if limits is None:
        return ""
    if curve is None:
        return "the fit's weights are not finite"
    low, high = limits
    inside = (curve >= low) & (curve <= high)
    return "" if inside.any() else "the fit lies outside the picture"
