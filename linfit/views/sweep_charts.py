"""The pictures of a sweep. Each is made where it makes sense for what the sweep varies, and is None otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.component import unknown
from linfit.errors import ConfigError, LinfitError
from linfit.problem.problem import Array
from linfit.views.charts import Axis, Chart, Mark, Series, Surface, on_steps, positive
from linfit.views.comparison import Comparison, Entry
from linfit.views.planes import plane_chart, plane_of
from linfit.views.prediction import stable_rate
from linfit.views.statistics import expected_best, performance_profile
from linfit.views.swept import LR, Swept

#: Learning rates above which they are grouped into bins; fits whose bound is looked at; lines of a chart; values along a heat map.
MOST_RATES, MOST_BOUNDS, MOST_LINES, MOST_VALUES, MOST_TEXTS = 30, 8, 8, 40, 100
FEWEST_TRIALS = 4


def learning_rate(swept: Swept, comparison: Comparison) -> Chart | None:
    """Final excess loss over the learning rate: the median and the range over all else; None where the rate does not vary."""
    rates = np.array([np.nan if value is None else float(value) for value in swept.values(LR)])
    methods, on_first = np.array(swept.methods), _on_first(comparison)
    if len(np.unique(rates[np.isfinite(rates)])) < 2:
        return None
    series: list[Series] = []
    limits: dict[float, list[str]] = {}
    for style, method in enumerate(list(dict.fromkeys(swept.methods))[:MOST_LINES]):
        own = (methods == method) & np.isfinite(rates) & on_first
        if not own.any():
            continue
        series.append(_over_rates(method, style, rates[own], swept.excess[own]))
        limit = largest_stable_rate(swept, np.flatnonzero(own).tolist())
        if limit is not None:
            limits.setdefault(limit, []).append(method)
    marks = [Mark(limit, f"largest stable: {', '.join(names)}") for limit, names in limits.items()]
    series += _diverged(series)
    else_ = " and ".join(key for key in (*swept.keys.numbers, *swept.keys.seeds) if key != LR) or "equal fits"
    note = f"line: median over {else_}; band: smallest to largest{_on(comparison)}"
    return Chart("learning_rate", "Learning rate", Axis("learning rate", "log"), Axis("final excess loss", "log"), series, marks, note=note)


def _over_rates(label: str, style: int, rates: Array, excess: Array) -> Series:
    if len(np.unique(rates)) > MOST_RATES:
        edges = np.geomspace(rates.min(), rates.max() * (1 + 1e-9), MOST_RATES // 2 + 1)
        middles = np.sqrt(edges[1:] * edges[:-1])
        rates = middles[np.clip(np.searchsorted(edges, rates, side="right") - 1, 0, len(middles) - 1)]
    groups = pd.Series(np.where(np.isfinite(excess), excess, np.inf)).groupby(rates)
    medians, low = positive(groups.quantile(interpolation="higher")), positive(groups.min())
    high = groups.agg(lambda own: own[np.isfinite(own)].max() if np.isfinite(own).any() else np.nan)
    return Series(label, np.array(list(groups.groups)), medians, low, positive(high), style=style)


def _diverged(series: Sequence[Series]) -> list[Series]:
    """Crosses above everything, at the rates at which a method has no median."""
    top = max((float(np.nanmax(line.high)) for line in series if line.high is not None and np.isfinite(line.high).any()), default=1.0)
    found: list[Series] = []
    for line in series:
        lost = line.x[np.isnan(line.y)]
        if len(lost):
            height = np.full(len(lost), top * 10.0 ** (1 + len(found)))
            found.append(Series("half or more diverged" if not found else "", lost, height, kind="crosses", style=line.style))
    return found


def largest_stable_rate(swept: Swept, places: Sequence[int]) -> float | None:
    """The smallest of the bounds on the learning rate of some of the fits at these places; None where no bound is known."""
    bounds = []
    for place in places[:: max(1, len(places) // MOST_BOUNDS)][:MOST_BOUNDS]:
        try:
            config, problem, optimum = swept.instance(int(swept.results["row"][place]))
        except (LinfitError, ValueError, OSError):  # data or plug-ins are gone: the mark is left out
            return None
        bound = stable_rate(config, problem, optimum)
        if bound is not None:
            bounds.append(bound)
    return min(bounds, default=None)


def curves(swept: Swept, comparison: Comparison) -> Chart | None:
    """Excess loss over the steps, of each method at the setting chosen for it: median and quartiles over seeds."""
    series = [_median_curve(swept, comparison, entry) for entry in _first_problem(comparison)]
    drawn = [line for line in series if line is not None]
    if not drawn:
        return None
    several = any(entry.fits > 1 for entry in comparison.entries)
    note = "each at the setting chosen for it" + ("; line: median over seeds; band: quartiles" if several else "")
    return Chart("curves", "Excess loss", Axis("step", "steps"), Axis("excess loss", "log"), drawn, note=note + _on(comparison))


def _median_curve(swept: Swept, comparison: Comparison, entry: Entry) -> Series | None:
    found = [swept.curves.of(row) for row in _runs(comparison, entry)["row"].tolist()]
    found = [(steps, excess) for steps, excess in found if len(steps)]
    if not found:
        return None
    grid = np.unique(np.concatenate([steps for steps, _ in found]))
    values = np.array([_on_grid(grid, *curve) for curve in found])
    low, middle, high = (positive(np.quantile(values, share, axis=0, method="inverted_cdf")) for share in (0.25, 0.5, 0.75))
    band = (low, np.where(np.isnan(high), middle, high)) if len(found) > 1 else (None, None)
    return Series(entry.name, on_steps(grid), middle, band[0], band[1], style=styles(comparison).get(entry.method))


def _on_grid(grid: NDArray[np.int64], steps: NDArray[np.int64], excess: Array) -> Array:
    """A curve at the steps of several, interpolated between its own on a log scale; infinity after its last."""
    with np.errstate(divide="ignore"):
        logs = np.log10(np.where(np.isfinite(excess), np.maximum(excess, 1e-300), 1e300))
    return np.asarray(10 ** np.interp(grid, steps, logs, right=np.inf))


def profile(swept: Swept, comparison: Comparison) -> Chart | None:
    """On which share of seeds and problems each method reaches the tolerance within how many times the steps of the quickest."""
    methods = list(dict.fromkeys((entry.method) for entry in comparison.entries))
    runs, steps = comparison.runs, swept.results["steps_to_tolerance"].astype(float).to_numpy()
    chosen = {(entry.problem, entry.method, entry.setting) for entry in comparison.entries}
    own = [key in chosen for key in zip(runs["problem"], runs["method"], runs["setting"], strict=True)]
    costs = runs.assign(cost=np.where(np.isfinite(steps), np.maximum(steps, 1), np.inf))[own]
    table = costs.groupby(["problem", "seed", "method"])["cost"].min().unstack("method").reindex(columns=methods).dropna()
    if len(methods) < 2 or not np.isfinite(table.to_numpy(float)).any():
        return None
    factors, shares = performance_profile(table.to_numpy(float))
    factors, shares = np.append(factors, factors[-1] * 1.3), np.vstack([shares, shares[-1:]])
    order = sorted(range(len(methods)), key=lambda i: -float(shares[:, i].sum()))[:MOST_LINES]
    style = styles(comparison)
    series = [Series(methods[i], factors, shares[:, i], kind="stairs", style=style[methods[i]]) for i in order]
    x = Axis("times the steps of the quickest", "log")
    note = f"share of {len(table)} pairs of seed and problem; each method at the setting chosen for it"
    return Chart("profile", "Steps to tolerance", x, Axis("share reached", limits=(-0.03, 1.05)), series, note=note)


def paths(swept: Swept, comparison: Comparison) -> Chart | None:
    """The paths of all methods over one problem's contours, where there are two weights."""
    entries = _first_problem(comparison)
    seeds = [set(_runs(comparison, entry)["seed"]) for entry in entries]
    shared = sorted(set.intersection(*seeds)) if seeds else []
    if not shared:
        return None
    rows = [int(own["row"].iloc[0]) for entry in entries for own in [_runs(comparison, entry)] for own in [own[own["seed"] == shared[0]]]]
    found = [(entry.name, swept.curves.path_of(row), row) for entry, row in zip(entries, rows, strict=True)]
    style = styles(comparison)
    drawn = [(name, path, style[entry.method]) for entry, (name, path, _) in zip(entries, found, strict=True) if path.shape[1] == 2]
    if not drawn:
        return None
    try:
        _, problem, optimum = swept.instance(found[0][2])
    except (LinfitError, ValueError, OSError):
        return None
    seed = f"first seed of {len(shared)}; " if len(shared) > 1 else ""
    return plane_chart("paths", "Paths of descent", plane_of(problem, optimum), drawn, f"{seed}each method at the setting chosen for it")


