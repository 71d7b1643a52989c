"""A working directory in which anything may happen, and a model of it.

The model knows which sweeps the directory has, and which fits each of them must have.

a step (a command, a kill, a move …) → the model's answer → `check`, which compares the two
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pyarrow import parquet

import linfit
from linfit.tracking.schema import mlflow_names, run_records
from linfit.tracking.tables.parts import is_unfinished
from tests.faults.harness import end, log, start
from tests.faults.killing import find_survivors
from tests.faults.snapshots import SCRATCH, describe

#: Who is killed, and at which time that a file is touched.
Doom = tuple[str, int] | None
#: How runs come into the store: by the process itself, or by the one in which MLflow lives.
WAYS: dict[str, dict[str, Any]] = {"itself": {}, "desk": {"desk": True}}
#: What may begin with a dot below `outputs` when nobody works there.
HIDDEN = {".lock", ".hydra"}
#: Metrics that say something beside the fit's own numbers.
BESIDE = (mlflow_names.HPARAM, mlflow_names.THEORY, "largest_stable_lr")
Numbers = dict[tuple[str, int], float]


@cache
def fit_alone(optimizer: str, seed: int, engine: str = "stacked") -> Numbers:
    """Return the metrics of a fit that this process runs."""
    words = [
        f"optimizer={optimizer}",
        f"seed={seed}",
        "steps=20",
        f"engine={engine}",
        "tracking=none",
    ]
    fitted = linfit.fit(linfit.compose(words))
    return {(key, step): value for key, value, step in run_records.collect_metrics(fitted)}


def assert_same(found: Numbers, expected: Numbers, where: str) -> None:
    differing = {key: (found.get(key), expected.get(key)) for key in found.keys() | expected.keys()}
    assert found == expected, (
        f"{where}: {[item for item in differing.items() if len(set(item[1])) > 1]}"
    )


@dataclass
class PlannedSweep:
    """A sweep as the model has it: its row i is the fit of the optimizer with seed `first` + i."""

    folder: str
    optimizer: str
    first: int
    size: int
    files: bool
    """Every fit has files of its own."""
    deleted: dict[int, str] = field(default_factory=dict)
    """Runs that a user has deleted, by row."""


@dataclass
class SingleRun:
    """A single run as the model has it: killed ones need not be finished."""

    optimizer: str
    seed: int
    killed: bool


class World:
    """A directory with an empty store, and what was done in it."""

    def __init__(self, store: Path) -> None:
        self.base = Path(mkdtemp(prefix="world-")).resolve()
        self.place = self.base / "0"
        (self.place / "outputs").mkdir(parents=True)
        (self.place / SCRATCH).mkdir()
        shutil.copy(store, self.place / "outputs" / "mlflow.db")
        self.sweeps: list[PlannedSweep] = []
        self.singles: list[SingleRun] = []
        self.moved = False
        self.count = 0

    # ---- steps ----

    def sweep(
        self,
        optimizer: str,
        first: int,
        size: int,
        files: bool = False,
        workers: int = 1,
        way: str = "itself",
        doom: Doom = None,
    ) -> None:
        """Run a sweep, or have it killed."""
        sweep, process = self._start_sweep(optimizer, first, size, files, workers, way, doom)
        self._end_sweep(sweep, process, doom)
        self.check()

    def two_sweeps(self, first: int, sizes: Sequence[int], doom: Doom = None) -> None:
        """Run two sweeps at once; the second one may be killed."""
        begun = [
            self._start_sweep(optimizer, first, size, False, 1, "itself", doomed)
            for optimizer, size, doomed in zip(("sgd", "adam"), sizes, (None, doom), strict=True)
        ]
        for (sweep, process), doomed in zip(begun, (None, doom), strict=True):
            self._end_sweep(sweep, process, doomed)
        self.check()

    def run(self, optimizer: str, seed: int, doom: Doom = None) -> None:
        """Run a single fit, or have it killed."""
        code = self._do(
            "run",
            f"optimizer={optimizer}",
            f"seed={seed}",
            "steps=20",
            "engine=single",
            "pictures=false",
            doom=doom,
        )
        if code != 2 or doom is not None:
            self.singles.append(SingleRun(optimizer, seed, killed=code != 0))
        self.check()

    def resume(self, pick: int | None = None, doom: Doom = None, way: str = "itself") -> None:
        """Go on with the sweep that is unfinished, or with a chosen one."""
        named = [] if pick is None or not self.sweeps else [self.sweeps[pick % len(self.sweeps)]]
        left = self._unfinished_sweeps()
        code = self._do("resume", *[sweep.folder for sweep in named], doom=doom, **WAYS[way])
        if code == 0:
            still = self._unfinished_sweeps()
            assert not any(sweep in still for sweep in named), (
                f"{named} is unfinished: {log(self.place)}"
            )
            assert named or len(still) == max(len(left) - 1, 0), (
                f"{still} are unfinished: {log(self.place)}"
            )
        self._note_made_again([*named, *left])
        self.check(resumed=code == 0)

    def reproduce(self, pick: int, doom: Doom = None) -> None:
        """Repeat a finished run, whose bits are the same; or have that killed."""
        if runs := self._finished_runs():
            self._do("reproduce", runs[pick % len(runs)], "--exact", doom=doom)
        self.check()

    def verify(self, pick: int) -> None:
        """Refit a finished sweep."""
        if done := self._finished_sweeps():
            assert self._command("verify", self._parent(done[pick % len(done)])) == 0, log(
                self.place
            )
        self.check()

    def delete(self, pick: int) -> None:
        """Delete a fit of a finished sweep in MLflow."""
        there = [
            (sweep, row, run)
            for sweep in self._finished_sweeps()
            for row, run in self._children(sweep)
        ]
        if there:
            sweep, row, run = there[pick % len(there)]
            self._client().delete_run(run)
            sweep.deleted[row] = run
        self.check()

    def restore(self, pick: int) -> None:
        """Have a deleted fit back that nothing has taken the place of."""
        gone = [(sweep, row) for sweep in self.sweeps for row in sweep.deleted]
        if gone:
            sweep, row = gone[pick % len(gone)]
            self._client().restore_run(sweep.deleted.pop(row))
        self.check()

    def move(self, whole: bool) -> None:
        """Move the working directory, or only what linfit wrote into another one.

        From now on the store has to be relocated.
        """
        self.count += 1
        old, self.place = self.place, self.base / f"moved {self.count}"
        if whole:
            old.rename(self.place)
        else:
            (self.place / SCRATCH).mkdir(parents=True)
            (old / "outputs").rename(self.place / "outputs")
            shutil.rmtree(old)
        self.moved = self.moved or bool(self.sweeps or self.singles)
        self.check()

    def relocate(self) -> None:
        """Rewrite the addresses in the store."""
        assert self._command("relocate", "--yes") == 0, log(self.place)
        self.moved = False
        self.check()

    def end(self) -> None:
        """Go on with all that is unfinished, and remove everything."""
        try:
            if self.moved:
                self.relocate()
            for pick in range(len(self.sweeps)):
                self.resume(pick)
            unfinished_sweeps = self._unfinished_sweeps()
            assert not unfinished_sweeps, f"{unfinished_sweeps} are unfinished"
        finally:
            self.remove()

    def remove(self) -> None:
        find_survivors(self.place / SCRATCH, 0)
        shutil.rmtree(self.base)

    # ---- commands ----

    def _start_sweep(
        self, optimizer: str, first: int, size: int, files: bool, workers: int, way: str, doom: Doom
    ) -> tuple[PlannedSweep, BaseProcess]:
        self.count += 1
        sweep = PlannedSweep(f"outputs/sweeps/{self.count}", optimizer, first, size, files)
        words = [
            f"optimizer={optimizer}",
            f"seed=range({first},{first + size})",
            "steps=20",
            "engine=stacked",
            "pictures=false",
        ]
        words += [f"hydra.sweep.dir={sweep.folder}", f"hydra.launcher.workers={workers}"]
        words += [f"tracking.child_artifacts={str(files).lower()}"]
        return sweep, self._start("run", "-m", *words, doom=doom, **WAYS[way])

    def _end_sweep(self, sweep: PlannedSweep, process: BaseProcess, doom: Doom) -> None:
        code = self._end(process, doom)
        if (self.place / sweep.folder / mlflow_names.MANIFEST).exists():
            self.sweeps.append(sweep)
        assert code != 0 or sweep in self._finished_sweeps(), f"exit code {code}: {log(self.place)}"

    def _do(self, *arguments: str, doom: Doom = None, **how: Any) -> int:
        """Return the exit code of a command that may write."""
        return self._end(self._start(*arguments, doom=doom, **how), doom)

    def _command(self, *arguments: str) -> int:
        return end(self._start(*arguments))

    def _start(self, *arguments: str, **how: Any) -> BaseProcess:
        return start(
            self.place,
            *arguments,
            **{"block": 4, **how},
            TMPDIR=str(self.place / SCRATCH),
        )

    def _end(self, process: BaseProcess, doom: Doom) -> int:
        """Return the exit code: success, unless somebody was killed or the store has been moved."""
        code = end(process)
        text = log(self.place)
        assert "Traceback" not in text, text
        refused = self.moved and code == 2 and "relocate" in text
        killed = doom is not None and code in (
            (2, -9) if doom[0] in ("helper", "worker") else (-9,)
        )
        assert code == 0 or refused or killed, f"exit code {code}: {text}"
        return code

    def _note_made_again(self, sweeps: Sequence[PlannedSweep]) -> None:
        """A resume has made deleted fits again, or some of them where it was killed."""
        for sweep in sweeps:
            there = {row for row, _ in self._children(sweep)}
            sweep.deleted = {row: run for row, run in sweep.deleted.items() if row not in there}

    # ---- what must hold ----

    def check(self, resumed: bool = False) -> None:
        """Compare the directory with the model; after a resume no run may seem to be running."""
        survivors = find_survivors(self.place / SCRATCH)
        assert not survivors, f"{survivors} live on"
        there = [path.name for path in self.base.iterdir()]
        assert there == [self.place.name], f"something was written into another place: {there}"
        for sweep in self.sweeps:
            self._check_sweep(sweep)
        self._check_singles()
        if resumed:
            running = self._query(
                "SELECT name FROM runs WHERE status = 'RUNNING' AND lifecycle_stage = 'active'"
            )
            assert not running, f"{running} seem to be running"
            self._check_leftovers()

    def _check_sweep(self, sweep: PlannedSweep) -> None:
        """Every fit at most once, with its own bits; all of them where the sweep is finished."""
        children = self._children(sweep)
        rows = Counter(row for row, _ in children)
        assert all(number == 1 for number in rows.values()), f"{sweep}: {rows}"
        for row, run in children:
            assert_same(
                self._numbers(run),
                fit_alone(sweep.optimizer, sweep.first + row),
                f"row {row} of {sweep}",
            )
        if is_unfinished(self.place / sweep.folder):
            return
        assert set(rows) == set(range(sweep.size)) - set(sweep.deleted), f"{sweep}: {rows}"
        status = self._query("SELECT status FROM runs WHERE run_uuid = ?", self._parent(sweep))
        assert status == [("FINISHED",)], f"{sweep}: {status}"
        results = parquet.read_table(self.place / sweep.folder / mlflow_names.RESULTS).to_pylist()
        losses = {row: fit_alone(sweep.optimizer, sweep.first + row) for row in range(sweep.size)}
        assert [(result["row"], result["loss"]) for result in results] == [
            (row, losses[row]["loss", 20]) for row in losses
        ]
        for _, run in children if sweep.files else ():
            self._check_files(run)

    def _check_singles(self) -> None:
        """Assert that every single run is there once, with its own bits if it is finished.

        It is finished unless it was killed.
        """
        finished = Counter(tuple(sorted(self._numbers(run).items())) for run in self._single_runs())
        needed, possible = Counter[Any](), Counter[Any]()
        for single in self.singles:
            numbers = tuple(sorted(fit_alone(single.optimizer, single.seed, "single").items()))
            possible[numbers] += 1
            needed[numbers] += not single.killed
        assert needed <= finished <= possible, f"{self.singles}: {finished.total()} are finished"

    def _check_files(self, run: str) -> None:
        [(where,)] = self._query("SELECT artifact_uri FROM runs WHERE run_uuid = ?", run)
        folder = self.place / "outputs" / where[where.index("artifacts/") :]
        assert {file.name for file in folder.iterdir()} == {
            mlflow_names.CONFIG_FILE,
            mlflow_names.WEIGHTS_FILE,
        }, run
        assert "changed" not in describe(folder / mlflow_names.WEIGHTS_FILE) + describe(
            folder / mlflow_names.CONFIG_FILE
        )

    def _check_leftovers(self) -> None:
        hidden = [path for path in (self.place / "outputs").rglob(".*") if path.name not in HIDDEN]
        left = [
            str(path.relative_to(self.place))
            for path in (*hidden, *(self.place / SCRATCH).rglob("*"))
        ]
        assert not left, f"{left} is left over: {log(self.place)}"

    # ---- the directory ----

    def _finished_sweeps(self) -> list[PlannedSweep]:
        return [sweep for sweep in self.sweeps if not is_unfinished(self.place / sweep.folder)]

    def _unfinished_sweeps(self) -> list[PlannedSweep]:
        return [sweep for sweep in self.sweeps if is_unfinished(self.place / sweep.folder)]

    def _parent(self, sweep: PlannedSweep) -> str:
        """Return the id of a sweep's own run; empty where it has none."""
        from linfit.sweeps.folder.sweep_folder import SweepInfo

        about = SweepInfo.read_manifest(self.place / sweep.folder)
        query = (
            "SELECT run_uuid FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = ? AND value = ? AND lifecycle_stage = 'active'"
        )
        found = self._query(query, mlflow_names.ID, about.id)
        assert len(found) <= 1, f"{sweep} has {len(found)} parents"
        return found[0][0] if found else ""

    def _children(self, sweep: PlannedSweep) -> list[tuple[int, str]]:
        """Return row and id of the runs of a sweep."""
        query = (
            "SELECT CAST(r.value AS INTEGER), run_uuid FROM runs "
            "JOIN tags r USING (run_uuid) JOIN tags p USING (run_uuid) "
            "WHERE lifecycle_stage = 'active' AND status = 'FINISHED' "
            "AND r.key = ? AND p.key = ? AND p.value = ?"
        )
        return self._query(query, mlflow_names.ROW, mlflow_names.PARENT, self._parent(sweep))

    def _single_runs(self) -> list[str]:
        query = (
            "SELECT run_uuid FROM runs JOIN tags k USING (run_uuid) "
            "WHERE status = 'FINISHED' AND k.key = ? AND k.value = ? "
            "AND run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = ?)"
        )
        return [
            run
            for (run,) in self._query(query, mlflow_names.KIND, mlflow_names.FIT, mlflow_names.ROW)
        ]

    def _finished_runs(self) -> list[str]:
        return [
            *self._single_runs(),
            *(run for sweep in self._finished_sweeps() for _, run in self._children(sweep)),
        ]

    def _numbers(self, run: str) -> Numbers:
        found = self._query("SELECT key, step, value FROM metrics WHERE run_uuid = ?", run)
        numbers = {(key, step): value for key, step, value in found if not key.startswith(BESIDE)}
        assert len(numbers) == sum(not key.startswith(BESIDE) for key, _, _ in found), (
            f"a metric of {run} is there twice"
        )
        return numbers

    def _query(self, query: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.place / "outputs" / "mlflow.db")) as store:
            return store.execute(query, values).fetchall()

    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=f"sqlite:///{self.place}/outputs/mlflow.db")


def tell_story(store: Path, steps: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Do steps one after the other in a new world."""
    world = World(store)
    try:
        for name, arguments in steps:
            step: Callable[..., None] = getattr(world, name)
            step(**arguments)
    except BaseException:
        world.remove()
        raise
    world.end()
