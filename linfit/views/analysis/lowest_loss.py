"""The sentence on the problems of a sweep whose rankings are by problem."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import pandas as pd

from linfit.tracking.schema.objective import INCOMPARABLE_HINT, describe_objective
from linfit.views.analysis.ranking import SETTING_KEY, Pick
from linfit.views.analysis.statistics import CONFIDENCE, compute_mean_interval
from linfit.views.analysis.sweep_data import SweepData


def describe_lowest_loss(swept: SweepData, runs: pd.DataFrame, picks: Sequence[Pick]) -> str:
    """Return which problem has the lowest loss, or that problems cannot be compared.

    `picks` are compared on the fits `runs`: fewest that did not finish, then the median of the loss
    that compares the sweep. The sentence is empty for one problem.
    """
    if len({problem for problem, _, _ in picks}) < 2:
        return ""
    if swept.compared_by is None:
        return (
            f"{INCOMPARABLE_HINT}. No model is logged." if swept.run_id else f"{INCOMPARABLE_HINT}."
        )

    losses = _group_losses(swept, runs, picks)
    finished = [pick for pick in picks if losses[pick].notna().any()]
    ranked = sorted(finished, key=lambda pick: (losses[pick].isna().mean(), losses[pick].median()))
    if not ranked:
        return ""

    first = ranked[0]
    by = describe_objective(swept.compared_by)
    sentence = f"{_subject(first, picks)} the lowest {by}: {_describe(losses[first])}"
    others = [pick for pick in ranked[1:] if pick[0] != first[0]]
    if not others:
        return f"{sentence}."

    second = others[0]
    verdict = _verdict(losses[second] - losses[first], comb(len(ranked), 2))
    return f"{sentence}; {_subject(second, picks)} {_describe(losses[second])}{verdict}."


def _group_losses(
    swept: SweepData, runs: pd.DataFrame, picks: Sequence[Pick]
) -> dict[Pick, pd.Series[float]]:
    """Return the compared losses of each pick's fits by repetition, NaN if not finished."""
    losses = pd.Series(swept.compared_values)[runs.index].replace(np.inf, np.nan)
    groups = runs.groupby(SETTING_KEY, sort=False).groups
    found = {}
    for pick in picks:
        index = groups[pick]
        found[pick] = losses[index].set_axis(runs["seed"][index])
    return found


def _subject(pick: Pick, picks: Sequence[Pick]) -> str:
    """Return what has a loss, with the verb: a problem, with its method if it has several."""
    problem, method, setting = pick
    methods = sum(other[0] == problem for other in picks)
    return (
        f"{problem}, with {method} {setting}".strip() + ", has" if methods > 1 else f"{problem} has"
    )


def _describe(values: pd.Series[float]) -> str:
    """Return the median loss, and the number of repetitions that it is of."""
    number = f"{values.median():.3g}"
    finished = values.count()
    if finished < len(values):
        return f"{number}, the median of the {finished} of {len(values)} repetitions that finished"
    return f"{number}, the median of {finished} repetitions" if finished > 1 else number


def _verdict(differences: pd.Series[float], compared: int) -> str:
    """Return a clause if chance explains paired differences.

    The level has Bonferroni's correction: any two of the pairs compared might have come out as
    the first and the second.
    """
    paired = differences.dropna().to_numpy()
    _, low, high = compute_mean_interval(paired, 1 - (1 - CONFIDENCE) / compared)
    return ", which these repetitions cannot tell apart" if low <= 0 <= high else ""
