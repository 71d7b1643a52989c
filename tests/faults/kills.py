"""Sweeps of every variant that are killed and resumed.

Each reports what is missing, doubled, broken or left over afterwards.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from linfit.tracking.schema import mlflow_names
from tests.faults.harness import FOLDER, end, log, run, start, until
from tests.faults.killing import find_survivors, kill_when_there
from tests.faults.snapshots import SCRATCH, Snapshot, Verdict, compare, take_snapshot

FITS = (
    "run",
    "-m",
    "seed=range(0,20)",
    "optimizer=sgd,adam,rmsprop",
    "steps=20",
    f"hydra.sweep.dir={FOLDER}",
)
#: A sweep without pictures.
SWEEP = (*FITS, "pictures=false")
LOG = "log"
#: Runs of a big store: so many copies of a sweep of sixty.
COPIES = 400
#: Attempts to kill a process before it ends by itself.
ATTEMPTS = 6
GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Variant:
    """A way to run the sweep, and which of its processes are killed."""

    victims: Sequence[str]
    arguments: Sequence[str] = SWEEP
    desk: bool = False
    store: str = "small"

    @property
    def how(self) -> Mapping[str, Any]:
        return {"block": 10, "desk": self.desk}


CHILD_ARTIFACTS = (*SWEEP, "tracking.child_artifacts=true")
BEST = (*SWEEP, "tracking.runs=best:5")
VARIANTS = {
    "no helper": Variant(("main", "all", "group")),
    "desk": Variant(("main", "helper", "all", "group"), desk=True),
    "workers=1": Variant(("group", "main"), (*SWEEP, "hydra.launcher.workers=1")),
    "workers=2": Variant(("main", "worker", "all", "group"), (*SWEEP, "hydra.launcher.workers=2")),
    "child artifacts": Variant(("main", "all"), CHILD_ARTIFACTS),
    "child artifacts, desk": Variant(("all", "main", "helper"), CHILD_ARTIFACTS, desk=True),
    "best:5": Variant(("main", "all", "group"), BEST),
    "best:5, child artifacts": Variant(("main", "group"), (*BEST, "tracking.child_artifacts=true")),
    "pictures": Variant(("main", "all"), FITS),
    "store absent": Variant(("main", "all", "helper"), desk=True, store="absent"),
    "store absent, no helper": Variant(("main", "group"), store="absent"),
    "store big": Variant(("main", "helper", "all"), desk=True, store="big"),
}


@dataclass(frozen=True)
class Times:
    """Seconds after which an undisturbed sweep has its manifest, has its tables, and ends."""

    manifest: float
    results: float
    end: float


@dataclass
class Kills:
    """Sweeps of one variant that are killed in folders of their own below `workdir`.

    What came of all of them is collected.
    """

    variant: Variant
    prepared: Path
    workdir: Path
    killed: int = 0
    found: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> dict[str, int]:
        return {"killed": self.killed, **{kind: self.found[kind] for kind in Verdict().counts}}

    @cached_property
    def undisturbed(self) -> tuple[Snapshot, Times]:
        """The sweep that nobody kills."""
        place = self._new_place("reference")
        process = self._start(place, *self.variant.arguments)
        until((place / LOG).exists, process, place)  # the server that forks it may have to start
        began, times = time.monotonic(), []
        for name in (mlflow_names.MANIFEST, mlflow_names.RESULTS):
            until((place / FOLDER / name).exists, process, place)
            times.append(time.monotonic() - began)
        assert end(process) == 0, log(place)
        ended = time.monotonic() - began
        snapshot = take_snapshot(place)
        assert find_survivors(place / SCRATCH) == []
        return snapshot, Times(times[0], times[1], ended)

    def kill(self, number: int) -> list[str]:
        """Kill a sweep, resume it, and return what is wrong then.

        Of every three sweeps, the resume is killed as well, once or twice. The moments of all
        numbers are spread evenly over the whole run.
        """
        victim = self.variant.victims[number % len(self.variant.victims)]
        place, survivors = self._kill_once(number, victim)
        for again in range(number % 3):
            survivors += self._kill_resume(place, number + again)
        return self._go_on(place, f"number {number}, {victim} killed", survivors)

    def kill_at(self, moment: int | str) -> list[str] | None:
        """Kill a sweep before it touches a file, resume it, and return what is wrong.

        It is killed at the n-th file, or by a call that fits a pattern. Return None if the sweep
        ends before.
        """
        place = self._new_place(f"at-{self.killed}")
        process = self._start(place, *self.variant.arguments, doom=("main", moment))
        if end(process) == 0:
            return None
        self.killed += 1
        return self._go_on(place, f"killed at {moment}", find_survivors(place / SCRATCH))

    def _go_on(self, place: Path, what: str, survivors: list[str]) -> list[str]:
        """Have the whole sweep, and return what is wrong; what is right is removed."""
        code = run(place, *self._command(place), TMPDIR=str(place / SCRATCH))
        verdict = compare(take_snapshot(place), self.undisturbed[0])
        verdict.left += [*survivors, *find_survivors(place / SCRATCH)]
        self.found.update(verdict.counts)
        told = [f"{kind}: {text}" for kind, texts in vars(verdict).items() for text in texts]
        if code != 0 or "Traceback" in (place / LOG).read_text(encoding="utf-8"):
            told.append(f"exit code {code}: {log(place)}")
        if not told:
            shutil.rmtree(place)
        return [f"{what}: {text}" for text in told]

    def _kill_once(self, number: int, victim: str) -> tuple[Path, list[str]]:
        """Return the folder of a sweep that was killed, and the processes that outlived that.

        A kill that comes too late is tried again earlier.
        """
        _, times = self.undisturbed
        moment = number * GOLDEN_RATIO % 1 * times.end
        for attempt in range(ATTEMPTS):
            place = self._new_place(f"{number}-{attempt}")
            process = self._start(place, *self.variant.arguments)
            _wait_until(moment / 2**attempt, times, process, place)
            if kill_when_there(process, victim):
                break
        else:
            raise AssertionError(f"there was no {victim} to be killed: {log(place)}")
        return place, self._end_killed(process, victim, place)

    def _kill_resume(self, place: Path, number: int) -> list[str]:
        victim = self.variant.victims[number % len(self.variant.victims)]
        process = self._start(place, *self._command(place))
        process.join(number * GOLDEN_RATIO % 1 * self.undisturbed[1].end / 2)
        if process.exitcode is not None or not kill_when_there(process, victim):
            return []
        return self._end_killed(process, victim, place)

    def _end_killed(self, process: BaseProcess, victim: str, place: Path) -> list[str]:
        """Wait for the end of a process that was killed, or has lost another one.

        Return the processes that outlived it.
        """
        self.killed += 1
        code = end(process)
        assert code in ({0, 2} if victim in ("helper", "worker") else {-9}), (
            f"exit code {code}: {log(place)}"
        )
        return find_survivors(place / SCRATCH)

    def _command(self, place: Path) -> Sequence[str]:
        """What a user types to have the whole sweep."""
        return (
            ("resume", FOLDER)
            if (place / FOLDER / mlflow_names.MANIFEST).exists()
            else self.variant.arguments
        )

    def _new_place(self, name: str) -> Path:
        place = Path(shutil.copytree(self.prepared, self.workdir / name))
        (place / SCRATCH).mkdir()
        if (file := place / "outputs" / "mlflow.db").exists():
            with closing(sqlite3.connect(file)) as store, store:
                query = (
                    "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)"
                )
                store.execute(query, (str(self.prepared), str(place)))
        return place

    def _start(
        self, place: Path, *arguments: str, doom: tuple[str, int | str] | None = None
    ) -> BaseProcess:
        return start(place, *arguments, doom=doom, **self.variant.how, TMPDIR=str(place / SCRATCH))


def _wait_until(moment: float, times: Times, process: BaseProcess, place: Path) -> None:
    """Wait until `moment`, counted from the last file that is due by then.

    An undisturbed sweep tells when a file is due. A busy machine shifts all moments.
    """
    file, begin = max(
        [
            (place / LOG, 0.0),
            (place / FOLDER / mlflow_names.MANIFEST, times.manifest),
            (place / FOLDER / mlflow_names.RESULTS, times.results),
        ],
        key=lambda entry: entry[1] if entry[1] <= moment else -1.0,
    )
    until(lambda: file.exists() or process.exitcode is not None, process, place)
    process.join(moment - begin)


def fill_store(prepared: Path, folder: Path) -> None:
    """Make a store with tens of thousands of runs.

    They are copies of a sweep, each below a copy of its parent.
    """
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    assert run(folder, *SWEEP) == 0, log(folder)
    with closing(sqlite3.connect(folder / "outputs" / "mlflow.db")) as store, store:
        for table in ("runs", "tags", "params", "latest_metrics"):
            columns = [name for _, name, *_ in store.execute(f"PRAGMA table_info({table})")]
            values = ", ".join(_select_copy(table, name) for name in columns)
            numbers = (
                "WITH RECURSIVE n(i) AS "
                f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {COPIES})"
            )
            store.execute(f"{numbers} INSERT INTO {table} SELECT {values} FROM {table}, n")
        store.execute(
            "UPDATE tags SET value = value || ' of before' WHERE key IN (?, ?)",
            (mlflow_names.FOLDER, mlflow_names.ID),
        )
    shutil.rmtree(folder / "outputs" / "sweeps")
    (folder / LOG).unlink()


def _select_copy(table: str, name: str) -> str:
    """Return what SQL selects for a column of copy `i`, whose ids end in that number."""
    copied = f"substr({name}, 1, 24) || printf('%08x', i)"
    if name == "run_uuid":
        return copied
    if (table, name) == ("tags", "value"):
        return f"CASE key WHEN '{mlflow_names.PARENT}' THEN {copied} ELSE value END"
    return name
