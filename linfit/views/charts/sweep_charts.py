"""The pictures of a sweep, each None unless it makes sense for what the sweep varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linfit.errors import LinfitError
from linfit.problem.types import Array
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import SETTING_KEY, LeaderboardEntry
from linfit.views.analysis.rounding_floor import LEAST_FLOOR, clip_to_floor, describe_floor
from linfit.views.analysis.statistics import compute_expected_best, compute_performance_profile
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.captions import (
    describe_chosen_settings,
    describe_drawn_methods,
    describe_drawn_problem,
    describe_lost_fits,
)
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Series,
    join_notes,
    mask_nonpositive,
    move_step_zero,
)
from linfit.views.charts.heat_map import plot_heat_map
from linfit.views.charts.learning_rates import plot_learning_rate
from linfit.views.charts.methods import (
    choose_styles,
    choose_tuned_styles,
    select_first_entries,
    select_fits,
)
from linfit.views.charts.weight_plane import choose_plane, plot_plane

#: Settings of a method below which there is nothing to search.
FEWEST_TRIALS = 4


def plot_curves(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return excess loss over steps, each method at its chosen setting.

    Median and quartiles.
    """
    entries = select_first_entries(comparison)
    series = []
    methods = []
    for entry in entries:
        line = _median_curve(swept, comparison, entry)
        if line is not None:
            series.append(line)
            methods.append(entry.method)
    if not series:
        return None

    places = np.concatenate([select_fits(comparison, entry).index for entry in entries])
    lost = describe_lost_fits(swept, places)
    several = any(line.low is not None for line in series)
    note = join_notes(
        describe_chosen_settings(comparison, methods),
        "line: median over seeds; band: quartiles" if several else "",
        describe_drawn_methods(comparison, methods),
        describe_drawn_problem(comparison),
        f"{lost}: those that failed have no curve" if "failed" in lost else lost,
        describe_floor(swept.excess[places], swept.floors[places]),
    )
    axes = (ChartAxis("step", "steps"), ChartAxis("excess loss", "log"))
    return Chart("curves", "Excess loss", *axes, series, note=note)


def _median_curve(
    swept: SweepData, comparison: Comparison, entry: LeaderboardEntry
) -> Series | None:
    """Return the median and the quartiles of an entry's curves, None if it has none."""
    found = []
    for run in select_fits(comparison, entry).itertuples():
        steps, excess = swept.curves.select(run.row)
        if len(steps):
            found.append((steps, clip_to_floor(excess, 10**run.floor), not np.isnan(run.log)))
    if not found:
        return None

    grid = np.unique(np.concatenate([steps for steps, _, _ in found]))
    values = np.array([_on_grid(grid, *curve) for curve in found])
    shares = (0.25, 0.5, 0.75)
    low, middle, high = map(
        mask_nonpositive,
        np.quantile(
            values,
            shares,
            axis=0,
            method="inverted_cdf",
        ),
    )
    style = choose_styles(comparison).get(entry.method)
    line = Series(entry.name, move_step_zero(grid), middle, style=style)
    if len(found) == 1:
        return line
    # Where the upper quartile diverged, the band ends at the median.
    return replace(line, low=low, high=np.where(np.isnan(high), middle, high))


def _on_grid(
    grid: NDArray[np.int64], steps: NDArray[np.int64], excess: Array, finished: bool
) -> Array:
    """Return a curve at the steps of several curves, interpolated on a log scale.

    Beyond its last step a fit that finished keeps its last loss; one that diverged is infinite.
    """
    with np.errstate(divide="ignore"):
        logs = np.log10(np.where(np.isfinite(excess), np.maximum(excess, 1e-300), 1e300))
    return np.asarray(
        10
        ** np.interp(
            grid,
            steps,
            logs,
            right=None if finished else np.inf,
        )
    )


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

    pairs = f"{len(table)} pairs of seed and problem" if len(table) > 1 else "one seed and problem"
    note = join_notes(
        f"share of {pairs}",
        describe_chosen_settings(comparison, methods),
        describe_drawn_methods(comparison, methods),
    )
    x = ChartAxis("times the steps of the quickest", "log")
    y = ChartAxis("share reached", limits=(-0.03, 1.05))
    return Chart("profile", "Steps to tolerance", x, y, series, note=note)


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
    if not shared:
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
        f"first seed of {len(shared)}" if len(shared) > 1 else "",
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


def plot_trials(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the expected best of random trials of each method, with the range of four in five."""
    groups = swept.groups
    runs = comparison.fits
    first = runs.index[runs["problem"] == comparison.entries[0].problem]
    series: list[Series] = []
    places: list[int] = []
    for method, style in choose_tuned_styles(swept, comparison).items():
        own = [place for place in first if groups.choices[place] == method]
        settings = {(groups.methods[place], groups.settings[place]) for place in own}
        if len(settings) >= FEWEST_TRIALS:
            series.append(_search(swept, method, style, own))
            places += own
    if not series:
        return None

    lost = describe_lost_fits(swept, places)
    note = join_notes(
        "a trial is one of the fits, drawn at random",
        "line: geometric mean of the best; band: 80% of searches",
        "a fit that diverged counts as its start" if "diverged" in lost else "",
        f"{lost}: those that failed are left out" if "failed" in lost else lost,
        describe_drawn_methods(comparison, [line.label for line in series])
        if groups.by_choice
        else "",
        describe_drawn_problem(comparison),
        describe_floor(swept.excess[places], swept.floors[places]),
    )
    axes = (ChartAxis("trials", "log"), ChartAxis("excess loss", "log"))
    return Chart(
        "trials",
        "Expected best of so many trials",
        *axes,
        series,
        note=note,
    )


def _search(swept: SweepData, method: str, style: int, places: Sequence[int]) -> Series:
    """Return the expected best over the number of trials, all fits being equally likely."""
    rows = swept.results["row"].to_numpy()[places]
    initial = np.array([swept.curves.find_initial(row) for row in rows.tolist()])
    excess = clip_to_floor(swept.excess, swept.floors)[places]
    values = np.where(np.isfinite(excess), excess, initial)
    logs = np.log10(np.maximum(values[np.isfinite(values)], LEAST_FLOOR))
    numbers = np.unique(np.geomspace(1, len(logs), 60).round().astype(np.int64))
    mean, low, high = (np.asarray(10**found) for found in compute_expected_best(logs, numbers))
    return Series(
        method,
        numbers.astype(float),
        mean,
        low,
        high,
        kind="plain",
        style=style,
    )


#: All pictures of a sweep, by name.
SWEEP_CHARTS: dict[str, Callable[[SweepData, Comparison], Chart | None]] = {
    "learning_rate": plot_learning_rate,
    "curves": plot_curves,
    "profile": plot_profile,
    "paths": plot_paths,
    "heat_map": plot_heat_map,
    "trials": plot_trials,
}
