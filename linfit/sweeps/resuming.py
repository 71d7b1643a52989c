"""`linfit resume`: what is left of a sweep, found from its manifest and from what MLflow has of it, and run.

    manifest.parquet (every config) − fits that stand both in the parts and in MLflow → what is left → the same loop as `linfit run`

Nothing is composed again: the YAML may have changed since. A fit that MLflow has finished and the parts have lost is run again for
its numbers, and not recorded twice: the same config gives the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
from linfit.sweeps.recording import Done, Earlier, Sweep, now
from linfit.sweeps.runner import Recorded, Runner
from linfit.sweeps.running import continued
from linfit.sweeps.workers import HERE
from linfit.tracking import environment, layout, notes, run_records
from linfit.tracking.access import require_named_store
from linfit.tracking.accounts import Account, account
from linfit.tracking.objective import Contest
from linfit.tracking.recorder import Recorder
from linfit.tracking.store import Store, locate
from linfit.tracking.tables import BROKEN, Parts, reopen, set_aside, stored_results, unfinished

if TYPE_CHECKING:  # a sweep that is not tracked does without MLflow
    from linfit.tracking.history import Kept


@dataclass
class Left:
    """A sweep that can go on: what is done of it, what is left, and what changed since it began, as {what: (then, now)}."""

    path: Path
    about: About
    first: FitConfig
    """The config of its first row."""
    num_fits: int
    todo: list[int]
    again: list[int] = field(default_factory=list)
    """Rows that are done, and run once more for what they leave: the best, for its model, and those whose runs lack files."""
    earlier: Earlier = field(default_factory=Earlier)
    parent: Kept | None = None
    fresh: bool = False
    """Whether nothing of it has been computed yet."""
    names: list[str] = field(default_factory=list)
    configs: list[FitConfig] = field(default_factory=list)
    """Of the rows that are run."""
    changes: Changes = field(default_factory=dict)
    contest: Contest = field(default_factory=Contest)

    @property
    def rows(self) -> list[int]:
        """The rows that are run."""
        return sorted({*self.todo, *self.again})

    @property
    def num_done(self) -> int:
        return self.num_fits - len(self.todo)

    @property
    def nothing(self) -> bool:
        """Whether the sweep is finished."""
        return not self.todo and not unfinished(self.path)


def look(path: Path, recorder: Recorder, asked: Asked) -> Left:
    """What is left of the sweep in `path`; reads only."""
    about, names, [first] = About.read(path), planned(path, "name"), configs_of(path, [0], asked)
    results = stored_results(path)
    history = recorder.history()
    parent = None if history is None else history.sweep(about.id)
    kept = (
        {}
        if history is None or parent is None
        else history.current(history.children(parent.run_id))
    )
    best = first.tracking.best if isinstance(first.tracking, MLflowTracking) else None
    everywhere = history is not None and best is None
    done = {
        row: Done(names[row], kept[row].run_id if row in kept else "", result)
        for row, result in results.items()
        if row < len(names)
        and (
            not everywhere
            or (
                row in kept
                and (kept[row].status == "FAILED") == (result["status"] == Status.FAILED)
            )
        )
    }
    failed = (
        {row for row, entry in done.items() if entry.status is Status.FAILED}
        if asked.retry_failed
        else set()
    )
    todo = sorted(set(range(len(names))) - set(done) | failed)
    retries = {row: kept[row].run_id for row in failed if row in kept}
    recorded = {row: child.run_id for row, child in kept.items() if row not in retries}
    left = Left(path, about, first, len(names), todo, parent=parent, fresh=not (done or kept))
    left.contest = Contest.of_texts(first.objective, planned(path, "config"))
    if history is not None and not left.nothing:
        by = left.contest.by
        values = {row: entry.value(by) for row, entry in done.items() if row not in failed}
        ranked = sorted((value, row) for row, value in values.items() if value != float("inf"))
        again = {row for _, row in ranked[: best or 1]}
        left.again = sorted(again | (_without_files(left, done) - failed if everywhere else set()))
    fixed = {
        row: entry for row, entry in done.items() if row not in failed and row not in left.again
    }
    known = {} if parent is None else parent.metrics
    left.earlier = Earlier("" if parent is None else parent.run_id, known, fixed, recorded, retries)
    left.names = [names[row] for row in left.rows]
    left.configs = ready(configs_of(path, left.rows, asked), several=True)
    left.changes = _changes(left, asked)
    return left


def _without_files(left: Left, done: Mapping[int, Done]) -> set[int]:
    """Return the rows whose runs were finished by a process that was killed before it had attached their files."""
    if not (
        isinstance(left.first.tracking, MLflowTracking) and left.first.tracking.child_artifacts
    ):
        return set()
    lacking = lacking_files(left.path, (entry.run_id for entry in done.values()))
    return {row for row, entry in done.items() if entry.run_id in lacking}


def _changes(left: Left, asked: Asked) -> Changes:
    tags = None if left.parent is None else left.parent.tags
    found = {} if left.fresh else changes(left.path, tags, left.first)
    return found | changed_data(left.path, left.rows, left.configs, asked, tags)


def opened(path: Path, asked: Asked) -> Recorder:
    """The recorder of the sweep in `path`."""
    [config] = configs_of(path, [0], asked)
    if asked.uri is None and ":***@" in str(getattr(config.tracking, "uri", "")):
        raise ConfigError(
            "the password of the sweep's store was not kept: name the store again with --uri"
        )
    tracking = resolved_tracking(config)
    if isinstance(tracking, MLflowTracking) and isinstance(config.tracking, MLflowTracking):
        planned = {key: None for key in ("uri", "artifacts") if getattr(asked, key) is not None}
        recorded = (part.model_copy(update=planned) for part in (config.tracking, tracking))
        require_named_store(*recorded)
        if asked.uri is None and tracking.uri is not None:
            _require_folder(locate(tracking.uri))
    return recorder_of(config)


def _require_folder(store: Store) -> None:
    """ConfigError where a sweep's manifest names a store whose folder is not there: it may be another machine's."""
    if store.file is not None and not store.file.parent.is_dir():
        raise ConfigError(
            f"the sweep's store {store} is gone: name the one it is in now with --uri"
        )


def resume(path: Path, runner: Runner, asked: Asked) -> Left:
    """Goes on with the sweep in `path`, ends it, and returns what was left of it.

    LinfitError, which says what changed, where code, data or environment are not as they were and that is not allowed; or where
    another process runs the sweep.
    """
    require_no_links(path)
    folder = Folder(path)
    try:
        recorder = opened(path, asked)
        if (history := recorder.history()) is not None:
            history.end_dead()
        for table in set_aside(path):
            notice(
                f"{table.name.removesuffix(BROKEN)} of {table.parent} is broken: it is kept as {table.name}, its fits are run again"
            )
        left = look(path, recorder, asked)
        if left.nothing:
            notice(f"nothing is left of the sweep in {path}: all {left.num_fits} fits are done")
            folder.release()
            if _is_undescribed(left):
                _hand_over(left, recorder, runner)
            return left
        refuse(left, asked)
        where = (
            continued(left.about.where, asked.workers, asked.backend, asked.address)
            if left.rows
            else HERE
        )
        sweep = _sweep(left, recorder, folder, asked)
    except BaseException:
        folder.release()
        raise
    try:
        runner.question, runner.typed = left.about.question, left.about.typed
        runner.resume(
            sweep, left.first, list(zip(left.rows, left.names, left.configs, strict=True)), where
        )
    except BaseException as error:
        runner.kill()
        if isinstance(error, OSError):
            raise RecordingError(
                f"{error.filename or path} cannot be written: {error.strerror or error}"
            ) from error
        raise
    return left


def _is_undescribed(left: Left) -> bool:
    """Return True if a finished sweep lacks its description, which is written when its pictures and report are made."""
    typed = left.about.typed
    asked = notes.asked(left.about.question, typed)
    parent = left.parent
    if parent is None or parent.status != "FINISHED":
        return False
    return typed != "" and parent.tags.get(notes.NOTE) == asked


def _hand_over(left: Left, recorder: Recorder, runner: Runner) -> None:
    """Give the runner a finished sweep as if it had just ended, so that what is made of it then is made now."""
    assert left.parent is not None
    notice("its pictures, report and description were broken off: they are made now")
    parent, done = left.parent, left.earlier.done
    row = run_records.Row(
        left.about.name, parent.start, parent.end or now(), parent.status, parent.tags
    )
    runner.question, runner.typed, runner.where = (
        left.about.question,
        left.about.typed,
        recorder.where(),
    )
    runner.remarks.kept.update(dict.fromkeys(parent.tags.get(layout.NOTES, "").splitlines()))
    runner.sweep_id, runner.done = parent.run_id, [done[number] for number in sorted(done)]
    runner.recorded = Recorded(recorder, parent.run_id, row, left.path.absolute(), left.first)


def refuse(left: Left, asked: Asked) -> None:
    """LinfitError where something changed since the sweep began, unless that is allowed."""
    if left.changes and not asked.allow_changes:
        raise LinfitError(
            f"{told(left.changes)}: put it back, or add --allow-changes and have a sweep of both"
        )


def _sweep(left: Left, recorder: Recorder, folder: Folder, asked: Asked) -> Sweep:
    """The sweep with its parent run RUNNING again, and its parts without what does not count."""
    was_finished = not unfinished(left.path)
    parts: Parts = reopen(left.path)
    parts.keep(left.earlier.done)
    if was_finished:
        note_attached(
            left.path, (entry.run_id for entry in left.earlier.done.values() if entry.run_id)
        )
    if left.fresh:  # whatever was meant to run it, this is what does
        environment.write(left.path, left.first)
    more = left.parent is not None and not left.parent.params
    accounts = _accounts(left, asked)
    if left.parent is None:
        row = parent_row(left.about, left.first, accounts, left.path)
        row = replace(row, tags={**row.tags, **_more(left)})
    else:
        recorder.children(left.parent.run_id)  # discards what a killed process left half-written
        tags = {key: value for key, value in left.parent.tags.items() if key.startswith("linfit.")}
        tags |= {layout.OWNER: owner(), layout.FOLDER: str(left.path.absolute()), **_more(left)}
        params = run_records.shared_params(accounts) if more else {}
        row = run_records.Row(left.about.name, left.parent.start, now(), "RUNNING", tags, params)
        recorder.resume(left.parent.run_id, tags)
    return Sweep(
        recorder,
        row,
        folder,
        left.about.varying,
        left.first.tracking,
        left.earlier,
        more,
        left.contest,
    )


def _accounts(left: Left, asked: Asked) -> Iterator[Account]:
    """Yield the accounts of all fits of the sweep; the manifest is read when the first is asked for."""
    for config in configs_of(left.path, None, asked):
        yield account(config)


def _more(left: Left) -> dict[str, str]:
    """What the parent's tags say now of where its numbers come from."""
    own = environment.tags(left.first) if left.fresh else {}
    before = past(None if left.parent is None else left.parent.tags)
    return own | ({layout.CHANGES: json.dumps([*before, left.changes])} if left.changes else {})
