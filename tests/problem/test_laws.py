"""Laws of the exact optimum of every loss with every penalty: what a change of the data changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linfit.problem.datasets.arrays import arrays
from linfit.problem.datasets.targets import CLASS_KINDS
from linfit.problem.theory.optimum import Optimum, find_optimum
from linfit.problem.types import Array
from tests.helpers import ALL_LOSSES, PENALTIES, LossRow, Row, config, label

N, P, Q = 24, 3, 3
COUNTS = np.array([2, 0, 1, 3] * 6)
#: Losses of residuals alone, of which a constant moves the intercept.
SHIFTING = ("sse", "mse", "huber", "quantile")


def takes(loss: LossRow, penalty: Row) -> bool:
    return loss.smooth or penalty.name == "none"


PAIRS = [(loss, penalty) for loss in ALL_LOSSES for penalty in PENALTIES if takes(loss, penalty)]


def draw(loss: LossRow) -> tuple[Array, Array]:
    """Return X `[n, p]`, and targets as a user has them, which no plane separates."""
    X = np.random.default_rng(8).standard_normal((N, P))
    y = loss.targets(N, Q)
    return X, y.argmax(axis=1)[:, None] if loss.kind == "classes" else y


def solve(loss: LossRow, penalty: Row, X: Array, y: Array, **parts: Any) -> Optimum:
    strength = {} if penalty.name == "none" else {"strength": 0.05}
    given = config(
        loss=loss.plain,
        penalty={**penalty.plain, **strength},
        features={"name": "raw", "intercept": True},
        dataset=arrays(X, y, weight=parts.get("weight")),
        dtype="float64",
    )
    problem = given.problem().cast("float64")
    found = find_optimum(problem, given.loss, given.shrinkage())
    assert found.attained
    return found


def centered(loss: LossRow, W: Array) -> Array:
    """Return weights `[p + 1, q]`, of classes the differences that alone are determined."""
    return W - W.mean(axis=1, keepdims=True) if loss.kind == "classes" else W


def assert_equal(loss: LossRow, found: Optimum, expected: Array, value: float) -> None:
    near = 1e-8 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(
        centered(loss, found.weights), centered(loss, expected), rtol=0, atol=near
    )
    assert found.loss == pytest.approx(value, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize(("loss", "penalty"), PAIRS, ids=label)
def test_the_order_of_rows_does_not_count(loss: LossRow, penalty: Row) -> None:
    X, y = draw(loss)
    order = np.random.default_rng(1).permutation(N)
    plain = solve(loss, penalty, X, y)
    assert_equal(loss, solve(loss, penalty, X[order], y[order]), plain.weights, plain.loss)


@pytest.mark.parametrize(("loss", "penalty"), PAIRS, ids=label)
def test_a_weight_counts_rows(loss: LossRow, penalty: Row) -> None:
    X, y = draw(loss)
    rows = np.repeat(np.arange(N), COUNTS)
    repeated = solve(loss, penalty, X[rows], y[rows])
    weighted = solve(loss, penalty, X, y, weight=COUNTS)
    assert_equal(loss, weighted, repeated.weights, repeated.loss)


@pytest.mark.parametrize("loss", ALL_LOSSES, ids=label)
def test_a_column_times_a_power_of_two_divides_its_weight(loss: LossRow) -> None:
    X, y = draw(loss)
    none = next(row for row in PENALTIES if row.name == "none")
    plain = solve(loss, none, X, y)
    scales = np.array([2.0**-20, 1.0, 2.0**20])
    scaled = solve(loss, none, X * scales, y)
    back = scaled.weights * np.append(scales, 1)[:, None]
    np.testing.assert_allclose(
        centered(loss, back), centered(loss, plain.weights), rtol=0, atol=1e-8
    )
    assert scaled.loss == pytest.approx(plain.loss, rel=1e-12)


@pytest.mark.parametrize(
    ("loss", "penalty"), [pair for pair in PAIRS if pair[0].name in SHIFTING], ids=label
)
def test_a_constant_moves_the_intercept_alone(loss: LossRow, penalty: Row) -> None:
    X, y = draw(loss)
    plain = solve(loss, penalty, X, y)
    moved = plain.weights.copy()
    moved[-1] += 4.0
    assert_equal(loss, solve(loss, penalty, X, y + 4.0), moved, plain.loss)


@pytest.mark.parametrize(
    ("loss", "penalty"), [pair for pair in PAIRS if pair[0].kind in CLASS_KINDS], ids=label
)
def test_labels_that_are_swapped_swap_the_weights(loss: LossRow, penalty: Row) -> None:
    X, y = draw(loss)
    plain = solve(loss, penalty, X, y)
    if loss.kind == "classes":
        swapped = solve(loss, penalty, X, (Q - 1) - y)
        assert_equal(loss, swapped, plain.weights[:, ::-1], plain.loss)
    else:
        other = 1 - y if loss.kind == "binary" else -y
        assert_equal(loss, solve(loss, penalty, X, other), -plain.weights, plain.loss)


@pytest.mark.parametrize(("loss", "penalty"), PAIRS, ids=label)
def test_no_weights_nearby_are_better(loss: LossRow, penalty: Row) -> None:
    """The excess loss is that of the objective itself, evaluated by the loss of the fit."""
    import torch

    X, y = draw(loss)
    strength = {} if penalty.name == "none" else {"strength": 0.05}
    given = config(
        loss=loss.plain,
        penalty={**penalty.plain, **strength},
        features={"name": "raw", "intercept": True},
        dataset=arrays(X, y, weight=COUNTS),
        dtype="float64",
    )
    problem = given.problem().cast("float64")
    shrinkage = given.shrinkage()
    known = find_optimum(problem, given.loss, shrinkage)
    measure = problem.bind_loss(given.loss)
    stream = np.random.default_rng(2)
    for distance in (1e-2, 1.0):
        W = known.weights + distance * stream.standard_normal(known.weights.shape)
        eta = torch.from_numpy(problem.X @ W)
        shrunk = shrinkage.mark_penalized(P + 1)[:, None] * W
        value = float(measure(eta, torch.from_numpy(problem.seen_targets)))
        value += 0.5 * shrinkage.strength * np.square(shrunk).sum()
        value += shrinkage.l1 * np.abs(shrunk).sum()
        excess = float(known.excess_loss(W))
        assert excess > 0
        assert value - known.loss == pytest.approx(excess, rel=1e-7, abs=1e-13)
