"""The picture of learning rates: how near each method comes at which, where fits diverge, and what theory says of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.problem import Array
from linfit.tracking.objective import PROBLEM
from linfit.views.captions import LOST, say_lost, say_methods, say_problem
from linfit.views.charts import Axis, Chart, Mark, Series, join_notes, positive
from linfit.views.comparison import Comparison
from linfit.views.floor import clamp, get_floors, say_floor
from linfit.views.methods import on_first, tuned
from linfit.views.prediction import stable_rates
from linfit.views.swept import LR, Swept

#: Learning rates above which they are grouped into bins; of as many that are swept each is a tick.
MOST_RATES, MOST_TICKS = 30, 12
#: What decides a bound, beside the optimizer without its learning rate.
BOUNDING = (*PROBLEM, "dtype", "batch", "schedule", "seed")


def learning_rate(swept: Swept, comparison: Comparison) -> Chart | None:
    """Final excess loss over the learning rate: the median and the range over all else; None where the rate does not vary."""
    exact = np.array([np.nan if value is None else float(value) for value in swept.values(LR)])
    methods = np.array(swept.groups.choices)
    places = comparison.runs.index[on_first(comparison)].to_numpy()
    places = places[np.isfinite(exact[places])]
    different = np.unique(exact[np.isfinite(exact)])
    if len(different) < 2:
        return None
    binned = len(different) > MOST_RATES
    rates = _binned(exact) if binned else exact
    floor = get_floors(swept)
    excess = clamp(swept.excess, floor)
    fits = {method: places[methods[places] == method] for method in tuned(swept, comparison)}
    looks = {
        method: style for method, style in tuned(swept, comparison).items() if len(fits[method])
    }
    series = []
    for method, style in looks.items():
        own = fits[method]
        series.append(_over_rates(method, style, rates[own], excess[own]))
    shown = np.concatenate([fits[method] for method in looks])
    strip = _strip(swept, looks, fits, rates)
    marks = _marks(
        {
            method: (style, bounds_of(swept, fits[method].tolist()))
            for method, style in looks.items()
        }
    )
    x = Axis(
        "learning rate",
        "log",
        ticks=tuple(different.tolist()) if len(different) <= MOST_TICKS else (),
    )
    single = all(len(own) == len(np.unique(rates[own])) for own in fits.values())
    seen = any(np.isfinite(line.y).any() for line in series)
    note = "no median is finite"
    if seen:
        note = "each point is one fit" if single else _summed(swept, shown, binned)
    note = join_notes(
        note,
        say_methods(comparison, looks) if swept.groups.by_choice else "",
        say_problem(comparison),
        f"above: {say_lost(swept, shown)} (filled: half or more)" if strip else "",
        say_floor(swept.excess[shown], floor[shown]),
    )
    return Chart(
        "learning_rate",
        "Learning rate",
        x,
        Axis("final excess loss", "log"),
        series,
        marks,
        note=note,
        strip=strip,
    )


def _summed(swept: Swept, places: NDArray[np.intp], binned: bool) -> str:
    """Return over which keys a point of the fits at these places is the median."""
    keys = [key for key in (*swept.keys.numbers, *swept.keys.seeds) if key != LR]
    over = [key for key in keys if _differ(swept.values(key), places)]
    if binned:
        over.append(f"the rates of each of {MOST_RATES // 2} bins")
    what = " and ".join(over) or "equal fits"
    return f"line: median over {what}; band: range of those that finished"


def _differ(values: Sequence[Any], places: NDArray[np.intp]) -> bool:
    return len({values[place] for place in places}) > 1


def _strip(
    swept: Swept,
    looks: Mapping[str, int],
    fits: Mapping[str, NDArray[np.intp]],
    rates: Array,
) -> list[Series]:
    """Return the rows above the picture: where fits of each method diverged, then failed."""
    statuses = swept.results["status"].to_numpy()
    rows = []
    for status in LOST:
        gone = np.where(statuses == status, np.inf, 0.0)
        for method, style in looks.items():
            rows.append(_lost(style, rates[fits[method]], gone[fits[method]], status))
    return [row for row in rows if len(row.x)]


def _binned(rates: Array) -> Array:
    """The middles of the bins that the rates fall into."""
    low, high = np.nanmin(rates), np.nanmax(rates)
    edges = np.geomspace(low, high * (1 + 1e-9), MOST_RATES // 2 + 1)
    middles = np.sqrt(edges[1:] * edges[:-1])
    places = np.clip(np.searchsorted(edges, rates, side="right") - 1, 0, len(middles) - 1)
    return np.where(np.isfinite(rates), middles[places], np.nan)


def _over_rates(label: str, style: int, rates: Array, excess: Array) -> Series:
    groups = pd.Series(excess).groupby(rates)
    medians, low = positive(groups.quantile(interpolation="higher")), positive(groups.min())
    high = groups.agg(lambda own: own[np.isfinite(own)].max() if np.isfinite(own).any() else np.nan)
    return Series(label, np.array(list(groups.groups)), medians, low, positive(high), style=style)


def _lost(style: int, rates: Array, excess: Array, label: str = Status.DIVERGED.value) -> Series:
    """The share of fits whose excess loss is not finite, at the rates where there are any."""
    shares = pd.Series(~np.isfinite(excess)).groupby(rates).mean()
    shares = shares[shares > 0]
    return Series(label, shares.index.to_numpy(float), shares.to_numpy(float), style=style)


def _marks(bounds: dict[str, tuple[int, list[float]]]) -> list[Mark]:
    """The largest stable rate of each method that has one, a range where it varies; those of equal bounds share a mark."""
    found: dict[tuple[float, float], list[str]] = {}
    for method, (_, own) in bounds.items():
        if own:
            found.setdefault((min(own), max(own)), []).append(method)
    return [
        Mark(
            low,
            f"largest stable: {', '.join(names)}",
            bounds[names[0]][0] if len(names) == 1 else None,
            to=high if high > low else None,
        )
        for (low, high), names in found.items()
    ]


def bounds_of(swept: Swept, places: Sequence[int]) -> list[float]:
    """The largest stable learning rates of one method's fits at these places, one for each optimizer and problem that differ."""
    rows = swept.results["row"].tolist()
    try:
        if not swept.config(rows[places[0]]).optimizer.knows_its_bound():
            return []
        different = {_bounding(swept.configs[place]): rows[place] for place in places}
        return stable_rates([swept.runnable(row) for row in different.values()])
    except (LinfitError, ValueError, OSError):  # data or plug-ins are gone: the mark is left out
        return []


def _bounding(config: dict[str, Any]) -> str:
    optimizer = {key: value for key, value in config["optimizer"].items() if key != "lr"}
    return json.dumps([optimizer, [config.get(part) for part in BOUNDING]])
