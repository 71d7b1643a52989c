"""Nothing that a foreign store names is ever imported, opened, written, connected to or executed.

A store is a database with artifacts beside it. Each test puts something hostile into a copy of one,
and runs every command that reads stores. An audit hook sees every file opened, module imported,
process started and address connected to while a command runs; whatever a hostile store names has
BAIT in its name.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from linfit import cli
from linfit.config import canonical_json, hash_data
from linfit.conventions import CONFIG_SCHEMA
from linfit.tracking.schema import mlflow_names
from tests.helpers import config

Linfit = Callable[..., Any]
BAIT = "bait_4711"
SECRET = "canary_4711"
#: What a terminal or a browser would obey.
ESCAPES = f"\x1b[2J\x1b]0;{BAIT}\x07\x9b31m\r\b\u202e"
MARKUP = (
    f"[bold red]{BAIT}[/] [link=file:///{BAIT}]x[/link] [/nonsense] <script>{BAIT}</script> {{}} %s"
)
#: Commands that read a store, as far as there are, with what they need besides a run.
COMMANDS: dict[str, tuple[str, ...]] = {
    "show": (),
    "diff": ("SINGLE",),
    "verify": (),
    "script": (),
    "reproduce": (),
    "resume": ("--plan",),
    "report": ("--output", "page.html"),
}
#: All commands but `report`, which is slow, and has a test of its own.
PRESENT = [name for name in COMMANDS if name in cli.cli.commands and name != "report"]

_watching: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event not in (
        "object.__getattr__",
        "sqlite3.connect",
        "sqlite3.connect/handle",
    ):
        text = f"{event} {arguments[:2]!r}"[:2000]
        if BAIT in text and event in EVENTS:
            _watching[-1].append(text)


EVENTS = {
    "open",
    "import",
    "exec",
    "compile",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
}
EVENTS |= {
    "socket.getaddrinfo",
    "pickle.find_class",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "shutil.copyfile",
}
EVENTS |= {"urllib.Request", "ctypes.dlopen", "os.listdir", "os.scandir", "glob.glob"}


@pytest.fixture(scope="module", autouse=True)
def _hooked() -> None:
    sys.addaudithook(_hook)


@contextmanager
def watched() -> Iterator[list[str]]:
    seen: list[str] = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """A folder whose store has a single run and a sweep of two."""
    from click.testing import CliRunner

    folder = tmp_path_factory.mktemp("recorded")
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    (folder / "data.csv").write_text("a,b\n1,2\n2,3\n3,5\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for arguments in (
            ["run", "steps=3"],
            ["run", "-m", "steps=3", "seed=0,1", "tracking.runs=all"],
        ):
            done = CliRunner().invoke(
                cli.cli, [*arguments, "pictures=false"], standalone_mode=False
            )
            assert not done.exit_code, done.output
    # After this, the recorded paths are gone, and copied artifacts are looked for beside their
    # database.
    return folder.rename(folder.with_name(f"kept-{folder.name}"))


class Store:
    """A copy of the recorded store, to be spoilt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "outputs" / "mlflow.db"
        kinds = {
            value: run
            for run, value in self.rows(
                "SELECT run_uuid, value FROM tags WHERE key = ? ORDER BY value", mlflow_names.KIND
            )
        }
        [(self.single,)] = self.rows(
            "SELECT run_uuid FROM tags WHERE key = ? AND value = 'fit' "
            "AND run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = ?)",
            mlflow_names.KIND,
            mlflow_names.PARENT,
        )
        self.sweep = kinds["sweep"]
        self.child = self.rows(
            "SELECT run_uuid FROM tags WHERE key = ? AND value = ?", mlflow_names.PARENT, self.sweep
        )[0][0]

    def rows(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.file)) as database, database:
            return database.execute(statement, values).fetchall()

    def tag(self, run: str, key: str, value: Any) -> None:
        self.rows(
            "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", key, value, run
        )

    def artifact(self, name: str) -> Path:
        [file] = self.folder.glob(f"outputs/artifacts/*/*/artifacts/{name}")
        return file

    def give(self, text: str) -> None:
        """Stores a config's text everywhere that one is read from."""
        self.artifact(mlflow_names.CONFIG_FILE).write_text(text, encoding="utf-8")
        self.tag(self.child, mlflow_names.CONFIG, text)
        manifest = self.artifact(mlflow_names.MANIFEST)
        table = parquet.read_table(manifest)
        place = table.column_names.index("config")
        spoilt = table.set_column(
            place,
            table.schema.field("config"),
            pa.array([text] * len(table), table.schema.field("config").type),
        )
        parquet.write_table(spoilt, manifest)


