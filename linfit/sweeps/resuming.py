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
from linfit.owner import owner
from linfit.settings import MLflowTracking
from linfit.sweeps.attachments import lacking_files, note_attached
from linfit.sweeps.beginning import parent_row
from linfit.sweeps.drift import Changes, changed_data, changes, past, told
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import About, Folder, require_no_links
from linfit.sweeps.planned import Asked, configs_of, planned
from linfit.sweeps.readiness import ready, recorder_of, resolved_tracking
from linfit.sweeps.recording import Done, Earlier, now
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.sweeps.running import continued
from linfit.sweeps.session import RunSession
from linfit.sweeps.sweep_run import PendingFit, SweepRun
from linfit.sweeps.workers import HERE, Workers
from linfit.tracking import environment, layout, notes, run_records
from linfit.tracking.access import require_named_store
from linfit.tracking.accounts import Account, account
from linfit.tracking.objective import Contest
from linfit.tracking.recorder import Recorder
from linfit.tracking.store import Store, locate
from linfit.tracking.tables import BROKEN, reopen, set_aside, stored_results, unfinished

if TYPE_CHECKING:  # a sweep that is not tracked does without MLflow
    from linfit.tracking.history import Child, Kept


@dataclass
class Left:
    """A sweep that can go on: its fits that are done or left."""

    path: Path
    about: About
    first: FitConfig
    """The config of its first row."""
    num_fits: int
    todo: list[int]
    again: list[int] = field(default_factory=list)
    """Rows that are done and run once more for what they leave: the best one for its model, and
    those whose runs lack files."""
    earlier: Earlier = field(default_factory=Earlier)
    parent: Kept | None = None
    fresh: bool = False
    """True if no fit of the sweep has been computed."""
    names: list[str] = field(default_factory=list)
    configs: list[FitConfig] = field(default_factory=list)
    """The configs of the rows to run; `names` are theirs."""
    changes: Changes = field(default_factory=dict)
    """What changed since the sweep began, as {what: (then, now)}."""
    contest: Contest = field(default_factory=Contest)

    @property
    def rows(self) -> list[int]:
        """The rows to run."""
        return sorted({*self.todo, *self.again})

    @property
    def num_done(self) -> int:
        return self.num_fits - len(self.todo)

    @property
    def nothing(self) -> bool:
        """True if the sweep is finished."""
        return not self.todo and not unfinished(self.path)


def look(path: Path, recorder: Recorder, asked: Asked) -> Left:
    """Return what is left of the sweep in `path`; nothing is written."""
    about = About.read(path)
    names = planned(path, "name")
    [first] = configs_of(path, [0], asked)
    tracking = first.tracking
    best = tracking.best if isinstance(tracking, MLflowTracking) else None

    history = recorder.history()
    parent = None if history is None else history.sweep(about.id)
    runs: Mapping[int, Child] = {}
    if history is not None and parent is not None:
        runs = history.current(history.children(parent.run_id))
    every_fit_has_run = history is not None and best is None

    done = _find_done(path, names, runs, every_fit_has_run)
    failed = set()
    if asked.retry_failed:
        failed = {row for row, entry in done.items() if entry.status is Status.FAILED}
    todo = sorted(set(range(len(names))) - set(done) | failed)

    left = Left(path, about, first, len(names), todo, parent=parent, fresh=not (done or runs))
    left.contest = Contest.of_texts(first.objective, planned(path, "config"))
    sound = {row: entry for row, entry in done.items() if row not in failed}
    if history is not None and not left.nothing:
        again = _find_best(sound, left.contest.by, best or 1)
        if every_fit_has_run:
            again |= _find_without_files(left, sound)
        left.again = sorted(again)

    retries = {row: runs[row].run_id for row in failed if row in runs}
    left.earlier = Earlier(
        run_id="" if parent is None else parent.run_id,
        metrics={} if parent is None else parent.metrics,
        done={row: entry for row, entry in sound.items() if row not in left.again},
        recorded={row: run.run_id for row, run in runs.items() if row not in retries},
        retries=retries,
    )
    left.names = [names[row] for row in left.rows]
    left.configs = ready(configs_of(path, left.rows, asked), several=True)
    left.changes = _find_changes(left, asked)
    return left


