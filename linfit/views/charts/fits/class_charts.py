"""Pictures of predicted classes: how often they are true, and which are taken for which."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from linfit.engine.fit import Fit
from linfit.problem.types import Array
from linfit.views.charts.chart import Chart, ChartAxis, CountTable, LeftOut, Series, join_notes
from linfit.views.charts.fits.class_predictions import (
    ClassPredictions,
    has_probabilities,
    predict_classes,
    predicts_classes,
)
from linfit.views.charts.fits.fit_titles import title_fit

#: Bins of equal width that predicted probabilities are grouped into.
NUM_BINS = 10
#: Classes of a table whose numbers can be read.
MOST_TABLE_CLASSES = 20
#: The quantile of the normal distribution whose interval holds 95%.
NORMAL_95 = 1.959964
NO_CLASSES = LeftOut("its loss predicts no classes", is_missed=False)
NO_PROBABILITIES = LeftOut("its loss gives classes no probabilities", is_missed=False)
NOT_FINITE = LeftOut("the fit's predictions are not finite")
#: Where the numbers of samples stand above the frequencies.
COUNT_HEIGHT = 1.085


class DrawnPredictions(NamedTuple):
    """Predictions of samples, with the words for these."""

    samples: str
    """Such as `held-out samples`."""
    classes: ClassPredictions


class Reliability(NamedTuple):
    """The bins that are not empty: mean probability, frequency with its interval, and count."""

    probability: Array
    frequency: Array
    low: Array
    high: Array
    counts: Array


def plot_calibration(fit: Fit) -> Chart | LeftOut:
    """Return frequencies over predicted probabilities, of held-out samples if there are any."""
    if not predicts_classes(fit.config.loss.target_kind):
        return NO_CLASSES
    if not has_probabilities(fit.config.loss.target_kind):
        return NO_PROBABILITIES
    drawn = predict_parts(fit)
    if not drawn:
        return NOT_FINITE
    return draw_calibration(title_fit("Calibration", fit), drawn, describe_target(fit))


def plot_confusion(fit: Fit) -> Chart | LeftOut:
    """Return how many samples of each class are taken for which, of held-out ones if any are."""
    if not predicts_classes(fit.config.loss.target_kind):
        return NO_CLASSES
    drawn = predict_parts(fit)
    if not drawn:
        return NOT_FINITE
    return draw_confusion(title_fit("Confusion", fit), drawn[0], describe_target(fit))


def predict_parts(fit: Fit) -> list[DrawnPredictions]:
    """Return the predictions of the samples held out, if any are, then of those fitted.

    Empty if one is not finite.
    """
    problem = fit.problem
    assert problem is not None
    parts = {"held-out samples": problem.validation, "fitted samples": problem}
    found = []
    for samples, part in parts.items():
        if part is None:
            continue
        classes = predict_classes(part, fit.config.loss.target_kind, fit.weights)
        if classes is None:
            return []
        found.append(DrawnPredictions(samples, classes))
    return found


def describe_target(fit: Fit) -> str:
    """Return which of several targets of two classes is drawn."""
    assert fit.problem is not None
    targets = fit.problem.targets
    is_first = fit.config.loss.target_kind != "classes" and len(targets) > 1
    return f"{targets[0]}, the first of {len(targets)} targets" if is_first else ""


def draw_calibration(title: str, drawn: list[DrawnPredictions], note: str = "") -> Chart:
    """Return the chart: of two classes the second's probability, of more the likeliest's.

    The first predictions have their intervals and counts.
    """
    names = drawn[0].classes.names
    is_binary = len(names) == 2
    ends = np.array([0.0, 1.0])
    series = [Series("frequency = probability", ends, ends, kind="predicted")]
    for number, (samples, classes) in enumerate(drawn):
        bins = bin_probabilities(classes)
        places = (samples, bins.probability, bins.frequency)
        if number:
            series.append(Series(*places, kind="hollow", style=number))
            continue
        series.append(Series(*places, bins.low, bins.high, "whiskers", style=0))
        counts = tuple(f"{count:.0f}" for count in bins.counts)
        heights = np.full(len(counts), COUNT_HEIGHT)
        series.append(Series("", bins.probability, heights, kind="texts", texts=counts))
    note = join_notes(
        f"on top: number of {drawn[0].samples} in each of {NUM_BINS} bins; "
        "bars: 95% interval of the share",
        note,
    )
    event = f"class {names[1]}" if is_binary else "the likeliest class"
    frequency = f"share of class {names[1]}" if is_binary else "share whose class that is"
    axes = (
        ChartAxis(f"predicted probability of {event}", limits=(-0.03, 1.03)),
        ChartAxis(frequency, limits=(-0.03, 1.13)),
    )
    return Chart("calibration", title, *axes, series, note=note)


def bin_probabilities(classes: ClassPredictions) -> Reliability:
    """Return how often what is predicted with about the same probability is true.

    Of two classes it is the second, of more the likeliest. Intervals are Wilson's.
    """
    if len(classes.names) == 2:
        shares = classes.shares[:, 1]
        is_true = classes.true == 1
    else:
        shares = classes.shares.max(axis=1)
        is_true = classes.true == classes.predicted
    bins = np.minimum((shares * NUM_BINS).astype(np.intp), NUM_BINS - 1)

    def add_up(values: Array) -> Array:
        return np.asarray(np.bincount(bins, values, NUM_BINS), dtype=float)

    weights = add_up(classes.weights)
    kept = weights > 0
    probability = add_up(classes.weights * shares)[kept] / weights[kept]
    frequency = add_up(classes.weights * is_true)[kept] / weights[kept]
    counts = add_up(np.ones(len(bins)))[kept]
    low, high = compute_wilson_interval(frequency, counts)
    return Reliability(probability, frequency, low, high, counts)


def compute_wilson_interval(frequency: Array, counts: Array) -> tuple[Array, Array]:
    """Return the ends of Wilson's interval of 95% for frequencies among so many samples."""
    square = NORMAL_95**2
    middle = (frequency + square / (2 * counts)) / (1 + square / counts)
    spread = frequency * (1 - frequency) / counts + square / (4 * counts**2)
    reach = NORMAL_95 * np.sqrt(spread) / (1 + square / counts)
    return middle - reach, middle + reach


def draw_confusion(title: str, drawn: DrawnPredictions, note: str = "") -> Chart | LeftOut:
    """Return the chart, or why there is none."""
    classes = drawn.classes
    k = len(classes.names)
    if k > MOST_TABLE_CLASSES:
        return LeftOut(f"it has {k} classes, and a table of up to {MOST_TABLE_CLASSES} is readable")
    pairs = np.bincount(classes.true * k + classes.predicted, minlength=k * k)
    table = CountTable(pairs.reshape(k, k), classes.names)
    right = int(np.trace(table.counts))
    note = join_notes(
        f"{right} of {len(classes.true)} {drawn.samples} are right; shade: share of the true class",
        note,
    )
    axes = (ChartAxis("predicted class"), ChartAxis("true class"))
    return Chart("confusion", title, *axes, table=table, note=note)
