"""Power loss: all that was told as recorded is there, and nothing is half there.

Every state resumes to the full sweep.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyarrow import parquet

from linfit.errors import LinfitError
from linfit.tracking.schema import mlflow_names
from linfit.tracking.tables.manifest import read_sweep_info
from linfit.tracking.tables.parts import hash_table, read_results
from tests.faults.disk import LOSSES, TORN, Disk, State, prefix_loss, random_loss, restore
from tests.faults.harness import FOLDER, assert_whole, contents, log, missing, run
from tests.faults.snapshots import Snapshot, compare, take_snapshot
from tests.faults.syscalls import Call, Replay, may_trace, read_calls, strace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="strace, on Linux")
#: A sweep of so many fits, recorded in blocks of eight; what is recorded is told at once.
SWEEP, NUM_FITS = (
    (
        "run",
        "-m",
        "seed=range(0,20)",
        "optimizer=sgd,adam",
        "steps=20",
        "pictures=false",
        f"hydra.sweep.dir={FOLDER}",
    ),
    40,
)
SWEEPS = {"tables": SWEEP, "child artifacts": (*SWEEP, "tracking.child_artifacts=true")}
#: Files that SQLite and MLflow were writing, and that nothing refers to any more: an empty journal,
#: and the copy of an artifact.
MAY_STAY = r"mlflow\.db-journal|\.artifact\.uploading\."
TELLING = """
import sys
from linfit.sweeps.run import block_pipeline as recording
from linfit.views.terminal.progress import ProgressBar
def advance(bar, done):
    for one in done:
        sys.stderr.write(f"recorded {one.result['row']}\\n")
