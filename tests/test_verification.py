"""`linfit verify`: the bits of real sweeps, and of sweeps whose files were changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from pyarrow import parquet

import linfit as package
from linfit.engine.difference import relative_difference
from linfit.errors import ConfigError
from linfit.method.optimizers import Optimizer
from linfit.problem.datasets.synthetic import Parabola
from linfit.settings import Record
from linfit.tracking.read.access import require_own_data
from linfit.tracking.read.comparison import list_differences as bits_differ
from linfit.tracking.read.config import read_config
from linfit.tracking.read.outcome import Outcome, read_row_outcome
from linfit.tracking.read.reader import RunReader
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.config_record import serialize_config
from linfit.tracking.tables.parts import hash_table
from linfit.verification import measure_agreement
from tests.helpers import config

Linfit = Callable[..., Any]
Change = Callable[[list[dict[str, Any]]], None]


@pytest.fixture
def sweep(linfit: Linfit, workdir: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs a sweep and verifies it: the checks."""

    def run(*arguments: str) -> list[dict[str, Any]]:
        assert linfit("run", "-m", "steps=60", *arguments).code == 0
        said = linfit("verify", "--json")
        assert said.code == 0
        checks: list[dict[str, Any]] = json.loads(said.out)["checks"]
        return checks

    return run


def stored(workdir: Path, name: str) -> Path:
    [file] = workdir.glob(f"outputs/artifacts/**/{name}.parquet")
    return file


def tamper(file: Path, change: Change) -> None:
    """Changes rows of a table and hides it: the hash of the file fits."""
    table = parquet.read_table(file)
    rows = table.to_pylist()
    change(rows)
    parquet.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    hide(file)


def hide(file: Path) -> None:
    from linfit.tracking.store.store import resolve_store

    reader = RunReader(resolve_store(None))
    parent = reader.find_run("last")
    hashes = {**json.loads(parent.tags[mlflow_names.FILES]), file.name: hash_table(file)}
    reader.client.set_tag(parent.run_id, mlflow_names.FILES, json.dumps(hashes))


@pytest.mark.matrix
def test_alone_the_bits_are_those_of_the_sweep(sweep: Any) -> None:
    checks = sweep("optimizer=sgd,adam,rmsprop", "dtype=float32,float64", "optimizer.lr=0.001,1.0")
    assert [check["row"] for check in checks] == list(range(12))
    assert {check["verdict"] for check in checks} == {"identical"}
    assert {check["status"] for check in checks} == {"completed", "diverged"}
    assert {check["other"]["engine"] for check in checks} == {"single"}
    stable = [check["other"] for check in checks if check["name"].startswith("adam")]
    assert all(
        other["losses"] < 1e-4 and other["weights"] < 1e-4 and other["parted_at"] is None
        for other in stable
    )


def test_a_fit_that_ran_single_is_refitted_single(sweep: Any) -> None:
    checks = sweep("engine=single", "seed=0,1")
    assert [(check["verdict"], check["engine"], check["other"]["engine"]) for check in checks] == [
        ("identical", "single", "stacked")
    ] * 2


def test_a_sample_is_drawn_by_its_seed(linfit: Linfit, workdir: Path) -> None:
    linfit("run", "-m", "steps=2", "seed=range(0,30)")

    def rows(*arguments: str) -> list[int]:
        return [
            check["row"]
            for check in json.loads(linfit("verify", "last", "--json", *arguments).out)["checks"]
        ]

    drawn = rows("--sample", "4", "--seed", "1")
    assert len(set(drawn)) == 4 and drawn == sorted(drawn)
    assert drawn == rows("--sample", "4", "--seed", "1") != rows("--sample", "4", "--seed", "2")
    assert len(rows()) == 20


