"""The optimum with ‖W‖₁: against scikit-learn, exact fractions, and laws of the problem."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as Reference

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.optimum import Optimum, find_optimum
from linfit.problem.theory.sparse.squares import minimize_squares
from linfit.problem.types import Array
from tests.helpers import config

#: Samples, features, targets, and how much of a feature all features share.
SHAPES = ((60, 8, 1, 0.0), (40, 12, 2, 0.9), (15, 30, 1, 0.5), (80, 40, 1, 0.99))
SHARES = (0.5, 0.05, 0.002)


def draw(n: int, p: int, q: int, common: float, seed: int = 0) -> tuple[Array, Array]:
    """Return features with a common part, and targets of few of them."""
    stream = np.random.default_rng(seed)
    X = np.sqrt(1 - common) * stream.standard_normal((n, p))
    X = (X + np.sqrt(common) * stream.standard_normal((n, 1))) * stream.uniform(0.5, 3, p)
    W = np.where(np.arange(p)[:, None] < max(2, p // 10), stream.standard_normal((p, q)), 0)
    return X, X @ W + 0.5 * stream.standard_normal((n, q)) + 3


def largest_slope(X: Array, y: Array, weights: Array | None = None) -> float:
    """Return the strength above which all weights of mse are zero."""
    shares = np.ones(len(y)) if weights is None else weights
    centred = y - np.average(y, axis=0, weights=shares)
    return float(2 * np.abs((shares[:, None] * X).T @ centred).max() / (shares.sum() * y.shape[1]))


def sparse(
    X: Array, y: Array, strength: float, ratio: float, weights: Array | None = None, **parts: Any
) -> FitConfig:
    penalty: dict[str, Any] = {"name": "elastic_net", "strength": strength, "l1_ratio": ratio}
    if ratio == 1:
        penalty = {"name": "lasso", "strength": strength}
    return config(
        dataset=linfit.arrays(X, y, weight=weights),
        penalty=penalty,
        **{
            "features": {"name": "raw", "intercept": True},
            "loss": "mse",
            "dtype": "float64",
            "optimizer": {"name": "sgd", "lr": 1e-3},
            **parts,
        },
    )


def solve(own: FitConfig) -> Optimum:
    return find_optimum(own.problem(), own.loss, own.shrinkage())


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_optimum_is_that_of_scikit_learn(
    shape: tuple[int, int, int, float], share: float, ratio: float, weighted: bool
) -> None:
    X, y = draw(*shape)
    counts = np.random.default_rng(3).integers(0, 4, len(X)).astype(float) if weighted else None
    strength = share * largest_slope(X, y, counts)
    found = solve(sparse(X, y, strength, ratio, counts))
    kept = slice(None) if counts is None else counts > 0
    weight = None if counts is None else counts[kept]
    for k, target in enumerate(y.T):
        known = Reference(
            alpha=strength * y.shape[1] / 2, l1_ratio=ratio, tol=1e-14, max_iter=10**6
        ).fit(X[kept], target[kept], sample_weight=weight)
        expected = np.append(known.coef_, known.intercept_)
        np.testing.assert_allclose(found.weights[:, k], expected, rtol=1e-8, atol=1e-9)
        assert ((found.weights[:-1, k] != 0) == (known.coef_ != 0)).all()
    assert found.unique
    assert found.gap is not None
    assert found.gap <= 1e-14 * found.loss


@pytest.mark.parametrize("loss", ["mse", "sse"])
@pytest.mark.parametrize("penalty", ["lasso", "elastic_net"])
def test_the_loss_of_a_fit_counts_the_penalty_and_its_excess_is_exact(
    penalty: str, loss: str
) -> None:
    X, y = draw(40, 6, 2, 0.3)
    for engine in ("single", "stacked"):
        own = config(
            dataset=linfit.arrays(X, y),
            features={"name": "raw", "intercept": True},
            penalty={"name": penalty, "strength": 0.4},
            loss=loss,
            dtype="float64",
            optimizer={"name": "manual_sgd", "lr": 1e-3},
            engine=engine,
            steps=5,
            record={"every": 1},
        )
        found = fit(own)
        assert found.path is not None and found.optimum is not None and found.problem is not None
        l1, l2 = own.penalty.absolute(), own.penalty.squared()
        scale = own.loss.scale(40, 2)
        before = None
        for W, value, excess in zip(
            found.path.weights, found.losses, found.excess_losses, strict=True
        ):
            residual = found.problem.X @ W - found.problem.y
            expected = scale * np.square(residual).sum()
            expected += l1 * np.abs(W[:-1]).sum() + 0.5 * l2 * np.square(W[:-1]).sum()
            assert value == pytest.approx(expected, rel=1e-12)
            assert excess == pytest.approx(expected - found.optimum.loss, rel=1e-9)
            if before is not None:  # sign(0) would be 0; no weight is
                np.testing.assert_allclose(W, before, rtol=1e-12, atol=1e-14)
            slope = l2 * W + l1 * np.sign(W)
            slope[-1] = 0
            before = W - 1e-3 * (2 * scale * found.problem.X.T @ residual + slope)


# ---- the certificate and the excess, in exact arithmetic ----


def exact_minimum(X: Array, y: Array, l1: float, weights: Array) -> tuple[list[Fraction], Fraction]:
    """Return the exact minimum of Σ(Xw − y)² + l1·‖w‖₁, and its value.

    It has the support and the signs of `weights`.
    """
    rows = [list(map(Fraction, row)) for row in X.tolist()]
    targets = list(map(Fraction, y.tolist()))
    own = np.flatnonzero(weights).tolist()
    t = Fraction(l1)
    system: list[list[Any]] = [
        [2 * sum(row[i] * row[j] for row in rows) for j in own]
        + [
            2 * sum(row[i] * b for row, b in zip(rows, targets, strict=True))
            - t * int(np.sign(weights[i]))
        ]
        for i in own
    ]
    for at in range(len(own)):  # Gauss and Jordan
        pivot = system[at][at]
        system[at] = [number / pivot for number in system[at]]
        for other in range(len(own)):
            factor = system[other][at]
            if other != at:
                system[other] = [
                    a - factor * b for a, b in zip(system[other], system[at], strict=True)
                ]
    w = [Fraction(0) for _ in range(X.shape[1])]
    for place, row in zip(own, system, strict=True):
        w[place] = row[-1]
        assert (row[-1] > 0) == (weights[place] > 0)
    residual: list[Any] = [
        b - sum(a * c for a, c in zip(row, w, strict=True))
        for row, b in zip(rows, targets, strict=True)
    ]
    for j in range(X.shape[1]):
        slope: Any = 2 * sum(row[j] * r for row, r in zip(rows, residual, strict=True))
        assert abs(slope) <= t
    return w, objective(rows, targets, t, w)


def objective(
    rows: list[list[Fraction]], targets: list[Fraction], t: Fraction, w: list[Fraction]
) -> Fraction:
    squares: Any = sum(
        (b - sum(a * c for a, c in zip(row, w, strict=True))) ** 2
        for row, b in zip(rows, targets, strict=True)
    )
    return Fraction(squares + t * sum(map(abs, w)))


@pytest.mark.parametrize("seed", range(12))
def test_the_gap_is_above_the_true_error_and_the_excess_is_that_of_fractions(seed: int) -> None:
    stream = np.random.default_rng(seed)
    n, p = ((12, 4), (6, 8), (20, 6))[seed % 3]
    X, y = draw(n, p, 1, (0.0, 0.9)[seed % 2], seed)
    l1 = float(np.abs(2 * X.T @ y).max() * (0.3, 0.01, 1e-4)[seed % 3])
    found = minimize_squares(X, y, 1.0, Shrinkage(0.0, False, l1))
    w, least = exact_minimum(X, y[:, 0], l1, found.weights[:, 0])
    rows = [list(map(Fraction, row)) for row in X.tolist()]
    targets = list(map(Fraction, y[:, 0].tolist()))
    computed = list(map(Fraction, found.weights[:, 0].tolist()))
    true = objective(rows, targets, Fraction(l1), computed) - least
    assert 0 <= true <= Fraction(found.gap)
    assert found.gap <= 1e-14 * found.objective
    assert found.objective == pytest.approx(float(least), rel=1e-14)

    data = config(
        dataset=linfit.arrays(X, y),
        penalty={"name": "lasso", "strength": l1},
        loss="sse",
        dtype="float64",
    )
    known = solve(data)
    for size in (1.0, 1e-3, 1e-6):
        away = size * stream.standard_normal((p, 1))
        at = [Fraction(a) + b for a, b in zip((away[:, 0]).tolist(), w, strict=True)]
        expected = float(objective(rows, targets, Fraction(l1), at) - least)
        assert known.excess_loss(known.weights + away) == pytest.approx(expected, rel=1e-8)


# ---- data that decide the weights badly, or not at all ----


@pytest.mark.parametrize("share", [0.1, 1e-3])
def test_of_equal_columns_one_optimum_is_meant_and_a_note_says_so(share: float) -> None:
    X, y = draw(30, 4, 1, 0.2)
    X = np.hstack([X, X[:, :1], -X[:, 1:2], np.zeros((30, 1))])
    found = fit(sparse(X, y, share * largest_slope(X, y), 1.0, steps=0))
    alone = solve(sparse(X[:, :4], y, share * largest_slope(X, y), 1.0))
    assert found.optimum is not None and found.problem is not None
    assert found.optimum.loss == pytest.approx(alone.loss, rel=1e-12)
    assert found.optimum.gap is not None
    # The slopes of columns that are left out are t but for rounding.
    assert found.optimum.gap <= 1e-11 * alone.loss
    assert found.optimum.weights[6, 0] == 0
    assert alone.unique
    assert not found.optimum.unique
    assert "the optimum that is meant is one of them" in " ".join(found.problem.notes)


def test_a_unique_optimum_of_more_features_than_samples_is_not_called_ambiguous() -> None:
    X, y = draw(15, 30, 1, 0.5)
    found = fit(sparse(X, y, 0.1 * largest_slope(X, y), 1.0, steps=0))
    assert found.problem is not None
    assert not any("equally good" in note for note in found.problem.notes)


@pytest.mark.parametrize("factor", [1e-200, 1e-8, 1e8, 1e149])
def test_units_of_the_data_do_not_matter(factor: float) -> None:
    X, y = draw(30, 5, 1, 0.2)
    c = 1 / 30
    l1 = 0.1 * largest_slope(X, y)
    known = minimize_squares(X, y, c, Shrinkage(0.0, False, l1))
    taller = minimize_squares(X, y * factor, c, Shrinkage(0.0, False, l1 * factor))
    np.testing.assert_allclose(taller.weights / factor, known.weights, rtol=1e-12)
    wider = minimize_squares(X * factor, y, c, Shrinkage(0.0, False, l1 * factor))
    np.testing.assert_allclose(wider.weights * factor, known.weights, rtol=1e-12)


def test_from_the_largest_slope_on_every_weight_is_zero() -> None:
    X, y = draw(60, 8, 1, 0.0)
    largest = largest_slope(X, y)
    for share, count in ((1.0001, 0), (0.9999, 1)):
        found = solve(sparse(X, y, share * largest, 1.0))
        assert np.count_nonzero(found.weights[:-1]) == count
    assert solve(sparse(X, 0 * y, 1.0, 1.0)).loss == 0


# ---- laws ----


def laws() -> dict[str, tuple[Array, Array, Array]]:
    """Return problems (X, y, weights) with the same optimum but for an unpenalized intercept."""
    X, y = draw(40, 8, 2, 0.5)
    weights = np.random.default_rng(1).integers(0, 3, 40).astype(float)
    order = np.random.default_rng(2).permutation(40)
    rows = np.repeat(np.arange(40), weights.astype(int))
    return {
        "itself": (X, y, weights),
        "rows permuted": (X[order], y[order], weights[order]),
        "weight 2 is a row twice, 0 a row less": (X[rows], y[rows], np.ones(len(rows))),
        "target + c": (X, y + 50, weights),
    }


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("law", laws())
def test_what_leaves_the_problem_leaves_the_optimum(law: str, ratio: float) -> None:
    problems = laws()
    X, y, weights = problems["itself"]
    strength = 0.05 * largest_slope(X, y, weights)
    known = solve(sparse(*problems["itself"][:2], strength, ratio, weights))
    X, y, weights = problems[law]
    found = solve(sparse(X, y, strength, ratio, weights))
    np.testing.assert_allclose(found.weights[:-1], known.weights[:-1], rtol=1e-10, atol=1e-12)
    moved = 50 if law == "target + c" else 0
    np.testing.assert_allclose(found.weights[-1], known.weights[-1] + moved, rtol=1e-10)
    assert found.loss == pytest.approx(known.loss, rel=1e-11)


def test_the_optimum_of_sufficient_statistics_is_that_of_the_samples() -> None:
    X, y = draw(60, 8, 2, 0.5)
    strength = 0.05 * largest_slope(X, y)
    known = solve(sparse(X, y, strength, 1.0))
    found = solve(sparse(X, y, strength, 1.0, gradient="gram"))
    np.testing.assert_allclose(found.weights, known.weights, rtol=1e-9, atol=1e-11)


# ---- what goes together ----


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"optimizer": "closed_form"}, "closed_form minimizes quadratic objectives, which penalty"),
        ({"optimizer": "conjugate_gradient"}, "choose optimizer=fista, or penalty=ridge"),
        ({"optimizer": "nesterov"}, "or give optimizer.lr and optimizer.momentum"),
        ({"optimizer": "lbfgs"}, "differences of gradients, and that of penalty lasso jumps"),
        ({"stop": {"gradient_norm": 1e-3}}, "choose stop.excess_loss"),
        ({"penalty": {"name": "lasso", "strength": -1.0}}, "greater than or equal to 0"),
        ({"penalty": {"name": "elastic_net", "l1_ratio": 1.5}}, "less than or equal to 1"),
    ],
    ids=str,
)
def test_what_does_not_go_with_it_says_so(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**{"loss": "mse", "penalty": "lasso", **parts})


def test_a_subgradient_method_says_that_it_reaches_no_zeros() -> None:
    (note,) = config(penalty="lasso").notes()
    assert "reaches no weight of exactly 0: optimizer=fista does" in note
    for penalty in ("ridge", {"name": "elastic_net", "l1_ratio": 0.0}):
        assert config(penalty=penalty).notes() == ()
