"""Mini-batches and learning-rate schedules, in both engines, beside plain torch loops."""

from __future__ import annotations

import random
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
import torch

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.stacked.blocks import cut_into_blocks
from linfit.method.batches import Minibatch, Sampler
from linfit.method.gradients import Gradient
from linfit.problem.losses import Loss
from tests.helpers import (
    BATCHES,
    DTYPES,
    EXACT_GRADIENTS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    SCHEDULES,
    LossRow,
    ScheduleRow,
    config,
    label,
)

ENGINES = ("single", "stacked")
SETTINGS = [given for row in BATCHES for given in row.settings()]
#: What torch's schedulers want to be told, as linfit has it by default.
REQUIRED: dict[str, dict[str, Any]] = {
    "step": {"step_size": 250},
    "exponential": {"gamma": 0.999},
    "cosine": {"T_max": 60},
}
BATCH_GRADIENTS = [
    row.name for row in EXACT_GRADIENTS if Gradient.choose(row.plain).supports_batches
]
DATA = {"name": "random_linear", "n": 23, "p": 3, "q": 2, "condition": 3.0}


def bits(found: Fit) -> tuple[object, ...]:
    assert found.path is not None, found.error
    return found.status, found.path.losses.tobytes(), found.path.weights.tobytes()


def single(fitted: FitConfig) -> Fit:
    return fit(FitConfig.model_validate({**fitted.as_dict(), "engine": "single"}))


def assert_same_path(found: Fit, expected: Fit, near: float) -> None:
    assert found.path is not None and expected.path is not None, (found.error, expected.error)
    assert found.status is expected.status
    np.testing.assert_allclose(
        found.losses, expected.losses, rtol=0, atol=near * expected.losses.max()
    )
    np.testing.assert_allclose(
        found.path.weights,
        expected.path.weights,
        rtol=0,
        atol=near * np.abs(expected.path.weights).max(),
    )


# ---- which samples ----


@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("size", [1, 4, 10, 25])
def test_how_many_batches_are_taken_at_once_changes_none(size: int, replacement: bool) -> None:
    whole = Sampler(10, size, replacement, 3).draw(60)
    pieces = Sampler(10, size, replacement, 3)
    assert (
        np.concatenate([pieces.draw(count) for count in (1, 2, 7, 32, 18)]).tolist()
        == whole.tolist()
    )
    assert whole.shape == (60, size)
    assert set(whole.ravel().tolist()) == set(range(10))
    assert Sampler(10, size, replacement, 4).draw(60).tolist() != whole.tolist()


def test_without_replacement_every_sample_is_seen_equally_often() -> None:
    rows = Sampler(10, 4, False, 0).draw(50).ravel()
    assert np.bincount(rows).tolist() == [20] * 10
    assert all(
        sorted(rows[start : start + 10].tolist()) == list(range(10)) for start in range(0, 200, 10)
    )
    assert len({tuple(rows[start : start + 10].tolist()) for start in range(0, 200, 10)}) > 15
    drawn = Sampler(10, 4, True, 0).draw(50).ravel()
    assert np.bincount(drawn).tolist() != [20] * 10


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("replacement", [True, False])
def test_the_curvature_of_batches_has_the_variance_of_all_possible_ones(
    size: int, replacement: bool
) -> None:
    values = np.array([3.0, -1.0, 4.0, 1.0, -5.0, 9.0])
    possible = product(values, repeat=size) if replacement else combinations(values, size)
    share = np.var([np.mean(batch) for batch in possible]) / np.var(values)
    batches = Minibatch(size=size, replacement=replacement)
    assert batches.effective_curvature(2.0, 7.0, len(values)) == pytest.approx(2 + 5 * share)


def test_the_batches_are_a_stream_of_their_own() -> None:
    """The batches' seed changes neither data nor initial weights; batches follow the fit's seed."""
    own = [
        fit(config(batch={"name": "minibatch", "seed": seed}, steps=3, record={"every": 1}))
        for seed in (None, 0, 1)
    ]
    assert bits(own[0]) == bits(own[1]) != bits(own[2])
    assert all(found.losses[0] == own[0].losses[0] for found in own)


