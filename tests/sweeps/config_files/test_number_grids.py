"""Grids of numbers: which values they have, where they may be written, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from linfit.errors import ConfigError
from linfit.sweeps.config_files.number_grids import expand_number_grids
from linfit.sweeps.plan.enumerate import enumerate_jobs

STUDY = """# @package _global_
defaults: [/linfit, override /tracking: none, _self_]
hydra:
  mode: MULTIRUN
  sweeper:
    params: {seed: "linspace(0,2,3)"}
    grids: [{steps: "geomspace(10,1000,3)"}]
    pairs: [{keys: [optimizer, optimizer.lr], values: [[sgd, "geomspace(1e-3,1e-2,2)"], [adam, 1]]}]
"""


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("geomspace(1e-4,1,5)", "0.0001,0.001,0.01,0.1,1.0"),
        ("geomspace(1e-4,1e-2,5)", "0.0001,0.000316,0.001,0.00316,0.01"),
        ("geomspace( 10, 1000, 3 )", "10,100,1000"),
        ("geomspace(1,10,3)", "1.0,3.16,10.0"),
        ("geomspace(1,0.123456789,3)", "1.0,0.35,0.123456789"),
        ("linspace(0,1,5)", "0.0,0.25,0.5,0.75,1.0"),
        ("linspace(1,0,4)", "1.0,0.667,0.333,0.0"),
        ("0,shuffle(geomspace(1,4,3))", "0,shuffle(1,2,4)"),
        ("'geomspace(1,4,3)'", "'geomspace(1,4,3)'"),
    ],
)
def test_a_grid_is_written_out_in_short_numbers(written: str, values: str) -> None:
    assert expand_number_grids(f"+a.b={written}") == f"+a.b={values}"


def test_numbers_are_right_to_a_hundredth_of_a_step() -> None:
    for num in (2, 3, 10, 97, 1000):
        written = expand_number_grids(f"a=geomspace(3e-7,12,{num})").removeprefix("a=")
        logs = np.log(np.array(written.split(","), dtype=float))
        exact = np.linspace(np.log(3e-7), np.log(12), num)
        assert np.abs(logs - exact).max() <= 0.0101 * (exact[1] - exact[0])


def test_grids_stand_wherever_a_sweep_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "study.yaml").write_text(STUDY)
    configs = [job.config for job in enumerate_jobs(["study"]).jobs]
    optimizers = [own.as_dict()["optimizer"] for own in configs]
    assert sorted({(own["name"], own["lr"]) for own in optimizers}) == [
        ("adam", 1.0),
        ("sgd", 0.001),
        ("sgd", 0.01),
    ]
    assert {(own.steps, own.seed) for own in configs} == {
        (steps, seed) for steps in (10, 100, 1000) for seed in (0, 1, 2)
    }
    assert len(configs) == 27
    again = "hydra.sweeper.grids=[{optimizer.lr:geomspace(1,4,3)}]"
    rates = [job.config.as_dict()["optimizer"]["lr"] for job in enumerate_jobs(["-m", again]).jobs]
    assert rates == [1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=geomspace(1,4,3)"], "lr=1,2,4 has several values: add -m"),
        (["-m", "optimizer.lr=geomspace(0,1,9)"], "needs ends above 0"),
        (["-m", "optimizer.lr=geomspace(-1,1,9)"], "needs ends above 0"),
        (["-m", "optimizer.lr=geomspace(1,2,1)"], "has from 2 to 10,000 numbers, not 1"),
        (["-m", "optimizer.lr=geomspace(1,2,99999)"], "numbers, not 99999"),
        (["-m", "optimizer.lr=geomspace(1,2)"], "takes two ends and how many numbers"),
        (["-m", "optimizer.lr=geomspace(a,2,3)"], "takes two ends and how many numbers"),
        (["-m", "optimizer.lr=linspace(0,inf,3)"], "needs finite ends"),
        (["-m", "optimizer.lr=linspace(1,1,3)"], "fewer than 3 numbers from 1 to 1"),
        (["-m", "optimizer.lr=logspace(-4,0,5)"], "write geomspace(1e-4,1,9)"),
        (
            [
                "-m",
                "hydra.sweeper.pairs=[{keys:[steps,seed],"
                "values:[[geomspace(1,4,3),linspace(0,2,3)]]}]",
            ],
            "has several grids: a row takes one",
        ),
    ],
)
def test_a_wrong_grid_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        enumerate_jobs(arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
