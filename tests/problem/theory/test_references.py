"""The optimum beside second libraries, statsmodels and skglm: `make references` installs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import linfit
from linfit.problem.theory.optimum import Optimum, find_optimum
from linfit.problem.types import Array
from tests.helpers import config

pytestmark = pytest.mark.references

N, P = 120, 8
SHARES = (0.3, 0.01)


def draw(n: int = N, p: int = P) -> tuple[Array, Array]:
    """Return features, and predictors of the first five."""
    stream = np.random.default_rng(5)
    X = stream.standard_normal((n, p)) + 0.5 * stream.standard_normal((n, 1))
    return X, X[:, :5] @ np.array([0.4, -0.3, 0.5, -0.2, 0.1])


def optimum(X: Array, y: Array, loss: str, penalty: Any, weights: Array | None = None) -> Optimum:
    given = config(
        dataset=linfit.arrays(X, y, weight=weights), loss=loss, penalty=penalty, dtype="float64"
    )
    return find_optimum(given.problem(), given.loss, given.shrinkage())


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("loss", ["poisson", "logistic"])
def test_a_generalized_linear_model_is_statsmodels(loss: str, is_weighted: bool) -> None:
    import statsmodels.api as sm

    X, eta = draw()
    stream = np.random.default_rng(6)
    family = sm.families.Poisson() if loss == "poisson" else sm.families.Binomial()
    y = (stream.random(N) < 1 / (1 + np.exp(-eta))).astype(float)
    if loss == "poisson":
        y = stream.poisson(np.exp(eta)).astype(float)
    weights = stream.integers(1, 4, N).astype(float) if is_weighted else None

    model = sm.GLM(y, X, family=family, freq_weights=weights)
    other = model.fit(tol=1e-14, tol_criterion="params", maxiter=200)
    found = optimum(X, y, loss, "none", weights)
    np.testing.assert_allclose(found.weights[:, 0], other.params, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("ratio", [1.0, 0.7])
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("n", "p"), [(N, P), (40, 60)])
def test_squares_with_a_corner_are_skglms(n: int, p: int, share: float, ratio: float) -> None:
    from skglm import ElasticNet

    X, eta = draw(n, p)
    y = eta + 0.3 * np.random.default_rng(7).standard_normal(n)
    alpha = share * float(np.abs(X.T @ y).max()) / n
    # ‖r‖²/2n there is half of mse, and so is alpha half of the strength.
    penalty = {"name": "elastic_net", "strength": 2 * alpha, "l1_ratio": ratio}
    found = optimum(X, y, "mse", penalty)
    other = ElasticNet(alpha, l1_ratio=ratio, fit_intercept=False, tol=1e-14, max_iter=500)
    W = other.fit(np.asfortranarray(X), y).coef_
    np.testing.assert_allclose(found.weights[:, 0], W, rtol=1e-8, atol=1e-9)
    theirs = measure(X, y, W, 2 * alpha, ratio)
    assert found.loss == pytest.approx(theirs, rel=1e-12)
    assert found.gap is not None and found.gap <= 1e-13 * found.loss


def measure(X: Array, y: Array, w: Array, strength: float, ratio: float) -> float:
    squares = 0.5 * (1 - ratio) * float(w @ w)
    return float(np.square(X @ w - y).mean() + strength * (ratio * np.abs(w).sum() + squares))


@pytest.mark.parametrize("share", SHARES)
def test_sparse_logistic_regression_is_skglms(share: float) -> None:
    from skglm import SparseLogisticRegression

    X, eta = draw()
    labels = np.random.default_rng(8).random(N) < 1 / (1 + np.exp(-2 * eta))
    y = labels.astype(float)
    alpha = share * float(np.abs(X.T @ (y - 0.5)).max()) / N
    found = optimum(X, y, "logistic", {"name": "lasso", "strength": alpha})
    other = SparseLogisticRegression(alpha, fit_intercept=False, tol=1e-13, max_iter=500)
    W = other.fit(np.asfortranarray(X), 2 * y - 1).coef_[0]
    np.testing.assert_allclose(found.weights[:, 0], W, rtol=1e-8, atol=1e-8)
