"""The pictures of a sweep, each None unless it makes sense for what the sweep varies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linfit.errors import LinfitError
from linfit.problem.types import Array
from linfit.views.captions import say_chosen, say_lost, say_methods, say_problem
from linfit.views.charts import Axis, Chart, Series, join_notes, on_steps, positive
from linfit.views.comparison import Comparison
from linfit.views.floor import LEAST, clamp, say_floor
from linfit.views.heat_map import heat_map
from linfit.views.methods import first_problem, runs_of, styles, tuned
from linfit.views.planes import plane_chart, plane_of
from linfit.views.problems import KEY
from linfit.views.ranking import Entry
from linfit.views.rates import learning_rate
from linfit.views.statistics import expected_best, performance_profile
from linfit.views.swept import Swept

#: Settings of a method below which there is nothing to search.
FEWEST_TRIALS = 4


def curves(swept: Swept, comparison: Comparison) -> Chart | None:
    """Return excess loss over steps, each method at its chosen setting.

    Median and quartiles.
    """
    entries = first_problem(comparison)
    series, methods = [], []
    for entry in entries:
        line = _median_curve(swept, comparison, entry)
        if line is not None:
            series.append(line)
            methods.append(entry.method)
    if not series:
        return None

    places = np.concatenate([runs_of(comparison, entry).index for entry in entries])
    lost = say_lost(swept, places)
    several = any(line.low is not None for line in series)
    note = join_notes(
        say_chosen(comparison, methods),
        "line: median over seeds; band: quartiles" if several else "",
        say_methods(comparison, methods),
        say_problem(comparison),
        f"{lost}: those that failed have no curve" if "failed" in lost else lost,
        say_floor(swept.excess[places], swept.floors[places]),
    )
    axes = (Axis("step", "steps"), Axis("excess loss", "log"))
    return Chart("curves", "Excess loss", *axes, series, note=note)


def _median_curve(swept: Swept, comparison: Comparison, entry: Entry) -> Series | None:
    """Return the median and the quartiles of an entry's curves, None if it has none."""
    found = []
    for run in runs_of(comparison, entry).itertuples():
        steps, excess = swept.curves.select(run.row)
        if len(steps):
            found.append((steps, clamp(excess, 10**run.floor), not np.isnan(run.log)))
    if not found:
        return None

    grid = np.unique(np.concatenate([steps for steps, _, _ in found]))
    values = np.array([_on_grid(grid, *curve) for curve in found])
    shares = (0.25, 0.5, 0.75)
    low, middle, high = map(
        positive,
        np.quantile(
            values,
            shares,
            axis=0,
            method="inverted_cdf",
        ),
    )
    style = styles(comparison).get(entry.method)
    line = Series(entry.name, on_steps(grid), middle, style=style)
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


def profile(swept: Swept, comparison: Comparison) -> Chart | None:
    """Return the share of seeds and problems on which each method is within a factor of the best.

    The factor is of the steps to the tolerance, compared with the quickest method's.
    """
    methods = list(styles(comparison))
    table = _steps_to_tolerance(swept, comparison, methods)
    if len(methods) < 2 or not np.isfinite(table).any():
        return None

    factors, shares = performance_profile(table)
    # Prolong the last stairs, so that they can be seen.
    factors = np.append(factors, factors[-1] * 1.3)
    shares = np.vstack([shares, shares[-1:]])
    series = []
    for method, share in zip(methods, shares.T, strict=True):
        style = styles(comparison)[method]
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
        say_chosen(comparison, methods),
        say_methods(comparison, methods),
    )
    x = Axis("times the steps of the quickest", "log")
    y = Axis("share reached", limits=(-0.03, 1.05))
    return Chart("profile", "Steps to tolerance", x, y, series, note=note)


