"""Proximal gradient descent and FISTA: their steps by definition, and the zeros that they reach."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.prediction.predict import predict_from_fit
from linfit.problem.types import Array
from tests.helpers import config

STREAM = np.random.default_rng(2)
N, P, Q = 40, 6, 2
COLUMNS = STREAM.standard_normal((N, P)) + STREAM.standard_normal((N, 1))
TRUTH = np.where(np.arange(P)[:, None] < 2, STREAM.standard_normal((P, Q)), 0)
TARGETS = COLUMNS @ TRUTH + 5 + 0.3 * STREAM.standard_normal((N, Q))
FISTA = {"name": "fista"}
PLAIN = {"name": "fista", "restart": "none"}
PROXIMAL = {"name": "proximal_gradient"}
PENALTIES: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "ridge": {"name": "ridge", "strength": 0.1},
    "lasso": {"name": "lasso", "strength": 0.1},
    "elastic_net": {"name": "elastic_net", "strength": 0.1, "l1_ratio": 0.7},
    "intercept too": {"name": "lasso", "strength": 0.1, "intercept": True},
}


def sparse(penalty: str, **parts: Any) -> FitConfig:
    return config(
        dataset=linfit.arrays(COLUMNS, TARGETS),
        features={"name": "raw", "intercept": True},
        loss="mse",
        penalty=PENALTIES[penalty],
        dtype="float64",
        record={"every": 1},
        **parts,
    )


def follow(own: FitConfig, W: Array, steps: int) -> list[Array]:
    """Return the weights of FISTA, or without its momentum, by its definition."""
    problem = own.problem()
    l1, l2 = own.penalty.absolute(), own.penalty.squared()
    mask = np.ones((P + 1, 1))
    mask[-1] = own.penalty.shrinks_intercept()
    hessian = 2 / (N * Q) * problem.X.T @ problem.X + np.diag(l2 * mask[:, 0])
    lr = 1 / np.linalg.eigvalsh(hessian)[-1]
    x, t = W, np.ones(Q)
    path = [W]
    for _ in range(steps):
        v = W - lr * (hessian @ W - 2 / (N * Q) * problem.X.T @ problem.y)
        before, x = x, np.sign(v) * np.maximum(np.abs(v) - lr * l1 * mask, 0)
        following = (1 + np.sqrt(1 + 4 * t**2)) / 2
        momentum = (t - 1) / following
        if vars(own.optimizer).get("restart") == "gradient":
            turned = ((W - x) * (x - before)).sum(axis=0) > 0
            following, momentum = np.where(turned, 1, following), np.where(turned, 0, momentum)
        t = following
        W = x if own.optimizer.name == "proximal_gradient" else x + momentum * (x - before)
        path.append(W)
    return path


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", [PROXIMAL, PLAIN, FISTA], ids=str)
def test_steps_are_those_of_the_definition(optimizer: dict[str, Any], penalty: str) -> None:
    for engine, model in (("single", "tensor"), ("single", "linear"), ("stacked", "linear")):
        own = sparse(penalty, optimizer=optimizer, engine=engine, model=model, steps=40)
        found = fit(own)
        assert found.path is not None
        expected = follow(own, found.path.weights[0], 40)
        np.testing.assert_allclose(found.path.weights, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("gradient", ["autograd", "finite_difference", "gram"])
@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("penalty", ["lasso", "elastic_net"])
def test_they_reach_the_zeros_of_the_optimum(penalty: str, engine: str, gradient: str) -> None:
    for optimizer in (PROXIMAL, FISTA, {"name": "coordinate_descent"}):
        found = fit(
            sparse(penalty, optimizer=optimizer, engine=engine, gradient=gradient, steps=250)
        )
        assert found.optimum is not None
        zeros = found.optimum.weights == 0
        assert zeros.any() and not zeros[-1].any()
        assert ((found.weights == 0) == zeros).all()
        assert found.excess_losses[-1] < 1e-14 * found.excess_losses[0]
        assert found.config.notes() == ()


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_coordinate_descent_minimizes_along_one_feature_after_another(
    penalty: str, engine: str
) -> None:
    own = sparse(penalty, optimizer="coordinate_descent", engine=engine, steps=3, model="linear")
    found, problem = fit(own), own.problem()
    assert found.path is not None
    W = found.path.weights[0].copy()
    for _ in range(3):
        for j in range(P + 1):
            penalized = j < P or own.penalty.shrinks_intercept()
            x = problem.X[:, j]
            rest = problem.y - problem.X @ W + np.outer(x, W[j])
            pull = 2 / (N * Q) * x @ rest
            kept = np.maximum(np.abs(pull) - penalized * own.penalty.absolute(), 0)
            bent = 2 / (N * Q) * x @ x + penalized * own.penalty.squared()
            W[j] = np.sign(pull) * kept / bent
    np.testing.assert_allclose(found.weights, W, rtol=1e-10, atol=1e-11)


def test_a_subgradient_reaches_none() -> None:
    found = fit(sparse("lasso", optimizer={"name": "sgd", "lr": 0.05}, steps=1500))
    assert found.optimum is not None
    assert (found.optimum.weights == 0).any()
    assert (found.weights != 0).all()
    assert found.excess_losses[-1] > 1e-9 * found.excess_losses[0]


def test_fits_with_and_without_a_corner_do_not_change_each_other_in_a_stack() -> None:
    """A subgradient method and a proximal one, and exempt intercepts beside penalized ones."""
    configs = [
        sparse(penalty, optimizer=optimizer, engine="stacked", steps=60)
        for optimizer in (FISTA, PROXIMAL, {"name": "sgd", "lr": 0.05})
        for penalty in ("lasso", "intercept too")
    ]
    for own, found in zip(configs, fit(configs), strict=True):
        alone = fit(own)
        assert alone.weights.tobytes() == found.weights.tobytes()
        assert alone.losses.tobytes() == found.losses.tobytes()


def test_without_a_corner_theory_is_that_of_gradient_descent() -> None:
    given = {"lr": 0.05}
    mine, theirs = (
        predict_from_fit(fit(sparse("ridge", optimizer={"name": name, **given}, steps=5)))
        for name in ("proximal_gradient", "sgd")
    )
    assert mine == theirs
    assert mine is not None and mine.rate is not None


def test_theory_tells_the_rate_on_the_support() -> None:
    found = fit(sparse("lasso", optimizer=PROXIMAL, steps=120))
    theory, optimum = predict_from_fit(found), found.optimum
    assert theory is not None and theory.rate is not None
    assert optimum is not None and optimum.curvature_bound is not None
    assert theory.largest_stable_lr == pytest.approx(2 / optimum.curvature_bound)
    measured = (found.excess_losses[80] / found.excess_losses[60]) ** (1 / 40)
    assert measured == pytest.approx(theory.rate, rel=0.02)
    slope = fit(sparse("lasso", optimizer={"name": "sgd", "lr": 0.05}, steps=3))
    told = predict_from_fit(slope)
    assert told is not None and told.rate is None


def test_a_schedule_scales_the_threshold_too() -> None:
    own = sparse(
        "lasso",
        optimizer={"name": "proximal_gradient", "lr": 0.05},
        schedule={"name": "step", "step_size": 1, "gamma": 0.5},
        steps=2,
    )
    found = fit([own, own])[1]
    problem = own.problem()
    assert found.path is not None
    W = found.path.weights[0]
    for lr in (0.05, 0.025):
        W = W - lr * 2 / (N * Q) * problem.X.T @ (problem.X @ W - problem.y)
        W[:-1] = np.sign(W[:-1]) * np.maximum(np.abs(W[:-1]) - 0.1 * lr, 0)
    np.testing.assert_allclose(found.weights, W, rtol=1e-12)


def test_a_loss_without_a_largest_curvature_needs_a_learning_rate() -> None:
    with pytest.raises(ValueError, match=r"the curvature of loss poisson has no bound .* give opt"):
        config(loss="poisson", optimizer="fista")
    assert config(loss="poisson", optimizer={"name": "fista", "lr": 1e-3})
