"""The few statistics that comparing fits needs, as exact formulas: no resampling, so the same sweep gives the same numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.problem import Array

LEVEL = 0.95


def mean_interval(values: Array, level: float = LEVEL) -> tuple[float, float, float]:
    """The mean of independent values `[m]` with Student's t-interval around it; a NaN bound where there are fewer than two.

    x̄ ± t·s/√m, with t the quantile of m − 1 degrees of freedom.
    """
    m = len(values)
    if m == 0:
        return float("nan"), float("nan"), float("nan")
    mean = float(np.mean(values))
    if m < 2:
        return mean, float("nan"), float("nan")
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    half = float(stdtrit(m - 1, 0.5 + level / 2)) * float(np.std(values, ddof=1)) / m**0.5
    return mean, mean - half, mean + half


def best_of(values: Array, trials: NDArray[np.int64]) -> Array:
    """P `[k, m]`: the probability that the smallest of `trials[k]` of m values, drawn without replacement, is the i-th smallest.

    With C(m − i, t)/C(m, t) the probability that all t draws are larger than the i-th smallest (Dodge et al., "Show Your Work",
    EMNLP 2019, draws with replacement, which is biased: Tang et al., ACL 2020).
    """
    m = len(values)
    i = np.arange(m)
    factors = np.maximum(m - i - trials[:, None], 0) / (m - i)  # C(m−i−1, t)/C(m−i, t)
    larger = np.concatenate([np.ones((len(trials), 1)), np.cumprod(factors, axis=1)], axis=1)  # [k, m + 1]
    return np.asarray(larger[:, :-1] - larger[:, 1:])


def expected_best(values: Array, trials: NDArray[np.int64], level: float = 0.8) -> tuple[Array, Array, Array]:
    """The expected smallest of so many values drawn without replacement, and the range that holds it with probability `level`."""
    ranked = np.sort(values)
    chances = best_of(ranked, trials)  # [k, m]
    upto = np.cumsum(chances, axis=1)
    low, high = (np.minimum((upto < edge - 1e-12).sum(axis=1), len(ranked) - 1) for edge in ((1 - level) / 2, (1 + level) / 2))
    return chances @ ranked, ranked[low], ranked[high]


def performance_profile(costs: Array) -> tuple[Array, Array]:
    """The factors τ `[k]`, and ρ `[k, s]`, the share of problems on which each of s methods costs at most τ times the least.

    `costs` `[m, s]` are positive, infinite where a method never got there (Dolan and Moré, 2002).
    """
    least = costs.min(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        ratios = np.where(np.isfinite(costs), costs / least, np.inf)
    factors = np.unique(np.concatenate([[1.0], ratios[np.isfinite(ratios)]]))
    return factors, (ratios[None] <= factors[:, None, None]).mean(axis=1)
