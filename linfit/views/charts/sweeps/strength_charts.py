"""Pictures over the strengths of a penalty: the weights, how many are left, and the losses.

s strengths, p features, q targets.
"""

from __future__ import annotations

from itertools import compress

import numpy as np

from linfit.errors import LinfitError
from linfit.problem.types import Array
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, ChartAxis, LeftOut, Series, join_notes
from linfit.views.charts.drawing.looks import OTHERS_COLOR
from linfit.views.charts.sweeps.loss_lines import spans_decades
from linfit.views.charts.sweeps.over_key import FEWEST_KEY_VALUES, choose_key_axis, name_key_chart
from linfit.views.charts.sweeps.strength_fits import (
    STRENGTH_KEY,
    StrengthFits,
    collect_strength_fits,
    mark_choices,
    measure_strengths,
)

#: Features whose weights have a line and a name of their own.
MOST_NAMED_FEATURES = 10
SUPPORT = "support_size"


def plot_strength_path(swept: SweepData, comparison: Comparison) -> Chart | LeftOut | None:
    """Return each feature's weight over the strengths, the median over repetitions."""
    fits = collect_strength_fits(swept, comparison)
    if fits is None:
        return None
    rows = swept.results["row"].to_numpy()
    try:
        config = swept.load_config(int(rows[fits.places[0][0]]))
        problem = config.problem()
    except (LinfitError, ValueError, OSError):
        return LeftOut("the data of its fits, which name the features, are gone")
    _, p, q = problem.shape
    path = collect_weights(swept, fits, p, q)
    if path is None:
        return LeftOut("its fits have other numbers of weights")

    is_drawn = config.shrinkage().mark_penalized(p) > 0
    drawn = np.flatnonzero(is_drawn)
    sizes = np.abs(path).max(axis=0)
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    named = [feature for feature in order[:MOST_NAMED_FEATURES] if sizes[feature]]
    series = draw_others(fits.strengths, path[:, np.setdiff1d(order, named)])
    for style, feature in enumerate(named):
        own = (problem.features[feature], fits.strengths, path[:, feature])
        series.append(Series(*own, style=style, is_sparse=True))
    note = join_notes(
        describe_median(comparison, fits),
        f"length of each feature's weights of {q} targets" if q > 1 else "",
        "" if is_drawn.all() else "the intercept, which is not penalized, is not drawn",
        fits.note,
    )
    return Chart(
        "strength_path",
        f"Weights along the strengths of {config.penalty.name}",
        choose_key_axis(STRENGTH_KEY, fits.strengths),
        ChartAxis("weight" if q == 1 else "length of weights"),
        series,
        mark_choices(swept, fits),
        note=note,
    )


def collect_weights(swept: SweepData, fits: StrengthFits, p: int, q: int) -> Array | None:
    """Return the median weights `[s, p]`, of several targets the length of each feature's.

    None if a fit has other weights.
    """
    stored = swept.results["weights"]
    path = []
    for places in fits.places:
        own = [np.asarray(stored[place], dtype=float) for place in places]
        if any(weights.size != p * q for weights in own):
            return None
        weights = np.stack(own).reshape(-1, p, q)
        lengths = weights[..., 0] if q == 1 else np.linalg.norm(weights, axis=2)
        path.append(np.median(lengths, axis=0))
    return np.array(path)


def draw_others(strengths: Array, path: Array) -> list[Series]:
    """Return the features without a name of their own as grey threads, the weights `[s, o]`."""
    count = path.shape[1]
    if not count:
        return []
    x = np.tile(np.append(strengths, np.nan), count)
    y = np.vstack([path, np.full((1, count), np.nan)]).T.ravel()
    label = "one other" if count == 1 else f"{count} others"
    return [Series(label, x, y, kind="threads", style=7, color=OTHERS_COLOR)]


def describe_median(comparison: Comparison, fits: StrengthFits) -> str:
    """Return what a point is."""
    most = max(map(len, fits.places))
    if most == 1:
        return "each point is one fit"
    return f"median over {comparison.replicates.count(most)}"


def plot_support(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return how many weights are not 0 over the strengths: median and range."""
    fits = collect_strength_fits(swept, comparison)
    if fits is None or SUPPORT not in swept.results:
        return None
    sizes = swept.results[SUPPORT].to_numpy(float)
    is_known = [bool(np.isfinite(sizes[places]).all()) for places in fits.places]
    own = [sizes[places] for places in compress(fits.places, is_known)]
    if len(own) < FEWEST_KEY_VALUES:
        return None
    strengths = fits.strengths[is_known]
    middle = np.array([np.median(part) for part in own])
    low = np.array([part.min() for part in own])
    high = np.array([part.max() for part in own])
    note = join_notes(describe_median(comparison, fits), _describe_range(fits), fits.note)
    return Chart(
        "support",
        "Weights that are not 0",
        choose_key_axis(STRENGTH_KEY, fits.strengths),
        ChartAxis("number of weights", whole=True),
        [Series("not 0", strengths, middle, low, high, style=0, is_sparse=True)],
        mark_choices(swept, fits),
        note=note,
    )


def _describe_range(fits: StrengthFits) -> str:
    return "band: range" if max(map(len, fits.places)) > 1 else ""


def plot_strength_choice(swept: SweepData, comparison: Comparison) -> Chart | None:
    """Return the median validation loss over the strengths, with one standard error.

    None where several methods are compared, or nothing is held out in several parts.
    """
    fits = collect_strength_fits(swept, comparison)
    if fits is None or comparison.fits["method"].nunique() > 1:
        return None
    losses = measure_strengths(swept, fits)
    if losses is None or losses.simplest is None:
        return None
    medians = losses.medians
    low = medians - losses.errors
    high = medians + losses.errors
    is_log = bool(low.min() > 0) and spans_decades(medians)
    line = Series("median", fits.strengths, medians, low, high, style=0, is_sparse=True)
    many = comparison.replicates.count(max(map(len, fits.places)))
    note = join_notes(
        f"line: median over {many}; band: ± one standard error, s/√n",
        "one standard error: the largest strength whose median is within it of the lowest",
        fits.note,
    )
    return Chart(
        name_key_chart(STRENGTH_KEY),
        f"Validation loss over {STRENGTH_KEY}",
        choose_key_axis(STRENGTH_KEY, fits.strengths),
        ChartAxis("validation loss", "log" if is_log else "linear"),
        [line],
        mark_choices(swept, fits),
        note=note,
    )