def heat_map(swept: Swept, comparison: Comparison, x: str | None = None, y: str | None = None) -> Chart | None:
    """Final excess loss over two swept keys: the geometric mean over all else. ConfigError for a key that the sweep does not vary."""
    keys = [*swept.keys.numbers, *swept.keys.choices, *swept.keys.problem]
    for key in (x, y):
        if key is not None and key not in swept.varying:
            raise ConfigError(unknown("swept key", key, list(swept.varying)))
    fitting = [key for key in keys if key not in (x, y) and 2 <= len(set(swept.values(key))) <= MOST_VALUES]
    x = x or next(iter(fitting), None)
    y = y or next((key for key in fitting if key != x), None)
    if x is None or y is None:
        return None
    columns, rows = _levels(swept.values(x)), _levels(swept.values(y))
    cells = pd.DataFrame({"x": swept.values(x), "y": swept.values(y), "excess": positive(swept.excess)}).astype({"x": object, "y": object})
    pooled = bool({x, y} & set(swept.keys.problem))
    cells = cells if pooled else cells[_on_first(comparison)]
    logs = cells.assign(excess=np.log10(cells["excess"]), all=1).groupby(["y", "x"], dropna=False)
    z = 10 ** logs["excess"].mean().unstack("x").reindex(index=rows, columns=columns).to_numpy(float)
    there = logs["all"].sum().unstack("x").reindex(index=rows, columns=columns).notna().to_numpy()
    texts = (
        tuple(tuple(_cell(*cell) for cell in zip(*both, strict=True)) for both in zip(z, there, strict=True))
        if z.size <= MOST_TEXTS
        else ()
    )
    surface = Surface(np.arange(len(columns), dtype=float), np.arange(len(rows), dtype=float), z, "final excess loss", "cells", texts)
    across, up = Axis(x, names=tuple(map(_level, columns))), Axis(y, names=tuple(map(_level, rows)))
    note = "geometric mean over all else, of the fits that finished; ×: none did" + ("" if pooled else _on(comparison))
    return Chart("heat_map", "Final excess loss", across, up, surface=surface, note=note)


