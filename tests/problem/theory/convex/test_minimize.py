"""The minimum of smooth losses, against scikit-learn and exact arithmetic."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from scipy.linalg import solve_triangular
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.svm import LinearSVC

from linfit.problem.losses import CrossEntropy, Logistic, Loss, Poisson, SquaredHinge
from linfit.problem.penalties import Shrinkage
from linfit.problem.types import Array, Minimum

LOSSES: tuple[Loss, ...] = (Logistic(), CrossEntropy(), Poisson(), SquaredHinge())
STRENGTHS = (0.0, 1e-4, 0.1)


def draw(loss: Loss, n: int, p: int, seed: int = 0) -> tuple[Array, Array]:
    """Targets that the loss is made for, of a linear model."""
    stream = np.random.default_rng(seed)
    X = stream.standard_normal((n, p))
    truth = stream.standard_normal((p, 3)) / np.sqrt(p)
    eta = X @ truth
    if loss.target_kind == "classes":
        return X, np.eye(3)[(eta + stream.gumbel(size=eta.shape)).argmax(axis=1)]
    if loss.target_kind == "count":
        return X, stream.poisson(np.exp(eta[:, :1])).astype(float)
    y = (stream.random((n, 1)) < 1 / (1 + np.exp(-2 * eta[:, :1]))).astype(float)
    return X, 2 * y - 1 if loss.target_kind == "sign" else y


def minimize(
    loss: Loss,
    X: Array,
    y: Array,
    strength: float = 0.0,
    weights: Array | None = None,
    exempt: bool = False,
) -> Minimum:
    start = np.asarray(np.linalg.lstsq(X, y)[0], dtype=np.float64)
    found = loss.optimum(X, y, weights, start, Shrinkage(strength, exempt))
    assert found is not None
    return found


def fit_elsewhere(loss: Loss, X: Array, y: Array, strength: float) -> Array:
    """Return scikit-learn's weights `[p, q]`."""
    C = 1 / (strength * len(X)) if strength else np.inf
    exact: dict[str, Any] = {"fit_intercept": False, "tol": 1e-12, "max_iter": 100000}
    if loss.target_kind == "count":
        other: Any = PoissonRegressor(alpha=strength, solver="newton-cholesky", **exact)
        return np.asarray(other.fit(X, y[:, 0]).coef_[:, None])
    if loss.target_kind == "sign":
        exact |= {"tol": 1e-10, "random_state": 0}
        other = LinearSVC(C=C, dual=True, **exact)
    else:
        other = LogisticRegression(C=C, solver="newton-cholesky", **exact)
    labels = y.argmax(axis=1) if loss.couples_targets else y[:, 0]
    return np.asarray(other.fit(X, labels).coef_.T)


def evaluate(loss: Loss, X: Array, y: Array, W: Array, strength: float) -> float:
    import torch

    value = float(loss(torch.from_numpy(X @ W), torch.from_numpy(y)))
    return value + 0.5 * strength * float(np.square(W).sum())


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_the_minimum_is_scikit_learns(loss: Loss, strength: float) -> None:
    if loss.target_kind == "sign" and not strength:
        pytest.skip("LinearSVC has a penalty")
    X, y = draw(loss, 200, 5)
    found = minimize(loss, X, y, strength)
    other = fit_elsewhere(loss, X, y, strength)
    np.testing.assert_allclose(found.weights, other, rtol=1e-8, atol=1e-8)
    theirs = evaluate(loss, X, y, other, strength)
    assert found.objective == pytest.approx(theirs, rel=1e-12)
    assert found.objective <= theirs * (1 + 1e-14)
    assert found.attained


# ---- the certificate, against a gradient of 60 digits ----


def slope_exactly(loss: Loss, eta: list[Decimal], y: list[float]) -> list[Decimal]:
    if loss.target_kind == "sign":
        sign = Decimal(y[0])
        return [-2 * sign * max(Decimal(), 1 - sign * eta[0])]
    if loss.target_kind == "binary":
        return [1 / (1 + (-eta[0]).exp()) - Decimal(y[0])]
    total = sum((value.exp() for value in eta), Decimal()) if loss.couples_targets else Decimal(1)
    return [value.exp() / total - Decimal(target) for value, target in zip(eta, y, strict=True)]


def measure_gradient(loss: Loss, X: Array, y: Array, W: Array, strength: float) -> Array:
    """Return the gradient at W, computed in 60 digits and rounded once."""
    with localcontext() as context:
        context.prec = 60
        weights = [[Decimal(number) for number in row] for row in W.tolist()]
        found = [[Decimal(strength) * number for number in row] for row in weights]
        for row, targets in zip(X.tolist(), y.tolist(), strict=True):
            x = [Decimal(number) for number in row]
            columns = zip(*weights, strict=True)
            eta = [sum(map(Decimal.__mul__, x, column), Decimal()) for column in columns]
            slope = slope_exactly(loss, eta, targets)
            for j, number in enumerate(x):
                for k, part in enumerate(slope):
                    found[j][k] += number * part / len(X)
        return np.array(found, dtype=float)


