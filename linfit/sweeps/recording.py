"""A sweep while it runs: every fit goes to the tables and, a block at a time, to the recorder as a child of one parent run."""

from __future__ import annotations

import heapq
import json
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
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
from linfit.tracking.model import Predictor, write_weights
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import Parts, file_hash, result

#: Fits recorded at once, and the seconds after which those at hand are recorded although they are fewer.
BLOCK, PATIENCE = 500, 2.0
#: Blocks whose runs may be on their way while the next fits are made: as many as the engine gives at once, and Ctrl-C waits for a second or so.
MOST, MOST_POINTS = 4, 400_000


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


@dataclass
class Block:
    """Fits of which the tables are written and the runs are on their way."""

    names: Sequence[str]
    fits: Sequence[Fit]
    results: Sequence[dict[str, Any]]
    children: dict[int, layout.Row]
    sent: Sequence[int] = ()
    """The rows whose runs the recorder was given."""
    added: Future[list[str]] | None = None
    """Their ids, as soon as they are there; None before they are sent."""

    @property
    def over(self) -> bool:
        """Whether it has come out how it came out."""
        return self.added is not None and self.added.done()

    @property
    def failed(self) -> bool:
        return self.added is not None and self.added.done() and self.added.exception() is not None


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
        self.best: tuple[tuple[float, int], Fit] | None = None
        self._kept: list[tuple[float, int, layout.Row, Fit]] = []
        self._waiting: list[tuple[int, str, Fit, Account]] = []
        self._under_way: deque[Block] = deque()
        self._unsure = False
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
        return self.flush(MOST) if full else []

    def flush(self, most: int = 0) -> list[Done]:
        """Records the fits at hand: first their tables, then their runs, so that no run is finished whose numbers are not there.

        Returns what is recorded by now: all but at most `most` blocks.
        """
        if self._waiting:
            block = self._written()
            self._waiting.clear()  # only now: what cannot be written is tried again when the sweep ends
            self.parts.count += 1
            self._under_way.append(block)  # last: an interrupt in between may lose a block for `resume`, and not send one twice
        done: list[Done] = []
        if self._unsure:
            wait([block.added for block in self._under_way if block.added is not None])
        for block in [block for block in self._under_way if block.added is None or (self._unsure and block.failed)]:
            self._send(block)
        while self._under_way and (len(self._under_way) > most or self._size() > MOST_POINTS or self._under_way[0].over):
            done += self._recorded(self._under_way[0])
            self._under_way.popleft()
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
        with TemporaryDirectory() as scratch:
            model = None if self.best is None else model_of(self.best[1], Path(scratch))
            self.recorder.end(self.run_id, layout.news(row, self.earlier.metrics), files, model)
        self.parts.remove()
        self._own.release()

    def kill(self, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keeps what is finished and ends the parent as KILLED, as far as the store and the disk still allow."""
        self._unsure = True  # a block may have failed that nobody has asked for yet
        with suppress(LinfitError, OSError):
            self.flush()
        with suppress(LinfitError, OSError):
            ended = layout.killed(self.row, now())
            self.recorder.end(self.run_id, replace(ended, tags={**ended.tags, **tags}))
        self._own.release()

    def _written(self) -> Block:
        """The fits at hand, in the tables."""
        rows, names, fits, accounts = zip(*self._waiting, strict=True)
        results, retries, ended = self.parts.write(rows, names, fits), self.earlier.retries, now()
        times = self._started, ended
        children = {
            row: layout.child(fit, said, name, self.run_id, row, times, retries.get(row))
            for row, name, fit, said in zip(rows, names, fits, accounts, strict=True)
        }
        extra = {row: replace(child, tags={**child.tags, **self.extra[row]}) for row, child in children.items() if row in self.extra}
        self._started, self._since = ended, time.monotonic()
        return Block(names, fits, results, children | extra)

    def _send(self, block: Block) -> None:
        """Gives the recorder those of a block's runs that are missing."""
        if self._unsure:  # an interrupt or the store broke off an earlier attempt: who knows what is there
            self.recorded |= self.recorder.children(self.run_id, self.earlier.retries)
        self._unsure = True
        block.sent = [] if self.most is not None else [row for row in block.children if row not in self.recorded]
        block.added = self.recorder.submit([block.children[row] for row in block.sent])
        self._unsure = False

    def _recorded(self, block: Block) -> list[Done]:
        """What a block has become, as soon as its runs are there."""
        assert block.added is not None
        try:
            new = dict(zip(block.sent, block.added.result(), strict=True))
            run_ids = [new.get(row) or self.recorded.get(row, "") for row in block.children]
            self._attach(run_ids, block.fits)
        except Exception:
            self._unsure = True
            raise
        if self.most is not None:
            self._keep(block)
        done = [Done(*entry) for entry in zip(block.names, run_ids, block.results, strict=True)]
        self.done.update(zip(block.children, done, strict=True))
        for row, entry, fit in zip(block.children, done, block.fits, strict=True):
            rank = entry.excess, row  # of equals the first, in whatever order they come
            if entry.excess != float("inf") and (self.best is None or rank < self.best[0]):
                self.best = rank, fit
        return done

    def _size(self) -> int:
        """The points of all curves that are on their way."""
        return sum(len(child.metrics) for block in self._under_way for child in block.children.values())

    def _keep(self, block: Block) -> None:
        """The best of a block, of those that were kept, or of both."""
        assert self.most is not None
        for (row, child), fit in zip(block.children.items(), block.fits, strict=True):
            rank = _rank(fit), -row, child, fit
            if len(self._kept) < self.most:
                heapq.heappush(self._kept, rank)
            else:
                heapq.heappushpop(self._kept, rank)

    def _record_kept(self) -> None:
        kept = sorted(self._kept, key=lambda entry: -entry[1])
        added = iter(self.recorder.add([child for _, row, child, _ in kept if -row not in self.recorded]))
        run_ids = [self.recorded.get(-row) or next(added) for _, row, _, _ in kept]
        self._attach(run_ids, [fit for _, _, _, fit in kept])
        for (_, row, _, _), run_id in zip(kept, run_ids, strict=True):
            done = self.done[-row]
            self.done[-row] = Done(done.name, run_id, done.result)
        self._kept.clear()

    def _attach(self, run_ids: Sequence[str], fits: Sequence[Fit]) -> None:
        """The files of a single run, for each fit, where `tracking.child_artifacts` asks for them."""
        for run_id, fit in ((run_id, fit) for run_id, fit in zip(run_ids, fits, strict=True) if self.files and run_id):
            with TemporaryDirectory() as folder:
                self.recorder.attach(run_id, write_files(Path(folder), fit))


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
    weights = folder / layout.WEIGHTS_FILE
    write_weights(fit, weights)
    return [*files, weights]


def model_of(fit: Fit, folder: Path) -> Predictor:
    """What the fit predicts with, its weights written into the folder."""
    write_weights(fit, folder / layout.WEIGHTS_FILE)
    return Predictor.of(fit, folder / layout.WEIGHTS_FILE)


def now() -> int:
    """Milliseconds since the epoch, as MLflow counts."""
    return time.time_ns() // 1_000_000
