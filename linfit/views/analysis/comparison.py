"""An honest comparison: settings are chosen on one half of the seeds and reported on the other.

The best of many settings looks better on the seeds that it was chosen on than it is. The compared
number is the logarithm of the final excess loss: means are geometric, differences are factors, and
fits of one seed, which share their data, are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.lowest_loss import SETTING_KEY, Pick, describe_lowest_loss
from linfit.views.analysis.ranking import LeaderboardEntry, count_family, rank_settings
from linfit.views.analysis.rounding import Twins, describe_twins, is_within_rounding, read_twins
from linfit.views.analysis.rounding_floor import format_bound, format_rounded, raise_to_floor
from linfit.views.analysis.seed_split import label_settings, split_seeds
from linfit.views.analysis.statistics import CONFIDENCE
from linfit.views.analysis.sweep_data import SweepData

#: Entries for each problem.
MOST_ENTRIES = 100


@dataclass(frozen=True)
class Comparison:
    """The methods of a sweep, on each problem the best first."""

    entries: list[LeaderboardEntry]
    most_robust: list[str]
    """On each problem the setting whose worst seed is the best, in words."""
    note: str
    """The seeds to choose on and to report on, or the reason why they are the same."""
    fits: pd.DataFrame
    """The fits, as `collect_fits` returns them."""
    twins_note: str = ""
    """A sentence on twins, empty without twins."""
    lowest_loss: str = ""
    """The problem with the lowest loss, or that problems cannot be compared; empty for one."""

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each entry, with its rank."""
        columns = list(LeaderboardEntry.__dataclass_fields__)
        frame = pd.DataFrame([vars(entry) for entry in self.entries], columns=columns)
        frame.insert(0, "rank", self.compute_ranks())
        return frame

    def compute_ranks(self) -> list[int]:
        """Return the rank of each entry on its problem.

        Entries that tie share one.
        """
        ranks: list[int] = []
        position = 0
        before: LeaderboardEntry | None = None
        for entry in self.entries:
            same_problem = before is not None and before.problem == entry.problem
            position = position + 1 if same_problem else 1
            tied = before is not None and entry.ties_with(before)
            ranks.append(ranks[-1] if tied else position)
            before = entry
        return ranks

    def summarize(self) -> str:
        """Return the answer, computed from the numbers."""
        if self.fits["log"].isna().all():
            return "No fit finished: all of them diverged or failed."
        one_method_each = len(self.first_entries) == len(self.entries)
        if self.lowest_loss and one_method_each:
            return self.lowest_loss
        answers = shorten_lines(
            [self._describe_first(first) for first in self.first_entries.values()], 3
        )
        return " ".join(filter(None, (self.lowest_loss, *answers)))

    @property
    def first_entries(self) -> dict[str, LeaderboardEntry]:
        """The first entry of each problem."""
        found: dict[str, LeaderboardEntry] = {}
        for entry in self.entries:
            found.setdefault(entry.problem, entry)
        return found

    def _describe_first(self, first: LeaderboardEntry) -> str:
        where = f"On {first.problem}, " if first.problem else ""
        if np.isnan(first.excess):
            return f"{where}{'no' if where else 'No'} fit that is reported finished."

        excess = format_bound(first.excess, first.at_floor) + format_interval(first.low, first.high)
        answer = f"{where}{first.name} came nearest to the optimum: excess loss {excess}"
        if first.finished < first.fits:
            answer += f", of the {first.finished} of {first.fits} fits that finished"

        others = [entry for entry in self.entries if _is_compared(entry, first)]
        if first.at_floor:
            tied = list(takewhile(first.ties_with, others))
            answer += describe_ties([entry.name for entry in tied])
            others = others[len(tied) :]
        return f"{answer}; {describe_second(others[0])}." if others else f"{answer}."


