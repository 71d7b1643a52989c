"""The picture of a sweep's curves: the median over seeds of each method at its chosen setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array
from linfit.tracking.schema.objective import describe_objective
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import LeaderboardEntry
from linfit.views.analysis.rounding_floor import clip_to_floor
from linfit.views.analysis.statistics import MOST_SHOWN_SEEDS
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Series,
    is_sparse,
    join_notes,
    mask_nonpositive,
    merge_equal_series,
    move_step_zero,
)
from linfit.views.charts.sweeps.captions import (
    describe_chosen_settings,
    describe_drawn_floor,
    describe_drawn_methods,
    describe_drawn_problem,
    describe_lost_fits,
)
from linfit.views.charts.sweeps.methods import choose_styles, select_first_entries, select_fits


class FitCurve(NamedTuple):
    """The recorded steps and excess losses `[k]` of a fit."""

    steps: NDArray[np.int64]
    excess: Array
    is_finished: bool


def plot_curves(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return excess loss over steps, each method at its chosen setting.

    It is the loss where no optimum is known.

    Median and quartiles.
    """
    entries = select_first_entries(comparison)
    series = []
    methods = []
    numbers = []
    for entry in entries:
        curves = _collect_curves(swept, comparison, entry)
        if curves:
            style = choose_styles(comparison).get(entry.method)
            series.append(_draw_median(entry.name, style, curves))
            methods.append(entry.method)
            numbers.append(len(curves))
    if not series:
        return None

    places = np.concatenate([select_fits(comparison, entry).index for entry in entries])
    lost = describe_lost_fits(swept, places)
    note = join_notes(
        describe_chosen_settings(comparison, methods),
        _describe_band(numbers, comparison.replicates.many),
        describe_drawn_methods(comparison, methods),
        describe_drawn_problem(comparison),
        f"{lost}: those that failed have no curve" if "failed" in lost else lost,
        describe_drawn_floor(swept, comparison, places),
    )
    shown = describe_objective(swept.shown_name)
    axes = (ChartAxis("step", "steps"), ChartAxis(shown, "log"))
    return Chart("curves", shown.capitalize(), *axes, merge_equal_series(series), note=note)


def _describe_band(numbers: Sequence[int], seeds: str) -> str:
    """Return how lines of these numbers of curves, one for each seed, are read."""
    several = [number for number in numbers if number > 1]
    if not several:
        return ""
    if max(several) <= MOST_SHOWN_SEEDS:
        return f"line: median over {seeds}; band: all {seeds}"
    few = f" (all {seeds} of up to {MOST_SHOWN_SEEDS})" if min(several) <= MOST_SHOWN_SEEDS else ""
    return f"line: median over {seeds}; band: quartiles{few}"


def _collect_curves(
    swept: SweepData, comparison: Comparison, entry: LeaderboardEntry
) -> list[FitCurve]:
    """Return the curves of an entry's fits that have one."""
    found = []
    for run in select_fits(comparison, entry).itertuples():
        steps, losses = swept.curves.select(run.row)
        if len(steps):
            clipped = losses
            if swept.has_answers:
                clipped = clip_to_floor(losses, swept.floors[run.Index])
            found.append(FitCurve(steps, clipped, bool(swept.finished[run.Index])))
    return found


def _draw_median(label: str, style: int | None, curves: Sequence[FitCurve]) -> Series:
    """Return the median of curves with their spread, which is that of the leaderboard."""
    grid = np.unique(np.concatenate([curve.steps for curve in curves]))
    values = np.sort([interpolate_curve(grid, curve) for curve in curves], axis=0)
    last = len(values) - 1
    middle = mask_nonpositive((values[last // 2] + values[(last + 1) // 2]) / 2)
    line = Series(label, move_step_zero(grid), middle, style=style, is_sparse=is_sparse(grid))
    if len(curves) == 1:
        return line
    ends = (0, 1) if len(curves) <= MOST_SHOWN_SEEDS else (0.25, 0.75)
    low, high = map(mask_nonpositive, np.quantile(values, ends, axis=0, method="inverted_cdf"))
    # Where the upper end diverged, the band ends at the median.
    return replace(line, low=low, high=np.where(np.isnan(high), middle, high))


def interpolate_curve(grid: NDArray[np.int64], curve: FitCurve) -> Array:
    """Return a curve at the steps of several curves, interpolated on a log scale.

    Beyond its last step a fit that finished keeps its last loss; one that diverged is infinite.
    """
    excess = curve.excess
    with np.errstate(divide="ignore"):
        logs = np.log10(np.where(np.isfinite(excess), np.maximum(excess, 1e-300), 1e300))
    beyond = None if curve.is_finished else np.inf
    return np.asarray(10 ** np.interp(grid, curve.steps, logs, right=beyond))
