"""The recorder whose MLflow lives in another process: equal runs and errors in any case."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.errors import RecordingError
from linfit.settings import MLflowTracking, NoTracking
from linfit.tracking.model import ModelFiles, write_weights
from linfit.tracking.schema import mlflow_names, run_records
from linfit.tracking.schema.config_record import record_config
from linfit.tracking.store.store import Store, create_empty_store, ensure_store
from linfit.tracking.write.background import prestart
from linfit.tracking.write.background.remote import RemoteRecorder
from linfit.tracking.write.database import DatabaseRecorder
from linfit.tracking.write.null import NullRecorder
from linfit.tracking.write.open import open_recorder
from tests.tracking.written import (
    END,
    NAME,
    ODD,
    START,
    Written,
    contents,
    row,
    run_count,
    sound,
    uri,
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="no process knows there that its parent is gone"
)
Opened = Callable[..., RemoteRecorder]


@pytest.fixture
def opened(template: Path, tmp_path: Path) -> Iterator[Opened]:
    """Return a function that opens a recorder with a process, by default on a copy of the store."""
    recorders: list[RemoteRecorder] = []

    def open_remote(address: str | None = None) -> RemoteRecorder:
        if address is None:
            shutil.copy(template, tmp_path / "mlflow.db")
        if not prestart._waiting:
            prestart.start_process(elsewhere=True)
        artifacts = artifacts_of(template) if address is None else None
        named = MLflowTracking(uri=address or uri(tmp_path / "mlflow.db"), artifacts=artifacts)
        recorder = open_recorder(named, NAME)
        assert isinstance(recorder, RemoteRecorder)
        recorders.append(recorder)
        return recorder

    yield open_remote
    for recorder in recorders:
        recorder._child.wait()


def artifacts_of(store: Path) -> str:
    """Return the place of a store's artifacts, which its copies elsewhere have to name."""
    return str(store.parent / "artifacts")


def file_of(recorder: RemoteRecorder) -> Path:
    assert recorder.store.file is not None
    return recorder.store.file


def test_it_writes_what_the_client_writes(opened: Opened, written: Written) -> None:
    remote, half = opened(), len(written.rows) // 2
    blocks = [
        remote.log_runs_async(rows) for rows in (written.rows[:half], written.rows[half:], [])
    ]
    run_ids = [run_id for block in blocks for run_id in block.result()]
    assert contents(file_of(remote), run_ids) == contents(written.by_client, written.client_ids)
    assert sound(file_of(remote))
    assert len(remote.log_runs(ODD)) == len(ODD)


