"""The support and the duality gap of sparse weights, against the exact optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.problem.sparse_measures import measure_sparsity
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.types import Array
from tests.helpers import config

STREAM = np.random.default_rng(11)
X = STREAM.standard_normal((40, 6)) * STREAM.uniform(0.5, 2, 6)
Y = X[:, :2] @ STREAM.standard_normal((2, 2)) + 0.3 * STREAM.standard_normal((40, 2)) + 2
WEIGHTS = STREAM.integers(0, 3, 40).astype(float)
LASSO = {"name": "lasso", "strength": 0.2}
PROBLEMS: list[dict[str, Any]] = [
    {"penalty": LASSO},
    {"penalty": {"name": "lasso", "strength": 15.0}, "loss": "sse"},
    {"penalty": {**LASSO, "intercept": True}},
    {"penalty": {"name": "elastic_net", "strength": 0.3, "l1_ratio": 0.4}},
    {"penalty": LASSO, "features": "raw"},
    {"penalty": LASSO, "dataset": linfit.arrays(X, Y, weight=WEIGHTS)},
    {"penalty": LASSO, "dataset": linfit.arrays(X, Y, weight=WEIGHTS), "gradient": "gram"},
]


def sparse(**given: Any) -> FitConfig:
    usual: dict[str, Any] = {
        "dataset": linfit.arrays(X, Y),
        "features": {"name": "raw", "intercept": True},
        "loss": "mse",
        "dtype": "float64",
        "optimizer": {"name": "sgd", "lr": 1e-3},
        "steps": 20,
    }
    return config(**{**usual, **given})


def measure(own: FitConfig, weights: Array) -> dict[str, float]:
    return measure_sparsity(own.problem(), own.loss, own.shrinkage(), weights)


@pytest.mark.parametrize("given", PROBLEMS, ids=str)
def test_the_gap_is_a_bound_of_the_excess_loss_and_0_at_the_optimum(given: dict[str, Any]) -> None:
    own = sparse(**given)
    optimum = find_optimum(own.problem(), own.loss, own.shrinkage())
    best = measure(own, optimum.weights)
    penalized = optimum.weights
    if not own.penalty.shrinks_intercept() and own.features.intercept:
        penalized = optimum.weights[:-1]
    assert best["support_size"] == np.count_nonzero(penalized) < penalized.size
    assert 0 <= best["duality_gap"] <= 1e-12 * optimum.loss
    for size in (1e-6, 1e-2, 1.0):
        away = np.random.default_rng(2).standard_normal(optimum.weights.shape)
        weights = optimum.weights + size * away
        gap = measure(own, weights)["duality_gap"]
        assert gap >= float(optimum.excess_loss(weights)) * (1 - 1e-9)


def test_the_gap_is_the_difference_of_both_objectives() -> None:
    own = sparse(features="raw")
    weights = np.random.default_rng(3).standard_normal((6, 2))
    residual = Y - X @ weights
    primal = np.square(residual).mean() + 0.2 * np.abs(weights).sum()
    theta = 2 * residual / Y.size
    theta *= np.minimum(1, 0.2 / np.abs(X.T @ theta).max(axis=0))
    dual = (theta * Y).sum() - Y.size * np.square(theta).sum() / 4
    assert measure(sparse(features="raw", penalty=LASSO), weights) == pytest.approx(
        {"support_size": 12, "duality_gap": primal - dual}
    )
    assert measure(own, weights) == {}


def test_a_fit_has_them_of_its_own_samples_and_they_may_be_its_objective() -> None:
    found = fit(sparse(penalty=LASSO, split={"validation": 0.25}, objective="duality_gap"))
    assert found.measures["support_size"] == 12  # a subgradient reaches no zero
    assert found.objective == found.measures["duality_gap"] >= found.excess_losses[-1]
    assert set(found.held_out_measures) == {"r2", "rmse", "mae"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "support_size"}, "none of penalty none, which leaves no weight at 0: "),
        ({"objective": "validation_support_size", "penalty": LASSO}, "Input should be 'auto'"),
    ],
)
def test_they_are_refused_where_a_fit_has_none(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sparse(**given)
