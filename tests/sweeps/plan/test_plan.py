"""`linfit plan`: what it announces is what a run does, and it leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import linfit as package
from linfit.config import FitConfig
from linfit.engine import timing
from linfit.engine.dispatch import fit
from linfit.engine.fit import Status
from linfit.engine.prediction.predict import predict_from_fit
from linfit.engine.stacked.blocks import cut_into_blocks
from linfit.errors import ConfigError
from linfit.method.optimizers import SGD, Adam, ManualSGD
from linfit.problem.losses import MSE, SSE
from linfit.problem.theory.optimum import compute_largest_curvatures, find_optimum
from linfit.settings import StackedEngine
from linfit.sweeps.plan.plan import plan_run
from linfit.sweeps.plan.predictions import RANGED_FIELDS
from linfit.sweeps.preflight.stability import StabilityLimits
from linfit.views.terminal.plan import format_bytes, shorten_values
from tests.helpers import conditioned, config, problem, scratch_registry

Linfit = Callable[..., Any]

#: Gradient descent whose largest stable learning rate is known.
BOUNDED: tuple[Mapping[str, Any], ...] = (
    {"name": "manual_sgd"},
    {"name": "manual_sgd", "average": True},
    {"name": "sgd"},
    {"name": "sgd", "weight_decay": 2.0},
    {"name": "sgd", "momentum": 0.5},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    {"name": "sgd", "dampening": 0.5},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "heavy_ball", "momentum": 0.7},
    {"name": "nesterov", "momentum": 0.7},
)
UNBOUNDED: tuple[Mapping[str, Any], ...] = (
    {"name": "sgd", "momentum": 0.9, "dampening": 0.5},
    {"name": "sgd", "momentum": 1.5},
    {"name": "sgd", "maximize": True, "weight_decay": 1.0},
    *({"name": name} for name in ("adam", "adamw", "rmsprop", "adagrad")),
)
DATASETS: tuple[Mapping[str, Any], ...] = (
    {"name": "parabola"},
    {"name": "polynomial", "degree": 3},
    {"name": "random_linear", "n": 40, "p": 4, "q": 2},
    {"name": "random_linear", "n": 3, "p": 5},
)


@pytest.fixture(autouse=True)
def _elsewhere(bare: Path) -> Iterator[None]:
    yield
    assert not (bare / "outputs").exists()  # whatever is planned, nothing is written


# ---- the bound is where fits begin to diverge ----


@pytest.mark.parametrize("loss", ["sse", "mse"])
@pytest.mark.parametrize(
    "dataset", DATASETS, ids=lambda dataset: "-".join(map(str, dataset.values()))
)
def test_above_the_bound_a_fit_diverges_and_below_it_does_not(
    dataset: Mapping[str, Any], loss: str
) -> None:
    shares = (0.95, 1.05)
    configs = []
    for optimizer in BOUNDED:
        like = config(dataset=dataset, loss=loss, optimizer=optimizer, dtype="float64", steps=1000)
        seen = like.dataset.load(like.seed)
        bound = like.optimizer.largest_stable_lr(
            float(find_optimum(seen, like.loss).curvatures[0]), seen.shape[0]
        )
        assert bound is not None
        configs += [
            config(**{**like.as_dict(), "optimizer": {**optimizer, "lr": share * bound}})
            for share in shares
        ]
    announced = StabilityLimits().find_above(
        next(
            block
            for block in cut_into_blocks([_stacked(each) for each in configs])
            if isinstance(block, list)
        )
    )
    assert sorted(announced) == [place for place in range(len(configs)) if place % 2 == 1]
    assert [result.status for result in fit(configs)] == [Status.COMPLETED, Status.DIVERGED] * len(
        BOUNDED
    )


def _stacked(each: FitConfig) -> FitConfig:
    return each.model_copy(update={"engine": StackedEngine()})


@pytest.mark.parametrize(
    "optimizer", UNBOUNDED, ids=lambda optimizer: "-".join(map(str, optimizer.values()))
)
def test_where_no_bound_is_known_none_is_stated(optimizer: Mapping[str, Any]) -> None:
    assert config(optimizer=optimizer).optimizer.largest_stable_lr(1.0, 10) is None


def test_bounds_are_the_formulas() -> None:
    assert ManualSGD().largest_stable_lr(4.0, 10) == 0.5
    assert ManualSGD(average=True).largest_stable_lr(4.0, 10) == 5.0
    assert SGD(weight_decay=1.0).largest_stable_lr(4.0, 10) == 0.4
    assert SGD(momentum=0.5).largest_stable_lr(4.0, 10) == 0.75
    assert SGD(maximize=True).largest_stable_lr(4.0, 10) == 0.0
    assert (
        SGD().largest_stable_lr(0.0, 10) == ManualSGD().largest_stable_lr(0.0, 10) == float("inf")
    )


def test_a_bound_is_not_inherited() -> None:
    with scratch_registry():

        class Halved(ManualSGD):
            name: Literal["halved"] = "halved"  # type: ignore[assignment]

        class Stated(ManualSGD):
            name: Literal["stated"] = "stated"  # type: ignore[assignment]

            def largest_stable_lr(self, curvature: float, n: float) -> float | None:
                return 1.0

        assert (
            ManualSGD().has_stable_lr(),
            Halved().has_stable_lr(),
            Stated().has_stable_lr(),
        ) == (True, False, True)
    assert not Adam().has_stable_lr()


@pytest.mark.parametrize("loss", [SSE(), MSE()])
@pytest.mark.parametrize(("n", "p"), [(1, 1), (3, 5), (40, 4)])
def test_largest_curvatures_are_the_optimums(loss: Any, n: int, p: int) -> None:
    features = [conditioned(10.0, max(n, p), min(n, p), seed)[:n] for seed in range(3)]
    found = compute_largest_curvatures(features, loss.scale(n, 1))
    expected = [find_optimum(problem(X, np.ones((n, 1))), loss).curvatures[0] for X in features]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- stacks ----


def test_a_plan_counts_its_fits_values_and_stacks() -> None:
    planned = plan_run(
        [
            "-m",
            "tracking=none",
            "optimizer=sgd,adam",
            "optimizer.lr=0.001,1.0",
            "seed=0,1",
            "dtype=float32,float64",
        ]
    )
    assert (planned.sweep, planned.num_fits) == (True, 16)
    assert planned.varying == {
        "optimizer": ["sgd", "adam"],
        "optimizer.lr": [0.001, 1.0],
        "seed": [0, 1],
        "dtype": ["float32", "float64"],
    }
    assert [
        (stack.engine, stack.shape, stack.dtype, stack.num_fits, stack.optimizers, stack.blocks)
        for stack in planned.stacks
    ] == [
        ("stacked", (30, 2, 1), dtype, 8, {"sgd": 4, "adam": 4}, 1)
        for dtype in ("float32", "float64")
    ]
    assert [fit.name for fit in planned.unstable] == [
        f"sgd lr=1.0 seed={seed} float{bits}" for seed in (0, 1) for bits in (32, 64)
    ]
    assert planned.no_bound_known == {"adam": 8}
    assert planned.seconds is not None and planned.seconds > 0
    assert 0 < planned.memory < 2**20


def test_blocks_are_those_that_a_run_cuts() -> None:
    cut = ["engine=stacked", "engine.memory=1048576", "steps=200", "record.every=1"]
    planned = plan_run(["-m", "tracking=none", *cut, "seed=range(0,200)"])
    configs = [
        config(
            seed=seed, engine={"name": "stacked", "memory": 2**20}, steps=200, record={"every": 1}
        )
        for seed in range(200)
    ]
    assert planned.stacks[0].blocks == len(list(cut_into_blocks(configs))) > 1
    assert planned.memory <= 2**20


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["seed=1"], "a fit alone"),
        (["-m", "engine=single", "seed=0,1"], "engine=single"),
    ],
)
def test_what_runs_single_says_why(arguments: list[str], why: str) -> None:
    (stack,) = plan_run(["tracking=none", *arguments]).stacks
    assert (stack.engine, stack.why) == ("single", why)


def test_what_has_no_stacked_rule_is_named_and_the_rest_is_stacked(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bare / "own_descent.py").write_text(
        "from typing import Literal\nfrom linfit.method.optimizers import ManualSGD\n"
        "class Own(ManualSGD):\n    name: Literal['own_descent'] = 'own_descent'\n"
    )
    (bare / "conf" / "optimizer").mkdir(parents=True)
    (bare / "conf" / "optimizer" / "own_descent.yaml").write_text(
        "name: own_descent\nlr: 0.001\naverage: false\n"
    )
    monkeypatch.syspath_prepend(bare)
    with scratch_registry():
        planned = plan_run(
            ["-m", "tracking=none", "plugins=[own_descent]", "optimizer=sgd,own_descent"]
        )
    sys.modules.pop("own_descent")
    assert {(stack.engine, stack.why) for stack in planned.stacks} == {
        ("stacked", None),
        ("single", "no stacked rule for optimizer own_descent"),
    }
    assert planned.no_bound_known == {"own_descent": 1}


def test_a_fit_that_cannot_begin_is_announced(linfit: Linfit) -> None:
    too_wide = (
        "plan",
        "-m",
        "tracking=none",
        "dtype=float32",
        "dataset=polynomial",
        "dataset.range=[0,1e39],[0,1]",
    )
    said = linfit(*too_wide)
    assert said.code == 1
    assert "fails     " in said.out and "float32 cannot hold" in said.out


def test_a_time_that_cannot_be_tried_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(tasks: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(timing, "_measure_stacked", broken)
    planned = plan_run(["-m", "tracking=none", "seed=0,1"])
    assert planned.seconds is planned.stacks[0].seconds is None


def test_a_sample_is_small_and_evenly_taken() -> None:
    [block] = cut_into_blocks([config(engine="stacked", seed=seed) for seed in range(10)])
    assert isinstance(block, list)
    assert [task.index for task in timing.sample_evenly(block, 4)] == [0, 3, 6, 9]
    assert timing.sample_evenly(block, 10) == timing.sample_evenly(block, 99) == block


def test_timing_a_block_leaves_its_tasks_as_they_were() -> None:
    [block] = cut_into_blocks([config(engine="stacked", seed=seed) for seed in range(3)])
    assert isinstance(block, list)
    before = [
        (task.config, task.initial_weights.tolist(), task.schedule.tolist()) for task in block
    ]
    measured = (
        timing.measure_cost(block, single=False),
        timing.measure_cost(block, single=True),
        timing.measure_cost(block[:1], single=False),
    )
    assert all(each is not None and each.estimate_seconds(10, 1000) > 0 for each in measured)
    assert [
        (task.config, task.initial_weights.tolist(), task.schedule.tolist()) for task in block
    ] == before


# ---- the command ----


@pytest.mark.matrix
def test_plan_prints_what_would_run(linfit: Linfit) -> None:
    said = linfit("plan", "optimizers")
    assert said.code == 0
    assert said.out.startswith("optimizers: a sweep of 300 fits\n")
    assert "varies    optimizer.lr: 0.0001, 0.001, 0.01, 0.1, 1.0\n" in said.out
    assert "unstable  60 of 100 fits whose largest stable learning rate is known\n" in said.out
    assert "manual_sgd lr 0.01 above 0.007803: 10 fits, manual_sgd lr=0.01 seed=0 …\n" in said.out
    assert "no bound known for 200 fits: adam, adamw, rmsprop, adagrad\n" in said.out


@pytest.mark.matrix
def test_plan_as_json(linfit: Linfit) -> None:
    planned = json.loads(
        linfit("plan", "article/linear_adam", "optimizer=sgd", "optimizer.lr=1.0", "--json").out
    )
    assert (planned["num_fits"], planned["sweep"], planned["stacks"][0]["why"]) == (
        1,
        False,
        "a fit alone",
    )
    [unstable] = planned["unstable"]
    assert unstable["lr"] == 1.0 and unstable["largest_stable_lr"] == pytest.approx(
        0.0078, rel=0.01
    )


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lrr=1"], "did you mean 'lr'?"),
        (["--cfg", "job"], "--cfg goes with `linfit run`"),
        (["-m", "optimizer.lr=-1,1"], "optimizer.lr=-1"),
        (
            ["dataset=csv", "dataset.path=absent.csv", "dataset.features=[a]", "dataset.target=b"],
            "absent.csv",
        ),
    ],
)
def test_bad_input_is_one_line(linfit: Linfit, arguments: list[str], message: str) -> None:
    said = linfit("plan", *arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert message in said.err


def test_plan_imports_no_mlflow(bare: Path) -> None:
    code = (
        "import sys\nfrom linfit.sweeps.plan.plan import plan_run\n"
        "plan_run(['-m', 'seed=0,1'])\nassert 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=bare, check=True)


def test_one_experiment_is_planned_at_a_time() -> None:
    with pytest.raises(ConfigError, match="one experiment at a time"):
        plan_run(["optimizers", "article/levels"])


def test_values_and_sizes_are_short() -> None:
    assert shorten_values([0.1, "adam"]) == "0.1, adam"
    assert shorten_values(range(500)) == "0, 1, 2, 3, 4, 5, …, 499 (500 values)"
    assert [format_bytes(number) for number in (0, 1023, 2**20, 3 * 2**40)] == [
        "0 B",
        "1.02e+03 B",
        "1 MiB",
        "3.07e+03 GiB",
    ]


# ---- theory ----


def test_theory_of_a_fit_stands_in_its_plan_as_in_its_run(linfit: Linfit) -> None:
    arguments = [
        "optimizer=sgd",
        "optimizer.lr=0.0001",
        "dtype=float64",
        "features=polynomial",
        "features.degree=2",
        "penalty=ridge",
    ]
    [forecast] = plan_run(arguments).theory
    theory = predict_from_fit(fit(package.compose([*arguments, "steps=1"])))
    assert theory is not None
    for name in RANGED_FIELDS:
        value = getattr(theory, name)
        assert getattr(forecast, name) == (None if value is None else (value, value))
    assert forecast.optimum == theory.optimum != ()
    assert (forecast.problem, forecast.optimizer, forecast.num_fits, forecast.never) == (
        "parabola polynomial sse ridge",
        "sgd",
        1,
        0,
    )
    out = linfit("plan", *arguments).out
    assert f"{forecast.condition[0]:.4g}" in out  # type: ignore[index]
    assert f"{theory.steps_to_tolerance:.6g}" in out
    assert (
        json.loads(linfit("plan", *arguments, "--json").out)["theory"][0]["optimal_lr"]
        == [theory.optimal_lr] * 2
    )


@pytest.mark.matrix
def test_theory_of_a_sweep_has_a_row_for_each_problem_and_optimizer() -> None:
    data = [
        "dataset=random_linear",
        "dataset.condition=2,4",
        "dataset.q=2",
        "loss=mse",
        "optimizer=sgd,adam",
        "optimizer.lr=0.5,5",
    ]
    found = {
        forecast.optimizer: forecast
        for forecast in plan_run(["-m", *data, "seed=0,1", "dtype=float64"]).theory
    }
    assert list(found) == ["sgd", "adam"]
    assert found["sgd"].condition == pytest.approx((4, 16))
    assert (found["sgd"].num_fits, found["sgd"].never) == (8, 4)
    assert found["sgd"].rate == pytest.approx((1 - 0.5 / 4, 4.0))
    assert found["sgd"].largest_stable_lr == pytest.approx((2, 2))
    assert (
        found["adam"].rate
        is found["adam"].steps_to_tolerance
        is found["adam"].largest_stable_lr
        is None
    )


def test_the_plan_tells_what_a_run_would_tell(linfit: Linfit) -> None:
    ran = linfit(
        "plan",
        "dataset=random_linear",
        "dataset.n=3",
        "optimizer=sgd",
        "batch=minibatch",
        "batch.replacement=true",
        "batch.size=2",
    )
    assert (
        "note      linfit:random_linear: 3 samples for 5 features (rank 3): "
        "many weights are equally good" in " ".join(ran.out.split("\n"))
    )
    assert "noise floor" in ran.out


def test_what_skip_unstable_leaves_out_is_shown(linfit: Linfit) -> None:
    swept = ["-m", "optimizer=sgd", "optimizer.lr=0.001,0.1", "seed=0,1"]
    planned = plan_run(swept, skip_unstable=True)
    assert (planned.num_fits, planned.unstable, [fit.name for fit in planned.left_out]) == (
        2,
        [],
        ["lr=0.1 seed=0", "lr=0.1 seed=1"],
    )
    assert planned.stacks[0].num_fits == 2
    ran = linfit("plan", *swept, "--skip-unstable")
    assert (ran.code, "left out  sgd lr 0.1 above" in ran.out) == (0, True)
    for command in ("plan", "run"):
        none = linfit(command, "-m", "optimizer=sgd", "optimizer.lr=0.1,0.2", "--skip-unstable")
        assert (none.code, none.err) == (
            2,
            "linfit: all 2 fits are unstable and --skip-unstable leaves none: "
            "choose smaller learning rates\n",
        )


def test_a_plan_counts_exact_optima_and_their_memory() -> None:
    swept = ["-m", "loss=huber", "penalty=ridge", "penalty.strength=0.1,1.0", "seed=0,1", "steps=9"]
    plan = plan_run([*swept, "optimizer.lr=0.1,0.2"])
    assert plan.num_fits == 8
    assert plan.optima.number == 4
    assert plan.optima.seconds > 0
    assert plan.optima.memory > 8 * 30 * 2
    assert plan_run([*swept, "theory=none"]).optima.number == 0


def test_memory_counts_the_hessian_of_newton() -> None:
    wide = ["dataset=classes", "dataset.p=200", "loss=logistic", "penalty=ridge", "steps=1"]
    sgd = plan_run([*wide, "theory=none", "optimizer=sgd"]).memory
    newton = plan_run([*wide, "optimizer=newton"]).memory
    assert newton > sgd + 8 * 200**2
