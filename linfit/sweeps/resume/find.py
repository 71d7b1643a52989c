"""Finding a sweep: by its folder, by its run, or else the newest that is unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.errors import LinfitError
from linfit.sweeps.config_files.messages import notify_user
from linfit.sweeps.folder.planned import ResumeOptions
from linfit.sweeps.folder.sweep_folder import (
    SWEEPS_FOLDER,
    FolderInUseError,
    SweepInfo,
    lock_folder,
    quote_resume_command,
)
from linfit.tracking.schema import mlflow_names
from linfit.tracking.tables.parts import is_unfinished

if TYPE_CHECKING:
    from linfit.tracking.store.store import Store


def find_sweep_folder(reference: str | None, asked: ResumeOptions) -> Path | None:
    """Return a sweep's folder; LinfitError if there is no such sweep.

    None if no reference is given and no sweep is unfinished.
    """
    if reference is None:
        return _find_newest()
    path = Path(reference)
    if (path / mlflow_names.MANIFEST).is_file():
        return path
    if path.is_dir() or len(path.parts) > 1 or "/" in reference:
        raise LinfitError(f"{reference} is no folder of a sweep: it has no {mlflow_names.MANIFEST}")
    return _find_by_run(reference, asked)


def end_dead_runs(uri: str | None) -> None:
    """End the runs of dead processes in a store.

    All its MLflow experiments are searched.
    """
    from linfit.tracking.read.history import History
    from linfit.tracking.read.reader import RunReader
    from linfit.tracking.store.migrations import require_current
    from linfit.tracking.store.store import resolve_store

    store = resolve_store(uri)
    if store.file is not None and not store.file.exists():
        return
    require_current(store)
    reader = RunReader(store)
    ended = 0
    for experiment in reader.experiments:
        ended += len(History(store, reader.client, experiment).end_dead_runs())
    if ended:
        runs = "run" if ended == 1 else "runs"
        notify_user(f"{ended} {runs} of processes that are gone: KILLED now, not RUNNING")


def _find_newest() -> Path | None:
    """Return the newest unfinished sweep that no other process runs.

    Raise TakenError if other processes run all of them.
    """
    found = [(about.start, path) for path, about in _read_sweeps() if is_unfinished(path)]
    taken: FolderInUseError | None = None
    for _, path in sorted(found, reverse=True):
        try:
            lock_folder(path).release()
        except FolderInUseError as error:
            taken = taken or error
            continue
        except LinfitError:  # no process can run it here, and what is left can be shown
            pass
        return path
    if taken is not None:
        raise taken
    return None


def _read_sweeps() -> Iterator[tuple[Path, SweepInfo]]:
    """Yield the folders of sweeps; one whose manifest cannot be read is left out and told."""
    for file in SWEEPS_FOLDER.glob(f"*/{mlflow_names.MANIFEST}"):
        try:
            yield file.parent, SweepInfo.read_manifest(file.parent)
        except LinfitError as error:
            notify_user(f"left out: {error}")


def _find_by_run(reference: str, asked: ResumeOptions) -> Path:
    from linfit.tracking.read.reader import RunReader
    from linfit.tracking.store.store import resolve_store
    from linfit.tracking.store.whereabouts import require_settled

    store = resolve_store(asked.uri)
    run = RunReader(store).find_run(reference, mlflow_names.SWEEP)
    # Otherwise the folder may be that of the store from which this one was copied.
    require_settled(store)
    if run.kind != mlflow_names.SWEEP:
        raise LinfitError(
            f"run {run.run_id} is no sweep: give a sweep's id, the beginning of one, its folder, "
            "or last"
        )
    path = Path(run.tags.get(mlflow_names.FOLDER, ""))
    sweep = run.tags.get(mlflow_names.ID)
    if (
        sweep
        and (path / mlflow_names.MANIFEST).is_file()
        and SweepInfo.read_manifest(path).id == sweep
    ):
        _require_own_folder(path, store)
        return path
    moved = next((folder for folder, about in _read_sweeps() if about.id == sweep), None)
    if moved is None:
        raise LinfitError(
            f"the folder of sweep {run.run_id} is gone: it was {path}, "
            f"and no folder in {SWEEPS_FOLDER} is it"
        )
    return moved


def _require_own_folder(path: Path, store: Store) -> None:
    """Raise LinfitError unless a folder that a store names is below this one, or its own.

    The folder is going to be written to, and whoever handed over the store chose it.
    """
    homes = [Path.cwd()]
    if store.file is not None:
        homes.append(store.file.parent)
    if not any(path.resolve().is_relative_to(home.resolve()) for home in homes):
        raise LinfitError(
            f"the store names {str(path)!r} as the sweep's folder, which is elsewhere: "
            f"if it is yours, {quote_resume_command(path)}"
        )
