"""`theory=none`: the same bits, and nothing that follows from the optimum."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from pydantic import ValidationError

import linfit as package
from linfit.config import FitConfig
from linfit.problem.theory import optimum
from tests.helpers import config

Linfit = Callable[..., Any]

PROBLEMS = (
    {"optimizer": {"name": "sgd", "lr": 1e-3}},
    {"loss": "huber", "penalty": {"name": "lasso"}, "optimizer": {"name": "fista", "lr": 1e-3}},
    {"loss": "logistic", "dataset": {"name": "classes", "n": 40}},
    {"split": {"validation": 0.25}},
    {"optimizer": {"name": "nesterov", "lr": 1e-3, "momentum": 0.5}},
)


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("parts", PROBLEMS)
def test_a_fit_has_the_same_bits_and_no_answer(
    parts: dict[str, Any], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = config(steps=40, engine=engine, **parts)
    bare = config(steps=40, engine=engine, theory="none", **parts)
    assert bare.fingerprint() == usual.fingerprint()
    measured = package.fit(usual)
    with monkeypatch.context() as patch:  # nothing is solved
        patch.setattr(optimum, "solve_least_squares", None)
        found = package.fit(bare)
    assert found.status is measured.status, found.error
    assert found.weights.tobytes() == measured.weights.tobytes()
    assert found.losses.tobytes() == measured.losses.tobytes()
    assert np.isnan(found.excess_losses).all()
    assert np.isnan(found.distance_to_optimum)
    assert found.steps_to_tolerance is None
    assert found.measures == measured.measures
    wanted = found.loss if found.validation_losses is None else found.validation_losses[-1]
    assert found.objective == wanted
    assert any("theory=none" in note for note in bare.notes())


@pytest.mark.parametrize(
    ("parts", "part"),
    [
        ({"objective": "excess_loss"}, "objective=excess_loss"),
        ({"stop": {"excess_loss": 0.1}}, "stop.excess_loss"),
        ({"optimizer": "newton"}, "optimizer newton"),
        ({"optimizer": "closed_form"}, "optimizer closed_form"),
        ({"optimizer": "fista"}, "optimizer fista"),
        ({"optimizer": {"name": "heavy_ball", "lr": 0.1, "momentum": None}}, "heavy_ball"),
    ],
)
def test_what_needs_the_optimum_is_refused(parts: dict[str, Any], part: str) -> None:
    FitConfig.model_validate(parts)
    with pytest.raises(ValidationError, match=f"{part} needs the optimum.*choose theory=auto"):
        FitConfig.model_validate({**parts, "theory": "none"})


def test_commands_work_without_an_answer(linfit: Linfit, workdir: Path) -> None:
    given = ("theory=none", "steps=50", "optimizer=adam,sgd", "optimizer.lr=0.01,10.0")
    swept = linfit("run", "-m", *given)
    assert swept.code == 0, swept.err
    assert "theory=none: no answer was computed" in swept.err
    report = linfit("report", "last", "--output", "page.html")
    assert report.code == 0, report.err
    assert "lowest training loss" in report.out
    assert linfit("show", "last").code == 0
    checks = json.loads(linfit("verify", "--json").out)["checks"]
    assert {check["verdict"] for check in checks} == {"identical"}
    again = linfit("reproduce", "last")
    assert again.code == 0
    assert "4 identical" in again.out


def test_a_plan_says_that_there_is_no_theory(linfit: Linfit, workdir: Path) -> None:
    plan = json.loads(linfit("plan", "-m", "theory=none", "seed=0,1", "--json").out)
    assert plan["theory"] == []
    assert any("theory=none" in note for note in plan["notes"])


def test_the_tables_have_no_excess_loss(linfit: Linfit, workdir: Path) -> None:
    assert linfit("run", "-m", "theory=none", "steps=5", "seed=0,1").code == 0
    [file] = workdir.glob("outputs/sweeps/*/results.parquet")
    table = parquet.read_table(file).to_pydict()
    assert table["excess_loss"] == table["distance_to_optimum"] == [None, None]
    assert table["objective"] == table["loss"]


def test_a_finished_fit_without_an_answer_is_done_again_for_one(linfit: Linfit, workdir: Path) -> None:
    assert linfit("run", "theory=none", "steps=5").code == 0
    left_out = "finished already and left out"
    assert left_out in linfit("run", "theory=none", "steps=5", "--skip-done").err
    assert left_out not in linfit("run", "steps=5", "--skip-done").err


def test_theory_is_one_for_a_sweep(linfit: Linfit, workdir: Path) -> None:
    refused = linfit("run", "-m", "theory=none,auto", "steps=5")
    assert refused.code == 2
    assert "theory cannot be swept" in refused.err
