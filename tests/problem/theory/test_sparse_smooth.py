"""The optimum of smooth losses with ‖W‖₁: its conditions, scikit-learn's, and laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.types import Array
from tests.helpers import config

LOSSES = ("logistic", "squared_hinge", "poisson", "huber", "cross_entropy")
#: Samples, features, and how much of a feature all features share.
SHAPES = ((60, 6, 0.0), (40, 12, 0.9), (25, 40, 0.4))


def draw(loss: str, n: int, p: int, common: float) -> tuple[Array, Array]:
    """Return features and targets of a loss, of three of the features."""
    stream = np.random.default_rng(4)
    X = np.sqrt(1 - common) * stream.standard_normal((n, p))
    X = (X + np.sqrt(common) * stream.standard_normal((n, 1))) * stream.uniform(0.5, 2, p)
    eta = X[:, :3] @ [0.7, -0.5, 0.3]
    heads = stream.random(n) < 1 / (1 + np.exp(-eta))
    y = {
        "logistic": heads.astype(float),
        "squared_hinge": np.where(heads, 1.0, -1.0),
        "poisson": stream.poisson(np.exp(eta.clip(-3, 2))).astype(float),
        "huber": eta + stream.standard_t(2, n),
        "cross_entropy": stream.integers(0, 3, n).astype(float),
    }[loss]
    return X, y


def sparse(
    loss: str, X: Array, y: Array, strength: float, ratio: float = 1.0, **parts: Any
) -> FitConfig:
    weights = parts.pop("weights", None)
    return config(
        dataset=linfit.arrays(X, y, weight=weights),
        loss=loss,
        penalty={"name": "elastic_net", "strength": strength, "l1_ratio": ratio},
        dtype="float64",
        **{
            "features": {"name": "raw", "intercept": True},
            "optimizer": {"name": "fista", "lr": 1e-2},
            **parts,
        },
    )


def evaluate(own: FitConfig, W: Array) -> tuple[float, Array]:
    """Return the objective and the gradient of its smooth part, by autograd."""
    problem = own.problem()
    weight = torch.tensor(W, requires_grad=True)
    eta = torch.tensor(problem.X) @ weight
    value = problem.bind_loss(own.loss)(eta, torch.tensor(problem.seen_targets))
    smooth = value + 0.5 * own.penalty.squared() * weight[:-1].square().sum()
    (gradient,) = torch.autograd.grad(smooth, weight)
    return float(
        (smooth + own.penalty.absolute() * weight[:-1].abs().sum()).detach()
    ), gradient.numpy()


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_conditions_hold_and_the_excess_is_that_of_the_objective(
    loss: str, shape: tuple[int, int, float], ratio: float
) -> None:
    own = sparse(loss, *draw(loss, *shape), 0.04, ratio)
    known = find_optimum(own.problem(), own.loss, own.shrinkage())
    W, l1 = known.weights, own.penalty.absolute()
    value, gradient = evaluate(own, W)
    assert known.loss == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient[-1], 0, atol=1e-13)
    steep = np.where(W[:-1] != 0, gradient[:-1] + l1 * np.sign(W[:-1]), 0)
    np.testing.assert_allclose(steep, 0, atol=1e-13)
    assert (np.abs(gradient[:-1]) <= l1 * (1 + 1e-12)).all()
    if loss != "cross_entropy":
        assert known.gap is not None and known.gap <= 1e-14 * abs(value)
    stream = np.random.default_rng(0)
    for size in (1.0, 1e-2):
        away = size * stream.standard_normal(W.shape)
        found = float(known.excess_loss(W + away))
        assert found == pytest.approx(evaluate(own, W + away)[0] - value, rel=1e-9)
    assert known.excess_loss(W) == 0


@pytest.mark.parametrize("strength", [0.1, 0.01])
def test_logistic_regression_is_that_of_scikit_learn(strength: float) -> None:
    X, y = draw("logistic", *SHAPES[0])
    own = sparse("logistic", X, y, strength)
    known = find_optimum(own.problem(), own.loss, own.shrinkage())
    reference = LogisticRegression(
        l1_ratio=1, C=1 / (len(y) * strength), solver="saga", tol=1e-12, max_iter=20_000
    ).fit(X, y)
    expected = np.append(reference.coef_[0], reference.intercept_)
    np.testing.assert_allclose(known.weights[:, 0], expected, rtol=1e-6, atol=1e-8)
    assert ((known.weights[:-1, 0] != 0) == (reference.coef_[0] != 0)).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_2_is_a_row_twice_and_weight_0_a_row_less(loss: str) -> None:
    X, y = draw(loss, *SHAPES[0])
    weights = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    rows = np.repeat(np.arange(len(y)), weights.astype(int))
    one, other = (
        find_optimum(own.problem(), own.loss, own.shrinkage())
        for own in (
            sparse(loss, X, y, 0.04, weights=weights),
            sparse(loss, X[rows], y[rows], 0.04),
        )
    )
    np.testing.assert_allclose(one.weights, other.weights, rtol=1e-9, atol=1e-11)
    assert one.loss == pytest.approx(other.loss, rel=1e-12)


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("loss", LOSSES)
def test_fista_reaches_the_zeros(loss: str, engine: str) -> None:
    optimizer: dict[str, Any] = {"name": "fista"}
    if loss == "poisson":
        optimizer["lr"] = 0.03  # from 0, where the curvature is not large
    X, y = draw(loss, *SHAPES[0])
    parts: dict[str, Any] = {"optimizer": optimizer, "engine": engine, "init": "zeros"}
    found = fit(sparse(loss, X, y, 0.04, steps=1500, **parts))
    assert found.optimum is not None
    assert ((found.weights[:-1] == 0) == (found.optimum.weights[:-1] == 0)).all()
    assert found.excess_losses[-1] < 1e-12 * found.excess_losses[0]


def test_the_quantile_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="quantile is known without a penalty, not with lasso"):
        config(loss="quantile", penalty="lasso")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_large_strength_leaves_nothing_and_a_small_one_separated_classes_a_minimum(
    loss: str,
) -> None:
    X, y = draw(loss, 20, 3, 0.0)
    if loss in ("logistic", "squared_hinge"):
        y = np.where(X[:, 0] > 0, 1.0, 0.0 if loss == "logistic" else -1.0)
    for strength, zeros in ((1e3, True), (1e-6, False)):
        own = sparse(loss, X, y, strength, features="raw")
        known = find_optimum(own.problem(), own.loss, own.shrinkage())
        assert (known.weights == 0).all() == zeros
        assert known.attained and known.unique