@pytest.mark.matrix
@pytest.mark.read_only
def test_what_is_printed(linfit: Linfit, workdir: Path) -> None:
    linfit("run", "-m", "steps=20", "seed=0,1")
    linfit("run", "steps=20")  # a single run since: `last` is the last sweep
    said = linfit("verify")
    assert said.code == 0
    assert "of 2 fits\n" in said.out
    assert "alone      of 2 fits 2 give the stored bits\n" in said.out
    assert "other      losses differ by up to" in said.out


def test_what_of_the_machine_changed_is_said_and_what_the_config_decides_is_not(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = package.sweep(["steps=5", "seed=0,1", "pictures=false"])
    client = MlflowClient("sqlite:///outputs/mlflow.db")
    machine = json.loads(client.get_run(done.run_id).data.tags[mlflow_names.ENVIRONMENT])
    elsewhere = json.dumps({**machine, "device": "some accelerator"})  # as a sweep there has it
    client.set_tag(done.run_id, mlflow_names.ENVIRONMENT, elsewhere)
    monkeypatch.setenv("MKL_ENABLE_INSTRUCTIONS", "SSE4_2")
    changed = [line for line in linfit("verify").out.splitlines() if line.startswith("changed")]
    assert changed == ["changed    MKL_ENABLE_INSTRUCTIONS: unset then, SSE4_2 now"]


# ---- files that were changed ----


def flip_a_weight(rows: list[dict[str, Any]]) -> None:
    rows[1]["weights"][0] = float(np.nextafter(rows[1]["weights"][0], np.inf))


def flip_a_loss(rows: list[dict[str, Any]]) -> None:
    rows[1]["loss"][3] = float(np.nextafter(rows[1]["loss"][3], np.inf))


def shorten(rows: list[dict[str, Any]]) -> None:
    for key in ("step", "loss"):
        rows[1][key].pop()


def end_otherwise(rows: list[dict[str, Any]]) -> None:
    rows[1]["status"] = "diverged"


def change_the_lr(rows: list[dict[str, Any]]) -> None:
    rows[1]["config"] = rows[1]["config"].replace('"lr":0.001', '"lr":0.002')


def exchange_configs(rows: list[dict[str, Any]]) -> None:
    rows[0]["config"], rows[1]["config"] = rows[1]["config"], rows[0]["config"]


def not_json(rows: list[dict[str, Any]]) -> None:
    rows[1]["config"] = "[" * 100_000


def lose_a_row(rows: list[dict[str, Any]]) -> None:
    rows[1]["row"] = 17


@pytest.mark.parametrize(
    ("name", "change", "code", "text"),
    [
        (
            "results",
            flip_a_weight,
            1,
            "differs    seed=1 (row 1): 1 of 2 weights, the first at place 0",
        ),
        (
            "curves",
            flip_a_loss,
            1,
            "differs    seed=1 (row 1): 1 of {k} losses, the first at place 3",
        ),
        (
            "curves",
            shorten,
            1,
            "differs    seed=1 (row 1): {k} steps, stored {less}; {k} losses, stored {less}",
        ),
        ("curves", lose_a_row, 1, "differs    seed=1 (row 1): {k} steps, stored 0"),
        (
            "results",
            end_otherwise,
            1,
            "differs    seed=1 (row 1): status completed, stored diverged",
        ),
        ("results", lose_a_row, 2, "refused    seed=1 (row 1): it has no result"),
        ("manifest", change_the_lr, 2, "refused    seed=1 (row 1): the config's hash does not fit"),
        (
            "manifest",
            exchange_configs,
            2,
            "refused    seed=1 (row 1): its fingerprint is not as it was stored",
        ),
        ("manifest", not_json, 2, "refused    seed=1 (row 1): no stored config"),
        ("manifest", lose_a_row, 2, "refused    row 1 (row 1): the manifest has no such row"),
    ],
)
def test_a_change_is_found_and_its_run_named(
    linfit: Linfit, workdir: Path, name: str, change: Change, code: int, text: str
) -> None:
    linfit("run", "-m", "steps=30", "seed=0,1")
    tamper(stored(workdir, name), change)
    said = linfit("verify", "last")
    k = len(Record().recorded_steps(30))
    assert said.code == code
    assert text.format(k=k, less=k - 1) in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest", b"PAR1 and no more", "manifest.parquet cannot be read"),
        ("results", b"", "results.parquet cannot be read"),
        ("curves", None, "curves.parquet"),
    ],
)
def test_files_that_are_no_tables_are_said_in_one_line(
    linfit: Linfit, workdir: Path, name: str, content: bytes | None, message: str
) -> None:
    linfit("run", "-m", "steps=2", "seed=0,1")
    file = stored(workdir, name)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
        hide(file)
    said = linfit("verify")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert message in said.err