def _steps_to_tolerance(swept: Swept, comparison: Comparison, methods: Sequence[str]) -> Array:
    """Return the steps of each method at its chosen setting `[pairs of seed and problem, methods]`.

    Infinity where it did not reach the tolerance; pairs without a fit of every method are left out.
    """
    steps = swept.results["steps_to_tolerance"].astype(float).to_numpy()
    costs = np.where(np.isfinite(steps), np.maximum(steps, 1), np.inf)
    chosen = {(entry.problem, entry.method, entry.setting) for entry in comparison.entries}
    keys = comparison.runs[KEY].itertuples(index=False, name=None)
    runs = comparison.runs.assign(cost=costs)[[key in chosen for key in keys]]
    least = runs.groupby(["problem", "seed", "method"])["cost"].min().unstack("method")
    return np.asarray(least.reindex(columns=methods).dropna().to_numpy(float))


def paths(swept: Swept, comparison: Comparison) -> Chart | None:
    """Return the paths of all methods over one problem's contours, if it has two weights."""
    entries = first_problem(comparison)
    seeds = [set(runs_of(comparison, entry)["seed"]) for entry in entries]
    shared = sorted(set.intersection(*seeds)) if seeds else []
    if not shared:
        return None

    style = styles(comparison)
    lines, methods, rows = [], [], []
    for entry in entries:
        runs = runs_of(comparison, entry)
        row = int(runs.loc[runs["seed"] == shared[0], "row"].iloc[0])
        path = swept.curves.select_path(row)
        if path.shape[1] == 2:
            lines.append((entry.name, path, style[entry.method]))
            methods.append(entry.method)
            rows.append(row)
    if not lines:
        return None

    try:
        _, problem, optimum = swept.instance(rows[0])
    except (LinfitError, ValueError, OSError):
        return None
    note = join_notes(
        f"first seed of {len(shared)}" if len(shared) > 1 else "",
        say_chosen(comparison, methods),
        say_methods(comparison, methods),
        say_problem(comparison),
    )
    return plane_chart(
        "paths",
        "Paths of descent",
        plane_of(problem, optimum),
        lines,
        note,
    )


def trials(swept: Swept, comparison: Comparison) -> Chart | None:
    """Return the expected best of random trials of each method, with the range of four in five."""
    groups = swept.groups
    runs = comparison.runs
    first = runs.index[runs["problem"] == comparison.entries[0].problem]
    series: list[Series] = []
    places: list[int] = []
    for method, style in tuned(swept, comparison).items():
        own = [place for place in first if groups.choices[place] == method]
        settings = {(groups.methods[place], groups.settings[place]) for place in own}
        if len(settings) >= FEWEST_TRIALS:
            series.append(_search(swept, method, style, own))
            places += own
    if not series:
        return None

    lost = say_lost(swept, places)
    note = join_notes(
        "a trial is one of the fits, drawn at random",
        "line: geometric mean of the best; band: 80% of searches",
        "a fit that diverged counts as its start" if "diverged" in lost else "",
        f"{lost}: those that failed are left out" if "failed" in lost else lost,
        say_methods(comparison, [line.label for line in series]) if groups.by_choice else "",
        say_problem(comparison),
        say_floor(swept.excess[places], swept.floors[places]),
    )
    axes = (Axis("trials", "log"), Axis("excess loss", "log"))
    return Chart(
        "trials",
        "Expected best of so many trials",
        *axes,
        series,
        note=note,
    )


def _search(swept: Swept, method: str, style: int, places: Sequence[int]) -> Series:
    """Return the expected best over the number of trials, all fits being equally likely."""
    rows = swept.results["row"].to_numpy()[places]
    initial = np.array([swept.curves.find_initial(row) for row in rows.tolist()])
    excess = clamp(swept.excess, swept.floors)[places]
    values = np.where(np.isfinite(excess), excess, initial)
    logs = np.log10(np.maximum(values[np.isfinite(values)], LEAST))
    numbers = np.unique(np.geomspace(1, len(logs), 60).round().astype(np.int64))
    mean, low, high = (np.asarray(10**found) for found in expected_best(logs, numbers))
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
CHARTS: dict[str, Callable[[Swept, Comparison], Chart | None]] = {
    "learning_rate": learning_rate,
    "curves": curves,
    "profile": profile,
    "paths": paths,
    "heat_map": heat_map,
    "trials": trials,
}
