"""Which sweep is meant: by its folder, by its run, or by itself the newest that is unfinished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from linfit.errors import LinfitError
from linfit.sweeps.explanation import notice
from linfit.sweeps.folder import SWEEPS, About, TakenError, claim
from linfit.sweeps.planned import Asked
from linfit.tracking import layout
from linfit.tracking.tables import unfinished


def find(reference: str | None, asked: Asked) -> Path | None:
    """The folder of the sweep that is meant; None if none is named and none is unfinished. LinfitError if there is no such sweep."""
    if reference is None:
        return _newest()
    if (Path(reference) / layout.MANIFEST).is_file():
        return Path(reference)
    if Path(reference).is_dir() or "/" in reference:
        raise LinfitError(f"{reference} is no folder of a sweep: it has no {layout.MANIFEST}")
    return _of_run(reference, asked)


def end_dead(uri: str | None) -> None:
    """Ends all runs in a store whose process is gone, in every MLflow experiment."""
    from linfit.tracking.history import History
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    store = locate(uri)
    if store.file is not None and not store.file.exists():
        return
    reader = Reader(store)
    ended = [run for experiment in reader.experiments for run in History(store, reader.client, experiment).end_dead()]
    if ended:
        notice(f"{len(ended)} {'run' if len(ended) == 1 else 'runs'} of processes that are gone: KILLED now, not RUNNING")


def _newest() -> Path | None:
    """The newest sweep that is unfinished and that nobody runs; TakenError where others run all that are unfinished."""
    taken: TakenError | None = None
    for _, path in sorted(((about.start, path) for path, about in _sweeps() if unfinished(path)), reverse=True):
        try:
            claim(path).release()
        except TakenError as error:
            taken = taken or error
            continue
        except LinfitError:  # nobody can run it here: what is left can be shown all the same
            pass
        return path
    if taken is not None:
        raise taken
    return None


def _sweeps() -> Iterator[tuple[Path, About]]:
    """The folders of sweeps, but for those whose manifest cannot be read: one is no reason not to go on with another."""
    for file in SWEEPS.glob(f"*/{layout.MANIFEST}"):
        try:
            yield file.parent, About.read(file.parent)
        except LinfitError as error:
            notice(f"left out: {error}")


def _of_run(reference: str, asked: Asked) -> Path:
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    record = Reader(locate(asked.uri)).find(reference, layout.SWEEP)
    if record.kind != layout.SWEEP:
        raise LinfitError(f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, its folder, or last")
    path, sweep = Path(record.tags.get(layout.FOLDER, "")), record.tags.get(layout.ID)
    if sweep and (path / layout.MANIFEST).is_file() and About.read(path).id == sweep:
        return path
    moved = next((folder for folder, about in _sweeps() if about.id == sweep), None)
    if moved is None:
        raise LinfitError(f"the folder of sweep {record.run_id} is gone: it was {path}, and no folder in {SWEEPS} is it")
    return moved
