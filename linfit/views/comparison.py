"""An honest comparison: settings are chosen on one half of the seeds and reported on the other.

The best of many settings looks better on the seeds that it was chosen on than it is. What is compared is the logarithm of the
final excess loss: means are geometric, differences are factors, and fits of one seed, which share their data, are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from linfit.tracking import layout
from linfit.views.floor import get_floors, number, raise_to_floor, write_bound
from linfit.views.horizon import Twins, read, said, within_rounding
from linfit.views.problems import describe_lowest
from linfit.views.ranking import Entry, count_family, rank
from linfit.views.seeds import halves, settings
from linfit.views.statistics import LEVEL
from linfit.views.swept import Swept

#: Entries for each problem.
MOST_ENTRIES = 100


@dataclass(frozen=True)
class Comparison:
    """The methods of a sweep, on each problem the best first."""

    entries: list[Entry]
    robust: list[str]
    """On each problem the setting whose worst seed is the best, in words."""
    note: str
    """On which seeds was chosen, on which reported; or why they are the same."""
    runs: pd.DataFrame
    """The fits, as `runs_of` has them."""
    trust: str = ""
    """What twins show; empty where there are none."""
    lead: str = ""
    """Which problem has the lowest loss, or that they cannot be compared; empty where there is one."""

    def frame(self) -> pd.DataFrame:
        """One row for each entry, with its rank; those that tie share one."""
        columns = list(Entry.__dataclass_fields__)
        frame = pd.DataFrame([vars(entry) for entry in self.entries], columns=columns)
        frame.insert(0, "rank", self.ranks())
        return frame

    def ranks(self) -> list[int]:
        """Return the rank of each entry on its problem."""
        ranks: list[int] = []
        place = 0
        for before, entry in zip([None, *self.entries], self.entries, strict=False):
            same = before is not None and before.problem == entry.problem
            place = place + 1 if same else 1
            tied = before is not None and entry.ties(before)
            ranks.append(ranks[-1] if tied else place)
        return ranks

    def sentence(self) -> str:
        """The answer, computed from the numbers."""
        if self.runs["log"].isna().all():
            return "No fit finished: all of them diverged or failed."
        if self.lead and len(self.firsts) == len(
            self.entries
        ):  # each problem has one method: there is none to compare it with
            return self.lead
        return " ".join(
            filter(
                None, (self.lead, *few([self._about(first) for first in self.firsts.values()], 3))
            )
        )

    @property
    def firsts(self) -> dict[str, Entry]:
        """The first entry of each problem."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            found.setdefault(entry.problem, entry)
        return found

    def _about(self, first: Entry) -> str:
        where = f"On {first.problem}, " if first.problem else ""
        if np.isnan(first.excess):
            return f"{where}{'no' if where else 'No'} fit that is reported finished."
        excess = write_bound(first.excess, first.at_floor) + interval(first.low, first.high)
        some = (
            f", of the {first.finished} of {first.fits} fits that finished"
            if first.finished < first.fits
            else ""
        )
        said = f"{where}{first.name} came nearest to the optimum: excess loss {excess}{some}"
        others = [
            entry
            for entry in self.entries
            if entry.problem == first.problem and entry is not first and not np.isnan(entry.factor)
        ]
        if first.at_floor:
            tied = list(takewhile(first.ties, others))
            said += say_ties([entry.name for entry in tied])
            others = others[len(tied) :]
        return f"{said}; {beside(others[0])}." if others else f"{said}."


def say_ties(names: Sequence[str]) -> str:
    """Return what is said of those that came as near as the first."""
    if not names:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f", and so did {names[0]}{more}"


def beside(second: Entry) -> str:
    """How an entry differs from the first of its problem."""
    if second.equal:
        return f"{second.name} had the same on every seed"
    times = f"{number(second.factor)} times that{interval(second.factor_low, second.factor_high)}"
    if second.factor_at_least:
        times = f"at least {times}"
    lost = (
        f"finished {second.finished} of {second.fits} fits and "
        if second.finished < second.fits
        else ""
    )
    where = ", on the seeds that both finished" if second.factor < 1 else ""
    if second.at_floor and second.rounding:
        return f"{second.name} {lost}had no more than that"
    verdict = (
        ""
        if second.distinct or np.isnan(second.factor_low)
        else ", which these seeds cannot tell apart"
    )
    verdict = ", a gap that rounding alone makes" if second.rounding else verdict
    return f"{second.name} {lost}had {times}{where}{verdict}"


