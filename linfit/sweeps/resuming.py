"""`linfit resume`: what is left of a sweep, found from its manifest and from what MLflow has of it, and run.

    manifest.parquet (every config) − fits that stand both in the parts and in MLflow → what is left → the same loop as `linfit run`

Nothing is composed again: the YAML may have changed since. A fit that MLflow has finished and the parts have lost is run again for
its numbers, and not recorded twice: the same config gives the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyarrow import parquet

from linfit.config import FitConfig
from linfit.engine.fit import Status
from linfit.errors import ConfigError, LinfitError, RecordingError
from linfit.settings import MLflowTracking
from linfit.sweeps.beginning import parent_row
from linfit.sweeps.composition import load_plugins
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import SWEEPS, About, Folder, command, is_free
from linfit.sweeps.readiness import ready, recorder_of
from linfit.sweeps.recording import Done, Earlier, Sweep, now, whole_children
from linfit.sweeps.runner import Runner
from linfit.sweeps.running import continued
from linfit.tracking import layout
from linfit.tracking.data import take_arrays
from linfit.tracking.owner import owner
from linfit.tracking.recorder import Recorder
from linfit.tracking.stored import read_config
from linfit.tracking.tables import Parts, reopen, stored_results, unfinished

if TYPE_CHECKING:  # a sweep that is not tracked does without MLflow
    from linfit.tracking.history import Kept

#: What of the environment decides bits.
DECISIVE = ("torch", "threads", "cpu_capability")


@dataclass(frozen=True)
class Asked:
    """What the user wants of a sweep that goes on."""

    uri: str | None = None
    """The store, instead of the one that the sweep was started with."""
    retry_failed: bool = False
    allow_changes: bool = False
    trust: bool = False
    """Whether plug-ins that the manifest names may be imported."""
    workers: int | None = None
    backend: str | None = None
    address: str | None = None
    """Where it goes on, if not where it began."""


@dataclass
class Left:
    """A sweep that can go on: what is done of it, what is left, and what changed since it began, as {what: (then, now)}."""

    path: Path
    about: About
    num_fits: int
    todo: list[int]
    again: list[int] = field(default_factory=list)
    """Rows that are done, and run once more because what they left is needed: the best, for its model."""
    earlier: Earlier = field(default_factory=Earlier)
    parent: Kept | None = None
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def num_done(self) -> int:
        return self.num_fits - len(self.todo)

    @property
    def nothing(self) -> bool:
        """Whether the sweep is finished."""
        return not self.todo and not unfinished(self.path)


def find(reference: str | None, asked: Asked) -> Path | None:
    """The folder of the sweep that is meant; None if none is named and none is unfinished. LinfitError if there is no such sweep."""
    if reference is None:
        return next((path for path in _by_age(SWEEPS) if unfinished(path) and is_free(path)), None)
    if (Path(reference) / layout.MANIFEST).is_file():
        return Path(reference)
    if Path(reference).is_dir() or "/" in reference:
        raise LinfitError(f"{reference} is no folder of a sweep: it has no {layout.MANIFEST}")
    return _of_run(reference, asked)


def _by_age(root: Path) -> Iterator[Path]:
    """The folders of sweeps, the newest first."""
    found = [(About.read(file.parent).start, file.parent) for file in root.glob(f"*/{layout.MANIFEST}")]
    return (path for _, path in sorted(found, reverse=True))


def _of_run(reference: str, asked: Asked) -> Path:
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    record = Reader(locate(asked.uri)).find(reference, layout.SWEEP)
    if record.kind != layout.SWEEP:
        raise LinfitError(f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, its folder, or last")
    path, sweep = Path(record.tags.get(layout.FOLDER, "")), record.tags.get(layout.ID)
    moved = [file.parent for file in SWEEPS.glob(f"*/{layout.MANIFEST}")]
    for folder in (path, *moved):
        if sweep and (folder / layout.MANIFEST).is_file() and About.read(folder).id == sweep:
            return folder
    raise LinfitError(f"the folder of sweep {record.run_id} is gone: it was {path}, and no folder in {SWEEPS} is it")


def look(path: Path, recorder: Recorder, asked: Asked) -> Left:
    """What is left of the sweep in `path`; reads only."""
    about, manifest = About.read(path), parquet.read_table(path / layout.MANIFEST, columns=["row", "name"])
    names = dict(zip(manifest["row"].to_pylist(), manifest["name"].to_pylist(), strict=True))
    config = configs_of(path, [0], asked)[0]
    results = stored_results(path)
    history = recorder.history()
    parent = None if history is None else history.sweep(about.id)
    children = [] if history is None or parent is None else history.children(parent.run_id)
    kept = {child.row: child for child in children if child.whole}
    best = config.tracking.best if isinstance(config.tracking, MLflowTracking) else None
    everywhere = history is not None and best is None
    done = {
        row: Done(names[row], kept[row].run_id if row in kept else "", result)
        for row, result in results.items()
        if row in names and (not everywhere or (row in kept and (kept[row].status == "FAILED") == (result["status"] == Status.FAILED)))
    }
    failed = {row for row, entry in done.items() if entry.status is Status.FAILED} if asked.retry_failed else set()
    todo = sorted(set(names) - set(done) | failed)
    retries = {row: kept[row].run_id for row in failed if row in kept}
    recorded = {row: child.run_id for row, child in kept.items() if row not in retries}
    left = Left(path, about, len(names), todo, parent=parent)
    if history is not None and not left.nothing:
        ranked = sorted((entry.excess, row) for row, entry in done.items() if row not in failed and entry.excess != float("inf"))
        left.again = sorted(row for _, row in ranked[: best or 1])
    fixed = {row: entry for row, entry in done.items() if row not in failed and row not in left.again}
    known = {} if parent is None else parent.metrics
    left.earlier = Earlier("" if parent is None else parent.run_id, known, fixed, recorded, retries)
    left.changes = changes(parent, config) if kept else {}
    return left


def changes(parent: Kept | None, config: FitConfig) -> dict[str, tuple[str, str]]:
    """What decides bits and is not as it was when the sweep began, or when changes were last allowed."""
    from linfit.tracking import environment

    if parent is None:
        return {}
    now = environment.tags(config)
    before = {"code": parent.tags.get(layout.CODE, ""), **_decisive(parent.tags.get(layout.ENVIRONMENT, "{}"))}
    for allowed in _allowed(parent.tags):
        before |= {key: pair[1] for key, pair in allowed.items()}
    after = {"code": now[layout.CODE], **_decisive(now[layout.ENVIRONMENT])}
    return {key: (before[key], after[key]) for key in before if before[key] != after.get(key)}


def _allowed(tags: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """The changes with which the sweep went on before."""
    try:
        found: list[dict[str, list[str]]] = json.loads(tags.get(layout.CHANGES, "[]"))
        return found
    except ValueError:  # too many for a tag
        return []


def _decisive(tag: str) -> dict[str, str]:
    found = json.loads(tag)
    return {key: str(found[key]) for key in DECISIVE if key in found}


def configs_of(path: Path, rows: Sequence[int], asked: Asked) -> list[FitConfig]:
    """The configs of some rows of the manifest, with the store that is asked for; ConfigError if one cannot be read."""
    stored = _manifest(path, rows, ["config"])
    configs = []
    for row, (text,) in zip(rows, stored, strict=True):
        try:
            config = read_config(text, load_plugins if asked.trust else None)
        except ConfigError as error:
            hint = f": if you trust it, {command(path, trust=True)}" if "plug-ins" in str(error) else ""
            raise ConfigError(f"{path / layout.MANIFEST}, row {row}: {error}{hint}") from error
        take_arrays(config, path.joinpath)
        configs.append(_in_store(config, asked.uri))
    return configs


def _in_store(config: FitConfig, uri: str | None) -> FitConfig:
    if uri is None or not isinstance(config.tracking, MLflowTracking):
        return config
    return config.model_copy(update={"tracking": config.tracking.model_copy(update={"uri": uri})})


def _manifest(path: Path, rows: Sequence[int], columns: list[str]) -> Iterator[tuple[Any, ...]]:
    table = parquet.read_table(path / layout.MANIFEST, columns=columns).take(list(rows))
    return zip(*(table[name].to_pylist() for name in columns), strict=True)


def changed_data(path: Path, rows: Sequence[int], configs: Sequence[FitConfig]) -> dict[str, tuple[str, str]]:
    """The data, or what else decides numbers, where a config no longer has the fingerprint that it was planned with."""
    for row, config, (before,) in zip(rows, configs, _manifest(path, rows, ["fingerprint"]), strict=True):
        after = config.fingerprint()
        if after != before:
            files = ", ".join(str(file) for file in config.dataset.files())
            return {f"data {files}" if files else f"fingerprint of row {row}": (before, after)}
    return {}


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
        left = look(path, recorder, asked)
        if left.nothing:
            notice(f"nothing is left of the sweep in {path}: all {left.num_fits} fits are done")
            folder.release()
            return left
        rows = sorted({*left.todo, *left.again})
        configs = ready(configs_of(path, rows, asked), several=True)
        left.changes |= changed_data(path, rows, configs)
        refuse(left, asked)
        where = continued(left.about.where, asked.workers, asked.backend, asked.address)
        sweep = _sweep(left, recorder, folder, configs, asked)
    except BaseException:
        folder.release()
        raise
    names = [name for (name,) in _manifest(path, rows, ["name"])]
    try:
        runner.question, runner.typed = left.about.question, left.about.typed
        runner.resume(sweep, list(zip(rows, names, configs, strict=True)), where)
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


def told(changes: dict[str, tuple[str, str]]) -> str:
    """Changes as a sentence; of digests the beginning."""
    return "since the sweep began " + "; ".join(f"{key} changed from {was[:12]} to {now[:12]}" for key, (was, now) in changes.items())


def _sweep(left: Left, recorder: Recorder, folder: Folder, configs: Sequence[FitConfig], asked: Asked) -> Sweep:
    """The sweep with its parent run RUNNING again, and its parts without what does not count."""
    parts: Parts = reopen(left.path)
    parts.keep(left.earlier.done)
    if left.parent is None:
        row = parent_row(left.about, _all(left, asked), left.path)
    else:
        whole_children(recorder, left.parent.run_id)  # discards what a killed process left half-written
        tags = {key: value for key, value in left.parent.tags.items() if key.startswith("linfit.")}
        tags |= {layout.OWNER: owner(), layout.FOLDER: str(left.path.absolute())}
        if left.changes:
            tags[layout.CHANGES] = json.dumps([*_allowed(tags), left.changes])
        row = layout.Row(left.about.name, left.parent.start, now(), "RUNNING", tags)
        recorder.resume(left.parent.run_id, tags)
    return Sweep(recorder, row, folder, left.about.varying, configs[0].tracking, left.earlier)


def _all(left: Left, asked: Asked) -> Iterable[FitConfig]:
    return configs_of(left.path, range(left.num_fits), asked)
