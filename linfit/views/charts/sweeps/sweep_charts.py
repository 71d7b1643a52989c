"""The pictures of a sweep, each None unless it makes sense for what the sweep varies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from linfit.errors import LinfitError
from linfit.problem.types import Array
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import SETTING_KEY
from linfit.views.analysis.statistics import compute_performance_profile
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    LeftOut,
    Series,
    join_notes,
    merge_equal_series,
)
from linfit.views.charts.sweeps.captions import (
    describe_chosen_settings,
    describe_drawn_methods,
    describe_drawn_problem,
)
from linfit.views.charts.sweeps.curves import plot_curves
from linfit.views.charts.sweeps.heat_map import plot_heat_map
from linfit.views.charts.sweeps.leaderboard_chart import plot_leaderboard
from linfit.views.charts.sweeps.learning_rates import plot_learning_rate
from linfit.views.charts.sweeps.methods import (
    choose_styles,
    select_first_entries,
    select_fits,
)
from linfit.views.charts.sweeps.over_key import list_line_keys, name_key_chart, plot_over_key
from linfit.views.charts.sweeps.search_charts import plot_importance, plot_parallel, plot_trials
from linfit.views.charts.weight_plane import choose_plane, plot_plane

#: A maker of a picture: None where the picture makes no sense, LeftOut where one may miss it.
SweepChartMaker = Callable[[SweepData, Comparison], Chart | LeftOut | None]
#: Methods that have a heat map of their own.
MOST_HEAT_MAPS = 4


def plot_profile(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the share of seeds and problems on which each method is within a factor of the best.

    The factor is of the steps to the tolerance, compared with the quickest method's.
    """
    methods = list(choose_styles(comparison))
    table = _steps_to_tolerance(swept, comparison, methods)
    if len(methods) < 2 or not np.isfinite(table).any():
        return None

    factors, shares = compute_performance_profile(table)
    # Prolong the last stairs, so that they can be seen.
    factors = np.append(factors, factors[-1] * 1.3)
    shares = np.vstack([shares, shares[-1:]])
    series = []
    for method, share in zip(methods, shares.T, strict=True):
        style = choose_styles(comparison)[method]
        series.append(
            Series(
                method,
                factors,
                share,
                kind="stairs",
                style=style,
            )
        )
    series.sort(key=lambda line: -float(line.y.sum()))

    one = f"{comparison.replicates.one} and problem"
    pairs = f"{len(table)} pairs of {one}" if len(table) > 1 else f"one {one}"
    note = join_notes(
        f"share of {pairs}",
        describe_chosen_settings(comparison, methods),
        describe_drawn_methods(comparison, methods),
    )
    x = ChartAxis("times the steps of the quickest", "log")
    y = ChartAxis("share reached", limits=(-0.03, 1.05))
    title = "Steps to tolerance"
    return Chart("profile", title, x, y, merge_equal_series(series), note=note)


def _steps_to_tolerance(swept: SweepData, comparison: Comparison, methods: Sequence[str]) -> Array:
    """Return the steps of each method at its chosen setting `[pairs of seed and problem, methods]`.

    Infinity where it did not reach the tolerance; pairs without a fit of every method are left out.
    """
    steps = swept.results["steps_to_tolerance"].astype(float).to_numpy()
    costs = np.where(np.isfinite(steps), np.maximum(steps, 1), np.inf)
    chosen = {(entry.problem, entry.method, entry.setting) for entry in comparison.entries}
    keys = comparison.fits[SETTING_KEY].itertuples(index=False, name=None)
    runs = comparison.fits.assign(cost=costs)[[key in chosen for key in keys]]
    least = runs.groupby(["problem", "seed", "method"])["cost"].min().unstack("method")
    return np.asarray(least.reindex(columns=methods).dropna().to_numpy(float))