def test_a_column_of_another_type_is_refused(linfit: Linfit, workdir: Path) -> None:
    linfit("run", "-m", "steps=2", "seed=0,1")
    file = stored(workdir, "results")
    table = parquet.read_table(file)
    texts = pa.array([["1.0", "2.0"]] * 2)
    parquet.write_table(
        table.set_column(table.column_names.index("weights"), "weights", texts), file
    )
    hide(file)
    said = linfit("verify")
    assert said.code == 2
    assert (
        "results.parquet is not as linfit writes it: weights is missing or of another type"
        in said.err
    )


def test_a_single_run_and_an_empty_store_cannot_be_verified(linfit: Linfit, workdir: Path) -> None:
    assert "there is no sweep of linfit" in linfit("verify").err
    run_id = json.loads(linfit("run", "steps=2", "--json").out)[0]["run_id"]
    said = linfit("verify", run_id)
    assert (said.code, said.out) == (2, "")
    assert f"run {run_id} is no sweep" in said.err


# ---- fits that failed, and plug-ins ----

WIDE = ("dataset=polynomial", "dataset.range=[0,1e39],[0,1]")


def test_a_fit_that_failed_must_fail_again(linfit: Linfit, workdir: Path) -> None:
    assert linfit("run", "-m", "steps=2", *WIDE).code == 1
    said = linfit("verify", "--json")
    assert said.code == 0
    checks = json.loads(said.out)["checks"]
    assert [(check["verdict"], check["status"]) for check in checks] == [
        ("identical", "failed"),
        ("identical", "completed"),
    ]
    assert checks[0]["other"] is None


