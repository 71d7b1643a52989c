"""The methods that a sweep's pictures draw, their fits, and one look for each in all pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.views.comparison import Comparison
from linfit.views.ranking import Entry
from linfit.views.swept import Swept

#: The most lines of a picture that can be told apart.
MOST_LINES = 8


def styles(comparison: Comparison) -> dict[str, int]:
    """Return the style of each method that is drawn.

    All of them, or the best of too many.
    """
    methods = comparison.runs["method"].unique().tolist()
    if len(methods) > MOST_LINES:
        methods = [entry.method for entry in first_problem(comparison)]
    return {method: style for style, method in enumerate(methods)}


def tuned(swept: Swept, comparison: Comparison) -> dict[str, int]:
    """Return the styles for a picture of all settings of a method.

    Where nothing but settings varies, there is one method.
    """
    return styles(comparison) if swept.groups.by_choice else {swept.groups.choices[0]: 0}


def first_problem(comparison: Comparison) -> list[Entry]:
    """Return the best entries of the first problem."""
    entries = comparison.entries
    return [entry for entry in entries if entry.problem == entries[0].problem][:MOST_LINES]


def on_first(comparison: Comparison) -> NDArray[np.bool_]:
    """Return True for each fit of the first problem.

    Fits of several problems do not compare.
    """
    return np.asarray(comparison.runs["problem"] == comparison.entries[0].problem)


def runs_of(comparison: Comparison, entry: Entry) -> pd.DataFrame:
    """Return the fits of a method at the setting chosen for it."""
    runs = comparison.runs
    same = runs["problem"] == entry.problem
    same &= runs["method"] == entry.method
    same &= runs["setting"] == entry.setting
    return runs[same]