@pytest.fixture
def store(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: Path
) -> Iterator[Store]:
    folder = tmp_path / "work"
    shutil.copytree(recorded, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SECRET_4711", SECRET)
    outside = tmp_path / BAIT
    outside.mkdir()
    (outside / "data.csv").write_text("a,b\n1,2\n2,3\n3,5\n")
    for module in (folder / f"{BAIT}.py", outside / f"{BAIT}.py"):
        module.write_text(
            f"open({str(outside / 'marker')!r}, 'w').close()\ndef run(*a, **k): pass\n"
        )
    yield Store(folder)
    assert not (outside / "marker").exists()
    assert BAIT not in sys.modules
    assert sorted(file.name for file in outside.iterdir()) == [f"{BAIT}.py", "data.csv"]


def survives(
    linfit: Linfit, store: Store, commands: list[str] = PRESENT, turn: int | None = None
) -> dict[tuple[str, str], Any]:
    """Run every command on every kind of run, and return what each said.

    With a `turn`, a command runs on one kind only, and on another one at the next turn: cases of
    one table share the pairs.
    """
    before = {file for file in store.folder.rglob("*") if "outputs" not in file.parts}
    said: dict[tuple[str, str], Any] = {}
    kinds = (store.single, store.child, store.sweep)
    for number, command in enumerate(commands):
        for run in kinds if turn is None else [kinds[(number + turn) % len(kinds)]]:
            with watched() as seen:
                done = linfit(
                    command,
                    run,
                    *(store.single if part == "SINGLE" else part for part in COMMANDS[command]),
                )
            assert seen == [], (command, seen)
            assert done.code in (0, 1, 2), (command, done.err)
            for text in (done.out, done.err):
                assert "Traceback (most" not in text or store_says_so(store), (command, text)
                assert len(text) < 200_000, command
                assert SECRET not in text, command
                assert not [
                    letter for letter in text if not letter.isprintable() and letter not in "\n\t"
                ], (command, text)
            if done.code == 2:
                assert done.err.count("\n") <= 2, (command, done.err)
            said[command, run] = done
    made = {file for file in store.folder.rglob("*") if "outputs" not in file.parts} - before
    assert {file.name for file in made} <= {"page.html", "__pycache__"}
    return said


def store_says_so(store: Store) -> bool:
    return bool(store.rows("SELECT 1 FROM tags WHERE key = ?", mlflow_names.ERROR))


def forged(given: Any, **changed: Any) -> str:
    """A config's text with the hash that fits it: whoever can write a config can hash it."""
    text = canonical_json({**given, **changed} if isinstance(given, dict) else given)
    return f'{{"config":{text},"schema":{CONFIG_SCHEMA},"sha256":"{hash_data(json.loads(text))}"}}'


def good() -> dict[str, Any]:
    return config(steps=3).resolved().as_dict()


CSV = {"name": "csv", "features": ["a"], "target": ["b"]}
TARGET = {"_target_": f"{BAIT}.run", "path": f"/{BAIT}/x"}
#: What a config may say, and what is answered.
CONFIGS: dict[str, tuple[Callable[[Path], str], str]] = {
    "a target at the top": (lambda _: forged(good(), **TARGET), "no key '_target_'"),
    "a target as a component": (lambda _: forged(good(), optimizer=TARGET), "optimizer"),
    "a target in a component": (
        lambda _: forged(good(), optimizer={"name": "adam", **TARGET}),
        "no key '_target_'",
    ),
    "a target in a list": (
        lambda _: forged(good(), init={"name": "given", "weights": [TARGET]}),
        "init",
    ),
    "plug-ins": (lambda _: forged(good(), plugins=[BAIT]), "plug-ins"),
    "plug-ins that are no list": (lambda _: forged(good(), plugins={"a": BAIT}), "plug-ins"),
    "hydra": (
        lambda _: forged(good(), hydra={"callbacks": {"x": TARGET}, "run": {"dir": f"/{BAIT}"}}),
        "no key 'hydra'",
    ),
    "defaults": (lambda _: forged(good(), defaults=[f"/{BAIT}"]), "no key 'defaults'"),
    "a resolver as a number": (
        lambda _: forged(good(), optimizer={"name": "adam", "lr": "${oc.decode:0.1}"}),
        "optimizer.lr",
    ),
    "a resolver as a path": (
        lambda _: forged(good(), dataset={**CSV, "path": "${oc.env:SECRET_4711}/x"}, init="zeros"),
        "cannot be read",
    ),
    "data elsewhere": (
        lambda outside: forged(
            good(), dataset={**CSV, "path": str(outside / "data.csv")}, init="zeros"
        ),
        "not below",
    ),
    "data above": (
        lambda _: forged(good(), dataset={**CSV, "path": f"../{BAIT}/data.csv"}),
        "not below",
    ),
    "data above what is shipped": (
        lambda _: forged(good(), dataset={**CSV, "path": f"linfit:../{BAIT}.csv"}),
        "linfit ships",
    ),
    "data behind a link": (
        lambda _: forged(good(), dataset={**CSV, "path": "link/data.csv"}),
        "not below",
    ),
    "a path that is none": (lambda _: forged(good(), dataset={**CSV, "path": f"x\0{BAIT}"}), ""),
    "a path that is a device": (
        lambda _: forged(good(), dataset={**CSV, "path": "/dev/zero"}),
        "not below",
    ),
    "no object": (lambda _: forged([1, 2]), ""),
    "nothing": (lambda _: "", "no stored config"),
    "no JSON": (lambda _: f"!!python/object/apply:os.system ['{BAIT}']", "no stored config"),
    "an alias bomb": (lambda _: "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "no stored config"),
    "a nest": (lambda _: '{"config":' * 400_000, "no stored config"),
    "a nest with a hash": (
        lambda _: f'{{"config":{"[" * 3000}{"]" * 3000},"schema":1,"sha256":"0"}}',
        "no stored config",
    ),
    "a nested component": (lambda _: forged(good(), optimizer=nest(400)), "optimizer"),
    "a huge name": (lambda _: forged(good(), optimizer={"name": BAIT * 200_000}), "optimizer"),
    "a huge key": (lambda _: forged(good(), **{"k" * 2_000_000: 1}), "no key"),
    "a huge value": (lambda _: forged(good(), seed="7" * 2_000_000), "seed"),
    "many keys": (
        lambda _: forged(good(), optimizer={"name": "adam", **{f"k{i}": i for i in range(50_000)}}),
        "no key",
    ),
    "many errors": (
        lambda _: forged(good(), init={"name": "given", "weights": ["x"] * 50_000}),
        "init",
    ),
    "control characters": (lambda _: forged(good(), optimizer={"name": ESCAPES}), "optimizer"),
    "markup": (lambda _: forged(good(), optimizer={"name": MARKUP}), "optimizer"),
    "memory": (lambda _: forged(good(), dataset={"name": "parabola", "n": 10**15}), "dataset.n"),
    "a schema": (lambda _: f'{{"config":{{}},"schema":"{"9" * 100_000}","sha256":0}}', "schema"),
    "infinity": (
        lambda _: '{"config":{"seed":Infinity},"schema":1,"sha256":"0"}',
        "no stored config",
    ),
    "a huge number": (
        lambda _: '{"config":{"seed":' + "9" * 100_000 + '},"schema":1,"sha256":"0"}',
        "no stored config",
    ),
}


def nest(depth: int) -> Any:
    value: Any = BAIT
    for _ in range(depth):
        value = {"name": value}
    return value


@pytest.mark.parametrize("case", CONFIGS)
def test_a_hostile_config_is_refused(case: str, store: Store, linfit: Linfit) -> None:
    write, answer = CONFIGS[case]
    (store.folder / "link").symlink_to(store.folder.parent / BAIT)
    store.give(write(store.folder.parent / BAIT))
    survives(
        linfit,
        store,
        [command for command in PRESENT if command not in ("show", "script")],
        [*CONFIGS].index(case),
    )
    refused = survives(linfit, store, ["script"], 0)["script", store.single]
    assert refused.code == 2 and refused.out == ""
    assert answer in refused.err


def spoil_names(store: Store, text: str) -> None:
    store.rows("UPDATE runs SET name = ?", text[:250])
    store.rows("UPDATE experiments SET name = name || ?", text[:200])
    for run in (store.single, store.child, store.sweep):
        for key in (
            mlflow_names.STATUS,
            mlflow_names.VARYING,
            mlflow_names.ENVIRONMENT,
            mlflow_names.ERROR,
            mlflow_names.VERSION,
            text[:200],
        ):
            store.tag(run, key, text)
        store.rows(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)", text[:200], text, run
        )
        store.rows(
            "UPDATE params SET value = ? WHERE run_uuid = ? AND key IN ('dtype', 'optimizer')",
            text,
            run,
        )
        for key in (
            f"weight/{text[:100]}",
            f"hparam/{text[:100]}",
            "weight/-1",
            "weight/99999999999999999999",
        ):
            store.rows(
                "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) "
                "VALUES (?, 1.0, 1, 0, 0, ?)",
                key,
                run,
            )


NAMES = (
    ESCAPES,
    MARKUP,
    "../" * 50 + BAIT,
    "${oc.env:SECRET_4711}",
    f"x' OR '1'='1'; DROP TABLE runs; --{BAIT}",
)


@pytest.mark.parametrize("text", NAMES)
def test_hostile_names_are_shown_as_they_are(text: str, store: Store, linfit: Linfit) -> None:
    spoil_names(store, text)
    survives(
        linfit,
        store,
        [command for command in PRESENT if command != "show"],
        NAMES.index(text),
    )
    shown = survives(linfit, store, ["show"])["show", store.single]
    assert shown.code == 0, shown.err
    assert BAIT in shown.out or "${oc.env:SECRET_4711}" in shown.out


SPOILT: dict[str, Callable[[Store], Any]] = {
    "times": lambda store: store.rows(
        "UPDATE runs SET start_time = 9223372036854775807, end_time = -1"
    ),
    "no times": lambda store: store.rows("UPDATE runs SET start_time = 0, end_time = NULL"),
    "steps": lambda store: store.rows("UPDATE metrics SET step = step * 1000000000000000 - 7"),
    "numbers": lambda store: store.rows("UPDATE latest_metrics SET value = 1.797e308"),
    "no numbers": lambda store: store.rows("UPDATE metrics SET is_nan = 1, value = 0"),
    "a kind": lambda store: store.rows(
        "UPDATE tags SET value = ? WHERE key = ?", ESCAPES, mlflow_names.KIND
    ),
    "a parent": lambda store: store.tag(store.child, mlflow_names.PARENT, "x' OR '1'='1"),
    "its own parent": lambda store: store.tag(store.child, mlflow_names.PARENT, store.child),
    "a row": lambda store: store.rows(
        "UPDATE tags SET value = ? WHERE key = ?", f"../{BAIT}", mlflow_names.ROW
    ),
    "no config": lambda store: store.rows(
        "UPDATE tags SET key = 'gone' WHERE key = ?", mlflow_names.CONFIG
    ),
    "a fingerprint": lambda store: store.rows(
        "UPDATE tags SET value = ? WHERE key = ?", ESCAPES, mlflow_names.FINGERPRINT
    ),
    "a long tag": lambda store: store.tag(store.single, mlflow_names.ENVIRONMENT, "[" * 1_000_000),
    "an environment": lambda store: store.tag(
        store.sweep, mlflow_names.ENVIRONMENT, '{"threads": "x", "torch": ["x"]}'
    ),
    "threads": lambda store: store.tag(
        store.sweep, mlflow_names.ENVIRONMENT, '{"threads": "99999999999"}'
    ),
    "varying": lambda store: store.tag(store.sweep, mlflow_names.VARYING, '{"a": [1]}'),
}


@pytest.mark.parametrize("loader", ["linfit_model_1", BAIT])
def test_the_code_in_a_stored_model_is_never_executed(
    loader: str, store: Store, linfit: Linfit
) -> None:
    folders = [file.parent for file in store.folder.rglob("MLmodel")]
    assert len(folders) == 2  # the single run's, and the sweep's best
    for folder in folders:
        [code] = folder.glob("code/*.py")
        hostile = (store.folder / f"{BAIT}.py").read_text()
        code.write_text(hostile)
        (code.parent / f"{BAIT}.py").write_text(hostile)
        described = (folder / "MLmodel").read_text()
        (folder / "MLmodel").write_text(described.replace("linfit_model_1", loader))
    sys.modules.pop("linfit_model_1", None)  # of other tests, which load models
    survives(linfit, store)
    assert linfit("relocate", "--yes").code == 0
    assert linfit("reproduce", store.single).code == 0
    assert linfit("model", store.single).code == 0
    assert "gone.csv cannot be read" in linfit("predict", store.single, "gone.csv").err
    assert "linfit_model_1" not in sys.modules


def test_a_page_shows_hostile_names_as_they_are(store: Store, linfit: Linfit) -> None:
    spoil_names(store, MARKUP)
    survives(linfit, store, ["report"])
    page = store.folder / "page.html"
    assert not page.exists() or "<script>bait" not in page.read_text()


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_database_ends_in_a_line(case: str, store: Store, linfit: Linfit) -> None:
    SPOILT[case](store)
    survives(linfit, store, turn=[*SPOILT].index(case))


ELSEWHERE = (
    f"http://{BAIT}.invalid/x",
    f"ftp://user:word@{BAIT}.invalid/x",
    f"mlflow-artifacts://{BAIT}.invalid:80/x",
    f"mlflow-artifacts:/{BAIT}",
    f"s3://{BAIT}/x",
    f"abfss://files@account.{BAIT}.invalid/x",
    f"wasbs://files@account.{BAIT}.invalid/x",
    f"runs:/{BAIT}/x",
    f"models:/{BAIT}/1",
    f"hdfs://{BAIT}/x",
    f"{BAIT}://x",
    f"file://{BAIT}/x",
    "file:///%00",
    "",
)


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_artifacts_elsewhere_are_not_fetched(uri: str, store: Store, linfit: Linfit) -> None:
    store.rows("UPDATE runs SET artifact_uri = ?", uri)
    survives(linfit, store, turn=ELSEWHERE.index(uri))


def test_artifacts_in_a_folder_that_is_not_the_stores_are_not_opened(
    store: Store, linfit: Linfit
) -> None:
    outside = store.folder.parent / BAIT / "artifacts"
    shutil.copytree(store.artifact(mlflow_names.CONFIG_FILE).parent, outside)
    shutil.copytree(store.artifact(mlflow_names.MANIFEST).parent, outside, dirs_exist_ok=True)
    store.rows("UPDATE runs SET artifact_uri = ?", str(outside))
    try:
        said = survives(linfit, store)
    finally:
        shutil.rmtree(outside)
    assert (
        "are not opened: only below those of their experiment"
        in said["reproduce", store.single].err
    )


class Trap:
    """A pickle that leaves a marker."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return open, (str(self.marker), "w")


FILES = (
    mlflow_names.CONFIG_FILE,
    mlflow_names.WEIGHTS_FILE,
    mlflow_names.MANIFEST,
    mlflow_names.RESULTS,
    mlflow_names.CURVES,
)


def wrecks(store: Store, name: str) -> dict[str, bytes]:
    whole = store.artifact(name).read_bytes()
    return {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "without an end": whole[:-9],
        "a pickle": pickle.dumps(Trap(store.folder.parent / BAIT / "marker")),
        "a header that lies": (2**63 - 1).to_bytes(8, "little") + b"{}" + whole[10:],
        "noise": bytes(range(256)) * 40,
    }


@pytest.mark.parametrize("name", FILES)
def test_wrecked_files_end_in_a_line(name: str, store: Store, linfit: Linfit) -> None:
    file = store.artifact(name)
    for turn, content in enumerate(wrecks(store, name).values()):
        file.write_bytes(content)
        survives(linfit, store, [command for command in PRESENT if command != "show"], turn)
    file.unlink()
    file.mkdir()
    survives(linfit, store, turn=FILES.index(name))


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_links_to_elsewhere_are_not_followed(
    name: str, store: Store, linfit: Linfit
) -> None:
    file = store.artifact(name)
    outside = store.folder.parent / BAIT / name
    file.rename(outside)
    file.symlink_to(outside)
    try:
        survives(linfit, store, [command for command in PRESENT if command != "show"])
    finally:
        outside.unlink()


COLUMNS = ("name", "config", "fingerprint")


@pytest.mark.parametrize("column", COLUMNS)
def test_tables_with_text_that_is_none_end_in_a_line(
    column: str, store: Store, linfit: Linfit
) -> None:
    file = store.artifact(mlflow_names.MANIFEST)
    table = parquet.read_table(file)
    bads = (
        pa.array([b"\xff\xfe"] * len(table), pa.binary()).cast(pa.string(), safe=False),
        pa.array([None] * len(table), pa.string()),
        pa.array([7] * len(table)),
    )
    for turn, bad in enumerate(bads, COLUMNS.index(column)):
        parquet.write_table(table.set_column(table.column_names.index(column), column, bad), file)
        survives(linfit, store, [command for command in PRESENT if command != "show"], turn)
