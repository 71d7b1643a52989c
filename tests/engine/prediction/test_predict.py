"""What theory says before the first step, against what fits then do."""

from __future__ import annotations

from itertools import count, product
from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.engine.prediction.linear_iteration import (
    UNKNOWN_STEP,
    contraction_factor,
    count_steps_to_tolerance,
)
from linfit.engine.prediction.predict import Theory, contraction_rate, predict_from_fit
from linfit.method.linear_steps import stable_momentum_lr
from tests.helpers import config

DATA = {"name": "random_linear", "n": 40, "p": 4, "condition": 4.0}
#: The largest curvature of it with mse is 2, the smallest 1/8.
L, MU = 2.0, 1 / 8
METHODS: tuple[dict[str, Any], ...] = (
    {"name": "manual_sgd", "lr": 0.3},
    {"name": "manual_sgd", "lr": 12.0, "average": True},
    {"name": "sgd", "lr": 0.9},
    {"name": "sgd", "lr": 2 / (L + MU)},
    {"name": "sgd", "lr": 0.2, "momentum": 0.3},
    {"name": "sgd", "lr": 0.2, "momentum": 0.9},
    {"name": "sgd", "lr": 0.2, "momentum": 0.4, "nesterov": True},
    {"name": "heavy_ball", "lr": 0.4, "momentum": 0.6},
    {"name": "nesterov", "lr": 0.4, "momentum": 0.3},
)
#: Both with the constants that are optimal for the problem.
OPTIMAL: tuple[dict[str, Any], ...] = ({"name": "heavy_ball"}, {"name": "nesterov"})


def run(optimizer: dict[str, Any], **parts: Any) -> tuple[Any, Theory]:
    found = fit(
        config(
            **{
                "dataset": DATA,
                "loss": "mse",
                "dtype": "float64",
                "steps": 600,
                "optimizer": optimizer,
                "record": {"every": 1},
                **parts,
            }
        )
    )
    theory = predict_from_fit(found)
    assert theory is not None, found.error
    return found, theory


@pytest.mark.parametrize(
    "penalty", ["none", {"name": "ridge", "strength": 0.1}], ids=["plain", "ridge"]
)
@pytest.mark.parametrize("optimizer", METHODS, ids=lambda given: "-".join(map(str, given.values())))
def test_the_predicted_contraction_and_steps_are_those_measured(
    optimizer: dict[str, Any], penalty: Any
) -> None:
    found, theory = run(optimizer, penalty=penalty)
    excess = found.excess_losses
    reached = np.flatnonzero(excess > 1e-22 * excess[0])
    stop = min(int(reached[-1]), 590)
    start = stop // 3
    peaks = [
        int(np.argmax(excess[at : at + 9])) + at for at in (start, stop - 9)
    ]  # complex eigenvalues turn as they shrink
    measured = (excess[peaks[1]] / excess[peaks[0]]) ** (0.5 / (peaks[1] - peaks[0]))
    assert theory.rate is not None
    assert measured == pytest.approx(theory.rate, rel=0.01)
    assert theory.steps_to_tolerance is not None
    assert found.steps_to_tolerance == theory.steps_to_tolerance


@pytest.mark.parametrize("name", ["sgd", "sgd, nesterov", "heavy_ball", "nesterov"])
def test_the_steps_predicted_of_a_momentum_are_those_of_the_run(name: str) -> None:
    """The curve turns: it is within the tolerance for the first time long before it stays there."""
    data: tuple[Any, ...] = ("parabola", DATA, {**DATA, "q": 2, "condition": 30.0})
    given, configs = {"name": name.split(",")[0], **({"nesterov": True} if "," in name else {})}, []
    for dataset, share, momentum in product(data, (1e-3, 0.03, 0.4, 0.9), (0.3, 0.7, 0.9)):
        largest = 256.32 if dataset == "parabola" else 2.0
        optimizer = {
            **given,
            "lr": share * stable_momentum_lr(momentum, "nesterov" in name, largest),
            "momentum": momentum,
        }
        loss = "sse" if dataset == "parabola" else "mse"
        configs.append(
            config(dataset=dataset, loss=loss, optimizer=optimizer, dtype="float64", steps=400)
        )
    fits = fit(configs)
    theories = [predict_from_fit(found) for found in fits]
    told = [theory.steps_to_tolerance for theory in theories if theory is not None]
    assert sum(steps is not None for steps in told) > 30
    for found, steps in zip(fits, told, strict=True):
        assert steps is None or found.steps_to_tolerance == (steps if steps <= 400 else None), (
            found.config.optimizer
        )


