"""A sweep while it runs: every fit goes to the tables and, a block at a time, to the recorder as a child of one parent run."""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from linfit.engine.fit import Fit, Status
from linfit.errors import LinfitError
from linfit.problem.arrays import ARRAYS, write_arrays
from linfit.settings import MLflowTracking, Tracking
from linfit.sweeps.folder import Folder
from linfit.tracking import layout
from linfit.tracking.accounts import Account, account, stored_config
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import Parts, file_hash, result

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


@dataclass(frozen=True)
class Earlier:
    """What a sweep has left behind that was interrupted: its parent's id and metrics, and by row what is done and what runs there are."""

    run_id: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    done: dict[int, Done] = field(default_factory=dict)
    recorded: dict[int, str] = field(default_factory=dict)
    """The ids of finished runs."""
    retries: dict[int, str] = field(default_factory=dict)
    """The ids of failed runs that are run again."""


class Sweep:
    """The parent run of a sweep, from its beginning to its end; `done` is what has been recorded, in the order of its rows at the end."""

    def __init__(
        self,
        recorder: Recorder,
        row: layout.Row,
        folder: Folder,
        varying: Sequence[str],
        tracking: Tracking,
        earlier: Earlier | None = None,
    ) -> None:
        self.recorder, self.row, self.folder, self.varying = recorder, row, folder.path, tuple(varying)
        self.earlier, self._own = earlier or Earlier(), folder
        self.files = isinstance(tracking, MLflowTracking) and tracking.child_artifacts
        self.most = tracking.best if isinstance(tracking, MLflowTracking) else None
        self.run_id = self.earlier.run_id or recorder.begin(row)
        self.parts = Parts(self.folder)
        self.done = dict(self.earlier.done)
        self.recorded = dict(self.earlier.recorded)
        self._unsure = False
        self.best: tuple[tuple[float, int], Fit] | None = None
        self._kept: list[tuple[float, int, layout.Row, Fit]] = []
        self._waiting: list[tuple[int, str, Fit, Account]] = []
        self._since = time.monotonic()
        self._started = now()
        self.extra: dict[int, dict[str, str]] = {}
        """More tags for the runs of some rows."""

    def add(self, row: int, name: str, fit: Fit, said: Account | None = None) -> list[Done]:
        """Takes the fit of a row of the manifest, with the account of its config where it is at hand.

        Returns what has been recorded by now, if anything.
        """
        self._waiting.append((row, name, fit, said or account(fit.config, self.varying)))
        full = len(self._waiting) >= BLOCK or time.monotonic() - self._since > PATIENCE
        return self.flush() if full else []

    def flush(self) -> list[Done]:
        """Records the fits at hand: first their tables, then their runs, so that no run is finished whose numbers are not there."""
        if not self._waiting:
            return []
        rows, names, fits, accounts = zip(*self._waiting, strict=True)
        results = self.parts.write(rows, names, fits)
        if self._unsure:  # an interrupt or the store broke off an earlier attempt: who knows what is there
            self.recorded |= whole_children(self.recorder, self.run_id, self.earlier.retries)
        self._unsure = True
        ended = now()
        run_ids = self._record(self._rows(rows, names, fits, accounts, ended), fits)
        done = [Done(*entry) for entry in zip(names, run_ids, results, strict=True)]
        self.done.update(zip(rows, done, strict=True))
        for row, entry, fit in zip(rows, done, fits, strict=True):
            rank = entry.excess, row  # of equals the first, in whatever order they come
            if entry.excess != float("inf") and (self.best is None or rank < self.best[0]):
                self.best = rank, fit
        self._waiting.clear()  # only now: what was not recorded is tried again when the sweep ends
        self.parts.count += 1
        self._started, self._since, self._unsure = ended, time.monotonic(), False
        return done

    def finish(self, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Records what is left, joins the tables, and ends the parent, with more tags if there are any."""
        self.flush()
        self._record_kept()
        self.done = dict(sorted(self.done.items()))
        counts = Counter(done.status for done in self.done.values())
        losses = [done.result["loss"] for done in self.done.values() if done.excess != float("inf")]
        self.row = row = layout.sweep_finished(self.row, counts, min(losses, default=float("inf")), now())
        tables = self.parts.join({row: done.run_id for row, done in self.done.items() if done.run_id})
        files = [self.folder / layout.MANIFEST, *tables, *sorted(self.folder.glob(ARRAYS))]
        hashes = {file.name: file_hash(file) for file in files}
        self.row = row = replace(row, tags={**row.tags, **tags, layout.FILES: json.dumps(hashes)})
        files += [file for name in (layout.ENVIRONMENT_FILE, layout.GIT_DIFF) if (file := self.folder / name).exists()]
        self.recorder.end(self.run_id, layout.news(row, self.earlier.metrics), files, None if self.best is None else self.best[1])
        self.parts.remove()
        self._own.release()

    def kill(self, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keeps what is finished and ends the parent as KILLED, as far as the store and the disk still allow."""
        with suppress(LinfitError, OSError):
            self.flush()
        with suppress(LinfitError, OSError):
            ended = layout.killed(self.row, now())
            self.recorder.end(self.run_id, replace(ended, tags={**ended.tags, **tags}))
        self._own.release()

    def _rows(
        self, rows: Sequence[int], names: Sequence[str], fits: Sequence[Fit], accounts: Sequence[Account], ended: int
    ) -> dict[int, layout.Row]:
        times, retries = (self._started, ended), self.earlier.retries
        children = {
            row: layout.child(fit, said, name, self.run_id, row, times, retries.get(row))
            for row, name, fit, said in zip(rows, names, fits, accounts, strict=True)
        }
        extra = {row: replace(child, tags={**child.tags, **self.extra[row]}) for row, child in children.items() if row in self.extra}
        return children | extra

    def _record(self, children: dict[int, layout.Row], fits: Sequence[Fit]) -> list[str]:
        if self.most is None:
            run_ids = self._add(children)
            self._attach(run_ids, fits)
            return run_ids
        for (row, child), fit in zip(children.items(), fits, strict=True):
            rank = _rank(fit), -row, child, fit
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, rank)
            else:
                heapq.heappushpop(self._kept, rank)
        return [""] * len(children)

    def _add(self, children: dict[int, layout.Row]) -> list[str]:
        """The ids of the children's runs, those that are missing added."""
        if not self.recorded:
            return self.recorder.add(list(children.values()))
        added = iter(self.recorder.add([child for row, child in children.items() if row not in self.recorded]))
        return [self.recorded.get(row) or next(added) for row in children]

    def _record_kept(self) -> None:
        kept = sorted(self._kept, key=lambda entry: -entry[1])
        run_ids = self._add({-row: child for _, row, child, _ in kept})
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


def whole_children(recorder: Recorder, parent: str, retries: Mapping[int, str] = {}) -> dict[int, str]:
    """The ids of a sweep's runs that are all there, by row, without those that are run again; what is there in part is discarded."""
    history = recorder.history()
    if history is None:
        return {}
    children = history.children(parent)
    history.discard([child.run_id for child in children if not child.whole])
    return {row: child.run_id for row, child in history.current(children).items() if child.run_id != retries.get(row)}


def _rank(fit: Fit) -> float:
    """Larger is better."""
    return -Done("", "", result(fit)).excess


def write_files(folder: Path, fit: Fit) -> list[Path]:
    """The files of a single run: its config with its hash, its data where they stand nowhere else, and its weights."""
    config = folder / layout.CONFIG_FILE
    config.write_text(json.dumps(stored_config(fit.config), indent=1) + "\n")
    files = [config, *write_arrays(folder, [fit.config.dataset])]
    if fit.status is Status.FAILED:
        return files
    from linfit.tracking.model import write_weights

    weights = folder / layout.WEIGHTS_FILE
    write_weights(fit, weights)
    return [*files, weights]


def now() -> int:
    """Milliseconds since the epoch, as MLflow counts."""
    return time.time_ns() // 1_000_000
