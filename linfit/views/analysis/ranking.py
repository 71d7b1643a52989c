"""Rank the chosen settings by their reported fits, and compare each with the first.

The first of many is partly lucky. So the printed intervals hold all at once, and the
first is compared with the others as if every two of them had been compared.

k settings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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
)


@dataclass(frozen=True)
class LeaderboardEntry:
    """A method at the setting chosen for it. Means are geometric, over the fits that finished."""

    problem: str
    method: str
    setting: str
    fits: int
    finished: int
    excess: float
    at_floor: bool = field(default=False, kw_only=True)
    """True if no fit is above its rounding floor: `excess` is the floor, an upper bound."""
    low: float
    high: float
    factor: float
    """The excess loss as a multiple of the first entry's on the same seeds; 1 for itself."""
    factor_at_least: bool = field(default=False, kw_only=True)
    """True if the first entry is at its rounding floor on some seed: the factor may be larger."""
    factor_low: float
    factor_high: float
    p: float = field(default=1.0, kw_only=True)
    """Student's p-value that the factor is 1, adjusted by Holm's rule; NaN below two seeds."""
    horizon: float = float("nan")
    """The step at which twins of a fit part; infinite if they do not, NaN without twins."""
    rounding: bool = False
    """True if the gap to the first entry is no larger than the gap between twins."""

    @property
    def name(self) -> str:
        return f"{self.method} {self.setting}".strip()

    @property
    def distinct(self) -> bool:
        """True if the difference to the first entry is larger than chance explains."""
        outside = self.factor_low > 1 or self.factor_high < 1
        return bool(outside or self.p < 1 - CONFIDENCE)

    @property
    def equal(self) -> bool:
        """True if every seed has the first entry's excess loss, bit for bit."""
        if self.at_floor or self.factor != 1:
            return False
        return bool(np.isnan(self.factor_low) or self.factor_low == self.factor_high == 1)

    def ties_with(self, other: LeaderboardEntry) -> bool:
        """Return True if both entries are only rounding, or their means are equal."""
        lost_alike = self.finished * other.fits == other.finished * self.fits
        if self.problem != other.problem or not lost_alike:
            return False
        return (self.at_floor and other.at_floor) or self.excess == other.excess


class ComparisonFamily(NamedTuple):
    """The numbers of settings and of pairs of settings that a comparison may report."""

    settings: int
    pairs: int


def count_family(methods: Sequence[str]) -> ComparisonFamily:
    """Return the family of these methods' settings.

    Two of one method are not compared.
    """
    same = sum(count**2 for count in Counter(methods).values())
    return ComparisonFamily(len(methods), (len(methods) ** 2 - same) // 2)


class MeasuredSettings(NamedTuple):
    """Mean, low and high `[..., k, 3]` of settings, all log₁₀, and p `[..., k]`.

    `p` is adjusted by Holm's rule. The first setting has the factor 1 exactly, and p = 1.
    """

    excess: Array
    factors: Array
    p: Array


def measure_settings(logs: Array, floor: Array, family: ComparisonFamily) -> MeasuredSettings:
    """Return the statistics of logarithms `[..., k, seeds]`.

    NaN where no fit finished.

    Two settings are compared on the seeds that both finished, raised to the higher of their floors.
    """
    first = logs[..., :1, :]
    first_floor = floor[..., :1, :]
    differences = np.maximum(logs, first_floor) - np.maximum(first, floor)
    excess = np.stack(compute_mean_interval(logs, split_level(family.settings)), axis=-1)
    factors = np.stack(compute_mean_interval(differences, split_level(family.pairs)), axis=-1)
    factors[..., 0, :] = 0.0

    p = np.ones(logs.shape[:-1])
    p[..., 1:] = adjust_by_holm(compute_p_values(differences[..., 1:, :]), family.pairs)
    return MeasuredSettings(excess, factors, p)


def rank_settings(
    problem: str,
    picks: Sequence[tuple[str, str]],
    reporting: pd.DataFrame,
    family: ComparisonFamily,
) -> list[LeaderboardEntry]:
    """Return an entry for each (method, setting).

    Fewest lost fits, then the smallest mean.
    """
    fits = reporting[reporting["problem"] == problem]
    found = fits.groupby(["method", "setting"])["log"].agg(["size", "count", "mean"])
    found = found.reindex(pd.MultiIndex.from_tuples(picks))
    found["lost"] = 1 - found["count"] / found["size"]
    found = found.sort_values(["lost", "mean"], kind="stable")
    logs = _by_seed(fits, "log", found.index)
    floor = _by_seed(fits, "floor", found.index)
    measured = measure_settings(logs, floor, family)

    finished = np.isfinite(logs)  # [k, seeds]
    low = logs <= floor
    at_floor = finished.any(axis=1) & (low == finished).all(axis=1)
    at_least = (finished & low[0]).any(axis=1) & ~low.any(axis=1)

    entries = []
    for place, (method, setting) in enumerate(found.index.to_list()):
        excess, excess_low, excess_high = _powers(measured.excess[place])
        factor, factor_low, factor_high = _powers(measured.factors[place])
        if at_floor[place]:  # the mean is an upper bound, without an interval
            excess_low = excess_high = np.nan
        entry = LeaderboardEntry(
            problem=problem,
            method=str(method),
            setting=str(setting),
            fits=int(found["size"].iloc[place]),
            finished=int(found["count"].iloc[place]),
            excess=excess,
            low=excess_low,
            high=excess_high,
            factor=factor,
            factor_low=factor_low,
            factor_high=factor_high,
            rounding=bool(place > 0 and at_floor[place] and at_floor[0]),
            at_floor=bool(at_floor[place]),
            factor_at_least=bool(at_least[place]),
            p=float(measured.p[place]),
        )
        entries.append(entry)
    return entries


def _by_seed(fits: pd.DataFrame, column: str, settings: pd.MultiIndex) -> Array:
    """Return the means `[k, seeds]` of a column, NaN where a setting has no fit."""
    means = fits.groupby(["method", "setting", "seed"])[column].mean().unstack("seed")
    return np.asarray(means.reindex(settings).to_numpy(float))


def _powers(logs: Array) -> tuple[float, float, float]:
    """Return 10 to the power of mean, low and high."""
    with np.errstate(over="ignore"):
        middle, low, high = 10.0**logs
    return float(middle), float(low), float(high)
