"""Recorded runs get what they lack, by every recorder the same, and nothing twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run

from linfit.tracking.schema.run_records import Amendment
from linfit.tracking.write.client import ClientRecorder
from linfit.tracking.write.database import DatabaseRecorder
from tests.tracking.written import DATA, NAME, contents, named, row, sound

#: What runs have, and what they get.
CASES = [
    (row(), Amendment()),
    (
        row(),
        Amendment("new ü 🎈", {"hparam/lr": 0.1, "hparam/seed": 2**53}, {"p": "v"}, {"t": "v"}),
    ),
    (row(tags={"t": "old", "u": "old"}, dataset=DATA), Amendment("new", tags={"t": "new"})),
    (
        row(metrics=(("hparam/lr", 0.1, 0), ("loss", 1.0, 5))),
        Amendment("new", {"hparam/lr": 0.1, "hparam/b": -1}),
    ),
    (row(params={"p": "v"}), Amendment(params={"p": "v", **{f"p{i}": str(i) for i in range(120)}})),
    (row("same"), Amendment("same", {"hparam/lr": 0.0})),
]


@pytest.fixture
def held(template: Path, tmp_path: Path) -> dict[str, list[Any]]:
    """What the store holds after one, and after another such amendment, by who has made them."""
    found: dict[str, list[Any]] = {}
    for name in ("client", "database"):
        file = tmp_path / f"{name}.db"
        shutil.copy(template, file)
        client = ClientRecorder(named(file), NAME)
        run_ids = client.log_runs([before for before, _ in CASES])
        recorder = client if name == "client" else DatabaseRecorder(client)
        found[name] = []
        for _ in range(2):
            recorder.amend_runs(dict(zip(run_ids, [lacking for _, lacking in CASES], strict=True)))
            found[name].append(contents(file, run_ids))
        assert sound(file)
        require_amended([client.client.get_run(run_id) for run_id in run_ids])
    return found


def require_amended(runs: list[Run]) -> None:
    for run, (before, lacking) in zip(runs, CASES, strict=True):
        assert run.info.run_name == run.data.tags["mlflow.runName"] == (lacking.name or before.name)
        assert run.data.params == {**before.params, **lacking.params}
        assert run.data.metrics == {
            **{key: value for key, value, _ in before.metrics},
            **lacking.metrics,
        }
        assert {**before.tags, **lacking.tags}.items() <= run.data.tags.items()


def test_both_recorders_leave_the_same_and_nothing_twice(held: dict[str, list[Any]]) -> None:
    first, *others = [*held["client"], *held["database"]]
    assert all(other == first for other in others)
