"""A sweep while it runs: every fit goes to the tables and, a block at a time, to the recorder as a child of one parent run."""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from linfit.engine.fit import Fit, Status
from linfit.errors import RecordingError
from linfit.settings import MLflowTracking, Tracking
from linfit.tracking import layout
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import Parts, result

#: Fits recorded at once, and the seconds after which those at hand are recorded although they are fewer.
BLOCK, PATIENCE = 500, 2.0


@dataclass(frozen=True)
class Done:
    """A fit that has run: its name, the id of its run (empty where it is none), and its row of `results.parquet`."""

    name: str
    run_id: str
    result: dict[str, Any]

    @property
    def status(self) -> Status:
        return Status(self.result["status"])

    @property
    def excess(self) -> float:
        """The final excess loss by which fits are ranked; infinity unless the fit finished."""
        finished = self.status in (Status.COMPLETED, Status.CONVERGED)
        return float(self.result["excess_loss"]) if finished else float("inf")


class Sweep:
    """The parent run of a sweep, from its beginning to its end; `done` is what has been recorded, in the order of its rows at the end."""

    def __init__(self, recorder: Recorder, row: layout.Row, folder: Path, varying: Sequence[str], tracking: Tracking) -> None:
        self.recorder, self.row, self.folder, self.varying = recorder, row, folder, tuple(varying)
        self.files = isinstance(tracking, MLflowTracking) and tracking.child_artifacts
        self.most = tracking.best if isinstance(tracking, MLflowTracking) else None
        self.run_id = recorder.begin(row)
        self.parts = Parts(folder)
        self.done: dict[int, Done] = {}
        self.best: tuple[tuple[float, int], Fit] | None = None
        self._kept: list[tuple[float, int, layout.Row, Fit]] = []
        self._waiting: list[tuple[int, str, Fit]] = []
        self._since = time.monotonic()
        self._started = row.start

    def add(self, row: int, name: str, fit: Fit) -> list[Done]:
        """Takes the fit of a row of the manifest; returns what has been recorded by now, if anything."""
        self._waiting.append((row, name, fit))
        full = len(self._waiting) >= BLOCK or time.monotonic() - self._since > PATIENCE
        return self.flush() if full else []

    def flush(self) -> list[Done]:
        """Records the fits at hand: first their tables, then their runs, so that no run is finished whose numbers are not there."""
        if not self._waiting:
            return []
        rows, names, fits = zip(*self._waiting, strict=True)
        results = self.parts.write(rows, names, fits)
        ended = now()
        children = [
            layout.child(fit, name, self.run_id, row, (self._started, ended), self.varying)
            for row, name, fit in zip(rows, names, fits, strict=True)
        ]
        self._started, self._since = ended, time.monotonic()
        run_ids = self._record(rows, children, fits)
        self._waiting.clear()  # only now: what an interrupt or the store kept from being recorded is tried again when the sweep ends
        self.parts.count += 1
        done = [Done(*entry) for entry in zip(names, run_ids, results, strict=True)]
        self.done.update(zip(rows, done, strict=True))
        for row, entry, fit in zip(rows, done, fits, strict=True):
            rank = entry.excess, row  # of equals the first, in whatever order they come
            if entry.excess != float("inf") and (self.best is None or rank < self.best[0]):
                self.best = rank, fit
        return done

    def finish(self) -> None:
        """Records what is left, joins the tables, and ends the parent."""
        self.flush()
        self._record_kept()
        self.done = dict(sorted(self.done.items()))
        counts = Counter(done.status for done in self.done.values())
        losses = [done.result["loss"] for done in self.done.values() if done.excess != float("inf")]
        row = layout.sweep_finished(self.row, counts, min(losses, default=float("inf")), now())
        tables = self.parts.join({row: done.run_id for row, done in self.done.items() if done.run_id})
        files = [self.folder / layout.MANIFEST, *tables]
        self.recorder.end(self.run_id, row, files, None if self.best is None else self.best[1])

    def kill(self) -> None:
        """Keeps what is finished and ends the parent as KILLED, as far as the store still allows."""
        with suppress(RecordingError):
            self.flush()
            self._record_kept()
            self.recorder.end(self.run_id, layout.killed(self.row, now()))

    def _record(self, rows: Sequence[int], children: Sequence[layout.Row], fits: Sequence[Fit]) -> list[str]:
        if self.most is None:
            run_ids = self.recorder.add(children)
            self._attach(run_ids, fits)
            return run_ids
        for row, child, fit in zip(rows, children, fits, strict=True):
            rank = _rank(fit), -row, child, fit
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, rank)
            else:
                heapq.heappushpop(self._kept, rank)
        return [""] * len(children)

    def _record_kept(self) -> None:
        kept = sorted(self._kept, key=lambda entry: -entry[1])
        run_ids = self.recorder.add([child for _, _, child, _ in kept])
        self._attach(run_ids, [fit for _, _, _, fit in kept])
        for (_, row, _, _), run_id in zip(kept, run_ids, strict=True):
            done = self.done[-row]
            self.done[-row] = Done(done.name, run_id, done.result)
        self._kept.clear()

    def _attach(self, run_ids: Sequence[str], fits: Sequence[Fit]) -> None:
        """The files of a single run, for each fit, where `tracking.child_artifacts` asks for them."""
        for run_id, fit in zip(run_ids, fits, strict=True) if self.files else ():
            with TemporaryDirectory() as folder:
                self.recorder.attach(run_id, write_files(Path(folder), fit))


def _rank(fit: Fit) -> float:
    """Larger is better."""
    return -Done("", "", result(fit)).excess


def write_files(folder: Path, fit: Fit) -> list[Path]:
    """The files of a single run: its config with its hash, and its weights."""
    config = folder / layout.CONFIG_FILE
    config.write_text(json.dumps(layout.stored_config(fit.config), indent=1) + "\n")
    if fit.status is Status.FAILED:
        return [config]
    from linfit.tracking.model import write_weights

    weights = folder / layout.WEIGHTS_FILE
    write_weights(fit, weights)
    return [config, weights]


def now() -> int:
    """Milliseconds since the epoch, as MLflow counts."""
    return time.time_ns() // 1_000_000
