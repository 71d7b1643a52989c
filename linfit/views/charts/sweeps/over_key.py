"""Pictures of the final loss over any number that a sweep varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import is_summed_loss
from linfit.views.analysis.comparison import MEASURES, Comparison
from linfit.views.analysis.sweep_data import LEARNING_RATE, SweepData
from linfit.views.charts.chart import (
    Chart,
    ChartAxis,
    Series,
    join_notes,
    mask_nonpositive,
    merge_equal_series,
)
from linfit.views.charts.drawing.looks import choose_faint_color
from linfit.views.charts.sweeps.captions import describe_drawn_problem
from linfit.views.charts.sweeps.loss_lines import (
    MOST_KEY_TICKS,
    MOST_KEY_VALUES,
    bin_numbers,
    describe_points,
    draw_medians,
    frame_lines,
    list_numbers,
    select_methods,
    spans_decades,
)
from linfit.views.charts.sweeps.methods import is_on_first_problem

#: Values of a key from which on its picture is made.
FEWEST_KEY_VALUES = 3
#: Keys that have a picture of their own.
MOST_KEY_CHARTS = 6


@dataclass(frozen=True)
class KeyLoss:
    """A loss of each fit that a picture over a key shows, infinite unless the fit finished."""

    name: str
    values: Array

    @property
    def label(self) -> str:
        return MEASURES[self.name]


def list_line_keys(swept: SweepData) -> list[str]:
    """Return the swept keys, besides the learning rate, whose values are enough numbers."""
    found = []
    for key in (*swept.keys.problem, *swept.keys.numbers):
        numbers = list_numbers(swept, key)
        different = np.unique(numbers[np.isfinite(numbers)])
        if key != LEARNING_RATE and len(different) >= FEWEST_KEY_VALUES:
            found.append(key)
    return found[:MOST_KEY_CHARTS]


def name_key_chart(key: str) -> str:
    """Return the name of the picture over a key."""
    return f"over_{key.replace('.', '_')}"


def plot_over_key(swept: SweepData, comparison: Comparison, key: str) -> Chart | None:
    """Return the final loss over a swept number: median and range over all else."""
    exact = list_numbers(swept, key)
    places, of_problem = _select_places(swept, comparison, key)
    looks, fits = select_methods(swept, comparison, places[np.isfinite(exact[places])])
    if not fits:
        return None
    shown = np.concatenate(list(fits.values()))
    is_scattered = _is_scattered(exact, fits)
    numbers = exact if is_scattered else bin_numbers(exact)
    draw = _draw_points if is_scattered else draw_medians
    losses = _choose_losses(swept, comparison, key)

    series: list[Series] = []
    for place, loss in enumerate(losses):
        lines = []
        for method, style in looks.items():
            own = fits[method]
            parts = [method] * (len(looks) > 1) + [loss.label] * (len(losses) > 1)
            label = ": ".join(parts) or method
            line = draw(label, style, numbers[own], loss.values[own])
            lines.append(line if place == 0 else _draw_second(line))
        series += merge_equal_series(lines)

    if is_scattered:
        reading = "each point is one fit"
    else:
        reading = describe_points(swept, key, fits, numbers, is_binned=numbers is not exact)
    drawn = " and ".join(loss.label for loss in losses)
    chart = Chart(
        name_key_chart(key),
        f"{drawn.capitalize()} over {key}",
        _choose_axis(key, exact[shown]),
        ChartAxis(f"final {losses[0].label}" if len(losses) == 1 else "final loss", "log"),
        series,
        note=join_notes(reading, "pale: training loss" if len(losses) > 1 else ""),
    )
    is_excess = losses[0].name == mlflow_names.EXCESS
    return frame_lines(chart, swept, comparison, looks, fits, numbers, of_problem, is_excess)


def _select_places(
    swept: SweepData, comparison: Comparison, key: str
) -> tuple[NDArray[np.intp], str]:
    """Return the indices of the fits that differ in this key, but not in the problem's others.

    A note says which problem that is.
    """
    index = comparison.fits.index.to_numpy()
    first = comparison.fits.index[is_on_first_problem(comparison)]
    if key not in swept.keys.problem:
        return first.to_numpy(), describe_drawn_problem(comparison)
    same = np.ones(len(index), dtype=bool)
    notes = []
    for other in swept.keys.problem:
        if other == key or other.startswith(f"{key}."):
            continue
        values = np.array(swept.list_values(other), dtype=object)
        same &= values[index] == values[first[0]]
        notes.append(f"{other}={values[first[0]]}")
    return index[same], ", ".join(notes)


def _choose_losses(swept: SweepData, comparison: Comparison, key: str) -> list[KeyLoss]:
    """Return the losses that are drawn: of samples held out and fitted, or the excess loss."""
    held_out = swept.results.get(mlflow_names.VALIDATION)
    if held_out is not None and held_out.notna().any():
        names = [mlflow_names.VALIDATION]
        # Sums over other numbers of samples do not compare.
        if not any(map(is_summed_loss, swept.list_values("loss"))):
            names.append(mlflow_names.LOSS)
    elif key in swept.keys.problem:
        names = [mlflow_names.LOSS]
    else:
        return [KeyLoss(swept.shown_name, swept.shown_losses)]
    losses = []
    for name in names:
        values = swept.results[name].to_numpy(float)
        losses.append(KeyLoss(name, np.where(swept.finished, values, np.inf)))
    return losses


def _is_scattered(numbers: Array, fits: Mapping[str, NDArray[np.intp]]) -> bool:
    """Return True if most values are of one fit alone, as those that are drawn at random."""
    shown = np.concatenate(list(fits.values()))
    different = len(np.unique(numbers[shown]))
    return different > MOST_KEY_VALUES and 2 * different > len(shown)


def _draw_points(label: str, style: int, numbers: Array, losses: Array) -> Series:
    """Return a point for each fit that finished."""
    return Series(label, numbers, mask_nonpositive(losses), kind="points", style=style)


def _draw_second(line: Series) -> Series:
    """Return a second loss, which stands back behind the first."""
    kind: Literal["points", "plain"] = "points" if line.kind == "points" else "plain"
    color = choose_faint_color(line.style or 0)
    return replace(line, low=None, high=None, kind=kind, color=color)


def _choose_axis(key: str, numbers: Array) -> ChartAxis:
    """Return the axis of a key: logarithmic where its values span decades."""
    found = np.unique(numbers[np.isfinite(numbers)])
    ticks = tuple(found.tolist()) if len(found) <= MOST_KEY_TICKS else ()
    whole = bool((found == np.round(found)).all())
    is_log = spans_decades(numbers)
    return ChartAxis(key, "log" if is_log else "linear", ticks=ticks, whole=whole)
