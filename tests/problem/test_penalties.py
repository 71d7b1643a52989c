"""Ridge leaves out the intercept that features add: against scikit-learn and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import Ridge as Reference

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.prediction.predict import predict_from_fit
from linfit.engine.rounding_twins import build_twins
from linfit.engine.stacked.blocks import cut_into_blocks
from linfit.problem.types import Array
from linfit.sweeps.preflight import stability
from tests.helpers import (
    GRADIENTS,
    OPTIMIZERS,
    QUADRATIC_LOSSES,
    GradientRow,
    LossRow,
    config,
    label,
)

ENGINES = ("single", "stacked")
STREAM = np.random.default_rng(5)
N, P, Q = 40, 3, 2
COLUMNS = STREAM.standard_normal((N, P)) * [1, 2, 0.5] + [0, 3, -1]
TARGETS = (
    COLUMNS @ STREAM.standard_normal((P, Q)) + [50, -20] + 0.1 * STREAM.standard_normal((N, Q))
)
COUNTS = STREAM.integers(0, 4, N).astype(float)
ALPHA = 10.0
#: Features with an intercept, and the columns that scikit-learn is given for them.
FEATURES: dict[str, tuple[dict[str, Any], Any]] = {
    "raw": ({"name": "raw", "intercept": True}, None),
    "standardize": ({"name": "raw", "intercept": True, "scaling": "standardize"}, None),
    "whiten": ({"name": "raw", "intercept": True, "scaling": "whiten"}, None),
    "polynomial": ({"name": "polynomial", "degree": 2}, None),
    "chebyshev": (
        {"name": "polynomial", "degree": 2, "basis": "chebyshev", "scaling": "standardize"},
        None,
    ),
    "fourier": ({"name": "fourier", "order": 1}, None),
    "rbf": ({"name": "rbf", "centers": 3}, None),
}


def ridge(loss: str, weights: Array | None = None, **parts: Any) -> FitConfig:
    """A fit with the strength that the reference gives for scikit-learn's alpha."""
    n = N if weights is None else weights.sum()
    strength = {"sse": 2 * ALPHA, "mse": 2 * ALPHA / (n * Q)}[loss]
    data = linfit.arrays(COLUMNS, TARGETS, weight=weights)
    whole: dict[str, Any] = {"features": FEATURES["raw"][0], "optimizer": "closed_form", **parts}
    penalty = {"name": "ridge", "strength": strength}
    return config(
        dataset=data, loss=loss, penalty=penalty, dtype="float64", **{"steps": 1, **whole}
    )


