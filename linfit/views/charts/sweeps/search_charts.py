"""Pictures of a search over many settings: the best so far, what keys explain, and each fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.problem.types import Array
from linfit.tracking.schema.objective import describe_objective
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.rounding_floor import LEAST_FLOOR
from linfit.views.analysis.statistics import compute_expected_best
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, ChartAxis, Series, join_notes, merge_equal_series
from linfit.views.charts.drawing.looks import BEST_COLOR, LOST_COLOR, OTHERS_COLOR
from linfit.views.charts.sweeps.captions import (
    describe_drawn_floor,
    describe_drawn_methods,
    describe_drawn_problem,
    describe_lost_fits,
)
from linfit.views.charts.sweeps.heat_map import is_crossed
from linfit.views.charts.sweeps.loss_lines import list_numbers, spans_decades
from linfit.views.charts.sweeps.methods import choose_tuned_styles, is_on_first_problem
from linfit.views.charts.ticks import format_power

#: Settings of a method below which there is nothing to search.
FEWEST_TRIALS = 4
#: Keys and fits below which it is plain what explains the loss.
FEWEST_EXPLAINED_KEYS = 2
FEWEST_EXPLAINED_FITS = 12
#: Values of a number up to which each is a group, and the groups of equal count of more.
MOST_GROUPS = 10
#: Keys from which on fits are drawn as threads, the most of them, and the most threads.
FEWEST_THREADED_KEYS = 3
MOST_THREADED_KEYS = 7
MOST_THREADS = 500
#: The share of the fits that are marked as the best.
BEST_SHARE = 0.1


def plot_trials(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the best so far over the trials of each method, over all orders of its fits."""
    groups = swept.groups
    runs = comparison.fits
    first = runs.index[is_on_first_problem(comparison)]
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
        "a trial is one of the fits, in random order",
        "line: median of the best so far over all orders; band: 80% of orders",
        "a fit that diverged counts as its start" if "diverged" in lost else "",
        f"{lost}: those that failed are left out" if "failed" in lost else lost,
        describe_drawn_methods(comparison, [line.label for line in series])
        if groups.by_choice
        else "",
        describe_drawn_problem(comparison),
        describe_drawn_floor(swept, comparison, places),
    )
    axes = (
        ChartAxis("trials", "log", whole=True),
        ChartAxis(describe_objective(swept.shown_name), "log"),
    )
    return Chart(
        "trials",
        "Best so far over the trials",
        *axes,
        merge_equal_series(series),
        note=note,
    )


def _search(swept: SweepData, method: str, style: int, places: Sequence[int]) -> Series:
    """Return the median of the best over the number of trials, all orders being equally likely."""
    losses = swept.shown_losses[places]
    values = np.where(np.isfinite(losses), losses, swept.initial[places])
    logs = np.log10(np.maximum(values[np.isfinite(values)], LEAST_FLOOR))
    numbers = np.unique(np.geomspace(1, len(logs), 60).round().astype(np.int64))
    _, low, high = compute_expected_best(logs, numbers)
    _, middle, _ = compute_expected_best(logs, numbers, level=0.0)
    return Series(
        method,
        numbers.astype(float),
        np.asarray(10**middle),
        np.asarray(10**low),
        np.asarray(10**high),
        kind="plain",
        style=style,
    )


