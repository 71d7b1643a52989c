"""Losses of classes, counts and quantiles in both engines, with every gradient and batch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.stacked.blocks import cut_into_blocks
from tests.helpers import (
    DTYPES,
    GRADIENTS,
    MODELS,
    OPTIMIZERS,
    OTHER_LOSSES,
    GradientRow,
    LossRow,
    config,
    cover_pairs,
    label,
)

ENGINES = ("single", "stacked")
NEAR = {"float64": 1e-9, "float32": 1e-4}
#: Rows that come twice or more, and some that do not count.
COUNTS = np.array([2, 1, 3, 1, 0, 1, 0, 4, 1, 2, 1, 1, 1, 1])
BATCH = {"name": "minibatch", "size": 5}
SMOOTH = [row for row in OTHER_LOSSES if row.smooth]


def bits(found: Fit) -> tuple[object, ...]:
    assert found.path is not None, found.error
    return (
        found.status,
        found.steps_to_tolerance,
        found.path.losses.tobytes(),
        found.path.weights.tobytes(),
        found.excess_losses.tobytes(),
    )


def penalties(loss: LossRow) -> list[Any]:
    return ["none", {"name": "ridge", "strength": 0.3}] if loss.smooth else ["none"]


def rows(loss: LossRow, **parts: Any) -> list[FitConfig]:
    """Every optimizer that the loss may be combined with, full and in batches, weighted or not."""
    plain = loss.dataset(14, 3, 3)
    weighted = loss.dataset(14, 3, 3, COUNTS)
    gradient = parts.get("gradient", "manual")
    batches = ["full"] if gradient == "gram" else ["full", BATCH]
    return [
        config(
            loss=loss.plain,
            dataset=dataset,
            optimizer=row.steady,
            penalty=penalty,
            batch=batch if row.batches else "full",
            seed=seed,
            engine="stacked",
            steps=30,
            record={"every": 1},
            **parts,
        )
        for seed, row in enumerate(OPTIMIZERS)
        if row.suits(loss)
        for penalty in penalties(loss)
        for batch, dataset in zip(batches, (plain, weighted), strict=False)
    ]


@pytest.mark.parametrize(
    ("loss", "dtype"),
    [(loss, DTYPES[place % 2]) for place, loss in enumerate(OTHER_LOSSES)],
    ids=label,
)
def test_bits_depend_on_no_neighbour_and_the_engines_agree(loss: LossRow, dtype: str) -> None:
    configs = rows(loss, dtype=dtype)
    together = fit(configs)
    if loss.smooth:
        assert {found.status for found in together} == {Status.COMPLETED}
    for place in random.Random(1).sample(range(len(configs)), 4):
        assert bits(fit(configs[place])) == bits(together[place])
    order = random.Random(2).sample(range(len(configs)), min(12, len(configs)))
    again = fit([configs[place] for place in order])
    assert [bits(found) for found in again] == [bits(together[place]) for place in order]
    resting = {row.name for row in OPTIMIZERS if row.contracting}
    for place in range(0, len(configs), 5):
        if configs[place].optimizer.name not in resting:
            continue
        single = {**configs[place].as_dict(), "engine": "single"}
        alone = FitConfig.model_validate({**single, "dataset": configs[place].dataset})
        assert_near(together[place], fit(alone), NEAR[dtype], loss)


def assert_near(found: Fit, expected: Fit, near: float, loss: LossRow) -> None:
    assert found.path is not None and expected.path is not None
    assert found.status is expected.status is not Status.FAILED
    if found.status is Status.DIVERGED:
        return
    if not loss.smooth:  # a residual of the other sign by rounding turns the slope around
        near = 1e-2
    size = np.abs(expected.path.weights).max()
    first = abs(expected.losses[0])
    np.testing.assert_allclose(found.losses, expected.losses, rtol=0, atol=10 * near * first)
    np.testing.assert_allclose(
        found.excess_losses, expected.excess_losses, rtol=100 * near, atol=10 * near * first
    )
    if near <= NEAR["float64"]:  # a slope of about zero in float32 may send a weight either way
        np.testing.assert_allclose(found.weights, expected.weights, rtol=0, atol=10 * near * size)


@pytest.mark.parametrize(
    ("loss", "gradient", "engine"), cover_pairs(OTHER_LOSSES, GRADIENTS, ENGINES), ids=label
)
def test_every_gradient_is_one_or_is_refused(
    loss: LossRow, gradient: GradientRow, engine: str
) -> None:
    common: dict[str, Any] = {
        "loss": loss.plain,
        "dataset": loss.dataset(14, 3, 3, COUNTS),
        "dtype": "float64",
        "engine": engine,
        "steps": 20,
        "optimizer": {"name": "sgd", "lr": 0.05},
        "model": MODELS[len(gradient.name) % 2].name,
    }
    if not gradient.takes(loss):
        with pytest.raises(ValueError, match=f"knows squared errors only, not {loss.name}"):
            config(**common, gradient=gradient.plain)
        return
    for batch in ("full", BATCH):
        by_hand = fit(config(**common, gradient="manual", batch=batch))
        found = fit(config(**common, gradient=gradient.plain, batch=batch))
        np.testing.assert_allclose(
            found.weights, by_hand.weights, rtol=0, atol=max(1e-11, 10 * gradient.near)
        )
        assert found.loss == pytest.approx(by_hand.loss, rel=1e-6)


@pytest.mark.parametrize("loss", OTHER_LOSSES, ids=label)
@pytest.mark.parametrize("engine", ENGINES)
def test_weight_two_is_a_row_twice_and_weight_zero_a_row_less(loss: LossRow, engine: str) -> None:
    weighted = loss.dataset(14, 3, 3, COUNTS)
    plain = loss.dataset(14, 3, 3)
    from linfit.problem.datasets.arrays import arrays

    rows = np.repeat(np.arange(14), COUNTS)
    problem = plain.load(0)
    repeated = arrays(problem.X[rows], problem.y[rows])
    common: dict[str, Any] = {
        "loss": loss.plain,
        "dtype": "float64",
        "engine": engine,
        "steps": 15,
        "optimizer": {"name": "sgd", "lr": 0.05},
        "record": {"every": 1},
    }
    for penalty in penalties(loss):
        one, other = fit(
            [config(dataset=data, penalty=penalty, **common) for data in (weighted, repeated)]
        )
        assert one.optimum is not None and other.optimum is not None
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12)
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-11, atol=1e-13)
        assert one.optimum.loss == pytest.approx(other.optimum.loss, rel=1e-12, abs=1e-13)
        np.testing.assert_allclose(one.excess_losses, other.excess_losses, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("loss", SMOOTH, ids=label)
@pytest.mark.parametrize("engine", ENGINES)
def test_descent_comes_to_the_optimum_that_was_announced(loss: LossRow, engine: str) -> None:
    found = fit(
        config(
            loss=loss.plain,
            dataset=loss.dataset(30, 3, 3),
            penalty={"name": "ridge", "strength": 0.1},
            dtype="float64",
            engine=engine,
            steps=1500,
            optimizer={"name": "sgd", "lr": 0.2},
        )
    )
    assert found.status is Status.COMPLETED and found.optimum is not None
    assert found.excess_losses[-1] <= 1e-24 * max(1.0, found.excess_losses[0])
    np.testing.assert_allclose(found.weights, found.optimum.weights, rtol=0, atol=1e-12)
    differences = found.losses - found.optimum.loss
    np.testing.assert_allclose(found.excess_losses, differences, rtol=1e-6, atol=1e-13)


def test_fits_of_many_seeds_are_one_stack() -> None:
    for loss in OTHER_LOSSES:
        data = loss.dataset(14, 3, 3, COUNTS)
        configs = [
            config(engine="stacked", loss=loss.plain, dataset=data, seed=k) for k in range(6)
        ]
        assert [len(block) for block in cut_into_blocks(configs)] == [6]


def test_an_overflow_of_counts_is_a_diverged_fit_and_no_nan() -> None:
    loss = next(row for row in OTHER_LOSSES if row.kind == "count")
    for engine in ENGINES:
        found = fit(
            config(
                loss=loss.plain,
                dataset=loss.dataset(14, 3, 1),
                engine=engine,
                optimizer={"name": "sgd", "lr": 1e3},
                steps=50,
            )
        )
        assert found.status is Status.DIVERGED and not np.isnan(found.losses).any()
