"""`linfit run --skip-unstable`: what theory says will diverge is left out before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Status
from linfit.engine.prediction.predict import predict_before_fit
from linfit.sweeps.preflight.stability import find_doubtful, find_unstable
from tests.helpers import config

Linfit = Callable[..., Any]
COMMON = ("optimizer=sgd", "steps=5", "tracking=none", "pictures=false")


def test_unstable_fits_of_a_sweep_are_left_out(bare: Path, linfit: Linfit) -> None:
    ran = linfit(
        "run", "-m", *COMMON, "optimizer.lr=0.001,0.01,0.002,1", "--skip-unstable", "--json"
    )
    assert ran.code == 0, ran.err
    assert [row["name"] for row in json.loads(ran.out)] == ["lr=0.001", "lr=0.002"]
    assert "2 of 4 fits are unstable and left out" in ran.err


def test_a_sweep_of_unstable_fits_alone_and_an_unstable_fit_are_refused(
    bare: Path, linfit: Linfit
) -> None:
    ran = linfit("run", "-m", *COMMON, "optimizer.lr=1,2", "--skip-unstable")
    assert (ran.code, ran.out) == (2, "")
    assert "all 2 fits are unstable and --skip-unstable leaves none" in ran.err
    ran = linfit("run", *COMMON, "optimizer.lr=1", "--skip-unstable")
    assert (ran.code, ran.out) == (2, "")
    assert "lr 1 is above 0.00" in ran.err
    assert not (bare / "outputs" / "runs").exists()


def test_what_is_unstable_is_announced_before_it_runs(
    bare: Path, linfit: Linfit, monkeypatch: pytest.MonkeyPatch
) -> None:
    (note,) = linfit("run", *COMMON, "optimizer.lr=0.1").err.splitlines()
    assert note.startswith(
        "linfit: note: this fit is unstable: lr 0.1 is above 0.007"
    ) and note.endswith("the largest stable one")
    sweep = "run", "-m", *COMMON, "optimizer.lr=0.1,0.001,0.2,0.002,0.3"
    assert (
        "note: 3 of 5 fits are unstable: `linfit plan` shows which, --skip-unstable"
        in linfit(*sweep).err
    )
    monkeypatch.setattr("linfit.sweeps.preflight.checks.MAX_EXAMINED", 3)
    assert "note: 3 of 3 fits looked at of 5 are unstable" in linfit(*sweep).err
    monkeypatch.setattr("linfit.sweeps.preflight.checks.LARGE_DATA", 1)
    assert "unstable" not in linfit(*sweep).err
    assert linfit("run", *COMMON, "optimizer.lr=0.001").err == ""


def test_a_penalty_counts_and_what_has_no_bound_stays() -> None:
    lr = 0.0077  # the bound is 0.00780, and with the penalty 0.00765
    stated = [{"name": "sgd", "lr": lr}, {"name": "adam", "lr": 9.0}, {"name": "heavy_ball"}]
    configs = [config(optimizer=optimizer) for optimizer in stated]
    assert find_unstable(configs) == {}
    assert list(
        find_unstable(
            [config(optimizer=stated[0], penalty={"name": "ridge", "strength": 5.0}), *configs]
        )
    ) == [0]
    changing = config(optimizer={"name": "sgd", "lr": 1.0}, schedule="cosine")
    robust = config(optimizer={"name": "sgd", "lr": 100.0}, loss="huber")
    assert find_unstable([changing, robust]) == {}


PROBLEMS: tuple[Any, ...] = (
    "parabola",
    {"name": "random_linear", "n": 40, "p": 3},
    {"name": "random_linear", "n": 12, "p": 8, "condition": 100.0},
)
SIZES = (1, 3, 11)


def batched(
    share: float, problem: Any, size: int, replacement: bool, penalty: Any = "none", seeds: int = 15
) -> list[FitConfig]:
    """Fits by batches at such a share of the learning rate that is said to be stable."""
    batch = {"name": "minibatch", "size": size, "replacement": replacement}
    given = {
        "dataset": problem,
        "loss": "mse",
        "penalty": penalty,
        "dtype": "float64",
        "steps": 300,
    }
    bound = predict_before_fit(
        config(**given, batch=batch, optimizer={"name": "sgd", "lr": 1.0})
    ).largest_stable_lr
    assert bound is not None
    optimizer = {"name": "sgd", "lr": share * bound}
    return [
        config(**given, batch={**batch, "seed": seed}, optimizer=optimizer) for seed in range(seeds)
    ]


@pytest.mark.parametrize("replacement", [False, True], ids=["shuffled", "drawn"])
def test_at_learning_rates_that_are_stable_for_batches_no_seed_diverges(replacement: bool) -> None:
    penalties = "none", {"name": "ridge", "strength": 1.0}
    parts = product(PROBLEMS, SIZES, penalties)
    configs = [
        one
        for problem, size, penalty in parts
        for one in batched(0.8, problem, size, replacement, penalty)
    ]
    assert not any(found.status is Status.DIVERGED for found in fit(configs))
    assert find_unstable(configs) == find_doubtful(configs) == {}


@pytest.mark.parametrize("replacement", [False, True], ids=["shuffled", "drawn"])
def test_a_few_times_above_every_seed_diverges_and_is_said_to_be_in_doubt(
    replacement: bool,
) -> None:
    configs = [
        one
        for problem, size in product(PROBLEMS, SIZES[:2])
        for one in batched(6.0, problem, size, replacement, seeds=3)
    ]
    assert all(found.status is Status.DIVERGED for found in fit(configs))
    assert len(find_doubtful(configs)) == len(configs) and not find_unstable(configs)


def test_the_bound_of_batches_of_all_samples_is_the_full_gradients_and_a_momentum_has_none() -> (
    None
):
    whole = predict_before_fit(config(optimizer={"name": "sgd", "lr": 1.0}))
    batch = {"name": "minibatch", "size": 30}
    assert (
        predict_before_fit(
            config(optimizer={"name": "sgd", "lr": 1.0}, batch=batch)
        ).largest_stable_lr
        == whole.largest_stable_lr
    )
    known = predict_before_fit(
        config(optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.9}, batch=batch)
    )
    assert known.largest_stable_lr is None and known.optimal_lr is None


def test_batches_that_may_diverge_are_announced_and_planned_but_run(
    bare: Path, linfit: Linfit
) -> None:
    batch = "batch=minibatch", "batch.size=1"
    (note,) = linfit("run", *COMMON, *batch, "optimizer.lr=0.006").err.splitlines()
    assert note.startswith(
        "linfit: note: this fit may diverge: lr 0.006 is above 0.001961, "
        "up to which batches are stable"
    )
    sweep = "-m", *COMMON, *batch, "optimizer.lr=0.001,0.006,0.5"
    assert "note: 2 fits may diverge" in linfit("run", *sweep).err
    planned = linfit("plan", *sweep).out
    assert "unstable  0 of 3 fits" in planned and "doubtful  2 fits may diverge" in planned
