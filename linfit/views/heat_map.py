"""The heat map: final excess loss over any two of the keys that a sweep varies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from linfit.component import unknown
from linfit.errors import ConfigError
from linfit.views.captions import say_lost, say_problem
from linfit.views.charts import Axis, Chart, Surface, join_notes, positive
from linfit.views.comparison import Comparison
from linfit.views.floor import clamp, get_floors, say_floor
from linfit.views.methods import on_first
from linfit.views.swept import Swept
from linfit.views.ticks import distinct

#: Values along an axis above which numbers are grouped into bins; cells that have room for text.
MOST_VALUES, BINS, MOST_TEXTS = 40, 12, 100


def heat_map(
    swept: Swept, comparison: Comparison, x: str | None = None, y: str | None = None
) -> Chart | None:
    """Final excess loss over two swept keys: the geometric mean over all else. ConfigError for a key that the sweep does not vary."""
    for key in (x, y):
        if key is not None and key not in swept.varying:
            raise ConfigError(unknown("swept key", key, list(swept.varying)))
    fitting = [
        key
        for key in (*swept.keys.numbers, *swept.keys.choices, *swept.keys.problem)
        if key not in (x, y) and _fits(swept.values(key))
    ]
    x = x or next(iter(fitting), None)
    y = y or next((key for key in fitting if key != x), None)
    if x is None or y is None:
        return None
    pooled = bool({x, y} & set(swept.keys.problem))
    across, up = (_binned(swept.values(key)) for key in (x, y))
    floor = get_floors(swept)
    excess = positive(clamp(swept.excess, floor))
    cells = pd.DataFrame({"x": across, "y": up, "excess": excess}, dtype=object)
    places = comparison.runs.index.to_numpy()
    if not pooled:
        places = places[on_first(comparison)]
    surface = _surface(cells.iloc[places], _levels(across), _levels(up))
    binned = " and ".join(key for key, own in ((x, across), (y, up)) if own != swept.values(key))
    single = not cells.iloc[places].duplicated(["x", "y"]).any()
    pooling = "geometric mean over all else, of the fits that finished"
    note = join_notes(
        "each cell is one fit" if single else pooling,
        *_lost(surface),
        say_lost(swept, places),
        "" if pooled else say_problem(comparison),
        f"{binned}: middles of bins" if binned else "",
        say_floor(swept.excess[places], floor[places]),
    )
    axes = [Axis(key, names=tuple(_names(_levels(own)))) for key, own in ((x, across), (y, up))]
    return Chart("heat_map", "Final excess loss", axes[0], axes[1], surface=surface, note=note)


def _surface(cells: pd.DataFrame, columns: Sequence[Any], rows: Sequence[Any]) -> Surface:
    """What is in the cells of a frame of x, y and the excess loss, NaN where a fit did not finish."""
    logs = cells.assign(excess=np.log10(cells["excess"].astype(float))).groupby(
        ["y", "x"], dropna=False
    )["excess"]
    mean, finished, fits = (
        found.unstack("x").reindex(index=rows, columns=columns).to_numpy(float)
        for found in (logs.mean(), logs.count(), logs.size())
    )
    z, places = 10**mean, list(np.ndindex(mean.shape))
    counts = {
        at: f"{finished[at]:.0f} of {fits[at]:.0f} fits" if fits[at] > 0 else "" for at in places
    }
    texts = {at: _cell(z[at], finished[at], fits[at]) for at in places if z.size <= MOST_TEXTS}
    grid = [np.arange(length, dtype=float) for length in (len(columns), len(rows))]
    return Surface(
        grid[0],
        grid[1],
        z,
        "final excess loss",
        "cells",
        _table(texts, z.shape),
        _table(counts, z.shape),
        1 - finished / fits,
    )


def _cell(value: float, finished: float, fits: float) -> str:
    """The mean, and below it how many of the fits finished if not all did."""
    if not fits > 0:
        return ""
    if not np.isfinite(value):
        return "×"
    plain = f"{value:.0f}" if value >= 9.5 else f"{value:.2g}"
    size = (
        plain if 0.01 <= value < 1e4 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")
    )
    return size if finished == fits else f"{size}\n{finished:.0f}/{fits:.0f}"


def _table(
    cells: dict[tuple[int, ...], str], shape: tuple[int, ...]
) -> tuple[tuple[str, ...], ...]:
    return (
        tuple(tuple(cells[i, j] for j in range(shape[1])) for i in range(shape[0])) if cells else ()
    )


def _lost(surface: Surface) -> tuple[str, str]:
    """What a note says of cells with fits that did not finish."""
    lost = surface.lost
    assert lost is not None
    some, all_ = bool(((lost > 0) & (lost < 1)).any()), bool((lost == 1).any())
    partly = "2/3: two of three did" if surface.texts else "/: some did not"
    return partly if some else "", "×: none did" if all_ else ""


def _fits(values: Sequence[Any]) -> bool:
    different = len(set(values))
    return different >= 2 and (different <= MOST_VALUES or _numbers(values))


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) or value is None for value in values)


def _binned(values: Sequence[Any]) -> list[Any]:
    """The values themselves, or of too many numbers the middles of bins; None stays."""
    if len(set(values)) <= MOST_VALUES or not _numbers(values):
        return list(values)
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    low, middle, high = np.nanmin(numbers), np.nanmedian(numbers), np.nanmax(numbers)
    wide = low > 0 and abs(middle - np.sqrt(low * high)) < abs(
        middle - (low + high) / 2
    )  # as numbers drawn on a log scale lie
    edges = (np.geomspace if wide else np.linspace)(low, high, BINS + 1)
    middles = np.sqrt(edges[1:] * edges[:-1]) if wide else (edges[1:] + edges[:-1]) / 2
    places = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, BINS - 1)
    return [
        None if np.isnan(number) else float(middles[place])
        for number, place in zip(numbers, places, strict=True)
    ]


def _levels(values: Sequence[Any]) -> list[Any]:
    """The different values, numbers in order and before what is none."""
    found = list(dict.fromkeys(values))
    return (
        sorted(found, key=lambda value: (value is None, value or 0)) if _numbers(found) else found
    )


def _names(levels: Sequence[Any]) -> list[str]:
    numbers = [level for level in levels if isinstance(level, float)]
    named = dict(
        zip(numbers, distinct(numbers, lambda value, digits: f"{value:.{digits}g}", 2), strict=True)
    )
    return [
        "–" if level is None else named[level] if isinstance(level, float) else str(level)
        for level in levels
    ]
