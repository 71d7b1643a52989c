"""The seeds on which a sweep's settings are chosen, and those on which they are reported."""

from __future__ import annotations

from typing import Any

import pandas as pd

from linfit.views.analysis.statistics import CONFIDENCE
from linfit.views.analysis.sweep_data import SweepData

#: The fewest seeds that are split: three for an interval that is not too wide, three to choose on.
FEWEST_SEEDS = 6

#: A remark on intervals.
SIMULTANEOUS = f"all intervals of a column hold at once with {CONFIDENCE:.0%} confidence"
SIMULTANEOUS_OVER_ALL = f" {SIMULTANEOUS.capitalize()}, for all settings that were tried."


def label_settings(runs: pd.DataFrame) -> pd.Series[Any]:
    """Return a number for each fit's problem, method and setting together."""
    return runs.groupby(["problem", "method", "setting"], sort=False).ngroup()


def split_seeds(swept: SweepData, runs: pd.DataFrame) -> tuple[set[int], set[int], str]:
    """Return the seeds to choose on, the seeds to report on, and a note on both.

    They are the halves of the seeds that all methods share. With too few of these, both are all
    seeds, and also where no method has two settings to choose from. Each method must have a setting
    with seeds in both halves: it would otherwise be compared on nothing.
    """
    methods = runs.groupby(["problem", "method"], sort=False).ngroup()
    num_methods = methods.nunique()
    sharing = methods.groupby(runs["seed"]).nunique()
    seeds = sharing.index.tolist()
    shared = sharing.index[sharing == num_methods].tolist()
    choosing = set(shared[0::2])
    reporting = set(shared[1::2])

    setting = label_settings(runs)
    in_choosing = runs["seed"].isin(choosing)
    in_reporting = runs["seed"].isin(reporting)
    in_both = setting[in_choosing & setting.isin(setting[in_reporting])].index
    per_setting = float(runs["seed"].groupby(setting).nunique().median())

    if setting.nunique() == methods.nunique():
        return set(seeds), set(seeds), _describe_no_choice(per_setting)

    enough = min(len(shared), per_setting) >= FEWEST_SEEDS
    if enough and methods[in_both].nunique() == num_methods:
        return choosing, reporting, _describe_halves(len(shared), len(seeds))
    return set(seeds), set(seeds), _describe_too_few(swept, per_setting, len(shared))


def _describe_halves(shared: int, seeds: int) -> str:
    which = "seeds" if shared == seeds else "seeds that all methods share"
    reported = shared // 2
    return (
        f"Each method's setting was chosen on {shared - reported} of the {shared} {which} "
        f"and is reported on the other {reported}; "
        f"{SIMULTANEOUS}; factors are paired, on the same seeds."
    )


def _describe_no_choice(per_setting: float) -> str:
    if per_setting <= 1:
        why = "a difference cannot be told from chance"
        return f"One seed: {why}; {FEWEST_SEEDS} seeds or more, as seed=range(0,10), would do."
    return f"Nothing was chosen: all seeds are reported; {SIMULTANEOUS}; factors are paired."


def _describe_too_few(swept: SweepData, per_setting: float, shared: int) -> str:
    if per_setting >= FEWEST_SEEDS:
        had = f"{_count_seeds(shared)} that all methods share"
    elif swept.keys.seeds:
        had = f"{_count_seeds(per_setting)} for each setting"
    else:
        had = "one seed"
    intervals = SIMULTANEOUS_OVER_ALL if per_setting > 1 else ""
    return (
        f"Too few seeds: with {had} there are none left to report on, so settings are reported "
        "on the seeds that they were chosen on, and look better than they are; "
        f"{FEWEST_SEEDS} seeds or more, as seed=range(0,10), would do."
        f"{intervals}"
    )


def _count_seeds(number: float) -> str:
    return f"{number:.0f} seed{'s' if number != 1 else ''}"