def test_a_run_is_begun_and_ended_with_its_files_and_its_model(
    opened: Opened, tmp_path: Path
) -> None:
    remote, done = opened(), fit(FitConfig(steps=5))
    begun = run_records.record_start(record_config(done.config), "single", START, {})
    run_id = remote.start_run(begun)
    write_weights(done, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text("{}")
    remote.end_run(
        run_id,
        run_records.record_result(begun, done, END),
        [tmp_path / "config.json"],
        ModelFiles.from_fit(done, tmp_path / "weights.safetensors"),
    )
    remote.log_artifacts(run_id, [tmp_path / "weights.safetensors"], "more")
    remote.set_tags(run_id, {"more": "…"})
    remote.set_experiment_tags({"of all": "runs"})
    here = remote._here
    assert isinstance(here, DatabaseRecorder)
    client = here.client.client
    run = client.get_run(run_id)
    assert (
        run.info.status == "FINISHED"
        and run.data.tags["more"] == "…"
        and run.data.metrics["loss"] == done.loss
    )
    assert [file.path for file in client.list_artifacts(run_id)] == ["config.json", "more"]
    assert run.outputs.model_outputs
    assert remote.experiment_tags()["of all"] == "runs"
    assert (remote.how_to_view(), remote.experiment_id) == (here.how_to_view(), here.experiment_id)
    remote.amend_runs({run_id: run_records.Amendment("new", {"hparam/lr": 0.5}, {"p": "v"})})
    remote.amend_runs({run_id: run_records.Amendment("newer")})
    run = client.get_run(run_id)
    assert (run.info.run_name, run.data.metrics["hparam/lr"], run.data.params["p"]) == (
        "newer",
        0.5,
        "v",
    )
    remote.resume_run(run_id, {"again": "1"})
    assert client.get_run(run_id).info.status == "RUNNING"


def test_what_was_added_is_known_to_whoever_asks(opened: Opened) -> None:
    remote = opened()
    parent = remote.start_run(row("parent"))
    for number in range(5):
        remote.log_runs_async(
            [row(str(number), tags={"mlflow.parentRunId": parent, "linfit.row": str(number)})]
        )
    history = remote.open_history()
    assert history is not None and len(history.find_children(parent)) == 5


@pytest.mark.parametrize(
    ("file", "kind", "why"),
    [
        ("\0.db", ValueError, "null"),
        ("n" * 300, RecordingError, "cannot be read: File name too long"),
        ("plain.db", RecordingError, "cannot be read: file is not a database"),
        ("other.db", RecordingError, "is a database but not MLflow's"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(
    file: str, kind: type[Exception], why: str, opened: Opened, tmp_path: Path
) -> None:
    (tmp_path / "plain.db").write_text("plain text, and more of it than a header takes" * 40)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE t (a)")
    with pytest.raises(kind, match=why) as error:
        opened(f"sqlite:///{tmp_path / file}").wait_until_open()
    assert "\n" not in str(error.value)


def test_what_the_recorder_could_not_open_every_call_says(opened: Opened, tmp_path: Path) -> None:
    remote = opened(f"sqlite:///{tmp_path}/\0.db")
    calls = (
        remote.wait_until_open,
        lambda: remote.experiment_id,
        lambda: remote.start_run(row()),
        lambda: remote.log_runs_async([row()]),
    )
    for call in calls:
        with pytest.raises(ValueError, match="null") as error:
            call()
        assert "\n" not in str(error.value)


def test_what_is_refused_is_refused_as_ever(opened: Opened, tmp_path: Path) -> None:
    remote = opened()
    with pytest.raises(RecordingError, match=r"failed: .*CHECK constraint") as error:
        remote.log_runs([row(), row(status="LOST")])
    assert "\n" not in str(error.value)
    with pytest.raises(RecordingError, match="absent"):
        remote.log_artifacts(remote.start_run(row()), [tmp_path / "absent"])
    assert len(remote.log_runs([row()])) == 1
    assert run_count(file_of(remote)) == 2


@pytest.mark.slow
def test_a_lock_is_waited_for_and_said(opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    remote = opened()
    remote.wait_until_open()
    with closing(
        sqlite3.connect(file_of(remote), check_same_thread=False, isolation_level=None)
    ) as other:
        other.execute("BEGIN IMMEDIATE")
        blocks = [remote.log_runs_async(ODD), remote.log_runs_async(ODD)]
        Timer(6.5, lambda: other.execute("ROLLBACK")).start()
        assert [len(block.result()) for block in blocks] == [len(ODD)] * 2
    said = [record.getMessage() for record in caplog.records if record.name.startswith("linfit")]
    assert said == [f"the store {remote.store} is busy or does not answer: waiting for it"]


def test_blocks_that_wait_behind_a_lock_fail_with_the_first(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINFIT_PATIENCE", "0.1")
    remote = opened()
    remote.wait_until_open()
    with closing(sqlite3.connect(file_of(remote), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        blocks = [remote.log_runs_async(ODD) for _ in range(4)]
        assert "is kept locked by another program: wait" in str(blocks[0].exception())
        began = time.monotonic()
        assert {str(block.exception()) for block in blocks} == {str(blocks[0].exception())}
        assert time.monotonic() - began < 0.5
        other.execute("ROLLBACK")
    assert len(remote.log_runs(ODD)) == len(ODD) == run_count(file_of(remote))


def test_a_process_that_is_killed_is_one_line_and_the_rest_is_done_here(opened: Opened) -> None:
    remote = opened()
    parent = remote.start_run(row("parent"))
    remote._child.process.send_signal(signal.SIGSTOP)
    broken = remote.log_runs_async(ODD)
    time.sleep(0.5)  # until it is asked
    remote._child.process.kill()
    with pytest.raises(
        RecordingError,
        match=r"^the store .* failed: the process that writes to it has ended with exit code -9$",
    ):
        broken.result()
    assert run_count(file_of(remote)) == 1
    assert len(remote.log_runs(ODD)) == len(ODD)
    remote.end_run(parent, row("parent", status="KILLED"))
    assert sound(file_of(remote))


@pytest.mark.slow
def test_a_process_that_is_killed_before_it_is_asked_is_no_harm(opened: Opened) -> None:
    remote = opened()
    parent = remote.start_run(row("parent"))
    remote._child.process.kill()
    remote._child.process.wait()
    assert len(remote.log_runs(ODD)) == len(ODD)
    remote.end_run(parent, row("parent"))
    assert run_count(file_of(remote)) == len(ODD) + 1


LEAVES = """
import os, sys
from linfit.settings import MLflowTracking
from linfit.tracking.write.background import prestart as head_start
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.open import open_recorder
from linfit.tracking.write.recorder import Recorder
head_start.prestart_process([])
recorder = open_recorder(MLflowTracking(uri={uri!r}, artifacts={artifacts!r}), {name!r})
run_id = recorder.start_run(RunRecord("first", 1, 2, "RUNNING", {{}}))
print(recorder._child.process.pid, flush=True)
sys.stdin.readline()
late = recorder._worker.submit(recorder._request, Recorder.set_tags, (run_id, {{"late": "1"}}))
assert not late.done()
os._exit(0)
"""


def test_nothing_waits_for_a_lock_for_a_parent_that_is_gone(template: Path, tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(template, file)
    program = [
        sys.executable,
        "-c",
        LEAVES.format(uri=uri(file), artifacts=artifacts_of(template), name=NAME),
    ]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as leaving:
        assert leaving.stdin is not None and leaving.stdout is not None
        desk = Path("/proc", leaving.stdout.readline().strip())
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            out, err = leaving.communicate("\n", timeout=60)
            assert (out, err, leaving.returncode) == (
                "",
                "",
                0,
            )  # and whoever reads its output does not wait either
            until = time.monotonic() + 5
            while desk.exists() and time.monotonic() < until:
                time.sleep(0.05)
            assert not desk.exists()
            other.execute("ROLLBACK")
        with closing(sqlite3.connect(file)) as store:
            assert store.execute("SELECT count(*) FROM tags WHERE key = 'late'").fetchone() == (0,)


KILLED = """
import os, signal, sys, time
from linfit.settings import MLflowTracking
from linfit.tracking.write.background import prestart as head_start
from linfit.tracking.schema.run_records import RunRecord
from linfit.tracking.write.open import open_recorder
head_start.prestart_process([])
metrics = tuple(("loss", 1.0, step) for step in range(1000))
rows = [RunRecord("child", 1, 2, "FINISHED", {{}}, {{}}, metrics) for _ in range(400)]
recorder = open_recorder(MLflowTracking(uri={uri!r}, artifacts={artifacts!r}), {name!r})
recorder.start_run(RunRecord("first", 1, 2, "RUNNING", {{}}))
blocks = [recorder.log_runs_async(rows) for _ in range(3)]
assert "mlflow" not in sys.modules
time.sleep({moment})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("moment", [0, 0.3])
@pytest.mark.slow
def test_nothing_is_committed_for_a_parent_that_is_gone(
    moment: float, template: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mlflow.db"
    shutil.copy(template, file)
    program = KILLED.format(
        uri=uri(file), artifacts=artifacts_of(template), name=NAME, moment=moment
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    named = MLflowTracking(uri=uri(file), artifacts=artifacts_of(template))
    open_recorder(named, NAME).start_run(
        row("after")
    )  # waits for the lock, as whoever goes on does
    count = run_count(file)
    assert count % 400 == 2
    time.sleep(0.5)
    assert run_count(file) == count, "something was written for a process that is gone"
    assert sound(file)


def test_it_ends_when_nobody_can_ask_any_more(opened: Opened) -> None:
    process = opened()._child.process
    prestart.start_process(elsewhere=False)
    [unasked] = [child.process for child in prestart._waiting]
    assert isinstance(open_recorder(NoTracking(), NAME), NullRecorder)
    assert unasked.wait(60) == 0
    assert process.poll() is None


#: A command line, in a process that says what it has imported.
PROGRAM = """
import atexit, json, sys
from linfit.__main__ import main
names = {"mlflow", "torch", "linfit.tracking.write.background.remote"}
atexit.register(lambda: print(json.dumps(sorted(names & set(sys.modules)))))
main()
"""


@pytest.mark.parametrize(
    "words",
    [pytest.param(("steps=5",), marks=pytest.mark.slow), ("-m", "seed=0,1", "steps=5")],
    ids=" ".join,
)
def test_who_fits_does_not_import_mlflow(words: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        "linfit.tracking.write.background.remote",
        "torch",
    ]
    assert run_count(tmp_path / "outputs" / "mlflow.db") == (1 if len(words) == 1 else 3)
    assert not list(tmp_path.glob("outputs/.mlflow*"))


@pytest.mark.parametrize(
    ("words", "worthwhile"),
    [
        ((), True),
        (("-m", "steps=5", "tracking.uri=sqlite:///x.db", "tracking.child_artifacts=true"), True),
        (("steps=5", "tracking.uri=http://host"), False),
        (("tracking=none", "steps=5"), False),
        (("-m", "hydra/launcher=joblib"), False),
        (("--cfg", "job"), False),
        (("--help",), False),
        (("optimizers", "--skip-done"), False),
    ],
)
def test_no_process_is_begun_in_vain(
    words: tuple[str, ...], worthwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert prestart.should_prestart(words) is worthwhile


def test_no_process_is_begun_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert not prestart.should_prestart(["steps=5"])
    assert prestart.should_prestart(["tracking.uri=sqlite:///x.db"])


def test_a_wrong_command_writes_nothing(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "linfit", "run", "optimizer=adaam"]
    done = subprocess.run(
        program, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_new_store_is_what_mlflow_makes(tmp_path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    artifacts = str(tmp_path / "artifacts")
    ensure_store(Store(uri(ours), artifacts))
    SqlAlchemyStore(uri(theirs), artifacts)._dispose_engine()
    schemas, rows = [], []
    for file in (ours, theirs):
        with closing(sqlite3.connect(file)) as store:
            made = store.execute(
                "SELECT type, name, sql FROM sqlite_master ORDER BY name"
            ).fetchall()
            schemas.append(
                [(kind, name, sorted(re.split(r",?\s*\n", sql or ""))) for kind, name, sql in made]
            )  # MLflow's order is any
            store.execute("UPDATE experiments SET creation_time = 0, last_update_time = 0")
            names = [name for kind, name, _ in schemas[-1] if kind == "table"]
            rows.append(
                {
                    name: sorted(map(repr, store.execute(f'SELECT * FROM "{name}"')))
                    for name in names
                }
            )
    assert schemas[0] == schemas[1]
    assert rows[0] == rows[1]
    assert artifacts in str(rows[0]["experiments"])
    assert len(create_empty_store()) == ours.stat().st_size


@pytest.mark.parametrize(
    "ends",
    [pytest.param(True, marks=pytest.mark.slow), False],
    ids=["killed", "imports nothing"],
)
def test_a_process_that_ends_before_it_begins_is_no_harm(
    ends: bool, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not ends:
        monkeypatch.setattr(prestart, "SERVER_PROGRAM", "raise SystemExit(3)")
    prestart.start_process(elsewhere=True)
    if ends:
        prestart._waiting[0].process.kill()
    remote = opened()
    assert len(remote.log_runs(ODD)) == len(ODD)
    assert remote.how_to_view().startswith("linfit ui --uri sqlite:")
    assert run_count(file_of(remote)) == len(ODD)


def test_a_store_that_cannot_be_named_is_said_once(
    monkeypatch: pytest.MonkeyPatch, bare: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    prestart.start_process(elsewhere=False)
    [child] = prestart._waiting
    with pytest.raises(RecordingError, match="is a folder, which MLflow refuses as a store"):
        open_recorder(MLflowTracking(), NAME)
    prestart.discard_process()
    assert child.process.wait(60) == 0
    assert capfd.readouterr().err == ""


def test_what_runs_a_sweep_keeps_is_asked_there(opened: Opened) -> None:
    remote = opened()
    parent = remote.start_run(row("parent"))
    tags = [{mlflow_names.PARENT: parent, mlflow_names.ROW: str(number)} for number in range(4)]
    ids = remote.log_runs([row(str(number), tags=own) for number, own in enumerate(tags)])
    broken = remote.start_run(
        row("broken", status="RUNNING", tags={mlflow_names.PARENT: parent, mlflow_names.ROW: "9"})
    )
    assert remote.find_children(parent, {2: ids[2]}) == {0: ids[0], 1: ids[1], 3: ids[3]}
    assert broken not in remote.find_children(parent).values()
    assert "_here" not in vars(remote)
