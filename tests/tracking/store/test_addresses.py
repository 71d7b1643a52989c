"""Paths as addresses, and back, as MLflow and SQLAlchemy read them, for any folder name."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import append_to_uri_path
from sqlalchemy.engine import make_url

from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.addresses import (
    find_folder,
    format_address,
    format_sqlite_uri,
    join_address,
)
from linfit.tracking.store.store import Store, format_store_command, resolve_store
from tests.helpers import LAW

#: Names of folders with signs that mean something in an address, in a shell, or in Hydra's
#: overrides.
NAMES = (
    "a b",
    "q%20b",
    "ü",
    "a#b",
    "a?b",
    "100%",
    "a;b",
    "a&b",
    "it's",
    'a"b',
    "a:b",
    "a+b",
    "$x",
    "a=b,c",
    "%2e%2e",
)
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).filter(
    lambda name: name not in (".", "..")
)


@LAW
@given(PATHS)
def test_mlflow_and_sqlalchemy_read_back_the_path(name: str) -> None:
    folder = Path("/outputs", name)
    address = format_address(folder)
    assert find_folder(address) == folder
    assert local_file_uri_to_path(address) == str(folder)
    assert find_folder(join_address(address, "e 1")) == folder / "e 1"
    assert (
        local_file_uri_to_path(append_to_uri_path(address, "run", "artifacts"))
        == f"{folder}/run/artifacts"
    )
    uri = format_sqlite_uri(folder / "mlflow.db")
    assert make_url(uri).database == f"{folder}/mlflow.db"
    assert Store(uri, None).file == folder / "mlflow.db"


@pytest.mark.parametrize(
    ("uri", "file", "canonical"),
    [
        ("sqlite:///x.db", "x.db", "sqlite:///{}/x.db"),
        ("sqlite:///./x", "x", "sqlite:///{}/x"),
        ("sqlite:///x.db?timeout=5", "x.db", "sqlite:///{}/x.db?timeout=5"),
        ("sqlite:///x.db?", "x.db", "sqlite:///{}/x.db"),
        ("sqlite:///a%20b/x.db", "a b/x.db", "sqlite:///{}/a b/x.db"),
        ("sqlite:///a#b;c.db", "a#b;c.db", "sqlite:///{}/a#b;c.db"),
        ("sqlite:///a%3Fb%2520.db", "a?b%20.db", "sqlite+pysqlite:///{}/a%3Fb%2520.db"),
        ("sqlite+pysqlite:///x.db", "x.db", "sqlite:///{}/x.db"),
        ("sqlite:////abs/x.db", "/abs/x.db", "sqlite:////abs/x.db"),
    ],
)
def test_a_store_is_the_file_that_sqlalchemy_opens(
    uri: str, file: str, canonical: str, bare: Path
) -> None:
    store = resolve_store(uri)
    assert (store.file, store.uri) == (bare / file, canonical.format(bare))
    assert make_url(store.uri).database == str(store.file)
    assert resolve_store(store.uri, store.artifacts) == store


@pytest.mark.parametrize(
    ("uri", "why", "command"),
    [
        ("sqlite:", "keeps nothing", "run"),
        ("sqlite://", "keeps nothing", "run -m seed=0,1"),
        ("sqlite:///", "keeps nothing", "show"),
        ("sqlite:///?timeout=5", "keeps nothing", "run"),
        ("sqlite:///:memory:", "keeps nothing", "run -m seed=0,1"),
        ("sqlite:///%3Amemory%3A", "keeps nothing", "show"),
        ("sqlite:///:memory:?cache=shared", "keeps nothing", "run"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "keeps nothing", "run -m seed=0,1"),
        ("sqlite:///file:name?mode=memory&uri=true", "keeps nothing", "show"),
        ("sqlite:///file:x.db?uri=true", "does not name a file", "run"),
        ("sqlite:x.db", "does not name a file", "run -m seed=0,1"),
        ("sqlite://host/x.db", "does not name a file", "show"),
        ("sqlite:///x.db?timeout=soon", "no number", "show"),
        ("sqlite:///x.db?time=5", "has the option 'time'", "run"),
    ],
)
def test_a_store_that_is_no_file_is_refused(
    uri: str, why: str, command: str, linfit: Callable[..., Any], bare: Path, monkeypatch: Any
) -> None:
    """One function refuses them, whoever asks: so each is asked by one command."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    said = linfit(*command.split())
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert why in said.err
    assert "write sqlite:///path/to/mlflow.db" in said.err
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "folder"),
    [
        *((name, name) for name in NAMES if ":" not in name),
        ("/x/q%20b", "/x/q%20b"),
        ("file:///x/a%20b", "/x/a b"),
        ("file:///x/q%2520b", "/x/q%20b"),
        ("file:/x/y", "/x/y"),
        ("file:a", "a"),
    ],
)
def test_artifacts_go_where_the_user_says(typed: str, folder: str, bare: Path) -> None:
    """A path is taken literally, and a URL decoded."""
    store = resolve_store("sqlite:///x.db", typed)
    assert store.artifacts is not None
    assert local_file_uri_to_path(store.artifacts) == str(bare / folder)
    assert resolve_store(store.uri, store.artifacts) == store


@pytest.mark.parametrize(
    "address", ["s3://bucket/a b", "mlflow-artifacts:/x", "http://host/x", "file://host/x"]
)
def test_what_is_no_folder_of_this_machine_stays_as_it_is(address: str) -> None:
    assert resolve_store("sqlite:///x.db", address).artifacts == address
    assert find_folder(address) is None


@pytest.fixture(params=["q%20b", "a?b", "ü #;&'\"$x, 100%"])
def named(
    request: pytest.FixtureRequest,
    bare: Path,
    migrated_store: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory of that name, with the default store."""
    folder: Path = bare / request.param
    (folder / "outputs").mkdir(parents=True)
    (folder / "outputs" / "mlflow.db").write_bytes(migrated_store.read_bytes())
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_a_working_directory_may_have_any_name(
    named: Path, linfit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (
        "run steps=5",
        "run -m steps=5 seed=0,1",
        "show",
        "report",
        "reproduce --sample 1",
    ):
        said = linfit(*words.split())
        assert said.code == 0, said.err
    assert sorted(entry.name for entry in named.iterdir()) == ["outputs", "report.html"]
    assert [entry.name for entry in named.parent.iterdir()] == [named.name]
    client = MlflowClient(resolve_store().uri)
    sweeps = [run for run in client.search_runs(["1"]) if mlflow_names.VARYING in run.data.tags]
    assert sorted(run.data.tags[mlflow_names.KIND] for run in sweeps) == [
        mlflow_names.REPRODUCTION,
        mlflow_names.SWEEP,
    ]
    for run in sweeps:
        fetched = Path(client.download_artifacts(run.info.run_id, mlflow_names.RESULTS))
        assert fetched.stat().st_size
    [model, *_] = client.search_logged_models(["1"])
    monkeypatch.setattr(
        "mlflow.tracking._tracking_service.utils._tracking_uri", resolve_store().uri
    )
    loaded = mlflow.pyfunc.load_model(
        f"models:/{model.model_id}", dst_path=str(named.parent)
    )  # without, MLflow decodes twice
    assert loaded.metadata.model_id == model.model_id


def test_the_command_that_shows_a_store_can_be_typed(bare: Path) -> None:
    for name in NAMES:
        store = resolve_store(format_sqlite_uri(bare / name / "mlflow.db"))
        assert resolve_store(shlex.split(format_store_command(store))[-1]) == store
