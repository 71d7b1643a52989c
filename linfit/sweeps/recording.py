"""A sweep while it runs: every fit goes to the tables and, a block at a time, to the recorder as a child of one parent run."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from linfit.engine.fit import Fit, Status
from linfit.engine.prediction import stable_lr_of
from linfit.errors import LinfitError
from linfit.problem.arrays import ARRAYS, write_arrays
from linfit.scratch import temporary_folder
from linfit.settings import MLflowTracking, Tracking
from linfit.sweeps.attachments import note_attached
from linfit.sweeps.folder import Folder
from linfit.sweeps.leaders import BestFits
from linfit.sweeps.planned import planned, settle_manifest
from linfit.tracking import layout, run_records
from linfit.tracking.accounts import Account, account, described, stored_config
from linfit.tracking.model import Predictor, write_weights
from linfit.tracking.objective import Contest, compared_value
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import Parts, file_hash
from linfit.writing import list_folder, naming

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

    def value(self, by: str | None) -> float:
        """Return the number by which the fit is compared, by a recorded loss; infinity unless it finished."""
        return compared_value(self.result, by)


@dataclass
class Block:
    """Fits of which the tables are written and the runs are on their way."""

    names: Sequence[str]
    fits: Sequence[Fit]
    results: Sequence[dict[str, Any]]
    children: dict[int, run_records.Row]
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
    """The parent run of a sweep, from its beginning to its end; `done` is what has been recorded, in the order of its rows at the end.

    Where `more` batches of fits may come, the parent gets the params that all fits share at the end.
    """

    def __init__(
        self,
        recorder: Recorder,
        row: run_records.Row,
        folder: Folder,
        varying: Sequence[str],
        tracking: Tracking,
        earlier: Earlier | None = None,
        more: bool = False,
        contest: Contest | None = None,
    ) -> None:
        self.recorder, self.row, self.folder, self.varying = (
            recorder,
            row,
            folder.path,
            tuple(varying),
        )
        self.earlier, self._own = earlier or Earlier(), folder
        self.files = isinstance(tracking, MLflowTracking) and tracking.child_artifacts
        self.most = tracking.best if isinstance(tracking, MLflowTracking) else None
        self.more = more
        self.run_id = self.earlier.run_id or recorder.begin(
            replace(row, params={}) if more else row
        )
        self.parts = Parts(self.folder)
        self.done = dict(self.earlier.done)
        self.recorded = dict(self.earlier.recorded)
        self.contest = contest or Contest()
        self._best: BestFits[tuple[run_records.Row, Fit]] = BestFits(self.most or 1)
        self._waiting: list[tuple[int, str, Fit, Account]] = []
        self._under_way: deque[Block] = deque()
        self._unsure = False
        self._since = time.monotonic()
        self._started = now()
        self.extra: dict[int, dict[str, str]] = {}
        """More tags for the runs of some rows."""

    def extend(self, varying: Sequence[str], accounts: Sequence[Account]) -> None:
        """Takes in what the next batch says of the sweep: the keys that vary, and the params of its fits."""
        self.varying = tuple(varying)
        self.row = replace(self.row, params=run_records.shared_params(accounts, self.row.params))

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
            self._under_way.append(
                block
            )  # last: an interrupt in between may lose a block for `resume`, and not send one twice
        done: list[Done] = []
        if self._unsure:
            wait([block.added for block in self._under_way if block.added is not None])
        for block in [
            block
            for block in self._under_way
            if block.added is None or (self._unsure and block.failed)
        ]:
            self._send(block)
        while self._under_way and (
            len(self._under_way) > most or self._size() > MOST_POINTS or self._under_way[0].over
        ):
            done += self._recorded(self._under_way[0])
            self._under_way.popleft()
        return done

    def finish(self, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Records what is left, joins the tables, and ends the parent, with more tags if there are any."""
        self.flush()
        self._record_kept()
        self._settle()
        self.done = dict(sorted(self.done.items()))
        counts = Counter(done.status for done in self.done.values())
        self.row = row = run_records.sweep_finished(
            self.row, counts, self._numbers(), self.contest.by, now()
        )
        run_ids = {row: done.run_id for row, done in self.done.items() if done.run_id}
        tables = self.parts.join(run_ids, self._new_names())
        files = [self.folder / layout.MANIFEST, *tables, *list_folder(self.folder, ARRAYS)]
        hashes = {file.name: file_hash(file) for file in files}
        self.row = row = replace(row, tags={**row.tags, **tags, layout.FILES: json.dumps(hashes)})
        files += [
            file
            for name in (layout.ENVIRONMENT_FILE, layout.GIT_DIFF)
            if (file := self.folder / name).exists()
        ]
        with temporary_folder() as scratch:
            model = self._model(scratch)
            self.recorder.end(
                self.run_id, run_records.news(row, self.earlier.metrics), files, model
            )
        self.parts.remove()
        self._own.release()

    def _numbers(self) -> dict[str, float]:
        """Return the loss of the best fit, and the number by which it is the best; nothing where there is none."""
        by = self.contest.by
        best = min(self.done.values(), key=lambda done: done.value(by), default=None)
        if by is None or best is None or best.value(by) == float("inf"):
            return {}
        return {"best_loss": float(best.result["loss"]), "best_objective": best.value(by)}

    def _model(self, folder: Path) -> Predictor | None:
        """Return what the best fit predicts with; None where no fit finished, or they cannot be compared."""
        by = self.contest.by
        for row, (_, fit) in self._best.ranked(by)[:1]:
            if by is not None and self.done[row].value(by) != float("inf"):
                return model_of(fit, folder)
        return None

    def kill(self, tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keeps what is finished and ends the parent as KILLED, as far as the store and the disk still allow."""
        self._unsure = True  # a block may have failed that nobody has asked for yet
        with suppress(LinfitError, OSError):
            self.flush()
        with suppress(LinfitError, OSError):
            ended = run_records.killed(
                self.row, now()
            )  # its numbers may have been recorded already, with another time
            self.recorder.end(self.run_id, replace(ended, tags={**ended.tags, **tags}, metrics=()))
            self._settle()
        self._own.release()

    def _settle(self) -> None:
        """Says of all fits, and of their parent, what is known now that no more batches come."""
        if self.more:
            self.varying = settle_manifest(self.folder)
        told = run_records.varying(self.row) == list(self.varying)
        if told and not self.more:
            return
        runs = {} if told else self._described()
        tags = layout.varied(self.varying)
        parent = run_records.Amendment(params=self.row.params if self.more else {}, tags=tags)
        self.recorder.amend({**runs, self.run_id: parent})
        self.row, self.more = replace(self.row, tags={**self.row.tags, **tags}), False

    def _described(self) -> dict[str, run_records.Amendment]:
        """The names and numbers of the runs there are, by what varies now."""
        runs = {}
        texts, overrides = (
            planned(self.folder, column, list(self.done)) for column in ("config", "overrides")
        )
        for (row, done), text, given in zip(self.done.items(), texts, overrides, strict=True):
            name, numbers = described(text, self.varying, row, given)
            self.done[row] = replace(done, name=name)
            if done.run_id:
                runs[done.run_id] = run_records.Amendment(name, run_records.swept_metrics(numbers))
        return runs

    def _new_names(self) -> dict[int, str]:
        """The names that are not what the parts of the tables say."""
        new = {
            row: done.name for row, done in self.done.items() if done.name != done.result["name"]
        }
        for row, name in new.items():
            self.done[row].result["name"] = name
        return new

    def _written(self) -> Block:
        """The fits at hand, in the tables."""
        rows, names, fits, accounts = zip(*self._waiting, strict=True)
        results, retries, ended = self.parts.write(rows, names, fits), self.earlier.retries, now()
        times = self._started, ended
        children = {
            row: run_records.child(
                fit, said, name, self.run_id, row, times, retries.get(row), stable_lr_of(fit)
            )
            for row, name, fit, said in zip(rows, names, fits, accounts, strict=True)
        }
        extra = {
            row: replace(child, tags={**child.tags, **self.extra[row]})
            for row, child in children.items()
            if row in self.extra
        }
        self._started, self._since = ended, time.monotonic()
        return Block(names, fits, results, children | extra)

    def _send(self, block: Block) -> None:
        """Gives the recorder those of a block's runs that are missing."""
        if (
            self._unsure
        ):  # an interrupt or the store broke off an earlier attempt: who knows what is there
            self.recorded |= self.recorder.children(self.run_id, self.earlier.retries)
        self._unsure = True
        block.sent = (
            []
            if self.most is not None
            else [row for row in block.children if row not in self.recorded]
        )
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
        done = [Done(*entry) for entry in zip(block.names, run_ids, block.results, strict=True)]
        self.done.update(zip(block.children, done, strict=True))
        for (row, child), entry, fit in zip(block.children.items(), done, block.fits, strict=True):
            self._best.add(row, entry.result, (child, fit))
        return done

    def _size(self) -> int:
        """The points of all curves that are on their way."""
        return sum(
            len(child.metrics) for block in self._under_way for child in block.children.values()
        )

    def _record_kept(self) -> None:
        """Record the best fits as runs, where only these become runs."""
        if self.most is None:
            return
        kept = sorted(self._best.ranked(self.contest.by))
        added = iter(
            self.recorder.add([child for row, (child, _) in kept if row not in self.recorded])
        )
        run_ids = [self.recorded.get(row) or next(added) for row, _ in kept]
        self._attach(run_ids, [fit for _, (_, fit) in kept])
        for (row, _), run_id in zip(kept, run_ids, strict=True):
            done = self.done[row]
            self.done[row] = Done(done.name, run_id, done.result)

    def _attach(self, run_ids: Sequence[str], fits: Sequence[Fit]) -> None:
        """Attach the files of a single run to each fit's run, where `tracking.child_artifacts` asks for them."""
        if not self.files:
            return
        for run_id, fit in zip(run_ids, fits, strict=True):
            if run_id:
                with temporary_folder() as folder:
                    self.recorder.attach(run_id, write_files(folder, fit))
        note_attached(self.folder, filter(None, run_ids))


def write_files(folder: Path, fit: Fit) -> list[Path]:
    """The files of a single run: its config with its hash, its data where they stand nowhere else, and its weights."""
    config = folder / layout.CONFIG_FILE
    with naming(config):
        config.write_text(json.dumps(stored_config(fit.config), indent=1) + "\n", encoding="utf-8")
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