def plot_importance(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the share of the differences between fits that each swept key explains alone."""
    places = comparison.fits.index[is_on_first_problem(comparison)].to_numpy()
    shares = {}
    for key in (*swept.keys.choices, *swept.keys.numbers, *swept.keys.seeds):
        groups, number = _group_values(swept, key, places)
        if 1 < len(np.unique(groups)) < len(places):
            shares[key] = (measure_explained_share(_rank(comparison, places), groups), number)
    tuned = [key for key in shares if key not in swept.keys.seeds]
    if len(tuned) < FEWEST_EXPLAINED_KEYS or len(places) < FEWEST_EXPLAINED_FITS:
        return None
    if len(tuned) == 2 and is_crossed(swept, comparison, (tuned[0], tuned[1])):
        return None  # the heat map has it

    is_grouped = any(number > MOST_GROUPS for _, number in shares.values())
    ordered = sorted(shares, key=lambda key: -shares[key][0])
    lost = describe_lost_fits(swept, places)
    note = join_notes(
        "share of the variance of the fits' ranks that a key explains alone (one-way, adjusted R²)",
        "keys may explain the same, or only together: shares need not add up to 1",
        f"{len(places)} fits by {comparison.measured}"
        + (f", {lost}: these rank last" if lost else ""),
        f"more than {MOST_GROUPS} numbers are in {MOST_GROUPS} groups" if is_grouped else "",
        describe_drawn_problem(comparison),
    )
    rows = np.arange(len(ordered), dtype=float)
    bars = Series("", np.array([shares[key][0] for key in ordered]), rows, kind="bars", style=0)
    names = tuple(f"{key} ({shares[key][1]} values)" for key in ordered)
    return Chart(
        "importance",
        "What the swept keys explain",
        ChartAxis("share of the differences in rank", limits=(0.0, 1.0)),
        ChartAxis("", names=names, limits=(len(ordered) - 0.4, -0.6)),
        [bars],
        note=note,
    )


def _rank(comparison: Comparison, places: NDArray[np.intp]) -> Array:
    """Return the ranks of fits by the compared loss, those that did not finish last."""
    logs = comparison.fits["log"].loc[places].fillna(np.inf)
    return np.asarray(logs.rank().to_numpy(float))


def _group_values(
    swept: SweepData, key: str, places: NDArray[np.intp]
) -> tuple[NDArray[np.intp], int]:
    """Return the group of each fit by a key's value, and the number of values.

    Many numbers are in groups of equal count.
    """
    values = pd.Series(swept.list_values(key)).iloc[places]
    groups, levels = pd.factorize(values, use_na_sentinel=False)
    numbers = list_numbers(swept, key)[places]
    if len(levels) > MOST_GROUPS and np.isfinite(numbers).all():
        ranks = pd.Series(numbers).rank(method="first", pct=True).to_numpy()
        groups = np.minimum((ranks * MOST_GROUPS).astype(np.intp), MOST_GROUPS - 1)
    return groups, len(levels)


def measure_explained_share(ranks: Array, groups: NDArray[np.intp]) -> float:
    """Return the share of the variance of ranks between groups, adjusted for their number.

    1 − (within / (n − g)) / (total / (n − 1)), not below 0: without an effect it is 0 on average
    (Kelley's ε², 1935).
    """
    n = len(ranks)
    g = len(np.unique(groups))
    total = float(np.square(ranks - ranks.mean()).sum())
    if n <= g or total == 0:
        return 0.0
    frame = pd.Series(ranks)
    within = float(np.square(frame - frame.groupby(groups).transform("mean")).sum())
    return max(0.0, 1 - (within / (n - g)) / (total / (n - 1)))


def plot_parallel(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return each fit as a thread through the values of the swept numbers, and its loss."""
    places = comparison.fits.index[is_on_first_problem(comparison)].to_numpy()
    keys = [key for key in swept.keys.numbers if _has_several(list_numbers(swept, key)[places])]
    if len(keys) < FEWEST_THREADED_KEYS:
        return None
    keys = keys[:MOST_THREADED_KEYS]

    logs = comparison.fits["log"].loc[places].to_numpy(float)
    kept = _choose_threads(logs)
    columns = [list_numbers(swept, key)[places] for key in keys]
    scaled = [_scale_axis(np.log10(own) if spans_decades(own) else own) for own in columns]
    losses = np.where(np.isfinite(logs), _scale_axis(logs), 1.06)
    heights = np.stack([*scaled, losses])[:, kept]
    names = []
    for key, own in zip(keys, columns, strict=True):
        names.append(_name_axis(key, own, is_log=spans_decades(own)))
    names.append(_name_axis(comparison.measured, 10.0**logs, is_log=True))

    lost = describe_lost_fits(swept, places)
    note = join_notes(
        "each thread is one fit",
        f"{len(kept)} of {len(places)} fits, evenly by loss" if len(kept) < len(places) else "",
        f"{lost}: on top of the last axis" if lost else "",
        f"the first {len(keys)} keys" if len(keys) < len(swept.keys.numbers) else "",
        describe_drawn_problem(comparison),
    )
    ends = (-0.3, len(names) - 0.7)
    return Chart(
        "parallel",
        "Fits over all swept numbers",
        ChartAxis("", names=tuple(names), limits=ends),
        ChartAxis("from the smallest value to the largest", ticks=(0.0, 1.0), limits=(-0.05, 1.12)),
        _draw_threads(heights, logs[kept]),
        note=note,
    )


def _has_several(numbers: Array) -> bool:
    return len(np.unique(numbers[np.isfinite(numbers)])) > 1


def _choose_threads(logs: Array) -> NDArray[np.intp]:
    """Return the indices of the fits that are drawn, the worst first, so that the best are seen."""
    order = np.argsort(-np.nan_to_num(logs, nan=np.inf), kind="stable")
    if len(order) <= MOST_THREADS:
        return order
    return order[np.linspace(0, len(order) - 1, MOST_THREADS).round().astype(np.intp)]


def _scale_axis(numbers: Array) -> Array:
    """Return numbers as places between 0 and 1."""
    found = numbers[np.isfinite(numbers)]
    if not len(found):
        return numbers
    return np.asarray((numbers - found.min()) / (np.ptp(found) or 1.0))


def _name_axis(name: str, numbers: Array, is_log: bool) -> str:
    """Return the name of an axis, with its ends and its scale."""
    found = numbers[np.isfinite(numbers)]
    ends = [float(found.min()), float(found.max())] if len(found) else []
    short = []
    for end in ends:
        is_plain = end == 0 or 1e-3 <= abs(end) < 1e4
        short.append(f"{end:.3g}" if is_plain else format_power(end, 2))
    return "\n".join([name, " … ".join(short), *(["log scale"] if is_log else [])])


def _draw_threads(heights: Array, logs: Array) -> list[Series]:
    """Return threads `[axes, fits]` of those that did not finish, of most, and of the best."""
    finished = np.isfinite(logs)
    best = (
        finished & (logs <= np.quantile(logs[finished], BEST_SHARE)) if finished.any() else finished
    )
    classes = {
        "did not finish": (~finished, LOST_COLOR),
        "others": (finished & ~best, OTHERS_COLOR),
        "best tenth": (best, BEST_COLOR),
    }
    axes = np.append(np.arange(len(heights), dtype=float), np.nan)
    series = []
    for label, (own, color) in classes.items():
        gaps = np.full((1, int(own.sum())), np.nan)
        y = np.concatenate([heights[:, own], gaps]).T.ravel()
        x = np.tile(axes, int(own.sum()))
        series.append(Series(label, x, y, kind="threads", color=color))
    return [line for line in series if len(line.x)]
