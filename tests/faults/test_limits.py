"""A database that holds no more than its tables say.

Long names are shortened, and addresses are refused before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran

Linfit = Callable[..., Ran]
LONG = [f"{'c' * 120}{i}" for i in range(4)]
FIT = ["steps=3", "pictures=false"]


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]], ids=["a fit", "a sweep"])
def test_addresses_that_are_too_long_are_refused_before_anything_runs(
    sweep: list[str], postgresql: str, bare: Path, linfit: Linfit
) -> None:
    ran = linfit(
        "run",
        *sweep,
        *FIT,
        f"tracking.uri={postgresql}",
        f"tracking.artifacts={bare / ('a' * 180)}",
        f"name=address-{len(sweep)}",
    )
    assert ran.code == 2
    assert "200 at most: name a shorter place with tracking.artifacts" in ran.err
    assert ran.err.splitlines()[-1].startswith("linfit: artifacts of runs would have addresses")
    assert [file for file in bare.rglob("*") if file.is_file()] == []


def test_an_experiment_whose_name_is_too_long_is_refused(
    postgresql: str, bare: Path, linfit: Linfit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "n" * 300)
    ran = linfit("run", *FIT, f"tracking.uri={postgresql}")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "give at most 200 characters" in ran.err


def test_names_notes_and_schemas_that_are_too_long_are_kept_as_far_as_they_go(
    postgresql: str, bare: Path, linfit: Linfit
) -> None:
    (bare / "x.csv").write_text(
        ",".join([*LONG, "y"]) + "\n" + "".join(f"{i},{i * i},1,{i % 3},{i}\n" for i in range(9))
    )
    lists = ",".join(f"[{','.join(LONG[:count])}]" for count in (3, 4))
    data = [
        "dataset=csv",
        "dataset.path=x.csv",
        "dataset.target=y",
        "init=zeros",
        "optimizer.lr=0.0001",
        f"tracking.artifacts={bare}/files",
    ]
    ran = linfit(
        "run",
        "-m",
        *FIT,
        *data,
        f"dataset.features={lists}",
        "seed=0,1",
        f"tracking.uri={postgresql}",
        "name=long",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert len({row["run_id"] for row in json.loads(ran.out)}) == 4
    # over 8,000 characters, which the run's description quotes
    asked = f"dataset.features=[{','.join(LONG * 20)}]"
    alone = linfit("run", *FIT, *data, asked, f"tracking.uri={postgresql}", "name=long")
    assert alone.code == 0, alone.err
