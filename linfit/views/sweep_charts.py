"""The pictures of a sweep. Each is made where it makes sense for what the sweep varies, and is None otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.errors import LinfitError
from linfit.problem.problem import Array
from linfit.views.captions import say_chosen, say_lost, say_methods, say_problem
from linfit.views.charts import Axis, Chart, Series, join_notes, on_steps, positive
from linfit.views.comparison import Comparison
from linfit.views.floor import LEAST, clamp, get_floors, say_floor
from linfit.views.heat_map import heat_map
from linfit.views.methods import first_problem, runs_of, styles, tuned
from linfit.views.planes import plane_chart, plane_of
from linfit.views.ranking import Entry
from linfit.views.rates import learning_rate
from linfit.views.statistics import expected_best, performance_profile
from linfit.views.swept import Swept

#: Settings of a method below which there is nothing to search.
FEWEST_TRIALS = 4


def curves(swept: Swept, comparison: Comparison) -> Chart | None:
    """Excess loss over the steps, of each method at the setting chosen for it: median and quartiles over seeds."""
    entries = first_problem(comparison)
    series = [_median_curve(swept, comparison, entry) for entry in entries]
    found = [line for line in series if line is not None]
    if not found:
        return None
    drawn_lines = zip(entries, series, strict=True)
    methods = [entry.method for entry, line in drawn_lines if line is not None]
    places = np.concatenate([runs_of(comparison, entry).index for entry in entries])
    lost = say_lost(swept, places)
    several = any(line.low is not None for line in found)
    note = join_notes(
        say_chosen(comparison, methods),
        "line: median over seeds; band: quartiles" if several else "",
        say_methods(comparison, methods),
        say_problem(comparison),
        f"{lost}: those that failed have no curve" if "failed" in lost else lost,
        say_floor(swept.excess[places], get_floors(swept)[places]),
    )
    axes = (Axis("step", "steps"), Axis("excess loss", "log"))
    return Chart("curves", "Excess loss", *axes, found, note=note)


def _median_curve(swept: Swept, comparison: Comparison, entry: Entry) -> Series | None:
    runs = runs_of(comparison, entry)
    found = []
    for run in runs.itertuples():
        steps, excess = swept.curves.of(run.row)
        if len(steps):
            found.append((steps, clamp(excess, 10**run.floor), not np.isnan(run.log)))
    if not found:
        return None
    grid = np.unique(np.concatenate([steps for steps, _, _ in found]))
    values = np.array([_on_grid(grid, *curve) for curve in found])
    low, middle, high = (
        positive(np.quantile(values, share, axis=0, method="inverted_cdf"))
        for share in (0.25, 0.5, 0.75)
    )
    band = (low, np.where(np.isnan(high), middle, high)) if len(found) > 1 else (None, None)
    return Series(
        entry.name,
        on_steps(grid),
        middle,
        band[0],
        band[1],
        style=styles(comparison).get(entry.method),
    )


def _on_grid(
    grid: NDArray[np.int64], steps: NDArray[np.int64], excess: Array, finished: bool
) -> Array:
    """A curve at the steps of several, interpolated between its own on a log scale: a fit that ended early stays where it ended, or diverged."""
    with np.errstate(divide="ignore"):
        logs = np.log10(np.where(np.isfinite(excess), np.maximum(excess, 1e-300), 1e300))
    return np.asarray(10 ** np.interp(grid, steps, logs, right=None if finished else np.inf))


def profile(swept: Swept, comparison: Comparison) -> Chart | None:
    """On which share of seeds and problems each method reaches the tolerance within how many times the steps of the quickest."""
    methods = list(styles(comparison))
    runs, steps = comparison.runs, swept.results["steps_to_tolerance"].astype(float).to_numpy()
    chosen = {(entry.problem, entry.method, entry.setting) for entry in comparison.entries}
    own = [
        key in chosen for key in zip(runs["problem"], runs["method"], runs["setting"], strict=True)
    ]
    costs = runs.assign(cost=np.where(np.isfinite(steps), np.maximum(steps, 1), np.inf))[own]
    table = (
        costs.groupby(["problem", "seed", "method"])["cost"]
        .min()
        .unstack("method")
        .reindex(columns=methods)
        .dropna()
    )
    if len(methods) < 2 or not np.isfinite(table.to_numpy(float)).any():
        return None
    factors, shares = performance_profile(table.to_numpy(float))
    factors, shares = np.append(factors, factors[-1] * 1.3), np.vstack([shares, shares[-1:]])
    order = sorted(range(len(methods)), key=lambda i: -float(shares[:, i].sum()))
    series = [
        Series(
            methods[i], factors, shares[:, i], kind="stairs", style=styles(comparison)[methods[i]]
        )
        for i in order
    ]
    x = Axis("times the steps of the quickest", "log")
    pairs = f"{len(table)} pairs of seed and problem" if len(table) > 1 else "one seed and problem"
    note = join_notes(
        f"share of {pairs}",
        say_chosen(comparison, methods),
        say_methods(comparison, methods),
    )
    return Chart(
        "profile",
        "Steps to tolerance",
        x,
        Axis("share reached", limits=(-0.03, 1.05)),
        series,
        note=note,
    )


def paths(swept: Swept, comparison: Comparison) -> Chart | None:
    """The paths of all methods over one problem's contours, where there are two weights."""
    entries = first_problem(comparison)
    seeds = [set(runs_of(comparison, entry)["seed"]) for entry in entries]
    shared = sorted(set.intersection(*seeds)) if seeds else []
    if not shared:
        return None
    rows = [
        int(own["row"].iloc[0])
        for entry in entries
        for own in [runs_of(comparison, entry)]
        for own in [own[own["seed"] == shared[0]]]
    ]
    found = [
        (entry.name, swept.curves.path_of(row), row)
        for entry, row in zip(entries, rows, strict=True)
    ]
    style = styles(comparison)
    both = zip(entries, found, strict=True)
    shown = [(entry, path) for entry, (_, path, _) in both if path.shape[1] == 2]
    if not shown:
        return None
    lines = [(entry.name, path, style[entry.method]) for entry, path in shown]
    methods = [entry.method for entry, _ in shown]
    try:
        _, problem, optimum = swept.instance(found[0][2])
    except (LinfitError, ValueError, OSError):
        return None
    note = join_notes(
        f"first seed of {len(shared)}" if len(shared) > 1 else "",
        say_chosen(comparison, methods),
        say_methods(comparison, methods),
        say_problem(comparison),
    )
    return plane_chart("paths", "Paths of descent", plane_of(problem, optimum), lines, note)


