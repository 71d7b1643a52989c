"""On which seeds the settings of a sweep are chosen, and on which they are reported."""

from __future__ import annotations

from typing import Any

import pandas as pd

from linfit.views.statistics import LEVEL
from linfit.views.swept import Swept

#: Seeds below which there are none to report on: three are needed for an interval that says something, and as many to choose on.
FEWEST_SEEDS = 6

#: What is said of intervals.
AT_ONCE = f"all intervals of a column hold at once with {LEVEL:.0%} confidence"
AT_ONCE_OF_ALL = f" {AT_ONCE.capitalize()}, for all settings that were tried."


def settings(runs: pd.DataFrame) -> pd.Series[Any]:
    """A number of each fit's problem, method and setting."""
    return runs.groupby(["problem", "method", "setting"], sort=False).ngroup()


def halves(swept: Swept, runs: pd.DataFrame) -> tuple[set[int], set[int], str]:
    """The seeds to choose on, those to report on, and what is to be said of them: halves of what all methods share, or twice all.

    Each method must have a setting with seeds in both halves, or it would be compared on nothing.
    """
    methods = runs.groupby(["problem", "method"], sort=False).ngroup()
    sharing = methods.groupby(runs["seed"]).nunique()
    seeds, shared = sharing.index.tolist(), sharing.index[sharing == methods.nunique()].tolist()
    setting = settings(runs)
    per_setting = float(runs["seed"].groupby(setting).nunique().median())
    first, second = (runs["seed"].isin(half) for half in (shared[0::2], shared[1::2]))
    in_both = setting[first & setting.isin(setting[second])].index
    if (
        min(len(shared), per_setting) >= FEWEST_SEEDS
        and methods[in_both].nunique() == methods.nunique()
    ):
        return set(shared[0::2]), set(shared[1::2]), _said_of_halves(len(shared), len(seeds))
    return set(seeds), set(seeds), _said_of_few(swept, per_setting, len(shared))


def _said_of_halves(shared: int, seeds: int) -> str:
    which = "seeds" if shared == seeds else "seeds that all methods share"
    return (
        f"Each method's setting was chosen on {shared - shared // 2} of the {shared} {which} and is reported on the other {shared // 2}; "
        f"{AT_ONCE}; factors are paired, on the same seeds."
    )


def _said_of_few(swept: Swept, per_setting: float, shared: int) -> str:
    had = (
        f"{per_setting:.0f} seed{'s' if per_setting != 1 else ''} for each setting"
        if swept.keys.seeds
        else "one seed"
    )
    if per_setting >= FEWEST_SEEDS:
        had = f"{shared} seed{'s' if shared != 1 else ''} that all methods share"
    intervals = AT_ONCE_OF_ALL if per_setting > 1 else ""
    return (
        f"Too few seeds: with {had} there are none left to report on, so settings are reported on the seeds that they were chosen on, "
        f"and look better than they are; {FEWEST_SEEDS} seeds or more, as seed=range(0,10), would do."
        f"{intervals}"
    )
