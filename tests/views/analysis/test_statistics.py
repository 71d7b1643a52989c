"""The statistics against brute force, against scipy, and against the definition."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from linfit.views.analysis.statistics import (
    compute_best_probabilities,
    compute_expected_best,
    compute_mean_interval,
    compute_performance_profile,
)


@pytest.mark.parametrize("m", [2, 3, 10])
def test_the_interval_is_students(m: int) -> None:
    values = np.random.default_rng(m).normal(size=m)
    mean, low, high = compute_mean_interval(values)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx(
        stats.t.interval(0.95, m - 1, loc=values.mean(), scale=stats.sem(values))
    )


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    assert compute_mean_interval(np.array([3.0]))[0] == 3.0
    assert np.isnan(compute_mean_interval(np.array([3.0]))[1:]).all()
    assert np.isnan(compute_mean_interval(np.array([]))).all()


def test_the_expected_best_is_the_mean_over_all_draws_without_replacement() -> None:
    values = np.array([3.0, -1.0, 4.0, 1.0, 5.0, 9.0, -2.0])
    trials = np.arange(1, 8)
    mean, low, high = compute_expected_best(values, trials, level=0.8)
    for t in trials:
        minima = np.sort([min(draw) for draw in combinations(values, int(t))])
        assert mean[t - 1] == pytest.approx(minima.mean())
        assert low[t - 1] == np.quantile(minima, 0.1, method="inverted_cdf")
        assert high[t - 1] == np.quantile(minima, 0.9, method="inverted_cdf")


def test_the_probabilities_of_the_best_sum_to_one_also_of_many_values() -> None:
    chances = compute_best_probabilities(np.zeros(2000), np.array([1, 2, 50, 1999, 2000]))
    assert chances.sum(axis=1) == pytest.approx(1.0)
    assert chances[-1, 0] == pytest.approx(1.0)
    assert (chances >= 0).all()


def test_a_profile_is_the_share_of_problems_within_a_factor_of_the_least() -> None:
    costs = np.array([[1.0, 2.0], [10.0, 5.0], [np.inf, 7.0], [np.inf, np.inf]])
    factors, shares = compute_performance_profile(costs)
    assert factors.tolist() == [1.0, 2.0]
    assert shares.tolist() == [[0.25, 0.5], [0.5, 0.75]]
