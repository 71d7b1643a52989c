"""Rank the chosen settings by their reported fits, and compare each with the first.

Settings are ranked and shown by the median over seeds. The first of many is partly lucky. So the
printed intervals hold all at once, and the first is compared with the others as if every two of
them had been compared.

k settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from linfit.problem.types import Array
from linfit.views.analysis.statistics import (
    CONFIDENCE,
    adjust_by_holm,
    compute_mean_interval,
    compute_p_values,
    split_level,
    summarize_seeds,
)

#: A problem, a method and its setting.
Pick = tuple[str, str, str]
SETTING_KEY = ["problem", "method", "setting"]


@dataclass(frozen=True)
class LeaderboardEntry:
    """A method at the setting chosen for it, and the compared loss of its fits that finished."""

    problem: str
    method: str
    setting: str
    name: str = field(kw_only=True)
    """Its name in a sentence."""
    fits: int
    finished: int
    reached: int
    """Number of fits that reached the tolerance, and ended within it."""
    steps: float
    """Median of the steps to the tolerance; infinite if half of the fits did not reach it."""
    median: float
    """Median over the fits that finished."""
    at_floor: bool = field(default=False, kw_only=True)
    """True if the median is not above the rounding floor: it is the floor, an upper bound."""
    low: float
    """Low end of the spread over fits, as `summarize_seeds` has it; NaN at the rounding floor."""
    high: float
    factor: float
    """The median as a multiple of the first entry's."""
    factor_at_least: bool = field(default=False, kw_only=True)
    """True if the first entry is at its rounding floor on some seed: the factor may be larger."""
    factor_low: float
    """Low end of the interval of the mean factor: geometric, seed by seed."""
    factor_high: float
    p: float = field(default=1.0, kw_only=True)
    """Student's p-value that the factor is 1, adjusted by Holm's rule; NaN below two seeds."""
    horizon: float = float("nan")
    """The step at which twins of a fit part; infinite if they do not, NaN without twins."""
    rounding: bool = False
    """True if the gap to the first entry is no larger than rounding makes."""

    @property
    def distinct(self) -> bool:
        """True if the difference to the first entry is larger than chance explains."""
        outside = self.factor_low > 1 or self.factor_high < 1
        return bool(outside or self.p < 1 - CONFIDENCE)

    @property
    def equal(self) -> bool:
        """True if every seed has the first entry's loss, bit for bit."""
        if self.at_floor or self.factor != 1:
            return False
        return bool(np.isnan(self.factor_low) or self.factor_low == self.factor_high == 1)

    def equals(self, other: LeaderboardEntry) -> bool:
        """Return True if both entries are only rounding, or their medians are equal."""
        both_at_floor = self.at_floor and other.at_floor
        return self.loses_like(other) and (both_at_floor or self.median == other.median)

    def loses_like(self, other: LeaderboardEntry) -> bool:
        """Return True if the same share of fits finished."""
        return self.finished * other.fits == other.finished * self.fits


def count_pairs(methods: Sequence[Hashable]) -> int:
    """Return the number of pairs of these methods' settings that a ranking compares.

    Two of one method are not compared.
    """
    same = sum(count**2 for count in Counter(methods).values())
    return (len(methods) ** 2 - same) // 2


class MeasuredSettings(NamedTuple):
    """Ends of the mean factors' intervals `[..., k, 2]`, as log₁₀, and p `[..., k]`.

    Factors are to the first setting, whose own is 1 exactly. `p` is adjusted by Holm's rule, and 1
    for the first.
    """

    factors: Array
    p: Array


def measure_settings(logs: Array, floor: Array, pairs: int) -> MeasuredSettings:
    """Return the statistics of logarithms `[..., k, seeds]`.

    NaN where no fit finished. `pairs` are compared at once.

    Two settings are compared on the seeds that both finished, raised to the higher of their floors.
    """
    first = logs[..., :1, :]
    first_floor = floor[..., :1, :]
    differences = np.maximum(logs, first_floor) - np.maximum(first, floor)
    _, low, high = compute_mean_interval(differences, split_level(pairs))
    factors = np.stack([low, high], axis=-1)
    factors[..., 0, :] = 0.0

    p = np.ones(logs.shape[:-1])
    p[..., 1:] = adjust_by_holm(compute_p_values(differences[..., 1:, :]), pairs)
    return MeasuredSettings(factors, p)


