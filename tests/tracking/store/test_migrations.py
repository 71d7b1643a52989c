"""Stores of other MLflows: read without a change, and refused in one line by whatever writes."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.db.utils import _get_latest_schema_revision

from linfit.errors import RecordingError
from linfit.tracking.read.reader import RunReader
from linfit.tracking.store import copies, migrations
from linfit.tracking.store.copies import ReadableDatabase
from linfit.tracking.store.migrations import (
    DatabaseSchema,
    SchemaAge,
    find_latest_revision,
    name_release,
    read_revisions,
    read_schema,
    require_current,
    upgrade_command,
)
from linfit.tracking.store.store import Store, resolve_store
from tests.stores.write import ELSEWHERE, move

Linfit = Callable[..., Any]
ARCHIVES = sorted((Path(__file__).parents[2] / "stores").glob("mlflow-*.tar.xz"))
OLDEST, OLDEST_REVISION = ARCHIVES[0], "1b5f0d9ad7c1"
FILE = Path("outputs", "mlflow.db")
UNKNOWN = "0123456789ab"
READS = (
    "show",
    "show last --json",
    "report --json",
    "diff FIT FIT",
    "script FIT",
    "verify --sample 1",
    "reproduce last --sample 1 --set tracking=none",
    "relocate",
)
WRITES = (
    "run -m steps=6 seed=0,1",
    "resume last",
    "reproduce last --sample 1",
    "relocate --yes",
    "ui",
)


def extract(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")


def bytes_below(folder: Path) -> dict[str, str]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def change(*statements: str, file: Path = FILE) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


@pytest.fixture
def old(bare: Path) -> Path:
    """A working directory of the oldest MLflow, which lies where it was written."""
    if find_latest_revision() == OLDEST_REVISION:
        pytest.skip("no MLflow that linfit works with is older than the installed one")
    extract(OLDEST, bare)
    move(bare / FILE, ELSEWHERE, str(bare))
    return bare


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of the oldest MLflow, upgraded once as `mlflow db upgrade` does."""
    from mlflow.store.db.utils import _upgrade_db
    from sqlalchemy import NullPool, create_engine

    folder = tmp_path_factory.mktemp("upgraded")
    extract(OLDEST, folder)
    _upgrade_db(create_engine(f"sqlite:///{folder / FILE}", poolclass=NullPool))
    return folder / FILE


@pytest.fixture
def current(old: Path, upgraded: Path) -> Path:
    """The oldest MLflow's working directory, after the upgrade."""
    shutil.copy(upgraded, old / FILE)
    move(old / FILE, ELSEWHERE, str(old))
    return old


@pytest.fixture(params=["older", "newer"])
def other(request: pytest.FixtureRequest, old: Path) -> Path:
    """The same, or one of an MLflow that is not there yet: its tables are this one's, and more."""
    if request.param == "newer":
        request.getfixturevalue("current")
        change(
            "ALTER TABLE runs ADD COLUMN later TEXT",
            f"UPDATE alembic_version SET version_num = '{UNKNOWN}'",
        )
    return old


@pytest.fixture(autouse=True)
def _told_anew() -> None:
    copies._warn_once.cache_clear()


# ---- what is known of revisions ----


def test_the_latest_revision_is_mlflows_own() -> None:
    assert find_latest_revision() == _get_latest_schema_revision()
    assert {archive.name for archive in ARCHIVES} >= {
        f"mlflow-3.{minor}.tar.xz" for minor in (10, 14, 16, 17, 18)
    }


def test_revisions_are_told_as_versions() -> None:
    installed = ".".join(version("mlflow").split(".")[:2])
    assert migrations.MLFLOW_RELEASES.get(str(find_latest_revision()), installed) == installed
    assert name_release("451aebb31d03") == "an MLflow before 3.10"
    assert name_release(UNKNOWN) == f"a later MLflow (revision {UNKNOWN})"
    [before] = read_revisions()["c3d6457b6d8a"] or [""]
    assert name_release(before) in ("MLflow 3.10", "an MLflow before 3.11")