recording.BLOCK, ProgressBar.advance = 8, advance
from linfit.__main__ import main
main()
"""


# ---- the states of a sweep ----


@dataclass(frozen=True)
class Recording:
    """A command that ended well.

    It has its folder, its calls below that folder, the content of tables and store, and all files.
    """

    command: tuple[str, ...]
    folder: Path
    calls: list[Call]
    reference: str
    snapshot: Snapshot


@pytest.fixture(scope="module", params=SWEEPS)
def recording(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Recording:
    """The calls of a sweep that begins in an empty folder."""
    command = SWEEPS[request.param]
    folder, calls = record(command, tmp_path_factory.mktemp("power"))
    assert_whole_in(folder, contents(folder))
    return Recording(command, folder, calls, contents(folder), snapshot_of(folder))


def record(command: Sequence[str], above: Path) -> tuple[Path, list[Call]]:
    """Return the folder, empty before, in which a command has run, and its calls there."""
    if not may_trace():
        missing("strace may not trace here")
    folder = above / "work"
    (folder / "tmp").mkdir(parents=True)
    program = [*strace(above / "calls"), sys.executable, "-c", TELLING, *command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder / "tmp"))
        done = subprocess.run(
            program, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    return folder, calls_on(folder, above / "calls")


def snapshot_of(folder: Path) -> Snapshot:
    """Return all that there is but for what was printed."""
    found = take_snapshot(folder)
    found.pop("log", None)
    return found


def calls_on(folder: Path, log: Path) -> list[Call]:
    """Return the calls of a log that a replay needs."""
    replay = Replay(folder, begin(ordered=False))
    with log.open(encoding="utf-8") as lines:
        return [
            call
            for call in read_calls(iter(lines))
            if replay.apply(call) or call.name in ("openat", "lseek")
        ]


def begin(ordered: bool) -> Disk:
    """Return the disk on which the sweep begins."""
    disk = Disk(ordered)
    disk.make("tmp", is_folder=True)
    return disk


def assert_whole_in(folder: Path, reference: str) -> None:
    (folder / "log").touch()
    assert_whole(folder, NUM_FITS, reference)


def states(
    recording: Recording, ordered: bool, seed: int = 0, only: str = ""
) -> Iterator[tuple[str, str, State]]:
    """Yield, once each, the states that a loss may leave after a call.

    Each has its name, what was printed by then, and the files. `only` is in the name of each. In
    the middle of a file, a torn write represents everything else that may become of it.
    """
    disk, seen = begin(ordered), set[int]()
    replay = Replay(recording.folder, disk)
    for number, call in enumerate(recording.calls):
        if not replay.apply(call):
            continue
        drawn = prefix_loss(seed + number) if ordered else random_loss(seed + number)
        usual = LOSSES[-1:] if ordered else LOSSES
        for loss in (TORN, drawn) if "write" in call.name else (*usual, drawn):
            name = (
                f"{'ordered' if ordered else 'hostile'}, call {number} ({call.name}), {loss.name}"
            )
            if only not in name:
                continue
            said = replay.said.decode()
            state = {
                path: content
                for path, content in disk.state(loss).items()
                if path.startswith("outputs")
            }
            key = hash((said, *state.items()))  # of bytes it is kept with them
            if key not in seen:
                seen.add(key)
                yield name, said, state


def open_state(said: str, state: State, recording: Recording) -> dict[int, str]:
    """Have the files of a state in the sweep's folder, and return the runs of its fits.

    Raise AssertionError if something is lost or half there.
    """
    folder = recording.folder
    restore(state, folder)
    (folder / "tmp").mkdir()
    (folder / "log").touch()
    assert_readable(folder, is_finished(said))
    found, told = (
        recorded_rows(folder),
        {int(row) for row in re.findall(r"^recorded (\d+)$", said, re.MULTILINE)},
    )
    assert told <= found.keys(), f"told and lost: {sorted(told - found.keys())}"
    return {row: found[row] for row in told}


def is_finished(said: str) -> bool:
    """Return True where the sweep was told as finished."""
    return re.search(r"^sweep +\w{32}$", said, re.MULTILINE) is not None


def resume_state(said: str, state: State, recording: Recording) -> None:
    """Open a state and go on with it, as a user does who comes back.

    `resume` does so, or the same command if nothing was planned.
    """
    folder, told = recording.folder, open_state(said, state, recording)
    go_on = (
        ("resume", FOLDER)
        if (folder / FOLDER / mlflow_names.MANIFEST).exists()
        else recording.command
    )
    assert run(folder, *go_on, block=8) == 0, "it does not go on"
    whole_log = (folder / "log").read_text(encoding="utf-8")
    assert not is_finished(said) or "nothing is left" in whole_log, "a finished sweep was run again"
    assert_whole(folder, NUM_FITS, recording.reference)
    after = recorded_rows(folder)
    assert {row: after[row] for row in told} == told, "recorded twice"
    assert_readable(folder, finished=True)
    verdict = compare(snapshot_of(folder), recording.snapshot)
    verdict.left = [name for name in verdict.left if not re.search(MAY_STAY, name)]
    assert not any(verdict.counts.values()), verdict


def judge(
    act: Callable[[str, State, Recording], object],
    name: str,
    said: str,
    state: State,
    recording: Recording,
) -> str:
    """Return what is wrong with a state, or with what becomes of it; empty if nothing is."""
    try:
        act(said, state, recording)
    except (AssertionError, sqlite3.Error, OSError, ValueError, LinfitError) as error:
        return f"{name}: {type(error).__name__} {str(error)[:1500]}"
    return ""


def recorded_rows(folder: Path) -> dict[int, str]:
    """Return the run ids of the fits that stand both in the tables and, finished, in the store."""
    database = folder / "outputs" / "mlflow.db"
    if not database.exists() or not (folder / FOLDER).exists():
        return {}
    with closing(sqlite3.connect(database)) as store:
        query = (
            "SELECT CAST(value AS INTEGER), run_uuid FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = ? AND status = 'FINISHED'"
        )
        runs = dict(store.execute(query, (mlflow_names.ROW,)).fetchall())
    return {row: runs[row] for row in read_results(folder / FOLDER) if row in runs}


def assert_readable(folder: Path, finished: bool) -> None:
    """Assert that nothing is half there.

    Files that have their names are whole, and a run that is FINISHED has all that belongs to it.
    """
    sweep = folder / FOLDER
    for file in sweep.glob("**/[!.]*.parquet"):
        parquet.read_table(file, page_checksum_verification=True)
    if (sweep / mlflow_names.MANIFEST).exists():
        read_sweep_info(sweep / mlflow_names.MANIFEST)
    if (sweep / mlflow_names.ENVIRONMENT_FILE).exists():
        json.loads((sweep / mlflow_names.ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    if (sweep / "multirun.yaml").exists():
        assert (sweep / "multirun.yaml").read_text(encoding="utf-8").startswith("hydra:"), (
            "half of multirun.yaml"
        )
    parents = finished_parents(folder)
    assert len(parents) == 1 or not finished, "told as finished, and is not"
    for place, hashes in parents:
        for name, expected in {**hashes}.items():
            assert hash_table(place / name) == expected, f"{name} is not what was recorded"
        models = [file for file in (place.parent.parent / "models").rglob("*") if file.is_file()]
        assert len(models) == 6 and all(file.stat().st_size for file in models), (
            "the model is not whole"
        )


def finished_parents(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return the artifact folder of each sweep that is FINISHED, and the hashes of its files."""
    database = folder / "outputs" / "mlflow.db"
    if not database.exists():
        return []
    with closing(sqlite3.connect(database)) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        query = (
            "SELECT artifact_uri, value FROM runs JOIN tags USING (run_uuid) "
            "WHERE status = 'FINISHED' AND key = ?"
        )
        return [
            (Path(place), json.loads(hashes))
            for place, hashes in store.execute(query, (mlflow_names.FILES,))
        ]