def plot_paths(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the paths of all methods over one problem's contours, if it has two weights."""
    entries = select_first_entries(comparison)
    seeds = [set(select_fits(comparison, entry)["seed"]) for entry in entries]
    shared = sorted(set.intersection(*seeds)) if seeds else []
    if not shared or not swept.has_answers:
        return None

    style = choose_styles(comparison)
    lines = []
    methods = []
    rows = []
    for entry in entries:
        runs = select_fits(comparison, entry)
        row = int(runs.loc[runs["seed"] == shared[0], "row"].iloc[0])
        path = swept.curves.select_path(row)
        if path.shape[1] == 2:
            lines.append((entry.name, path, style[entry.method]))
            methods.append(entry.method)
            rows.append(row)
    if not lines:
        return None

    try:
        _, problem, optimum = swept.load_instance(rows[0])
    except (LinfitError, ValueError, OSError):
        return None
    note = join_notes(
        f"first {comparison.replicates.one} of {len(shared)}" if len(shared) > 1 else "",
        describe_chosen_settings(comparison, methods),
        describe_drawn_methods(comparison, methods),
        describe_drawn_problem(comparison),
    )
    return plot_plane(
        "paths",
        "Paths of descent",
        choose_plane(problem, optimum),
        lines,
        note,
    )


#: Pictures of a sweep, by name; `list_sweep_charts` adds those of some keys and methods.
SWEEP_CHARTS: dict[str, SweepChartMaker] = {
    "leaderboard": plot_leaderboard,
    "learning_rate": plot_learning_rate,
    "curves": plot_curves,
    "profile": plot_profile,
    "paths": plot_paths,
    "heat_map": plot_heat_map,
    "trials": plot_trials,
    "importance": plot_importance,
    "parallel": plot_parallel,
}


def list_sweep_charts(swept: SweepData, comparison: Comparison) -> dict[str, SweepChartMaker]:
    """Return the makers of a sweep's pictures by name.

    Beside those of every sweep there is one over each key with several numbers, and in place of one
    heat map one for each of the best methods that have two such keys.
    """
    makers: dict[str, SweepChartMaker] = {}
    for name, maker in SWEEP_CHARTS.items():
        makers[name] = maker
        if name == "learning_rate":
            for key in list_line_keys(swept):
                makers[name_key_chart(key)] = partial(plot_over_key, key=key)
        if name == "heat_map":
            makers |= _list_heat_maps(swept, comparison)
    return makers


def _list_heat_maps(swept: SweepData, comparison: Comparison) -> dict[str, SweepChartMaker]:
    """Return the makers of heat maps of one method each, none if there is one for all."""
    makers: dict[str, SweepChartMaker] = {}
    for method in _methods_with_heat_maps(swept, comparison):
        name = f"heat_map_{_simplify_name(method)}" if makers else "heat_map"
        makers[name] = partial(_plot_heat_map_of, method=method, name=name)
    return makers


def _methods_with_heat_maps(swept: SweepData, comparison: Comparison) -> list[str]:
    """Return the best methods that have a heat map of their own, if there are several methods."""
    if not swept.groups.by_choice or len(swept.keys.numbers) < 2:
        return []
    methods = dict.fromkeys(entry.method for entry in select_first_entries(comparison))
    found = [method for method in methods if _has_heat_map(swept, comparison, method)]
    return found[:MOST_HEAT_MAPS]


def _has_heat_map(swept: SweepData, comparison: Comparison, method: str) -> bool:
    return isinstance(plot_heat_map(swept, comparison, method=method), Chart)


def _plot_heat_map_of(
    swept: SweepData, comparison: Comparison, method: str, name: str
) -> Chart | LeftOut | None:
    """Return the heat map of one method under its own name."""
    chart = plot_heat_map(swept, comparison, method=method)
    return replace(chart, name=name) if isinstance(chart, Chart) else chart


def _simplify_name(label: str) -> str:
    """Return a label as part of a file's name."""
    return re.sub(r"[^0-9A-Za-z.]+", "_", label).strip("_.") or "other"
