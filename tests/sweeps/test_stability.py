"""`linfit run --skip-unstable`: what theory says will diverge is left out before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linfit.sweeps.stability import unstable
from tests.helpers import config

Linfit = Callable[..., Any]
COMMON = ("optimizer=sgd", "steps=5", "tracking=none", "pictures=false")


def test_unstable_fits_of_a_sweep_are_left_out(bare: Path, linfit: Linfit) -> None:
    ran = linfit("run", "-m", *COMMON, "optimizer.lr=0.001,0.01,0.002,1", "--skip-unstable", "--json")
    assert ran.code == 0, ran.err
    assert [row["name"] for row in json.loads(ran.out)] == ["lr=0.001", "lr=0.002"]
    assert "2 of 4 fits are unstable and left out" in ran.err


def test_a_sweep_of_unstable_fits_alone_and_an_unstable_fit_are_refused(bare: Path, linfit: Linfit) -> None:
    ran = linfit("run", "-m", *COMMON, "optimizer.lr=1,2", "--skip-unstable")
    assert (ran.code, ran.out) == (2, "")
    assert "all 2 fits are unstable and --skip-unstable leaves none" in ran.err
    ran = linfit("run", *COMMON, "optimizer.lr=1", "--skip-unstable")
    assert (ran.code, ran.out) == (2, "")
    assert "lr 1 is above 0.00" in ran.err
    assert not (bare / "outputs" / "runs").exists()


def test_what_is_unstable_is_announced_before_it_runs(bare: Path, linfit: Linfit, monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = linfit("run", *COMMON, "optimizer.lr=0.1").err.splitlines()
    assert note.startswith("linfit: note: this fit is unstable: lr 0.1 is above 0.007") and note.endswith("the largest stable one")
    sweep = "run", "-m", *COMMON, "optimizer.lr=0.1,0.001,0.2,0.002,0.3"
    assert "note: 3 of 5 fits are unstable: `linfit plan` shows which, --skip-unstable" in linfit(*sweep).err
    monkeypatch.setattr("linfit.sweeps.readiness.LOOKED_AT", 3)
    assert "note: 3 of 3 fits looked at of 5 are unstable" in linfit(*sweep).err
    monkeypatch.setattr("linfit.sweeps.readiness.LARGE", 1)
    assert "unstable" not in linfit(*sweep).err
    assert linfit("run", *COMMON, "optimizer.lr=0.001").err == ""


def test_a_penalty_counts_and_what_has_no_bound_stays() -> None:
    lr = 0.0077  # the bound is 0.00780, and with the penalty 0.00765
    stated = [{"name": "sgd", "lr": lr}, {"name": "adam", "lr": 9.0}, {"name": "heavy_ball"}]
    configs = [config(optimizer=optimizer) for optimizer in stated]
    assert unstable(configs) == {}
    assert list(unstable([config(optimizer=stated[0], penalty={"name": "ridge", "strength": 5.0}), *configs])) == [0]
    changing = config(optimizer={"name": "sgd", "lr": 1.0}, schedule="cosine")
    robust = config(optimizer={"name": "sgd", "lr": 100.0}, loss="huber")
    assert unstable([changing, robust]) == {}
