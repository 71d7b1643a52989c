"""The grouping of fits into settings, methods and problems, their labels, and the compared loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pyarrow import parquet

import linfit
from linfit.component import Seed
from linfit.config import FitConfig, is_seed_key
from linfit.errors import ConfigError, LinfitError
from linfit.method.optimizers import Adam, Optimizer
from linfit.sweeps.run.hydra_task import HydraTask
from linfit.sweeps.run.options import RunOptions
from linfit.sweeps.run.result import RunResult
from linfit.sweeps.run.sweep_batches import SweepBatches
from linfit.sweeps.search_space.run_names import (
    create_section_reader,
    expand_varying_sections,
    find_varying_keys,
)
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import OBJECTIVE_COLUMN
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.results import Results

Sweep = Callable[..., tuple[Results, Path, RunResult]]

#: What a sweep varies, and its settings with the number of their repetitions.
TOLD_APART: dict[str, dict[str, int]] = {
    "optimizer={lr:0.01},{lr:1.0} seed=0,1": {"lr=0.01": 2, "lr=1": 2},
    "optimizer=fast,slow seed=0,1": {"fast": 2, "slow": 2},
    "optimizer=fast,slow,adam": {"fast": 1, "slow": 1, "adam": 1},
    "optimizer=fast,slow optimizer.lr=0.1": {"fast": 1},
    "optimizer='fast','slow' +optimizer.eps=1e-8,1e-7": {
        "fast eps=1e-08": 1,
        "fast eps=1e-07": 1,
        "slow eps=1e-08": 1,
        "slow eps=1e-07": 1,
    },
    "optimizer.lr=0.001,0.0010000001": {"lr=0.001": 1, "lr=0.0010000001": 1},
    "optimizer.lr=1,1.0": {"adam": 1},
    "optimizer.lr=0.1,0.10": {"adam": 1},
    "stop={divergence:100},{divergence:1000}": {"divergence=100": 1, "divergence=1000": 1},
    "optimizer={lr:0.1,eps:1e-8},{lr:0.1,eps:1e-7},{lr:0.2}": {
        "eps=1e-08 lr=0.1": 1,
        "eps=1e-07 lr=0.1": 1,
        "eps=1e-08 lr=0.2": 1,
    },
    "dataset.n=20,30 'init.std=${dataset.n}'": {"adam std=20": 1, "adam std=30": 1},
    "record.every=1,2 pictures=false": {"adam": 1},
    "engine.memory=1048576,2097152": {"adam": 1},
    "optimizer=sgd,adam init=zeros,normal seed=0,1": {
        "sgd zeros": 2,
        "sgd normal": 2,
        "adam zeros": 2,
        "adam normal": 2,
    },
    "init.std=1.0,2.0 'optimizer.weight_decay=${init.std}'": {"std=1": 1, "std=2": 1},
    "seed=0,1 'steps=${seed}'": {"adam steps=0": 1, "adam steps=1": 1},
}


@pytest.mark.parametrize("arguments", TOLD_APART)
def test_settings_are_told_apart_by_their_values(sweep: Sweep, arguments: str) -> None:
    results, _, _ = sweep(
        "tracking=none",
        "steps=3",
        *(word.strip("'") if "$" in word else word for word in arguments.split()),
    )
    runs = results.comparison.fits
    names = (runs["method"] + " " + runs["setting"]).str.strip()
    counts = runs["seed"].groupby(names).nunique().to_dict()
    assert counts == TOLD_APART[arguments]


@pytest.mark.parametrize(
    ("repeated", "once"),
    [
        ("seed=0,1,0,1,0,1", "seed=0,1"),
        ("seed=0,1 dataset.seed=null,0,1", "seed=0,1 dataset.seed=0,1"),
        ("seed=0,1 record.every=1,5", "seed=0,1"),
        ("split.validation=0.2 split.seed=0,0,1", "split.validation=0.2 split.seed=0,1"),
        (
            "init.seed=1,1 batch=minibatch batch.size=7 batch.seed=3,4",
            "init.seed=1 batch=minibatch batch.size=7 batch.seed=3,4",
        ),
    ],
)
def test_equal_fits_count_once(sweep: Sweep, repeated: str, once: str) -> None:
    boards = [
        sweep("tracking=none", *words.split(), "optimizer.lr=0.1,0.01")[0].leaderboard
        for words in (repeated, once)
    ]
    for key in (
        "problem",
        "method",
        "setting",
        "fits",
        "finished",
        "steps",
        "low",
        "high",
        "factor",
        "factor_low",
        "factor_high",
    ):
        assert boards[0][key].tolist() == pytest.approx(boards[1][key].tolist(), nan_ok=True)


def test_of_equal_fits_one_that_failed_does_not_count(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, folder, _ = sweep("tracking=none", "seed=0,1,0", "steps=3")
    table = parquet.read_table(folder / mlflow_names.RESULTS).to_pylist()
    table[0] = {**table[0], "status": "failed"}
    results.swept.__dict__["results"] = results.swept.results.assign(
        status=[row["status"] for row in table]
    )
    assert results.swept.distinct.results["row"].tolist() == [1, 2]


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> type[Adam]:
    """Adam whose field of type `Seed` is called otherwise."""
    monkeypatch.setattr(Optimizer, "choices", dict(Optimizer.choices))

    class Drawing(Adam):
        name: Literal["drawing"] = "drawing"  # type: ignore[assignment]
        stream: Seed | None = None
        rate_seed: int = 0

    return Drawing


REPETITIONS = {
    "seed": True,
    "dataset.seed": True,
    "init.seed": True,
    "batch.seed": True,
    "split.seed": True,
    "optimizer.stream": True,
    "optimizer.rate_seed": False,
    "optimizer.lr": False,
    "dataset.n": False,
    "steps": False,
    "record.seed_of_mine": False,
    "nothing.seed": False,
}


@pytest.mark.parametrize(("key", "repeats"), REPETITIONS.items())
def test_what_repeats_a_fit_is_declared_by_its_type(
    key: str, repeats: bool, drawing: type[Adam]
) -> None:
    assert is_seed_key(key) == repeats


def test_seeds_that_are_not_given_follow_the_fits(drawing: type[Adam]) -> None:
    config = FitConfig(seed=7, optimizer=drawing())
    assert config.numbers()["optimizer"]["stream"] == 7
    assert config.fingerprint() == FitConfig(seed=7, optimizer=drawing(stream=7)).fingerprint()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (("seed=0,1",), ("seed",)),
        (("optimizer={lr:0.1},{lr:0.2}", "seed=0,1"), ("optimizer.lr", "seed")),
        (("stop={excess_loss:0.1},{excess_loss:0.2}",), ("stop.excess_loss",)),
        (("+optimizer={lr:0.1},{lr:0.1}",), ()),
    ],
)
def test_a_section_that_is_replaced_varies_the_keys_below_it(
    arguments: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    from linfit.sweeps.plan.enumerate import enumerate_jobs

    found = enumerate_jobs(["-m", *arguments])
    overrides = [job.overrides for job in found.jobs]
    assert (
        found.varying
        == keys
        == expand_varying_sections(
            find_varying_keys(overrides),
            overrides,
            create_section_reader([job.config for job in found.jobs]),
        )
    )


#: A sweep's overrides, the loss that compares it, the best fit's values or None, its answer.
COMPARED: list[tuple[str, str | None, tuple[str, Any] | None, str]] = [
    (
        "dataset=polynomial features=polynomial features.degree=1,2 "
        "optimizer=closed_form dtype=float64",
        "loss",
        ("features.degree", 2),
        "degree=2 has the lowest loss: ",
    ),
    (
        "features=polynomial features.degree=1,2 split.validation=0.3 steps=9",
        "validation_loss",
        None,
        "",
    ),
    (
        "split.seed=0,1 split.validation=0.2 optimizer=sgd,adam",
        "validation_loss",
        ("optimizer", "sgd"),
        "sgd has the lowest validation loss: ",
    ),
    (
        "split.seed=0,1 optimizer=sgd,adam",
        "excess_loss",
        ("optimizer", "sgd"),
        "sgd came nearest to the optimum: ",
    ),
    ("dataset.noise=0.1,1.0", None, None, "The problems cannot be compared"),
    ("dataset=parabola,random_linear", None, None, "The problems cannot be compared"),
    ("loss=sse,mse", None, None, "The problems cannot be compared"),
    ("loss=sse,mse split.validation=0.2", None, None, "The problems cannot be compared"),
    ("penalty=ridge penalty.strength=0.1,1.0", None, None, "The problems cannot be compared"),
    ("penalty=ridge penalty.strength=0.1,1.0 split.validation=0.2", "validation_loss", None, ""),
    ("split.validation=0.0,0.2", None, None, "The problems cannot be compared"),
    ("dataset.noise=0.1,1.0 objective=loss", "loss", None, "noise="),
    ("dataset.noise=0.1,1.0 objective=excess_loss", "excess_loss", None, "noise="),
    ("dataset.noise=0.1,1.0 objective=r2", "r2", None, "noise=1 has the lowest 1 − r2: "),
    (
        "loss=sse,mse split.validation=0.2 objective=validation_mae",
        "validation_mae",
        None,
        "sse has the lowest validation mae: ",
    ),
    ("dataset.seed=0,1 init.seed=2,3", "excess_loss", None, "adam came nearest to the optimum: "),
    (
        "split.validation=0.2 objective=excess_loss",
        "excess_loss",
        None,
        "adam came nearest to the optimum: ",
    ),
    ("optimizer=sgd optimizer.lr=1e3,1e4 dataset.noise=0.1,1.0", None, None, "No fit finished"),
]


@pytest.mark.parametrize(("arguments", "by", "best", "answer"), COMPARED)
def test_fits_are_compared_by_what_they_have_in_common(
    sweep: Sweep, arguments: str, by: str | None, best: tuple[str, Any] | None, answer: str
) -> None:
    results, _, _ = sweep("tracking=none", *arguments.split())
    assert results.swept.compared_by == by
    assert results.comparison.summarize().startswith(answer)
    if by is None:
        with pytest.raises(
            LinfitError,
            match="no fit .* finished" if answer.startswith("No fit") else "objective=loss",
        ):
            _ = results.best
        return
    column = "excess_loss" if by == "excess_loss" else OBJECTIVE_COLUMN
    assert results.best[column] == results.table[column].min()
    if best is not None:
        assert results.best[best[0]] == best[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["objective=los"],
            "objective: got 'los', did you mean 'loss'? choose one of auto, loss, excess_loss, ",
        ),
        (
            ["objective=validation_loss"],
            "needs samples that are held out: add split.validation=0.2, or choose objective=loss",
        ),
    ],
)
def test_an_objective_that_cannot_be_is_refused(arguments: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        linfit.compose(arguments)
    assert words in str(raised.value)


def test_an_objective_cannot_be_swept(bare: Path) -> None:
    with pytest.raises(ConfigError, match="objective cannot be swept"):
        linfit.sweep(["objective=loss,excess_loss", "tracking=none"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], lambda fit: fit.optimum.loss + fit.excess_losses[-1]),
        (["penalty=ridge", "loss=huber"], lambda fit: fit.optimum.loss + fit.excess_losses[-1]),
        (["gradient=gram"], lambda fit: fit.optimum.loss + fit.excess_losses[-1]),
        (["split.validation=0.2"], lambda fit: fit.validation_losses[-1]),
        (["split.validation=0.2", "objective=loss"], lambda fit: fit.losses[-1]),
        (["objective=excess_loss"], lambda fit: fit.excess_losses[-1]),
        (["optimizer=sgd", "optimizer.lr=1e9"], lambda fit: float("inf")),
        (["optimizer=sgd", "optimizer.lr=1e9", "split.validation=0.2"], lambda fit: float("inf")),
    ],
)
def test_the_objective_of_a_job(
    arguments: list[str], expected: Callable[[Any], float], dtype: str
) -> None:
    fit = linfit.fit(linfit.compose([*arguments, "steps=30", f"dtype={dtype}"]))
    assert fit.objective == expected(fit)
    if np.isfinite(fit.objective) and not arguments:
        assert fit.problem is not None
        weights, problem = fit.weights.astype(float), fit.problem.cast(dtype)
        assert fit.objective == pytest.approx(
            float(np.square(problem.X @ weights - problem.y).sum()), rel=1e-12
        )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("split.validation=0.2",),
        ("objective=loss",),
        ("objective=excess_loss",),
        ("objective=r2",),
    ],
)
@pytest.mark.parametrize("launcher", ["linfit", "basic"])
@pytest.mark.slow
def test_sweepers_get_the_objectives_also_of_fits_that_are_left_out(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, launcher: str, arguments: tuple[str, ...]
) -> None:
    from linfit.sweeps.run.hydra_app import execute

    given: list[list[float]] = []
    for skip_done in (False, True):
        values: list[float] = []
        batch = SweepBatches.run
        call = HydraTask.__call__

        def batch_kept(
            self: SweepBatches,
            *rest: Any,
            own: Any = batch,
            kept: list[float] = values,
            **more: Any,
        ) -> list[float]:
            found: list[float] = own(self, *rest, **more)
            kept += found
            return found

        def call_kept(
            self: HydraTask, composed: Any, own: Any = call, kept: list[float] = values
        ) -> float:
            kept.append(own(self, composed))
            return kept[-1]

        with monkeypatch.context() as patch:
            patch.setattr(SweepBatches, "run", batch_kept)
            patch.setattr(HydraTask, "__call__", call_kept)
            lrs = [
                "optimizer=sgd",
                "optimizer.lr=0.001,0.002,1e9",
                "steps=20",
                f"hydra/launcher={launcher}",
            ]
            result = execute(["--multirun", *lrs, *arguments], RunOptions(skip_done))
        if not skip_done:
            assert values == [done.result["objective"] for done in result.completed]
        given.append(values)
    assert np.isinf(given[0]).tolist() == [False, False, True]
    assert given[1] == pytest.approx(given[0], rel=1e-13)


def test_tables_of_before_have_no_objective(sweep: Sweep) -> None:
    for arguments, column in (
        (("split.validation=0.2",), "validation_loss"),
        (("features.intercept=true,false",), "loss"),
    ):
        results, folder, _ = sweep("tracking=none", "seed=0,1", *arguments)
        old = parquet.read_table(folder / mlflow_names.RESULTS).drop_columns(["objective"])
        parquet.write_table(old, folder / mlflow_names.RESULTS)
        before = Results(SweepData("", "", "", results.swept.files))
        assert before.best["row"] == results.best["row"] == results.table[column].argmin()
