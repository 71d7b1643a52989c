"""The optimum of Huber's loss, against scipy, scikit-learn's formula and exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from operator import mul
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from sklearn import linear_model

from linfit.problem.losses import Huber, Loss
from linfit.problem.penalties import Shrinkage
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.types import Array
from tests.helpers import (
    DTYPES,
    QUADRATIC_LOSSES,
    LossRow,
    conditioned,
    config,
    cover_pairs,
    label,
    problem,
)

SIZES = ((40, 3, 1), (25, 4, 2), (6, 6, 1), (4, 7, 1))


def outliers(n: int, p: int, q: int, seed: int = 0) -> tuple[Array, Array]:
    """A linear model of which every fifth target is far off."""
    stream = np.random.default_rng(seed)
    X = stream.standard_normal((n, p))
    y = X @ stream.standard_normal((p, q)) + 0.1 * stream.standard_normal((n, q))
    y[::5] += 10 * stream.standard_normal((len(y[::5]), q))
    return X, y


def objective(w: Array, X: Array, y: Array, delta: float, strength: float) -> float:
    r = np.abs(X @ w.reshape(X.shape[1], -1) - y)
    rho = np.where(r <= delta, 0.5 * r * r, delta * (r - 0.5 * delta))
    return float(rho.mean() + 0.5 * strength * (w * w).sum())


@pytest.mark.parametrize(
    ("size", "delta", "strength"), cover_pairs(SIZES, [0.05, 1.0, 100.0], [0.0, 0.3]), ids=str
)
def test_the_optimum_of_hubers_loss_is_scipys(
    size: tuple[int, int, int], delta: float, strength: float
) -> None:
    X, y = outliers(*size)
    found = find_optimum(problem(X, y), Huber(delta=delta), Shrinkage(strength))

    def slope(w: Array) -> Any:
        W = w.reshape(found.weights.shape)
        return (X.T @ (X @ W - y).clip(-delta, delta) / y.size + strength * W).ravel()

    start = np.zeros(found.weights.size)
    given = {
        "args": (X, y, delta, strength),
        "jac": lambda w, *_: slope(w),
        "method": "BFGS",
        "options": {"gtol": 1e-9, "maxiter": 5000},
    }
    best = optimize.minimize(objective, start, **given)
    assert found.loss == pytest.approx(
        objective(found.weights, X, y, delta, strength), rel=1e-12, abs=1e-25
    )
    assert found.loss <= best.fun + 1e-13
    assert np.abs(slope(found.weights.ravel())).max() <= 1e-13 * np.abs(X).max() * max(
        1.0, np.abs(y).max()
    )
    if size[0] > 3 * size[1] or strength:  # where the optimum is unique
        np.testing.assert_allclose(found.weights.ravel(), best.x, atol=2e-6)


SETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("diabetes", {}),
    ("diabetes", {"intercept": True}),
    ("linnerud", {}),
    ("linnerud", {"intercept": True}),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "features"), SETS, ids=["diabetes", "diabetes+1", "linnerud", "linnerud+1"]
)
def test_targets_hundreds_of_deltas_away_have_their_optimum_found(
    name: str, features: dict[str, Any], dtype: str
) -> None:
    """For small δ it is that of the least absolute deviations, scikit-learn's linear program."""
    given = config(dataset={"name": "sklearn", "set": name}, features={"name": "raw", **features})
    seen = given.problem().cast(dtype)
    oracle = linear_model.QuantileRegressor(alpha=0.0, fit_intercept=False)
    least = (
        sum(np.abs(seen.X @ oracle.fit(seen.X, target).coef_ - target).sum() for target in seen.y.T)
        / seen.y.size
    )
    for delta in (1.0, 0.01):
        found = find_optimum(seen, Huber(delta=delta))
        assert (
            delta * least - 0.5 * delta**2 - 1e-9 * least
            <= found.loss
            <= delta * least * (1 + 1e-9)
        )
        assert_flat(found.weights, seen, delta)


def assert_flat(weights: Array, seen: Problem, delta: float, strength: float = 0.0) -> None:
    """A convex function is at its minimum where its gradient is the rounding of its terms."""
    residual = seen.X @ weights - seen.y
    slope = seen.X.T @ residual.clip(-delta, delta) / seen.y.size + strength * weights
    terms = (
        np.abs(seen.X.T)
        @ (np.abs(residual.clip(-delta, delta)) + np.abs(seen.X) @ np.abs(weights))
        / seen.y.size
    )
    assert (np.abs(slope) <= 3e-14 * (terms + strength * np.abs(weights))).all()


