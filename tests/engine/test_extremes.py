"""Both engines at the ends of the number range: equal status, no NaN if completed, no failure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.prediction.predict import predict_from_fit
from linfit.problem.datasets.arrays import arrays
from linfit.problem.theory.optimum import solve_least_squares
from tests.helpers import DTYPES, config, cover_pairs

X = np.column_stack([np.linspace(-2, 2, 7), np.ones(7)])
Y = X @ [2.0, 3.0]
#: Of each optimizer what is at its ends.
EXTREMES: dict[str, dict[str, list[Any]]] = {
    "manual_sgd": {"lr": [1e-300, 1e300], "average": [True]},
    "sgd": {
        "lr": [1e-300, 1e60, 1e300],
        "momentum": [1e20, 1e300],
        "weight_decay": [1e-300, 1e300],
        "dampening": [-1e300, 1e300],
        "maximize": [True],
    },
    "adam": {
        "lr": [1e-300, 3e38, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "eps": [0.0, 1e-300, 1e300],
        "weight_decay": [1e300],
        "amsgrad": [True],
        "maximize": [True],
    },
    "adamw": {
        "lr": [1e-300, 1e300],
        "eps": [0.0, 1e300],
        "weight_decay": [0.0, 1e300],
        "betas": [[0.0, 0.999999999999]],
    },
    "rmsprop": {
        "lr": [1e-300, 1e300],
        "alpha": [0.0],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
        "momentum": [1e300],
    },
    "adagrad": {
        "lr": [1e-300, 1e300],
        "lr_decay": [1e300],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
        "initial_accumulator_value": [1e-300, 1e300],
    },
    "nadam": {
        "lr": [1e-300, 3e38, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
        "momentum_decay": [0.0, 1e300],
    },
    "radam": {
        "lr": [1e-300, 3e38, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
    },
    "adamax": {
        "lr": [1e-300, 3e38, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
    },
    "adadelta": {
        "lr": [1e-300, 1e300],
        "rho": [0.0, 0.999999999999],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
    },
    "asgd": {
        "lr": [1e-300, 1e60, 1e300],
        "lambd": [0.0, 1e300],
        "alpha": [0.0, 1.0],
        "t0": [0.0],
        "weight_decay": [1e300],
    },
    "rprop": {
        "lr": [1e-300, 1e300],
        "etas": [[1e-300, 1e300]],
        "step_sizes": [[1e-300, 1e300], [1e300, 1e300]],
    },
    "lion": {
        "lr": [1e-300, 3e38, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "weight_decay": [1e300],
    },
    "schedule_free_sgd": {
        "lr": [1e-300, 1e60, 1e300],
        "momentum": [0.0, 0.999999999999],
        "weight_decay": [1e300],
        "warmup_steps": [10**9],
        "r": [1e300],
        "weight_lr_power": [0.0, 1e300],
    },
    "schedule_free_adamw": {
        "lr": [1e-300, 1e60, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "eps": [0.0, 1e300],
        "weight_decay": [1e300],
        "warmup_steps": [10**9],
    },
    "prodigy": {
        "lr": [1e-300, 1e300],
        "betas": [[0.0, 0.0], [0.999999999999, 0.0], [0.0, 0.999999999999]],
        "beta3": [0.0],
        "eps": [1e-300, 1e300],
        "weight_decay": [1e300],
        "d0": [1e-300, 1e300],
        "d_coef": [1e-300, 1e300],
        "growth_rate": [1.0, 1e300],
    },
    "heavy_ball": {"lr": [1e-300, 1e300], "momentum": [0.0, 0.999999999999]},
    "nesterov": {"lr": [1e-300, 1e300], "momentum": [0.0, 0.999999999999]},
    "conjugate_gradient": {"preconditioner": ["jacobi"]},
    "newton": {},
    "closed_form": {},
}
SCALES = {"float32": (1e-30, 1.0, 1e15), "float64": (1e-200, 1.0, 1e100)}


def extremes(name: str) -> Iterator[dict[str, Any]]:
    """As it is, and each field at an end of its own."""
    moving = {"lr": 1e-3, "momentum": 0.5} if name in ("heavy_ball", "nesterov") else {}
    yield {"name": name, **moving}
    for field, values in EXTREMES[name].items():
        yield from ({"name": name, **moving, field: value} for value in values)


def both(configs: list[FitConfig]) -> list[tuple[Fit, Fit]]:
    """The fits of each config in the two engines."""
    fits = [
        fit(
            [
                FitConfig.model_validate({**one.as_dict(), "dataset": one.dataset, "engine": name})
                for one in configs
            ]
        )
        for name in ("single", "stacked")
    ]
    return list(zip(*fits, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXTREMES)
def test_the_engines_end_alike_at_the_ends_of_hyperparameters_and_data(
    name: str, dtype: str
) -> None:
    losses = ("mse", "huber") if name not in ("closed_form", "conjugate_gradient") else ("mse",)
    datasets = [arrays(X * scale, Y * scale) for scale in SCALES[dtype]]
    parts = cover_pairs(datasets, list(extremes(name)), losses)
    configs = [
        config(dataset=data, optimizer=optimizer, loss=loss, dtype=dtype, steps=12)
        for data, optimizer, loss in parts
    ]
    for alone, stacked in both(configs):
        assert alone.error is None and stacked.error is None, (alone.error, stacked.error)
        assert alone.status == stacked.status, alone.config.optimizer
        predict_from_fit(alone)
        if alone.status is Status.DIVERGED:
            steps = (alone.diverged_at_step, stacked.diverged_at_step)
            assert abs(steps[0] - steps[1]) <= 1  # type: ignore[operator]
            continue
        for one in (alone, stacked):
            assert not any(
                np.isnan(part).any() for part in (one.weights, one.losses, one.excess_losses)
            )


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_variance_of_one_gradient_is_rounding_in_both_engines(dtype: str) -> None:
    optimizer = {"name": "rmsprop", "alpha": 0.0, "centered": True}
    for alone, stacked in both(
        [config(optimizer=optimizer, dtype=dtype, steps=100, seed=seed) for seed in range(8)]
    ):
        assert alone.status == stacked.status == Status.DIVERGED


@pytest.mark.parametrize("strength", [0.0, 1e-3])
def test_from_weights_without_bounds_hubers_excess_is_a_number(strength: float) -> None:
    init = {"name": "given", "weights": [[1e300], [0.0]]}
    penalty = {"name": "ridge", "strength": strength}
    for found in both([config(loss="huber", init=init, penalty=penalty, dtype="float64", steps=3)])[
        0
    ]:
        assert found.status is (Status.DIVERGED if strength else Status.COMPLETED)
        assert not np.isnan(found.excess_losses[0])
        assert strength or found.excess_losses[-1] == pytest.approx(found.losses[-1], rel=1e-9)


@pytest.mark.parametrize(
    "features",
    [X, X[:, 1:], X[:1], np.column_stack([X, X[:, 0]])],
    ids=["line", "constant", "one row", "twice"],
)
@pytest.mark.parametrize("scale", [1e-305, 1e-200, 1e-160, 1e140])
def test_the_answer_does_not_depend_on_the_scale_of_the_data(scale: float, features: Any) -> None:
    targets = (features @ np.arange(2.0, 2 + features.shape[1]))[:, None]
    plain = solve_least_squares(features, targets)
    for across, down in ((scale, scale), (scale, 1.0), (1.0, scale)):
        scaled = solve_least_squares(features * across, targets * down)
        assert scaled.rank == plain.rank
        with np.errstate(over="ignore"):
            expected = plain.weights * down / across
        np.testing.assert_allclose(scaled.weights, expected, rtol=1e-9 if scale > 1e-300 else 1e-2)


def test_of_data_whose_squares_vanish_the_answer_is_known_and_a_note_says_so() -> None:
    for found in both(
        [
            config(
                dataset=arrays(X * 1e-200, Y * 1e-200),
                optimizer="closed_form",
                dtype="float64",
                steps=1,
            )
        ]
    )[0]:
        np.testing.assert_allclose(found.weights[:, 0], [2, 3], rtol=1e-14)
        assert (
            found.problem is not None
            and "squares of the features vanish in float64" in found.problem.notes[-1]
        )


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        (X, Y + 1e9, "target 'y'"),
        (X + np.array([1e9, 0]), Y, "column 'a'"),
        (X * 1e3 + np.array([1e9, 0]), Y, "column 'a'"),
        (X, np.column_stack([Y, Y + 1e12, Y - 1e12]), "targets 'y1', 'y2'"),
    ],
    ids=["target", "column", "column of few values", "targets"],
)
def test_values_that_float32_cannot_tell_apart_are_noted(x: Any, y: Any, named: str) -> None:
    given = {"dataset": arrays(x, y, features=["a", "b"]), "optimizer": "adam", "steps": 2}
    for found in both([config(**given)])[0]:
        assert found.problem is not None
        assert any(
            f"float32 cannot tell values of {named} apart" in note for note in found.problem.notes
        ), found.problem.notes
    fine = config(**given, dtype="float64"), config(dataset=arrays(X * 1e9, Y * 1e-9), steps=2)
    for pair in both(list(fine)):
        assert all(
            one.problem is not None and "apart" not in " ".join(one.problem.notes) for one in pair
        )
