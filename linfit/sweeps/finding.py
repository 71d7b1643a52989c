"""Which sweep is meant: by its folder, by its run, or by itself the newest that is unfinished."""

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
    """The folder of the sweep that is meant; None if none is named and none is unfinished. LinfitError if there is no such sweep."""
    if reference is None:
        return _newest()
    if (Path(reference) / layout.MANIFEST).is_file():
        return Path(reference)
    if Path(reference).is_dir() or len(Path(reference).parts) > 1 or "/" in reference:
        raise LinfitError(f"{reference} is no folder of a sweep: it has no {layout.MANIFEST}")
    return _of_run(reference, asked)


def end_dead(uri: str | None) -> None:
    """Ends all runs in a store whose process is gone, in every MLflow experiment."""
    from linfit.tracking.history import History
    from linfit.tracking.migrations import require_current
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    store = locate(uri)
    if store.file is not None and not store.file.exists():
        return
    require_current(store)
    reader = Reader(store)
    ended = [
        run
        for experiment in reader.experiments
        for run in History(store, reader.client, experiment).end_dead()
    ]
    if ended:
        notice(
            f"{len(ended)} {'run' if len(ended) == 1 else 'runs'} of processes that are gone: KILLED now, not RUNNING"
        )


def _newest() -> Path | None:
    """The newest sweep that is unfinished and that nobody runs; TakenError where others run all that are unfinished."""
    taken: TakenError | None = None
    for _, path in sorted(
        ((about.start, path) for path, about in _sweeps() if unfinished(path)), reverse=True
    ):
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


def _own_folder(path: Path, store: Store) -> Path:
    """Return a folder that a store names; LinfitError where it is not of this working directory, or not beside the store: it is written to."""
    homes = [Path.cwd(), *([store.file.parent] if store.file is not None else [])]
    if any(path.resolve().is_relative_to(home.resolve()) for home in homes):
        return path
    raise LinfitError(
        f"the store names {str(path)!r} as the sweep's folder, which is elsewhere: if it is yours, {command(path)}"
    )


def _of_run(reference: str, asked: Asked) -> Path:
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate
    from linfit.tracking.whereabouts import require_settled

    store = locate(asked.uri)
    record = Reader(store).find(reference, layout.SWEEP)
    require_settled(store)  # otherwise its folder may be that of the store that it was copied from
    if record.kind != layout.SWEEP:
        raise LinfitError(
            f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, its folder, or last"
        )
    path, sweep = Path(record.tags.get(layout.FOLDER, "")), record.tags.get(layout.ID)
    if sweep and (path / layout.MANIFEST).is_file() and About.read(path).id == sweep:
        return _own_folder(path, store)
    moved = next((folder for folder, about in _sweeps() if about.id == sweep), None)
    if moved is None:
        raise LinfitError(
            f"the folder of sweep {record.run_id} is gone: it was {path}, and no folder in {SWEEPS} is it"
        )
    return moved