def trials(swept: Swept, comparison: Comparison) -> Chart | None:
    """The best result that so many random trials of a method are expected to find, with the range of four searches in five."""
    first = comparison.entries[0].problem
    runs = comparison.runs[comparison.runs["problem"] == first]
    groups = swept.groups
    series: list[Series] = []
    places: list[int] = []
    for method, style in tuned(swept, comparison).items():
        own = [place for place in runs.index if groups.choices[place] == method]
        if len({(groups.methods[place], groups.settings[place]) for place in own}) >= FEWEST_TRIALS:
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
        say_floor(swept.excess[places], get_floors(swept)[places]),
    )
    return Chart(
        "trials",
        "Expected best of so many trials",
        Axis("trials", "log"),
        Axis("excess loss", "log"),
        series,
        note=note,
    )


def _search(swept: Swept, method: str, style: int, places: Sequence[int]) -> Series:
    rows = swept.results["row"].to_numpy()[places]
    initial = np.array([swept.curves.initial(row) for row in rows.tolist()])
    excess = clamp(swept.excess, get_floors(swept))[places]
    values = np.where(np.isfinite(excess), excess, initial)
    values = values[np.isfinite(values)]
    logs = np.log10(np.maximum(values, LEAST))
    numbers = np.unique(np.geomspace(1, len(logs), 60).round().astype(np.int64))
    mean, low, high = (np.asarray(10**found) for found in expected_best(logs, numbers))
    return Series(method, numbers.astype(float), mean, low, high, kind="plain", style=style)


#: All pictures of a sweep, by name.
CHARTS: dict[str, Callable[[Swept, Comparison], Chart | None]] = {
    "learning_rate": learning_rate,
    "curves": curves,
    "profile": profile,
    "paths": paths,
    "heat_map": heat_map,
    "trials": trials,
}
