"""The seeds on which a sweep's settings are chosen, and those on which they are reported."""

from __future__ import annotations

from typing import Any

import pandas as pd

from linfit.views.analysis.replicates import (
    FOLDS,
    SEEDS,
    Replicates,
    has_overlapping_folds,
    name_replicates,
)
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

    They are the halves of the seeds that all methods share; of folds, those whose losses are of the
    same rows are in one half. With too few of these, both are all seeds, and also where no method
    has two settings to choose from. Each method must have a setting with seeds in both halves: it
    would otherwise be compared on nothing.
    """
    methods = runs.groupby(["problem", "method"], sort=False).ngroup()
    num_methods = methods.nunique()
    sharing = methods.groupby(runs["held"]).nunique()
    shared = sharing.index[sharing == num_methods].tolist()
    in_choosing = runs["held"].isin(shared[0::2])
    in_reporting = runs["held"].isin(shared[1::2])

    setting = label_settings(runs)
    in_both = setting[in_choosing & setting.isin(setting[in_reporting])].index
    per_setting = float(runs["held"].groupby(setting).nunique().median())

    seeds = set(runs["seed"])
    repeated = float(runs["seed"].groupby(setting).nunique().median())
    if setting.nunique() == methods.nunique():
        return seeds, seeds, _describe_no_choice(repeated, name_replicates(swept.keys))

    enough = min(len(shared), per_setting) >= FEWEST_SEEDS
    if enough and methods[in_both].nunique() == num_methods:
        note = _describe_halves(len(shared), len(sharing), name_held_rows(swept, runs))
        return set(runs["seed"][in_choosing]), set(runs["seed"][in_reporting]), note
    note = _describe_too_few(swept, name_held_rows(swept, runs), per_setting, len(shared))
    return seeds, seeds, note + (SIMULTANEOUS_OVER_ALL if repeated > 1 else "")


def _describe_halves(shared: int, seeds: int, replicates: Replicates) -> str:
    which = replicates.many if shared == seeds else f"{replicates.many} that all methods share"
    reported = shared // 2
    return (
        f"Each method's setting was chosen on {shared - reported} of the {shared} {which} "
        f"and is reported on the other {reported}; "
        f"{SIMULTANEOUS}; factors are paired, on the same {replicates.many}."
    )


def _describe_no_choice(per_setting: float, replicates: Replicates) -> str:
    if per_setting <= 1:
        why = "a difference cannot be told from chance"
        more = f"{FEWEST_SEEDS} {replicates.many} or more, {replicates.advice}, would do."
        return f"One {replicates.one}: {why}; {more}"
    reported = f"all {replicates.many} are reported"
    return f"Nothing was chosen: {reported}; {SIMULTANEOUS}; factors are paired."


def _describe_too_few(
    swept: SweepData, replicates: Replicates, per_setting: float, shared: int
) -> str:
    many = replicates.many
    if per_setting >= FEWEST_SEEDS:
        had = f"{replicates.count(shared)} that all methods share"
    elif swept.keys.seeds:
        had = f"{replicates.count(per_setting)} for each setting"
    else:
        had = "one seed"
    advice = f"{FEWEST_SEEDS} {many} or more, {replicates.advice}, would do."
    if has_overlapping_folds(swept.configs, swept.keys):
        had = "parts that were drawn several times from the same rows"
        advice = "split.seed=0 draws the parts once."
    return (
        f"Too few {many}: with {had} there are none left to report on, so settings are reported "
        f"on the {many} that they were chosen on, and look better than they are; {advice}"
    )


def name_held_rows(swept: SweepData, runs: pd.DataFrame) -> Replicates:
    """Return what the halves of a sweep are made of: its repetitions, or folds or seeds alone."""
    if runs["held"].nunique() == runs["seed"].nunique():
        return name_replicates(swept.keys)
    return SEEDS if has_overlapping_folds(swept.configs, swept.keys) else FOLDS