@pytest.mark.parametrize("loss", LOSSES, ids=label)
def test_the_gradient_of_a_batch_is_that_of_all_samples_on_average(loss: LossRow) -> None:
    """The mean over the batches of an epoch is exact, where the batches divide the samples."""
    start: dict[str, Any] = {"name": "given", "weights": [[0.5, -1.0], [2.0, 0.25], [1.0, 3.0]]}
    data = {**DATA, "n": 24}
    common = {
        "loss": loss.plain,
        "dataset": data,
        "init": start,
        "dtype": "float64",
        "record": {"every": 1},
    }
    lr = 1e-9  # so small that all batches of the epoch are taken at one place
    some = fit(
        config(
            batch={"name": "minibatch", "size": 6},
            optimizer={"name": "sgd", "lr": lr},
            steps=4,
            **common,
        )
    )
    full = fit(config(optimizer={"name": "sgd", "lr": 4 * lr}, steps=1, **common))
    moved = [found.weights - np.array(start["weights"]) for found in (some, full)]
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("loss", LOSSES, ids=label)
def test_a_fit_by_batches_is_the_plain_torch_loop_and_its_loss_is_of_all_samples(
    loss: LossRow, engine: str
) -> None:
    fitted = config(
        batch={"name": "minibatch", "size": 5},
        loss=loss.plain,
        dataset=DATA,
        optimizer={"name": "sgd", "lr": 1e-3},
        dtype="float64",
        steps=40,
        seed=4,
        record={"every": 1},
        engine=engine,
    )
    found, problem, objective = fit(fitted), fitted.dataset.load(4), Loss.choose(loss.plain)
    assert found.path is not None
    X, y = torch.tensor(problem.X), torch.tensor(problem.y)
    w = torch.tensor(found.path.weights[0]).requires_grad_()
    batches = Minibatch(size=5).sampler(23, 4).draw(40)
    whole = 23 / 5 if loss.torch == "sum" else 1.0
    for step in range(41):
        assert found.losses[step] == pytest.approx(objective(X @ w, y).item(), rel=1e-11)
        np.testing.assert_allclose(
            found.path.weights[step], w.detach().numpy(), rtol=1e-10, atol=1e-13
        )
        if step < 40:
            (slope,) = torch.autograd.grad(
                objective(X[batches[step]] @ w, y[batches[step]]) * whole, w
            )
            w.data -= 1e-3 * slope


@pytest.mark.parametrize(
    ("gradient", "dtype"),
    [(name, DTYPES[place % 2]) for place, name in enumerate(BATCH_GRADIENTS)],
)
def test_batches_go_with_every_gradient_and_bits_depend_on_no_neighbour(
    gradient: str, dtype: str
) -> None:
    configs = [
        config(
            optimizer=row.steady,
            batch=batch,
            seed=seed,
            steps=35 + seed % 3,
            dtype=dtype,
            gradient=gradient,
            engine="stacked",
            dataset={**DATA, "p": 2, "q": 1},
            penalty=penalty,
            model=MODELS[len(gradient) % 2].name,
        )
        for seed, row in enumerate(
            row for row in OPTIMIZERS if row.name in ("manual_sgd", "adam", "nesterov")
        )
        for batch in SETTINGS
        for penalty in ("none", "ridge")
    ]
    together = fit(configs)
    for place in random.Random(1).sample(range(len(configs)), 6):
        assert bits(fit(configs[place])) == bits(together[place])
    order = random.Random(2).sample(range(len(configs)), 12)
    assert [bits(found) for found in fit([configs[place] for place in order])] == [
        bits(together[place]) for place in order
    ]
    for place in order[:8]:
        assert_same_path(
            together[place], single(configs[place]), 1e-9 if dtype == "float64" else 1e-3
        )


def test_fits_of_one_batch_size_are_one_stack_whatever_their_seeds() -> None:
    sizes = [
        config(engine="stacked", seed=seed, batch={"name": "minibatch", "size": size})
        for size in (5, 6)
        for seed in range(4)
    ]
    assert [len(block) for block in cut_into_blocks([*sizes, config(engine="stacked")])] == [
        4,
        4,
        1,
    ]


