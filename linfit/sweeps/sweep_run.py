"""A sweep in the store: one parent run, started, filled with its fits, and ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from linfit.config import FitConfig
from linfit.engine.fit import Fit
from linfit.errors import LinfitError
from linfit.problem.arrays import ARRAYS
from linfit.scratch import temporary_folder
from linfit.settings import MLflowTracking
from linfit.sweeps.folder import About, Folder
from linfit.sweeps.leaders import BestFits
from linfit.sweeps.planned import planned, settle_manifest
from linfit.sweeps.recording import Block, BlockPipeline, Done, Earlier, FittedRow, now
from linfit.sweeps.remarks import Remarks
from linfit.sweeps.run_options import Observer
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.sweeps.running import run_all
from linfit.sweeps.workers import Workers
from linfit.tracking import layout, run_records
from linfit.tracking.accounts import Account, account, described
from linfit.tracking.model import Predictor, write_weights
from linfit.tracking.objective import Contest
from linfit.tracking.recorder import Recorder
from linfit.tracking.tables import file_hash
from linfit.writing import list_folder


@dataclass(frozen=True)
class PendingFit:
    """A fit of a sweep that is to run."""

    row: int
    """Its row in the manifest."""
    name: str
    config: FitConfig
    account: Account | None = None
    """What is recorded of the config; derived from it if None."""


@dataclass
class SweepRun:
    """The parent run of a sweep, from its start to its end."""

    recorder: Recorder
    folder: Folder
    row: run_records.Row
    """The parent, as far as it is known."""
    info: About
    first: FitConfig
    """The config of the sweep's first fit."""
    contest: Contest
    earlier: Earlier = field(default_factory=Earlier)
    more: bool = False
    """True while further batches of fits may come. The parent's params are those that all its
    fits share, so it gets them when the last batch has come."""

    run_id: str = field(init=False, default="")
    varying: tuple[str, ...] = field(init=False)
    """The keys that vary among the fits that have come."""
    done: dict[int, Done] = field(init=False)
    """Recorded fits by row, sorted at the end."""
    remarks: Remarks = field(init=False, default_factory=Remarks)
    _pipeline: BlockPipeline = field(init=False)
    _best: BestFits[tuple[run_records.Row, Fit]] = field(init=False)
    _num_best: int | None = field(init=False, default=None)
    """The number of best fits that become runs; None if all do."""

    def __post_init__(self) -> None:
        self.varying = self.info.varying
        self.done = dict(self.earlier.done)

    def start(self) -> None:
        """Start the parent run in the store."""
        self.run_id = self.recorder.begin(replace(self.row, params={}) if self.more else self.row)
        self._open_pipeline()

    def resume(self) -> None:
        """Have the parent run RUNNING again."""
        self.run_id = self.earlier.run_id
        self.recorder.resume(self.run_id, self.row.tags)
        self._open_pipeline()

    def extend(
        self, varying: Sequence[str], accounts: Sequence[Account], configs: Sequence[FitConfig]
    ) -> None:
        """Take in a further batch: the keys that vary now, and its fits."""
        self.varying = tuple(varying)
        params = run_records.shared_params(accounts, self.row.params)
        self.row = replace(self.row, params=params)
        self.contest.add(configs)

    def run(self, pending: dict[int, PendingFit], workers: Workers, observer: Observer) -> None:
        """Run fits, numbered from 0, and record them as they come.

        Each is removed from `pending` when it has run, to free its memory.
        """
        configs = [fit.config for fit in pending.values()]
        with closing(run_all(configs, workers, observer.passed)) as fits:
            for number, fit in fits:
                self.remarks.take(fit)
                ran = pending.pop(number)
                observer.advance(self.add(ran.row, ran.name, fit, ran.account))
        observer.advance(self.flush())

    def add(
        self,
        row: int,
        name: str,
        fit: Fit,
        record: Account | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> list[Done]:
        """Take the fit of a row; return the fits recorded by now.

        `row` is the manifest's. `record` is what is recorded of its config, if that
        is at hand; `tags` are further tags of its run.
        """
        record = record or account(fit.config, self.varying)
        self._pipeline.add(FittedRow(row, name, fit, record, tags))
        return self._take(self._pipeline.advance())

    def flush(self) -> list[Done]:
        """Record the fits that are on their way, and return them."""
        return self._take(self._pipeline.flush())

    def _take(self, blocks: Iterator[Block]) -> list[Done]:
        recorded: list[Done] = []
        for block in blocks:
            self.done.update(block.done)
            for row, done in block.done.items():
                self._best.add(row, done.result, (block.runs[row], block.fits[row]))
            recorded += block.done.values()
        return recorded

    def finish(self) -> RunResult:
        """Record the fits that are left, join the tables, and end the parent."""
        self.flush()
        self._record_best()
        self._settle_varying()
        self.done = dict(sorted(self.done.items()))
        counts = Counter(done.status for done in self.done.values())
        row = run_records.sweep_finished(
            self.row, counts, self._best_numbers(), self.contest.by, now()
        )

        run_ids = {row: done.run_id for row, done in self.done.items() if done.run_id}
        parts = self._pipeline.parts
        tables = parts.join(run_ids, self._take_new_names())
        files = [self._file(layout.MANIFEST), *tables, *list_folder(self.folder.path, ARRAYS)]
        hashes = {file.name: file_hash(file) for file in files}
        notes = layout.noted(self.remarks.kept)
        self.row = replace(row, tags={**row.tags, **notes, layout.FILES: json.dumps(hashes)})

        extra = [self._file(layout.ENVIRONMENT_FILE), self._file(layout.GIT_DIFF)]
        files += [file for file in extra if file.exists()]
        with temporary_folder() as scratch:
            model = self._predictor(scratch)
            ended = run_records.news(self.row, self.earlier.metrics)
            self.recorder.end(self.run_id, ended, files, model)
        parts.remove()
        self.folder.release()
        self.remarks.end()
        return self._result()

    def kill(self) -> None:
        """Keep the fits that have run, and end the parent as KILLED.

        Every step is done as far as the store and the disk still allow.
        """
        self._pipeline.expect_failures()
        with suppress(LinfitError, OSError):
            self.flush()
        with suppress(LinfitError, OSError):
            ended = run_records.killed(self.row, now())
            tags = {**ended.tags, **layout.noted(self.remarks.kept)}
            # No metrics: they may have been recorded already, with another time.
            self.recorder.end(self.run_id, replace(ended, tags=tags, metrics=()))
            self._settle_varying()
        self.folder.release()

    def _open_pipeline(self) -> None:
        tracking = self.first.tracking
        attaches_files = False
        if isinstance(tracking, MLflowTracking):
            self._num_best = tracking.best
            attaches_files = tracking.child_artifacts
        self._best = BestFits(self._num_best or 1)
        self._pipeline = BlockPipeline(
            self.recorder,
            self.folder.path,
            self.run_id,
            self.earlier,
            inserts_runs=self._num_best is None,
            attaches_files=attaches_files,
        )

    def _file(self, name: str) -> Path:
        return self.folder.path / name

    def _result(self) -> RunResult:
        return RunResult(
            done=tuple(self.done.values()),
            recorded=Recorded(self.recorder, self.run_id, self.row, self.folder.path, self.first),
            sweep_id=self.run_id,
            notes=tuple(self.remarks.kept),
            where=self.recorder.where(),
            question=self.info.question,
            typed=self.info.typed,
        )

    def _best_numbers(self) -> dict[str, float]:
        """Return the best fit's loss and the value by which it is the best, if there is one."""
        by = self.contest.by
        best = min(self.done.values(), key=lambda done: done.value(by), default=None)
        if by is None or best is None or best.value(by) == float("inf"):
            return {}
        return {"best_loss": float(best.result["loss"]), "best_objective": best.value(by)}

    def _predictor(self, folder: Path) -> Predictor | None:
        """Return the best fit's model, its weights written into `folder`.

        None if no fit finished, or if the fits cannot be compared.
        """
        by = self.contest.by
        ranked = self._best.ranked(by)
        if by is None or not ranked:
            return None
        row, (_, fit) = ranked[0]
        if self.done[row].value(by) == float("inf"):
            return None
        weights = folder / layout.WEIGHTS_FILE
        write_weights(fit, weights)
        return Predictor.of(fit, weights)

    def _record_best(self) -> None:
        """Record the best fits as runs, if only these become runs."""
        if self._num_best is None:
            return
        best = dict(sorted(self._best.ranked(self.contest.by)))
        recorded = self._pipeline.recorded
        new = [row for row in best if row not in recorded]
        added = self.recorder.add([best[row][0] for row in new])
        run_ids = {**recorded, **dict(zip(new, added, strict=True))}
        self._pipeline.attach_files(
            [run_ids[row] for row in best], [fit for _, fit in best.values()]
        )
        for row in best:
            self.done[row] = replace(self.done[row], run_id=run_ids[row])

    def _settle_varying(self) -> None:
        """Correct names, numbers and params once no further batch can come.

        Only then is it known which keys vary, and which params all fits share.
        """
        if self.more:
            self.varying = settle_manifest(self.folder.path)
        is_known = run_records.varying(self.row) == list(self.varying)
        if is_known and not self.more:
            return
        amendments = {} if is_known else self._rename_fits()
        tags = layout.varied(self.varying)
        params = self.row.params if self.more else {}
        amendments[self.run_id] = run_records.Amendment(params=params, tags=tags)
        self.recorder.amend(amendments)
        self.row = replace(self.row, tags={**self.row.tags, **tags})
        self.more = False

    def _rename_fits(self) -> dict[str, run_records.Amendment]:
        """Name the recorded fits by the keys that vary now; return what their runs lack."""
        rows = list(self.done)
        texts = planned(self.folder.path, "config", rows)
        overrides = planned(self.folder.path, "overrides", rows)
        amendments = {}
        for row, text, given in zip(rows, texts, overrides, strict=True):
            name, numbers = described(text, self.varying, row, given)
            done = replace(self.done[row], name=name)
            self.done[row] = done
            if done.run_id:
                amendments[done.run_id] = run_records.Amendment(
                    name, run_records.swept_metrics(numbers)
                )
        return amendments

    def _take_new_names(self) -> dict[int, str]:
        """Return the names, by row, that have changed since the tables were written."""
        changed = {}
        for row, done in self.done.items():
            if done.name != done.result["name"]:
                done.result["name"] = done.name
                changed[row] = done.name
        return changed
