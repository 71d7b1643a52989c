"""Objectives beyond plain least squares, in both engines: Huber's loss and the ridge penalty."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.stacked.blocks import cut_into_blocks
from tests.helpers import (
    GRADIENTS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    PENALTIES,
    GradientRow,
    LossRow,
    OptimizerRow,
    config,
    label,
)

ENGINES = ("single", "stacked")
NEAR = {"float64": 1e-9, "float32": 1e-4}
DATA = {"name": "random_linear", "n": 30, "p": 3, "q": 2, "condition": 3.0, "noise": 1.0}


def bits(found: Fit) -> tuple[object, ...]:
    assert found.path is not None, found.error
    return (
        found.status,
        found.steps_to_tolerance,
        found.path.losses.tobytes(),
        found.path.weights.tobytes(),
        found.excess_losses.tobytes(),
    )


def rows(
    optimizers: Sequence[OptimizerRow], losses: Sequence[LossRow], **parts: Any
) -> list[FitConfig]:
    """Every optimizer with every penalty, and losses where they may be combined."""
    return [
        config(
            optimizer=row.steady,
            loss=loss.plain,
            penalty=penalty,
            seed=seed,
            engine="stacked",
            steps=40,
            record={"every": 1},
            **parts,
        )
        for seed, row in enumerate(optimizers)
        for loss in losses
        for own in PENALTIES
        for penalty in own.settings()
        if row.takes(own) and (loss.quadratic or not row.knowing)
    ]


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("gradient", GRADIENTS, ids=label)
def test_bits_depend_on_no_neighbour_and_the_engines_agree(
    gradient: GradientRow, dtype: str
) -> None:
    whole = (
        gradient == GRADIENTS[0]
    )  # what a gradient does with the loss is the same for every optimizer
    data = DATA if whole else {**DATA, "p": 2, "q": 1}
    configs = rows(
        OPTIMIZERS if whole else OPTIMIZERS[:3],
        [loss for loss in LOSSES if gradient.takes(loss)],
        dataset=data,
        gradient=gradient.plain,
        dtype=dtype,
        model=MODELS[len(gradient.name) % 2].name,
    )
    together = fit(configs)
    for place in random.Random(1).sample(range(len(configs)), 8):
        assert bits(fit(configs[place])) == bits(together[place])
    order = random.Random(2).sample(range(len(configs)), min(25, len(configs)))
    assert [bits(found) for found in fit([configs[place] for place in order])] == [
        bits(together[place]) for place in order
    ]
    if not gradient.exact:  # its rounding is as large as what the engines may differ by
        return
    for place in range(0, len(configs), 2):
        found, expected = (
            together[place],
            fit(FitConfig.model_validate({**configs[place].as_dict(), "engine": "single"})),
        )
        assert found.path is not None and expected.path is not None
        assert found.status is expected.status
        amplified = 10 * NEAR[dtype]
        np.testing.assert_allclose(
            found.losses, expected.losses, rtol=0, atol=amplified * expected.losses[0]
        )
        np.testing.assert_allclose(
            found.weights,
            expected.weights,
            rtol=0,
            atol=amplified * np.abs(expected.path.weights).max(),
        )


def test_fits_of_many_strengths_are_one_stack() -> None:
    configs = [
        config(engine="stacked", penalty={"name": "ridge", "strength": 0.1 * k})
        for k in range(1, 9)
    ]
    assert [len(block) for block in cut_into_blocks(configs)] == [8]
    assert len({found.optimum.loss for found in fit(configs) if found.optimum}) == 8


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", LOSSES, ids=label)
@pytest.mark.parametrize("strength", [0.0, 0.7])
def test_descent_comes_to_the_optimum_that_was_announced(
    strength: float, loss: LossRow, engine: str
) -> None:
    lr = {"sse": 0.4 / 30, "mse": 0.8, "huber": 0.8}[loss.name]
    penalty = {"name": "ridge", "strength": strength}
    found = fit(
        config(
            loss=loss.plain,
            penalty=penalty,
            engine=engine,
            dataset=DATA,
            dtype="float64",
            steps=3000,
            optimizer={"name": "sgd", "lr": lr},
        )
    )
    assert found.optimum is not None
    assert found.distance_to_optimum < 1e-9
    assert found.loss == pytest.approx(found.optimum.loss, rel=1e-12)
    assert found.excess_losses[0] == pytest.approx(found.losses[0] - found.optimum.loss, rel=1e-10)
    assert found.excess_losses[-1] < 1e-18


@pytest.mark.parametrize("engine", ENGINES)
def test_the_loss_of_a_penalized_fit_counts_the_penalty_and_its_steps_are_weight_decays(
    engine: str,
) -> None:
    common = {
        "dtype": "float64",
        "steps": 30,
        "engine": engine,
        "record": {"every": 1},
        "dataset": DATA,
    }
    ridge = fit(
        config(
            penalty={"name": "ridge", "strength": 0.7},
            optimizer={"name": "sgd", "lr": 1e-3},
            **common,
        )
    )
    decay = fit(config(optimizer={"name": "sgd", "lr": 1e-3, "weight_decay": 0.7}, **common))
    assert ridge.path is not None and decay.path is not None
    np.testing.assert_allclose(ridge.path.weights, decay.path.weights, rtol=1e-12)
    norms = np.square(ridge.path.weights).sum(axis=(1, 2))
    np.testing.assert_allclose(ridge.losses, decay.losses + 0.35 * norms, rtol=1e-12)


@pytest.mark.matrix
def test_a_fit_of_hubers_loss_is_the_plain_torch_loop() -> None:
    fitted = config(
        loss={"name": "huber", "delta": 0.5},
        engine="single",
        dtype="float64",
        steps=30,
        dataset=DATA,
        model="linear",
        optimizer={"name": "adam", "lr": 0.05},
        record={"every": 1},
    )
    found, problem = fit(fitted), fitted.dataset.load(0)
    assert found.path is not None
    module, X, y = (
        torch.nn.Linear(3, 2, bias=False, dtype=torch.float64),
        torch.tensor(problem.X),
        torch.tensor(problem.y),
    )
    module.weight.data.copy_(torch.from_numpy(found.path.weights[0].T))
    optimizer, objective = (
        torch.optim.Adam(module.parameters(), lr=0.05),
        torch.nn.HuberLoss(delta=0.5),
    )
    for expected in found.losses:
        loss = objective(module(X), y)
        assert loss.item() == pytest.approx(expected, rel=1e-12)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_what_needs_a_quadratic_loss_says_so() -> None:
    for name, words in (
        ("heavy_ball", "give optimizer.lr and optimizer.momentum"),
        ("conjugate_gradient", "choose another optimizer"),
    ):
        with pytest.raises(ValueError, match=words):
            config(optimizer=name, loss="huber")
    given = {"name": "nesterov", "lr": 0.5, "momentum": 0.5}
    assert fit(config(optimizer=given, loss="huber", steps=3)).status is Status.COMPLETED


def test_a_penalty_is_in_the_fingerprint_only_where_there_is_one() -> None:
    assert config(penalty="none").fingerprint() == config().fingerprint()
    assert "penalty" not in config().numbers()
    assert config(penalty="ridge").fingerprint() != config().fingerprint()