def _find_done(
    path: Path, names: Sequence[str], runs: Mapping[int, Child], every_fit_has_run: bool
) -> dict[int, Done]:
    """Return the fits that are in the tables, and in the store if every fit has a run there."""
    done = {}
    for row, result in stored_results(path).items():
        run = runs.get(row)
        if row < len(names) and (not every_fit_has_run or _agrees(run, result["status"])):
            done[row] = Done(names[row], "" if run is None else run.run_id, result)
    return done


def _agrees(run: Child | None, status: str) -> bool:
    """Return True if a fit's run ended as its row of the tables says."""
    return run is not None and (run.status == "FAILED") == (status == Status.FAILED)


def _find_best(done: Mapping[int, Done], by: str | None, count: int) -> set[int]:
    """Return the rows of the best fits; fits that did not finish are none."""
    values = [(entry.value(by), row) for row, entry in done.items()]
    ranked = sorted(pair for pair in values if pair[0] != float("inf"))
    return {row for _, row in ranked[:count]}


def _find_without_files(left: Left, done: Mapping[int, Done]) -> set[int]:
    """Return the rows whose runs lack files: the process was killed before it attached them."""
    tracking = left.first.tracking
    if not (isinstance(tracking, MLflowTracking) and tracking.child_artifacts):
        return set()
    lacking = lacking_files(left.path, (entry.run_id for entry in done.values()))
    return {row for row, entry in done.items() if entry.run_id in lacking}


def _find_changes(left: Left, asked: Asked) -> Changes:
    tags = None if left.parent is None else left.parent.tags
    found = {} if left.fresh else changes(left.path, tags, left.first)
    return found | changed_data(left.path, left.rows, left.configs, asked, tags)


def opened(path: Path, asked: Asked) -> Recorder:
    """Open the recorder of the sweep in `path`."""
    [config] = configs_of(path, [0], asked)
    if asked.uri is None and ":***@" in str(getattr(config.tracking, "uri", "")):
        raise ConfigError(
            "the password of the sweep's store was not kept: name the store again with --uri"
        )
    tracking = resolved_tracking(config)
    if isinstance(tracking, MLflowTracking) and isinstance(config.tracking, MLflowTracking):
        named = {key: None for key in ("uri", "artifacts") if getattr(asked, key) is not None}
        written = config.tracking.model_copy(update=named)
        require_named_store(written, tracking.model_copy(update=named))
        if asked.uri is None and tracking.uri is not None:
            _require_folder(locate(tracking.uri))
    return recorder_of(config)


def _require_folder(store: Store) -> None:
    """Raise ConfigError if the folder of a store that a manifest names does not exist.

    The sweep may have been started on another machine.
    """
    if store.file is not None and not store.file.parent.is_dir():
        raise ConfigError(
            f"the sweep's store {store} is gone: name the one it is in now with --uri"
        )


def resume(path: Path, asked: Asked, session: RunSession) -> RunResult:
    """Run what is left of the sweep in `path`, and end the sweep.

    Raise LinfitError if another process runs the sweep, or if code, data or environment have
    changed and that is not allowed.
    """
    require_no_links(path)
    folder = Folder(path)
    try:
        recorder = opened(path, asked)
        if (history := recorder.history()) is not None:
            history.end_dead()
        for table in set_aside(path):
            name = table.name.removesuffix(BROKEN)
            notice(
                f"{name} of {table.parent} is broken: it is kept as {table.name}, its fits are "
                "run again"
            )
        left = look(path, recorder, asked)
        if left.nothing:
            notice(f"nothing is left of the sweep in {path}: all {left.num_fits} fits are done")
            folder.release()
            return _hand_over(left, recorder) if _is_undescribed(left) else RunResult()
        refuse(left, asked)
        workers = _choose_workers(left, asked)
        sweep = _resume_run(left, recorder, folder, asked)
    except BaseException:
        folder.release()
        raise
    return _run_left(sweep, left, workers, session)


def _choose_workers(left: Left, asked: Asked) -> Workers:
    if not left.rows:
        return HERE
    return continued(left.about.where, asked.workers, asked.backend, asked.address)


