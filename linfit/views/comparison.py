"""An honest comparison: settings are chosen on one half of the seeds and reported on the other.

The best of many settings looks better on the seeds that it was chosen on than it is. What is compared is the logarithm of the
final excess loss: means are geometric, differences are factors, and fits of one seed, which share their data, are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from linfit.tracking import layout
from linfit.views.horizon import Twins, read, said, within_rounding
from linfit.views.seeds import halves, settings
from linfit.views.statistics import LEVEL, mean_interval
from linfit.views.swept import Swept

#: Entries for each problem.
MOST_ENTRIES = 100


@dataclass(frozen=True)
class Entry:
    """A method at the setting chosen for it. Excess losses are geometric means over the fits that finished."""

    problem: str
    method: str
    setting: str
    fits: int
    finished: int
    excess: float
    low: float
    high: float
    factor: float
    """How many times the excess loss of the problem's first entry, on the same seeds; 1 for that one itself."""
    factor_low: float
    factor_high: float
    horizon: float = float("nan")
    """The step at which twins of one of its fits part; infinite where they do not, NaN where there are none."""
    rounding: bool = False
    """Whether its gap to the first entry is no larger than what separates twins."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.setting}".strip()

    @property
    def distinct(self) -> bool:
        """Whether the difference to the first entry is larger than chance explains."""
        return bool(self.factor_low > 1 or self.factor_high < 1)

    @property
    def equal(self) -> bool:
        """Whether it has the first entry's excess loss, bit for bit, on every seed."""
        return self.factor == 1 and (np.isnan(self.factor_low) or self.factor_low == self.factor_high == 1)


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

    def frame(self) -> pd.DataFrame:
        """One row for each entry, with its rank."""
        rows: list[dict[str, Any]] = []
        for entry in self.entries:
            rank = 1 + sum(row["problem"] == entry.problem for row in rows)
            rows.append({"rank": rank, **{field: getattr(entry, field) for field in entry.__dataclass_fields__}})
        return pd.DataFrame(rows, columns=["rank", *Entry.__dataclass_fields__])

    def sentence(self) -> str:
        """The answer, computed from the numbers."""
        if self.runs["log"].isna().all():
            return "No fit finished: all of them diverged or failed."
        firsts: dict[str, Entry] = {}
        for entry in self.entries:
            firsts.setdefault(entry.problem, entry)
        return " ".join(few([self._about(first) for first in firsts.values()], 3))

    def _about(self, first: Entry) -> str:
        where = f"On {first.problem}, " if first.problem else ""
        if np.isnan(first.excess):
            return f"{where}{'no' if where else 'No'} fit that is reported finished."
        some = f", of the {first.finished} of {first.fits} fits that finished" if first.finished < first.fits else ""
        said = f"{where}{first.name} came nearest to the optimum: excess loss {number(first.excess)}{interval(first.low, first.high)}{some}"
        others = [entry for entry in self.entries if entry.problem == first.problem and entry is not first and not np.isnan(entry.factor)]
        return f"{said}; {beside(others[0])}." if others else f"{said}."


def beside(second: Entry) -> str:
    """How an entry differs from the first of its problem."""
    if second.equal:
        return f"{second.name} had the same on every seed"
    times = f"{number(second.factor)} times that{interval(second.factor_low, second.factor_high)}"
    lost = f"finished {second.finished} of {second.fits} fits and " if second.finished < second.fits else ""
    where = ", on the seeds that both finished" if second.factor < 1 else ""
    verdict = "" if second.distinct or np.isnan(second.factor_low) else ", which these seeds cannot tell apart"
    verdict = ", a gap that rounding alone makes" if second.rounding else verdict
    return f"{second.name} {lost}had {times}{where}{verdict}"


def compare(swept: Swept) -> Comparison:
    """The comparison of a sweep's methods: what its choices make different, or each setting where it has no choices."""
    runs = runs_of(swept)
    chosen_on, reported, note = halves(swept, runs)
    choosing, reporting = (runs[runs["seed"].isin(half)] for half in (chosen_on, reported))
    choosing = choosing[settings(runs)[choosing.index].isin(settings(runs)[reporting.index])]
    problems = choosing.groupby("problem", sort=False)
    entries = [entry for problem, group in problems for entry in _ranked(problem, _choose(group)[:MOST_ENTRIES], reporting)]
    found = Comparison(entries, _robust(runs), note, runs)
    return with_twins(found, read(swept.files[layout.TWINS])) if layout.TWINS in swept.files else found


