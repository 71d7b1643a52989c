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
from linfit.tracking.objective import PROBLEM
from linfit.views.captions import LOST, say_lost, say_methods, say_problem
from linfit.views.charts import Axis, Chart, Mark, Series, join_notes, positive, round_to_bins
from linfit.views.comparison import Comparison
from linfit.views.floor import clamp, say_floor
from linfit.views.methods import on_first, tuned
from linfit.views.prediction import stable_rates
from linfit.views.swept import LR, Swept

#: The most learning rates that are not grouped into bins.
MOST_RATES = 30
#: The most learning rates that each have a tick.
MOST_TICKS = 12
#: Parts of a config that decide a bound, besides the optimizer without its learning rate.
BOUNDING = (*PROBLEM, "dtype", "batch", "schedule", "seed")


def learning_rate(swept: Swept, comparison: Comparison) -> Chart | None:
    """Return the final excess loss over the learning rate.

    Median and range over all else.

    None where the rate does not vary.
    """
    exact = np.array([np.nan if value is None else float(value) for value in swept.values(LR)])
    different = np.unique(exact[np.isfinite(exact)])
    if len(different) < 2:
        return None

    rates = exact if len(different) <= MOST_RATES else _binned(exact)
    looks, fits = _drawn_methods(swept, comparison, exact)
    excess = clamp(swept.excess, swept.floors)
    series, marks = [], {}
    for method, style in looks.items():
        own = fits[method]
        series.append(_over_rates(method, style, rates[own], excess[own]))
        marks[method] = bounds_of(swept, own.tolist())

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
        say_methods(comparison, looks) if swept.groups.by_choice else "",
        say_problem(comparison),
        f"above: {say_lost(swept, shown)} (filled: half or more)" if strip else "",
        say_floor(swept.excess[shown], swept.floors[shown]),
    )
    ticks = tuple(different.tolist()) if len(different) <= MOST_TICKS else ()
    return Chart(
        "learning_rate",
        "Learning rate",
        Axis("learning rate", "log", ticks=ticks),
        Axis("final excess loss", "log"),
        series,
        _marks(looks, marks),
        note=note,
        strip=strip,
    )


def _drawn_methods(
    swept: Swept, comparison: Comparison, rates: Array
) -> tuple[dict[str, int], dict[str, NDArray[np.intp]]]:
    """Return the style, and the indices of the fits of the first problem, of each method.

    Methods without a learning rate are left out.
    """
    methods = np.array(swept.groups.choices)
    places = comparison.runs.index[on_first(comparison)].to_numpy()
    places = places[np.isfinite(rates[places])]
    looks, fits = {}, {}
    for method, style in tuned(swept, comparison).items():
        own = places[methods[places] == method]
        if len(own):
            looks[method] = style
            fits[method] = own
    return looks, fits


def _describe_pooling(swept: Swept, places: NDArray[np.intp], binned: bool) -> str:
    """Return the keys over which a point of these fits is the median."""
    over = []
    for key in (*swept.keys.numbers, *swept.keys.seeds):
        values = swept.values(key)
        if key != LR and len({values[place] for place in places}) > 1:
            over.append(key)
    if binned:
        over.append(f"the rates of each of {MOST_RATES // 2} bins")
    pooled = " and ".join(over) or "equal fits"
    return f"line: median over {pooled}; band: range of those that finished"


def _strip(
    swept: Swept,
    looks: Mapping[str, int],
    fits: Mapping[str, NDArray[np.intp]],
    rates: Array,
) -> list[Series]:
    """Return the rows above the picture: each method's diverged fits, then its failed ones."""
    rows = []
    for status in LOST:
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
    low, high = np.nanmin(rates), np.nanmax(rates)
    edges = np.geomspace(low, high * (1 + 1e-9), MOST_RATES // 2 + 1)
    return round_to_bins(rates, edges, np.sqrt(edges[1:] * edges[:-1]))


def _over_rates(label: str, style: int, rates: Array, excess: Array) -> Series:
    """Return the median at each rate, with the range of the fits that finished."""
    groups = pd.Series(excess).groupby(rates)
    medians = positive(groups.quantile(interpolation="higher"))
    low = positive(groups.min())
    finite = pd.Series(np.where(np.isfinite(excess), excess, np.nan))
    high = positive(finite.groupby(rates).max())
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


def bounds_of(swept: Swept, places: Sequence[int]) -> list[float]:
    """Return the largest stable learning rates of one method's fits.

    One for each different optimizer and problem; none where data or plug-ins are gone.
    """
    rows = swept.results["row"].tolist()
    try:
        if not swept.config(rows[places[0]]).optimizer.knows_its_bound():
            return []
        different = {_bounding(swept.configs[place]): rows[place] for place in places}
        return stable_rates([swept.runnable(row) for row in different.values()])
    except (LinfitError, ValueError, OSError):
        return []


def _bounding(config: dict[str, Any]) -> str:
    optimizer = {key: value for key, value in config["optimizer"].items() if key != "lr"}
    return json.dumps([optimizer, [config.get(part) for part in BOUNDING]])