def compare(swept: Swept) -> Comparison:
    """The comparison of a sweep's methods: what its choices make different, or each setting where it has no choices."""
    swept = swept.distinct
    runs = raise_to_floor(runs_of(swept))
    chosen_on, reported, note = halves(swept, runs)
    choosing, reporting = (runs[runs["seed"].isin(half)] for half in (chosen_on, reported))
    choosing = choosing[settings(runs)[choosing.index].isin(settings(runs)[reporting.index])]
    problems = choosing.groupby("problem", sort=False)
    entries: list[Entry] = []
    for problem, group in problems:
        picks = _choose(group)[:MOST_ENTRIES]
        compared = picks if chosen_on != reported else _finished(group)
        family = count_family([method for method, _ in compared])
        entries += rank(str(problem), picks, reporting, family)
    chosen = [(entry.problem, entry.method, entry.setting) for entry in entries]
    lead = describe_lowest(swept, reporting, chosen)
    found = Comparison(entries, _robust(runs), note + _said_of_floor(entries), runs, lead=lead)
    return (
        with_twins(found, read(swept.files[layout.TWINS])) if layout.TWINS in swept.files else found
    )


def with_twins(comparison: Comparison, twins: Twins) -> Comparison:
    """The comparison with what twins of some of its fits show."""
    of_entry = {tuple(key): twins[row] for row, *key in _keys(comparison.runs) if row in twins}
    first: dict[str, Entry] = {}
    entries = []
    for entry in comparison.entries:
        leader = first.setdefault(entry.problem, entry)
        own, best = (
            of_entry.get((each.problem, each.method, each.setting)) for each in (entry, leader)
        )
        same = (
            entry is not leader
            and own is not None
            and best is not None
            and within_rounding(entry.excess, own, leader.excess, best)
        )
        same = same or entry.rounding
        step = (
            float("nan") if own is None else float("inf") if own.step is None else float(own.step)
        )
        entries.append(replace(entry, horizon=step, rounding=same))
    return replace(comparison, entries=entries, trust=said(twins))


def to_twin(comparison: Comparison, most: int) -> list[int]:
    """The rows of the fits whose twins are run: of each of the first entries the first that finished."""
    rows: dict[tuple[str, ...], int] = {}
    for row, *key in _keys(comparison.runs[comparison.runs["log"].notna()]):
        rows.setdefault(tuple(key), row)
    keys = [(entry.problem, entry.method, entry.setting) for entry in comparison.entries]
    return [rows[key] for key in keys if key in rows][:most]


def _keys(runs: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(runs[["row", "problem", "method", "setting"]].itertuples(index=False, name=None))


def runs_of(swept: Swept) -> pd.DataFrame:
    """Return of each fit its problem, method and setting in words, and the number of its repetition.

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
            "floor": np.log10(get_floors(swept)),
        }
    )


def _choose(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """(method, setting): of each method the setting with the fewest fits that did not finish, then the smallest mean; best first."""
    scores = (
        runs.groupby(["method", "setting"], sort=False)["log"]
        .agg(lost=lambda log: log.isna().mean(), mean="mean")
        .reset_index()
    )
    ranked = scores.sort_values(
        ["lost", "mean"], kind="stable", na_position="last"
    ).drop_duplicates("method")
    return [(str(row.method), str(row.setting)) for row in ranked.itertuples()]


def _finished(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (method, setting) of the settings of which a fit finished."""
    done = runs[runs["log"].notna()].drop_duplicates(["method", "setting"])
    return list(zip(done["method"], done["setting"], strict=True))


def _said_of_floor(entries: Sequence[Entry]) -> str:
    """Return what the note says of entries that are only rounding."""
    if not any(entry.at_floor or entry.factor_at_least for entry in entries):
        return ""
    return " Excess losses at or below their rounding floor count as that floor, and are written ≤."


def _robust(runs: pd.DataFrame) -> list[str]:
    fits = runs.assign(log=runs["log"].fillna(np.inf))
    worst = fits.loc[fits.groupby(["problem", "method", "setting"], sort=False)["log"].idxmax()]
    best = worst.loc[worst.groupby("problem", sort=False)["log"].idxmin()]
    return [_worst(row) for row in best.to_dict("records") if np.isfinite(row["log"])]


def _worst(row: dict[Any, Any]) -> str:
    where = f" (on {row['problem']})" if row["problem"] else ""
    excess = write_bound(10 ** row["log"], row["log"] <= row["floor"])
    name = f"{row['method']} {row['setting']}".strip()
    return f"{name}{where}: excess loss {excess} on its worst seed"


def best_places(swept: Swept) -> dict[str, int]:
    """On each problem on which a fit finished, the place in the table of the one with the lowest excess loss; of equals the first."""
    lowest = pd.Series(swept.excess).groupby(swept.groups.problems, sort=False).idxmin()
    return {
        str(problem): int(place)
        for problem, place in lowest.items()
        if np.isfinite(swept.excess[place])
    }


def few(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first of what is said of each problem, and how many more there are."""
    more = len(lines) - most
    return [
        *lines[:most],
        *([f"{more} more problem{'s' if more > 1 else ''} below."] if more > 0 else []),
    ]


def interval(low: float, high: float) -> str:
    """` (95 % interval a to b)`, empty where there is none."""
    return "" if np.isnan(low) else f" ({LEVEL:.0%} interval {number(low)} to {number(high)})"