def _is_compared(entry: LeaderboardEntry, first: LeaderboardEntry) -> bool:
    """Return True if an entry has a factor to the first entry of its problem."""
    if entry is first or entry.problem != first.problem:
        return False
    return not np.isnan(entry.factor)


def describe_ties(names: Sequence[str]) -> str:
    """Return a clause that names the methods that came as near as the first."""
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f", and so did {names[0]}{more}"


def describe_second(second: LeaderboardEntry) -> str:
    """Return how an entry differs from the first of its problem."""
    if second.equal:
        return f"{second.name} had the same on every seed"

    subject = second.name
    if second.finished < second.fits:
        subject += f" finished {second.finished} of {second.fits} fits and"
    if second.at_floor and second.rounding:
        return f"{subject} had no more than that"

    bound = "at least " if second.factor_at_least else ""
    limits = format_interval(second.factor_low, second.factor_high)
    where = ", on the seeds that both finished" if second.factor < 1 else ""
    verdict = ""
    if second.rounding:
        verdict = ", a gap that rounding alone makes"
    elif not second.distinct and not np.isnan(second.factor_low):
        verdict = ", which these seeds cannot tell apart"
    return (
        f"{subject} had {bound}{format_rounded(second.factor)} times that{limits}{where}{verdict}"
    )


def compare_methods(swept: SweepData) -> Comparison:
    """Return the comparison of a sweep's methods, or of its settings if it has one method."""
    swept = swept.distinct
    runs = raise_to_floor(collect_fits(swept))
    chosen_on, reported_on, note = split_seeds(swept, runs)
    reporting = runs[runs["seed"].isin(reported_on)]
    choosing = runs[runs["seed"].isin(chosen_on)]

    # A setting without a fit to report is not chosen.
    setting = label_settings(runs)
    choosing = choosing[setting[choosing.index].isin(setting[reporting.index])]

    entries: list[LeaderboardEntry] = []
    for problem, group in choosing.groupby("problem", sort=False):
        picks = _choose(group)[:MOST_ENTRIES]
        # Reported on the seeds that chose it, a pick is the best of all settings that finished.
        compared = picks if chosen_on != reported_on else _finished(group)
        family = count_family([method for method, _ in compared])
        entries += rank_settings(str(problem), picks, reporting, family)

    lead = describe_lowest_loss(swept, reporting, [_key(entry) for entry in entries])
    note += _describe_floor(entries)
    found = Comparison(entries, _find_robust(runs), note, runs, lowest_loss=lead)
    if mlflow_names.TWINS not in swept.files:
        return found
    return add_twins(found, read_twins(swept.files[mlflow_names.TWINS]))


def add_twins(comparison: Comparison, twins: Twins) -> Comparison:
    """Return the comparison with the evidence of twins of some of its fits."""
    partings = {key: twins[row] for row, key in _rows(comparison.fits) if row in twins}
    firsts = comparison.first_entries
    entries = []
    for entry in comparison.entries:
        first = firsts[entry.problem]
        own = partings.get(_key(entry))
        best = partings.get(_key(first))
        rounding = entry.rounding
        if entry is not first and own is not None and best is not None:
            rounding = rounding or is_within_rounding(
                entry.excess,
                own,
                first.excess,
                best,
            )
        if own is None:
            step = float("nan")
        else:
            step = float("inf") if own.step is None else float(own.step)
        entries.append(replace(entry, horizon=step, rounding=rounding))
    return replace(comparison, entries=entries, twins_note=describe_twins(twins))


def select_for_twins(comparison: Comparison, most: int) -> list[int]:
    """Return the rows of fits to twin.

    They are the first finished fit of each of the first entries.
    """
    rows: dict[Pick, int] = {}
    for row, key in _rows(comparison.fits[comparison.fits["log"].notna()]):
        rows.setdefault(key, row)
    keys = [_key(entry) for entry in comparison.entries]
    return [rows[key] for key in keys if key in rows][:most]


