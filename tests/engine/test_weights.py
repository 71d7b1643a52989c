"""A weight counts a sample: weight 2 is a row twice, weight 0 a row less, in every weighted fit."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import predict_from_fit
from linfit.engine.stacked.blocks import cut_into_blocks
from linfit.problem.datasets.arrays import Arrays
from linfit.sweeps.preflight import stability
from linfit.sweeps.preflight.checks import resolve_configs
from tests.helpers import (
    GRADIENTS,
    LOSSES,
    OPTIMIZERS,
    QUADRATIC_LOSSES,
    GradientRow,
    LossRow,
    config,
    label,
)

STREAM = np.random.default_rng(3)
X, Y = STREAM.standard_normal((12, 3)), STREAM.standard_normal((12, 2))
COUNTS = np.array([2, 1, 3, 1, 0, 1, 0, 4, 1, 2, 1, 1])
ENGINES = ("single", "stacked")


def weighted() -> Arrays:
    return linfit.arrays(X, Y, weight=COUNTS)


def repeated() -> Arrays:
    return linfit.arrays(np.repeat(X, COUNTS, axis=0), np.repeat(Y, COUNTS, axis=0))


def both(**parts: Any) -> tuple[FitConfig, FitConfig]:
    common = {"dtype": "float64", "steps": 12, "record": {"every": 1}, **parts}
    return config(dataset=weighted(), **common), config(dataset=repeated(), **common)


def assert_alike(one: Fit, other: Fit, near: float) -> None:
    assert one.status is other.status
    assert one.path is not None and other.path is not None
    assert one.optimum is not None and other.optimum is not None
    size = np.abs(other.path.weights).max()
    np.testing.assert_allclose(one.path.weights, other.path.weights, rtol=0, atol=near * size)
    np.testing.assert_allclose(one.losses, other.losses, rtol=near)
    assert one.optimum.loss == pytest.approx(other.optimum.loss, rel=1e-12)
    np.testing.assert_allclose(one.optimum.curvatures[:3], other.optimum.curvatures[:3], rtol=1e-12)


def settings() -> list[dict[str, Any]]:
    """Return all settings of all optimizers; those that could diverge get a stable `lr`."""
    found = []
    for row in OPTIMIZERS:
        for given in row.settings():
            bounded = {"lr": 1e-3} if row.bounded and "average" not in given else {}
            found.append({**given, **bounded})
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", LOSSES, ids=label)
def test_with_every_optimizer(loss: LossRow, engine: str) -> None:
    pairs = []
    for given in settings():
        with suppress(ValueError):  # an optimizer of squared errors alone
            pairs.append(both(optimizer=given, loss=loss.plain, engine=engine))
    assert len(pairs) > 10
    found = fit([one for pair in pairs for one in pair])
    for one, other in zip(found[::2], found[1::2], strict=True):
        assert_alike(one, other, 1e-9)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", LOSSES, ids=label)
@pytest.mark.parametrize("gradient", GRADIENTS, ids=label)
def test_with_every_gradient(gradient: GradientRow, loss: LossRow, engine: str) -> None:
    if gradient.name == "gram" and loss not in QUADRATIC_LOSSES:
        pytest.skip("gram knows squared errors alone")
    parts = {"gradient": gradient.plain, "loss": loss.plain, "engine": engine, "model": "linear"}
    one, other = fit(list(both(optimizer={"name": "sgd", "lr": 1e-2}, **parts)))
    assert_alike(one, other, max(1e-11, 10 * gradient.near))


@pytest.mark.parametrize("scaling", ["none", "standardize", "whiten"])
@pytest.mark.parametrize("loss", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize("gradient", ["manual", "gram"])
def test_with_features_an_intercept_and_a_penalty(
    gradient: str, loss: LossRow, scaling: str
) -> None:
    features = {"name": "polynomial", "degree": 2, "scaling": scaling}
    parts = {
        "features": features,
        "penalty": {"name": "ridge", "strength": 0.5},
        "gradient": gradient,
    }
    one, other = fit(list(both(loss=loss.plain, optimizer={"name": "sgd", "lr": 1e-4}, **parts)))
    assert_alike(one, other, 1e-9)


@pytest.mark.parametrize("loss", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize("average", [False, True])
def test_in_theory(loss: LossRow, average: bool) -> None:
    pair = both(loss=loss.plain, optimizer={"name": "manual_sgd", "lr": 1e-3, "average": average})
    one, other = (predict_from_fit(found) for found in fit(list(pair)))
    assert one is not None and other is not None
    expected = other.to_numbers()
    assert one.to_numbers() == pytest.approx(expected, rel=1e-9)
    assert {"largest_stable_lr", "optimal_lr", "rate", "steps_to_tolerance"} <= set(expected)
    bounds = stability.find_bounds([one.resolved(several=True) for one in pair])
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-12)
    assert bounds[1] == pytest.approx(expected["largest_stable_lr"], rel=1e-12)


@pytest.mark.parametrize("gradient", ["manual", "gram"])
def test_in_the_loss_of_samples_held_out(gradient: str) -> None:
    """Each part is divided by the sum of its own weights."""
    split = {"validation": 0.25, "seed": 1}
    parts: dict[str, Any] = {"split": split, "gradient": gradient, "dtype": "float64", "steps": 3}
    found = fit(config(dataset=weighted(), loss="mse", **parts))
    held = np.concatenate(list(found.config.split.draw_held_out(len(X), 0)))
    residual = X[held] @ found.weights - Y[held]
    expected = (COUNTS[held][:, None] * residual**2).sum() / (2 * COUNTS[held].sum())
    assert found.validation_losses is not None
    assert found.validation_losses[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", LOSSES, ids=label)
def test_a_batch_expects_the_gradient_of_all(loss: LossRow, engine: str) -> None:
    """A pass draws all rows equally often: first steps of many streams average to a step of all."""
    start = {"name": "given", "weights": [[0.5, -1.0], [2.0, 0.25], [1.0, 3.0]]}
    common: dict[str, Any] = {
        "loss": loss.plain,
        "dtype": "float64",
        "steps": 1,
        "engine": engine,
        "init": start,
    }
    optimizer = {"name": "manual_sgd", "lr": 1.0}
    full = fit(config(dataset=weighted(), optimizer=optimizer, **common))
    moved = np.zeros((3, 2))
    for row in range(len(X)):  # a batch of one row, whichever is drawn
        seeds = range(200)
        seed = next(s for s in seeds if drawn_first(s) == row)
        batch = {"name": "minibatch", "size": 1, "seed": seed}
        found = fit(config(dataset=weighted(), optimizer=optimizer, batch=batch, **common))
        moved += (found.weights - np.array(start["weights"])) / len(X)
    np.testing.assert_allclose(moved, full.weights - np.array(start["weights"]), rtol=1e-12)


def drawn_first(seed: int) -> int:
    from linfit.method.batches import Minibatch

    return int(Minibatch(size=1).sampler(len(X), seed).draw(1)[0, 0])


def test_the_mean_over_samples_is_the_convention_of_before() -> None:
    X1, y1, w1 = [[1.0, 1], [2, 1], [3, 1], [4, 1]], [1.0, 2, 2, 4], [2.0, 1, 3, 1]
    data = linfit.arrays(X1, y1, weight=w1)
    losses = {}
    for mean_over in ("weights", "samples"):
        found = fit(config(dataset=data, loss="mse", mean_over=mean_over, dtype="float64", steps=0))
        losses[mean_over] = found.losses[0]
    assert losses["samples"] == pytest.approx(7 / 4 * losses["weights"], rel=1e-14)


def test_fits_whose_weights_add_up_to_another_sum_are_one_stack() -> None:
    parts: dict[str, Any] = {
        "dataset": weighted(),
        "loss": "mse",
        "engine": "stacked",
        "dtype": "float64",
    }
    optimizers = [
        {"name": "manual_sgd", "lr": 1e-3, "average": average} for average in (True, False)
    ]
    configs = [
        config(split={"validation": 0.25, "seed": seed}, optimizer=optimizer, **parts)
        for seed in range(4)
        for optimizer in optimizers
    ]
    found = [block for block in cut_into_blocks(configs) if isinstance(block, list)]
    assert [len(block) for block in found] == [8]
    assert len({task.data.rounded.effective_samples for task in found[0]}) > 1
    together = fit(configs)
    for place, own in enumerate(configs):
        assert fit(own).weights.tobytes() == together[place].weights.tobytes()


@pytest.mark.parametrize("weight", [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
def test_weights_that_are_all_zero_have_no_mean(weight: list[float]) -> None:
    data = linfit.arrays([[1.0], [2.0], [3.0]], [1.0, 2.0, 2.0], weight=weight)
    refused = config(dataset=data, loss="mse", split={"validation": 0.4})
    for refuse in (refused.problem, lambda: resolve_configs([refused])):
        with pytest.raises(
            ValueError,
            match=r"the weights of all samples that are fitted, "
            r"or .* and a mean divides by their sum",
        ):
            refuse()
    resolve_configs([config(dataset=data, loss="mse", mean_over="samples")])
    assert fit(config(dataset=data, loss="sse", steps=1)).losses[0] >= 0
