"""Texts longer than MLflow's tables hold: shortened, left out with a note, or refused early."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking.dbmodels import models
from mlflow.utils import validation
from sqlalchemy.exc import DataError

from linfit.errors import RecordingError
from linfit.tracking.schema import limits
from linfit.tracking.schema.mlflow_names import NOTES
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.store.retry import as_recording_error
from linfit.tracking.store.store import Store
from tests.conftest import Ran

Linfit = Callable[..., Ran]
POSTGRESQL = Store("postgresql://user@host/base", None)
COLUMNS = [f"{'c' * 120}{i}" for i in range(4)]

#: Each limit, and what MLflow says of it: a column of its tables, or its own check.
KNOWN = {
    "param": (limits.MAX_PARAM, validation.MAX_PARAM_VAL_LENGTH),
    "tag": (limits.MAX_TAG, min(models.SqlTag.value.type.length, validation.MAX_TAG_VAL_LENGTH)),
    "digest": (limits.MAX_DATASET_DIGEST, validation.MAX_DATASET_DIGEST_SIZE),
    "schema": (limits.MAX_DATASET_SCHEMA, validation.MAX_DATASET_SCHEMA_SIZE),
    "experiment name": (limits.MAX_EXPERIMENT_NAME, models.SqlExperiment.name.type.length),
    "artifacts": (limits.MAX_ARTIFACT_URI, models.SqlRun.artifact_uri.type.length),
}


@pytest.mark.parametrize(("ours", "theirs"), KNOWN.values(), ids=KNOWN)
def test_limits_are_mlflows(ours: int, theirs: int) -> None:
    assert ours == theirs


@pytest.mark.parametrize("length", [0, 1, 249, 250, 251, 9000])
def test_what_is_shortened_keeps_its_beginning_and_differs(length: int) -> None:
    one, other = ("x" * length)[:-1] + "a", ("x" * length)[:-1] + "b"
    short = limits.shorten_with_digest(one, 250)
    assert len(short) <= 250
    assert short[:200] == one[:200]
    assert (short == one) == (len(one) <= 250)
    assert short != limits.shorten_with_digest(other, 250)
    assert limits.shorten_with_digest(short, 250) == short


def test_a_run_has_a_name_and_tags_that_are_held() -> None:
    row = RunRecord("n" * 300, 0, 0, "FINISHED", {"a": "t" * 9000, "b": "short"})
    assert (len(row.name), len(row.tags["a"]), row.tags["b"]) == (60, 8000, "short")


def wide(folder: Path) -> list[str]:
    (folder / "x.csv").write_text(
        ",".join([*COLUMNS, "y"]) + "\n" + "".join(f"{i},{i * i},1,{i % 3},{i}\n" for i in range(9))
    )
    return [
        "dataset=csv",
        "dataset.path=x.csv",
        "dataset.target=y",
        "init=zeros",
        "steps=3",
        "optimizer.lr=0.0001",
    ]


def test_fits_of_long_names_are_kept(linfit: Linfit, client: Any, workdir: Path) -> None:
    lists = ",".join(f"[{','.join(COLUMNS[:count])}]" for count in (3, 4))
    assert linfit("run", "-m", *wide(workdir), f"dataset.features={lists}", "seed=0,1").code == 0
    runs = [run for run in client.search_runs(["1"]) if run.data.tags.get("mlflow.parentRunId")]
    assert len(runs) == 4
    names = {run.info.run_name for run in runs}
    assert len(names) == 4
    assert max(map(len, names)) <= 60


@pytest.mark.parametrize("recorder", ["single", "sweep"])
def test_a_schema_that_is_too_long_is_left_out_with_a_note(
    recorder: str, linfit: Linfit, client: Any, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_DATASET_SCHEMA", 200)
    limits.format_dataset_schema.cache_clear()
    arguments = ["-m", "seed=0,1"] if recorder == "sweep" else []
    ran = linfit("run", *arguments, *wide(workdir), f"dataset.features=[{','.join(COLUMNS)}]")
    limits.format_dataset_schema.cache_clear()
    assert ran.code == 0
    run = next(run for run in client.search_runs(["1"]) if run.data.tags["linfit.kind"] == "fit")
    assert "MLflow holds no schema of 5 columns" in run.data.tags[NOTES]
    (used,) = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert used.dataset.schema is None
    assert json.loads(used.dataset.profile)["num_features"] == 4


@pytest.mark.parametrize(
    ("store", "name", "artifacts", "words"),
    [
        (POSTGRESQL, "n" * 257, None, "has a name of 257 characters, 256 at most"),
        (
            Store("http://host:5000", None),
            "n" * 257,
            None,
            "has a name of 257 characters, 256 at most",
        ),
        (POSTGRESQL, "n", "/" + "a" * 157, "would have addresses of 201 characters"),
        (POSTGRESQL, "n", "s3://" + "a" * 250, "would have addresses of 298 characters"),
    ],
)
def test_what_a_store_cannot_hold_is_refused(
    store: Store, name: str, artifacts: str | None, words: str
) -> None:
    with pytest.raises(RecordingError, match=words):
        limits.require_room(store, name, artifacts)


@pytest.mark.parametrize(
    ("store", "name", "artifacts"),
    [
        (POSTGRESQL, "n" * 256, "/" + "a" * 156),
        (Store("sqlite:////x/mlflow.db", None), "n" * 300, "/" + "a" * 400),
        (Store("http://host:5000", None), "n", "mlflow-artifacts:/" + "a" * 400),
        (POSTGRESQL, "n", None),
    ],
)
def test_what_a_store_can_hold_is_not(store: Store, name: str, artifacts: str | None) -> None:
    limits.require_room(store, name, artifacts)


def test_the_cause_is_not_cut_out_of_what_a_database_says() -> None:
    said = (
        "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush "
        "block if this flush is occurring prematurely)\n(psycopg.errors.StringDataRightTruncation) "
        "value too long for type character varying(200)\n[SQL: INSERT …]"
    )
    with (
        pytest.raises(
            RecordingError, match=r"failed: value too long for type character varying\(200\)$"
        ),
        as_recording_error(POSTGRESQL),
    ):
        raise _SaidError(said)


class _SaidError(DataError):
    def __init__(self, said: str) -> None:
        self.said = said

    def __str__(self) -> str:
        return self.said
