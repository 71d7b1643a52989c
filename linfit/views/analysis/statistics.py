"""Statistics for comparing fits, as exact formulas: no resampling, so numbers repeat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array

CONFIDENCE = 0.95
#: Seeds up to which each of them is shown; from more, the median and the quartiles.
MOST_SHOWN_SEEDS = 5


def split_level(intervals: int, level: float = CONFIDENCE) -> float:
    """Return the level of each interval so that all hold at once with `level` (Šidák)."""
    return float(level ** (1 / max(intervals, 1)))


def summarize_seeds(values: Array) -> tuple[float, float, float]:
    """Return the median of values `[m]`, and the low and the high end of their spread.

    The spread of up to five values is their range, that of more is between their quartiles. NaN is
    no value. Without values there is no median, with fewer than two no spread: NaN.
    """
    found = values[~np.isnan(values)]
    if not len(found):
        return float("nan"), float("nan"), float("nan")
    median = float(np.median(found))
    if len(found) == 1:
        return median, float("nan"), float("nan")
    ends = (0, 1) if len(found) <= MOST_SHOWN_SEEDS else (0.25, 0.75)
    low, high = np.quantile(found, ends)
    return median, float(low), float(high)


def compute_mean_interval(values: Array, level: float = CONFIDENCE) -> tuple[Array, Array, Array]:
    """Return means `[...]` of values `[..., m]` and Student's t-intervals around them.

    x̄ ± t·s/√m, with t the quantile of m − 1 degrees of freedom. The values are independent.
    NaN is no value. Without values there is no mean, with fewer than two no interval: NaN.
    """
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    mean, error, freedom = _mean_and_error(values)
    half = stdtrit(freedom, 0.5 + level / 2) * error
    return mean, mean - half, mean + half


def compute_p_values(values: Array) -> Array:
    """Return p-values `[...]` of Student's t-test that values `[..., m]` average 0.

    Values that are all 0 have p = 1; fewer than two have none: NaN.
    """
    from scipy.special import stdtr

    mean, error, freedom = _mean_and_error(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(mean == 0, 0.0, -np.abs(mean) / error)
    return np.where(np.isnan(freedom), np.nan, 2 * stdtr(freedom, t))


def adjust_by_holm(p: Array, family: int) -> Array:
    """Return p-values `[..., k]` adjusted by Holm's step-down rule, with Šidák's levels.

    They belong to a family of `family` ≥ k comparisons, whose other members count as larger.
    Where nothing differs, any of them is below 0.05 in at most 5 % of all families.
    NaN stays NaN.
    """
    order = np.argsort(p, axis=-1)
    remaining = family - np.arange(p.shape[-1])
    with np.errstate(divide="ignore"):  # of p = 1
        steps = -np.expm1(remaining * np.log1p(-np.take_along_axis(p, order, axis=-1)))
    adjusted = np.empty_like(p)
    np.put_along_axis(
        adjusted,
        order,
        np.maximum.accumulate(steps, axis=-1),
        axis=-1,
    )
    return adjusted


def _mean_and_error(values: Array) -> tuple[Array, Array, Array]:
    """Return the mean, its standard error and the degrees of freedom; NaN where there are none."""
    found = np.isfinite(values)
    m = found.sum(axis=-1)
    freedom = np.where(m > 1, m - 1.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(found, values, 0.0).sum(axis=-1) / m
        squares = (np.where(found, values - mean[..., None], 0.0) ** 2).sum(axis=-1)
    return mean, np.sqrt(squares / freedom / np.maximum(m, 1)), freedom


def compute_best_probabilities(values: Array, trials: NDArray[np.int64]) -> Array:
    """Return P `[k, m]`, the probability that the i-th smallest of m values is the best of a draw.

    Draw `trials[k]` = t of the values without replacement. All draws are larger than the i-th
    smallest with probability C(m − i, t)/C(m, t). (Dodge et al., "Show Your Work", EMNLP 2019,
    draw with replacement, which is biased: Tang et al., ACL 2020.)
    """
    m = len(values)
    i = np.arange(m)
    factors = np.maximum(m - i - trials[:, None], 0) / (m - i)  # C(m−i−1, t)/C(m−i, t)
    start = np.ones((len(trials), 1))
    larger = np.concatenate([start, np.cumprod(factors, axis=1)], axis=1)  # [k, m + 1]
    return np.asarray(larger[:, :-1] - larger[:, 1:])


def compute_expected_best(
    values: Array, trials: NDArray[np.int64], level: float = 0.8
) -> tuple[Array, Array, Array]:
    """Return the expected smallest `[k]` of `trials[k]` values, and the ends of its range.

    The values are drawn without replacement. The range holds the smallest with probability `level`.
    """
    ranked = np.sort(values)
    chances = compute_best_probabilities(ranked, trials)  # [k, m]
    below = np.cumsum(chances, axis=1)

    def quantile(share: float) -> Array:
        places = (below < share - 1e-12).sum(axis=1)
        return np.asarray(ranked[np.minimum(places, len(ranked) - 1)])

    return chances @ ranked, quantile((1 - level) / 2), quantile((1 + level) / 2)


def compute_performance_profile(costs: Array) -> tuple[Array, Array]:
    """Return the performance profile of s methods on m problems.

    Factors τ `[k]`, shares `[k, s]`.

    A share is that of the problems on which a method costs at most τ times the least. `costs`
    `[m, s]` are positive, infinite where a method never got there (Dolan and Moré, 2002).
    """
    least = costs.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(costs), costs / least, np.inf)
    factors = np.unique(np.concatenate([[1.0], ratios[np.isfinite(ratios)]]))
    return factors, (ratios[None] <= factors[:, None, None]).mean(axis=1)
