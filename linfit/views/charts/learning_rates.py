"""The picture of learning rates: the final excess loss of each method, lost fits, and theory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.errors import LinfitError
from linfit.problem.types import Array
from linfit.tracking.schema.objective import PROBLEM_SECTIONS
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.rounding_floor import clip_to_floor, describe_floor
from linfit.views.analysis.sweep_data import LEARNING_RATE, SweepData
from linfit.views.analysis.theory import compute_stable_rates
from linfit.views.charts.captions import (
    LOST_STATUSES,
    describe_drawn_methods,
    describe_drawn_problem,
    describe_lost_fits,
)
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Mark,
    Series,
    join_notes,
    mask_nonpositive,
    round_to_bins,
)
from linfit.views.charts.methods import choose_tuned_styles, is_on_first_problem

#: The most learning rates that are not grouped into bins.
MOST_RATES = 30
#: The most learning rates that each have a tick.
MOST_RATE_TICKS = 12
#: Parts of a config that decide a bound, besides the optimizer without its learning rate.
BOUND_KEYS = (*PROBLEM_SECTIONS, "dtype", "batch", "schedule", "seed")


def plot_learning_rate(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the final excess loss over the learning rate.

    Median and range over all else.

    None where the rate does not vary.
    """
    exact = np.array(
        [np.nan if value is None else float(value) for value in swept.list_values(LEARNING_RATE)]
    )
    different = np.unique(exact[np.isfinite(exact)])
    if len(different) < 2:
        return None

    rates = exact if len(different) <= MOST_RATES else _binned(exact)
    looks, fits = _drawn_methods(swept, comparison, exact)
    excess = clip_to_floor(swept.excess, swept.floors)
    series = []
    marks = {}
    for method, style in looks.items():
        own = fits[method]
        series.append(_over_rates(method, style, rates[own], excess[own]))
        marks[method] = find_stability_bounds(swept, own.tolist())

    shown = np.concatenate(list(fits.values()))
    strip = _strip(swept, looks, fits, rates)
    if not any(np.isfinite(line.y).any() for line in series):
        reading = "no median is finite"
    elif all(len(own) == len(np.unique(rates[own])) for own in fits.values()):
        reading = "each point is one fit"
    else:
        reading = _describe_pooling(swept, shown, binned=rates is not exact)
    note = join_notes(
        reading,
        describe_drawn_methods(comparison, looks) if swept.groups.by_choice else "",
        describe_drawn_problem(comparison),
        f"above: {describe_lost_fits(swept, shown)} (filled: half or more)" if strip else "",
        describe_floor(swept.excess[shown], swept.floors[shown]),
    )
    ticks = tuple(different.tolist()) if len(different) <= MOST_RATE_TICKS else ()
    return Chart(
        "learning_rate",
        "Learning rate",
        ChartAxis("learning rate", "log", ticks=ticks),
        ChartAxis("final excess loss", "log"),
        series,
        _marks(looks, marks),
        note=note,
        strip=strip,
    )


def _drawn_methods(
    swept: SweepData, comparison: Comparison, rates: Array
) -> tuple[dict[str, int], dict[str, NDArray[np.intp]]]:
    """Return the style, and the indices of the fits of the first problem, of each method.

    Methods without a learning rate are left out.
    """
    methods = np.array(swept.groups.choices)
    places = comparison.fits.index[is_on_first_problem(comparison)].to_numpy()
    places = places[np.isfinite(rates[places])]
    looks = {}
    fits = {}
    for method, style in choose_tuned_styles(swept, comparison).items():
        own = places[methods[places] == method]
        if len(own):
            looks[method] = style
            fits[method] = own
    return looks, fits


def _describe_pooling(swept: SweepData, places: NDArray[np.intp], binned: bool) -> str:
    """Return the keys over which a point of these fits is the median."""
    over = []
    for key in (*swept.keys.numbers, *swept.keys.seeds):
        values = swept.list_values(key)
        if key != LEARNING_RATE and len({values[place] for place in places}) > 1:
            over.append(key)
    if binned:
        over.append(f"the rates of each of {MOST_RATES // 2} bins")
    pooled = " and ".join(over) or "equal fits"
    return f"line: median over {pooled}; band: range of those that finished"


def _strip(
    swept: SweepData,
    looks: Mapping[str, int],
    fits: Mapping[str, NDArray[np.intp]],
    rates: Array,
) -> list[Series]:
    """Return the rows above the picture: each method's diverged fits, then its failed ones."""
    rows = []
    for status in LOST_STATUSES:
        lost = (swept.results["status"] == status).to_numpy()
        for method, style in looks.items():
            rows.append(
                _lost(
                    status,
                    style,
                    rates[fits[method]],
                    lost[fits[method]],
                )
            )
    return [row for row in rows if len(row.x)]


def _lost(label: str, style: int, rates: Array, lost: NDArray[np.bool_]) -> Series:
    """Return the share of lost fits at each rate that has any."""
    shares = pd.Series(lost).groupby(rates).mean()
    shares = shares[shares > 0]
    return Series(
        label,
        shares.index.to_numpy(float),
        shares.to_numpy(float),
        style=style,
    )


def _binned(rates: Array) -> Array:
    """Return the middles of the bins that the rates fall into."""
    low = np.nanmin(rates)
    high = np.nanmax(rates)
    edges = np.geomspace(low, high * (1 + 1e-9), MOST_RATES // 2 + 1)
    return round_to_bins(rates, edges, np.sqrt(edges[1:] * edges[:-1]))


def _over_rates(label: str, style: int, rates: Array, excess: Array) -> Series:
    """Return the median at each rate, with the range of the fits that finished."""
    groups = pd.Series(excess).groupby(rates)
    medians = mask_nonpositive(groups.quantile(interpolation="higher"))
    low = mask_nonpositive(groups.min())
    finite = pd.Series(np.where(np.isfinite(excess), excess, np.nan))
    high = mask_nonpositive(finite.groupby(rates).max())
    return Series(
        label,
        np.array(list(groups.groups)),
        medians,
        low,
        high,
        style=style,
    )


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
