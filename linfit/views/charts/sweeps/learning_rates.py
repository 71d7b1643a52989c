"""The picture of learning rates: the final excess loss of each method, lost fits, and theory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linfit.errors import LinfitError
from linfit.tracking.schema.objective import PROBLEM_SECTIONS, describe_objective
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.sweep_data import LEARNING_RATE, SweepData
from linfit.views.analysis.theory import compute_stable_rates
from linfit.views.charts.chart import Chart, ChartAxis, Mark, merge_equal_series
from linfit.views.charts.sweeps.captions import describe_drawn_problem
from linfit.views.charts.sweeps.loss_lines import (
    MOST_KEY_TICKS,
    bin_numbers,
    describe_points,
    draw_medians,
    frame_lines,
    list_numbers,
    select_methods,
)
from linfit.views.charts.sweeps.methods import is_on_first_problem

#: Parts of a config that decide a bound, besides the optimizer without its learning rate.
BOUND_KEYS = (*PROBLEM_SECTIONS, "dtype", "batch", "schedule", "seed")


def plot_learning_rate(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the final excess loss over the learning rate, the loss where no optimum is known.

    Median and range over all else.

    None where the rate does not vary.
    """
    exact = list_numbers(swept, LEARNING_RATE)
    different = np.unique(exact[np.isfinite(exact)])
    if len(different) < 2:
        return None

    rates = bin_numbers(exact)
    places = comparison.fits.index[is_on_first_problem(comparison)].to_numpy()
    looks, fits = select_methods(swept, comparison, places[np.isfinite(exact[places])])
    if not fits:
        return None
    series = []
    marks = {}
    for method, style in looks.items():
        own = fits[method]
        series.append(draw_medians(method, style, rates[own], swept.shown_losses[own]))
        marks[method] = find_stability_bounds(swept, own.tolist())

    if any(np.isfinite(line.y).any() for line in series):
        reading = describe_points(swept, LEARNING_RATE, fits, rates, is_binned=rates is not exact)
    else:
        reading = "no median is finite"
    ticks = tuple(different.tolist()) if len(different) <= MOST_KEY_TICKS else ()
    chart = Chart(
        "learning_rate",
        "Learning rate",
        ChartAxis("learning rate", "log", ticks=ticks),
        ChartAxis(f"final {describe_objective(swept.shown_name)}", "log"),
        merge_equal_series(series),
        _marks(looks, marks),
        note=reading,
    )
    problem = describe_drawn_problem(comparison)
    return frame_lines(chart, swept, comparison, looks, fits, rates, problem)


def _marks(looks: Mapping[str, int], bounds: Mapping[str, list[float]]) -> list[Mark]:
    """Return a mark for each largest stable rate, or its range; equal ones share a mark."""
    found: dict[tuple[float, float], list[str]] = {}
    for method, own in bounds.items():
        if own:
            found.setdefault((min(own), max(own)), []).append(method)

    marks = []
    for (low, high), methods in found.items():
        label = f"largest stable: {', '.join(methods)}"
        style = looks[methods[0]] if len(methods) == 1 else None
        marks.append(Mark(low, label, style, to=high if high > low else None))
    return marks


def find_stability_bounds(swept: SweepData, places: Sequence[int]) -> list[float]:
    """Return the largest stable learning rates of one method's fits.

    One for each different optimizer and problem; none where data or plug-ins are gone.
    """
    rows = swept.results["row"].tolist()
    try:
        if not swept.read_config(rows[places[0]]).optimizer.has_stable_lr():
            return []
        different = {_bounding(swept.configs[place]): rows[place] for place in places}
        return compute_stable_rates([swept.load_config(row) for row in different.values()])
    except (LinfitError, ValueError, OSError):
        return []


def _bounding(config: dict[str, Any]) -> str:
    optimizer = {key: value for key, value in config["optimizer"].items() if key != "lr"}
    return json.dumps([optimizer, [config.get(part) for part in BOUND_KEYS]])