def test_what_does_not_go_with_batches_says_so() -> None:
    with pytest.raises(
        ValueError, match="conjugate_gradient works with all samples at once: choose batch=full"
    ):
        config(batch="minibatch", optimizer="conjugate_gradient")
    with pytest.raises(ValueError, match=r"choose batch=full, or stop\.excess_loss"):
        config(batch="minibatch", stop={"gradient_norm": 1e-3})
    for engine in ENGINES:
        found = fit(config(batch={"name": "minibatch", "size": 24}, dataset=DATA, engine=engine))
        assert (
            found.error is not None
            and "batch.size=24 is more than the 23 samples that are fitted" in found.error
        )
    ended = fit(
        config(batch="minibatch", stop={"excess_loss": 0.5}, optimizer={"name": "sgd", "lr": 1e-3})
    )
    assert ended.status is Status.CONVERGED


# ---- schedules ----


@pytest.mark.parametrize("row", SCHEDULES, ids=label)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_learning_rate_is_that_of_torchs_scheduler(row: ScheduleRow, engine: str) -> None:
    for given in row.settings():
        lr = 1e-3
        fitted = config(
            schedule=given,
            optimizer={"name": "sgd", "lr": lr, "momentum": 0.5},
            steps=60,
            dtype="float64",
            engine=engine,
            record={"every": 1},
        )
        found, problem = fit(fitted), fitted.dataset.load(0)
        assert found.path is not None, found.error
        X, y = torch.tensor(problem.X), torch.tensor(problem.y)
        w = torch.tensor(found.path.weights[0]).requires_grad_()
        optimizer = torch.optim.SGD([w], lr=lr, momentum=0.5)
        keys = {key: value for key, value in given.items() if key != "name"}
        scheduler = (
            getattr(torch.optim.lr_scheduler, row.torch)(
                optimizer, **{**REQUIRED.get(row.name, {}), **keys}
            )
            if row.torch
            else None
        )
        for step in range(61):
            np.testing.assert_allclose(found.path.weights[step], w.detach().numpy(), rtol=1e-9)
            optimizer.zero_grad()
            ((X @ w - y) ** 2).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if scheduler is not None:
                scheduler.step()


@pytest.mark.matrix
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_optimizer_is_scheduled_alike_in_both_engines_beside_any_neighbours(
    dtype: str,
) -> None:
    schedules = [setting for schedule in SCHEDULES for setting in schedule.settings()[:2]]
    configs = [
        config(
            optimizer={**row.steady, **variation},
            schedule=given,
            seed=seed,
            steps=30 + seed % 4,
            dtype=dtype,
            engine="stacked",
            record={"every": 1},
        )
        for seed, row in enumerate(row for row in OPTIMIZERS if row.lr is not None)
        for number, variation in enumerate(({}, *row.variations[-2:]))
        for given in schedules[number::3]
    ]
    together = fit(configs)
    for place in random.Random(4).sample(range(len(configs)), 8):
        assert bits(fit(configs[place])) == bits(together[place])
    stacked = [place for place, one in enumerate(configs) if not one.unstackable()]
    for place in stacked[::2]:
        assert_same_path(
            together[place], single(configs[place]), 1e-9 if dtype == "float64" else 1e-3
        )


def test_a_plug_in_whose_steps_are_not_proportional_to_lr_is_scheduled_in_the_single_engine() -> (
    None
):
    from linfit.method.optimizers import SGD
    from tests.helpers import scratch_registry

    with scratch_registry():

        class Own(SGD):
            name: Any = "own"

        scheduled = config(optimizer="own", schedule="exponential")
        assert scheduled.unstackable() == ["optimizer", "schedule"]
    assert config(schedule="cosine").unstackable() == []
    with pytest.raises(ValueError, match="conjugate_gradient has no lr to schedule"):
        config(optimizer="conjugate_gradient", schedule="step")


def test_no_schedule_and_all_samples_are_not_in_the_fingerprint() -> None:
    assert config(schedule="none", batch="full").fingerprint() == config().fingerprint()
    assert not {"schedule", "batch"} & set(config().numbers())