def measure_hessian(loss: Loss, X: Array, y: Array, W: Array, strength: float) -> Array:
    import torch

    bent = loss.curvature(torch.from_numpy(X @ W), torch.from_numpy(y)).numpy()
    bent = bent.reshape(len(X), y.shape[1], y.shape[1])
    size = W.size
    data = np.einsum("np,nkl,nr->pkrl", X, bent, X).reshape(size, size) / len(X)
    return np.asarray(data + strength * np.eye(size))


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_the_certificate_is_never_smaller_than_the_truth(loss: Loss, strength: float) -> None:
    for seed in range(6):
        X, y = draw(loss, 40, 3, seed)
        X[:, 0] *= 10.0 ** (seed - 3)
        found = minimize(loss, X, y, strength)
        gradient = measure_gradient(loss, X, y, found.weights, strength).ravel()
        hessian = measure_hessian(loss, X, y, found.weights, strength)
        truth = 0.5 * gradient @ np.linalg.pinv(hessian, rcond=1e-14) @ gradient
        assert found.gap is not None
        assert truth <= found.gap < 1e-24


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_columns_that_nearly_depend_on_each_other_leave_a_certificate(loss: Loss) -> None:
    X, y = draw(loss, 40, 3)
    for small in (1e-4, 1e-7):
        mixed = X @ np.array([[1, 1, 0], [0, small, 0], [0, 0, 1]])
        found = minimize(loss, mixed, y)
        orthogonal, root = np.linalg.qr(mixed)
        gradient = measure_gradient(loss, mixed, y, found.weights, 0.0)
        gradient = solve_triangular(root.T, gradient, lower=True).ravel()
        eta = mixed @ found.weights
        hessian = measure_hessian(loss, orthogonal, y, orthogonal.T @ eta, 0.0)
        truth = 0.5 * gradient @ np.linalg.pinv(hessian, rcond=1e-12) @ gradient
        assert found.gap is not None
        assert truth <= found.gap < 1e-8


# ---- what is measured around it ----


@pytest.mark.parametrize("strength", [0.0, 0.1])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_the_excess_is_the_difference_of_objectives_far_away(loss: Loss, strength: float) -> None:
    X, y = draw(loss, 60, 3)
    found = minimize(loss, X, y, strength)
    away = np.random.default_rng(3).standard_normal((2, 4, *found.weights.shape))
    excess = found.around.excess(away)
    for place in np.ndindex(2, 4):
        there = evaluate(loss, X, y, found.weights + away[place], strength)
        assert excess[place] == pytest.approx(there - found.objective, rel=1e-10)
    near = found.around.excess(1e-12 * away)
    assert (near > 0).all()
    np.testing.assert_allclose(1e4 * near, found.around.excess(1e-10 * away), rtol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_weight_2_is_a_row_twice_and_weight_0_a_row_less(loss: Loss) -> None:
    X, y = draw(loss, 60, 3)
    counts = np.random.default_rng(5).integers(0, 3, 60)
    X[counts == 0] *= 1e6
    rows = np.repeat(np.arange(60), counts)
    found = minimize(loss, X, y, 0.01, counts * 60 / counts.sum())
    repeated = minimize(loss, X[rows], y[rows], 0.01)
    np.testing.assert_allclose(found.weights, repeated.weights, rtol=1e-12, atol=1e-14)
    assert found.objective == pytest.approx(repeated.objective, rel=1e-13)
    away = np.ones((1, *found.weights.shape))
    np.testing.assert_allclose(found.around.excess(away), repeated.around.excess(away), rtol=1e-12)


@pytest.mark.parametrize("loss", [Logistic(), Poisson(), SquaredHinge()], ids=lambda x: x.name)
def test_targets_are_minimized_by_themselves(loss: Loss) -> None:
    X, first = draw(loss, 60, 3)
    second = first[::-1].copy()
    both = minimize(loss, X, np.hstack([first, second]), 0.01)
    alone = [minimize(loss, X, y, 0.02) for y in (first, second)]
    np.testing.assert_allclose(both.weights, np.hstack([one.weights for one in alone]), rtol=1e-12)
    mean = sum(one.objective for one in alone) / 2
    assert both.objective == pytest.approx(mean, rel=1e-13)


@pytest.mark.parametrize("loss", [Logistic(), CrossEntropy(), Poisson()], ids=lambda x: x.name)
def test_of_many_minima_it_is_that_of_smallest_norm(loss: Loss) -> None:
    X, y = draw(loss, 60, 3)
    plain = minimize(loss, X, y)
    found = minimize(loss, np.hstack([X, X[:, :1]]), y)
    assert found.objective == pytest.approx(plain.objective, rel=1e-13)
    np.testing.assert_allclose(found.weights[0], plain.weights[0] / 2, rtol=1e-10)
    np.testing.assert_allclose(found.weights[3], plain.weights[0] / 2, rtol=1e-10)
    if loss.couples_targets:
        assert np.abs(found.weights.sum(axis=1)).max() < 1e-14
    assert found.gap is not None
    assert found.gap < 1e-24


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_scaling_a_column_scales_its_weight(loss: Loss) -> None:
    X, y = draw(loss, 60, 3)
    plain = minimize(loss, X, y)
    scales = 2.0 ** np.array([-30, 0, 40])
    found = minimize(loss, X * scales, y)
    assert found.objective == plain.objective
    np.testing.assert_allclose(found.weights * scales[:, None], plain.weights, rtol=1e-13)


def test_curvatures_are_the_eigenvalues_of_the_hessian() -> None:
    for loss in LOSSES:
        X, y = draw(loss, 60, 3)
        X[:, 0] *= 100
        found = minimize(loss, X, y, 0.01)
        hessian = measure_hessian(loss, X, y, found.weights, 0.01)
        expected = np.linalg.eigvalsh(hessian)[::-1]
        assert found.curvatures == pytest.approx(expected.tolist(), rel=1e-9)


def test_counts_that_least_squares_would_send_beyond_float64_are_fitted() -> None:
    X, y = draw(Poisson(), 50, 2)
    found = minimize(Poisson(), np.hstack([X, np.ones((50, 1))]), 1e6 * (1 + y))
    assert found.gap is not None
    assert found.gap < 1e-12
