"""The comparison of a sweep's methods: rankings, and what they say in words.

Shown is the median over seeds of the loss that compares the sweep. Told apart are means of its
logarithm: differences are factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile

import numpy as np
import pandas as pd

from linfit.problem.measures import HELD_OUT_MEASURE_NAMES, MEASURE_NAMES, find_measure
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import describe_objective
from linfit.views.analysis.ranking import (
    LeaderboardEntry,
)
from linfit.views.analysis.replicates import SEEDS, Replicates
from linfit.views.analysis.rounding_floor import format_bound, format_factor, format_rounded
from linfit.views.analysis.statistics import CONFIDENCE, MOST_SHOWN_SEEDS

#: The losses and measures that rankings compare, in words.
MEASURES = {
    mlflow_names.EXCESS: "excess loss",
    mlflow_names.VALIDATION: "validation loss",
    mlflow_names.LOSS: "training loss",
    **{name: describe_objective(name) for name in (*MEASURE_NAMES, *HELD_OUT_MEASURE_NAMES)},
}


#: Ratio of the ends of an interval of factors beyond which it says nothing.
WIDEST_INTERVAL = 1e6


@dataclass(frozen=True)
class Comparison:
    """The methods of a sweep, in each ranking the best first."""

    entries: list[LeaderboardEntry]
    most_robust: list[str]
    """On each problem the setting whose worst seed is the best, in words."""
    note: str
    """The seeds to choose on and to report on, or the reason why they are the same."""
    fits: pd.DataFrame
    """The fits, as `collect_fits` returns them."""
    measure: str = mlflow_names.EXCESS
    """The recorded loss that the rankings compare."""
    across: bool = False
    """True if one ranking has the fits of all problems; otherwise each problem has its own."""
    quickest: str = ""
    """A sentence on the setting with the fewest steps to the tolerance, empty without one."""
    dtype: str = ""
    """The dtype of all fits, empty if they have several."""
    twins_note: str = ""
    """A sentence on twins, empty without twins."""
    lowest_loss: str = ""
    """The problem with the lowest loss, or that problems cannot be compared; empty for one."""
    floors: Mapping[str, float] = field(default_factory=dict)
    """By problem, the highest rounding floor of its fits that came to theirs."""
    replicates: Replicates = SEEDS
    """What repeats a setting, in words."""

    @property
    def measured(self) -> str:
        """The compared loss in words."""
        return MEASURES[self.measure]

    @property
    def spread(self) -> str:
        """What `low` and `high` of the entries are, in words."""
        most = max((entry.finished for entry in self.entries), default=0)
        return f"all {self.replicates.many}" if most <= MOST_SHOWN_SEEDS else "middle half"

    def to_frame(self) -> pd.DataFrame:
        """Return one row for each entry, with its rank."""
        columns = list(LeaderboardEntry.__dataclass_fields__)
        frame = pd.DataFrame([vars(entry) for entry in self.entries], columns=columns)
        frame.insert(0, "rank", self.compute_ranks())
        named = "excess" if self.measure == mlflow_names.EXCESS else self.measure
        if (measure := find_measure(named)) is not None and measure.higher_is_better:
            named = f"one_minus_{named}"
        return frame.drop(columns="name").rename(columns={"median": named})

    def compute_ranks(self) -> list[int]:
        """Return the rank of each entry in its ranking.

        Entries that are equal share one, unless one of them took fewer steps to the tolerance.
        """
        ranks: list[int] = []
        position = 0
        before: LeaderboardEntry | None = None
        for entry in self.entries:
            goes_on = before is not None and (self.across or before.problem == entry.problem)
            position = position + 1 if goes_on else 1
            tied = goes_on and before is not None and self._ties(before, entry)
            ranks.append(ranks[-1] if tied else position)
            before = entry
        return ranks

    def _ties(self, before: LeaderboardEntry, entry: LeaderboardEntry) -> bool:
        """Return True if an entry shares the rank of the one before it."""
        if entry.equals(before):
            return entry.steps == before.steps
        near_first = before.rounding or before is self.find_first(entry)
        return entry.rounding and near_first and entry.loses_like(before)

    def summarize(self) -> str:
        """Return the answer, computed from the numbers."""
        if self.fits["log"].isna().all():
            return "No fit finished: all of them diverged or failed."
        one_method_each = len(self.first_entries) == len(self.entries)
        if self.lowest_loss and one_method_each:
            return self.lowest_loss
        answers = shorten_lines([self._describe_first(first) for first in self.first_entries], 3)
        return " ".join(filter(None, (self.lowest_loss, *answers, self.quickest)))

    @cached_property
    def first_entries(self) -> list[LeaderboardEntry]:
        """The first entry of each ranking."""
        return list(self._firsts.values())

    def find_first(self, entry: LeaderboardEntry) -> LeaderboardEntry:
        """Return the first entry of an entry's ranking."""
        return self._firsts["" if self.across else entry.problem]

    @cached_property
    def _firsts(self) -> dict[str, LeaderboardEntry]:
        found: dict[str, LeaderboardEntry] = {}
        for entry in self.entries:
            found.setdefault("" if self.across else entry.problem, entry)
        return found

    def find_highest_floor(self, problems: Iterable[str]) -> float:
        """Return the one rounding floor that views name of some problems, 0 without one."""
        return max((self.floors.get(problem, 0.0) for problem in problems), default=0.0)

    def list_ranking(self, first: LeaderboardEntry) -> list[LeaderboardEntry]:
        """Return the entries of the ranking with this first one."""
        return [entry for entry in self.entries if self.across or entry.problem == first.problem]

    def _describe_first(self, first: LeaderboardEntry) -> str:
        where = f"On {first.problem}, " if first.problem and not self.across else ""
        if np.isnan(first.median):
            return f"{where}{'no' if where else 'No'} fit that is reported finished."

        median = "median " if first.finished > 1 else ""
        bound = format_bound(first.median, first.at_floor)
        told = "; ".join(filter(None, (self._name_dtype(first), self._describe_spread(first))))
        found = bound + (f" ({told})" if told else "")
        if self.measure == mlflow_names.EXCESS:
            nearest = f"{where}{first.name} came nearest to the optimum"
            answer = f"{nearest}: {median}{self.measured} {found}"
        else:
            answer = f"{where}{first.name} has the lowest {self.measured}: {median}{found}"
        if first.finished < first.fits:
            answer += f", of the {first.finished} of {first.fits} fits that finished"

        ranking = self.list_ranking(first)
        others = [entry for entry in ranking[1:] if not np.isnan(entry.factor)]
        if first.at_floor:
            tied = list(takewhile(first.equals, others))
            answer += describe_ties([entry.name for entry in tied])
            others = others[len(tied) :]
        if others:
            answer += f"; {describe_second(others[0], self.replicates)}"
        return f"{answer}."

    def format_median(self, entry: LeaderboardEntry) -> str:
        """Return an entry's median as text, `≤ 3.5e-12 (float32)` at the rounding floor."""
        dtype = self._name_dtype(entry)
        return format_bound(entry.median, entry.at_floor) + (f" ({dtype})" if dtype else "")

    def _name_dtype(self, entry: LeaderboardEntry) -> str:
        """Return the dtype whose rounding is an entry's median; empty above the floor."""
        return self.dtype if entry.at_floor else ""

    def _describe_spread(self, entry: LeaderboardEntry) -> str:
        ends = format_ends(entry.low, entry.high)
        if not ends:
            return ""
        if entry.finished <= MOST_SHOWN_SEEDS:
            return f"{self.replicates.count(entry.finished)}: {ends}"
        return f"half of {self.replicates.count(entry.finished)}: {ends}"


