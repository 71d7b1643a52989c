"""Earlier conventions: configs of schema 1 keep numbers and fingerprint, and say what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from pydantic import ValidationError

import linfit as package
from linfit.conventions import CONFIG_SCHEMA, restore_conventions
from linfit.errors import ConfigError
from linfit.problem.penalties import Ridge
from linfit.reproduction import compare_runs
from linfit.sweeps.folder.planned import ResumeOptions, read_planned_configs
from linfit.tracking.read.comparison import Verdict
from linfit.tracking.read.config import read_config
from linfit.tracking.read.reader import RunReader
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.config_record import serialize_config
from linfit.tracking.store.store import resolve_store
from tests.helpers import config, forget_mlflow
from tests.stores.unpack import unpack

Linfit = Callable[..., Any]
STORE = Path(__file__).parent / "stores" / "v1-conventions.tar.xz"
INTERCEPT = {"name": "raw", "intercept": True}
WEIGHTED = {
    "name": "csv",
    "path": "linfit:article.csv",
    "features": "one",
    "target": "y",
    "weight": "x_squared",
}
AVERAGE = {"name": "manual_sgd", "average": True}
#: Parts of a config, and which convention changes their numbers.
CASES: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"penalty": "ridge"}, None),
    ({"features": INTERCEPT}, None),
    ({"features": INTERCEPT, "penalty": "ridge"}, "penalty.intercept"),
    ({"features": "polynomial", "penalty": "ridge", "loss": "huber"}, "penalty.intercept"),
    ({"features": {"name": "polynomial", "intercept": False}, "penalty": "ridge"}, None),
    ({"features": INTERCEPT, "penalty": {"name": "ridge", "strength": 0.0}}, None),
    ({"loss": "mse"}, None),
    ({"dataset": WEIGHTED}, None),
    ({"dataset": WEIGHTED, "loss": "mse"}, "mean_over"),
    ({"dataset": WEIGHTED, "optimizer": "manual_sgd"}, None),
    ({"dataset": WEIGHTED, "optimizer": AVERAGE}, "mean_over"),
    ({"optimizer": AVERAGE, "loss": "mse"}, None),
]


def ids(value: object) -> str | None:
    return json.dumps(value) if isinstance(value, dict) else str(value)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a store that linfit wrote in schema 1."""
    return unpack(STORE, tmp_path_factory.mktemp("earlier"))


@pytest.fixture
def here(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget_mlflow(monkeypatch)
    monkeypatch.chdir(earlier)
    return earlier


def run_named(name: str) -> str:
    """Return the id of the run that was stored with this name."""
    reader = RunReader(resolve_store(None))
    records = map(reader.read_run, reader._search(f"attributes.run_name = '{name}'"))
    (found,) = [record.run_id for record in records if mlflow_names.REPRODUCES not in record.tags]
    return found


# ---- in a config and its fingerprint ----


@pytest.mark.parametrize(("parts", "key"), CASES, ids=ids)
def test_a_fingerprint_changes_only_where_numbers_do(
    parts: dict[str, Any], key: str | None
) -> None:
    now = config(**parts)
    before = restore_conventions(now, 1)
    assert restore_conventions(now, CONFIG_SCHEMA) == now
    assert (now.fingerprint() == before.fingerprint()) == (key is None)
    if key is None:
        assert now.numbers() == before.numbers()
    fits = package.fit([one.model_copy(update={"steps": 3}) for one in (now, before)])
    same = (
        fits[0].losses.tobytes() == fits[1].losses.tobytes()
        and fits[0].weights.tobytes() == fits[1].weights.tobytes()
    )
    assert same == (key is None)


def test_the_convention_of_before_can_be_chosen() -> None:
    ridge = Ridge(intercept=True)
    chosen = config(features=INTERCEPT, penalty=ridge, mean_over="samples")
    assert (
        chosen.fingerprint()
        == restore_conventions(config(features=INTERCEPT, penalty="ridge"), 1).fingerprint()
    )
    with pytest.raises(ValidationError, match="mean_over"):
        config(mean_over="rows")


def test_a_config_that_is_written_again_keeps_its_conventions() -> None:
    before = restore_conventions(config(features=INTERCEPT, penalty="ridge"), 1)
    assert f'"schema":{CONFIG_SCHEMA}' in serialize_config(before)
    assert read_config(serialize_config(before)) == before


@pytest.mark.parametrize("schema", [0, CONFIG_SCHEMA + 1, -1, None, "1", [1]])
def test_another_schema_is_refused(schema: object) -> None:
    stored = {**json.loads(serialize_config(config())), "schema": schema}
    with pytest.raises(ConfigError, match=rf"this linfit reads 1 to {CONFIG_SCHEMA}"):
        read_config(json.dumps(stored))


# ---- of a store of schema 1 ----


def test_every_stored_fingerprint_verifies(here: Path) -> None:
    file = next(here.rglob("manifest.parquet"))
    rows = parquet.read_table(file, columns=["fingerprint", "config"]).to_pylist()
    assert len(rows) >= 15
    for row in rows:
        assert '"schema":1' in row["config"]
        assert "mean_over" not in row["config"]
        read = read_config(row["config"])
        assert read.fingerprint() == row["fingerprint"]
        assert read.mean_over == "samples"
        assert not isinstance(read.penalty, Ridge) or read.penalty.intercept
    assert read_planned_configs(file.parent, [0], ResumeOptions())[0].mean_over == "samples"


def test_show_says_the_schema(here: Path, linfit: Linfit) -> None:
    assert "config schema  1\n" in linfit("show", run_named("convention 1")).out
    assert "config schema  1\n" in linfit("show", run_named("every component")).out
    assert json.loads(linfit("show", run_named("convention 1"), "--json").out)["schema"] == 1


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("convention 1", "penalty.intercept=false"),
        ("convention 5", "mean_over=weights"),
        ("convention 8", "mean_over=weights"),
    ],
)
def test_what_is_run_again_differs_by_the_convention_alone(
    here: Path, linfit: Linfit, name: str, setting: str
) -> None:
    run = run_named(name)
    again = package.reproduce(run)
    assert again.verdict in (Verdict.IDENTICAL, Verdict.EQUAL)
    assert "config schema  2\n" in linfit("show", again.run_id).out
    key, value = setting.split("=")
    other = package.reproduce(run, overrides=[setting])
    assert other.verdict is Verdict.DIFFERS
    assert [change.key for change in other.changes if change.kind == "config"] == [key]
    between = compare_runs(resolve_store(None), run, other.run_id)
    assert [
        (change.key, json.loads(change.now))
        for change in between.changes
        if change.kind == "config"
    ] == [(key, {"false": False}.get(value, value))]
    reader = RunReader(resolve_store(None))
    assert (
        reader.find_run(other.run_id).config().fingerprint()
        != reader.find_run(run).config().fingerprint()
    )
    assert [
        change.key
        for change in compare_runs(resolve_store(None), run, again.run_id).changes
        if change.kind == "config"
    ] == []


def test_a_program_of_before_computes_what_it_did(here: Path, linfit: Linfit) -> None:
    source = linfit("script", run_named("convention 1")).out
    assert "W.square().sum()" in source
    assert "[:-1]" not in source


def test_a_sweep_of_before_is_verified(here: Path, linfit: Linfit) -> None:
    ran = linfit("verify", run_named("every component"), "--sample", "4")
    # Its bits are those of the processor that made the store, of which only the name is known.
    assert ran.code == 0 or "parted     none" in ran.out, ran.out
