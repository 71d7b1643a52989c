"""Parts of a picture's note: each is made from what is drawn, and empty where it says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Status
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.rounding_floor import describe_clipping
from linfit.views.analysis.sweep_data import SweepData

#: The statuses of fits that do not finish.
LOST_STATUSES = (Status.DIVERGED.value, Status.FAILED.value)


def describe_drawn_problem(comparison: Comparison) -> str:
    """Return which of several problems is drawn."""
    return comparison.entries[0].problem


def describe_drawn_methods(comparison: Comparison, methods: Collection[str]) -> str:
    """Return how many of all methods are drawn, and if they are the best."""
    number = comparison.fits["method"].nunique()
    if not methods or len(methods) == number:
        return ""
    first = comparison.entries[0].problem
    ranked = [entry.method for entry in comparison.entries if entry.problem == first]
    if set(ranked[: len(methods)]) == set(methods):
        return f"the best {len(methods)} of {number}"
    return f"{len(methods)} of {number} methods"


def describe_chosen_settings(comparison: Comparison, methods: Collection[str]) -> str:
    """Return that settings were chosen, where a method that is drawn has several."""
    runs = comparison.fits[comparison.fits["problem"] == comparison.entries[0].problem]
    settings = runs.groupby("method")["setting"].nunique()
    if not any(settings.get(method, 0) > 1 for method in methods):
        return ""
    each = "each " if len(methods) > 1 else ""
    return f"{each}at the setting chosen for it"


def describe_drawn_floor(
    swept: SweepData, comparison: Comparison, places: Sequence[int] | NDArray[np.intp]
) -> str:
    """Return where excess losses of these fits are drawn that are only rounding."""
    low = [place for place in places if swept.excess[place] <= swept.floors[place]]
    if not low:
        return ""
    problems = {swept.groups.problems[place] for place in low}
    return describe_clipping(comparison.find_highest_floor(problems))


def describe_lost_fits(swept: SweepData, places: Sequence[int] | NDArray[np.intp]) -> str:
    """Return how many of these fits diverged, and how many failed."""
    counts = Counter(swept.results["status"].iloc[places])
    return ", ".join(f"{counts[status]} {status}" for status in LOST_STATUSES if counts[status])
