"""Making, finding and refusing stores."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.utils.file_utils import local_file_uri_to_path

from linfit.errors import LinfitError, RecordingError
from linfit.tracking.read.reader import RunReader
from linfit.tracking.secrets.masking import mask
from linfit.tracking.store import store as stores
from linfit.tracking.store.retry import as_recording_error
from linfit.tracking.store.store import (
    Store,
    ensure_store,
    experiment_folder,
    require_store,
    resolve_store,
)
from tests.helpers import started


def test_the_default_is_below_the_working_directory(bare: Path) -> None:
    assert resolve_store() == Store(
        f"sqlite:///{bare}/outputs/mlflow.db", f"{bare}/outputs/artifacts"
    )


def test_the_environment_wins_over_the_default_and_the_config_over_both(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert resolve_store().uri == "http://127.0.0.1:9"
    assert resolve_store("sqlite:///other.db").uri == f"sqlite:///{bare}/other.db"
    assert resolve_store("databricks").uri == "databricks"


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///tmp/mlruns"])
def test_a_folder_is_refused(uri: str) -> None:
    with pytest.raises(
        RecordingError, match=r"is a folder, which MLflow refuses as a store: write sqlite:///"
    ):
        resolve_store(uri)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://user:secret@host/db", "postgresql://user:***@host/db"),
        (
            "failed at http://u:p%40ss@host:5000/x and more",
            "failed at http://u:***@host:5000/x and more",
        ),
        ("http://:only@host", "http://:***@host"),
        ("http://me:${oc.env:PASSWORD}@host", "http://me:${oc.env:PASSWORD}@host"),
        ("http://${oc.env:USER}:secret@host", "http://${oc.env:USER}:***@host"),
        ("http://me:${oc.env:PASSWORD}x@host", "http://me:***@host"),
        ("http://me:${oc.env:PASSWORD}@x@host", "http://me:***@host"),
        ("http://me:${oc.env:PASSWORD,clear}@host", "http://me:***@host"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("s3://bucket/a:b", "s3://bucket/a:b"),
        *(
            (f"postgresql://me@corp:{word}@host/db", "postgresql://me@corp:***@host/db")
            for word in ("a/b", "a b", 'a"b', "a@b", "a:b", "a?b#")
        ),
        ("from ftp://a:b@c to ftp://d:e@f@g/h", "from ftp://a:***@c to ftp://d:***@g/h"),
        (
            "postgresql://h/db?user=u&password=p/ ;q&x=1",
            "postgresql://h/db?user=u&password=***&x=1",
        ),
        ("postgresql://h/db?sslpassword=p", "postgresql://h/db?sslpassword=***"),
        ("https://h/?password=${oc.env:P}&a=1", "https://h/?password=${oc.env:P}&a=1"),
        (
            "mssql+pyodbc:///?odbc_connect=D={x};UID=u;PWD=p;E=1",
            "mssql+pyodbc:///?odbc_connect=D={x};UID=u;PWD=***;E=1",
        ),
        (
            "mssql+pyodbc:///?odbc_connect=PWD={a;b};E=1",
            "mssql+pyodbc:///?odbc_connect=PWD=***;E=1",
        ),
        (
            "mssql+pyodbc:///?odbc_connect=UID%3Du%3Bpwd%3Dp%3BE%3D1",
            "mssql+pyodbc:///?odbc_connect=UID%3Du%3Bpwd%3D***%3BE%3D1",
        ),
    ],
)
def test_passwords_are_masked(text: str, masked: str) -> None:
    assert mask(text) == masked
    assert mask(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "the server http://127.0.0.1:5000 does not answer; write to me@x.org",
        "http://h:80",
        "tcp://10.0.0.1:8786 is gone, ask a@b",
    ],
)
def test_ports_are_no_passwords(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("name", ["article", "a/b", "../../etc", "..", "ü ñ", "x" * 190])
def test_an_experiment_is_one_folder_below_the_artifacts(name: str, tmp_path: Path) -> None:
    folder = experiment_folder(Store("sqlite:///x.db", str(tmp_path)), name)
    assert folder is not None
    assert Path(local_file_uri_to_path(folder)).resolve().parent == tmp_path


def test_experiments_whose_names_differ_in_signs_have_folders_of_their_own() -> None:
    store = Store("sqlite:///x.db", "/a")
    assert len({experiment_folder(store, name) for name in ("a/b", "a.b", "a_b", "a%2Fb")}) == 4


@pytest.mark.matrix
def test_an_absent_store_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deep" / "mlflow.db"

    def fails(temporary: Path, artifacts: str) -> None:
        assert not file.exists()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stores, "_put_into_place", fails)
        with pytest.raises(RecordingError, match="cannot be made: No space left on device"):
            ensure_store(Store(f"sqlite:///{file}", None))
    assert not file.exists()
    ensure_store(Store(f"sqlite:///{file}", None))
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


def test_processes_that_race_for_a_new_store_all_get_it(tmp_path: Path) -> None:
    code = (
        "from linfit.tracking.store.store import *; "
        f"ensure_store(resolve_store('sqlite:///{tmp_path}/new/mlflow.db'))"
    )
    with ExitStack() as stack:
        racing = [
            stack.enter_context(started([sys.executable, "-c", code], stderr=subprocess.PIPE))
            for _ in range(2)
        ]
        assert [(process.communicate()[1], process.returncode) for process in racing] == [
            (b"", 0)
        ] * 2


def test_what_is_no_mlflow_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("these are my notes, not a database\n" * 100)
    with pytest.raises(RecordingError, match="file is not a database"):
        ensure_store(Store(f"sqlite:///{text}", None))
    assert text.read_text().startswith("these are my notes")
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE mine (x)")
        database.commit()
    with pytest.raises(RecordingError, match="is a SQLite database but not MLflow's"):
        ensure_store(Store(f"sqlite:///{other}", None))


def test_a_locked_store_is_named_with_what_to_do(
    workdir: Path, linfit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SERVER_TIMEOUT", 0.1)
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        done = linfit("run", "steps=2")
    assert done.code == 2
    assert "database is locked; another program holds it: wait" in done.err
    assert done.err.count("\n") == 1
    assert not (workdir / "outputs" / "runs").exists()


def test_a_store_that_is_written_to_can_be_read(workdir: Path, linfit: Callable[..., Any]) -> None:
    with closing(sqlite3.connect(workdir / "outputs" / "mlflow.db")) as database:
        database.execute("BEGIN IMMEDIATE")
        assert "there is no run of linfit in" in linfit("show").err


#: Ends as by SIGKILL when the first pages of its transaction are in the file already.
DYING = """
import os, sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("PRAGMA cache_size = 1")
store.execute("BEGIN IMMEDIATE")
tags = [(f"key {number}", "x" * 1000) for number in range(500)]
store.executemany("INSERT INTO experiment_tags VALUES (?, ?, 0)", tags)
os._exit(9)
"""


def test_what_a_killed_process_was_writing_is_rolled_back_by_who_only_reads(
    workdir: Path, linfit: Callable[..., Any]
) -> None:
    file = workdir / "outputs" / "mlflow.db"
    journal = file.with_name("mlflow.db-journal")
    assert subprocess.run([sys.executable, "-c", DYING, str(file)], check=False).returncode == 9
    assert journal.stat().st_size
    assert "there is no run of linfit in" in linfit("show").err
    assert not journal.exists()
    with closing(sqlite3.connect(file)) as database:
        assert database.execute(
            "SELECT count(*) FROM experiment_tags WHERE experiment_id = 0 AND key LIKE 'key %'"
        ).fetchone() == (0,)


def test_a_store_that_nobody_may_write_can_be_read(workdir: Path) -> None:
    file = workdir / "outputs" / "mlflow.db"
    file.chmod(0o444)
    require_store(resolve_store(f"sqlite:///{file}"))


def test_absent_is_an_error_only_for_who_reads(bare: Path) -> None:
    with pytest.raises(RecordingError, match=r"there is no store at .*: run something first"):
        require_store(resolve_store())
    assert list(bare.iterdir()) == []


def test_a_server_that_does_not_answer_is_said_at_once() -> None:
    with pytest.raises(
        RecordingError, match=r"the tracking server http://u:\*\*\*@127.0.0.1:1 does not answer"
    ):
        ensure_store(Store("http://u:secret@127.0.0.1:1", None))


def test_a_missing_driver_is_named(
    linfit: Callable[..., Any], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # make faults has installed it
    done = linfit("run", "tracking.uri=postgresql://u:canary@127.0.0.1/x")
    assert done.code == 2
    assert "needs the Python package psycopg" in done.err
    assert "canary" not in done.err
    assert list(bare.iterdir()) == []


def test_a_missing_package_is_of_the_store_or_of_where_its_artifacts_are() -> None:
    store = Store("sqlite:///x.db", None)
    with (
        pytest.raises(
            RecordingError, match=r"the store sqlite:///x\.db needs the Python package driver,"
        ),
        as_recording_error(store),
    ):
        raise ModuleNotFoundError(name="driver")
    for place in (
        as_recording_error(store, "s3://bucket"),
        as_recording_error(Store("sqlite:///x.db", "s3://bucket")),
    ):
        with (
            pytest.raises(
                RecordingError,
                match="or its artifacts at s3://bucket, need the Python package boto3,",
            ),
            place,
        ):
            raise ModuleNotFoundError(name="boto3")


def test_an_error_that_repeats_the_address_has_no_password() -> None:
    store = Store('mssql://h/x?password=a"b c;d', None)
    with pytest.raises(RecordingError) as raised, as_recording_error(store):
        raise OSError(f"cannot open {store.uri} now")
    assert (
        "*** now" in str(raised.value)
        and "b c" not in str(raised.value)
        and "d now" not in str(raised.value)
    )


def test_files_are_found_where_outputs_was_moved_to(
    workdir: Path, linfit: Callable[..., Any]
) -> None:
    assert linfit("run", "article/linear_adam").code == 0
    moved = workdir / "elsewhere" / "results"
    shutil.copytree(workdir / "outputs", moved)
    shutil.rmtree(workdir / "outputs")
    reader = RunReader(resolve_store(f"sqlite:///{moved}/mlflow.db"))
    record = reader.find_run("last")
    assert record.fetch_file("weights.safetensors").is_relative_to(moved)
    with pytest.raises(LinfitError, match="has no file nothing"):
        record.fetch_file("nothing")


def test_an_environment_below_a_percent_sign_is_said(
    monkeypatch: pytest.MonkeyPatch, linfit: Any, bare: Path
) -> None:
    """MLflow's own migrations cannot be found there: alembic takes the sign for a reference."""
    where = SimpleNamespace(origin="/home/50%/site-packages/mlflow/__init__.py")
    monkeypatch.setattr("linfit.tracking.store.store.find_spec", lambda name: where)
    done = linfit("run", "steps=1")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert (
        "MLflow opens no database from /home/50%/site-packages/mlflow, which has a % in its name"
        in done.err
    )
    assert list(bare.iterdir()) == []