def describe_ties(names: Sequence[str]) -> str:
    """Return a clause that names the methods that are at the floor as the first is."""
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"; {names[0]}{more} had no more than that"


def describe_second(second: LeaderboardEntry, replicates: Replicates) -> str:
    """Return how an entry differs from the first of its problem."""
    if second.equal:
        return f"{second.name} had the same on every {replicates.one}"

    subject = second.name
    if second.finished < second.fits:
        subject += f" finished {second.finished} of {second.fits} fits and"
    if second.at_floor and second.rounding:
        return f"{subject} had no more than that"

    bound = "at least " if second.factor_at_least else ""
    verdict = ""
    if second.rounding:
        verdict = ", a gap within rounding"
    elif second.distinct:
        verdict = _describe_mean_factor(second)
    elif not np.isnan(second.factor_low):
        verdict = f", which these {replicates.many} cannot tell apart"
    factor = format_factor(second.factor)
    if factor == "1" and second.rounding:
        return f"{subject} had the same but for rounding"
    amount = "the same to six digits" if factor == "1" else f"{bound}{factor} times that"
    return f"{subject} had {amount}{verdict}"


def _describe_mean_factor(entry: LeaderboardEntry) -> str:
    """Return the interval of an entry's mean factor, empty where there is none."""
    ends = format_factors(entry.factor_low, entry.factor_high)
    return f" ({CONFIDENCE:.0%} interval of the mean factor: {ends})" if ends else ""


def shorten_lines(lines: Sequence[str], most: int = 10) -> list[str]:
    """Return the first of a line for each problem, and how many more there are."""
    more = len(lines) - most
    if more <= 0:
        return list(lines)
    return [*lines[:most], f"{more} more problem{'s' if more > 1 else ''} below."]


def format_ends(low: float, high: float) -> str:
    """Return the ends of a spread, the upper one alone if the lower is rounding; else empty."""
    if np.isnan(high):
        return ""
    lower = "up to" if np.isnan(low) else f"{format_rounded(low)} to"
    return f"{lower} {format_rounded(high)}"


def format_factors(low: float, high: float) -> str:
    """Return the ends of an interval of factors, `wide` where they say nothing, else empty."""
    if np.isnan(low):
        return ""
    if high > low * WIDEST_INTERVAL:
        return "wide"
    return f"{format_factor(low)} to {format_factor(high)}"
