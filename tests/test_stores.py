"""Stores that earlier versions wrote, `stores/vN….tar.xz` with schema N, can be reproduced."""

from __future__ import annotations

from pathlib import Path

import pytest

import linfit
from linfit.conventions import CONFIG_SCHEMA
from linfit.reproduction import Reproduction
from linfit.system.host import identify_cpu_model
from linfit.tracking.provenance.environment import read_machine_tag
from linfit.tracking.read.comparison import Verdict
from linfit.tracking.read.reader import RunReader
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.store import resolve_store
from tests.helpers import forget_mlflow
from tests.stores.unpack import unpack
from tests.stores.write import components, held

#: Packages whose versions may decide bits: others in the lock are renewed without leave to change
#: any.
COMPUTING = ("torch", "numpy", "scipy", "scikit-learn")
STORES = sorted((Path(__file__).parent / "stores").glob("v*.tar.xz"))


@pytest.fixture(scope="module", params=STORES, ids=lambda file: file.name.partition(".")[0])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with such a store."""
    return unpack(request.param, tmp_path_factory.mktemp("stored"))


@pytest.fixture
def here(stored: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    forget_mlflow(monkeypatch)
    monkeypatch.chdir(stored)
    return stored


def judge(done: Reproduction) -> None:
    """Require the bits on the processor and packages of the store, elsewhere the tolerance."""
    run = RunReader(resolve_store(None)).find_run(done.reproduces)
    machine = read_machine_tag(run.tags if run.parent is None else run.parent.tags) or {}
    same = machine.get("cpu_model") == identify_cpu_model() and not [
        change
        for change in done.changes
        if change.kind == "machine" or (change.kind == "package" and change.key in COMPUTING)
    ]
    allowed = {Verdict.IDENTICAL} if same else {Verdict.IDENTICAL, Verdict.EQUAL}
    assert {found.why for found in done.repetitions if found.verdict not in allowed} == set()


def test_there_is_a_store_for_each_schema() -> None:
    assert {file.name.partition(".")[0].partition("-")[0] for file in STORES} == {
        f"v{schema}" for schema in range(1, CONFIG_SCHEMA + 1)
    }


def test_the_stores_have_every_component() -> None:
    assert components() - held(STORES) == set()


def test_single_runs(here: Path) -> None:
    reader = RunReader(resolve_store(None))
    single = [
        reader.read_run(run)
        for run in reader._search(
            f"tags.`{mlflow_names.KIND}` = 'fit' AND tags.`{mlflow_names.CODE}` LIKE '%'"
        )
    ]
    single = [record for record in single if mlflow_names.REPRODUCES not in record.tags]
    assert (
        len(
            {
                tuple(record.params[group] for group in ("optimizer", "dataset", "gradient"))
                for record in single
            }
        )
        >= 6
    )
    for record in single:
        judge(linfit.reproduce(record.run_id))


def test_a_sweep_over_every_component(here: Path) -> None:
    done = linfit.reproduce(
        RunReader(resolve_store(None)).find_run("last", mlflow_names.SWEEP).run_id, sample=1000
    )
    assert len(done.repetitions) >= 15
    judge(done)


def test_a_child_of_the_sweep(here: Path) -> None:
    reader = RunReader(resolve_store(None))
    child = next(reader._search(f"tags.`{mlflow_names.PARENT}` LIKE '%'", page=5))
    judge(linfit.reproduce(child.info.run_id))
