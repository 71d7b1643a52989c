"""A sweep that was broken off anywhere is resumed, and ends as one that was not.

It has the same runs and the same bits, and nothing twice.
"""

from __future__ import annotations

import sqlite3
import struct
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from linfit.errors import RecordingError
from linfit.sweeps.folder.attachments import find_runs_without_files, mark_attached
from linfit.sweeps.run import block_pipeline
from linfit.system.process_owner import is_process_gone, process_identity
from linfit.tracking.model import read_weights
from linfit.tracking.read.history import ChildRun, History
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.descriptions import NOTE_TAG, format_question, format_run_command
from linfit.tracking.tables import parquet as parquet_tables
from linfit.tracking.tables import parts as parts_of_sweeps
from linfit.tracking.tables.parts import SweepParts, reopen_parts
from linfit.tracking.write import database
from linfit.tracking.write.database import DatabaseRecorder
from linfit.views.terminal.progress import ProgressBar
from tests.faults.harness import recorded
from tests.sweeps.conftest import (
    FOLDER,
    NUM_FITS,
    SWEEP,
    Linfit,
    Reference,
    found,
    kill,
    tables,
)

FAILS = """
from typing import Literal
from linfit.problem.datasets.synthetic import Parabola
from pathlib import Path

class Moody(Parabola):
    name: Literal["moody"] = "moody"
    def load(self, seed):
        if seed in (1, 3) and not Path("mended").exists():
            raise OSError("not today")
        return super().load(seed)
"""


