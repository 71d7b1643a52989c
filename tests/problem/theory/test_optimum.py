"""The exact answer against answers by hand, rational arithmetic and numpy's least squares."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies

from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.losses import MSE, SSE, Loss
from linfit.problem.theory.optimum import find_optimum, solve_least_squares
from linfit.problem.types import Array
from tests.helpers import (
    KNOWN,
    LAW,
    PROBLEMS,
    QUADRATIC_LOSSES,
    Exact,
    Known,
    LossRow,
    conditioned,
    cover_pairs,
    label,
    problem,
)

EPS = float(np.finfo(float).eps)
DATA = [given for given, _ in PROBLEMS]


@pytest.mark.parametrize("known", KNOWN, ids=label)
@pytest.mark.parametrize("row", QUADRATIC_LOSSES, ids=label)
def test_answers_found_by_hand(known: Known, row: LossRow) -> None:
    loss = Loss.choose(row.plain)
    found = find_optimum(known.problem, loss)
    n, _, q = known.problem.shape
    np.testing.assert_allclose(found.weights, known.weights, rtol=1e-14, atol=1e-14)
    squares = np.square(known.problem.y).sum()
    assert found.loss == pytest.approx(
        known.loss * loss.scale(n, q), rel=1e-14, abs=1e-30 * squares
    )
    assert found.rank == known.rank
    assert found.excess_loss(np.array(known.weights, dtype=float)) == pytest.approx(
        0, abs=1e-28 * max(squares, 1)
    )
    away = np.array(known.weights, dtype=float) + 3
    assert found.measure_distance(away) == pytest.approx(3 * np.sqrt(away.size))


@pytest.mark.parametrize("given", DATA, ids=label)
def test_the_optimum_is_numpys(given: dict[str, Any]) -> None:
    data = Dataset.choose(given).load(3)
    found = find_optimum(data, SSE())
    weights, _, rank, singular = np.linalg.lstsq(data.X, data.y, rcond=None)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-11, atol=1e-12)
    assert found.rank == rank
    squares = float(np.square(data.X @ weights - data.y).sum())
    assert found.loss == pytest.approx(squares, rel=1e-10, abs=1e-25)
    assert found.loss >= 0
    np.testing.assert_allclose(found.curvatures, 2 * singular**2, rtol=1e-12)


@pytest.mark.parametrize(
    ("condition", "noise", "seed"),
    cover_pairs([1e0, 1e2, 1e4, 1e6, 1e8, 1e10], [0.0, 0.1], [0, 1]),
)
def test_the_optimum_survives_bad_conditioning(condition: float, noise: float, seed: int) -> None:
    """The oracle is exact; the bound is that of least squares, κ·(1 + κ·‖r‖/(‖X‖‖w‖)) roundings."""
    X = conditioned(condition, n=9, p=4, seed=seed)
    stream = np.random.default_rng(100 + seed)
    y = X @ stream.standard_normal((4, 1)) + noise * stream.standard_normal((9, 1))
    exact = Exact(X, y)
    found = find_optimum(problem(X, y), SSE())
    assert found.rank == 4
    size = float(np.linalg.norm(exact.weights))
    residual = float(exact.loss()) ** 0.5
    assert found.measure_distance(exact.weights) / size <= 8 * EPS * condition * (
        1 + condition * residual / size
    )
    rounding = 16 * EPS * size  # of X W, whose terms may be far larger than y
    assert abs(found.loss - float(exact.loss())) <= 2 * rounding * residual + rounding**2
    assert float(exact.loss(found.weights) - exact.loss()) <= rounding**2


@pytest.mark.parametrize("q", [1, 2])
def test_columns_of_unlike_size_cost_no_digits(q: int) -> None:
    """A polynomial over [0, 1000]: κ is above 1e10, that of the scaled columns 1e2."""
    x = np.linspace(0, 1000, 12)
    X = np.vander(x, 4)
    y = np.random.default_rng(5).standard_normal((12, q))
    assert np.linalg.cond(X) > 1e9
    exact = Exact(X, y)
    found = find_optimum(problem(X, y), SSE())
    np.testing.assert_allclose(found.weights, exact.weights, rtol=1e-11)
    assert found.loss == pytest.approx(float(exact.loss()), rel=1e-13)


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9])
def test_a_small_column_counts_also_where_two_others_coincide(size: float) -> None:
    """The unit of a feature does not decide whether it can explain anything."""
    stream = np.random.default_rng(8)
    a, b = stream.standard_normal((2, 10, 1))
    y = a + b + 0.1 * stream.standard_normal((10, 1))
    found = find_optimum(problem(np.hstack([a, a, size * b]), y), SSE())
    assert found.rank == 2
    assert found.loss == pytest.approx(float(Exact(np.hstack([a, b]), y).loss()), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "p", "rank"), [(8, 5, 3), (4, 7, 4), (3, 6, 2), (10, 10, 9), (6, 1, 1)]
)
@pytest.mark.parametrize("q", [1, 2])
def test_where_many_optima_are_the_smallest_is_found(n: int, p: int, rank: int, q: int) -> None:
    stream = np.random.default_rng(n * p)
    X = stream.standard_normal((n, rank)) @ stream.standard_normal((rank, p))
    y = stream.standard_normal((n, q))
    found = find_optimum(problem(X, y), SSE())
    expected = np.linalg.pinv(X, rcond=1e-12) @ y
    assert found.rank == rank
    np.testing.assert_allclose(found.weights, expected, rtol=1e-9, atol=1e-11)
    assert found.loss == pytest.approx(
        float(np.square(X @ expected - y).sum()), rel=1e-9, abs=1e-24
    )
    null = np.linalg.svd(X)[2][rank:]  # every other optimum differs by these
    np.testing.assert_allclose(null @ found.weights, 0, atol=1e-11)
    if len(null):
        assert found.excess_loss(found.weights + null[:1].T) == pytest.approx(0, abs=1e-24)


NUMBERS = strategies.floats(-10, 10, allow_nan=False).map(lambda number: round(number, 3))


@LAW
@given(
    strategies.data(),
    strategies.integers(1, 6),
    strategies.integers(1, 4),
    strategies.integers(1, 2),
)
def test_no_weights_are_better_than_the_optimum(
    data: strategies.DataObject, n: int, p: int, q: int
) -> None:
    def matrix(rows: int, columns: int) -> Array:
        flat = data.draw(
            strategies.lists(NUMBERS, min_size=rows * columns, max_size=rows * columns)
        )
        return np.array(flat, dtype=float).reshape(rows, columns)

    X, y, weights = matrix(n, p), matrix(n, q), matrix(p, q)
    found = find_optimum(problem(X, y), SSE())
    excess = float(found.excess_loss(weights))
    there = float(np.square(X @ weights - y).sum())
    scale = float(
        np.square(np.abs(X) @ (np.abs(weights) + np.abs(found.weights)) + np.abs(y)).sum()
    )
    assert excess >= 0
    assert abs(found.loss + excess - there) <= 1e-11 * scale
    np.testing.assert_allclose(X.T @ (X @ found.weights - y), 0, atol=1e-11 * (1 + scale))


@pytest.mark.parametrize("row", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize("q", [1, 3])
@pytest.mark.parametrize("distance", [1e3, 1.0, 1e-3, 1e-6])
def test_the_excess_loss_is_the_difference_of_losses(row: LossRow, q: int, distance: float) -> None:
    """In exact arithmetic, also where in float64 the two losses agree to the last digit."""
    stream = np.random.default_rng(17)
    X, y = stream.standard_normal((8, 3)), stream.standard_normal((8, q))
    loss, exact = Loss.choose(row.plain), Exact(X, y)
    weights = exact.weights + distance * stream.standard_normal((3, q))
    difference = Fraction(loss.scale(8, q)) * (exact.loss(weights) - exact.loss())
    found = find_optimum(problem(X, y), loss)
    assert float(found.excess_loss(weights)) == pytest.approx(float(difference), rel=1e-8)
    assert found.loss == pytest.approx(loss.scale(8, q) * float(exact.loss()), rel=1e-14)


def test_the_excess_loss_of_many_weights_at_once() -> None:
    stream = np.random.default_rng(3)
    found = find_optimum(
        problem(stream.standard_normal((8, 3)), stream.standard_normal((8, 2))), MSE()
    )
    many = stream.standard_normal((4, 5, 3, 2))
    assert found.excess_loss(many).shape == (4, 5)
    for place in np.ndindex(4, 5):
        assert found.excess_loss(many)[place] == pytest.approx(
            float(found.excess_loss(many[place])), rel=1e-14
        )
    assert float(found.excess_loss(found.weights)) == 0.0


@pytest.mark.parametrize("row", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize(("n", "p", "q"), [(8, 3, 1), (8, 3, 2), (3, 5, 1), (1, 1, 1)])
def test_the_curvatures_are_the_hessians(row: LossRow, n: int, p: int, q: int) -> None:
    stream = np.random.default_rng(n + p)
    X, y = stream.standard_normal((n, p)), stream.standard_normal((n, q))
    scale = {"sum": 1.0, "mean": 1 / (n * q)}[row.torch]
    found = find_optimum(problem(X, y), Loss.choose(row.plain))
    hessian = np.linalg.eigvalsh(2 * scale * X.T @ X)[::-1][: min(n, p)]
    np.testing.assert_allclose(found.curvatures, hessian, rtol=1e-11)
    np.testing.assert_allclose(found.root.T @ found.root, X.T @ X, rtol=1e-12, atol=1e-13)
    assert (np.diff(found.curvatures) <= 0).all()


def test_gradient_descent_is_stable_below_two_over_the_largest_curvature() -> None:
    """Just below the bound of the curvature descent shrinks the error, just above it grows."""
    X, y = conditioned(3, n=10, p=3, seed=1), np.ones((10, 1))
    found = find_optimum(problem(X, y), SSE())

    def descend(lr: float) -> float:
        weights = found.weights + 1
        for _ in range(400):
            weights = weights - lr * 2 * X.T @ (X @ weights - y)
        return found.measure_distance(weights)

    assert descend(1.95 / found.curvatures[0]) < 1e-6
    assert descend(2.05 / found.curvatures[0]) > 1e3


def test_least_squares_does_not_change_its_input() -> None:
    X, y = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]]), np.ones((3, 1))
    before = X.tobytes(), y.tobytes()
    solve_least_squares(X, y)
    assert (X.tobytes(), y.tobytes()) == before
