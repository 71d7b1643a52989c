"""`linfit resume`: what is left of a sweep, found from its manifest and from what MLflow has of it, and run.

    manifest.parquet (every config) − fits that stand both in the parts and in MLflow → what is left → the same loop as `linfit run`

Nothing is composed again: the YAML may have changed since. A fit that MLflow has finished and the parts have lost is run again for
its numbers, and not recorded twice: the same config gives the same bits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import ConfigError, LinfitError, RecordingError
from linfit.settings import MLflowTracking
from linfit.sweeps.beginning import parent_row
from linfit.sweeps.drift import Changes, changed_data, changes, past, told
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import About, Folder
from linfit.sweeps.planned import Asked, configs_of, planned
from linfit.sweeps.readiness import ready, recorder_of
from linfit.sweeps.recording import Done, Earlier, Sweep, now
from linfit.sweeps.runner import Runner
from linfit.sweeps.running import continued
from linfit.sweeps.workers import HERE
from linfit.tracking import environment, layout
from linfit.tracking.accounts import account
from linfit.tracking.owner import owner
from linfit.tracking.recorder import Recorder
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
    """Rows that are done, and run once more because what they left is needed: the best, for its model."""
    earlier: Earlier = field(default_factory=Earlier)
    parent: Kept | None = None
    fresh: bool = False
    """Whether nothing of it has been computed yet."""
    names: list[str] = field(default_factory=list)
    configs: list[FitConfig] = field(default_factory=list)
    """Of the rows that are run."""
    changes: Changes = field(default_factory=dict)

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
    kept = {} if history is None or parent is None else history.current(history.children(parent.run_id))
    best = first.tracking.best if isinstance(first.tracking, MLflowTracking) else None
    everywhere = history is not None and best is None
    done = {
        row: Done(names[row], kept[row].run_id if row in kept else "", result)
        for row, result in results.items()
        if row < len(names) and (not everywhere or (row in kept and (kept[row].status == "FAILED") == (result["status"] == Status.FAILED)))
    }
    failed = {row for row, entry in done.items() if entry.status is Status.FAILED} if asked.retry_failed else set()
    todo = sorted(set(range(len(names))) - set(done) | failed)
    retries = {row: kept[row].run_id for row in failed if row in kept}
    recorded = {row: child.run_id for row, child in kept.items() if row not in retries}
    left = Left(path, about, first, len(names), todo, parent=parent, fresh=not (done or kept))
    if history is not None and not left.nothing:
        ranked = sorted((entry.excess, row) for row, entry in done.items() if row not in failed and entry.excess != float("inf"))
        left.again = sorted(row for _, row in ranked[: best or 1])
    fixed = {row: entry for row, entry in done.items() if row not in failed and row not in left.again}
    known = {} if parent is None else parent.metrics
    left.earlier = Earlier("" if parent is None else parent.run_id, known, fixed, recorded, retries)
    left.names = [names[row] for row in left.rows]
    left.configs = ready(configs_of(path, left.rows, asked), several=True)
    left.changes = _changes(left, asked)
    return left


def _changes(left: Left, asked: Asked) -> Changes:
    tags = None if left.parent is None else left.parent.tags
    found = {} if left.fresh else changes(left.path, tags, left.first)
    return found | changed_data(left.path, left.rows, left.configs, asked, tags)


def opened(path: Path, asked: Asked) -> Recorder:
    """The recorder of the sweep in `path`."""
    [config] = configs_of(path, [0], asked)
    if asked.uri is None and ":***@" in str(getattr(config.tracking, "uri", "")):
        raise ConfigError("the password of the sweep's store was not kept: name the store again with --uri")
    return recorder_of(config)


def resume(path: Path, runner: Runner, asked: Asked) -> Left:
    """Goes on with the sweep in `path`, ends it, and returns what was left of it.

    LinfitError, which says what changed, where code, data or environment are not as they were and that is not allowed; or where
    another process runs the sweep.
    """
    folder = Folder(path)
    try:
        recorder = opened(path, asked)
        if (history := recorder.history()) is not None:
            history.end_dead()
        for table in set_aside(path):
            notice(f"{table.name.removesuffix(BROKEN)} of {table.parent} is broken: it is kept as {table.name}, its fits are run again")
        left = look(path, recorder, asked)
        if left.nothing:
            notice(f"nothing is left of the sweep in {path}: all {left.num_fits} fits are done")
            folder.release()
            return left
        refuse(left, asked)
        where = continued(left.about.where, asked.workers, asked.backend, asked.address) if left.rows else HERE
        sweep = _sweep(left, recorder, folder, asked)
    except BaseException:
        folder.release()
        raise
    try:
        runner.question, runner.typed = left.about.question, left.about.typed
        runner.resume(sweep, left.first, list(zip(left.rows, left.names, left.configs, strict=True)), where)
    except BaseException as error:
        runner.kill()
        if isinstance(error, OSError):
            raise RecordingError(f"{error.filename or path} cannot be written: {error.strerror or error}") from error
        raise
    return left


def refuse(left: Left, asked: Asked) -> None:
    """LinfitError where something changed since the sweep began, unless that is allowed."""
    if left.changes and not asked.allow_changes:
        raise LinfitError(f"{told(left.changes)}: put it back, or add --allow-changes and have a sweep of both")


def _sweep(left: Left, recorder: Recorder, folder: Folder, asked: Asked) -> Sweep:
    """The sweep with its parent run RUNNING again, and its parts without what does not count."""
    parts: Parts = reopen(left.path)
    parts.keep(left.earlier.done)
    if left.fresh:  # whatever was meant to run it, this is what does
        environment.write(left.path, left.first)
    if left.parent is None:
        accounts = (account(config) for config in configs_of(left.path, None, asked))
        row = parent_row(left.about, left.first, accounts, left.path)
        row = replace(row, tags={**row.tags, **_more(left)})
    else:
        recorder.children(left.parent.run_id)  # discards what a killed process left half-written
        tags = {key: value for key, value in left.parent.tags.items() if key.startswith("linfit.")}
        tags |= {layout.OWNER: owner(), layout.FOLDER: str(left.path.absolute()), **_more(left)}
        row = layout.Row(left.about.name, left.parent.start, now(), "RUNNING", tags)
        recorder.resume(left.parent.run_id, tags)
    return Sweep(recorder, row, folder, left.about.varying, left.first.tracking, left.earlier)


def _more(left: Left) -> dict[str, str]:
    """What the parent's tags say now of where its numbers come from."""
    own = environment.tags(left.first) if left.fresh else {}
    before = past(None if left.parent is None else left.parent.tags)
    return own | ({layout.CHANGES: json.dumps([*before, left.changes])} if left.changes else {})