class RankedSettings(NamedTuple):
    """Settings in the order of their ranks, as columns `[k]`."""

    picks: list[Pick]
    table: pd.DataFrame
    """Columns size, count, reached, steps, median, low, high, at_floor."""


def rank_settings(
    picks: Sequence[Pick],
    reporting: pd.DataFrame,
    pairs: int,
    names: Mapping[Pick, str],
) -> list[LeaderboardEntry]:
    """Return an entry for each setting of one ranking, which compares `pairs` at once.

    First come the fewest lost fits, then the smallest median, then the fewest steps.
    `names` are the settings' names in a sentence.
    """
    ranked = _order_settings(picks, reporting)
    logs = _by_seed(reporting, "log", ranked.picks)
    floor = _by_seed(reporting, "floor", ranked.picks)
    measured = measure_settings(logs, floor, pairs)
    low = logs <= floor
    at_least = (np.isfinite(logs) & low[0]).any(axis=1) & ~low.any(axis=1)

    medians = ranked.table["median"].to_numpy(float)
    with np.errstate(over="ignore", invalid="ignore"):
        multiples = medians / medians[:1]
    entries = []
    for place, row in enumerate(ranked.table.itertuples(index=False)):
        problem, method, setting = ranked.picks[place]
        factor_low, factor_high = _powers(measured.factors[place])
        entry = LeaderboardEntry(
            problem=problem,
            method=method,
            setting=setting,
            name=names[ranked.picks[place]],
            fits=int(row.size),
            finished=int(row.count),
            reached=int(row.reached),
            steps=float(row.steps),
            median=float(row.median),
            low=float(row.low),
            high=float(row.high),
            factor=float(multiples[place]),
            factor_low=factor_low,
            factor_high=factor_high,
            rounding=bool(place > 0 and row.at_floor and ranked.table["at_floor"].iloc[0]),
            at_floor=bool(row.at_floor),
            factor_at_least=bool(at_least[place]),
            p=float(measured.p[place]),
        )
        entries.append(entry)
    return entries


def _order_settings(picks: Sequence[Pick], reporting: pd.DataFrame) -> RankedSettings:
    """Return settings by lost fits, then by median, then by steps to the tolerance."""
    groups = reporting.groupby(SETTING_KEY, sort=False)
    rows = [_summarize_setting(groups.get_group(pick)) for pick in picks]
    table = pd.DataFrame(rows).assign(place=range(len(picks)))
    table["lost"] = 1 - table["count"] / table["size"]
    table = table.sort_values(["lost", "median"], kind="stable")

    # Neighbours that are both at their floor are equal, whatever their floors are.
    same = table["lost"].eq(table["lost"].shift())
    both_at_floor = table["at_floor"] & table["at_floor"].shift(fill_value=False)
    equal = same & (table["median"].eq(table["median"].shift()) | both_at_floor)
    table["tie"] = (~equal).cumsum()
    table = table.sort_values(["tie", "steps"], kind="stable")
    return RankedSettings([picks[place] for place in table["place"]], table)


def _summarize_setting(runs: pd.DataFrame) -> dict[str, float]:
    """Return the numbers of a setting's fits."""
    logs = runs["log"].to_numpy(float)
    values = 10.0**logs
    median, low, high = summarize_seeds(values)
    finished = np.isfinite(logs)
    is_low = logs <= runs["floor"].to_numpy(float)
    at_floor = 2 * is_low.sum() > finished.sum()
    return {
        "size": len(runs),
        "count": finished.sum(),
        "reached": np.isfinite(runs["steps"]).sum(),
        "steps": np.median(runs["steps"]),
        "median": median,
        "low": float("nan") if at_floor else low,
        "high": float("nan") if is_low.sum() == finished.sum() else high,
        "at_floor": at_floor,
    }


def _by_seed(fits: pd.DataFrame, column: str, picks: Sequence[Pick]) -> Array:
    """Return the means `[k, seeds]` of a column, NaN where a setting has no fit."""
    means = fits.groupby([*SETTING_KEY, "seed"])[column].mean().unstack("seed")
    return np.asarray(means.reindex(pd.MultiIndex.from_tuples(picks)).to_numpy(float))


def _powers(logs: Array) -> tuple[float, float]:
    """Return 10 to the power of low and high."""
    with np.errstate(over="ignore"):
        low, high = 10.0**logs
    return float(low), float(high)
