"""The heat map: the final loss over two keys that a sweep crosses, one for each method."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.component import describe_unknown
from linfit.errors import ConfigError
from linfit.problem.types import Array
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.rounding_floor import clip_to_floor
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    LeftOut,
    Surface,
    join_notes,
    mask_nonpositive,
)
from linfit.views.charts.sweeps.captions import (
    describe_drawn_floor,
    describe_drawn_problem,
    describe_lost_fits,
)
from linfit.views.charts.sweeps.methods import is_on_first_problem
from linfit.views.charts.ticks import format_distinct

#: The most cells that have room for text.
MOST_CELL_TEXTS = 100


def plot_heat_map(
    swept: SweepData,
    comparison: Comparison,
    x: str | None = None,
    y: str | None = None,
    method: str | None = None,
) -> Chart | LeftOut | None:
    """Return the final loss over two swept keys, the median over all else.

    Of one method if one is given. None where two keys are missing, LeftOut where the sweep does not
    have every combination of their values. ConfigError for a key that the sweep does not vary.
    """
    for key in (x, y):
        if key is not None and key not in swept.varying:
            raise ConfigError(describe_unknown("swept key", key, list(swept.varying)))
    keys = _choose_keys(swept, comparison, x, y, method)
    if not keys:
        return None
    found = next((pair for pair in keys if is_crossed(swept, comparison, pair, method)), None)
    if found is None:
        return LeftOut(_describe_uncrossed(swept, comparison, keys[0], method))

    x, y = found
    places = _select_cells(swept, comparison, found, method)
    is_excess = comparison.measure == mlflow_names.EXCESS
    losses = clip_to_floor(swept.excess, swept.floors) if is_excess else swept.compared_values
    cells = pd.DataFrame(
        {
            "x": swept.list_values(x),
            "y": swept.list_values(y),
            "loss": mask_nonpositive(losses),
        },
        dtype=object,
    ).iloc[places]
    columns = _levels(cells["x"].tolist())
    rows = _levels(cells["y"].tolist())
    surface = _surface(cells, columns, rows, f"final {comparison.measured}")
    single = not cells.duplicated(["x", "y"]).any()
    note = join_notes(
        "each cell is one fit" if single else "median over all else",
        *_describe_lost(surface),
        describe_lost_fits(swept, places),
        "" if _is_pooled(swept, found) else describe_drawn_problem(comparison),
        describe_drawn_floor(swept, comparison, places) if is_excess else "",
    )
    return Chart(
        "heat_map",
        f"Final {comparison.measured}" + (f" of {method}" if method else ""),
        ChartAxis(x, names=tuple(_names(columns))),
        ChartAxis(y, names=tuple(_names(rows))),
        surface=surface,
        note=note,
    )


def _choose_keys(
    swept: SweepData, comparison: Comparison, x: str | None, y: str | None, method: str | None
) -> list[tuple[str, str]]:
    """Return the pairs of keys that make a heat map, the best first.

    Those of one method are numbers, or keys of the problem, with several values in its fits.
    """
    choices = () if method else swept.keys.choices
    known = (*swept.keys.numbers, *choices, *swept.keys.problem)
    places = _select_cells(swept, comparison, (), method)
    suitable = [key for key in known if _count_values(swept, key, places) > 1]
    if x is not None and y is not None:
        return [(x, y)]
    if x is None and y is None:
        return list(combinations(suitable, 2))
    given = x or y
    others = [key for key in suitable if key != given]
    return [(x, other) if x else (other, y or "") for other in others]


def _count_values(swept: SweepData, key: str, places: NDArray[np.intp]) -> int:
    values = swept.list_values(key)
    return len({values[place] for place in places.tolist()} - {None})


def _is_pooled(swept: SweepData, keys: Sequence[str]) -> bool:
    """Return True if an axis is a key of the problem, so that all problems are drawn."""
    return any(key in swept.keys.problem for key in keys)


def _select_cells(
    swept: SweepData, comparison: Comparison, keys: Sequence[str], method: str | None
) -> NDArray[np.intp]:
    """Return the indices of the fits that are drawn."""
    places = comparison.fits.index.to_numpy()
    if keys and not _is_pooled(swept, keys):
        places = places[is_on_first_problem(comparison)]
    if method is not None:
        places = places[np.array(swept.groups.choices)[places] == method]
    return np.asarray(places)


def is_crossed(
    swept: SweepData, comparison: Comparison, keys: tuple[str, str], method: str | None = None
) -> bool:
    """Return True if the fits have every combination of the values of two keys."""
    places = _select_cells(swept, comparison, keys, method).tolist()
    pairs = _list_pairs(swept, keys, places)
    sizes = [len({pair[side] for pair in pairs}) for side in (0, 1)]
    return min(sizes) > 1 and len(pairs) == sizes[0] * sizes[1]


def _list_pairs(
    swept: SweepData, keys: tuple[str, str], places: Sequence[int]
) -> set[tuple[Any, Any]]:
    across, up = (swept.list_values(key) for key in keys)
    return {(across[place], up[place]) for place in places}


def _describe_uncrossed(
    swept: SweepData, comparison: Comparison, keys: tuple[str, str], method: str | None
) -> str:
    places = _select_cells(swept, comparison, keys, method).tolist()
    pairs = _list_pairs(swept, keys, places)
    across, up = (len({pair[side] for pair in pairs}) for side in (0, 1))
    return (
        f"{keys[0]} and {keys[1]} are not crossed: the sweep has {len(pairs)} of the "
        f"{across * up} combinations of their values"
    )


def _surface(
    cells: pd.DataFrame, columns: Sequence[Any], rows: Sequence[Any], label: str
) -> Surface:
    """Return the cells of a frame of x, y and loss.

    A fit that did not finish counts as infinite: NaN where half or more of a cell's did not.
    """
    losses = cells["loss"].astype(float).fillna(np.inf)
    groups = cells.assign(loss=losses, done=np.isfinite(losses)).groupby(["y", "x"], dropna=False)

    def on_grid(found: pd.Series[Any]) -> Array:
        table = found.unstack("x").reindex(index=rows, columns=columns)
        return np.asarray(table.to_numpy(float))

    middle = on_grid(groups["loss"].median())
    z = np.where(np.isfinite(middle), middle, np.nan)
    finished = on_grid(groups["done"].sum())
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
        label=label,
        kind="cells",
        texts=tuple(texts) if z.size <= MOST_CELL_TEXTS else (),
        counts=tuple(counts),
        lost_shares=1 - finished / fits,
    )


def _text(value: float, finished: float, fits: float) -> str:
    """Return the median, and below it how many of the fits finished if not all did."""
    if not fits > 0:
        return ""
    if not np.isfinite(value):
        return "×" if not finished else f"×\n{finished:.0f}/{fits:.0f}"

    if value < 0.01 or value >= 1e4:
        size = f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e+")
    else:
        size = f"{value:.0f}" if value >= 9.5 else f"{value:.2g}"
    return size if finished == fits else f"{size}\n{finished:.0f}/{fits:.0f}"


def _count(finished: float, fits: float) -> str:
    return f"{finished:.0f} of {fits:.0f} fits" if fits > 0 else ""


def _describe_lost(surface: Surface) -> tuple[str, str]:
    """Return notes on cells with fits that did not finish, which count as infinite."""
    lost = surface.lost_shares
    assert lost is not None
    some = bool(((lost > 0) & (lost < 1)).any())
    infinite = np.isnan(surface.z) & (lost > 0)
    if not infinite.any():
        blank = ""
    elif (lost[infinite] == 1).all():
        blank = "×: none finished"
    else:
        blank = "×: half or more did not finish"
    partly = "/: some did not finish"
    if some and surface.texts:
        row, column = np.argwhere((lost > 0) & (lost < 1))[0]
        partly = f"{surface.texts[row][column].splitlines()[-1]}: fits that finished"
    return partly if some else "", blank


def _levels(values: Sequence[Any]) -> list[Any]:
    """Return the different values; numbers are sorted, with None last."""
    found = list(dict.fromkeys(values))
    if not all(isinstance(value, int | float) or value is None for value in found):
        return found
    return sorted(found, key=lambda value: (value is None, value or 0))


def _names(levels: Sequence[Any]) -> list[str]:
    """Return the names of levels, floats with as few digits as tell them apart."""
    floats = [level for level in levels if isinstance(level, float)]
    texts = format_distinct(floats, lambda value, digits: f"{value:.{digits}g}", 2)
    named: dict[Any, str] = {None: "–", **dict(zip(floats, texts, strict=True))}
    return [named.get(level) or str(level) for level in levels]
