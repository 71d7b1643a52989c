"""The sentence on a sweep's problems, and on its methods by another loss than the excess loss."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import pandas as pd

from linfit.tracking import layout
from linfit.tracking.objective import INCOMPARABLE
from linfit.views.statistics import LEVEL, mean_interval
from linfit.views.swept import Swept

#: A problem, a method and its setting.
Pick = tuple[str, str, str]
KEY = ["problem", "method", "setting"]


def describe_lowest(swept: Swept, runs: pd.DataFrame, picks: Sequence[Pick]) -> str:
    """Return the sentence that says which problem has the lowest loss, or of one problem which method.

    `picks` are compared on the fits `runs`: by the fewest that did not finish, then by the mean of the loss
    that the sweep is compared by. The sentence is empty where excess losses of one problem say it all.
    """
    problems = {problem for problem, _, _ in picks}
    if swept.by is None:
        return f"{INCOMPARABLE}. No model is logged." if swept.run_id else f"{INCOMPARABLE}."
    if swept.by == layout.EXCESS and len(problems) < 2:
        return ""
    values = pd.Series(swept.compared)[runs.index].replace(np.inf, np.nan)
    groups = runs.groupby(KEY, sort=False).groups
    by_seed = {pick: values[groups[pick]].set_axis(runs["seed"][groups[pick]]) for pick in picks}
    finished = [pick for pick in picks if by_seed[pick].notna().any()]
    ranked = sorted(finished, key=lambda pick: (by_seed[pick].isna().mean(), by_seed[pick].mean()))
    if len(picks) < 2 or not ranked:
        return ""
    first = ranked[0]
    said = f"{_name(first, picks)} the lowest {swept.by.replace('_', ' ')}: {_told(by_seed[first])}"
    others = [pick for pick in ranked[1:] if len(problems) < 2 or pick[0] != first[0]]
    if not others:
        return f"{said}."
    verdict = _verdict(by_seed[others[0]] - by_seed[first], comb(len(ranked), 2))
    return f"{said}; {_name(others[0], picks)} {_told(by_seed[others[0]])}{verdict}."


def _name(pick: Pick, picks: Sequence[Pick]) -> str:
    """Return what has a loss, with the verb: a problem, with its method where the problem has several."""
    problem, method, setting = pick
    own = f"{method} {setting}".strip()
    if all(other[0] == problem for other in picks):
        return f"{own} has"
    several = sum(other[0] == problem for other in picks) > 1
    return f"{problem}, with {own}, has" if several else f"{problem} has"


def _told(values: pd.Series[float]) -> str:
    """Return the mean loss, and of how many repetitions it is the mean."""
    number, finished = f"{values.mean():.3g}", values.count()
    if finished < len(values):
        return f"{number}, the mean of the {finished} of {len(values)} repetitions that finished"
    return f"{number}, the mean of {finished} repetitions" if finished > 1 else number


def _verdict(differences: pd.Series[float], compared: int) -> str:
    """Return what is added where chance explains paired differences, with Bonferroni's correction for the pairs compared.

    Any two might have come out as the first and the second.
    """
    paired = differences.dropna().to_numpy()
    _, low, high = mean_interval(paired, 1 - (1 - LEVEL) / compared)
    return ", which these repetitions cannot tell apart" if low <= 0 <= high else ""
