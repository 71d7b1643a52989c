"""Which of a sweep's methods its pictures draw, on which fits, and how each method looks: the same in all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.views.comparison import Comparison
from linfit.views.ranking import Entry
from linfit.views.swept import Swept

#: Lines of a picture, which is as many as can be told apart.
MOST_LINES = 8


def styles(comparison: Comparison) -> dict[str, int]:
    """The look of each method that is drawn: of all of them, or of the best where they are too many."""
    methods = dict.fromkeys(comparison.runs["method"])
    if len(methods) > MOST_LINES:
        methods = dict.fromkeys([entry.method for entry in first_problem(comparison)])
    return {str(method): style for style, method in enumerate(methods)}


def tuned(swept: Swept, comparison: Comparison) -> dict[str, int]:
    """The same where a picture looks at all settings of a method; where nothing but settings varies, there is one method."""
    return styles(comparison) if swept.groups.by_choice else {swept.groups.choices[0]: 0}


def first_problem(comparison: Comparison) -> list[Entry]:
    """The best entries of the first problem."""
    entries = comparison.entries
    return [entry for entry in entries if entry.problem == entries[0].problem][:MOST_LINES]


def on_first(comparison: Comparison) -> NDArray[np.bool_]:
    """Which fits solve the first problem: fits of different problems do not compare."""
    return np.asarray(comparison.runs["problem"] == comparison.entries[0].problem)


def runs_of(comparison: Comparison, entry: Entry) -> pd.DataFrame:
    """The fits of a method at the setting chosen for it."""
    runs = comparison.runs
    return runs[
        (runs["problem"] == entry.problem)
        & (runs["method"] == entry.method)
        & (runs["setting"] == entry.setting)
    ]