def assert_whole(client: Any, reference: Reference) -> None:
    parent, children = found(client)
    assert [int(run.data.tags[mlflow_names.ROW]) for run in children] == list(range(NUM_FITS))
    assert {run.info.status for run in children} == {"FINISHED"}
    assert (parent.info.status, parent.data.tags[mlflow_names.STATUS]) == ("FINISHED", "completed")
    assert parent.data.metrics["num_completed"] == NUM_FITS
    assert (repr(tables()), recorded(Path())) == (reference.tables, reference.runs)
    ids = parquet.read_table(FOLDER / mlflow_names.RESULTS)["run_id"].to_pylist()
    assert ids == [run.info.run_id for run in children]
    assert {file.name for file in FOLDER.iterdir()} == {
        *(
            ".lock",
            "multirun.yaml",
            mlflow_names.ENVIRONMENT_FILE,
            mlflow_names.MANIFEST,
            mlflow_names.RESULTS,
            mlflow_names.CURVES,
        ),
    }
    assert len(parent.outputs.model_outputs) == 1
    with closing(sqlite3.connect("outputs/mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (NUM_FITS + 1,)
        points = "SELECT 1 FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        twice = f"SELECT count(*) FROM ({points})"
        assert store.execute(twice).fetchone() == (0,)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("before", [0, 7])
def test_an_interrupted_sweep_ends_as_another(
    before: int,
    dies: bool,
    linfit: Linfit,
    workdir: Path,
    client: Any,
    break_off: Any,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    break_off(before, KeyboardInterrupt())
    with monkeypatch.context() as patch:
        if dies:
            kill(patch)
        broken = linfit(*SWEEP)
    assert broken.code == 130
    assert "go on with: linfit resume outputs/sweeps/one" in broken.err
    kept = before if not dies else before // 4 * 4
    planned = linfit("resume", "--plan")
    assert (
        planned.code,
        f"{NUM_FITS} fits, {kept} done, {NUM_FITS - kept} left" in planned.out,
    ) == (0, True)
    done = linfit("resume")
    assert (done.code, f"{NUM_FITS} fits: {NUM_FITS} completed" in done.out) == (0, True), done.err
    assert_whole(client, reference)
    again = linfit("resume", "last")
    assert (again.code, again.out) == (0, "")
    assert "nothing is left" in again.err
    assert_whole(client, reference)


@pytest.mark.parametrize("tracking", ["mlflow", "none"])
def test_the_progress_is_of_what_is_left(
    tracking: str, linfit: Linfit, workdir: Path, break_off: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(8, KeyboardInterrupt())
    assert linfit(*SWEEP, f"tracking={tracking}").code == 130
    begun: list[ProgressBar] = []
    begin = ProgressBar.begin

    def watched(bar: ProgressBar, fits: int, steps: int) -> None:
        begun.append(bar)
        begin(bar, fits, steps)

    monkeypatch.setattr(ProgressBar, "begin", watched)
    assert linfit("resume").code == 0
    [bar] = begun
    assert bar.total == bar.done == NUM_FITS - 8
    repeated = tracking == "mlflow"  # the best fit, for its model
    assert bar.steps % (bar.total + repeated) == 0


@pytest.mark.parametrize("table", ["results", "curves"])
def test_a_broken_table_of_a_finished_sweep_is_made_again(
    table: str, linfit: Linfit, workdir: Path, client: Any, reference: Reference
) -> None:
    assert linfit(*SWEEP).code == 0
    file = FOLDER / f"{table}.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    done = linfit("resume", str(FOLDER))
    assert done.code == 0, done.err
    assert repr(tables()) == reference.tables


def test_it_may_be_interrupted_again_and_again(
    linfit: Linfit,
    workdir: Path,
    client: Any,
    break_off: Any,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    kill(monkeypatch)
    break_off(5, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    for before in (1, 6, 3):
        break_off(before, KeyboardInterrupt())
        assert linfit("resume").code == 130
    assert linfit("resume", "--workers", "2").code == 0
    assert_whole(client, reference)


@pytest.mark.parametrize("committed", [False, True])
def test_a_block_whose_answer_never_came(
    committed: bool,
    linfit: Linfit,
    workdir: Path,
    client: Any,
    blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    """Ctrl-C just before or just after a transaction: in both cases the runs are there once."""
    submit, calls = DatabaseRecorder.log_runs_async, [0]

    def interrupted(self: DatabaseRecorder, rows: Any) -> Any:
        calls[0] += 1
        block = submit(self, rows) if committed or calls[0] != 2 else None
        if calls[0] == 2:
            raise KeyboardInterrupt
        return block

    monkeypatch.setattr(DatabaseRecorder, "log_runs_async", interrupted)
    assert linfit(*SWEEP).code == 130
    parent, children = found(client)
    assert (parent.info.status, len(children)) == ("KILLED", 8)
    assert linfit("resume", parent.info.run_id[:12]).code == 0
    assert_whole(client, reference)


def test_mlflow_counts_where_a_table_disagrees(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any, reference: Reference
) -> None:
    break_off(12, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    (FOLDER / "results" / "part-0.parquet").write_bytes(b"broken")
    (FOLDER / "curves" / "part-1.parquet").unlink()
    _, children = found(client)
    client.delete_run(children[9].info.run_id)  # its part claims too much now
    done = linfit("resume")
    assert done.code == 0, done.err
    _, after = found(client)
    active = [run for run in after if run.info.lifecycle_stage == "active"]
    assert [int(run.data.tags[mlflow_names.ROW]) for run in active] == list(range(NUM_FITS))
    assert {run.info.run_id for run in children} - {run.info.run_id for run in active} == {
        children[9].info.run_id
    }
    assert repr(tables()) == reference.tables


def test_the_best_runs_only(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any, reference: Reference
) -> None:
    break_off(11, KeyboardInterrupt())
    assert linfit(*SWEEP, "tracking.runs=best:3").code == 130
    assert found(client)[1] == []
    assert linfit("resume").code == 0
    _, children = found(client)
    results = tables()[0]
    best = sorted(range(NUM_FITS), key=lambda row: (results[row]["excess_loss"], row))[:3]
    assert [int(run.data.tags[mlflow_names.ROW]) for run in children] == sorted(best)
    assert repr(tables()) == reference.tables


def test_a_sweep_that_is_not_tracked(
    linfit: Linfit, bare: Path, break_off: Any, reference: Reference
) -> None:
    break_off(9, KeyboardInterrupt())
    assert linfit(*SWEEP, "tracking=none").code == 130
    assert linfit("resume").code == 0
    assert repr(tables()) == reference.tables
    assert not Path("outputs/mlflow.db").exists()


DIVERGES = (
    "run",
    "-m",
    "seed=range(0,9)",
    "optimizer=sgd",
    "optimizer.lr=100",
    "steps=200",
    "hydra.sweep.dir=outputs/sweeps/one",
)


@pytest.mark.parametrize(
    "sweep", [(*SWEEP, "tracking=none"), (*SWEEP, "tracking.runs=best:3"), DIVERGES, SWEEP]
)
def test_nothing_is_left_but_the_end(
    sweep: tuple[str, ...],
    linfit: Linfit,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        kill(patch)
        patch.setattr(SweepParts, "merge", dies)
        assert linfit(*sweep).code == 130
    assert ", 0 left" in linfit("resume", "--plan").out
    done = linfit("resume")
    assert (done.code, "failed" in done.out) == (0, False), done.err
    assert sweep is DIVERGES or repr(tables()) == reference.tables
    assert "nothing is left" in linfit("resume", str(FOLDER)).err


@pytest.mark.parametrize(
    "fault", ["truncated", "a flipped bit", "results lack a column", "curves", "unread"]
)
def test_a_broken_table_is_set_aside_and_never_by_looking(
    fault: str,
    linfit: Linfit,
    workdir: Path,
    break_off: Any,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    break_off(12, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    broken = FOLDER / ("curves" if fault == "curves" else "results") / "part-1.parquet"
    if fault == "results lack a column":
        parquet.write_table(
            parquet.read_table(broken).drop_columns("diverged_at_step"), broken
        )  # null in each of these
    elif fault == "a flipped bit":
        flip(broken, parquet.read_table(broken)["loss"][0].as_py())
    elif fault != "unread":
        broken.write_bytes(broken.read_bytes()[:-100])
    before = broken.read_bytes()
    with monkeypatch.context() as patch:
        if fault == "unread":
            read = parquet_tables.read_table
            patch.setattr(
                parts_of_sweeps,
                "read_table",
                lambda file, names: unreadable() if file == broken else read(file, names),
            )
            for command in (("resume", "--plan"), ("resume",)):
                done = linfit(*command)
                assert (done.code, done.err) == (
                    2,
                    f"linfit: {broken} cannot be read: Input/output error\n",
                )
        else:
            done = linfit("resume", "--plan")
            assert (
                done.code,
                f"{8 if fault in ('truncated', 'a flipped bit') else 12} done" in done.out,
            ) == (0, True)
    assert broken.read_bytes() == before
    done = linfit("resume")
    assert (done.code, "is kept as part-1.parquet.broken" in done.err) == (
        0,
        fault in ("truncated", "a flipped bit", "curves"),
    ), done.err
    assert_whole(client, reference)


def flip(file: Path, number: float) -> None:
    """Changes the last bit of a number where it stands in a file."""
    content = bytearray(file.read_bytes())
    content[content.index(struct.pack("<d", number))] ^= 1
    file.write_bytes(content)


def unreadable() -> None:
    raise OSError(5, "Error reading bytes from file")


@pytest.mark.parametrize("recorder", ["database", "client"])
def test_failed_fits_are_run_again_when_asked(
    recorder: str, linfit: Linfit, workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from linfit.problem.datasets.synthetic import Dataset

    if recorder == "client":
        monkeypatch.setattr(database, "find_obstacle", lambda engine: "the test says so")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "moods", raising=False)
    monkeypatch.setattr(Dataset, "choices", dict(Dataset.choices))
    (workdir / "moods.py").write_text(FAILS)
    swept = linfit(
        "run",
        "-m",
        "plugins=[moods]",
        "dataset.name=moody",
        "seed=range(0,5)",
        "steps=5",
        "hydra.sweep.dir=outputs/sweeps/one",
    )
    assert swept.code == 1
    _, before = found(client)
    assert [run.info.status for run in before] == [
        "FINISHED",
        "FAILED",
        "FINISHED",
        "FAILED",
        "FINISHED",
    ]
    assert "needs plug-ins" in linfit("resume", "last", "--retry-failed").err
    assert linfit("resume", "last", "--trust").code == 0  # failed fits are done
    Path("mended").touch()
    again = linfit("resume", "last", "--retry-failed", "--trust")
    assert (again.code, "5 fits: 5 completed" in again.out) == (0, True), again.err
    parent, after = found(client)
    assert len(after) == 7
    linked = {
        run.data.tags[mlflow_names.RETRIES]: run.data.tags[mlflow_names.ROW]
        for run in after
        if mlflow_names.RETRIES in run.data.tags
    }
    assert linked == {
        run.info.run_id: run.data.tags[mlflow_names.ROW]
        for run in before
        if run.info.status == "FAILED"
    }
    assert (
        parent.info.status,
        parent.data.metrics["num_failed"],
        parent.data.metrics["num_completed"],
    ) == ("FINISHED", 0, 5)
    assert linfit("show", "last").out.count("seed=") == 5
    assert "nothing is left" in linfit("resume", "last", "--trust").err
    ids = parquet.read_table(FOLDER / mlflow_names.RESULTS)["run_id"].to_pylist()
    assert {client.get_run(run_id).info.status for run_id in ids} == {"FINISHED"}


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_of_a_fit_that_was_run_again_the_last_run_counts(order: list[int]) -> None:
    tried = [
        ChildRun("a", 7, "FAILED"),
        ChildRun("b", 7, "FAILED", "a"),
        ChildRun("c", 7, "FINISHED", "b"),
    ]
    assert History.select_current([tried[place] for place in order])[7].run_id == "c"
    assert History.select_current([tried[place] for place in order if place < 2])[7].run_id == "b"
    assert History.select_current([*tried[:2], ChildRun("c", 7, "RUNNING", "b")])[7].run_id == "b"


def refused(why: str) -> Future[list[str]]:
    answer: Future[list[str]] = Future()
    answer.set_exception(RecordingError(why))
    return answer


def test_a_block_that_comes_too_late_for_another_is_not_lost(
    linfit: Linfit,
    workdir: Path,
    client: Any,
    blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    """The second of five blocks is refused while the third is on its way.

    Both are looked for in the store before anything is sent again.
    """
    submit, calls = DatabaseRecorder.log_runs_async, [0]

    def fails(self: DatabaseRecorder, rows: Any) -> Any:
        calls[0] += 1
        return refused("once") if calls[0] == 2 else submit(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(block_pipeline.FitBlock, "is_answered", property(lambda block: False))
        patch.setattr(block_pipeline, "MAX_PENDING_BLOCKS", 2)
        patch.setattr(DatabaseRecorder, "log_runs_async", fails)
        broken = linfit(*SWEEP)
    assert (
        broken.code == 2
        and "linfit: once; go on with: linfit resume outputs/sweeps/one" in broken.err
    )
    parent, children = found(client)
    assert parent.info.status == "KILLED"
    assert [int(run.data.tags[mlflow_names.ROW]) for run in children] == list(range(len(children)))
    assert len(children) >= 12
    assert linfit("resume").code == 0
    assert_whole(client, reference)


def test_blocks_that_waited_behind_one_that_failed_are_sent_again(
    linfit: Linfit,
    workdir: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    """The recorder cannot insert the second of five blocks.

    All fits that have been computed are recorded before the sweep ends.
    """
    monkeypatch.setattr(block_pipeline, "BLOCK", 4)
    write, calls = DatabaseRecorder._write, [0]

    def fails(self: DatabaseRecorder, block: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise sqlite3.OperationalError("disk I/O error")
        write(self, block)

    with monkeypatch.context() as patch:
        patch.setattr(block_pipeline.FitBlock, "is_answered", property(lambda block: False))
        patch.setattr(DatabaseRecorder, "_write", fails)
        broken = linfit(*SWEEP)
    assert (
        broken.code == 2
        and "failed: disk I/O error; go on with: linfit resume outputs/sweeps/one" in broken.err
    )
    parent, children = found(client)
    assert (parent.info.status, len(children)) == ("KILLED", NUM_FITS)
    assert linfit("resume").code == 0
    assert_whole(client, reference)


def test_a_store_that_fails_leaves_a_sweep_that_can_go_on(
    linfit: Linfit,
    workdir: Path,
    client: Any,
    blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    submit = DatabaseRecorder.log_runs_async
    full: list[bool] = []

    def fails(self: DatabaseRecorder, rows: Any) -> Any:
        if full:
            return refused("the store is full: make room")
        full.append(True)
        return submit(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseRecorder, "log_runs_async", fails)
        broken = linfit(*SWEEP)
    assert (broken.code, len(broken.err.strip().splitlines()[-1:])) == (2, 1)
    assert (
        "linfit: the store is full: make room; go on with: linfit resume outputs/sweeps/one"
        in broken.err
    )
    assert linfit("resume").code == 0
    assert_whole(client, reference)


def test_runs_of_dead_processes_are_ended_and_others_are_not(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any
) -> None:
    assert linfit("run", "steps=1").code == 0
    place, _, began = (
        process_identity().rpartition(" ")[0].rpartition(" ")[0],
        0,
        process_identity().rpartition(" ")[2],
    )
    owners = {
        "dead": f"{place} 4194304 {began}",
        "living": process_identity(),
        "elsewhere": f"other 4194304 {began}",
        "unknown": "",
    }
    [experiment] = client.search_experiments(filter_string="name = 'adhoc'")
    ids = {
        name: client.create_run(
            experiment.experiment_id, tags={mlflow_names.OWNER: text}
        ).info.run_id
        for name, text in owners.items()
    }
    break_off(1, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    assert linfit("resume").code == 0
    ended = {name: client.get_run(run_id).info.status for name, run_id in ids.items()}
    assert ended == {
        "dead": "KILLED",
        "living": "RUNNING",
        "elsewhere": "RUNNING",
        "unknown": "RUNNING",
    }
    assert not is_process_gone("a b")


# ---- leaving out what is done ----


@pytest.mark.matrix
def test_what_is_finished_is_left_out(
    linfit: Linfit, workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert linfit("run", "-m", "seed=0,1,2", "steps=3").code == 0
    assert linfit("run", "seed=7", "steps=3", "engine=stacked").code == 0
    more = linfit("run", "-m", "seed=0,1,2,3,7", "steps=3", "--skip-done")
    assert (
        more.code,
        "4 of 5 fits are finished already and left out" in more.err,
        "1 fit: 1 completed" in more.out,
    ) == (0, True, True)
    before = len(client.search_runs(["1"]))
    assert linfit("run", "-m", "seed=0,1,2,3", "steps=3", "--skip-done").code == 0
    assert linfit("run", "seed=7", "steps=3", "engine=stacked", "--skip-done").code == 0
    assert len(client.search_runs(["1"])) == before
    assert linfit(
        "run", "-m", "seed=0,1", "steps=3", "--skip-done", "name=other"
    ).out  # another MLflow experiment
    monkeypatch.setattr(
        "linfit.tracking.provenance.code_digest.compute_code_digest",
        lambda plugins=(): "other code",
    )
    assert "2 fits: 2 completed" in linfit("run", "-m", "seed=0,1", "steps=3", "--skip-done").out


@pytest.mark.parametrize(("whole", "runs"), [(0, "all"), (5, "all"), (17, "all"), (2, "best:3")])
def test_fits_whose_files_were_not_attached_have_them_afterwards(
    whole: int,
    runs: str,
    linfit: Linfit,
    workdir: Path,
    client: Any,
    blocks: None,
    monkeypatch: pytest.MonkeyPatch,
    reference: Reference,
) -> None:
    """The process is killed in the middle of a file: FINISHED runs lack it, or have a part."""
    attach, calls = DatabaseRecorder.log_artifacts, [0]

    def dies(self: DatabaseRecorder, run_id: str, files: Any, folder: str | None = None) -> None:
        calls[0] += 1
        if calls[0] > whole:
            files[-1].write_bytes(files[-1].read_bytes()[:-1])
            attach(self, run_id, files, folder)
            raise KeyboardInterrupt
        attach(self, run_id, files, folder)

    with monkeypatch.context() as patch:
        kill(patch)
        patch.setattr(DatabaseRecorder, "log_artifacts", dies)
        broken = linfit(*SWEEP, "tracking.child_artifacts=true", f"tracking.runs={runs}")
    assert broken.code == (130 if runs == "all" or whole < 3 else 0)
    assert linfit("resume", str(FOLDER)).code == 0
    _, children = found(client)
    assert len(children) == (NUM_FITS if runs == "all" else 3)
    for child in children:
        files = {
            file.name: file
            for file in Path(child.info.artifact_uri.removeprefix("file://")).iterdir()
        }
        assert set(files) == {mlflow_names.CONFIG_FILE, mlflow_names.WEIGHTS_FILE}
        _, header = read_weights(files[mlflow_names.WEIGHTS_FILE])
        assert header["fingerprint"] == child.data.tags[mlflow_names.FINGERPRINT]
    assert repr(tables()) == reference.tables


def test_a_sweep_that_was_finished_has_all_files_when_it_is_begun_again(
    linfit: Linfit, workdir: Path, blocks: None
) -> None:
    assert linfit(*SWEEP, "tracking.child_artifacts=true").code == 0
    assert find_runs_without_files(FOLDER, ["a"]) == set()
    reopen_parts(FOLDER)
    mark_attached(FOLDER, ["a"])
    assert find_runs_without_files(FOLDER, ["a", "b"]) == {"b"}


def test_what_is_made_of_a_finished_sweep_is_made_by_resume(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    """It was killed before it was described; a sweep that is described is left as it is."""
    assert linfit(*SWEEP).code == 0
    [parent] = [run for run in client.search_runs(["1"]) if mlflow_names.FOLDER in run.data.tags]
    described = parent.data.tags[NOTE_TAG]
    client.set_tag(parent.info.run_id, NOTE_TAG, format_question("", format_run_command(SWEEP[1:])))
    assert "are made now" in linfit("resume", str(FOLDER)).err
    assert client.get_run(parent.info.run_id).data.tags[NOTE_TAG] == described
    assert "are made now" not in linfit("resume", str(FOLDER)).err