def _key(entry: LeaderboardEntry) -> Pick:
    return entry.problem, entry.method, entry.setting


def _rows(runs: pd.DataFrame) -> list[tuple[int, Pick]]:
    """Return the row of each fit, with its problem, method and setting."""
    keys = runs[SETTING_KEY].itertuples(index=False, name=None)
    return list(zip(runs["row"].tolist(), keys, strict=True))


def collect_fits(swept: SweepData) -> pd.DataFrame:
    """Return the problem, method and setting of each fit in words, and its repetition's number.

    `log` is log₁₀ of its excess loss, NaN unless it finished, `floor` that of its rounding floor.
    """
    groups = swept.groups
    excess = np.where(swept.finished, swept.excess, np.nan)
    with np.errstate(divide="ignore"):
        log = np.log10(excess)
    return pd.DataFrame(
        {
            "row": swept.results["row"],
            "problem": groups.problems,
            "method": groups.methods,
            "setting": groups.settings,
            "seed": groups.repetitions,
            "log": log,
            "floor": np.log10(swept.floors),
        }
    )


def _choose(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (method, setting) of the setting chosen for each method, best first.

    Fewest fits that did not finish, then the smallest mean.
    """
    logs = runs.groupby(["method", "setting"], sort=False)["log"]
    scores = logs.agg(lost=lambda log: log.isna().mean(), mean="mean").reset_index()
    ranked = scores.sort_values(["lost", "mean"], kind="stable", na_position="last")
    best = ranked.drop_duplicates("method")
    return list(zip(best["method"], best["setting"], strict=True))


def _finished(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (method, setting) of each setting with a fit that finished."""
    done = runs[runs["log"].notna()].drop_duplicates(["method", "setting"])
    return list(zip(done["method"], done["setting"], strict=True))


def _describe_floor(entries: Sequence[LeaderboardEntry]) -> str:
    """Return the note's remark on entries that are only rounding."""
    if not any(entry.at_floor or entry.factor_at_least for entry in entries):
        return ""
    return " Excess losses at or below their rounding floor count as that floor, and are written ≤."


def _find_robust(runs: pd.DataFrame) -> list[str]:
    """Return on each problem the setting whose worst seed is the best, in words."""
    fits = runs.assign(log=runs["log"].fillna(np.inf))
    worst = fits.loc[fits.groupby(SETTING_KEY, sort=False)["log"].idxmax()]
    best = worst.loc[worst.groupby("problem", sort=False)["log"].idxmin()]
    return [_describe_worst(row) for row in best.to_dict("records") if np.isfinite(row["log"])]


def _describe_worst(row: dict[Any, Any]) -> str:
    where = f" (on {row['problem']})" if row["problem"] else ""
    excess = format_bound(10 ** row["log"], row["log"] <= row["floor"])
    name = f"{row['method']} {row['setting']}".strip()
    return f"{name}{where}: excess loss {excess} on its worst seed"


def find_best_fits(swept: SweepData) -> dict[str, int]:
    """Return the index of the fit with the lowest excess loss on each problem.

    Problems on which no fit finished are left out. Of equal fits the first counts.
    """
    excess = swept.excess
    lowest = pd.Series(excess).groupby(swept.groups.problems, sort=False).idxmin()
    return {str(problem): int(at) for problem, at in lowest.items() if np.isfinite(excess[at])}


def shorten_lines(lines: Sequence[str], most: int = 10) -> list[str]:
    """Return the first of a line for each problem, and how many more there are."""
    more = len(lines) - most
    if more <= 0:
        return list(lines)
    return [*lines[:most], f"{more} more problem{'s' if more > 1 else ''} below."]


def format_interval(low: float, high: float) -> str:
    """Return ` (95 % interval a to b)`, empty where there is none."""
    return (
        ""
        if np.isnan(low)
        else f" ({CONFIDENCE:.0%} interval {format_rounded(low)} to {format_rounded(high)})"
    )
