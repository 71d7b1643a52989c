"""The folder of a sweep: who may work in it, what is written there before anything runs, and finding it again.

outputs/sweeps/TIME/   .lock  multirun.yaml  manifest.parquet, then results/ and curves/ while it runs
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from omegaconf import DictConfig, OmegaConf

from linfit.errors import ConfigError, LinfitError
from linfit.scratch import note_leftover
from linfit.sweeps.workers import HERE, Workers
from linfit.system import is_windows, quote_words
from linfit.tracking import layout
from linfit.tracking.manifest import PlannedFits, about_of, write_manifest
from linfit.tracking.masking import masked
from linfit.writing import remove, whole

if TYPE_CHECKING:
    from filelock import BaseFileLock

RUN_KEY, SWEEP_KEY = "hydra.run.dir", "hydra.sweep.dir"
LOCK, SETTINGS = ".lock", "multirun.yaml"
#: What runs and sweeps leave in their folder, and would write over.
LEFT = (
    *(layout.MANIFEST, layout.RESULTS, layout.CURVES, SETTINGS),
    *(layout.CONFIG_FILE, layout.WEIGHTS_FILE, layout.ENVIRONMENT_FILE, layout.GIT_DIFF),
    *(layout.PICTURES, layout.REPORT, layout.TWINS),
    *(f"{layout.LEADERBOARD}.{ending}" for ending in ("csv", "parquet", "md")),
)
#: Where sweeps are looked for that nobody names.
SWEEPS = Path("outputs", "sweeps")


@dataclass(frozen=True)
class About:
    """What a sweep is besides its fits, as its manifest keeps it; `id` is its own, whatever its run's is."""

    id: str
    name: str
    varying: tuple[str, ...]
    workers: int
    start: int
    """Milliseconds since the epoch."""
    backend: str = HERE.backend
    address: str | None = HERE.address
    """Of the cluster that it was started on."""
    question: str = ""
    typed: str = ""
    """What the experiment's file asks, and the command that asks it."""

    @staticmethod
    def new(
        name: str,
        varying: Sequence[str],
        where: Workers,
        start: int,
        question: str = "",
        typed: str = "",
    ) -> About:
        return About(
            uuid4().hex,
            name,
            tuple(varying),
            where.count,
            start,
            where.backend,
            where.address,
            question,
            typed,
        )

    @staticmethod
    def read(folder: Path) -> About:
        """LinfitError if the folder has no manifest of a sweep, or one that says nothing of the sweep."""
        found: Any = about_of(folder / layout.MANIFEST)
        try:
            texts = {key: str(found.get(key, "")) for key in ("question", "typed")}
            return About(**{**found, **texts, "varying": tuple(found["varying"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise LinfitError(
                f"{folder / layout.MANIFEST} is not as linfit writes it: no sweep can go on from it"
            ) from error

    @property
    def where(self) -> Workers:
        """Where its fits ran when it began."""
        return Workers(self.workers, self.backend, self.address)


class TakenError(LinfitError):
    """Another process works in a sweep's folder."""


class Folder:
    """A sweep's folder while this process works in it, alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made = next(
            (folder for folder in [*reversed(path.parents), path] if not folder.exists()), None
        )
        if self._made is not None:  # Hydra's own sweepers have made it
            note_leftover(path, layout.MANIFEST)
            path.mkdir(parents=True, exist_ok=True)
        self._lock = claim(path)
        _remove_unfinished(path)

    def plan(self, fits: PlannedFits, about: About, settings: DictConfig) -> None:
        """Writes the settings and the manifest; ConfigError if another sweep's are there."""
        if (self.path / layout.MANIFEST).exists():  # of one that has begun just now
            self.release()
            require_unused(self.path, SWEEP_KEY)
        hidden = masked(OmegaConf.to_container(settings, resolve=False))
        try:
            with whole(self.path / SETTINGS) as file:
                file.write_text(OmegaConf.to_yaml(OmegaConf.create(hidden)), encoding="utf-8")
            write_manifest(
                self.path, fits, asdict(about)
            )  # last: where it is, all is there to go on with
        except BaseException:
            self.withdraw()
            raise

    def release(self) -> None:
        """Lets others work in it."""
        self._lock.release()

    def withdraw(self) -> None:
        """Takes back what `plan` has written, where nothing could begin."""
        for name in (layout.MANIFEST, SETTINGS):
            (self.path / name).unlink(missing_ok=True)
        self._withdraw_lock()
        for folder in (self.path, *self.path.parents) if self._made is not None else ():
            with suppress(OSError):  # it holds something else
                folder.rmdir()
            if folder == self._made:
                break

    def _withdraw_lock(self) -> None:
        """Remove the lock before it is free, since it may be another's afterwards; Windows removes no file that is open, here or there."""
        lock = self.path / LOCK
        if not is_windows():
            lock.unlink(missing_ok=True)
        self.release()
        if is_windows():
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def require_unused(folder: Path, key: str, *more: str) -> None:
    """Raise ConfigError where a run or a sweep has left something in the folder that `key` names."""
    found = next((name for name in (*LEFT, *more) if (folder / name).exists()), None)
    if found is None or (found == SETTINGS and _has_settings_alone(folder)):
        return
    if found == layout.MANIFEST:
        claim(folder).release()  # which says so where it runs
        raise ConfigError(
            f"{folder} holds another sweep: choose another {key}, or go on with it by {command(folder)}"
        )
    raise ConfigError(
        f"{folder} holds {found}, which would be written over: choose another {key}, or leave it out and have a new folder"
    )


def _has_settings_alone(folder: Path) -> bool:
    """Return True for what is left of a sweep that a power loss has stopped before its manifest was there."""
    return all(path.name == SETTINGS or path.name.startswith(".") for path in folder.iterdir())


def _remove_unfinished(folder: Path) -> None:
    """Remove what a sweep was writing in its folder, or removing, when the power was lost: the notes of it may be lost too."""
    parts, curves = Path(layout.RESULTS).stem, Path(layout.CURVES).stem
    for name in (*LEFT, parts, curves):
        for path in folder.glob(f".{name}.{'[a-z0-9_]' * 8}"):
            remove(path)
    if (
        all((folder / name).exists() for name in (layout.MANIFEST, layout.RESULTS))
        and not (folder / parts).exists()
    ):
        remove(folder / curves)


def require_no_links(folder: Path) -> None:
    """LinfitError where something in a sweep's folder is a link that leads out of it: what is written there would be written elsewhere."""
    inside = [*folder.glob("*"), *folder.glob(".*"), *folder.glob("*/*")]
    for place in inside:
        if place.is_symlink() and not place.resolve().is_relative_to(folder.resolve()):
            raise LinfitError(
                f"{place} is a link to somewhere else, which is not written to: put what it leads to in its place"
            )


def claim(path: Path) -> BaseFileLock:
    """The lock of a sweep's folder, held until it is released or this process ends; TakenError if another one holds it, LinfitError if none can be."""
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TakenError(
            f"the sweep in {path} is being run by another process: wait for it to end, or interrupt it"
        ) from error
    except OSError as error:
        raise LinfitError(f"no sweep can be run in {path}: {error.strerror or error}") from error
    return lock


def command(path: Path, trust: bool = False, more: Sequence[str] = ()) -> str:
    """What to type to go on with the sweep of a folder, with `more` words."""
    shown = (
        path.relative_to(Path.cwd())
        if path.is_absolute() and path.is_relative_to(Path.cwd())
        else path
    )
    return quote_words(["linfit", "resume", str(shown), *more, *(["--trust"] if trust else [])])
