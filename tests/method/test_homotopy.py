"""Homotopy: its path is that of LARS, it ends at the optimum, and fits share it bit for bit."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import ElasticNet, Lasso, lars_path

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.problem.types import Array
from tests.helpers import config

STREAM = np.random.default_rng(7)
N, P = 60, 12
COLUMNS = STREAM.standard_normal((N, P)) + STREAM.standard_normal((N, 1))
TRUTH = np.where(np.arange(P)[:, None] < 4, STREAM.standard_normal((P, 2)), 0)
TARGETS = COLUMNS @ TRUTH + 3 + STREAM.standard_normal((N, 2))
WEIGHTS = STREAM.integers(0, 4, N).astype(float)
STRENGTHS = tuple(np.geomspace(1e-3, 4, 7).tolist())
SIGNS = np.sign(STREAM.standard_normal((16, 6)))


def sparse(strength: float, y: Array = TARGETS, X: Array = COLUMNS, **parts: Any) -> FitConfig:
    given: dict[str, Any] = {
        "dataset": linfit.arrays(X, y),
        "loss": "mse",
        "penalty": {"name": "lasso", "strength": strength},
        "optimizer": "homotopy",
        "dtype": "float64",
        "steps": 200,
        "record": {"every": 1},
    }
    return config(**{**given, **parts})


def with_intercept(strength: float, **parts: Any) -> FitConfig:
    return sparse(strength, features={"name": "raw", "intercept": True}, **parts)


def assert_solved(found: Fit, digits: float = 1e-14) -> None:
    """The fit has converged to the optimum, with its zeros."""
    assert found.status is Status.CONVERGED
    assert found.optimum is not None
    assert found.excess_losses[-1] <= digits * found.losses[-1]
    assert ((found.weights == 0) == (found.optimum.weights == 0)).all()


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("strength", [0.0, 0.01, 0.3])
def test_steps_are_the_breakpoints_of_lars(strength: float, engine: str) -> None:
    found = fit(sparse(strength, TARGETS[:, :1], engine=engine))
    alphas, _, coefficients = lars_path(
        COLUMNS, TARGETS[:, 0], method="lasso", alpha_min=strength / 2
    )
    assert found.path is not None and len(found.losses) == len(alphas) + 1
    np.testing.assert_allclose(found.path.weights[1:, :, 0], coefficients.T, atol=1e-12)
    assert not found.path.weights[1].any()
    assert found.status is Status.CONVERGED


@pytest.mark.parametrize("gradient", ["autograd", "gram"])
@pytest.mark.parametrize("model", ["tensor", "linear"])
@pytest.mark.parametrize("engine", ["single", "stacked"])
def test_the_end_is_the_optimum_of_every_target(engine: str, model: str, gradient: str) -> None:
    parts = {"engine": engine, "model": model, "gradient": gradient}
    for strength in STRENGTHS:
        assert_solved(fit(with_intercept(strength, **parts)))
    largest = fit(with_intercept(1e3, **parts))
    assert_solved(largest)
    assert largest.steps[-1] == 1 and (largest.weights[:-1] == 0).all()
    np.testing.assert_allclose(largest.weights[-1], TARGETS.mean(axis=0), rtol=1e-13)


@pytest.mark.parametrize("loss", ["mse", "sse"])
def test_it_agrees_with_scikit_learn(loss: str) -> None:
    y = TARGETS[:, :1]
    scale = 2 * N if loss == "sse" else 2
    elastic = {"name": "elastic_net", "strength": 0.1 * scale, "l1_ratio": 0.7}
    for penalty, other in (
        ({"name": "lasso", "strength": 0.1 * scale}, Lasso(0.1, tol=1e-15, max_iter=10**6)),
        (elastic, ElasticNet(0.1, l1_ratio=0.7, tol=1e-15, max_iter=10**6)),
    ):
        found = fit(with_intercept(1.0, y=y, loss=loss, penalty=penalty))
        other.fit(COLUMNS, y[:, 0])
        assert_solved(found)
        np.testing.assert_allclose(found.weights[:-1, 0], other.coef_, atol=1e-12)
        np.testing.assert_allclose(found.weights[-1, 0], other.intercept_, rtol=1e-12)


def test_a_weight_of_two_is_a_row_twice_and_of_zero_none() -> None:
    def weighted(rows: NDArray[np.int64], weights: Array | None) -> FitConfig:
        data = linfit.arrays(COLUMNS[rows], TARGETS[rows], weight=weights)
        return with_intercept(0.2, dataset=data)

    kept = np.arange(N)
    once = fit(weighted(kept, WEIGHTS))
    often = fit(weighted(np.repeat(kept, WEIGHTS.astype(int)), None))
    assert_solved(once)
    np.testing.assert_allclose(once.weights, often.weights, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("penalty", ["none", "ridge", {"name": "lasso", "strength": 0.0}])
def test_without_a_corner_it_ends_at_least_squares(penalty: Any) -> None:
    found = fit(with_intercept(0.0, penalty=penalty))
    assert_solved(found)
    assert (found.weights != 0).all()


DEGENERATE: dict[str, tuple[Array, Array]] = {
    "ties": (SIGNS, SIGNS.sum(axis=1, keepdims=True)),
    "orthogonal": (np.eye(6), np.array([[2.0, -2, 1, 1, 0, 0]]).T),
    "equal columns": (np.hstack([COLUMNS, COLUMNS]), TARGETS),
    "opposite columns": (np.hstack([COLUMNS, -2 * COLUMNS]), TARGETS),
    "a sum of columns": (np.hstack([COLUMNS, COLUMNS.sum(axis=1, keepdims=True)]), TARGETS),
    "a column of zeros": (COLUMNS * (np.arange(P) != 3), TARGETS),
    "only zeros": (np.zeros((5, 2)), np.ones((5, 1))),
    "targets of zero": (COLUMNS, np.zeros((N, 1))),
    "more columns than rows": (COLUMNS[:7], TARGETS[:7]),
    "far apart scales": (COLUMNS * 10.0 ** np.arange(-6, 6), TARGETS),
    "whole numbers": (np.round(COLUMNS), np.round(TARGETS)),
    "one row": (COLUMNS[:1], TARGETS[:1]),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_degenerate_data_have_a_path_too(case: str) -> None:
    X, y = DEGENERATE[case]
    size = max(float(np.abs(X.T @ y).max()), 1.0)
    for share in (3.0, 0.5, 0.1, 1e-3, 0.0):
        penalty = {"name": "lasso", "strength": share * size}
        found = fit(sparse(0.0, y, X, loss="sse", penalty=penalty, init="zeros"))
        assert found.status is Status.CONVERGED
        assert found.excess_losses[-1] <= 1e-14 * max(found.losses[0], 1e-300)
        assert all(later <= former * (1 + 1e-12) for former, later in pairwise(found.losses))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fits_share_a_path_and_keep_their_bits(dtype: str) -> None:
    """Strengths × folds, lasso beside another penalty and another optimizer."""
    parts = {"dtype": dtype, "engine": "stacked"}
    configs = [
        with_intercept(strength, split={"name": "kfold", "k": 3, "fold": fold}, **parts)
        for strength in STRENGTHS
        for fold in range(3)
    ]
    configs += [with_intercept(0.1, optimizer="fista", **parts)]
    configs += [with_intercept(0.1, penalty={"name": "elastic_net", "strength": 0.2}, **parts)]
    for own, found in zip(configs, fit(configs), strict=True):
        alone = fit(own)
        assert found.path is not None and alone.path is not None
        assert found.status is alone.status
        assert found.losses.tobytes() == alone.losses.tobytes()
        assert found.path.weights.tobytes() == alone.path.weights.tobytes()


def test_both_engines_take_the_same_steps() -> None:
    for strength in STRENGTHS:
        single, stacked = (
            fit(with_intercept(strength, engine=engine)) for engine in ("single", "stacked")
        )
        assert single.steps.tolist() == stacked.steps.tolist()
        assert single.weights.tobytes() == stacked.weights.tobytes()
        np.testing.assert_allclose(single.losses, stacked.losses, rtol=1e-12)


@pytest.mark.parametrize("engine", ["single", "stacked"])
def test_too_few_steps_end_on_the_way(engine: str) -> None:
    whole = fit(with_intercept(0.01, engine=engine))
    short = fit(with_intercept(0.01, engine=engine, steps=4))
    assert whole.path is not None and len(whole.losses) > 6
    assert short.status is Status.COMPLETED
    assert short.weights.tobytes() == whole.path.weights[4].tobytes()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"loss": "huber"}, "homotopy minimizes quadratic losses, not huber: "),
        ({"batch": "minibatch"}, "optimizer homotopy works with all samples at once: "),
        ({"schedule": "cosine"}, "optimizer homotopy has no lr to schedule: "),
    ],
)
def test_what_has_no_path_is_refused(parts: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        sparse(0.1, **parts)
