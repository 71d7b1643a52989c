"""Stores that were copied or moved: read, refused, and their addresses rewritten."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from linfit.errors import ConfigError, RecordingError
from linfit.tracking.read.reader import RunReader
from linfit.tracking.relocation import relocate_store, rewrite_address, rewrite_path, rewrite_source
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.store import Store, resolve_store
from linfit.tracking.store.whereabouts import (
    FolderMove,
    find_moves,
    is_folder_gone,
    require_not_gone,
    require_settled,
)
from tests.helpers import forget_mlflow

Linfit = Callable[..., Any]
SWEPT = ("run", "-m", "steps=5", "seed=0,1,2", "name=swept", "hydra.sweep.dir=outputs/sweeps/one")
#: What writes to the store, in an MLflow experiment that is there and in a new one.
WRITES = (
    "run steps=6",
    "run -m steps=6 seed=0,1",
    "run name=new steps=6",
    "resume last",
    "reproduce",
    "run --skip-done steps=6",
)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """Return the working directory of somebody who sends `outputs/`: a fit, and last a sweep."""
    from linfit.sweeps.run.hydra_app import execute

    folder = tmp_path_factory.mktemp("ann")
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        forget_mlflow(patch)
        patch.chdir(folder)
        execute(["steps=5", "hydra.run.dir=outputs/runs/one"])
        execute(list(SWEPT[1:]))
    with closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as database, database:
        source = json.dumps({"uri": str(folder / "outputs" / "data.csv")})
        database.execute(
            "UPDATE datasets SET dataset_source = ? "
            "WHERE rowid = (SELECT min(rowid) FROM datasets)",
            (source,),
        )
    return folder


@pytest.fixture
def copied(sent: Path, bare: Path) -> Path:
    """A copy of it as the working directory, the original in its place."""
    shutil.copytree(sent / "outputs", bare / "outputs")
    return bare


@pytest.fixture
def moved(copied: Path) -> Path:
    """What is left of it where the original is gone, whose folder had another name then."""
    with closing(sqlite3.connect(copied / "outputs" / "mlflow.db")) as database, database:
        old = f"{copied.parent}/gone/outputs"
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            text = f"substr({column}, instr({column}, '/outputs/') + 8)"
            database.execute(
                f"UPDATE {table} SET {column} = ? || {text} WHERE {column} LIKE '%/outputs/%'",
                (old,),
            )
    return copied


def everything(folder: Path) -> dict[Path, bytes]:
    return {
        file: file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "mlflow.db-journal"
    }


@pytest.mark.parametrize("words", WRITES)
def test_nothing_is_written_where_a_copy_comes_from(
    words: str, linfit: Linfit, sent: Path, copied: Path
) -> None:
    before = everything(sent), everything(copied)
    said = linfit(*words.split())
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "was copied or moved" in said.err
    assert "`linfit relocate`" in said.err
    assert (everything(sent), everything(copied)) == before


@pytest.mark.parametrize("words", WRITES[:1] + WRITES[4:5])
def test_nothing_is_made_where_a_moved_store_was(words: str, linfit: Linfit, moved: Path) -> None:
    before = everything(moved)
    said = linfit(*words.split())
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "`linfit relocate`" in said.err
    assert everything(moved) == before
    assert not (moved.parent / "gone").exists()


def test_a_copy_is_read_beside_its_database(linfit: Linfit, copied: Path) -> None:
    reader = RunReader(resolve_store())
    assert reader.find_run("last").fetch_file(mlflow_names.RESULTS).is_relative_to(copied)
    for words in (
        "show",
        "report",
        "verify --sample 1",
        "reproduce --sample 1 --set tracking=none",
    ):
        said = linfit(*words.split())
        assert said.code == 0, said.err
    assert "beside" not in said.out


def test_relocate_shows_then_rewrites_and_mlflow_finds_everything(
    linfit: Linfit, moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = linfit("relocate", "--json")
    plan = json.loads(shown.out)
    assert plan["moves"] == [{"from": f"{moved.parent}/gone/outputs", "to": f"{moved}/outputs"}]
    assert plan["addresses"] == {
        "experiments": 2,
        "runs": 5,
        "models": 2,
        "datasets": 0,
        "traces": 0,
        "tags": 0,
    }
    assert plan["done"] is False
    assert linfit("run", "steps=6").code == 2
    assert "add --yes" in linfit("relocate").out
    done = linfit("relocate", "--yes")
    assert (done.code, done.err) == (0, "")
    assert "rewritten" in done.out
    assert "nothing to rewrite" in linfit("relocate").out
    monkeypatch.setattr(
        "mlflow.tracking._tracking_service.utils._tracking_uri", resolve_store().uri
    )
    require_found(moved)
    for words in ("run steps=6", "reproduce", "run -m steps=6 seed=0,1 name=swept", "show"):
        assert linfit(*words.split()).code == 0
    assert not (moved.parent / "gone").exists()


def require_found(folder: Path) -> None:
    """MLflow's own client finds the files of all runs, and loads all models, below the folder."""
    client = MlflowClient(mlflow.get_tracking_uri())
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    tops = [
        run for run in client.search_runs(experiments) if mlflow_names.PARENT not in run.data.tags
    ]
    assert len(tops) == 2
    for run in tops:
        assert str(folder) in run.info.artifact_uri
        assert (
            Path(client.download_artifacts(run.info.run_id, mlflow_names.ENVIRONMENT_FILE))
            .stat()
            .st_size
        )
    models = client.search_logged_models(experiments)
    assert len(models) == 2
    for model in models:
        assert str(folder) in model.artifact_location
        assert (
            mlflow.pyfunc.load_model(f"models:/{model.model_id}").metadata.model_id
            == model.model_id
        )