def with_twins(comparison: Comparison, twins: Twins) -> Comparison:
    """The comparison with what twins of some of its fits show."""
    of_entry = {tuple(key): twins[row] for row, *key in _keys(comparison.runs) if row in twins}
    first: dict[str, Entry] = {}
    entries = []
    for entry in comparison.entries:
        leader = first.setdefault(entry.problem, entry)
        own, best = (of_entry.get((each.problem, each.method, each.setting)) for each in (entry, leader))
        same = entry is not leader and own is not None and best is not None and within_rounding(entry.excess, own, leader.excess, best)
        step = float("nan") if own is None else float("inf") if own.step is None else float(own.step)
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
    """Of each fit: its problem, method, setting and seed in words, the number of its seed, and log₁₀ of its excess loss, NaN unless it finished."""
    keys = swept.keys
    method, setting = (keys.choices, keys.numbers) if keys.choices else (keys.numbers or ("optimizer",), ())
    seeds = swept.labels(keys.seeds)
    ordered = {label: place for place, label in enumerate(dict.fromkeys(seeds))}
    excess = np.where(swept.finished, swept.excess, np.nan)
    least = np.nanmin(np.where(excess > 0, excess, np.nan)) if (excess > 0).any() else 1.0
    return pd.DataFrame(
        {
            "row": swept.results["row"],
            "problem": swept.labels(keys.problem),
            "method": swept.labels(method),
            "setting": swept.labels(setting),
            "seed": [ordered[label] for label in seeds],
            "log": np.log10(np.maximum(excess, least)),  # an excess of zero counts as the smallest that is not
        }
    )


def _choose(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """(method, setting): of each method the setting with the fewest fits that did not finish, then the smallest mean; best first."""
    scores = runs.groupby(["method", "setting"], sort=False)["log"].agg(lost=lambda log: log.isna().mean(), mean="mean").reset_index()
    ranked = scores.sort_values(["lost", "mean"], kind="stable", na_position="last").drop_duplicates("method")
    return [(str(row.method), str(row.setting)) for row in ranked.itertuples()]


def _picked(runs: pd.DataFrame, problem: Any, method: str, setting: str) -> pd.DataFrame:
    return runs[(runs["problem"] == problem) & (runs["method"] == method) & (runs["setting"] == setting)]


def _ranked(problem: Any, picks: list[tuple[str, str]], reporting: pd.DataFrame) -> list[Entry]:
    """The chosen settings in the order of what is reported of them: the fewest fits that did not finish, then the smallest mean."""
    own = [(pick, _picked(reporting, problem, *pick)) for pick in picks]
    own.sort(key=lambda found: (found[1]["log"].isna().mean(), np.nan_to_num(found[1]["log"].mean(), nan=np.inf)))
    return [_entry(problem, pick, fits, own[0][1]) for pick, fits in own]


def _entry(problem: Any, pick: tuple[str, str], own: pd.DataFrame, leader: pd.DataFrame) -> Entry:
    logs = own["log"].dropna()
    mine, best = (frame.groupby("seed")["log"].mean().dropna() for frame in (own, leader))
    paired = (mine - best).dropna()
    one = own["log"].equals(leader["log"]) and own.index.equals(leader.index)
    factors = (0.0, 0.0, 0.0) if one else mean_interval(paired.to_numpy())
    return Entry(str(problem), *pick, len(own), len(logs), *_powers(mean_interval(logs.to_numpy())), *_powers(factors))


def _powers(logs: tuple[float, float, float]) -> tuple[float, float, float]:
    with np.errstate(over="ignore"):
        mean, low, high = (float(10.0**log) for log in logs)
    return mean, low, high


def _robust(runs: pd.DataFrame) -> list[str]:
    worst = runs.assign(log=runs["log"].fillna(np.inf)).groupby(["problem", "method", "setting"], sort=False)["log"].max()
    best = worst.groupby("problem", sort=False).idxmin()
    return [_worst(key, float(worst[key])) for key in best if np.isfinite(worst[key])]


def _worst(key: tuple[str, str, str], log: float) -> str:
    problem, method, setting = key
    where = f" (on {problem})" if problem else ""
    return f"{method} {setting}".strip() + f"{where}: excess loss {number(10**log)} on its worst seed"


def best_places(swept: Swept) -> dict[str, int]:
    """On each problem on which a fit finished, the place in the table of the one with the lowest excess loss; of equals the first."""
    lowest = pd.Series(swept.excess).groupby(swept.labels(swept.keys.problem), sort=False).idxmin()
    return {str(problem): int(place) for problem, place in lowest.items() if np.isfinite(swept.excess[place])}


def few(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first of what is said of each problem, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"{more} more problem{'s' if more > 1 else ''} below."] if more > 0 else [])]


def number(value: float) -> str:
    """Three digits: more would pretend."""
    return "–" if np.isnan(value) else f"{value:.3g}"


def interval(low: float, high: float) -> str:
    """` (95 % interval a to b)`, empty where there is none."""
    return "" if np.isnan(low) else f" ({LEVEL:.0%} interval {number(low)} to {number(high)})"
