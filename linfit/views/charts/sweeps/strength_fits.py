"""The fits of a sweep along the strengths of its penalty, and the strength that predicts best.

s strengths, f repetitions (folds or seeds) of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Mark
from linfit.views.charts.sweeps.loss_lines import list_numbers
from linfit.views.charts.sweeps.methods import select_fits
from linfit.views.charts.sweeps.over_key import FEWEST_KEY_VALUES, select_places

STRENGTH_KEY = "penalty.strength"


@dataclass(frozen=True)
class StrengthFits:
    """The strengths `[s]`, from the smallest on, and the indices of each one's finished fits."""

    strengths: Array
    places: list[NDArray[np.intp]]
    note: str
    """Which fits they are."""


@dataclass(frozen=True)
class StrengthLosses:
    """The mean validation loss at each strength `[s]`, and its standard error, NaN of one fit."""

    means: Array
    errors: Array

    @property
    def best(self) -> int:
        """The index of the lowest mean."""
        return int(np.nanargmin(self.means))

    @property
    def simplest(self) -> int | None:
        """The index of the largest strength within one standard error of the lowest mean."""
        most = self.means[self.best] + self.errors[self.best]
        if not np.isfinite(most):
            return None
        return int(np.flatnonzero(self.means <= most)[-1])


def collect_strength_fits(swept: SweepData, comparison: Comparison) -> StrengthFits | None:
    """Return the best method's fits, at the setting chosen for each strength.

    None unless the sweep has several strengths.
    """
    if STRENGTH_KEY not in swept.keys.problem or not comparison.entries:
        return None
    numbers = list_numbers(swept, STRENGTH_KEY)
    places, note = select_places(swept, comparison, STRENGTH_KEY)
    method = comparison.entries[0].method
    drawn = set(places[swept.finished[places]].tolist())
    found: dict[float, list[int]] = {}
    for entry in comparison.entries:
        if entry.method == method:
            for place in select_fits(comparison, entry).index:
                if place in drawn and np.isfinite(numbers[place]):
                    found.setdefault(float(numbers[place]), []).append(place)
    if len(found) < FEWEST_KEY_VALUES:
        return None
    strengths = sorted(found)
    count = comparison.fits["method"].nunique()
    notes = [f"{method}, the first of {count} methods" if count > 1 else "", note]
    return StrengthFits(
        np.array(strengths),
        [np.array(sorted(found[strength]), dtype=np.intp) for strength in strengths],
        "; ".join(filter(None, notes)),
    )


def measure_strengths(swept: SweepData, fits: StrengthFits) -> StrengthLosses | None:
    """Return the validation losses of the fits; None if one has none."""
    held_out = swept.results.get(mlflow_names.VALIDATION)
    if held_out is None:
        return None
    losses = held_out.to_numpy(float)
    if not np.isfinite(losses[np.concatenate(fits.places)]).all():
        return None
    means = []
    errors = []
    for places in fits.places:
        own = losses[places]
        means.append(own.mean())
        errors.append(own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.nan)
    return StrengthLosses(np.array(means), np.array(errors))


def mark_choices(swept: SweepData, fits: StrengthFits) -> list[Mark]:
    """Return the marks of the strength that predicts best, and of the simplest within its error."""
    losses = measure_strengths(swept, fits)
    if losses is None:
        return []
    best = float(fits.strengths[losses.best])
    if losses.simplest is None:
        return [Mark(best, f"lowest validation loss: {best:.3g}", style=7)]
    simplest = float(fits.strengths[losses.simplest])
    if simplest == best:
        return [Mark(best, f"lowest mean, and one standard error: {best:.3g}", style=7)]
    return [
        Mark(best, f"lowest mean: {best:.3g}", style=7),
        Mark(simplest, f"one standard error: {simplest:.3g}", style=6),
    ]
