"""SVRG and SAGA beside plain numpy loops, in both engines; and where they lead."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.prediction.predict import predict_from_fit
from linfit.method.batches import Minibatch
from linfit.problem.datasets.arrays import arrays
from tests.helpers import (
    ALL_LOSSES,
    BATCH_GRADIENTS,
    DTYPES,
    MODELS,
    GradientRow,
    LossRow,
    config,
    cover_pairs,
    label,
)

ENGINES = ("single", "stacked")
N, P = 23, 3
STEPS = 40
SMOOTH = [row for row in ALL_LOSSES if row.smooth]
SETTINGS = [(row, given) for row in BATCH_GRADIENTS for given in row.settings()]
PENALTIES = (
    {"name": "none"},
    {"name": "ridge", "strength": 0.3},
    {"name": "elastic_net", "strength": 0.3},
)
BATCHES = (
    {"name": "minibatch", "size": 5},
    {"name": "minibatch", "size": 20, "replacement": True, "seed": 4},
    {"name": "minibatch", "size": 1},
)
CASES = cover_pairs(SMOOTH, SETTINGS, PENALTIES, BATCHES, [False, True], ENGINES)

Floats = NDArray[np.float64]


def softmax(eta: Floats) -> Floats:
    shares: Floats = np.exp(eta - eta.max(axis=1, keepdims=True))
    total: Floats = shares.sum(axis=1, keepdims=True)
    return shares / total


#: ∂term/∂η of a sample and target, times the number of terms by which a mean divides.
SLOPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "sse": lambda eta, y: 2 * (eta - y),
    "mse": lambda eta, y: 2 * (eta - y),
    "huber": lambda eta, y: np.clip(eta - y, -1, 1),
    "logistic": lambda eta, y: 1 / (1 + np.exp(-eta)) - y,
    "squared_hinge": lambda eta, y: -2 * y * np.maximum(0, 1 - y * eta),
    "cross_entropy": lambda eta, y: softmax(eta) - y,
    "poisson": lambda eta, y: np.exp(eta) - y,
}


def descend(
    loss: str, given: dict[str, Any], penalty: dict[str, Any], batch: dict[str, Any], *data: Floats
) -> Floats:
    """Return the weights `[STEPS + 1, p, q]` of gradient descent, sample by sample.

    `data` are X, the targets, the weights of the samples with mean 1, the initial weights, and lr.
    """
    X, y, weights, W, lr = data
    n, q = y.shape
    terms = {"sse": 1, "cross_entropy": n}.get(loss, n * q)
    size = batch["size"]
    replacement = batch.get("replacement", False)
    sampler = Minibatch(size=size, replacement=replacement).sampler(n, batch.get("seed", 3))
    period = STEPS + 1
    if given["name"] == "svrg":
        period = given.get("epoch", -(-2 * n // size))
    path = [W]
    for step, rows in enumerate(sampler.draw(STEPS)):

        def slope(i: int, W: Floats = W) -> Floats:
            eta = X[i : i + 1] @ W
            sample: Floats = np.outer(X[i], SLOPES[loss](eta, y[i : i + 1])) * weights[i]
            found: Floats = sample / terms
            return found

        if step % period == 0:
            table = np.array([slope(i) for i in range(n)])  # [n, p, q], each sample's gradient
        mean = table.sum(axis=0)
        fresh = np.array([slope(i) for i in rows])
        gradient = n / size * (fresh - table[rows]).sum(axis=0) + mean
        if given["name"] == "saga":
            table[rows] = fresh
        if penalty["name"] == "ridge":
            gradient = gradient + penalty["strength"] * W
        if penalty["name"] == "elastic_net":
            gradient = gradient + penalty["strength"] * (0.5 * W + 0.5 * np.sign(W))
        W = W - lr * gradient
        path.append(W)
    return np.stack(path)


def bits(found: Fit) -> tuple[object, ...]:
    assert found.path is not None, found.error
    return found.status, found.path.losses.tobytes(), found.path.weights.tobytes()


@pytest.mark.parametrize(
    ("loss", "setting", "penalty", "batch", "weighted", "engine"), CASES, ids=label
)
def test_a_fit_is_a_plain_loop_over_samples(
    loss: LossRow,
    setting: tuple[GradientRow, dict[str, Any]],
    penalty: dict[str, Any],
    batch: dict[str, Any],
    weighted: bool,
    engine: str,
) -> None:
    q = 3 if loss.kind == "classes" else 2
    weights = np.ones(N)
    if weighted:
        weights = np.random.default_rng(8).uniform(0, 2, N)
        weights[3] = 0
    data = loss.dataset(N, P, q, weight=weights if weighted else None)
    lr = 2e-4 if loss.name == "sse" else 0.02
    given = config(
        dataset=data,
        loss=loss.name,
        gradient=setting[1],
        penalty=penalty,
        batch=batch,
        optimizer={"name": "manual_sgd", "lr": lr},
        seed=3,
        steps=STEPS,
        record={"every": 1},
        dtype="float64",
        engine=engine,
    )
    found = fit(given)
    assert found.status is Status.COMPLETED, found.error
    assert found.path is not None
    X = np.random.default_rng(6).standard_normal((N, P))
    shares = weights if loss.name == "sse" else weights / weights.mean()
    start = found.path.weights[0]
    wanted = descend(
        loss.name, setting[1], penalty, batch, X, loss.targets(N, q), shares, start, np.array(lr)
    )
    np.testing.assert_allclose(found.path.weights, wanted, rtol=1e-10, atol=1e-13)


# ---- where they lead ----

ENDS = (
    ({"name": "mse"}, {"name": "none"}, 0.04),
    ({"name": "sse"}, {"name": "none"}, 6e-4),
    ({"name": "huber", "delta": 0.5}, {"name": "ridge", "strength": 0.1}, 0.1),
    ({"name": "logistic"}, {"name": "ridge", "strength": 0.1}, 0.3),
    ({"name": "cross_entropy"}, {"name": "ridge", "strength": 0.1}, 0.3),
    ({"name": "poisson"}, {"name": "ridge", "strength": 0.1}, 0.05),
)


@pytest.mark.parametrize("gradient", [row.name for row in BATCH_GRADIENTS])
@pytest.mark.parametrize(("loss", "penalty", "lr"), ENDS, ids=label)
def test_a_constant_rate_leads_to_the_exact_optimum(
    loss: dict[str, Any], penalty: dict[str, Any], lr: float, gradient: str
) -> None:
    [row] = [row for row in ALL_LOSSES if row.name == loss["name"]]
    parts = {
        "dataset": row.dataset(60, 3, 3 if row.kind == "classes" else 1),
        "init": "zeros",
        "loss": loss,
        "penalty": penalty,
        "optimizer": {"name": "sgd", "lr": lr},
        "batch": {"name": "minibatch", "size": 4},
        "steps": 1200,
        "record": {"every": 1200},
        "dtype": "float64",
        "engine": "stacked",
    }
    reduced, plain = fit([config(**parts, gradient=name) for name in (gradient, "manual")])
    assert reduced.excess_losses[-1] < 1e-20 * reduced.excess_losses[0]
    assert plain.excess_losses[-1] > 1e-3 * plain.excess_losses[0]


@pytest.mark.parametrize("gradient", [row.name for row in BATCH_GRADIENTS])
@pytest.mark.parametrize("engine", ENGINES)
def test_with_soft_thresholding_weights_are_exactly_zero(gradient: str, engine: str) -> None:
    given = config(
        dataset={"name": "sparse_linear", "n": 60, "p": 12, "nonzero": 3},
        loss="mse",
        penalty={"name": "lasso", "strength": 0.4},
        gradient=gradient,
        batch={"name": "minibatch", "size": 6},
        optimizer={"name": "proximal_gradient", "lr": 0.02},
        steps=3000,
        dtype="float64",
        engine=engine,
    )
    found = fit(given)
    assert found.optimum is not None and found.weights is not None
    assert found.excess_losses[-1] < 1e-20 * found.excess_losses[0]
    assert (found.weights == 0).tolist() == (found.optimum.weights == 0).tolist()
    assert 0 < np.count_nonzero(found.weights) < 12


# ---- engines ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("row", "given"), SETTINGS, ids=label)
def test_bits_depend_on_no_neighbour_and_engines_agree(
    row: GradientRow, given: dict[str, Any], dtype: str
) -> None:
    """Some fits end early, one diverges: those that are left keep their tables."""
    data = {"name": "random_linear", "n": 23, "p": 6, "q": 2, "condition": 3.0}
    configs = [
        config(
            optimizer={"name": name, "lr": lr},
            batch={"name": "minibatch", "size": size, "replacement": size == 20},
            gradient=given,
            seed=seed,
            steps=(45, 90)[seed % 2] + seed,
            dtype=dtype,
            engine="stacked",
            dataset=data,
            loss="mse",
            model=MODELS[len(dtype) % 2].name,
        )
        for size in (4, 20)
        for name, lr in (("manual_sgd", 0.05), ("adam", 0.05), ("sgd", 50.0))
        for seed in range(3)
    ]
    together = fit(configs)
    assert {found.status for found in together} == {Status.COMPLETED, Status.DIVERGED}
    for place in random.Random(1).sample(range(len(configs)), 6):
        assert bits(fit(configs[place])) == bits(together[place])
    order = random.Random(2).sample(range(len(configs)), 12)
    again = fit([configs[place] for place in order])
    assert [bits(found) for found in again] == [bits(together[place]) for place in order]
    near = 1e-9 if dtype == "float64" else 1e-4
    for place in order[:6]:
        alone = fit(FitConfig.model_validate({**configs[place].as_dict(), "engine": "single"}))
        expected = together[place]
        assert alone.status is expected.status
        if alone.status is Status.COMPLETED:
            bound = near * expected.losses.max()
            np.testing.assert_allclose(alone.losses, expected.losses, rtol=0, atol=bound)


def test_fits_of_one_stack_may_differ_in_their_data() -> None:
    configs = [
        config(
            dataset={"name": "random_linear", "n": 12, "p": 2, "seed": seed},
            gradient=row.name,
            batch="minibatch",
            optimizer={"name": "sgd", "lr": 1e-3},
            engine="stacked",
            steps=30,
        )
        for row in BATCH_GRADIENTS
        for seed in range(3)
    ]
    assert [bits(found) for found in fit(configs)] == [bits(fit(one)) for one in configs]


# ---- what is known, and what is refused ----


def test_sagas_rate_is_that_of_its_theorem() -> None:
    X = np.array([[1.0], [2.0], [-3.0], [0.5]])
    given = config(
        dataset=arrays(X, X + np.array([[1.0], [-1.0], [1.0], [2.0]])),
        loss="mse",
        batch={"name": "minibatch", "size": 2, "replacement": True},
        optimizer={"name": "sgd", "lr": 0.01},
        dtype="float64",
    )
    found = {}
    for name in ("manual", "saga", "svrg"):
        found[name] = predict_from_fit(fit(config(**{**given.as_dict(), "gradient": name})))
    saga, svrg, plain = found["saga"], found["svrg"], found["manual"]
    assert saga is not None and svrg is not None and plain is not None
    assert saga.largest_stable_lr == pytest.approx(1 / (3 * 2 * 9))  # the curvature of 2·x² is 2·9
    assert svrg.largest_stable_lr is None
    assert plain.noise_floor is not None and plain.noise_floor > 0
    assert saga.noise_floor is None and svrg.noise_floor is None


@pytest.mark.parametrize("gradient", [row.name for row in BATCH_GRADIENTS])
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "corrects the gradients of batches, of which batch=full has none: choose batch=mini"),
        (
            {"batch": "minibatch", "loss": "quantile"},
            "needs a continuous derivative, which quantile has not: choose gradient=manual",
        ),
        ({"batch": "minibatch", "optimizer": "newton"}, "works with all samples at once"),
    ],
    ids=label,
)
def test_what_it_cannot_do_is_refused_in_one_line(
    parts: dict[str, Any], message: str, gradient: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        config(gradient=gradient, **parts)
    assert message in str(refused.value)