def test_what_turns_is_looked_at_so_far_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = (0.5, 0.9999), (0.31, 0.9999), (1e-9, 0.0)
    matrices = np.array(
        [[[1 - rate, -momentum * rate], [1.0, momentum]] for rate, momentum in rates]
    )
    turning = [matrices[:2]], [np.ones(2)], [1e-12]
    assert count_steps_to_tolerance(*turning)[0] > 10_000
    slow = count_steps_to_tolerance([matrices], [np.array([1.0, 1.0, 1e-3])], [1e-6])
    assert slow[0] == pytest.approx(0.5e9 * np.log(500), rel=0.01)
    monkeypatch.setattr("linfit.engine.prediction.linear_iteration.MAX_SEARCHED_STEPS", 4096)
    assert count_steps_to_tolerance(*turning)[0] == UNKNOWN_STEP


@pytest.mark.parametrize(
    "penalty", ["none", {"name": "ridge", "strength": 0.01}], ids=["plain", "ridge"]
)
@pytest.mark.parametrize("optimizer", OPTIMAL, ids=lambda given: given["name"])
def test_the_optimal_constants_contract_as_predicted(
    optimizer: dict[str, Any], penalty: Any
) -> None:
    """Two eigenvalues coincide there: in the long run the error is k·rateᵏ."""
    found, theory = run(optimizer, dataset={**DATA, "condition": 10.0}, penalty=penalty)
    stop = int(np.flatnonzero(found.excess_losses > 1e-22 * found.excess_losses[0])[-1])
    ends = np.array([stop // 2, stop])
    errors = np.sqrt(found.excess_losses[ends]) / ends
    assert (errors[1] / errors[0]) ** (1 / (ends[1] - ends[0])) == pytest.approx(
        theory.rate, rel=0.01
    )
    assert found.steps_to_tolerance == theory.steps_to_tolerance


@pytest.mark.parametrize(
    "optimizer", METHODS[::3], ids=lambda given: "-".join(map(str, given.values()))
)
def test_the_predictions_hold_for_several_targets(optimizer: dict[str, Any]) -> None:
    found, theory = run(
        optimizer,
        dataset={**DATA, "q": 3, "n": 120},
        loss="mse",
        penalty={"name": "ridge", "strength": 0.05},
    )
    at = dict(zip(found.steps.tolist(), found.excess_losses.tolist(), strict=True))
    assert theory.steps_to_tolerance is not None and theory.rate is not None
    assert found.steps_to_tolerance == theory.steps_to_tolerance
    last = max(step for step, excess in at.items() if excess > 1e-20 * at[0])
    peaks = [max(range(step, step + 9), key=at.__getitem__) for step in (last // 2, last - 9)]
    assert (at[peaks[1]] / at[peaks[0]]) ** (0.5 / (peaks[1] - peaks[0])) == pytest.approx(
        theory.rate, rel=0.01
    )


def test_many_steps_are_predicted_as_each_alone() -> None:
    """Powers of the matrices one by one find the step that doubling and halving find for all."""
    stream = np.random.default_rng(2)
    matrices, shares, tolerances = [], [], []
    for place in range(40):
        m, momentum = 1 + place % 3, float(stream.uniform(0, 0.9)) if place % 2 else 0.0
        rates = stream.uniform(0.01, 1.9, m)
        matrices.append(
            np.array([[[1 - rate, -momentum * rate], [1.0, momentum]] for rate in rates])
        )
        shares.append(stream.uniform(0, 2, m) if place != 7 else np.zeros(m))
        tolerances.append(float(10 ** -stream.uniform(0, 12)) if place != 3 else 1.0)
    found = count_steps_to_tolerance(matrices, shares, tolerances)
    for place, (matrix, share, tolerance) in enumerate(
        zip(matrices, shares, tolerances, strict=True)
    ):

        def within(
            k: int, matrix: Any = matrix, share: Any = share, tolerance: float = tolerance
        ) -> bool:
            left = np.square(np.linalg.matrix_power(matrix, k)[:, 0, 0])
            return bool((share * left).sum() <= tolerance * share.sum())

        if contraction_factor(matrix) >= 1:
            assert found[place] == UNKNOWN_STEP
        else:
            assert found[place] == next(k for k in count() if within(k))
    assert count_steps_to_tolerance(
        [np.array([[[1 - 1e-14, 0.0], [1.0, 0.0]]])], [np.ones(1)], [1e-6]
    )[0] == pytest.approx(6.9e14, rel=0.01)


def test_the_problem_is_described() -> None:
    found, theory = run({"name": "sgd", "lr": 0.1})
    assert (theory.rank, theory.minimal_loss) == (4, found.optimum.loss)
    assert theory.largest_curvature == pytest.approx(L)
    assert theory.smallest_curvature == pytest.approx(MU)
    assert theory.condition == pytest.approx(16)
    assert theory.largest_stable_lr == pytest.approx(2 / L)
    assert theory.optimal_lr == pytest.approx(2 / (L + MU))
    averaged = run({"name": "manual_sgd", "lr": 0.1, "average": True})[1]
    assert averaged.optimal_lr == pytest.approx(40 * 2 / (L + MU))
    assert theory.to_numbers()["condition"] == theory.condition


def test_no_learning_rate_contracts_faster_than_the_optimal_one() -> None:
    best = run({"name": "sgd", "lr": 2 / (L + MU)})[1]
    rates = [
        run({"name": "sgd", "lr": share * 2 / (L + MU)}, steps=1)[1].rate
        for share in (0.5, 0.9, 0.99, 1.01, 1.05)
    ]
    assert best.rate == pytest.approx((16 - 1) / (16 + 1))
    assert all(rate is not None and best.rate is not None and rate > best.rate for rate in rates)


@pytest.mark.parametrize(("name", "rate"), [("heavy_ball", 3 / 5), ("nesterov", 1 - 2 / 7)])
def test_the_optimal_constants_contract_as_the_paper_says(name: str, rate: float) -> None:
    """Lessard, Recht and Packard: (√κ − 1)/(√κ + 1) and 1 − 2/√(3κ + 1), of κ = 16."""
    _, theory = run({"name": name}, steps=1)
    assert theory.rate == pytest.approx(rate, rel=1e-6)


def test_where_the_rank_is_short_descent_goes_to_the_optimum_nearest_its_start() -> None:
    wide = {"name": "random_linear", "n": 4, "p": 7, "condition": 2.0}
    found, theory = run({"name": "sgd", "lr": 0.5}, dataset=wide, steps=300)
    assert theory.rank == 4
    assert theory.condition == pytest.approx(4)
    X, start = found.problem.X, found.path.weights[0]
    nearest = start + np.linalg.pinv(X) @ (found.problem.y - X @ start)
    np.testing.assert_allclose(found.weights, nearest, rtol=1e-9)
    assert found.excess_losses[-1] < 1e-20 < found.distance_to_optimum
    assert found.steps_to_tolerance == pytest.approx(theory.steps_to_tolerance, abs=1)


def test_what_theory_does_not_know_it_does_not_say() -> None:
    plain = {"name": "sgd", "lr": 0.1}
    for optimizer, parts in (
        ({"name": "adam"}, {}),
        (plain, {"schedule": "cosine"}),
        (plain, {"batch": "minibatch"}),
    ):
        theory = run(optimizer, **{"steps": 1, **parts})[1]
        assert theory.rate is None and theory.steps_to_tolerance is None
        assert theory.condition is not None
    assert run({"name": "sgd", "lr": 0.1}, loss="huber", steps=1)[1].condition is None
    unstable = run({"name": "sgd", "lr": 1.5}, steps=1)[1]
    assert unstable.rate is not None and unstable.rate > 1
    assert unstable.steps_to_tolerance is None
    found = fit(config(optimizer={"name": "sgd", "lr": 0.1}, steps=1))
    assert found.optimum is not None
    predicted = predict_from_fit(found)
    assert predicted is not None
    assert contraction_rate(found.config, found.optimum, 30) == predicted.rate


@pytest.mark.slow
def test_descent_by_batches_comes_to_rest_at_the_noise_floor() -> None:
    batch = {"name": "minibatch", "size": 8, "replacement": True}
    found, theory = run(
        {"name": "sgd", "lr": 0.05}, batch=batch, dataset={**DATA, "noise": 1.0}, steps=30_000
    )
    assert theory.noise_floor is not None
    assert found.excess_losses[5000:].mean() == pytest.approx(theory.noise_floor, rel=0.2)
