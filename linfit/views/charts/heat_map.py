"""The heat map: final excess loss over any two of the keys that a sweep varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from linfit.component import describe_unknown
from linfit.errors import ConfigError
from linfit.problem.types import Array
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.rounding_floor import clip_to_floor, describe_floor
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.captions import describe_drawn_problem, describe_lost_fits
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Surface,
    join_notes,
    mask_nonpositive,
    round_to_bins,
)
from linfit.views.charts.methods import is_on_first_problem
from linfit.views.charts.ticks import format_distinct

#: The most values along an axis that are not grouped into bins.
MOST_LEVELS = 40
NUM_BINS = 12
#: The most cells that have room for text.
MOST_CELL_TEXTS = 100


def plot_heat_map(
    swept: SweepData, comparison: Comparison, x: str | None = None, y: str | None = None
) -> Chart | None:
    """Return the final excess loss over two swept keys.

    The geometric mean over all else.

    None where two keys are missing. ConfigError for a key that the sweep does not vary.
    """
    for key in (x, y):
        if key is not None and key not in swept.varying:
            raise ConfigError(describe_unknown("swept key", key, list(swept.varying)))
    suitable = _suitable_keys(swept, (x, y))
    x = x or next(iter(suitable), None)
    y = y or next((key for key in suitable if key != x), None)
    if x is None or y is None:
        return None

    across = _binned(swept.list_values(x))
    up = _binned(swept.list_values(y))
    excess = mask_nonpositive(clip_to_floor(swept.excess, swept.floors))
    fits = pd.DataFrame(
        {
            "x": across,
            "y": up,
            "excess": excess,
        },
        dtype=object,
    )

    pooled = x in swept.keys.problem or y in swept.keys.problem
    places = comparison.fits.index.to_numpy()
    if not pooled:
        places = places[is_on_first_problem(comparison)]
    cells = fits.iloc[places]
    surface = _surface(cells, _levels(across), _levels(up))

    binned = [key for key, own in ((x, across), (y, up)) if own != swept.list_values(key)]
    pooling = "geometric mean over all else, of the fits that finished"
    single = not cells.duplicated(["x", "y"]).any()
    note = join_notes(
        "each cell is one fit" if single else pooling,
        *_describe_lost(surface),
        describe_lost_fits(swept, places),
        "" if pooled else describe_drawn_problem(comparison),
        f"{' and '.join(binned)}: middles of bins" if binned else "",
        describe_floor(swept.excess[places], swept.floors[places]),
    )
    x_axis = ChartAxis(x, names=tuple(_names(_levels(across))))
    y_axis = ChartAxis(y, names=tuple(_names(_levels(up))))
    return Chart(
        "heat_map",
        "Final excess loss",
        x_axis,
        y_axis,
        surface=surface,
        note=note,
    )


def _suitable_keys(swept: SweepData, taken: Sequence[str | None]) -> list[str]:
    """Return the keys, other than those taken, that make an axis."""
    keys = (*swept.keys.numbers, *swept.keys.choices, *swept.keys.problem)
    return [key for key in keys if key not in taken and _fills_axis(swept.list_values(key))]


def _surface(cells: pd.DataFrame, columns: Sequence[Any], rows: Sequence[Any]) -> Surface:
    """Return the cells of a frame of x, y and excess loss, NaN where a fit did not finish."""
    logs = cells.assign(excess=np.log10(cells["excess"].astype(float)))
    groups = logs.groupby(["y", "x"], dropna=False)["excess"]

    def on_grid(found: pd.Series[Any]) -> Array:
        table = found.unstack("x").reindex(index=rows, columns=columns)
        return np.asarray(table.to_numpy(float))

    z = 10 ** on_grid(groups.mean())
    finished = on_grid(groups.count())
    fits = on_grid(groups.size())

    texts = []
    counts = []
    for values in zip(
        z.tolist(),
        finished.tolist(),
        fits.tolist(),
        strict=True,
    ):
        row = list(zip(*values, strict=True))
        texts.append(tuple(_text(*cell) for cell in row))
        counts.append(tuple(_count(done, number) for _, done, number in row))
    return Surface(
        x=np.arange(len(columns), dtype=float),
        y=np.arange(len(rows), dtype=float),
        z=z,
        label="final excess loss",
        kind="cells",
        texts=tuple(texts) if z.size <= MOST_CELL_TEXTS else (),
        counts=tuple(counts),
        lost_shares=1 - finished / fits,
    )


def _text(value: float, finished: float, fits: float) -> str:
    """Return the mean, and below it how many of the fits finished if not all did."""
    if not fits > 0:
        return ""
    if not np.isfinite(value):
        return "×"

    if value < 0.01 or value >= 1e4:
        size = f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")
    else:
        size = f"{value:.0f}" if value >= 9.5 else f"{value:.2g}"
    return size if finished == fits else f"{size}\n{finished:.0f}/{fits:.0f}"


def _count(finished: float, fits: float) -> str:
    return f"{finished:.0f} of {fits:.0f} fits" if fits > 0 else ""


def _describe_lost(surface: Surface) -> tuple[str, str]:
    """Return notes on cells with fits that did not finish."""
    assert surface.lost_shares is not None
    some = bool(((surface.lost_shares > 0) & (surface.lost_shares < 1)).any())
    every = bool((surface.lost_shares == 1).any())
    partly = "2/3: two of three did" if surface.texts else "/: some did not"
    return partly if some else "", "×: none did" if every else ""


def _fills_axis(values: Sequence[Any]) -> bool:
    """Return True for several values, few enough or numbers."""
    different = len(set(values))
    return different >= 2 and (different <= MOST_LEVELS or _are_numbers(values))


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) or value is None for value in values)


def _binned(values: Sequence[Any]) -> list[Any]:
    """Return the values, or of too many numbers the middles of bins; None stays."""
    if len(set(values)) <= MOST_LEVELS or not _are_numbers(values):
        return list(values)

    numbers = np.array([np.nan if value is None else float(value) for value in values])
    low = np.nanmin(numbers)
    middle = np.nanmedian(numbers)
    high = np.nanmax(numbers)
    # The median of numbers drawn on a log scale is nearer to the geometric mean of their ends.
    if low > 0 and abs(middle - np.sqrt(low * high)) < abs(middle - (low + high) / 2):
        edges = np.geomspace(low, high, NUM_BINS + 1)
        middles = np.sqrt(edges[1:] * edges[:-1])
    else:
        edges = np.linspace(low, high, NUM_BINS + 1)
        middles = (edges[1:] + edges[:-1]) / 2
    binned = round_to_bins(numbers, edges, middles)
    return [None if np.isnan(number) else number for number in binned.tolist()]


def _levels(values: Sequence[Any]) -> list[Any]:
    """Return the different values; numbers are sorted, with None last."""
    found = list(dict.fromkeys(values))
    if not _are_numbers(found):
        return found
    return sorted(found, key=lambda value: (value is None, value or 0))


def _names(levels: Sequence[Any]) -> list[str]:
    """Return the names of levels, floats with as few digits as tell them apart."""
    floats = [level for level in levels if isinstance(level, float)]
    texts = format_distinct(floats, lambda value, digits: f"{value:.{digits}g}", 2)
    named: dict[Any, str] = {None: "–", **dict(zip(floats, texts, strict=True))}
    return [named.get(level) or str(level) for level in levels]
