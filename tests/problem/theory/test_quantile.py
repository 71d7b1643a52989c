"""The optimum of the quantile loss against scikit-learn, exact fractions and its own laws."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from sklearn.linear_model import QuantileRegressor

from linfit.problem.losses import Loss, Quantile
from linfit.problem.theory.quantile import QuantileOptimum, minimize_quantile
from linfit.problem.types import Array

QUANTILES = [0.05, 0.5, 0.8]


def draw(n: int, p: int, q: int = 1, seed: int = 0) -> tuple[Array, Array]:
    stream = np.random.default_rng(seed)
    X = np.hstack([stream.standard_normal((n, p - 1)), np.ones((n, 1))])
    return X, X @ stream.standard_normal((p, q)) + stream.standard_normal((n, q))


def pinball(residual: Array, quantile: float) -> Array:
    return np.asarray(np.where(residual > 0, quantile, quantile - 1) * residual)


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize(("n", "p"), [(30, 2), (200, 5), (1000, 10)])
def test_the_optimum_is_scikit_learns(n: int, p: int, quantile: float) -> None:
    X, y = draw(n, p)
    found = minimize_quantile(X, y, quantile, 1 / n)
    W, loss, around, *_ = found
    peer = QuantileRegressor(quantile=quantile, alpha=0, fit_intercept=False).fit(X, y[:, 0])
    np.testing.assert_allclose(W[:, 0], peer.coef_, rtol=0, atol=1e-8)
    assert loss == pytest.approx(pinball(y[:, 0] - X @ peer.coef_, quantile).mean(), rel=1e-12)
    assert found.gap is not None and 0 <= found.gap <= 1e-14 * loss
    assert isinstance(around, QuantileOptimum) and (around.residual == 0).sum() == p


@pytest.mark.parametrize("quantile", QUANTILES)
def test_no_vertex_is_better_in_exact_arithmetic(quantile: float) -> None:
    """Some optimum meets p samples: the best of all choices of two is the minimum."""
    stream = np.random.default_rng(3)
    X = stream.integers(-4, 5, (9, 2)).astype(float)
    y = stream.integers(-9, 10, (9, 1)).astype(float)
    tau = Fraction(quantile)
    least = None
    for i, j in combinations(range(9), 2):
        (a, b), (c, d) = ([Fraction(v) for v in X[k]] for k in (i, j))
        if a * d == b * c:
            continue
        u, v = Fraction(y[i, 0]), Fraction(y[j, 0])
        w = ((u * d - b * v) / (a * d - b * c), (a * v - c * u) / (a * d - b * c))
        residuals = [
            Fraction(t) - Fraction(r[0]) * w[0] - Fraction(r[1]) * w[1]
            for r, t in zip(X, y[:, 0], strict=True)
        ]
        value = sum(max(tau * r, (tau - 1) * r) for r in residuals)
        least = value if least is None else min(least, value)
    assert least is not None
    assert minimize_quantile(X, y, quantile, 1.0)[1] == pytest.approx(float(least), rel=1e-14)


@pytest.mark.parametrize("quantile", QUANTILES)
@pytest.mark.parametrize("distance", [1e-12, 1e-6, 1.0, 1e6])
def test_the_excess_is_the_difference_of_losses_and_never_negative(
    quantile: float, distance: float
) -> None:
    X, y = draw(60, 4, 2)
    W, loss, around, *_ = minimize_quantile(X, y, quantile, 1 / y.size)
    away = distance * np.random.default_rng(1).standard_normal((50, 4, 2))
    excess = around.excess(away)
    expected = pinball(y - X @ (W + away), quantile).mean(axis=(1, 2)) - loss
    assert (excess > 0).all() and around.excess(np.zeros((4, 2))) <= 1e-16
    np.testing.assert_allclose(excess, expected, rtol=1e-9, atol=1e-15 * max(1, distance))


@pytest.mark.parametrize("quantile", QUANTILES)
def test_weights_count_rows(quantile: float) -> None:
    X, y = draw(25, 3, 2)
    counts = np.random.default_rng(2).integers(0, 4, 25)
    rows = np.repeat(np.arange(25), counts)
    share = counts / counts.mean()
    weighted = minimize_quantile(X, y, quantile, 1 / y.size, share)
    repeated = minimize_quantile(X[rows], y[rows], quantile, 1 / y[rows].size)
    np.testing.assert_allclose(weighted[0], repeated[0], rtol=1e-12)
    assert weighted[1] == pytest.approx(repeated[1], rel=1e-13)


DEGENERATE = {
    "no noise": (np.vander(np.arange(8.0), 3), np.vander(np.arange(8.0), 3) @ [[1.0], [2], [3]]),
    "fewer samples than features": draw(3, 5),
    "a column of zeros": (np.hstack([draw(20, 2)[0], np.zeros((20, 1))]), draw(20, 2)[1]),
    "columns that depend": (np.hstack([draw(20, 2)[0]] * 2), draw(20, 2)[1]),
    "ties": (np.ones((10, 1)), np.repeat([[1.0], [2], [3], [4], [5]], 2, axis=0)),
    "an even median": (np.ones((4, 1)), np.array([[1.0], [2], [3], [9]])),
    "large numbers": (1e100 * draw(20, 2)[0], 1e120 * draw(20, 2)[1]),
    "small numbers": (1e-100 * draw(20, 2)[0], 1e-120 * draw(20, 2)[1]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("quantile", QUANTILES)
def test_degenerate_problems_have_their_least_loss(name: str, quantile: float) -> None:
    X, y = DEGENERATE[name]
    found = minimize_quantile(X, y, quantile, 1 / y.size)
    W, loss, *_ = found
    size = np.abs(y).max()
    assert np.isfinite(W).all() and found.gap is not None and 0 <= found.gap <= 1e-12 * size
    assert loss == pytest.approx(pinball(y - X @ W, quantile).mean(), rel=1e-9, abs=1e-12 * size)
    stream = np.random.default_rng(4)
    for distance in (1e-3, 1.0):
        move = distance * np.linalg.norm(y) * stream.standard_normal((20, *W.shape))
        away = move / max(np.linalg.norm(X, 2), 1e-300)
        assert (pinball(y - X @ (W + away), quantile).mean(axis=(1, 2)) >= loss * (1 - 1e-12)).all()


def test_a_penalty_is_refused() -> None:
    from tests.helpers import config

    assert isinstance(Loss.choose("quantile"), Quantile)
    with pytest.raises(ValueError, match="without a penalty, not with ridge: choose penalty=none"):
        config(loss="quantile", penalty="ridge")
    for refused in (0.0, 1.0, -0.2):
        with pytest.raises(ValueError, match="quantile"):
            Loss.choose({"name": "quantile", "quantile": refused})
