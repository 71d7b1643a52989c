"""The methods that a sweep's pictures draw, their fits, and one look for each in all pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import LeaderboardEntry
from linfit.views.analysis.sweep_data import SweepData

#: The most lines of a picture that can be told apart.
MOST_DRAWN_LINES = 8


def choose_styles(comparison: Comparison) -> dict[str, int]:
    """Return the style of each method that is drawn, which has the colour of the method's runs.

    All methods are drawn, or the best of too many.
    """
    styles = {method: style for style, method in enumerate(comparison.fits["method"].unique())}
    if len(styles) <= MOST_DRAWN_LINES:
        return styles
    return {entry.method: styles[entry.method] for entry in select_first_entries(comparison)}


def choose_tuned_styles(swept: SweepData, comparison: Comparison) -> dict[str, int]:
    """Return the styles for a picture of all settings of a method.

    Where nothing but settings varies, there is one method.
    """
    return choose_styles(comparison) if swept.groups.by_choice else {swept.groups.choices[0]: 0}


def select_first_entries(comparison: Comparison) -> list[LeaderboardEntry]:
    """Return the best entries of the first problem."""
    entries = comparison.entries
    return [entry for entry in entries if entry.problem == entries[0].problem][:MOST_DRAWN_LINES]


def is_on_first_problem(comparison: Comparison) -> NDArray[np.bool_]:
    """Return True for each fit of the first problem.

    Fits of several problems do not compare.
    """
    return np.asarray(comparison.fits["problem"] == comparison.entries[0].problem)


def select_fits(comparison: Comparison, entry: LeaderboardEntry) -> pd.DataFrame:
    """Return the fits of a method at the setting chosen for it."""
    runs = comparison.fits
    same = runs["problem"] == entry.problem
    same &= runs["method"] == entry.method
    same &= runs["setting"] == entry.setting
    return runs[same]
