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
from linfit.problem.datasets.arrays import ARRAY_FILES
from linfit.settings import MLflowTracking
from linfit.sweeps.executors.executor import run_fits
from linfit.sweeps.executors.processes import ExecutorSpec
from linfit.sweeps.folder.planned import read_manifest_column, settle_manifest
from linfit.sweeps.folder.sweep_folder import SweepFolder, SweepInfo
from linfit.sweeps.preflight.data_notes import DataNotes
from linfit.sweeps.run.best_fits import BestFits
from linfit.sweeps.run.block_pipeline import (
    BlockPipeline,
    CompletedFit,
    FitBlock,
    FittedRow,
    ResumeState,
    milliseconds_now,
)
from linfit.sweeps.run.options import Observer
from linfit.sweeps.run.result import RecordedRun, RunResult
from linfit.system.atomic_files import list_folder
from linfit.system.scratch import temporary_folder
from linfit.tracking.model import ModelFiles, write_weights
from linfit.tracking.schema import mlflow_names, run_records
from linfit.tracking.schema.config_record import ConfigRecord, describe_stored_fit, record_config
from linfit.tracking.schema.objective import SweepObjective
from linfit.tracking.schema.run_colors import COLOR_TAG
from linfit.tracking.tables.parts import hash_table
from linfit.tracking.write.recorder import Recorder


@dataclass(frozen=True)
class PendingFit:
    """A fit of a sweep that is to run."""

    row: int
    """Its row in the manifest."""
    name: str
    config: FitConfig
    record: ConfigRecord | None = None
    """What is recorded of the config; derived from it if None."""


