"""`linfit resume`: what is left of a sweep, from its manifest and from MLflow, and its run.

    manifest.parquet (every config) − fits both in the parts and in MLflow → what is left

Nothing is composed again: the YAML may have changed since. A fit that MLflow has finished and the
parts have lost runs again for its numbers and is not recorded twice: the same config gives the
same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import ConfigError, LinfitError, RecordingError
from linfit.settings import MLflowTracking
from linfit.sweeps.config_files.messages import notify_user
from linfit.sweeps.executors.executor import choose_executor
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec
from linfit.sweeps.folder.attachments import find_runs_without_files, mark_attached
from linfit.sweeps.folder.planned import ResumeOptions, read_manifest_column, read_planned_configs
from linfit.sweeps.folder.sweep_folder import SweepFolder, SweepInfo, require_no_links
from linfit.sweeps.preflight.checks import open_config_recorder, resolve_configs, resolve_tracking
from linfit.sweeps.resume.drift import (
    Changes,
    describe_changes,
    find_data_changes,
    find_environment_changes,
    read_past_changes,
)
from linfit.sweeps.run.begin import create_parent_record
from linfit.sweeps.run.block_pipeline import CompletedFit, ResumeState, milliseconds_now
from linfit.sweeps.run.result import RecordedRun, RunResult
from linfit.sweeps.run.session import RunSession
from linfit.sweeps.run.sweep_run import PendingFit, SweepRun
from linfit.system.process_owner import process_identity
from linfit.tracking.provenance import environment
from linfit.tracking.read.access import require_named_store
from linfit.tracking.schema import descriptions, mlflow_names, run_records
from linfit.tracking.schema.config_record import ConfigRecord, record_config
from linfit.tracking.schema.objective import SweepObjective
from linfit.tracking.schema.run_colors import color_methods
from linfit.tracking.store.store import Store, resolve_store
from linfit.tracking.tables.parts import (
    BROKEN_SUFFIX,
    is_unfinished,
    read_results,
    reopen_parts,
    set_broken_aside,
)
from linfit.tracking.write.recorder import Recorder

if TYPE_CHECKING:  # a sweep that is not tracked does without MLflow
    from linfit.tracking.read.history import ChildRun, ParentRun


@dataclass
class RemainingWork:
    """A sweep that can go on: its done and left fits."""

    path: Path
    info: SweepInfo
    first: FitConfig
    """The config of its first row."""
    num_fits: int
    rows_to_run: list[int]
    rows_to_repeat: list[int] = field(default_factory=list)
    """Rows that are done and run once more for what they leave: the best one for its model, and
    those whose runs lack files."""
    state: ResumeState = field(default_factory=ResumeState)
    parent: ParentRun | None = None
    is_fresh: bool = False
    """True if no fit of the sweep has been computed."""
    names: list[str] = field(default_factory=list)
    configs: list[FitConfig] = field(default_factory=list)
    """The configs of the rows to run; `names` are theirs."""
    changes: Changes = field(default_factory=dict)
    """What changed since the sweep began, as {what: (then, now)}."""
    contest: SweepObjective = field(default_factory=SweepObjective)

    @property
    def rows(self) -> list[int]:
        """The rows to run."""
        return sorted({*self.rows_to_run, *self.rows_to_repeat})

    @property
    def num_done(self) -> int:
        return self.num_fits - len(self.rows_to_run)

    @property
    def is_nothing(self) -> bool:
        """True if the sweep is finished."""
        return not self.rows_to_run and not is_unfinished(self.path)


def find_remaining_work(path: Path, recorder: Recorder, asked: ResumeOptions) -> RemainingWork:
    """Return what is left of the sweep in `path`; write nothing."""
    about = SweepInfo.read_manifest(path)
    names = read_manifest_column(path, "name")
    [first] = read_planned_configs(path, [0], asked)
    best = None
    if isinstance(first.tracking, MLflowTracking):
        best = first.tracking.best

    history = recorder.open_history()
    parent = None
    runs: Mapping[int, ChildRun] = {}
    if history is not None and (parent := history.find_sweep(about.id)) is not None:
        runs = history.select_current(history.find_children(parent.run_id))
    every_fit_has_run = history is not None and best is None

    done = _find_done(path, names, runs, every_fit_has_run)
    failed = set()
    if asked.retry_failed:
        failed = {row for row, entry in done.items() if entry.status is Status.FAILED}
    todo = sorted(set(range(len(names))) - set(done) | failed)

    left = RemainingWork(
        path, about, first, len(names), todo, parent=parent, is_fresh=not (done or runs)
    )
    left.contest = SweepObjective.from_stored(first.objective, read_manifest_column(path, "config"))
    sound = {row: entry for row, entry in done.items() if row not in failed}
    if history is not None and not left.is_nothing:
        again = _find_best(sound, left.contest.ranking_loss, best or 1)
        if every_fit_has_run:
            again |= _find_without_files(left, sound)
        left.rows_to_repeat = sorted(again)

    retries = {}
    recorded = {}
    for row, run in runs.items():
        if row in failed:
            retries[row] = run.run_id
        else:
            recorded[row] = run.run_id
    completed = {row: entry for row, entry in sound.items() if row not in left.rows_to_repeat}
    repeated = frozenset(left.rows_to_repeat if left.rows_to_run else ())
    left.state = ResumeState(
        completed=completed, recorded=recorded, retries=retries, repeated=repeated
    )
    if parent is not None:
        left.state = replace(left.state, run_id=parent.run_id, metrics=parent.metrics)
    left.names = [names[row] for row in left.rows]
    left.configs = resolve_configs(read_planned_configs(path, left.rows, asked), several=True)
    left.changes = _find_changes(left, asked)
    return left


def _find_done(
    path: Path, names: Sequence[str], runs: Mapping[int, ChildRun], every_fit_has_run: bool
) -> dict[int, CompletedFit]:
    """Return the fits that are in the tables, and in the store if every fit has a run there."""
    done = {}
    for row, result in read_results(path).items():
        run = runs.get(row)
        if row < len(names) and (not every_fit_has_run or _agrees(run, result["status"])):
            run_id = "" if run is None else run.run_id
            done[row] = CompletedFit(names[row], run_id, result)
    return done


def _agrees(run: ChildRun | None, status: str) -> bool:
    """Return True if a fit's run ended as its row of the tables says."""
    return run is not None and (run.status == "FAILED") == (status == Status.FAILED)