def _run_left(sweep: SweepRun, left: Left, workers: Workers, session: RunSession) -> RunResult:
    """Run the fits that are left, and end the sweep; kill it if that is broken off."""
    pending = {}
    for number, config in enumerate(left.configs):
        pending[number] = PendingFit(left.rows[number], left.names[number], config)

    session.active = sweep
    session.note_folder(left.path, left.first, bool(left.first.plugins))
    try:
        steps = sum(config.steps for config in left.configs)
        session.observer.begin(len(pending), steps)
        sweep.run(pending, workers, session.observer)
        session.observer.end()
        return session.finish_sweep()
    except BaseException as error:
        session.kill()
        if isinstance(error, OSError):
            name = error.filename or left.path
            raise RecordingError(f"{name} cannot be written: {error.strerror or error}") from error
        raise


def _is_undescribed(left: Left) -> bool:
    """Return True if a finished sweep lacks its description.

    It is written last, when pictures and report are made.
    """
    parent = left.parent
    typed = left.about.typed
    if parent is None or parent.status != "FINISHED" or not typed:
        return False
    return parent.tags.get(notes.NOTE) == notes.asked(left.about.question, typed)


def _hand_over(left: Left, recorder: Recorder) -> RunResult:
    """Return the result of a finished sweep, as if the sweep had just ended."""
    notice("its pictures, report and description were broken off: they are made now")
    parent = left.parent
    assert parent is not None
    end = parent.end or now()
    row = run_records.Row(left.about.name, parent.start, end, parent.status, parent.tags)
    done = left.earlier.done
    return RunResult(
        done=tuple(done[number] for number in sorted(done)),
        recorded=Recorded(recorder, parent.run_id, row, left.path.absolute(), left.first),
        sweep_id=parent.run_id,
        notes=tuple(dict.fromkeys(parent.tags.get(layout.NOTES, "").splitlines())),
        where=recorder.where(),
        question=left.about.question,
        typed=left.about.typed,
    )


def refuse(left: Left, asked: Asked) -> None:
    """Raise LinfitError if something changed since the sweep began, unless that is allowed."""
    if left.changes and not asked.allow_changes:
        raise LinfitError(
            f"{told(left.changes)}: put it back, or add --allow-changes and have a sweep of both"
        )


def _resume_run(left: Left, recorder: Recorder, folder: Folder, asked: Asked) -> SweepRun:
    """Have the parent run RUNNING again, and keep of the parts only what is done."""
    was_finished = not unfinished(left.path)
    reopen(left.path).keep(left.earlier.done)
    if was_finished:
        done = left.earlier.done.values()
        note_attached(left.path, (entry.run_id for entry in done if entry.run_id))
    if left.fresh:  # the environment of the first fit is that of this process
        environment.write(left.path, left.first)

    accounts = _accounts(left, asked)
    parent = left.parent
    if parent is None:
        more = False
        row = parent_row(left.about, left.first, accounts, left.path)
        row = replace(row, tags={**row.tags, **_origin_tags(left)})
    else:
        recorder.children(parent.run_id)  # discards what a killed process left half-written
        more = not parent.params
        params = run_records.shared_params(accounts) if more else {}
        tags = {key: value for key, value in parent.tags.items() if key.startswith("linfit.")}
        tags[layout.OWNER] = owner()
        tags[layout.FOLDER] = str(left.path.absolute())
        tags |= _origin_tags(left)
        row = run_records.Row(left.about.name, parent.start, now(), "RUNNING", tags, params)

    sweep = SweepRun(
        recorder, folder, row, left.about, left.first, left.contest, left.earlier, more
    )
    if parent is None:
        sweep.start()
    else:
        sweep.resume()
    return sweep


def _accounts(left: Left, asked: Asked) -> Iterator[Account]:
    """Yield the accounts of all fits of the sweep.

    The manifest is read when the first is asked for.
    """
    for config in configs_of(left.path, None, asked):
        yield account(config)


def _origin_tags(left: Left) -> dict[str, str]:
    """Return the parent's tags that tell where its numbers come from."""
    tags = environment.tags(left.first) if left.fresh else {}
    if left.changes:
        before = past(None if left.parent is None else left.parent.tags)
        tags[layout.CHANGES] = json.dumps([*before, left.changes])
    return tags
