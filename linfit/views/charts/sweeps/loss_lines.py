"""Lines of a loss over a number that a sweep varies, with the fits that did not finish above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.problem.types import Array
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import (
    Chart,
    Series,
    join_notes,
    mask_nonpositive,
    round_to_bins,
)
from linfit.views.charts.sweeps.captions import (
    LOST_STATUSES,
    describe_drawn_floor,
    describe_drawn_methods,
    describe_lost_fits,
)
from linfit.views.charts.sweeps.methods import choose_tuned_styles

#: The most values of a key that are not grouped into bins, and the bins of more.
MOST_KEY_VALUES = 30
NUM_KEY_BINS = 15
#: The most values of a key that each have a tick.
MOST_KEY_TICKS = 12


def list_numbers(swept: SweepData, key: str) -> Array:
    """Return the number of a key in each fit, NaN where it has none."""
    numbers = []
    for value in swept.list_values(key):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        numbers.append(float(value) if is_number else np.nan)
    return np.array(numbers)


def spans_decades(numbers: Array) -> bool:
    """Return True if numbers are positive, spread over more than a decade, and evenly by their log.

    The median of such numbers is nearer to the geometric mean of their ends than to the other.
    """
    found = numbers[np.isfinite(numbers)]
    if not len(found) or found.min() <= 0 or found.max() <= 10 * found.min():
        return False
    low, middle, high = np.quantile(found, (0, 0.5, 1))
    return bool(abs(middle - np.sqrt(low * high)) < abs(middle - (low + high) / 2))


def bin_numbers(numbers: Array) -> Array:
    """Return the numbers, or of too many different ones the middles of bins."""
    found = numbers[np.isfinite(numbers)]
    if len(np.unique(found)) <= MOST_KEY_VALUES:
        return numbers
    low = float(found.min())
    high = float(found.max())
    if spans_decades(numbers):
        edges = np.geomspace(low, high * (1 + 1e-9), NUM_KEY_BINS + 1)
        return round_to_bins(numbers, edges, np.sqrt(edges[1:] * edges[:-1]))
    edges = np.linspace(low, high, NUM_KEY_BINS + 1)
    return round_to_bins(numbers, edges, (edges[1:] + edges[:-1]) / 2)


def select_methods(
    swept: SweepData, comparison: Comparison, places: NDArray[np.intp]
) -> tuple[dict[str, int], dict[str, NDArray[np.intp]]]:
    """Return the style, and the indices among `places`, of each method with a fit there."""
    methods = np.array(swept.groups.choices)
    looks = {}
    fits = {}
    for method, style in choose_tuned_styles(swept, comparison).items():
        own = places[methods[places] == method]
        if len(own):
            looks[method] = style
            fits[method] = own
    return looks, fits


def draw_medians(label: str, style: int, numbers: Array, losses: Array) -> Series:
    """Return the median loss at each number, with the range of the fits that finished."""
    groups = pd.Series(losses).groupby(numbers)
    medians = mask_nonpositive(groups.median())  # infinite where half or more are
    low = mask_nonpositive(groups.min())
    finite = pd.Series(np.where(np.isfinite(losses), losses, np.nan))
    high = mask_nonpositive(finite.groupby(numbers).max())
    return Series(
        label,
        np.array(list(groups.groups)),
        medians,
        low,
        high,
        style=style,
    )


def describe_points(
    swept: SweepData,
    key: str,
    fits: Mapping[str, NDArray[np.intp]],
    numbers: Array,
    is_binned: bool,
) -> str:
    """Return what a point of lines over a key is: one fit, or the median over other keys."""
    if all(len(own) == len(np.unique(numbers[own])) for own in fits.values()):
        return "each point is one fit"
    over = []
    places = np.concatenate(list(fits.values()))
    for other in (*swept.keys.problem, *swept.keys.numbers, *swept.keys.seeds):
        values = swept.list_values(other)
        if other != key and len({values[place] for place in places}) > 1:
            over.append(other)
    if is_binned:
        over.append(f"the values of each of {NUM_KEY_BINS} bins")
    pooled = " and ".join(over) or "equal fits"
    return f"line: median over {pooled}; band: range of those that finished"


def frame_lines(
    chart: Chart,
    swept: SweepData,
    comparison: Comparison,
    looks: Mapping[str, int],
    fits: Mapping[str, NDArray[np.intp]],
    numbers: Array,
    problem: str,
    is_excess: bool = True,
) -> Chart:
    """Return a chart of lines over a key with the lost fits above them, and all of its note.

    The chart's own note says what a point is, `problem` which fits are drawn.
    """
    shown = np.concatenate(list(fits.values()))
    strip = draw_lost(swept, looks, fits, numbers)
    note = join_notes(
        chart.note,
        describe_drawn_methods(comparison, looks) if swept.groups.by_choice else "",
        problem,
        f"above: {describe_lost_fits(swept, shown)} (filled: half or more)" if strip else "",
        describe_drawn_floor(swept, comparison, shown) if is_excess else "",
    )
    return replace(chart, note=note, strip=strip)


def draw_lost(
    swept: SweepData,
    looks: Mapping[str, int],
    fits: Mapping[str, NDArray[np.intp]],
    numbers: Array,
) -> list[Series]:
    """Return the rows above the picture: each method's diverged fits, then its failed ones."""
    rows = []
    for status in LOST_STATUSES:
        lost = (swept.results["status"] == status).to_numpy()
        for method, style in looks.items():
            own = fits[method]
            rows.append(count_lost(status, style, numbers[own], lost[own]))
    return [row for row in rows if len(row.x)]


def count_lost(label: str, style: int, numbers: Array, lost: NDArray[np.bool_]) -> Series:
    """Return the share of lost fits at each number that has any."""
    shares = pd.Series(lost).groupby(numbers).mean()
    shares = shares[shares > 0]
    return Series(
        label,
        shares.index.to_numpy(float),
        shares.to_numpy(float),
        style=style,
    )
