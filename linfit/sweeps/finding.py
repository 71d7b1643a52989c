"""Finding a sweep: by its folder, by its run, or else the newest that is unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.errors import LinfitError
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import SWEEPS, About, TakenError, claim, command
from linfit.sweeps.planned import Asked
from linfit.tracking import layout
from linfit.tracking.tables import unfinished

if TYPE_CHECKING:
    from linfit.tracking.store import Store


def find(reference: str | None, asked: Asked) -> Path | None:
    """Return the folder of a sweep; LinfitError if there is no such sweep.

    None if no reference is given and no sweep is unfinished.
    """
    if reference is None:
        return _find_newest()
    path = Path(reference)
    if (path / layout.MANIFEST).is_file():
        return path
    if path.is_dir() or len(path.parts) > 1 or "/" in reference:
        raise LinfitError(f"{reference} is no folder of a sweep: it has no {layout.MANIFEST}")
    return _find_by_run(reference, asked)


def end_dead(uri: str | None) -> None:
    """End the runs of dead processes in a store, in every MLflow experiment."""
    from linfit.tracking.history import History
    from linfit.tracking.migrations import require_current
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    store = locate(uri)
    if store.file is not None and not store.file.exists():
        return
    require_current(store)
    reader = Reader(store)
    ended = 0
    for experiment in reader.experiments:
        ended += len(History(store, reader.client, experiment).end_dead())
    if ended:
        runs = "run" if ended == 1 else "runs"
        notice(f"{ended} {runs} of processes that are gone: KILLED now, not RUNNING")


def _find_newest() -> Path | None:
    """Return the newest unfinished sweep that no other process runs.

    Raise TakenError if other processes run all of them.
    """
    found = [(about.start, path) for path, about in _read_sweeps() if unfinished(path)]
    taken: TakenError | None = None
    for _, path in sorted(found, reverse=True):
        try:
            claim(path).release()
        except TakenError as error:
            taken = taken or error
            continue
        except LinfitError:  # no process can run it here, and what is left can be shown
            pass
        return path
    if taken is not None:
        raise taken
    return None


def _read_sweeps() -> Iterator[tuple[Path, About]]:
    """Yield the folders of sweeps; one whose manifest cannot be read is left out and told."""
    for file in SWEEPS.glob(f"*/{layout.MANIFEST}"):
        try:
            yield file.parent, About.read(file.parent)
        except LinfitError as error:
            notice(f"left out: {error}")


def _find_by_run(reference: str, asked: Asked) -> Path:
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate
    from linfit.tracking.whereabouts import require_settled

    store = locate(asked.uri)
    run = Reader(store).find(reference, layout.SWEEP)
    # Otherwise the folder may be that of the store from which this one was copied.
    require_settled(store)
    if run.kind != layout.SWEEP:
        raise LinfitError(
            f"run {run.run_id} is no sweep: give a sweep's id, the beginning of one, its folder, "
            "or last"
        )
    path = Path(run.tags.get(layout.FOLDER, ""))
    sweep = run.tags.get(layout.ID)
    if sweep and (path / layout.MANIFEST).is_file() and About.read(path).id == sweep:
        _require_own_folder(path, store)
        return path
    moved = next((folder for folder, about in _read_sweeps() if about.id == sweep), None)
    if moved is None:
        raise LinfitError(
            f"the folder of sweep {run.run_id} is gone: it was {path}, "
            f"and no folder in {SWEEPS} is it"
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
            f"if it is yours, {command(path)}"
        )
