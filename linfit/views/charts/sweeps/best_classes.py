"""Pictures of the classes that a sweep's best method predicts, of all samples that it held out."""

from __future__ import annotations

from functools import reduce

import numpy as np

from linfit.errors import LinfitError
from linfit.problem.losses.base import TargetKind
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.replicates import FOLDS
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, LeftOut, join_notes
from linfit.views.charts.fits.class_charts import (
    NOT_FINITE,
    DrawnPredictions,
    draw_calibration,
    draw_confusion,
)
from linfit.views.charts.fits.class_predictions import (
    ClassPredictions,
    has_probabilities,
    predict_classes,
    predicts_classes,
)
from linfit.views.charts.sweeps.methods import select_fits

#: Fits whose data are loaded again, and samples from which on no further data are.
MOST_LOADED_FITS = 10
ENOUGH_SAMPLES = 200_000


def plot_best_calibration(swept: SweepData, comparison: Comparison) -> Chart | LeftOut | None:
    """Return the calibration of the best method; None if its loss gives no probabilities."""
    kind = find_best_kind(swept, comparison)
    if kind is None or not has_probabilities(kind):
        return None
    drawn = predict_best(swept, comparison)
    if isinstance(drawn, LeftOut):
        return drawn
    note = join_notes(describe_shared_samples(swept, comparison), describe_best_problem(comparison))
    return draw_calibration(f"Calibration: {comparison.entries[0].name}", [drawn], note)


def plot_best_confusion(swept: SweepData, comparison: Comparison) -> Chart | LeftOut | None:
    """Return which classes the best method takes for which; None if its loss has none."""
    if find_best_kind(swept, comparison) is None:
        return None
    drawn = predict_best(swept, comparison)
    if isinstance(drawn, LeftOut):
        return drawn
    note = describe_best_problem(comparison)
    return draw_confusion(f"Confusion: {comparison.entries[0].name}", drawn, note)


def describe_best_problem(comparison: Comparison) -> str:
    """Return which of several problems is drawn, unless the title does."""
    entry = comparison.entries[0]
    return "" if entry.problem in entry.name else entry.problem


def describe_shared_samples(swept: SweepData, comparison: Comparison) -> str:
    """Return that samples may count several times, as those of folds drawn once do not."""
    is_drawn_once = comparison.replicates == FOLDS
    if is_drawn_once or len(list_best_rows(swept, comparison)) == 1:
        return ""
    return f"bars are too short where {comparison.replicates.many} share samples"


def list_best_rows(swept: SweepData, comparison: Comparison) -> list[int]:
    """Return the rows of the best method's finished fits at the setting chosen for it."""
    if not comparison.entries:
        return []
    own = select_fits(comparison, comparison.entries[0])
    return [int(row) for row in own["row"][swept.finished[own.index]]]


def find_best_kind(swept: SweepData, comparison: Comparison) -> TargetKind | None:
    """Return the kind of the best method's targets, None unless it predicts classes."""
    rows = list_best_rows(swept, comparison)
    if not rows:
        return None
    try:
        kind = swept.read_config(rows[0]).loss.target_kind
    except (LinfitError, ValueError):
        return None
    return kind if predicts_classes(kind) else None


def predict_best(swept: SweepData, comparison: Comparison) -> DrawnPredictions | LeftOut:
    """Return the predictions of the best method's fits, of held-out samples if there are any."""
    found: list[ClassPredictions] = []
    rows = list_best_rows(swept, comparison)
    stored = swept.results.set_index("row")["weights"]
    is_held = True
    loaded = 0
    for row in rows[:MOST_LOADED_FITS]:
        try:
            config = swept.load_config(row)
            problem = config.problem()
        except (LinfitError, ValueError, OSError):
            return LeftOut("the data of its best fits are gone")
        weights = np.asarray(stored[row], dtype=float).reshape(problem.X.shape[1], -1)
        is_held = problem.validation is not None
        part = problem.validation or problem
        classes = predict_classes(part, config.loss.target_kind, weights)
        if classes is None:
            return NOT_FINITE
        if found and classes.names != found[0].names:
            return LeftOut("its best fits have other classes")
        found.append(classes)
        loaded += problem.shape[0]
        if loaded >= ENOUGH_SAMPLES:
            break
    samples = "held-out samples" if is_held else "fitted samples"
    if len(rows) > 1:
        samples += f" of {comparison.replicates.count(len(found))}"
    return DrawnPredictions(samples, reduce(ClassPredictions.join, found))
