"""A sweep that was broken off somewhere goes on, and ends as one that was not: the same runs, the same bits, nothing twice."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from linfit.engine.dispatch import fits_as_done
from linfit.errors import RecordingError
from linfit.sweeps import recording
from linfit.tracking import layout
from linfit.tracking.database import DatabaseRecorder
from linfit.tracking.owner import is_dead, owner
from tests.conftest import Ran

Linfit = Callable[..., Ran]
SWEEP = ("run", "-m", "seed=range(0,9)", "optimizer=sgd,adam", "steps=20", "hydra.sweep.dir=outputs/sweeps/one")
FOLDER = Path("outputs/sweeps/one")
NUM_FITS = 18
FAILS = """
from typing import Literal
from linfit.problem.datasets import Parabola
from pathlib import Path

class Moody(Parabola):
    name: Literal["moody"] = "moody"
    def load(self, seed):
        if seed in (1, 3) and not Path("mended").exists():
            raise OSError("not today")
        return super().load(seed)
"""


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "BLOCK", 4)


@pytest.fixture
def break_off(monkeypatch: pytest.MonkeyPatch, blocks: None) -> Callable[[int, BaseException], None]:
    """Makes the next sweep raise before its fit number so-and-so."""

    def arrange(before: int, error: BaseException) -> None:
        def broken(configs: Any) -> Any:
            for number, (place, fit) in enumerate(fits_as_done(configs)):
                if number == before:
                    monkeypatch.setattr("linfit.sweeps.running.fits_as_done", fits_as_done)
                    raise error
                yield place, fit

        monkeypatch.setattr("linfit.sweeps.running.fits_as_done", broken)

    return arrange


def kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on an interrupted sweep ends as a killed process: nothing is put in order."""

    def dead(sweep: recording.Sweep, *_: object) -> None:
        sweep._own.release()

    monkeypatch.setattr(recording.Sweep, "kill", dead)


def tables(folder: Path = FOLDER) -> list[list[dict[str, Any]]]:
    """Results and curves by row, without the ids of runs."""
    found = [
        parquet.read_table(folder / name).drop_columns(columns).to_pylist()
        for name, columns in ((layout.RESULTS, ["run_id"]), (layout.CURVES, []))
    ]
    return [sorted(rows, key=lambda row: int(row["row"])) for rows in found]