@dataclass
class SweepRun:
    """The parent run of a sweep, from start to end."""

    recorder: Recorder
    folder: SweepFolder
    row: run_records.RunRecord
    """The parent, as far as it is known."""
    info: SweepInfo
    first: FitConfig
    """The config of the sweep's first fit."""
    contest: SweepObjective
    earlier: ResumeState = field(default_factory=ResumeState)
    more: bool = False
    """True while further batches of fits may come. The parent's params are those that all its
    fits share, so it gets them when the last batch has come."""
    colors: Sequence[str] = ()
    """The colour of each row's run in MLflow's UI; rows beyond have none."""

    final_name: str = ""
    """The parent's name once all batches have come; empty if it keeps its own."""
    is_complete: bool = field(init=False, default=False)
    """True once all fits are recorded, and only the sweep's end is left."""
    has_ended: bool = field(init=False, default=False)
    """True once the store has the parent's end: nothing makes it KILLED any more."""
    run_id: str = field(init=False, default="")
    varying: tuple[str, ...] = field(init=False)
    """The keys that vary among the fits that have come."""
    completed: dict[int, CompletedFit] = field(init=False)
    """Recorded fits by row, sorted at the end."""
    remarks: DataNotes = field(init=False, default_factory=DataNotes)
    _pipeline: BlockPipeline = field(init=False)
    _best: BestFits[tuple[run_records.RunRecord, Fit]] = field(init=False)
    _num_best: int | None = field(init=False, default=None)
    """The number of best fits that become runs; None if all do."""

    def __post_init__(self) -> None:
        self.varying = self.info.varying
        self.completed = dict(self.earlier.completed)

    def start(self) -> None:
        """Start the parent run in the store."""
        row = self.row
        if self.more:
            row = replace(row, params={})
        self.run_id = self.recorder.start_run(row)
        self._open_pipeline()

    def resume(self) -> None:
        """Have the parent run RUNNING again."""
        self.run_id = self.earlier.run_id
        self.recorder.resume_run(self.run_id, self.row.tags)
        self._open_pipeline()

    def extend(
        self, varying: Sequence[str], records: Sequence[ConfigRecord], configs: Sequence[FitConfig]
    ) -> None:
        """Take in a further batch: its fits, and the varying keys.

        The keys are those that vary now.
        """
        self.varying = tuple(varying)
        params = run_records.find_shared_params(records, self.row.params)
        self.row = replace(self.row, params=params)
        self.contest.add_configs(configs)

    def run(
        self, pending: dict[int, PendingFit], workers: ExecutorSpec, observer: Observer
    ) -> None:
        """Run fits, numbered from 0, and record them as they come.

        Each is removed from `pending` when it has run, to free its memory.
        """
        configs = [fit.config for fit in pending.values()]
        with closing(run_fits(configs, workers, observer.on_steps)) as fits:
            for number, fit in fits:
                self.remarks.add_notes(fit)
                ran = pending.pop(number)
                observer.advance(self.add(ran.row, ran.name, fit, ran.record))
        observer.advance(self.flush())

    def add(
        self,
        row: int,
        name: str,
        fit: Fit,
        record: ConfigRecord | None = None,
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> list[CompletedFit]:
        """Take a row's fit; return the fits recorded by now, without those that are repeated.

        `row` is the manifest's. `record` is what is recorded of its config, if that
        is at hand; `tags` are further tags of its run.
        """
        record = record or record_config(fit.config, self.varying)
        if row < len(self.colors):
            tags = {**tags, COLOR_TAG: self.colors[row]}
        self._pipeline.add(FittedRow(row, name, fit, record, tags))
        return self._take(self._pipeline.advance())

    def flush(self) -> list[CompletedFit]:
        """Record the fits that are on their way, and return them."""
        return self._take(self._pipeline.flush())

    def _take(self, blocks: Iterator[FitBlock]) -> list[CompletedFit]:
        recorded: list[CompletedFit] = []
        for block in blocks:
            self.completed.update(block.completed)
            for row, done in block.completed.items():
                self._best.add(row, done.result, (block.runs[row], block.fits[row]))
            repeated = self.earlier.repeated
            recorded += [done for row, done in block.completed.items() if row not in repeated]
        return recorded

    def finish(self) -> RunResult:
        """Record the fits left, join the tables, end the parent."""
        self.flush()
        self.is_complete = True
        self._record_best()
        self._settle_varying()
        self.completed = dict(sorted(self.completed.items()))
        counts = Counter(done.status for done in self.completed.values())
        row = run_records.record_sweep_end(
            self.row, counts, self._best_numbers(), self.contest.ranking_loss, milliseconds_now()
        )

        run_ids = {row: done.run_id for row, done in self.completed.items() if done.run_id}
        parts = self._pipeline.parts
        tables = parts.merge(run_ids, self._take_new_names(), self.varying)
        files = [
            self._file(mlflow_names.MANIFEST),
            *tables,
            *list_folder(self.folder.path, ARRAY_FILES),
        ]
        hashes = {file.name: hash_table(file) for file in files}
        notes = mlflow_names.tag_notes(self.remarks.notes)
        self.row = replace(row, tags={**row.tags, **notes, mlflow_names.FILES: json.dumps(hashes)})

        extra = [self._file(mlflow_names.ENVIRONMENT_FILE), self._file(mlflow_names.GIT_DIFF)]
        files += [file for file in extra if file.exists()]
        with temporary_folder() as scratch:
            model = self._predictor(scratch)
            ended = run_records.select_new_metrics(self.row, self.earlier.metrics)
            self.recorder.end_run(self.run_id, ended, files, model)
            self.has_ended = True
        parts.remove_parts()
        self.folder.release_lock()
        self.remarks.tell_rest()
        return self._result()

    def kill(self) -> None:
        """Keep the completed fits, and end the parent as KILLED unless it has ended.

        Every step is done as far as the store and the disk still allow.
        """
        if not self.has_ended:
            self._break_off()
        if self.has_ended:
            with suppress(OSError):  # they may be gone already
                self._pipeline.parts.remove_parts()
        self.folder.release_lock()

    def _break_off(self) -> None:
        self._pipeline.expect_failures()
        with suppress(LinfitError, OSError):
            self.flush()
        with suppress(LinfitError, OSError):
            ended = run_records.record_kill(self.row, milliseconds_now())
            tags = {**ended.tags, **mlflow_names.tag_notes(self.remarks.notes)}
            # No metrics: they may have been recorded already, with another time.
            row = replace(ended, tags=tags, metrics=())
            self.has_ended = not self.recorder.break_off_run(self.run_id, row)
            self._settle_varying()

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
            completed=tuple(self.completed.values()),
            recorded=RecordedRun(
                self.recorder, self.run_id, self.row, self.folder.path, self.first
            ),
            sweep_id=self.run_id,
            notes=tuple(self.remarks.notes),
            where=self.recorder.how_to_view(),
            question=self.info.question,
            typed=self.info.typed,
        )

    def _best_numbers(self) -> dict[str, float]:
        """Return the best fit's losses and the value by which it is the best, if there is one."""
        by = self.contest.ranking_loss
        best = min(self.completed.values(), key=lambda done: done.loss_by(by), default=None)
        if by is None or best is None or best.loss_by(by) == float("inf"):
            return {}
        numbers = {"best_loss": float(best.result["loss"])}
        if best.result["excess_loss"] is not None:
            numbers[mlflow_names.BEST_EXCESS] = float(best.result["excess_loss"])
        return {**numbers, "best_objective": best.loss_by(by)}

    def _predictor(self, folder: Path) -> ModelFiles | None:
        """Return the best fit's model, its weights written into `folder`.

        None if no fit finished, or if the fits cannot be compared.
        """
        by = self.contest.ranking_loss
        ranked = self._best.rank_by(by)
        if by is None or not ranked:
            return None
        row, (_, fit) = ranked[0]
        if self.completed[row].loss_by(by) == float("inf"):
            return None
        weights = folder / mlflow_names.WEIGHTS_FILE
        write_weights(fit, weights)
        return ModelFiles.from_fit(fit, weights, self.completed[row].name)

    def _record_best(self) -> None:
        """Record the best fits as runs, if only these become runs."""
        if self._num_best is None:
            return
        best = dict(sorted(self._best.rank_by(self.contest.ranking_loss)))
        recorded = self._pipeline.recorded
        new = [row for row in best if row not in recorded]
        added = self.recorder.log_runs([best[row][0] for row in new])
        run_ids = {**recorded, **dict(zip(new, added, strict=True))}
        fits = [fit for _, fit in best.values()]
        self._pipeline.attach_files([run_ids[row] for row in best], fits)
        for row in best:
            self.completed[row] = replace(self.completed[row], run_id=run_ids[row])

    def _settle_varying(self) -> None:
        """Correct names, numbers and params once no further batch can come.

        Only then is it known which keys vary, and which params all fits share.
        """
        if self.more:
            self.varying = settle_manifest(self.folder.path)
        is_known = run_records.read_varying(self.row) == list(self.varying)
        if is_known and not self.more:
            return
        amendments = {} if is_known else self._rename_fits()
        tags = mlflow_names.tag_varying(self.varying)
        params = self.row.params if self.more else {}
        amendments[self.run_id] = run_records.Amendment(self.final_name, params=params, tags=tags)
        self.recorder.amend_runs(amendments)
        name = self.final_name or self.row.name
        self.row = replace(self.row, name=name, tags={**self.row.tags, **tags})
        self.more = False

    def _rename_fits(self) -> dict[str, run_records.Amendment]:
        """Name the recorded fits by the keys that vary now; return what their runs lack."""
        rows = list(self.completed)
        texts = read_manifest_column(self.folder.path, "config", rows)
        overrides = read_manifest_column(self.folder.path, "overrides", rows)
        amendments = {}
        for row, text, given in zip(rows, texts, overrides, strict=True):
            name, numbers = describe_stored_fit(text, self.varying, row, given)
            done = replace(self.completed[row], name=name)
            self.completed[row] = done
            if done.run_id:
                amendments[done.run_id] = run_records.Amendment(
                    name, run_records.name_swept_metrics(numbers)
                )
        return amendments

    def _take_new_names(self) -> dict[int, str]:
        """Return the names, by row, that have changed since the tables were written."""
        changed = {}
        for row, done in self.completed.items():
            if done.name != done.result["name"]:
                done.result["name"] = done.name
                changed[row] = done.name
        return changed