def test_relocate_rewrites_paths_in_tags_datasets_and_the_registry(
    linfit: Linfit, sent: Path, copied: Path
) -> None:
    client = MlflowClient(resolve_store().uri, registry_uri=resolve_store().uri)
    [model, *_] = client.search_logged_models(["1", "2"])
    client.create_registered_model("mine")
    client.create_model_version("mine", model.artifact_location, model.source_run_id)
    assert json.loads(linfit("relocate", "--yes", "--json").out)["addresses"]["datasets"] == 1
    with closing(sqlite3.connect("outputs/mlflow.db")) as database:
        tables = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        left = [
            row
            for table in tables
            for row in database.execute(f'SELECT * FROM "{table}"')
            if str(sent) in repr(row)
        ]
    assert left == []
    assert RunReader(resolve_store()).find_run("last").tags[mlflow_names.FOLDER] == str(
        copied / "outputs" / "sweeps" / "one"
    )
    assert client.get_model_version("mine", "1").source.startswith(str(copied))
    assert linfit("resume", "last").code == 0


def test_a_name_with_signs_is_quoted_where_mlflow_decodes(
    linfit: Linfit, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied / "q%20b #?"
    folder.mkdir()
    shutil.move("outputs", folder / "outputs")
    monkeypatch.chdir(folder)
    assert linfit("relocate", "--yes").code == 0
    assert linfit("run", "steps=6").code == 0
    client = MlflowClient(resolve_store().uri)
    for run in client.search_runs(["1"], f"tags.`{mlflow_names.KIND}` = 'fit'"):
        assert (
            Path(client.download_artifacts(run.info.run_id, mlflow_names.CONFIG_FILE))
            .stat()
            .st_size
        )
    assert sorted(entry.name for entry in copied.iterdir()) == ["q%20b #?"]


def test_a_copy_of_the_database_alone_is_a_copy(sent: Path, bare: Path) -> None:
    shutil.copy(sent / "outputs" / "mlflow.db", bare / "mine.db")
    store = resolve_store("sqlite:///mine.db")
    assert find_moves(store) == [FolderMove(sent / "outputs", bare)]


# ---- what is chosen is no move ----


def link(sent: Path, here: Path) -> str:
    (here / "outputs").symlink_to(sent / "outputs")
    return "sqlite:///outputs/mlflow.db"


def link_to_the_file(sent: Path, here: Path) -> str:
    (here / "linked.db").symlink_to(sent / "outputs" / "mlflow.db")
    return "sqlite:///linked.db"


def relative(sent: Path, here: Path) -> str:
    return f"sqlite:///{os.path.relpath(sent / 'outputs' / 'mlflow.db', here)}"


def backup_beside_it(sent: Path, here: Path) -> str:
    return (
        f"sqlite:///{shutil.copy(sent / 'outputs' / 'mlflow.db', sent / 'outputs' / 'backup.db')}"
    )


@pytest.mark.parametrize("way", [link, link_to_the_file, relative, backup_beside_it])
def test_another_way_to_the_same_place_is_no_move(
    way: Callable[[Path, Path], str], sent: Path, bare: Path
) -> None:
    store = resolve_store(way(sent, bare))
    assert find_moves(store, with_gone=True) == []
    require_settled(store)


@pytest.mark.parametrize(
    "place",
    ["elsewhere", "elsewhere/artifacts", "first/outputs/artifacts", "q%20b", "file:elsewhere"],
)
@pytest.mark.slow
def test_artifacts_that_were_put_elsewhere_are_no_move(
    place: str, linfit: Linfit, bare: Path, migrated_store: Path
) -> None:
    """Also below another store's, and where this store has files of an experiment of that name."""
    for folder in ("first", "second"):
        (bare / folder / "outputs" / "artifacts" / "adhoc").mkdir(parents=True)
        shutil.copy(migrated_store, bare / folder / "outputs" / "mlflow.db")
    assert linfit("run", "steps=3", "tracking.uri=sqlite:///first/outputs/mlflow.db").code == 0
    again = ("run", "steps=3", "tracking.uri=sqlite:///second/outputs/mlflow.db")
    for _ in range(2):
        assert linfit(*again, f"tracking.artifacts={place}").code == 0
    assert (
        "nothing to rewrite"
        in linfit("relocate", "--uri", again[-1].removeprefix("tracking.uri=")).out
    )


def test_a_folder_that_is_gone_is_not_made_again(bare: Path) -> None:
    gone, chosen = f"{bare}/a/b/artifacts/adhoc", f"{bare}/adhoc"
    assert is_folder_gone(Path(gone)) and not is_folder_gone(Path(chosen))
    store = resolve_store()
    require_not_gone(store, "adhoc", chosen)
    require_not_gone(store, "adhoc", "s3://bucket/a/b/c/d")
    require_not_gone(resolve_store(None, f"{bare}/a/b"), "adhoc", gone)
    for place, command in (
        (gone, "`linfit relocate`"),
        (f"{bare}/a/b/c/adhoc", f"--from {bare}/a/b/c/adhoc --to FOLDER`"),
    ):
        with pytest.raises(RecordingError, match="nothing of that is here") as raised:
            require_not_gone(store, "adhoc", place)
        assert command in str(raised.value)


def test_a_folder_that_may_not_be_looked_at_is_as_one_that_is_gone(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert is_folder_gone(bare)


def test_folders_may_be_named(linfit: Linfit, bare: Path, migrated_store: Path) -> None:
    (bare / "outputs").mkdir()
    shutil.copy(migrated_store, bare / "outputs" / "mlflow.db")
    assert linfit("run", "steps=3", "tracking.artifacts=deep/in/files").code == 0
    shutil.move("deep", "flat")
    said = linfit("run", "steps=3")
    assert "--from" in said.err and "--to FOLDER" in said.err
    assert linfit("relocate", "--from", "deep/in/files", "--to", "flat/in/files", "--yes").code == 0
    assert linfit("reproduce", "--artifacts", "flat/in/files").code == 0
    assert sorted(entry.name for entry in bare.iterdir()) == ["flat", "outputs"]


def test_a_store_that_is_no_file_needs_both_folders(bare: Path) -> None:
    with pytest.raises(ConfigError, match="is a server"):
        relocate_store(Store("http://127.0.0.1:1", None))


MOVES = [FolderMove(Path("/old/outputs"), Path("/new/q%20b"))]


@pytest.mark.parametrize(
    ("rewrite", "text", "new"),
    [
        (rewrite_address, "/old/outputs/artifacts/a b", "file:///new/q%2520b/artifacts/a%20b"),
        (rewrite_address, "file:///old/outputs", "file:///new/q%2520b"),
        (rewrite_address, "/old/outputs2/artifacts", None),
        (rewrite_address, "s3://old/outputs/artifacts", None),
        (rewrite_address, "models:/m-1", None),
        (rewrite_address, "", None),
        (rewrite_path, "/old/outputs/sweeps/%41", "/new/q%20b/sweeps/%41"),
        (rewrite_path, "/older", None),
        (rewrite_source, '{"uri": "/old/outputs/ü.csv"}', '{"uri": "/new/q%20b/\\u00fc.csv"}'),
        (rewrite_source, '{"uri": 1}', None),
        (rewrite_source, "[]", None),
        (rewrite_source, "no JSON", None),
    ],
)
def test_what_lies_below_the_old_place_is_rewritten(
    rewrite: Any, text: str, new: str | None
) -> None:
    assert rewrite(text, MOVES) == new
