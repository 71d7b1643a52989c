"""The stacked engine: bits depend on a fit's own config only, and agree with the single engine."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from linfit.component import Component
from linfit.config import GROUPS, FitConfig
from linfit.engine.dispatch import fit, fit_as_completed
from linfit.engine.fit import Fit, Status
from linfit.engine.listening import ProgressCallback
from linfit.engine.stacked import run as stacked
from linfit.engine.stacked.blocks import (
    Task,
    TaskLoader,
    cut_into_blocks,
    estimate_bytes,
    find_optima,
)
from linfit.engine.stacked.program import Program
from linfit.engine.stacked.run import fit_stacks
from linfit.engine.stacked.trace import StackTrace
from linfit.method.gradients import Gradient
from linfit.method.init import Init
from linfit.method.models import LinearModel, Model
from linfit.method.optimizers import SGD, Optimizer, Stepper
from linfit.method.stacked_state import (
    HyperparameterColumns,
    OptimizerState,
    Update,
    raise_to_steps,
)
from linfit.problem.datasets.files import CSV
from linfit.problem.datasets.synthetic import Parabola
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import find_optimum, solve_problems
from linfit.settings import AutoEngine, SingleEngine, StackedEngine
from tests import helpers

#: Every optimizer with every option, at learning rates that are stable on the problems below.
OPTIMIZERS: tuple[Mapping[str, Any], ...] = (
    {"name": "manual_sgd", "lr": 1e-4},
    {"name": "manual_sgd", "lr": 1e-3, "average": True},
    {"name": "sgd", "lr": 1e-4},
    {"name": "sgd", "lr": 1e-4, "momentum": 0.9, "dampening": 0.1, "weight_decay": 0.01},
    {"name": "sgd", "lr": 2e-4, "momentum": 0.7, "nesterov": True},
    {"name": "sgd", "lr": 1e-9, "maximize": True},
    {"name": "adam", "lr": 0.1},
    {
        "name": "adam",
        "lr": 0.03,
        "betas": [0.4, 0.9],
        "eps": 1e-3,
        "weight_decay": 0.1,
        "amsgrad": True,
    },
    {
        "name": "adam",
        "lr": 0.02,
        "betas": [0.0, 0.9],
        "weight_decay": 0.1,
        "decoupled_weight_decay": True,
    },
    {"name": "adam", "lr": 1e-3, "eps": 1e-2, "maximize": True},
    {"name": "adamw", "lr": 0.1},
    {"name": "adamw", "lr": 0.1, "weight_decay": 0.0, "amsgrad": True},
    {"name": "adamw", "lr": 1e-3, "betas": [0.8, 0.99], "eps": 1e-4, "maximize": True},
    {"name": "rmsprop"},
    {"name": "rmsprop", "momentum": 0.5, "weight_decay": 0.1, "alpha": 0.9, "eps": 1e-4},
    {"name": "rmsprop", "lr": 1e-3, "centered": True},
    {"name": "rmsprop", "lr": 1e-4, "maximize": True},
    {"name": "adagrad", "lr": 0.5},
    {
        "name": "adagrad",
        "lr": 0.5,
        "lr_decay": 0.01,
        "weight_decay": 0.1,
        "initial_accumulator_value": 0.1,
        "eps": 1e-3,
    },
    {"name": "adagrad", "lr": 1e-3, "maximize": True},
    {"name": "nadam", "lr": 0.1, "momentum_decay": 0.1},
    {"name": "nadam", "betas": [0.4, 0.9], "eps": 1e-3, "weight_decay": 0.1},
    {"name": "nadam", "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True},
    {"name": "radam"},
    {"name": "radam", "betas": [0.4, 0.9], "eps": 1e-3, "weight_decay": 0.1},
    {"name": "radam", "lr": 1e-6, "weight_decay": 0.1, "decoupled_weight_decay": True}
    | {"maximize": True},
    {"name": "adamax", "lr": 0.1},
    {"name": "adamax", "betas": [0.4, 0.9], "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    {"name": "adadelta"},
    {"name": "adadelta", "lr": 0.5, "rho": 0.95, "eps": 1e-4, "weight_decay": 0.1},
    {"name": "adadelta", "maximize": True},
    {"name": "asgd", "lr": 1e-4},
    {"name": "asgd", "lr": 1e-4, "lambd": 0.1, "alpha": 0.5, "t0": 3.0, "weight_decay": 0.01},
    {"name": "asgd", "lr": 1e-9, "maximize": True},
    {"name": "rprop"},
    {"name": "rprop", "etas": [0.4, 1.5], "step_sizes": [1e-3, 0.5], "maximize": True},
    {"name": "lbfgs"},
    {"name": "lbfgs", "lr": 0.5, "history_size": 2, "tolerance_grad": 1e-3}
    | {"tolerance_change": 1e-6},
    {"name": "lion", "lr": 0.1},
    {"name": "lion", "lr": 0.01, "betas": [0.4, 0.9], "weight_decay": 0.1},
    {"name": "schedule_free_sgd", "lr": 1e-4},
    {"name": "schedule_free_sgd", "lr": 1e-4, "momentum": 0.5, "weight_decay": 0.01}
    | {"warmup_steps": 9, "r": 1.0, "weight_lr_power": 1.0},
    {"name": "schedule_free_adamw", "lr": 0.1},
    {"name": "schedule_free_adamw", "betas": [0.4, 0.9], "eps": 1e-3, "weight_decay": 0.1}
    | {"warmup_steps": 9, "r": 1.0, "weight_lr_power": 1.0},
    {"name": "prodigy"},
    {"name": "prodigy", "lr": 0.1, "d0": 1e-2, "betas": [0.4, 0.9], "beta3": 0.9, "eps": 1e-3}
    | {"weight_decay": 0.1, "decouple": False, "use_bias_correction": True, "d_coef": 0.5},
    {"name": "prodigy", "d0": 1e-2, "weight_decay": 0.1, "growth_rate": 1.2, "lr": 0.5}
    | {"safeguard_warmup": True},
    {"name": "heavy_ball"},
    {"name": "heavy_ball", "lr": 1e-4, "momentum": 0.9},
    {"name": "nesterov"},
    {"name": "nesterov", "lr": 1e-4, "momentum": 0.8},
    {"name": "proximal_gradient"},
    {"name": "proximal_gradient", "lr": 1e-4},
    {"name": "fista"},
    {"name": "fista", "lr": 1e-4, "restart": "none"},
    {"name": "newton"},
    {"name": "conjugate_gradient", "preconditioner": "none"},
    {"name": "conjugate_gradient", "preconditioner": "jacobi"},
)
#: Optimizers that come to rest at a fixed learning rate.
CONTRACTING: tuple[Mapping[str, Any], ...] = (
    {"name": "manual_sgd", "lr": 1e-3},
    {"name": "sgd", "lr": 1e-3, "momentum": 0.9},
    {"name": "sgd", "lr": 1e-3, "momentum": 0.7, "nesterov": True},
    {"name": "adam", "lr": 0.3},
    {"name": "adamw", "lr": 0.3},
    {"name": "adagrad", "lr": 1.0},
    {"name": "nadam", "lr": 0.3},
    {"name": "adamax", "lr": 0.3},
    {"name": "asgd", "lr": 1e-3},
    {"name": "lbfgs"},
    {"name": "lbfgs", "lr": 0.5, "history_size": 2, "tolerance_grad": 1e-3}
    | {"tolerance_change": 1e-6},
    {"name": "schedule_free_sgd", "lr": 1e-3},
    {"name": "heavy_ball"},
    {"name": "nesterov"},
    {"name": "conjugate_gradient"},
)
AMPLIFIES = {row.name: row.amplifies for row in helpers.OPTIMIZERS}
WILD: tuple[Mapping[str, Any], ...] = (
    {"name": "sgd", "lr": 1e3},
    {"name": "manual_sgd", "lr": 3.0},
)
GRADIENTS = ("manual", "autograd", "func_grad", "gram")
#: All that take every sample at a step.
FULL_GRADIENTS = [
    name
    for name, kind in sorted(Gradient.choices.items())
    if issubclass(kind, Gradient) and not kind.reduces_variance
]
#: Each gradient with one of the dtypes.
BY_TURNS = [(helpers.DTYPES[i % 2], gradient) for i, gradient in enumerate(GRADIENTS)]
#: (n, p, q), on both sides of every vector width, and of the number of features that are added
#: one by one.
SHAPES = (
    (1, 1, 1),
    (2, 64, 1),
    (5, 3, 2),
    (7, 4, 1),
    (17, 8, 3),
    (30, 2, 1),
    (31, 5, 1),
    (100, 33, 1),
    (300, 7, 2),
    (10_000, 1, 3),
)


def config(optimizer: Mapping[str, Any] = OPTIMIZERS[0], **fields: Any) -> FitConfig:
    return FitConfig.model_validate(
        {"optimizer": optimizer, "engine": "stacked", "steps": 40, **fields}
    )


def linear(n: int, p: int, q: int, **fields: Any) -> dict[str, Any]:
    return {
        "name": "random_linear",
        "n": n,
        "p": p,
        "q": q,
        "condition": 1.0 if min(n, p) == 1 else 10.0,
        **fields,
    }


def single(config: FitConfig) -> FitConfig:
    return config.model_copy(update={"engine": SingleEngine()})


def bits(result: Fit) -> tuple[object, ...]:
    """Everything that a fit says, to the last bit."""
    assert result.path is not None, result.error
    path = result.path
    arrays = path.steps, path.losses, path.weights, result.excess_losses
    return (
        result.status,
        result.steps_to_tolerance,
        result.diverged_at_step,
        *((array.dtype, array.tobytes()) for array in arrays),
    )


def run(configs: Sequence[FitConfig]) -> list[Fit]:
    done = dict(fit_stacks(configs))
    assert sorted(done) == list(range(len(configs)))
    return [done[place] for place in range(len(configs))]


def all_bits(configs: Sequence[FitConfig]) -> list[tuple[object, ...]]:
    return [bits(result) for result in run(configs)]


# The table covers all there is


@pytest.mark.matrix
def test_every_component_of_ours_has_a_stacked_rule() -> None:
    for group in (Model, Loss, Gradient, Optimizer):
        assert all(
            choice.supports_stacking()
            for choice in group.choices.values()
            if choice.__module__.startswith("linfit.")
        )


def test_the_table_sets_every_option_of_every_optimizer() -> None:
    for name, choice in Optimizer.choices.items():
        if choice.__module__.startswith("linfit."):
            given = {key for row in OPTIMIZERS if row["name"] == name for key in row}
            assert given | ({"lr", "name"} & set(choice.model_fields)) == set(choice.model_fields)


# Bits


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [(shape, helpers.DTYPES[i % 2]) for i, shape in enumerate(SHAPES)],
    ids=str,
)
def test_bits_do_not_depend_on_stack_place_neighbours_or_blocks(
    shape: tuple[int, int, int], dtype: str
) -> None:
    chance = random.Random(repr((shape, dtype)))
    common = {
        "dtype": dtype,
        "gradient": chance.choice(GRADIENTS),
        "model": chance.choice(("tensor", "linear")),
        "loss": chance.choice(("sse", "mse")),
    }
    rows = (*OPTIMIZERS, *WILD)
    stops: tuple[Mapping[str, float], ...] = ({}, {"gradient_norm": 0.9}, {"excess_loss": 0.9}, {})
    configs = [
        config(
            rows[place % len(rows)],
            seed=place,
            steps=10 + place % 3,
            dataset=linear(*shape, seed=7 if place % 2 else None),
            stop=stops[place % len(stops)],
            **common,
        )
        for place in range(30)
    ]
    expected = all_bits(configs)
    for place in range(0, len(configs), 3):
        assert all_bits([configs[place]]) == [expected[place]]
    for size in (2, 7):
        parts = [all_bits(configs[start : start + size]) for start in range(0, len(configs), size)]
        assert [found for part in parts for found in part] == expected
    order = chance.sample(range(len(configs)), len(configs))
    assert all_bits([configs[place] for place in order]) == [expected[place] for place in order]
    narrow = [one.model_copy(update={"engine": StackedEngine(memory=2**20)}) for one in configs]
    assert all_bits(narrow) == expected


@pytest.mark.parametrize(
    ("shape", "dtype", "gradient"),
    helpers.cover_pairs(
        [(1, 1, 1), (17, 8, 3), (100, 33, 1), (1_000, 64, 1)],
        helpers.DTYPES,
        FULL_GRADIENTS,
    ),
    ids=str,
)
def test_bits_of_every_gradient_at_every_size(
    shape: tuple[int, int, int], dtype: str, gradient: str
) -> None:
    assert_same_alone(
        (*OPTIMIZERS[::8], WILD[0]),
        dtype=dtype,
        gradient=gradient,
        dataset=linear(*shape, seed=7),
        steps=3,
    )


@pytest.mark.parametrize(("dtype", "gradient"), BY_TURNS)
def test_bits_of_large_problems(dtype: str, gradient: str) -> None:
    assert_same_alone(
        OPTIMIZERS[::9],
        dtype=dtype,
        gradient=gradient,
        dataset=linear(10_000, 64, 1, seed=7),
        steps=2,
    )


def assert_same_alone(rows: Sequence[Mapping[str, Any]], **fields: Any) -> None:
    configs = [config(row, seed=seed, **fields) for seed, row in enumerate(rows)]
    expected = all_bits(configs)
    assert [all_bits([one])[0] for one in configs] == expected
    assert all_bits([*configs[2:], *configs[:2]]) == [*expected[2:], *expected[:2]]


@pytest.mark.parametrize(("dtype", "gradient"), BY_TURNS)
def test_bits_are_the_same_among_a_thousand(dtype: str, gradient: str) -> None:
    assert_same_among(1000, steps=40, dtype=dtype, gradient=gradient)


@pytest.mark.slow
def test_bits_are_the_same_among_ten_thousand() -> None:
    assert_same_among(10_000, steps=5)


def assert_same_among(count: int, **fields: Any) -> None:
    """Forty fits, from anywhere among so many, have the bits that they have in fours and alone."""
    rows = (*OPTIMIZERS, *WILD)
    configs = [config(rows[seed % len(rows)], seed=seed, **fields) for seed in range(count)]
    places = random.Random(0).sample(range(count), 40)
    among = {place: bits(found) for place, found in fit_stacks(configs) if place in places}
    few = [
        all_bits([configs[place] for place in places[start : start + 4]])
        for start in range(0, 40, 4)
    ]
    assert [found for part in few for found in part] == [among[place] for place in places]
    assert [all_bits([configs[place]])[0] for place in places[::4]] == [
        among[place] for place in places[::4]
    ]


@settings(derandomize=True, database=None, deadline=None, max_examples=12)
@given(st.data())
def test_bits_of_any_choice_of_fits_in_any_order(data: st.DataObject) -> None:
    rows = (*OPTIMIZERS, *WILD)
    dataset = linear(9, data.draw(st.integers(1, 9)), 2, condition=1.0)
    fit_config = st.builds(
        lambda row, seed, steps, every: config(
            rows[row], seed=seed, steps=steps, record={"every": every}, dataset=dataset
        ),
        st.integers(0, len(rows) - 1),
        st.integers(0, 3),
        st.sampled_from((0, 1, 31, 32, 33, 64)),
        st.sampled_from((None, 1, 10)),
    )
    configs = data.draw(st.lists(fit_config, min_size=1, max_size=12))
    assert all_bits(configs) == [all_bits([one])[0] for one in configs]


def test_bits_do_not_depend_on_whether_fits_share_their_data() -> None:
    shared = [
        config(row, init={"name": "normal", "seed": place}) for place, row in enumerate(OPTIMIZERS)
    ]
    strangers = [
        config(seed=place, dataset={"name": "random_linear", "n": 30, "p": 2}) for place in range(5)
    ]
    assert all_bits([*strangers, *shared])[5:] == all_bits(shared)


def test_two_threads_give_bits_that_do_not_depend_on_the_stack_either() -> None:
    dataset = linear(50_000, 2, 1)
    configs = [config(row, threads=2, steps=3, dataset=dataset) for row in OPTIMIZERS[:5]]
    assert all_bits(configs) == [all_bits([one])[0] for one in configs]


def test_optima_are_the_same_alone_and_among_others() -> None:
    for n, p, q in SHAPES[:-1]:
        problems = [
            FitConfig.model_validate({"dataset": linear(n, p, q)}).dataset.load(seed)
            for seed in range(5)
        ]
        problems.append(
            Problem(
                np.zeros((n, p)), problems[0].y, problems[0].features, problems[0].targets, "none"
            )
        )
        for found, one in zip(solve_problems(problems, Loss.choose("mse")), problems, strict=True):
            alone = find_optimum(one, Loss.choose("mse"))
            assert (found.loss, found.rank, found.scale) == (alone.loss, alone.rank, alone.scale)
            for array in ("weights", "curvatures", "root"):
                assert getattr(found, array).tobytes() == getattr(alone, array).tobytes()


# Agreement with the single engine


@pytest.mark.matrix
@pytest.mark.parametrize(("dtype", "gradient"), BY_TURNS)
def test_one_step_from_any_state_of_the_single_engine_agrees(dtype: str, gradient: str) -> None:
    near = 1e-12 if dtype == "float64" else 1e-5
    steps = 60
    configs = [
        config(
            row,
            dtype=dtype,
            gradient=gradient,
            steps=steps,
            seed=place % 2,
            record={"every": 1},
            model=("tensor", "linear")[(place + GRADIENTS.index(gradient) // 2) % 2],
        )
        for place, row in enumerate(OPTIMIZERS)
    ]
    paths = [fit(single(one)).path for one in configs]
    visited = np.stack(
        [path.weights for path in paths if path is not None], axis=1
    )  # [steps + 1, r, p, q]
    losses = np.stack([path.losses for path in paths if path is not None], axis=1)  # [steps + 1, r]
    for model in ("tensor", "linear"):
        own = [place for place, one in enumerate(configs) if one.model.name == model]
        program = Program(prepared([configs[place] for place in own]))
        for step in range(steps):
            program.W.copy_(torch.from_numpy(visited[step, own]))
            found, slope = program.evaluate(program.W)
            program.update_weights(step + 1, slope)
            assert_near(found.numpy(), losses[step, own], near * losses[0, own])
            scale = np.abs(visited[:, own]).max(axis=(0, 2, 3))
            assert_near(program.W.numpy(), visited[step + 1, own], near * scale[:, None, None])


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("turn", "dataset", "dtype", "near"),
    [
        (0, "parabola", "float64", 1e-9),
        (1, "polynomial", "float32", 1e-4),
        (2, "random_linear", "float64", 1e-9),
    ],
)
def test_the_first_fifty_steps_agree(turn: int, dataset: str, dtype: str, near: float) -> None:
    """Every optimizer meets every way to a gradient, each on another dataset."""
    ways = ("manual", "tensor"), ("autograd", "linear"), ("func_grad", "linear")
    configs = [
        config(
            row,
            dataset=dataset,
            dtype=dtype,
            steps=50,
            gradient=ways[(place + turn) % 3][0],
            model=ways[(place + turn) % 3][1],
            loss="mse",
        )
        for place, row in enumerate(OPTIMIZERS)
    ]
    for found, expected in zip(run(configs), fit([single(one) for one in configs]), strict=True):
        assert found.status is expected.status
        assert found.steps.tolist() == expected.steps.tolist()
        assert_near(found.losses, expected.losses, near * expected.losses[0])
        assert found.path is not None and expected.path is not None
        amplified = near * AMPLIFIES[found.config.optimizer.name]
        assert_near(
            found.path.weights,
            expected.path.weights,
            amplified * np.abs(expected.path.weights).max(),
        )


def test_the_end_and_the_step_of_tolerance_agree_where_the_method_contracts() -> None:
    configs = [
        config(row, dtype="float64", steps=300, seed=seed) for row in CONTRACTING for seed in (0, 5)
    ]
    found, expected = run(configs), fit([single(one) for one in configs])
    assert any(result.steps_to_tolerance for result in found)
    for one, other in zip(found, expected, strict=True):
        assert one.status is other.status is Status.COMPLETED
        assert one.steps_to_tolerance == other.steps_to_tolerance
        assert_near(one.weights, other.weights, 1e-9 * np.abs(other.weights).max())


@pytest.mark.matrix
def test_what_is_recorded_is_what_the_single_engine_records() -> None:
    configs = [
        config(steps=steps, record={"every": every})
        for steps in (0, 1, 31, 32, 33, 100)
        for every in (None, 1, 7)
    ]
    for found, expected in zip(run(configs), fit([single(one) for one in configs]), strict=True):
        assert (
            found.steps.tolist()
            == expected.steps.tolist()
            == expected.config.record.recorded_steps(expected.config.steps)
        )
        assert found.excess_losses == pytest.approx(expected.excess_losses, rel=1e-3)
        assert found.problem is not None and expected.problem is not None
        assert found.problem.digest == expected.problem.digest


def assert_near(found: NDArray[Any], expected: NDArray[Any], distance: Any) -> None:
    assert found.dtype == expected.dtype or expected.dtype == np.float64
    assert (np.abs(found - expected) <= distance).all()


def prepared(configs: Sequence[FitConfig]) -> list[Task]:
    loader = TaskLoader()
    tasks = stacked.group_by_optimizer(
        [loader.load_task(place, one) for place, one in enumerate(configs)]
    )
    assert [task.index for task in tasks] == list(range(len(configs)))
    find_optima(tasks)
    return tasks


# Ends


@pytest.mark.parametrize("lr", [1e-2, 0.1, 1.0, 1e30])
def test_divergence_is_found_at_its_step_and_recorded_last(lr: float) -> None:
    for steps in (0, 5, 31, 32, 33, 200):
        wild = config({"name": "manual_sgd", "lr": lr}, steps=steps)
        _, found, _ = run([config(seed=1), wild, config(seed=2)])
        expected = fit(single(wild))
        assert found.status == expected.status
        assert found.diverged_at_step == expected.diverged_at_step
        assert found.steps.tolist() == expected.steps.tolist()
        assert found.losses == pytest.approx(expected.losses, rel=1e-4, nan_ok=True)
        assert found.loss == pytest.approx(expected.loss, rel=1e-4)


def test_a_slow_divergence_leaves_at_any_step_without_a_trace_in_its_neighbours() -> None:
    configs = [
        config({"name": "manual_sgd", "lr": 1e-3 * 1.15**place}, steps=300, seed=place)
        for place in range(40)
    ]
    found = run(configs)
    assert len({result.diverged_at_step for result in found}) > 10
    assert [bits(result) for result in found] == [all_bits([one])[0] for one in configs]
    for result in found:
        assert (result.diverged_at_step is not None) == (result.status is Status.DIVERGED)
        assert result.steps[-1] == (
            300 if result.diverged_at_step is None else result.diverged_at_step
        )


def test_fits_that_ended_leave_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    update = Program.update_weights

    def watched(program: Program, k: int, gradient: torch.Tensor) -> None:
        sizes.append(len(program.W))
        update(program, k, gradient)

    monkeypatch.setattr(Program, "update_weights", watched)
    run(
        [
            config(WILD[0], steps=200),
            *(config(steps=steps, seed=steps) for steps in (10, 20, 60, 120, 200)),
        ]
    )
    assert sizes[0] == 6
    assert sizes[32] == 3
    assert sizes[-1] == 2
    assert len(sizes) == 200


def test_a_fit_that_starts_at_nan_diverges_at_once() -> None:
    found = run(
        [
            config(
                {"name": "sgd", "lr": 1.0}, dataset={"name": "parabola"}, stop={"divergence": 2.0}
            ),
            config(),
        ]
    )
    assert (found[0].diverged_at_step, found[1].status) == (1, Status.COMPLETED)


def test_a_fit_whose_data_cannot_be_had_fails_and_the_others_go_on() -> None:
    missing = {"name": "csv", "path": "nowhere.csv", "features": ["x"], "target": "y"}
    found = run([config(), config(dataset=missing), config(dataset=missing), config(seed=1)])
    assert [result.status for result in found] == [
        Status.COMPLETED,
        Status.FAILED,
        Status.FAILED,
        Status.COMPLETED,
    ]
    assert (
        found[1].error is not None
        and "nowhere.csv" in found[1].error
        and "Traceback" in found[1].error
    )
    assert [bits(found[place]) for place in (0, 3)] == all_bits([config(), config(seed=1)])


def test_data_that_a_dtype_cannot_hold_fail_and_the_others_go_on() -> None:
    large = {"name": "polynomial", "degree": 1, "coefficients": [1e60, 1.0]}
    found = run(
        [config(dataset=large), config(dataset=large, dtype="float64", optimizer={"name": "adam"})]
    )
    assert found[0].error is not None and "float32 cannot hold" in found[0].error
    assert found[1].status is Status.COMPLETED


# Blocks


def test_blocks_are_as_large_as_memory_allows() -> None:
    configs = [
        config(seed=seed, engine={"name": "stacked", "memory": 2**20}) for seed in range(500)
    ]
    parts = [part for part in cut_into_blocks(configs) if isinstance(part, list)]
    assert [task.index for part in parts for task in part] == list(range(500))
    assert len(parts) > 1
    for part in parts:
        assert len(part) == 1 or sum(map(estimate_bytes, part)) <= 2**20
    assert sum(map(estimate_bytes, parts[0])) > 2**19


def test_a_fit_larger_than_memory_runs_in_a_block_of_its_own() -> None:
    large = [
        config(
            dataset=linear(20_000, 8, 1),
            steps=2,
            seed=seed,
            engine={"name": "stacked", "memory": 2**20},
        )
        for seed in range(2)
    ]
    assert [len(part) for part in cut_into_blocks(large)] == [1, 1]
    assert all(result.status is Status.COMPLETED for result in run(large))


def test_stacks_are_what_agrees_in_shapes_model_loss_gradient_dtype_and_threads() -> None:
    alike = [
        config(row, seed=seed, steps=seed, init=init)
        for seed, row in enumerate(OPTIMIZERS)
        for init in ("zeros", "normal")
    ]
    others: list[dict[str, Any]] = [
        {"dataset": {"name": "parabola", "n": 31}},
        {"dataset": "polynomial"},
        {"model": "linear"},
        {"loss": "mse"},
        {"gradient": "manual"},
        {"dtype": "float64"},
        {"threads": 2},
        {"deterministic": False},
    ]
    sizes = [
        len(part) for part in cut_into_blocks([*alike, *(config(**other) for other in others)])
    ]
    assert sizes == [len(alike), *(1 for _ in others)]


def test_a_file_is_read_once_for_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[int] = []
    load = CSV.load

    def watched(dataset: CSV, seed: int) -> Problem:
        loads.append(seed)
        return load(dataset, seed)

    monkeypatch.setattr(CSV, "load", watched)
    dataset = {
        "name": "csv",
        "path": "linfit:article.csv",
        "features": ["x_squared", "one"],
        "target": "y",
    }
    found = run(
        [
            config(dataset=dataset, seed=seed, dtype=dtype)
            for seed in range(5)
            for dtype in ("float32", "float64")
        ]
    )
    assert loads == [0, 0]
    assert len({bits(result) for result in found}) == 10


def test_results_come_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    whole = stacked.run_block

    def watched(block: Sequence[Task], report: ProgressCallback) -> StackTrace:
        begun.append(len(block))
        return whole(block, report)

    monkeypatch.setattr(stacked, "run_block", watched)
    done = fit_stacks(
        [config(seed=seed, engine={"name": "stacked", "memory": 2**20}) for seed in range(200)]
    )
    assert next(done)[0] == 0
    assert len(begun) == 1


# Which engine


def test_auto_stacks_several_and_runs_one_alone() -> None:
    one = config(engine="auto")
    assert fit(one).config.engine == SingleEngine()
    assert [result.config.engine for result in fit([one, one])] == [StackedEngine()] * 2
    assert one.resolved(several=True).engine == StackedEngine(memory=AutoEngine().memory)
    assert fit([config(engine="stacked")])[0].config.engine == StackedEngine()
    assert fit([config(engine="single")] * 2)[0].config.engine == SingleEngine()


def test_results_are_in_order_whatever_engine_each_ran_in() -> None:
    kinds = [
        ("stacked", "float32"),
        ("single", "float64"),
        ("stacked", "float64"),
        ("single", "float32"),
    ]
    configs = [
        config(seed=seed, engine=engine, dtype=dtype) for seed, (engine, dtype) in enumerate(kinds)
    ]
    assert [result.config.seed for result in fit(configs)] == [0, 1, 2, 3]
    assert sorted(place for place, _ in fit_as_completed(configs)) == [0, 1, 2, 3]


def test_memory_is_not_in_the_fingerprint_and_the_engine_is() -> None:
    wide, narrow = (
        config(engine={"name": "stacked", "memory": memory}).fingerprint()
        for memory in (2**29, 2**20)
    )
    assert wide == narrow != config(engine="single").fingerprint()


def test_the_callers_threads_stay_as_they_are() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in fit_stacks([config(), config(dtype="float64")]):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    for group in GROUPS.values():
        monkeypatch.setattr(group, "choices", dict(group.choices))


@pytest.mark.usefixtures("scratch")
def test_a_plug_in_without_a_rule_of_its_own_runs_single_and_the_config_says_so() -> None:
    class Halved(SGD):
        name: Literal["halved"] = "halved"  # type: ignore[assignment]

        def build(self, parameter: torch.Tensor, n: float) -> Stepper:
            return super().build(parameter, 2 * n)

    class Other(LinearModel):
        name: Literal["other"] = "other"  # type: ignore[assignment]

    configs = [config({"name": "halved"}), config(model="other"), config()]
    assert [one.unstackable() for one in configs] == [["optimizer"], ["model"], []]
    assert [result.config.engine.name for result in fit(configs)] == ["single", "single", "stacked"]
    assert bits(fit(configs[0])) == bits(fit(single(config({"name": "sgd"})))), (
        "the same updates, by torch"
    )


@pytest.mark.usefixtures("scratch")
def test_a_plug_in_with_a_rule_of_its_own_is_stacked_beside_the_others() -> None:
    class SignDescent(Optimizer):
        name: Literal["sign_descent"] = "sign_descent"
        lr: float = 1e-3

        def build(self, parameter: torch.Tensor, n: float) -> Stepper:
            raise AssertionError("not in a stack")

        def stacked(
            self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
        ) -> Update:
            lr = hyperparameters.tensor("lr")

            def update(k: int, W: torch.Tensor, g: torch.Tensor) -> None:
                W.sub_(lr * g.sign())

            return update

    found = run(
        [config({"name": "sign_descent", "lr": lr}, steps=1) for lr in (0.1, 0.2)] + [config()]
    )
    start, end = (found[1].path.weights[place] for place in (0, -1)) if found[1].path else ((), ())
    assert np.abs(np.subtract(end, start)) == pytest.approx(0.2)


@pytest.mark.usefixtures("scratch")
def test_a_plug_in_that_raises_fails_its_block_alone() -> None:
    class Exits(Optimizer):
        name: Literal["exits"] = "exits"

        def build(self, parameter: torch.Tensor, n: float) -> Stepper:
            raise AssertionError("not in a stack")

        def stacked(
            self, hyperparameters: HyperparameterColumns, memory: OptimizerState, n: float
        ) -> Update:
            raise SystemExit(3)

    class Wide(Init):
        name: Literal["wide"] = "wide"

        def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.zeros(p + 1, q, dtype=dtype)

    found = run(
        [config({"name": "exits"}), config(dtype="float64"), config(dtype="float64", init="wide")]
    )
    assert [result.status for result in found] == [Status.FAILED, Status.COMPLETED, Status.FAILED]
    assert found[0].error is not None and "SystemExit: 3" in found[0].error
    assert (
        found[2].error is not None
        and "init wide drew torch.float64 [3, 1], asked for torch.float64 [2, 1]" in found[2].error
    )


@pytest.mark.usefixtures("scratch")
def test_a_dataset_of_ones_own_may_draw_from_the_seed() -> None:
    class Shifted(CSV):
        name: Literal["shifted"] = "shifted"  # type: ignore[assignment]

        def load(self, seed: int) -> Problem:
            return Parabola().load(seed)

    configs = [
        config(
            dataset={"name": "shifted", "path": "x", "features": ["x", "1"], "target": "y"},
            seed=seed,
        )
        for seed in (0, 1)
    ]
    assert len({result.problem.digest for result in run(configs) if result.problem}) == 2


# The parts of a rule


def test_columns_are_exact_and_memory_starts_at_zero() -> None:
    like = torch.zeros(3, 2, 1)
    optimizers: list[Component] = [
        Optimizer.choose({"name": "adam", "lr": lr, "betas": [lr, 0.5]}) for lr in (0.1, 0.2, 0.3)
    ]
    h = HyperparameterColumns(optimizers, like)
    assert h["lr"].tolist() == [[[0.1]], [[0.2]], [[0.3]]]
    assert [beta.ravel().tolist() for beta in h["betas"]] == [[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]]
    assert (
        h.expand_values(h["lr"])[:, 1, 0].tolist()
        == np.array([0.1, 0.2, 0.3], dtype=np.float32).tolist()
    )
    assert h.select([2, 0], like[:2])["lr"].ravel().tolist() == [0.3, 0.1]
    memory = OptimizerState(like)
    memory["mean"][1] = 5
    assert memory.select(torch.tensor([1, 1]), like[:2])["mean"].tolist() == [[[5], [5]]] * 2
    assert not memory["other"].any()


def test_powers_are_pythons_own() -> None:
    bases = np.array([0.9, 0.0, 0.999, 0.9]).reshape(-1, 1, 1)
    table = raise_to_steps(bases, range(1, 40))
    assert table.shape == (39, 4, 1, 1)
    assert [row.ravel().tolist() for row in table] == [
        [0.9**k, 0.0**k, 0.999**k, 0.9**k] for k in range(1, 40)
    ]