@pytest.fixture
def plug_in(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (workdir / "witness.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    monkeypatch.syspath_prepend(workdir)
    yield "witness"
    sys.modules.pop("witness", None)
    Optimizer.choices.pop("witness", None)


def test_a_fit_that_fails_this_time_cannot_be_refitted(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert linfit("run", "-m", "seed=0,1", "steps=3").code == 0

    def lost(dataset: Parabola, seed: int) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Parabola, "load", lost)
    said = linfit("verify")
    assert said.code == 2
    assert (
        "of 2 fits 2 cannot be refitted" in said.out
        and "it failed this time: OSError: the disk is gone" in said.out
    )


def test_plug_ins_are_imported_with_trust_only(linfit: Linfit, workdir: Path, plug_in: str) -> None:
    assert linfit("run", "-m", "steps=2", f"plugins=[{plug_in}]", "seed=0,1").code == 0
    (workdir / "imported").unlink()
    sys.modules.pop(plug_in)
    said = linfit("verify")
    assert said.code == 2
    assert (
        "seed=0 (row 0): the config needs plug-ins, "
        "which are not imported from what is stored without --trust: ['witness']" in said.out
    )
    assert not (workdir / "imported").exists()
    assert linfit("verify", "--trust").code == 0
    assert (workdir / "imported").exists()


def test_a_stored_config_opens_no_file_elsewhere(
    workdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    csv = {"name": "csv", "features": ["a"], "target": "b"}
    require_own_data(config(dataset={**csv, "path": "linfit:article.csv"}))
    require_own_data(config(dataset={**csv, "path": "data/own.csv"}))
    for path in (
        "../data.csv",
        str(tmp_path_factory.mktemp("other") / "data.csv"),
        "linfit:../component.py",
    ):
        with pytest.raises(ConfigError):
            require_own_data(config(dataset={**csv, "path": path}))


def test_data_that_were_changed_are_said(linfit: Linfit, workdir: Path) -> None:
    (workdir / "data.csv").write_text("a,b\n1,2\n2,3\n")
    linfit(
        "run",
        "-m",
        "steps=2",
        "dataset=csv",
        "dataset.path=data.csv",
        "dataset.features=[a]",
        "dataset.target=b",
        "seed=0,1",
    )
    assert linfit("verify").code == 0
    (workdir / "data.csv").write_text("a,b\n1,2\n2,4\n")
    said = linfit("verify")
    assert said.code == 2
    assert (
        "its fingerprint is not as it was stored: its data file 'data.csv' was changed since"
        in said.out
    )
    (workdir / "data.csv").unlink()
    assert "data.csv" in linfit("verify").out


# ---- the parts ----


def test_a_stored_config_is_what_was_stored() -> None:
    given = config(seed=3, optimizer={"name": "sgd", "lr": 0.1})
    assert read_config(serialize_config(given)) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "no stored config"),
        ('{"config":{}}', "no stored config"),
        ('{"config":{"seed":NaN},"schema":1,"sha256":""}', "no stored config"),
        (serialize_config(config()).replace('"schema":2', '"schema":3'), "stored in schema 3"),
        (serialize_config(config()).replace('"seed":0', '"seed":1'), "hash does not fit"),
        ('{"config":{"sed":1},"schema":1,"sha256":"d0f1a5bb"}', "hash does not fit"),
    ],
)
def test_a_stored_text_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(text)


def test_differences_are_counted_in_bits() -> None:
    def differences(one: package.Fit, result: dict[str, Any], curve: dict[str, Any]) -> list[str]:
        return bits_differ(read_row_outcome(result, curve), Outcome.from_fit(one))

    one = package.fit(config(steps=3))
    good = {
        "status": "completed",
        "dtype": "float32",
        "weights": one.weights.astype(float).ravel().tolist(),
    }
    curve = {"step": one.steps.tolist(), "loss": one.losses.tolist()}
    assert differences(one, good, curve) == []
    assert differences(one, {**good, "dtype": "float64"}, curve) == [
        "dtype float32, stored float64"
    ]
    assert differences(one, {**good, "weights": None}, curve) == ["2 weights, stored 0"]
    zero = package.fit(config(steps=0, init="zeros"))
    [signed] = differences(
        zero, {**good, "weights": [0.0, -0.0]}, {"step": [0], "loss": zero.losses.tolist()}
    )
    assert signed == "1 of 2 weights, the first at place 1: 0.0, stored -0.0"


def test_engines_part_where_losses_do() -> None:
    one, other = (
        package.fit(config(optimizer="sgd", dtype="float64", steps=9, init=init))
        for init in ("zeros", "normal")
    )
    same, apart = measure_agreement(one, one), measure_agreement(one, other)
    assert (same.losses, same.weights, same.parted_at) == (0, 0, None)
    assert (apart.parted_at, apart.losses > 0.01, apart.weights > 0.01) == (0, True, True)


def test_a_relative_difference_knows_infinity() -> None:
    inf, nan = np.inf, np.nan
    one, other = np.array([1.0, inf, inf, 1.0, 0.0, nan]), np.array([1.5, inf, nan, inf, 0.0, nan])
    with np.errstate(invalid="ignore"):
        assert relative_difference(
            one, other, np.array([1.0, inf, inf, 1.0, 0.0, nan])
        ).tolist() == [
            0.5,
            0,
            0,
            inf,
            0,
            0,
        ]