@pytest.mark.parametrize("weights", [None, COUNTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("loss", ["sse", "mse"])
@pytest.mark.parametrize("features", FEATURES)
def test_the_optimum_is_that_of_scikit_learn(
    features: str, loss: str, weights: Array | None
) -> None:
    found = fit(ridge(loss, weights, features=FEATURES[features][0]))
    problem = found.problem
    assert problem is not None and problem.expansion is not None
    X = problem.expansion(COLUMNS)
    assert (X[:, -1] == 1).all()
    known = Reference(alpha=ALPHA, solver="svd").fit(X[:, :-1], TARGETS, sample_weight=weights)
    np.testing.assert_allclose(found.weights[:-1], known.coef_.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.weights[-1], known.intercept_, rtol=1e-9)


def test_the_intercept_of_a_line_far_from_zero_stays() -> None:
    x = np.linspace(-1, 1, 200)
    data = linfit.arrays(x[:, None], 50 + 2 * x)
    parts: dict[str, Any] = {
        "dataset": data,
        "features": FEATURES["raw"][0],
        "optimizer": "closed_form",
        "steps": 1,
    }
    found = {
        intercept: fit(
            config(penalty={"name": "ridge", "strength": 200.0, "intercept": intercept}, **parts)
        ).weights[-1, 0]
        for intercept in (False, True)
    }
    assert found[False] == pytest.approx(50, rel=1e-6)
    assert found[True] == pytest.approx(100 / 3, rel=1e-6)


@pytest.mark.parametrize(
    "data", ["parabola", {"name": "polynomial", "degree": 1, "coefficients": [2.0, 50.0]}]
)
def test_a_column_of_ones_of_the_data_is_penalized(data: Any) -> None:
    fits = [
        fit(config(dataset=data, penalty={"name": "ridge", "intercept": intercept}))
        for intercept in (False, True)
    ]
    assert fits[0].weights.tobytes() == fits[1].weights.tobytes()
    assert fits[0].config.fingerprint() == fits[1].config.fingerprint()


# ---- the objective, its Hessian and what follows from it ----


def objective(own: FitConfig) -> tuple[Array, Array, float]:
    """(XᵀX·2c + sD, 2c·Xᵀy, c) by its definition."""
    problem = own.problem()
    n, p, q = problem.shape
    scale = own.loss.scale(n, q)
    penalty = np.diag([own.penalty.squared()] * (p - 1) + [0.0])
    return 2 * scale * problem.X.T @ problem.X + penalty, 2 * scale * problem.X.T @ problem.y, scale


@pytest.mark.parametrize("weights", [None, COUNTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("loss", ["sse", "mse"])
def test_theory_is_of_the_hessian_without_the_intercept(loss: str, weights: Array | None) -> None:
    own = ridge(loss, weights, optimizer={"name": "sgd", "lr": 1e-3}, steps=5, record={"every": 1})
    hessian, slope, scale = objective(own)
    eigenvalues = np.linalg.eigvalsh(hessian)
    found = fit(own)
    theory, known = predict_from_fit(found), found.optimum
    assert (
        theory is not None
        and known is not None
        and found.path is not None
        and found.problem is not None
    )
    np.testing.assert_allclose(known.weights, np.linalg.solve(hessian, slope), rtol=1e-10)
    np.testing.assert_allclose(known.curvatures, eigenvalues[::-1], rtol=1e-10)
    np.testing.assert_allclose(
        2 * scale * known.root.T @ known.root, hessian, rtol=1e-10, atol=1e-10
    )
    assert theory.largest_stable_lr == pytest.approx(2 / eigenvalues[-1], rel=1e-12)
    assert theory.optimal_lr == pytest.approx(2 / (eigenvalues[-1] + eigenvalues[0]), rel=1e-10)
    assert theory.rate == pytest.approx(np.abs(1 - 1e-3 * eigenvalues).max(), rel=1e-10)
    assert stability.find_bounds([own.resolved(several=True)])[0] == pytest.approx(
        2 / eigenvalues[-1], rel=1e-12
    )
    for W, value, excess in zip(found.path.weights, found.losses, found.excess_losses, strict=True):
        residual = found.problem.X @ W - found.problem.y
        expected = (
            scale * np.square(residual).sum()
            + 0.5 * own.penalty.squared() * np.square(W[:-1]).sum()
        )
        assert value == pytest.approx(expected, rel=1e-12)
        assert excess == pytest.approx(expected - known.loss, rel=1e-7, abs=1e-9 * known.loss)


def test_the_steps_to_tolerance_that_are_predicted_are_those_of_the_fit() -> None:
    own = ridge("mse", optimizer={"name": "sgd", "lr": 0.05}, steps=1000)
    found = fit(own)
    theory = predict_from_fit(found)
    assert theory is not None
    assert theory.steps_to_tolerance == found.steps_to_tolerance
    assert found.steps_to_tolerance is not None


def test_the_optimum_of_hubers_loss_leaves_the_intercept_out() -> None:
    data = linfit.arrays(COLUMNS, TARGETS[:, 0])
    penalty = {"name": "ridge", "strength": 0.5}
    own = config(
        dataset=data,
        features=FEATURES["raw"][0],
        loss="huber",
        penalty=penalty,
        dtype="float64",
        steps=0,
    )
    found = fit(own)
    known, problem = found.optimum, found.problem
    assert known is not None and problem is not None

    def value(w: Array) -> float:
        r = np.abs(problem.X @ w - problem.y[:, 0])
        rho = np.where(r <= 1, 0.5 * r**2, r - 0.5)
        return float(rho.mean() + 0.25 * np.square(w[:-1]).sum())

    reference = minimize(value, known.weights[:, 0] + 0.01, method="BFGS", options={"gtol": 1e-10})
    assert known.loss == pytest.approx(value(known.weights[:, 0]), rel=1e-12)
    assert value(known.weights[:, 0]) <= reference.fun * (1 + 1e-12)
    assert found.excess_losses[0] == pytest.approx(found.losses[0] - known.loss, rel=1e-9)


# ---- getting there ----


def arriving() -> list[dict[str, Any]]:
    """Optimizers that come to the optimum, those of torch with steps that are small enough."""
    return [
        {"name": "sgd", "lr": 0.3},
        {"name": "manual_sgd", "lr": 0.3},
        *(row.plain for row in OPTIMIZERS if row.knowing or (row.curving and row.lr is None)),
        {"name": "conjugate_gradient", "preconditioner": "jacobi"},
    ]


@pytest.mark.parametrize("model", ["tensor", "linear"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", QUADRATIC_LOSSES, ids=label)
def test_every_optimizer_comes_to_the_optimum(loss: LossRow, engine: str, model: str) -> None:
    scaled = FEATURES["standardize"][0]
    configs = [
        ridge(loss.name, features=scaled, optimizer=given, engine=engine, model=model, steps=300)
        for given in arriving()
        if not (loss.name == "sse" and "lr" in given)
    ]
    for found in fit(configs):
        assert found.optimum is not None
        assert found.distance_to_optimum < 1e-8 * np.abs(found.optimum.weights).max(), (
            found.config.optimizer
        )


@pytest.mark.parametrize("model", ["tensor", "linear"])
@pytest.mark.parametrize("gradient", GRADIENTS, ids=label)
def test_every_gradient_is_that_of_the_objective(gradient: GradientRow, model: str) -> None:
    """One step of lr=1 goes by the gradient; in both engines."""
    optimizer = {"name": "manual_sgd", "lr": 1.0}
    for engine in ENGINES:
        own = ridge("mse", optimizer=optimizer, gradient=gradient.plain, engine=engine, model=model)
        found = fit(own)
        hessian, slope, _ = objective(own.model_copy(update={"gradient": config().gradient}))
        assert found.path is not None
        start = found.path.weights[0]
        expected = start - (hessian @ start - slope)
        np.testing.assert_allclose(found.weights, expected, rtol=max(1e-11, 100 * gradient.near))


def test_fits_with_and_without_a_penalized_intercept_do_not_change_each_other_in_a_stack() -> None:
    penalties = [
        {"name": "ridge", "strength": strength, "intercept": intercept}
        for strength in (0.1, 0.7, 2.0)
        for intercept in (False, True)
    ]
    for gradient in ("manual", "gram"):
        for dtype in ("float32", "float64"):
            parts: dict[str, Any] = {
                "gradient": gradient,
                "dtype": dtype,
                "engine": "stacked",
                "steps": 50,
            }
            data = linfit.arrays(COLUMNS, TARGETS)
            configs = [
                config(
                    dataset=data, features=FEATURES["raw"][0], loss="mse", penalty=penalty, **parts
                )
                for penalty in penalties
            ]
            assert [len(block) for block in cut_into_blocks(configs)] == [6]
            together = fit(configs)
            for own, found in zip(configs, together, strict=True):
                alone = fit(own)
                assert alone.weights.tobytes() == found.weights.tobytes()
                assert alone.losses.tobytes() == found.losses.tobytes()


def test_largest_stable_rates_are_found_together() -> None:
    strengths = (0.0, 0.3, 5.0, 300.0)
    optimizer = {"name": "sgd", "lr": 1.0}
    configs = [
        config(
            dataset=linfit.arrays(COLUMNS, TARGETS),
            features=FEATURES["raw"][0],
            optimizer=optimizer,
            penalty={"name": "ridge", "strength": strength, "intercept": intercept},
        ).resolved(several=True)
        for strength in strengths
        for intercept in (False, True)
    ]
    bounds = stability.find_bounds(configs)
    X = np.hstack([COLUMNS, np.ones((N, 1))])
    for place, own in enumerate(configs):
        shrunk = np.diag([1.0] * P + [float(own.penalty.shrinks_intercept())])
        hessian = 2 * X.T @ X + own.penalty.squared() * shrunk
        assert bounds[place] == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=1e-6)


@pytest.mark.parametrize("weights", [None, COUNTS], ids=["alike", "weighted"])
def test_twins_have_the_same_objective(weights: Array | None) -> None:
    own = ridge(
        "mse",
        weights,
        features=FEATURES["chebyshev"][0],
        optimizer={"name": "sgd", "lr": 0.02},
        steps=20,
    )
    mine, beside, reverse = fit([own, *build_twins(own)])
    for twin in (beside, reverse):
        np.testing.assert_allclose(twin.losses, mine.losses, rtol=1e-12)