def _find_best(done: Mapping[int, CompletedFit], by: str | None, count: int) -> set[int]:
    """Return the rows of the best fits; fits that did not finish are none."""
    ranked = []
    for row, entry in done.items():
        loss = entry.loss_by(by)
        if loss != float("inf"):
            ranked.append((loss, row))
    return {row for _, row in sorted(ranked)[:count]}


def _find_without_files(left: RemainingWork, done: Mapping[int, CompletedFit]) -> set[int]:
    """Return the rows whose runs lack files: the process was killed before it attached them."""
    tracking = left.first.tracking
    if not (isinstance(tracking, MLflowTracking) and tracking.child_artifacts):
        return set()
    lacking = find_runs_without_files(left.path, (entry.run_id for entry in done.values()))
    return {row for row, entry in done.items() if entry.run_id in lacking}


def _find_changes(left: RemainingWork, asked: ResumeOptions) -> Changes:
    tags = None if left.parent is None else left.parent.tags
    found = {} if left.is_fresh else find_environment_changes(left.path, tags, left.first)
    return found | find_data_changes(left.path, left.rows, left.configs, asked, tags)


def open_sweep_recorder(path: Path, asked: ResumeOptions) -> Recorder:
    """Open the recorder of the sweep in `path`."""
    [config] = read_planned_configs(path, [0], asked)
    if asked.uri is None and ":***@" in str(getattr(config.tracking, "uri", "")):
        raise ConfigError(
            "the password of the sweep's store was not kept: name the store again with --uri"
        )
    tracking = resolve_tracking(config)
    if isinstance(tracking, MLflowTracking) and isinstance(config.tracking, MLflowTracking):
        named = {key: None for key in ("uri", "artifacts") if getattr(asked, key) is not None}
        written = config.tracking.model_copy(update=named)
        require_named_store(written, tracking.model_copy(update=named))
        if asked.uri is None and tracking.uri is not None:
            _require_folder(resolve_store(tracking.uri))
    return open_config_recorder(config)


def _require_folder(store: Store) -> None:
    """Raise ConfigError if the folder of a store that a manifest names does not exist.

    The sweep may have been started on another machine.
    """
    if store.file is not None and not store.file.parent.is_dir():
        raise ConfigError(
            f"the sweep's store {store} is gone: name the one it is in now with --uri"
        )


def resume_sweep(path: Path, asked: ResumeOptions, session: RunSession) -> RunResult:
    """Run what is left of the sweep in `path`; end it.

    Raise LinfitError if another process runs the sweep, or if code, data or environment have
    changed and that is not allowed.
    """
    require_no_links(path)
    folder = SweepFolder(path)
    try:
        recorder = open_sweep_recorder(path, asked)
        if (history := recorder.open_history()) is not None:
            history.end_dead_runs()
        for table in set_broken_aside(path):
            name = table.name.removesuffix(BROKEN_SUFFIX)
            notify_user(
                f"{name} of {table.parent} is broken: it is kept as {table.name}, its fits are "
                "run again"
            )
        left = find_remaining_work(path, recorder, asked)
        if left.is_nothing:
            notify_user(
                f"nothing is left of the sweep in {path}: all {left.num_fits} fits are done"
            )
            folder.release_lock()
            if _is_undescribed(left):
                return _hand_over(left, recorder)
            return RunResult()
        refuse_changes(left, asked)
        workers = _choose_workers(left, asked)
        sweep = _resume_run(left, recorder, folder, asked)
    except BaseException:
        folder.release_lock()
        raise
    return _run_left(sweep, left, workers, session)


def _choose_workers(left: RemainingWork, asked: ResumeOptions) -> ExecutorSpec:
    if not left.rows:
        return IN_PROCESS
    return choose_executor(left.info.executor, asked.workers, asked.backend, asked.address)