def judge_all(
    act: Callable[[str, State, Recording], object],
    chosen: Iterator[tuple[str, str, State]],
    recording: Recording,
) -> None:
    """Have nothing wrong with the chosen states, of which there are some."""
    problems = [judge(act, *state, recording) for state in chosen]
    wrong = [problem for problem in problems if problem]
    assert problems and not wrong, f"{len(wrong)} of {len(problems)} states:\n" + "\n".join(
        wrong[:5]
    )


def sample(
    recording: Recording, ordered: bool, count: int, only: str = ""
) -> Iterator[tuple[str, str, State]]:
    """Yield some states, drawn by a seed."""
    total = sum(1 for _ in states(recording, ordered, only=only))
    drawn = set(random.Random(0).sample(range(total), min(count, total)))
    return (
        state
        for number, state in enumerate(states(recording, ordered, only=only))
        if number in drawn
    )


def test_some_states_that_a_power_loss_leaves(recording: Recording) -> None:
    judge_all(open_state, states(recording, ordered=False, only="all is lost"), recording)
    judge_all(resume_state, sample(recording, False, 3, "all is lost"), recording)
    judge_all(resume_state, sample(recording, False, 3, "names are kept"), recording)
    judge_all(resume_state, sample(recording, False, 3, "random"), recording)
    judge_all(resume_state, sample(recording, True, 3, "prefix"), recording)


@pytest.mark.faults_all
@pytest.mark.parametrize("ordered", [False, True], ids=["hostile", "ordered"])
def test_every_state_that_a_power_loss_leaves_can_be_opened(
    ordered: bool, recording: Recording
) -> None:
    judge_all(open_state, states(recording, ordered), recording)


@pytest.mark.faults_all
@pytest.mark.parametrize("ordered", [False, True], ids=["hostile", "ordered"])
def test_states_that_a_power_loss_leaves_resume(ordered: bool, recording: Recording) -> None:
    judge_all(resume_state, sample(recording, ordered, 300), recording)


# ---- the states of a single run ----

#: It has no `resume`: what is FINISHED is whole, and the same command runs again.
RUN = ("run", "steps=20", "pictures=false", "hydra.run.dir=outputs/runs/one")
#: What a run keeps: its artifacts, its model, and the files of its folder that decide it.
KEPT = re.compile(
    r"outputs/(artifacts/.*|runs/one/(config\.json|weights\.safetensors|environment\.json))"
)


def test_states_that_a_power_loss_leaves_of_a_single_run(tmp_path: Path) -> None:
    folder, calls = record(RUN, tmp_path)
    run = Recording(RUN, folder, calls, "", {})
    whole = {path: content for path, content in last_state(run).items() if KEPT.fullmatch(path)}
    assert len([path for path in whole if path.endswith("weights.safetensors")]) == 3, (
        "in its folder, among artifacts, in the model"
    )
    wrong, found = [], list(states(run, ordered=False))
    for name, said, state in found:
        restore(state, folder)
        told = re.search(r"^run +\w{32} in MLflow", said, re.MULTILINE) is not None
        finished = statuses(folder) == ["FINISHED"]
        if finished < told or (
            finished and any(state.get(path) != content for path, content in whole.items())
        ):
            wrong.append(
                f"{name}: told {told}, finished {finished}, "
                f"{[path for path in whole if state.get(path) != whole[path]]}"
            )
    assert len(found) > 100 and not wrong, f"{len(wrong)} of {len(found)} states:\n" + "\n".join(
        wrong[:5]
    )


def test_a_single_run_is_run_again_after_a_power_loss(tmp_path: Path) -> None:
    folder, calls = record(RUN, tmp_path)
    for name, _, state in sample(Recording(RUN, folder, calls, "", {}), False, 8):
        restore(state, folder)
        (folder / "tmp").mkdir()
        assert run(folder, *RUN[:-1]) == 0, f"{name}: {log(folder)}"
        # `resume` ends the runs of processes that are gone, whose notes are lost.
        run(folder, "resume")
        assert set(statuses(folder)) <= {"FINISHED", "KILLED"}, name


def last_state(recording: Recording) -> State:
    """Return all that the command has written."""
    disk = begin(ordered=False)
    replay = Replay(recording.folder, disk)
    for call in recording.calls:
        replay.apply(call)
    return disk.state(LOSSES[-1])


def statuses(folder: Path) -> list[str]:
    """Return how the runs of a store have ended; none where there is no store."""
    if not (file := folder / "outputs" / "mlflow.db").exists():
        return []
    with closing(sqlite3.connect(file)) as store:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [status for (status,) in store.execute("SELECT status FROM runs")]