@pytest.mark.parametrize(
    ("kind", "delta", "strength"),
    cover_pairs(
        [
            "heavy tails",
            "whole numbers",
            "columns of unlike size",
            "a column of rounding",
            "powers",
            "far from zero",
        ],
        [1e-6, 1e-3, 1.0],
        [0.0, 1e-6, 0.3],
    ),
)
def test_whatever_the_data_the_gradient_is_zero_at_the_optimum(
    kind: str, delta: float, strength: float
) -> None:
    for seed, (n, p, q) in enumerate(((50, 4, 1), (30, 9, 2), (8, 8, 1), (5, 9, 1), (1, 1, 1))):
        X, y = outliers(n, p, q, seed)
        stream = np.random.default_rng(seed)
        if kind == "heavy tails":
            y = y + 1e3 * stream.standard_cauchy(y.shape)
        elif (
            kind == "whole numbers"
        ):  # residuals that are equal, and columns that depend on each other
            X, y = (
                stream.integers(-2, 3, (n, p)).astype(float),
                stream.integers(-3, 4, (n, q)).astype(float),
            )
        elif kind == "columns of unlike size":
            X = X * 10.0 ** np.linspace(-4, 4, p)
        elif kind == "a column of rounding":
            X[:, -1] = 1e-16
        elif kind == "powers":
            X = np.vander(np.linspace(-2, 2, n), p)
        else:
            X, y = X + 1e3, y + 1e6
        assert_flat(
            find_optimum(problem(X, y), Huber(delta=delta), Shrinkage(strength)).weights,
            problem(X, y),
            delta,
            strength,
        )


