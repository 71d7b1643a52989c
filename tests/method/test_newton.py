"""Newton's method: how fast it comes to the optimum, from where, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.method.solvers.newton import judge_full_steps, solve_blocks
from linfit.problem.datasets.arrays import arrays
from linfit.problem.theory.convex.several import compute_hessians
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.types import Array
from tests.helpers import ALL_LOSSES, LossRow, config, cover_pairs, label

ENGINES = ("single", "stacked")
SMOOTH = [loss for loss in ALL_LOSSES if loss.smooth]
LOGISTIC = next(loss for loss in SMOOTH if loss.name == "logistic")
RIDGE: dict[str, Any] = {"name": "ridge", "strength": 0.1}
COUNTS = [1, 3, 0, 2, 1, 1, 4, 0, 1, 2, 1, 1]
X = np.random.default_rng(3).standard_normal((40, 3))
SEPARATED = np.where(X[:, :1] > 0, 1.0, 0.0)


def run(engine: str, **parts: Any) -> Fit:
    common = {"optimizer": "newton", "dtype": "float64", "record": {"every": 1}}
    found = fit(config(**{**common, "engine": engine, **parts}))
    assert found.error is None, found.error
    return found


def targets(loss: LossRow) -> int:
    return 3 if loss.kind == "classes" else 2


@pytest.mark.parametrize("penalty", ["none", RIDGE], ids=["none", "ridge"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", SMOOTH, ids=label)
def test_few_steps_lead_to_the_optimum(loss: LossRow, engine: str, penalty: Any) -> None:
    dataset = loss.dataset(60, 4, targets(loss))
    found = run(engine, dataset=dataset, loss=loss.plain, penalty=penalty, steps=12)
    assert found.excess_losses[-1] <= 1e-24 * found.excess_losses[0]
    assert (np.diff(found.excess_losses) <= 0).all()
    assert not loss.quadratic or found.excess_losses[1] <= 1e-24 * found.excess_losses[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", SMOOTH, ids=label)
def test_the_engines_make_the_same_steps(loss: LossRow, dtype: str) -> None:
    q = targets(loss)
    weight = np.resize(COUNTS, 60)
    parts = {"dataset": loss.dataset(60, 4, q, weight), "loss": loss.plain, "dtype": dtype}
    one, other = (run(engine, **parts, penalty=RIDGE, steps=6) for engine in ENGINES)
    assert one.path is not None and other.path is not None
    near = 1e-12 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(one.path.weights, other.path.weights, rtol=near, atol=near)


@pytest.mark.parametrize(
    ("loss", "engine", "size"),
    cover_pairs([one for one in SMOOTH if one.name != "poisson"], ENGINES, [100.0, 1e4]),
    ids=label,
)
def test_it_comes_from_far_where_the_hessian_is_flat(
    loss: LossRow, engine: str, size: float
) -> None:
    q = 3 if loss.kind == "classes" else 1
    signs = np.array([[(-1) ** (i + j) * (1 + j) for j in range(q)] for i in range(4)])
    init = {"name": "given", "weights": (size * signs).tolist()}
    found = run(engine, dataset=loss.dataset(60, 4, q), loss=loss.plain, init=init, steps=30)
    assert found.excess_losses[-1] <= 1e-20 * found.excess_losses[0]


@pytest.mark.parametrize("loss", ["logistic", "cross_entropy"])
@pytest.mark.parametrize("engine", ENGINES)
def test_steps_of_separated_classes_are_finite_and_go_on(engine: str, loss: str) -> None:
    found = run(engine, dataset=arrays(X, SEPARATED), loss=loss, steps=40)
    assert found.status is Status.COMPLETED and np.isfinite(found.weights).all()
    assert (np.diff(found.excess_losses) <= 0).all()
    assert found.excess_losses[-1] < 1e-12


@pytest.mark.parametrize("loss", ["mse", "logistic", "squared_hinge", "huber", "poisson"])
@pytest.mark.parametrize("engine", ENGINES)
def test_of_many_optima_it_finds_the_smallest_from_zero(engine: str, loss: str) -> None:
    rng = np.random.default_rng(1)
    dataset = arrays(np.column_stack([X, X[:, 0]]), rng.integers(0, 2, (40, 1)))
    found = run(engine, dataset=dataset, loss=loss, init="zeros", steps=12)
    assert found.optimum is not None and found.optimum.rank == 3
    np.testing.assert_allclose(found.weights, found.optimum.weights, rtol=1e-9, atol=1e-12)


def test_it_ends_where_scikit_learns_does() -> None:
    rng = np.random.default_rng(2)
    y = (X[:, 0] + rng.standard_normal(40) > 0).astype(float)
    penalty = {"name": "ridge", "strength": 0.1}
    found = run("single", dataset=arrays(X, y[:, None]), loss="logistic", penalty=penalty, steps=9)
    reference = LogisticRegression(
        C=1 / (0.1 * 40), solver="newton-cholesky", tol=1e-12, fit_intercept=False
    )
    reference.fit(X, y)
    np.testing.assert_allclose(found.weights[:, 0], reference.coef_[0], rtol=1e-10)


@pytest.mark.parametrize("loss", SMOOTH, ids=label)
def test_the_hessian_is_that_of_the_objective(loss: LossRow) -> None:
    given = config(
        dataset=loss.dataset(12, 3, targets(loss), COUNTS),
        features={"name": "raw", "intercept": True},
        loss=loss.plain,
        penalty=RIDGE,
        dtype="float64",
    )
    problem = given.problem()
    shrinkage = given.shrinkage()
    known = find_optimum(problem, given.loss, shrinkage)
    bound = problem.bind_loss(given.loss)
    features, seen = torch.from_numpy(problem.X), torch.from_numpy(problem.seen_targets)
    penalized = torch.from_numpy(shrinkage.mark_penalized(4) * 0.1)[:, None]

    def objective(W: torch.Tensor) -> torch.Tensor:
        return bound(features @ W, seen) + 0.5 * (penalized * W.square()).sum()

    W = 0.3 * torch.from_numpy(np.random.default_rng(8).standard_normal((4, targets(loss))))
    expected = torch.func.hessian(objective)(W).numpy()  # [p, q, p, q]
    blocks = known.hessian(W.numpy())
    if loss.kind == "classes":
        assert len(blocks) == 1
        np.testing.assert_allclose(blocks[0].reshape(expected.shape), expected, atol=1e-13)
        return
    for target, block in enumerate(blocks):
        np.testing.assert_allclose(block, expected[:, target, :, target], atol=1e-13)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["logistic", "cross_entropy", "poisson", "squared_hinge"])
def test_a_step_taken_unsearched_has_its_descent(loss: str, dtype: str) -> None:
    """From far to the optimum itself, by steps that only the judgement accepts."""
    row = next(one for one in SMOOTH if one.name == loss)
    q = targets(row)
    given = config(dataset=row.dataset(60, 4, q), loss=loss, penalty=RIDGE, dtype="float64")
    problem = given.problem()
    known = find_optimum(problem, given.loss, given.shrinkage())
    away = np.random.default_rng(5).standard_normal((4, q))
    sizes = [1e-16, 1e-13, 1e-10, 1e-7, 1e-5, 1e-3, 0.1, 0.5, 1.0, 3.0]
    weights = (known.weights + np.multiply.outer(sizes, away)).astype(dtype)
    optima = [known] * len(sizes)
    gradients = np.stack([measure_gradient(given, W.astype(float)) for W in weights])
    steps, _ = solve_blocks(compute_hessians(optima, weights.astype(float)), gradients)
    moved = (weights - steps).astype(dtype)

    is_sure, rests = judge_full_steps(optima, weights, gradients, steps, moved)
    before = known.excess_loss(weights.astype(float))
    after = known.excess_loss(moved.astype(float))
    promised = (gradients * steps).sum(axis=(1, 2))
    assert (after <= before - 1e-4 * promised)[is_sure].all()
    assert is_sure[sizes.index(0.1)]
    unit = np.finfo(dtype).eps
    assert rests[0] and not (is_sure & rests).any()
    assert (before[rests] <= (100 * unit) ** 2 * known.loss).all()


def measure_gradient(given: FitConfig, W: Array) -> Array:
    problem = given.problem()
    eta, seen = torch.from_numpy(problem.X @ W), torch.from_numpy(problem.seen_targets)
    slope = problem.bind_loss(given.loss).derivative(eta, seen).numpy()
    return np.asarray(problem.X.T @ slope + RIDGE["strength"] * W)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fit_at_its_optimum_stays_there(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that nothing is left to gain by cost no search, and move nothing."""
    searched = []

    def search(*arguments: Any) -> None:
        searched.append(arguments)

    monkeypatch.setattr("linfit.method.solvers.newton.search_line", search)
    dataset = LOGISTIC.dataset(60, 4, 1)
    found = run(engine, dataset=dataset, loss="logistic", penalty=RIDGE, steps=30, init="zeros")
    assert found.path is not None and not searched
    assert (found.path.weights[8:] == found.path.weights[8]).all()
    assert found.excess_losses[-1] <= 1e-26 * found.excess_losses[0]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"loss": "quantile"}, "newton needs a second derivative, which quantile has not: choose"),
        ({"penalty": "lasso"}, "newton minimizes smooth objectives, which penalty lasso is not"),
        ({"batch": "minibatch"}, "optimizer newton works with all samples at once: choose"),
        ({"schedule": "step"}, "newton has no lr to schedule: choose"),
    ],
)
def test_what_it_cannot_do_is_refused(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(optimizer="newton", **parts)