def _run_left(
    sweep: SweepRun, left: RemainingWork, workers: ExecutorSpec, session: RunSession
) -> RunResult:
    """Run the fits that are left, and end the sweep; kill it if that is broken off."""
    pending = {}
    for number, config in enumerate(left.configs):
        pending[number] = PendingFit(left.rows[number], left.names[number], config)

    session.active = sweep
    session.note_folder(left.path, left.first, bool(left.first.plugins))
    try:
        steps = sum(config.steps for config in left.configs)
        session.observer.begin(len(left.rows_to_run) or len(pending), steps)
        sweep.run(pending, workers, session.observer)
        session.observer.end()
        return session.finish_sweep()
    except BaseException as error:
        session.kill()
        if isinstance(error, OSError):
            name = error.filename or left.path
            raise RecordingError(f"{name} cannot be written: {error.strerror or error}") from error
        raise


def _is_undescribed(left: RemainingWork) -> bool:
    """Return True if a finished sweep lacks its description.

    It is written last, when pictures and report are made.
    """
    parent = left.parent
    typed = left.info.typed
    if parent is None or parent.status != "FINISHED" or not typed:
        return False
    return parent.tags.get(descriptions.NOTE_TAG) == descriptions.format_question(
        left.info.question, typed
    )


def _hand_over(left: RemainingWork, recorder: Recorder) -> RunResult:
    """Return the result of a finished sweep, as if the sweep had just ended."""
    notify_user("its pictures, report and description were broken off: they are made now")
    parent = left.parent
    assert parent is not None
    end = parent.end or milliseconds_now()
    row = run_records.RunRecord(left.info.name, parent.start, end, parent.status, parent.tags)
    done = left.state.completed
    return RunResult(
        completed=tuple(done[number] for number in sorted(done)),
        recorded=RecordedRun(recorder, parent.run_id, row, left.path.absolute(), left.first),
        sweep_id=parent.run_id,
        notes=tuple(dict.fromkeys(parent.tags.get(mlflow_names.NOTES, "").splitlines())),
        where=recorder.how_to_view(),
        question=left.info.question,
        typed=left.info.typed,
    )


def refuse_changes(left: RemainingWork, asked: ResumeOptions) -> None:
    """Raise LinfitError if something changed and that is not allowed.

    Changes count from the sweep's beginning.
    """
    if left.changes and not asked.allow_changes:
        raise LinfitError(
            f"{describe_changes(left.changes)}: put it back, "
            "or add --allow-changes and have a sweep of both"
        )


def _resume_run(
    left: RemainingWork, recorder: Recorder, folder: SweepFolder, asked: ResumeOptions
) -> SweepRun:
    """Have the parent run RUNNING again, and keep of the parts only what is done."""
    was_finished = not is_unfinished(left.path)
    reopen_parts(left.path).keep_rows(left.state.completed)
    if was_finished:
        done = left.state.completed.values()
        mark_attached(left.path, (entry.run_id for entry in done if entry.run_id))
    if left.is_fresh:  # the environment of the first fit is that of this process
        environment.write_environment(left.path, left.first)

    records = _records(left, asked)
    parent = left.parent
    if parent is None:
        more = False
        row = create_parent_record(left.info, left.first, records, left.path)
        row = replace(row, tags={**row.tags, **_origin_tags(left)})
    else:
        recorder.find_children(parent.run_id)  # discards what a killed process left half-written
        more = not parent.params
        params = run_records.find_shared_params(records) if more else {}
        tags = {key: value for key, value in parent.tags.items() if key.startswith("linfit.")}
        tags[mlflow_names.OWNER] = process_identity()
        tags[mlflow_names.FOLDER] = str(left.path.absolute())
        tags |= _origin_tags(left)
        row = run_records.RunRecord(
            left.info.name, parent.start, milliseconds_now(), "RUNNING", tags, params
        )

    colors: list[str] = []
    # A search has runs without colours. A parent without params and runs was killed as it started.
    if not (more and left.state.recorded):
        overrides = read_manifest_column(left.path, "overrides")
        colors = color_methods(overrides, left.info.varying)
    sweep = SweepRun(
        recorder, folder, row, left.info, left.first, left.contest, left.state, more, colors
    )
    if parent is None:
        sweep.start()
    else:
        sweep.resume()
    return sweep


def _records(left: RemainingWork, asked: ResumeOptions) -> Iterator[ConfigRecord]:
    """Yield the records of all fits of the sweep.

    The manifest is read when the first is asked for.
    """
    for config in read_planned_configs(left.path, None, asked):
        yield record_config(config)


def _origin_tags(left: RemainingWork) -> dict[str, str]:
    """Return the parent's tags that tell where its numbers come from."""
    tags = environment.collect_environment_tags(left.first) if left.is_fresh else {}
    if left.changes:
        before = read_past_changes(None if left.parent is None else left.parent.tags)
        tags[mlflow_names.CHANGES] = json.dumps([*before, left.changes])
    return tags
