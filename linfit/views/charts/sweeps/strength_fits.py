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
    lost: Array
    """The share `[s]` of fits that did not finish."""
    note: str
    """Which fits they are."""


@dataclass(frozen=True)
class StrengthLosses:
    """The median validation loss at each strength `[s]`, as the leaderboard has it.

    With the standard error of its fits, NaN of one.
    """

    medians: Array
    errors: Array
    lost: Array
    """The share of fits that did not finish."""

    @property
    def best(self) -> int:
        """The index of the leaderboard's first: the lowest median where fewest fits are lost."""
        kept = self.lost == self.lost.min()
        return int(np.argmin(np.where(kept, self.medians, np.inf)))

    @property
    def simplest(self) -> int | None:
        """The index of the largest strength within one standard error of the lowest median."""
        most = self.medians[self.best] + self.errors[self.best]
        if not np.isfinite(most):
            return None
        within = (self.medians <= most) & (self.lost == self.lost.min())
        return int(np.flatnonzero(within)[-1])


def collect_strength_fits(swept: SweepData, comparison: Comparison) -> StrengthFits | None:
    """Return the best method's fits, at the setting chosen for each strength.

    None unless the sweep has several strengths.
    """
    if STRENGTH_KEY not in swept.keys.problem or not comparison.entries:
        return None
    numbers = list_numbers(swept, STRENGTH_KEY)
    places, note = select_places(swept, comparison, STRENGTH_KEY)
    method = comparison.entries[0].method
    drawn = set(places[np.isfinite(numbers[places])].tolist())
    tried: dict[float, list[int]] = {}
    for entry in comparison.entries:
        if entry.method == method:
            for place in select_fits(comparison, entry).index:
                if place in drawn:
                    tried.setdefault(float(numbers[place]), []).append(place)
    found = {strength: [at for at in own if swept.finished[at]] for strength, own in tried.items()}
    strengths = sorted(strength for strength, own in found.items() if own)
    if len(strengths) < FEWEST_KEY_VALUES:
        return None
    count = comparison.fits["method"].nunique()
    notes = [f"{method}, the first of {count} methods" if count > 1 else "", note]
    return StrengthFits(
        np.array(strengths),
        [np.array(sorted(found[strength]), dtype=np.intp) for strength in strengths],
        np.array([1 - len(found[strength]) / len(tried[strength]) for strength in strengths]),
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
    medians = []
    errors = []
    for places in fits.places:
        own = losses[places]
        medians.append(np.median(own))
        errors.append(own.std(ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.nan)
    return StrengthLosses(np.array(medians), np.array(errors), fits.lost)


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
        return [Mark(best, f"lowest median, and one standard error: {best:.3g}", style=7)]
    return [
        Mark(best, f"lowest median: {best:.3g}", style=7),
        Mark(simplest, f"one standard error: {simplest:.3g}", style=6),
    ]
