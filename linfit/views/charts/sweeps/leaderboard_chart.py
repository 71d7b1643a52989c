"""The leaderboard as a picture: a row for each entry, with its seeds or their quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linfit.problem.types import Array
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.compare import measure_losses
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import LeaderboardEntry
from linfit.views.analysis.rounding_floor import LEAST_FLOOR, format_bound
from linfit.views.analysis.seed_split import split_seeds
from linfit.views.analysis.statistics import MOST_SHOWN_SEEDS
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    LeftOut,
    Mark,
    Series,
    join_equal,
    join_notes,
)
from linfit.views.charts.sweeps.captions import describe_chosen_settings
from linfit.views.charts.sweeps.methods import choose_styles, select_fits

#: Rows of the picture.
MOST_ROWS = 12
#: The margin at both ends of the axis, as a share of its decades, and at least so many decades.
MARGIN_SHARE = 0.06
LEAST_MARGIN = 0.02


@dataclass(frozen=True)
class LeaderboardRow:
    """Entries with the same losses on every seed, and these losses: log₁₀, NaN if not finished."""

    entries: list[LeaderboardEntry]
    logs: Array
    floors: Array
    style: int

    @property
    def first(self) -> LeaderboardEntry:
        return self.entries[0]

    @property
    def name(self) -> str:
        """The entries' names, with how many of the fits finished if not all did."""
        name = join_equal(entry.name for entry in self.entries)
        entry = self.first
        if entry.finished == entry.fits:
            return name
        return f"{name} ({entry.finished} of {entry.fits})"


def plot_leaderboard(swept: SweepData, comparison: Comparison) -> Chart | LeftOut | None:
    """Return the compared loss of each entry of a ranking, the best on top.

    None for a single fit.
    """
    if len(comparison.fits) < 2:
        return None
    ranking = comparison.list_ranking(comparison.first_entries[0])
    chosen, reported, _ = split_seeds(swept, comparison.fits)
    rows = _collect_rows(swept, comparison, ranking, reported)
    drawn = rows[:MOST_ROWS]
    if not any(row.first.finished for row in drawn):
        return LeftOut("no fit finished")

    series = [part for place, row in enumerate(drawn) for part in _draw_row(row, place)]
    floor = _find_floor(comparison, drawn)
    ends = _choose_ends(series, floor)
    marks = []
    if floor is not None:
        label = f"rounding floor, {format_bound(floor, True)}"
        marks.append(Mark(ends[0], label, to=floor))
    return Chart(
        "leaderboard",
        f"Leaderboard: {comparison.measured}",
        ChartAxis(f"final {comparison.measured}", "log", limits=ends),
        ChartAxis("", names=tuple(row.name for row in drawn), limits=(len(drawn) - 0.4, -0.6)),
        series,
        marks,
        note=join_notes(
            *_describe_rows(drawn, comparison.replicates.many),
            _describe_seeds(chosen, reported, comparison.replicates.many),
            describe_chosen_settings(comparison, [entry.method for entry in ranking]),
            f"the best {len(drawn)} of {len(rows)}" if len(drawn) < len(rows) else "",
            "" if comparison.across else ranking[0].problem,
        ),
    )


def _collect_rows(
    swept: SweepData,
    comparison: Comparison,
    ranking: Sequence[LeaderboardEntry],
    reported: set[int],
) -> list[LeaderboardRow]:
    """Return the rows of a ranking, entries that are equal bit for bit in one."""
    styles = choose_styles(comparison)
    losses = measure_losses(swept, comparison.measure)
    found: dict[bytes, LeaderboardRow] = {}
    for place, entry in enumerate(ranking):
        runs = select_fits(comparison, entry)
        runs = runs[runs["seed"].isin(reported)].sort_values("seed", kind="stable")
        content = runs["seed"].to_numpy().tobytes() + losses[runs.index.to_numpy()].tobytes()
        key = content if entry.finished else str(place).encode()
        if key in found:
            found[key].entries.append(entry)
            continue
        style = styles.get(entry.method, place)
        found[key] = LeaderboardRow(
            [entry], runs["log"].to_numpy(float), runs["floor"].to_numpy(float), style
        )
    return list(found.values())


def _draw_row(row: LeaderboardRow, place: int) -> list[Series]:
    """Return the median of a row's entry with its seeds, or from six on with their quartiles."""
    entry = row.first
    at = np.array([float(place)])
    median = np.array([entry.median])
    if entry.finished > MOST_SHOWN_SEEDS and np.isfinite(entry.low):
        ends = (np.array([entry.low]), np.array([entry.high]))
        return [Series("", median, at, *ends, kind="interval", style=row.style)]
    found = 10.0 ** row.logs[np.isfinite(row.logs)]
    seeds = Series("", found, np.full(len(found), at[0]), kind="points", style=row.style)
    mark = Series("", median, at, kind="interval", style=row.style)
    return [mark, seeds] if 1 < len(found) <= MOST_SHOWN_SEEDS else [mark]


def _find_floor(comparison: Comparison, rows: Sequence[LeaderboardRow]) -> float | None:
    """Return the rounding floor of these fits, None unless one of them came to its own."""
    if comparison.measure != mlflow_names.EXCESS:
        return None
    reached = [row.first.problem for row in rows if (row.logs <= row.floors).any()]
    floor = comparison.find_highest_floor(reached)
    return floor if floor > 2 * LEAST_FLOOR else None


def _choose_ends(series: Sequence[Series], floor: float | None) -> tuple[float, float]:
    """Return the ends of the axis: around all that is drawn, and below the floor."""
    numbers = [line.x for line in series] + [line.low for line in series if line.low is not None]
    numbers += [line.high for line in series if line.high is not None]
    drawn = np.concatenate([*numbers, [] if floor is None else [floor]])
    logs = np.log10(drawn[np.isfinite(drawn) & (drawn > 0)])
    margin = max(MARGIN_SHARE * float(np.ptp(logs)), LEAST_MARGIN)
    return float(10 ** (logs.min() - margin)), float(10 ** (logs.max() + margin))


def _describe_rows(rows: Sequence[LeaderboardRow], seeds: str) -> list[str]:
    """Return how to read the rows that are drawn."""
    most = max(row.first.finished for row in rows)
    if most == 1 and max(row.first.fits for row in rows) == 1:
        return ["each row is one fit"]
    several = [row.first.finished for row in rows if row.first.finished > 1]
    notes = [f"mark: median over {seeds}"]
    if any(number <= MOST_SHOWN_SEEDS for number in several):
        notes.append(f"points: {seeds}")
    if any(number > MOST_SHOWN_SEEDS for number in several):
        notes.append("bar: quartiles")
    if any(row.first.finished < row.first.fits for row in rows):
        notes.append("in brackets: how many fits finished")
    return notes


def _describe_seeds(chosen: set[int], reported: set[int], seeds: str) -> str:
    """Return on how many seeds settings are reported, where they were chosen on others."""
    if chosen == reported:
        return ""
    return f"chosen on {len(chosen)} {seeds}, reported on {len(reported)} others"