def columns_of(kind: str, n: int, p: int, stream: np.random.Generator) -> Array:
    X = stream.standard_normal((n, p))
    if kind == "zeros":
        X[:, stream.integers(0, p, 1 + p // 3)] = 0
    elif kind == "twice":
        X[:, stream.integers(0, p)] = X[:, stream.integers(0, p)]
    elif kind == "nearly twice":
        X[:, -1] = X[:, 0] + 1e-9 * stream.standard_normal(n)
    elif kind == "whole numbers":
        X = stream.integers(-4, 5, (n, p)).astype(float)
    elif kind == "unlike sizes":
        X = X * 10.0 ** stream.integers(-8, 9, p)
    elif kind == "one vanishes":
        X[:, stream.integers(0, p)] *= 1e-200
    elif kind == "tiny":
        X = X * 1e-200
    else:
        assert kind == "huge"
        X = X * 1e140
    return X


@pytest.mark.parametrize("ridge", [False, True], ids=["plain", "ridge"])
@pytest.mark.parametrize(
    "kind",
    [
        "zeros",
        "twice",
        "nearly twice",
        "whole numbers",
        "unlike sizes",
        "one vanishes",
        "tiny",
        "huge",
    ],
)
def test_of_random_problems_every_optimum_is_found(kind: str, ridge: bool) -> None:
    """On columns scaled with the penalty the gradient is rounding; zeros have weight 0."""
    for seed in range(25):
        stream = np.random.default_rng(seed)
        n, p, q = (
            int(stream.integers(1, 25)),
            int(stream.integers(1, 8)),
            int(stream.integers(1, 4)),
        )
        X, unit = columns_of(kind, n, p, stream), {"tiny": 1e-200, "huge": 1e140}.get(kind, 1.0)
        largest = np.abs(X).max() or 1.0
        y = (
            X @ stream.standard_normal((p, q))
            + stream.standard_cauchy((n, q)) * 10.0 ** stream.integers(-2, 3) * largest
        )
        delta = float(np.abs(y).max() * 10.0 ** stream.integers(-5, 3))
        strength = float(10.0 ** stream.integers(-12, 3)) * largest**2 * ridge
        found = find_optimum(problem(X, y), Huber(delta=delta), Shrinkage(strength)).weights
        X, y, delta, strength = (
            X / unit,
            y / unit,
            delta / unit,
            strength / unit**2 if kind != "tiny" else 0.0,
        )
        norms = np.sqrt(np.square(X).sum(axis=0) / y.size + strength)[:, None]
        norms[norms == 0] = np.inf
        cut = (X @ found - y).clip(-delta, delta)
        slope = X.T @ cut / y.size + strength * found
        terms = np.abs(X.T) @ (
            np.abs(cut) + np.abs(X) @ np.abs(found)
        ) / y.size + strength * np.abs(found)
        assert np.linalg.norm(slope / norms) <= 1e-13 * np.linalg.norm(terms / norms), seed
        assert not found[~X.any(axis=0)].any()


def test_with_columns_of_zeros_and_fewer_samples_than_features_ridge_has_its_optimum() -> None:
    X, y = np.array([[4.0, 0, 3, 0, 0], [-3, 0, 12, -1, 0]]), np.array([[-18.0], [-51]])
    found = find_optimum(problem(X, y), Huber(delta=40.0), Shrinkage(0.0769))
    exact = ridge_exactly(X, y[:, 0], 2 * 0.0769)  # no residual is beyond δ
    assert not found.weights[~X.any(axis=0)].any()
    np.testing.assert_allclose(found.weights[:, 0], exact, rtol=0, atol=1e-13 * np.abs(exact).max())


def ridge_exactly(X: Array, y: Array, decay: float) -> Array:
    """Xᵀ(XXᵀ + decay)⁻¹y of two samples, in fractions."""
    rows, target, penalty = (
        [[Fraction(x) for x in row] for row in X.tolist()],
        [Fraction(one) for one in y.tolist()],
        Fraction(decay),
    )
    products = [[sum(map(mul, one, other)) for other in rows] for one in rows]
    (first, across), (_, second) = products
    first, second = first + penalty, second + penalty
    dual = (second * target[0] - across * target[1], first * target[1] - across * target[0])
    return np.array(
        [
            float(sum(map(mul, column, dual)) / (first * second - across**2))
            for column in zip(*rows, strict=True)
        ]
    )


def test_far_from_every_bend_huber_is_half_the_mean_of_squares() -> None:
    X, y = outliers(30, 3, 1)
    found, squares = (
        find_optimum(problem(X, y), Huber(delta=1e3)),
        find_optimum(problem(X, y), Loss.choose("mse")),
    )
    np.testing.assert_allclose(found.weights, squares.weights, rtol=1e-12)
    assert found.loss == pytest.approx(squares.loss / 2, rel=1e-13)
    away = squares.weights + np.array([[0.5], [-1.0], [2.0]])
    assert found.excess_loss(away) == pytest.approx(squares.excess_loss(away) / 2, rel=1e-12)


def test_outliers_do_not_pull_the_optimum() -> None:
    X = np.ones((5, 1))
    y = np.array([[1.0], [1.0], [2.0], [2.0], [1e6]])
    found = find_optimum(problem(X, y), Huber(delta=0.5))
    assert found.weights.item() == pytest.approx(
        1.75
    )  # 2·(0.5 + 0.5)·… = delta: the far one pulls as hard as any
    assert abs(sum((found.weights - y).clip(-0.5, 0.5))) < 1e-15


@pytest.mark.parametrize("distance", [1e2, 1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_excess_loss_of_huber_is_exact(distance: float, strength: float) -> None:
    """Compare with the difference of losses where that is large, else with the curvature."""
    X, y = outliers(40, 3, 2)
    found = find_optimum(problem(X, y), Huber(delta=0.2), Shrinkage(strength))
    direction = np.random.default_rng(5).standard_normal(found.weights.shape)
    away = found.weights + distance * direction
    excess = float(found.excess_loss(away))
    assert excess > 0
    if distance >= 1e-3:
        difference = objective(away, X, y, 0.2, strength) - found.loss
        assert excess == pytest.approx(difference, rel=1e-7)
    else:
        inside = np.abs(X @ found.weights - y) < 0.2
        bowl = (
            0.5 * np.square(inside * (X @ (away - found.weights))).mean()
            + 0.5 * strength * np.square(away - found.weights).sum()
        )
        assert excess == pytest.approx(bowl, rel=1e-6)
    assert found.excess_loss(np.stack([away, found.weights])).tolist() == [excess, 0.0]


@pytest.mark.parametrize(
    ("row", "size", "strength"),
    cover_pairs(QUADRATIC_LOSSES, SIZES, [1e-3, 0.7, 50.0]),
    ids=label,
)
def test_a_ridge_penalty_moves_optimum_curvatures_and_excess(
    row: LossRow, size: tuple[int, int, int], strength: float
) -> None:
    X, y = outliers(*size)
    loss = Loss.choose(row.plain)
    c = loss.scale(*y.shape)
    found = find_optimum(problem(X, y), loss, Shrinkage(strength))
    hessian = 2 * c * X.T @ X + strength * np.eye(X.shape[1])
    np.testing.assert_allclose(
        found.weights, np.linalg.solve(hessian, 2 * c * X.T @ y), rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(found.curvatures, np.linalg.eigvalsh(hessian)[::-1], rtol=1e-9)
    assert found.rank == X.shape[1]

    def value(W: Array) -> float:
        return float(c * np.square(X @ W - y).sum() + 0.5 * strength * np.square(W).sum())

    away = found.weights + 1
    assert found.loss == pytest.approx(value(found.weights), rel=1e-11)
    assert found.excess_loss(away) == pytest.approx(value(away) - found.loss, rel=1e-8)


@pytest.mark.matrix
def test_alpha_of_scikit_learns_ridge_is_half_the_strength() -> None:
    X, y = outliers(30, 4, 1)
    found = find_optimum(problem(X, y), Loss.choose("sse"), Shrinkage(3.0))
    theirs = linear_model.Ridge(alpha=1.5, fit_intercept=False, solver="svd").fit(X, y).coef_
    np.testing.assert_allclose(found.weights.ravel(), theirs.ravel(), rtol=1e-10)


def test_bad_conditioning_does_not_stop_the_search() -> None:
    X = conditioned(1e4, n=60, p=5, seed=1)
    y = X @ np.ones((5, 1)) + 0.01 * np.random.default_rng(1).standard_normal((60, 1))
    y[::7] += 3
    found = find_optimum(problem(X, y), Huber(delta=0.01))
    assert np.abs(X.T @ (X @ found.weights - y).clip(-0.01, 0.01)).max() < 1e-13