def _cell(value: float, there: bool) -> str:
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+") if np.isfinite(value) else "×" if there else ""


def _levels(values: Sequence[Any]) -> list[Any]:
    """The different values, numbers in order."""
    found = list(dict.fromkeys(values))
    return sorted(found) if all(isinstance(value, int | float) for value in found) else found


def _level(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def trials(swept: Swept, comparison: Comparison) -> Chart | None:
    """The best result that so many random trials of a method are expected to find, with the range of four searches in five."""
    first = comparison.entries[0].problem
    runs = comparison.runs[comparison.runs["problem"] == first]
    labels = swept.labels((*swept.keys.choices, *swept.keys.numbers))
    series: list[Series] = []
    for style, method in enumerate(dict.fromkeys(swept.methods)):
        own = [place for place in runs.index if swept.methods[place] == method]
        if len({labels[place] for place in own}) >= FEWEST_TRIALS and len(series) < MOST_LINES:
            series.append(_search(swept, method, style, own))
    if not series:
        return None
    note = "a trial is one of the fits, drawn at random; band: 80% of searches; a fit that diverged counts as its start"
    return Chart("trials", "Expected best of so many trials", Axis("trials", "log"), Axis("excess loss", "log"), series, note=note)


def _search(swept: Swept, method: str, style: int, places: Sequence[int]) -> Series:
    rows = swept.results["row"].to_numpy()
    values = np.array(
        [excess if np.isfinite(excess) else swept.curves.initial(int(rows[place])) for place, excess in _excess(swept, places)]
    )
    values = values[np.isfinite(values)]
    logs = np.log10(np.maximum(values, values[values > 0].min(initial=1.0)))
    numbers = np.unique(np.geomspace(1, len(logs), 60).round().astype(np.int64))
    mean, low, high = (np.asarray(10**found) for found in expected_best(logs, numbers))
    return Series(method, numbers.astype(float), mean, low, high, kind="plain", style=style)


def _excess(swept: Swept, places: Sequence[int]) -> list[tuple[int, float]]:
    return [(place, float(swept.excess[place])) for place in places]


def styles(comparison: Comparison) -> dict[str, int]:
    """The look of each method, the same in all pictures of a sweep."""
    methods = dict.fromkeys(comparison.runs["method"])
    if len(methods) > MOST_LINES:  # no choices but settings, of which the best are drawn
        methods = dict.fromkeys(entry.method for entry in comparison.entries)
    return {str(method): style for style, method in enumerate(methods)}


def _runs(comparison: Comparison, entry: Entry) -> pd.DataFrame:
    runs = comparison.runs
    return runs[(runs["problem"] == entry.problem) & (runs["method"] == entry.method) & (runs["setting"] == entry.setting)]


def _first_problem(comparison: Comparison) -> list[Entry]:
    entries = comparison.entries
    return [entry for entry in entries if entry.problem == entries[0].problem][:MOST_LINES]


def _on_first(comparison: Comparison) -> NDArray[np.bool_]:
    """Which fits solve the first problem: fits of different problems do not compare."""
    return np.asarray(comparison.runs["problem"] == comparison.entries[0].problem)


def _on(comparison: Comparison) -> str:
    first = comparison.entries[0].problem
    return f"; {first}" if first else ""


#: All pictures of a sweep, by name.
CHARTS: dict[str, Callable[[Swept, Comparison], Chart | None]] = {
    "learning_rate": learning_rate,
    "curves": curves,
    "profile": profile,
    "paths": paths,
    "heat_map": heat_map,
    "trials": trials,
}