@pytest.fixture(scope="module")
def reference(migrated_store: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tables of the same sweep, not interrupted."""
    from linfit.sweeps.app import execute
    from linfit.sweeps.runner import Runner

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("reference"))
        execute([*SWEEP[1:], "tracking=none"], Runner())
        return repr(tables())


def found(client: Any) -> tuple[Any, list[Any]]:
    """The parent, and its children in order of their rows."""
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()], run_view_type=3)
    [parent] = [run for run in runs if layout.PARENT not in run.data.tags]
    return parent, sorted((run for run in runs if layout.PARENT in run.data.tags), key=lambda run: int(run.data.tags[layout.ROW]))


def assert_whole(client: Any, reference: str) -> None:
    parent, children = found(client)
    assert [int(run.data.tags[layout.ROW]) for run in children] == list(range(NUM_FITS))
    assert {run.info.status for run in children} == {"FINISHED"}
    assert (parent.info.status, parent.data.tags[layout.STATUS]) == ("FINISHED", "completed")
    assert parent.data.metrics["num_completed"] == NUM_FITS
    assert repr(tables()) == reference
    ids = parquet.read_table(FOLDER / layout.RESULTS)["run_id"].to_pylist()
    assert ids == [run.info.run_id for run in children]
    assert {file.name for file in FOLDER.iterdir()} == {
        *(".lock", "multirun.yaml", layout.ENVIRONMENT_FILE, layout.MANIFEST, layout.RESULTS, layout.CURVES),
    }
    assert len(parent.outputs.model_outputs) == 1
    with closing(sqlite3.connect("outputs/mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone() == (NUM_FITS + 1,)
        twice = "SELECT count(*) FROM (SELECT 1 FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1)"
        assert store.execute(twice).fetchone() == (0,)


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("before", [0, 7])
def test_an_interrupted_sweep_ends_as_another(
    before: int, dies: bool, linfit: Linfit, workdir: Path, client: Any, break_off: Any, monkeypatch: pytest.MonkeyPatch, reference: str
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
    assert (planned.code, f"{NUM_FITS} fits, {kept} done, {NUM_FITS - kept} left" in planned.out) == (0, True)
    done = linfit("resume")
    assert (done.code, f"{NUM_FITS} fits: {NUM_FITS} completed" in done.out) == (0, True), done.err
    assert_whole(client, reference)
    again = linfit("resume", "last")
    assert (again.code, again.out) == (0, "")
    assert "nothing is left" in again.err
    assert_whole(client, reference)


def test_it_may_be_interrupted_again_and_again(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any, monkeypatch: pytest.MonkeyPatch, reference: str
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
    committed: bool, linfit: Linfit, workdir: Path, client: Any, blocks: None, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    """Ctrl-C just before or just after a transaction: in both cases the runs are there once."""
    add, calls = DatabaseRecorder.add, [0]

    def interrupted(self: DatabaseRecorder, rows: Any) -> list[str]:
        calls[0] += 1
        ids = add(self, rows) if committed or calls[0] != 2 else []
        if calls[0] == 2:
            raise KeyboardInterrupt
        return ids

    monkeypatch.setattr(DatabaseRecorder, "add", interrupted)
    assert linfit(*SWEEP).code == 130
    parent, children = found(client)
    assert (parent.info.status, len(children)) == ("KILLED", 8)
    assert linfit("resume", parent.info.run_id[:12]).code == 0
    assert_whole(client, reference)


def test_mlflow_counts_where_a_table_disagrees(linfit: Linfit, workdir: Path, client: Any, break_off: Any, reference: str) -> None:
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
    assert [int(run.data.tags[layout.ROW]) for run in active] == list(range(NUM_FITS))
    assert {run.info.run_id for run in children} - {run.info.run_id for run in active} == {children[9].info.run_id}
    assert repr(tables()) == reference


def test_the_best_runs_only(linfit: Linfit, workdir: Path, client: Any, break_off: Any, reference: str) -> None:
    break_off(11, KeyboardInterrupt())
    assert linfit(*SWEEP, "tracking.runs=best:3").code == 130
    assert found(client)[1] == []
    assert linfit("resume").code == 0
    _, children = found(client)
    results = tables()[0]
    best = sorted(range(NUM_FITS), key=lambda row: (results[row]["excess_loss"], row))[:3]
    assert [int(run.data.tags[layout.ROW]) for run in children] == sorted(best)
    assert repr(tables()) == reference


def test_a_sweep_that_is_not_tracked(linfit: Linfit, bare: Path, break_off: Any, reference: str) -> None:
    break_off(9, KeyboardInterrupt())
    assert linfit(*SWEEP, "tracking=none").code == 130
    assert linfit("resume").code == 0
    assert repr(tables()) == reference
    assert not Path("outputs/mlflow.db").exists()


def test_failed_fits_are_run_again_when_asked(linfit: Linfit, workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from linfit.problem.datasets import Dataset

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(Dataset, "choices", dict(Dataset.choices))
    (workdir / "moods.py").write_text(FAILS)
    swept = linfit("run", "-m", "plugins=[moods]", "dataset.name=moody", "seed=range(0,5)", "steps=5", "hydra.sweep.dir=outputs/sweeps/one")
    assert swept.code == 1
    _, before = found(client)
    assert [run.info.status for run in before] == ["FINISHED", "FAILED", "FINISHED", "FAILED", "FINISHED"]
    assert "needs plug-ins" in linfit("resume", "last", "--retry-failed").err
    assert linfit("resume", "last", "--trust").code == 0  # failed fits are done
    Path("mended").touch()
    again = linfit("resume", "last", "--retry-failed", "--trust")
    assert (again.code, "5 fits: 5 completed" in again.out) == (0, True), again.err
    parent, after = found(client)
    assert len(after) == 7
    linked = {run.data.tags[layout.RETRIES]: run.data.tags[layout.ROW] for run in after if layout.RETRIES in run.data.tags}
    assert linked == {run.info.run_id: run.data.tags[layout.ROW] for run in before if run.info.status == "FAILED"}
    assert (parent.info.status, parent.data.metrics["num_failed"], parent.data.metrics["num_completed"]) == ("FINISHED", 0, 5)
    assert linfit("show", "last").out.count("seed=") == 5


def test_what_changed_is_said_and_refused(
    linfit: Linfit, workdir: Path, client: Any, break_off: Any, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    import torch

    break_off(9, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    with monkeypatch.context() as patch:
        patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ABACUS")
        refused = linfit("resume")
        assert refused.code == 2
        assert "cpu_capability changed from" in refused.err and "to ABACUS" in refused.err and "--allow-changes" in refused.err
        assert len(refused.err.splitlines()) == 1
        break_off(2, KeyboardInterrupt())
        assert linfit("resume", "--allow-changes").code == 130
        assert linfit("resume").code == 0  # these changes have been allowed
    assert_whole(client, reference)
    assert "ABACUS" in found(client)[0].data.tags[layout.CHANGES]


def test_changed_data_are_said_and_refused(linfit: Linfit, workdir: Path, break_off: Any) -> None:
    Path("data.csv").write_text("a,y\n1,2\n2,3\n3,5\n")
    break_off(1, KeyboardInterrupt())
    data = ("dataset=csv", "dataset.path=data.csv", "dataset.features=[a]", "dataset.target=y")
    assert linfit("run", "-m", *data, "seed=0,1,2", "steps=3").code == 130
    Path("data.csv").write_text("a,y\n1,2\n2,3\n3,6\n")
    refused = linfit("resume")
    assert (refused.code, "data data.csv changed from" in refused.err) == (2, True)
    Path("data.csv").unlink()
    assert linfit("resume").code == 2


def test_a_store_that_fails_leaves_a_sweep_that_can_go_on(
    linfit: Linfit, workdir: Path, client: Any, blocks: None, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    add = DatabaseRecorder.add
    full: list[bool] = []

    def fails(self: DatabaseRecorder, rows: Any) -> list[str]:
        if full:
            raise RecordingError("the store is full: make room")
        full.append(True)
        return add(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseRecorder, "add", fails)
        broken = linfit(*SWEEP)
    assert (broken.code, len(broken.err.strip().splitlines()[-1:])) == (2, 1)
    assert "linfit: the store is full: make room; go on with: linfit resume outputs/sweeps/one" in broken.err
    assert linfit("resume").code == 0
    assert_whole(client, reference)


def test_two_at_once(linfit: Linfit, workdir: Path, break_off: Any) -> None:
    from linfit.sweeps.folder import claim

    break_off(2, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    lock = claim(FOLDER)
    try:
        for command in (("resume", str(FOLDER)), SWEEP):
            refused = linfit(*command)
            assert (refused.code, "is being run by another process" in refused.err) == (2, True)
        assert "no sweep in outputs/sweeps is unfinished" in linfit("resume").err
    finally:
        lock.release()
    taken = linfit(*SWEEP)
    assert (taken.code, "holds another sweep" in taken.err) == (2, True)


def test_runs_of_dead_processes_are_ended_and_others_are_not(linfit: Linfit, workdir: Path, client: Any, break_off: Any) -> None:
    assert linfit("run", "steps=1").code == 0
    place, _, began = owner().rpartition(" ")[0].rpartition(" ")[0], 0, owner().rpartition(" ")[2]
    owners = {"dead": f"{place} 4194304 {began}", "living": owner(), "elsewhere": f"other 4194304 {began}", "unknown": ""}
    [experiment] = client.search_experiments(filter_string="name = 'adhoc'")
    ids = {name: client.create_run(experiment.experiment_id, tags={layout.OWNER: text}).info.run_id for name, text in owners.items()}
    break_off(1, KeyboardInterrupt())
    assert linfit(*SWEEP).code == 130
    assert linfit("resume").code == 0
    ended = {name: client.get_run(run_id).info.status for name, run_id in ids.items()}
    assert ended == {"dead": "KILLED", "living": "RUNNING", "elsewhere": "RUNNING", "unknown": "RUNNING"}
    assert not is_dead("a b")


@pytest.mark.parametrize("reference", ["nothing/here", "conf", "0123abcd"])
def test_no_such_sweep_is_one_line(reference: str, linfit: Linfit, workdir: Path) -> None:
    Path("conf").mkdir()
    done = linfit("resume", reference)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)


def test_a_run_that_is_no_sweep_and_a_folder_that_is_gone(linfit: Linfit, workdir: Path, client: Any) -> None:
    assert linfit("run", "steps=1").code == 0
    [run] = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert "is no sweep" in linfit("resume", run.info.run_id).err
    assert linfit(*SWEEP).code == 0
    shutil.move(FOLDER, "outputs/sweeps/moved")
    assert "nothing is left" in linfit("resume", "last").err
    shutil.rmtree("outputs/sweeps/moved")
    assert "is gone" in linfit("resume", "last").err


# ---- leaving out what is done ----


def test_what_is_finished_is_left_out(linfit: Linfit, workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert linfit("run", "-m", "seed=0,1,2", "steps=3").code == 0
    assert linfit("run", "seed=7", "steps=3", "engine=stacked").code == 0
    more = linfit("run", "-m", "seed=0,1,2,3,7", "steps=3", "--skip-done")
    assert (more.code, "4 of 5 fits are finished already and left out" in more.err, "1 fits: 1 completed" in more.out) == (0, True, True)
    before = len(client.search_runs(["1"]))
    assert linfit("run", "-m", "seed=0,1,2,3", "steps=3", "--skip-done").code == 0
    assert linfit("run", "seed=7", "steps=3", "engine=stacked", "--skip-done").code == 0
    assert len(client.search_runs(["1"])) == before
    assert linfit("run", "-m", "seed=0,1", "steps=3", "--skip-done", "name=other").out  # another MLflow experiment
    monkeypatch.setattr("linfit.tracking.code.code_digest", lambda plugins=(): "other code")
    assert "2 fits: 2 completed" in linfit("run", "-m", "seed=0,1", "steps=3", "--skip-done").out