@pytest.mark.parametrize(
    ("uri", "command"),
    [
        ("sqlite:////a/mlflow.db", "mlflow db upgrade sqlite:////a/mlflow.db"),
        ("sqlite:////a b/mlflow.db", "mlflow db upgrade 'sqlite:////a b/mlflow.db'"),
        ("postgresql://me@host/db", "mlflow db upgrade postgresql://me@host/db"),
        (
            "postgresql://me:canary@host/db",
            "mlflow db upgrade 'postgresql://me:***@host/db'` with the password in place of `***",
        ),
    ],
)
def test_the_command_has_the_address_and_no_password(
    uri: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert upgrade_command(Store(uri, None)) == command
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    expected = 'mlflow db upgrade "$MLFLOW_TRACKING_URI"' if "canary" in uri else command
    assert upgrade_command(Store(uri, None)) == expected


# ---- reading ----


@pytest.mark.parametrize(
    "archive", ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.xz")
)
def test_the_store_of_every_release_is_read_and_stays_as_it_is(archive: Path, bare: Path) -> None:
    extract(archive, bare)
    before = bytes_below(bare)
    reader = RunReader(resolve_store())
    sweep = reader.find_run("last")
    fits = sweep.find_children()
    assert {fit.name for fit in fits} == {
        f"lr={lr} seed={seed}" for lr in (0.1, 0.2) for seed in (0, 1)
    }
    assert {fit.status for fit in fits} == {"FINISHED"}
    assert len(fits[0].read_curves()["loss"]) == 20
    assert sweep.fetch_file("results.parquet").stat().st_size
    assert bytes_below(bare) == before


def test_every_command_that_reads_leaves_every_byte(
    other: Path, linfit: Linfit, caplog: pytest.LogCaptureFixture
) -> None:
    before = bytes_below(other)
    reader = RunReader(resolve_store())
    fit = reader.find_run("last").find_children()[0].run_id
    for command in READS:
        caplog.clear()
        copies._warn_once.cache_clear()
        done = linfit(
            *command.replace("FIT", fit).split(),
            *(["--output", "/dev/null"] if command.startswith("report") else []),
        )
        assert done.code in (0, 1), (command, done.err)
        assert [
            record.levelno
            for record in caplog.records
            if "it is read from a copy" in record.getMessage()
        ] == [logging.WARNING], command
    assert bytes_below(other) == before


def test_the_copy_is_deleted(old: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("linfit.system.scratch._Scratch.folder", None)
    reader = RunReader(resolve_store())
    assert len(list(tmp_path.glob("linfit-*/*/mlflow.db"))) == 1
    del reader
    assert not list(tmp_path.glob("linfit-*"))


def test_what_lies_in_a_log_is_read_and_stays_there(old: Path) -> None:
    """Neither the file nor the log of a killed process changes.

    The last connection that may write would empty the log into the file.
    """
    change("PRAGMA journal_mode = WAL")
    program = (
        "import os, sqlite3; store = sqlite3.connect('outputs/mlflow.db'); "
        "store.execute(\"UPDATE runs SET name = 'from the log'\"); store.commit(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    before = bytes_below(old)
    assert before["outputs/mlflow.db-wal"] != hashlib.sha256(b"").hexdigest()
    assert RunReader(resolve_store()).find_run("last").name == "from the log"
    after = bytes_below(old)
    assert {name: after[name] for name in before if not name.endswith("-shm")} == {
        name: digest for name, digest in before.items() if not name.endswith("-shm")
    }


def test_a_store_is_not_read_where_its_copy_has_no_room(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "ROOM_FACTOR", 10**15)
    with pytest.raises(
        RecordingError, match=r"`mlflow db upgrade .*; to read a copy of it, .* has too little room"
    ):
        RunReader(resolve_store())


# ---- writing ----


@pytest.mark.parametrize("command", WRITES)
def test_who_writes_is_refused_with_both_versions_and_what_to_type(
    command: str, other: Path, linfit: Linfit
) -> None:
    before, installed = bytes_below(other), version("mlflow")
    newer = read_schema(resolve_store()).age is SchemaAge.NEWER
    done = linfit(*command.split())
    assert (done.code, done.out) == (2, "")
    line = done.err.splitlines()[-1]
    assert line.count(f"and {installed} is installed: ") == 1
    typed = (
        "`pip install --upgrade mlflow`"
        if newer
        else f"`mlflow db upgrade sqlite:///{other}/outputs/mlflow.db`"
    )
    assert typed in line
    assert (f"a later MLflow (revision {UNKNOWN})" if newer else "MLflow 3.10") in line
    assert bytes_below(other) == before


@pytest.mark.usefixtures("current")
def test_what_is_typed_works(linfit: Linfit) -> None:
    assert linfit("run", "steps=6").code == 0
    assert json.loads(linfit("show", "last", "--json").out)["params"]["steps"] == "6"


# ---- other databases ----


def test_every_database_is_asked_the_same(workdir: Path) -> None:
    schema = migrations._read_database(resolve_store())
    assert schema == read_schema(resolve_store())
    assert schema.age is SchemaAge.CURRENT


@pytest.mark.parametrize("revision", [OLDEST_REVISION, UNKNOWN])
def test_a_database_that_is_no_file_is_refused_by_who_reads_too(
    revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_latest_revision() == revision:
        pytest.skip("no MLflow that linfit works with is older than the installed one")
    monkeypatch.setattr(
        migrations,
        "_read_database",
        lambda store: DatabaseSchema((revision,), migrations.REQUIRED_TABLES | {"experiments"}),
    )
    store = Store("postgresql://me:canary@host/db", None)
    for refused in (require_current, ReadableDatabase):
        with pytest.raises(
            RecordingError,
            match=r"^the store postgresql://me:\*\*\*@host/db is of .*MLflow.* is installed: `",
        ) as error:
            refused(store)
        assert "canary" not in str(error.value) and "\n" not in str(error.value)


# ---- other kinds ----


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (
            ["DELETE FROM alembic_version"],
            "is damaged, it lacks the revision of its tables: put a copy of it back",
        ),
        (
            [f"INSERT INTO alembic_version VALUES ('{UNKNOWN}')"],
            "is damaged, it lacks the revision of its tables",
        ),
        (["DROP TABLE experiments"], "is a database but not MLflow's: name another"),
        (["DROP TABLE params"], "is damaged, it lacks params"),
        (
            [
                "ALTER TABLE tags RENAME COLUMN value TO content",
                f"UPDATE alembic_version SET version_num = '{UNKNOWN}'",
            ],
            "pip install",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    statements: list[str], said: str, old: Path, linfit: Linfit
) -> None:
    change("PRAGMA foreign_keys = OFF", *statements)
    before = bytes_below(old)
    for command in ("show", "run steps=6", "ui"):
        done = linfit(*command.split())
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
        assert said in done.err
    assert bytes_below(old) == before


def test_the_lack_of_a_table_is_damage_where_the_revision_is_the_latest(
    workdir: Path, linfit: Linfit
) -> None:
    change("DROP TABLE latest_metrics")
    for command in ("show", "run steps=6"):
        done = linfit(*command.split())
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is damaged, it lacks latest_metrics" in done.err


def test_a_store_that_is_half_migrated_is_read_all_the_same(current: Path) -> None:
    """Its columns are new and its revision is old: the upgrade fails on an existing column."""
    change(f"UPDATE alembic_version SET version_num = '{OLDEST_REVISION}'")
    before = bytes_below(current)
    reader = RunReader(resolve_store())
    assert len(reader.find_run("last").find_children()) == 4
    assert bytes_below(current) == before


def test_a_database_of_another_program_is_none_of_ours(bare: Path, linfit: Linfit) -> None:
    (bare / "outputs").mkdir()
    change(
        "CREATE TABLE alembic_version (version_num TEXT)",
        "CREATE TABLE tags (key TEXT)",
        f"INSERT INTO alembic_version VALUES ('{UNKNOWN}')",
    )
    before = bytes_below(bare)
    for command in ("show", "run steps=6", "ui"):
        done = linfit(*command.split())
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "is a database but not MLflow's" in done.err
    assert bytes_below(bare) == before


def test_a_store_without_tables_is_absent_for_who_reads(bare: Path, linfit: Linfit) -> None:
    (bare / "outputs").mkdir()
    change("CREATE TABLE alembic_version (version_num TEXT)")
    before = bytes_below(bare)
    assert "has no tables yet: run something first" in linfit("show").err
    assert bytes_below(bare) == before


def test_what_no_migrations_tell_is_left_to_mlflow(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "read_revisions", dict)
    assert read_schema(resolve_store()).age is SchemaAge.CURRENT
