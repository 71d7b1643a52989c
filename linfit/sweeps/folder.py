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
from linfit.sweeps.workers import HERE, Workers
from linfit.tracking import layout
from linfit.tracking.manifest import PlannedFits, about_of, write_manifest
from linfit.tracking.masking import masked
from linfit.tracking.tables import whole

if TYPE_CHECKING:
    from filelock import BaseFileLock

LOCK, SETTINGS = ".lock", "multirun.yaml"
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
    def new(name: str, varying: Sequence[str], where: Workers, start: int, question: str = "", typed: str = "") -> About:
        return About(uuid4().hex, name, tuple(varying), where.count, start, where.backend, where.address, question, typed)

    @staticmethod
    def read(folder: Path) -> About:
        """LinfitError if the folder has no manifest of a sweep, or one that says nothing of the sweep."""
        found: Any = about_of(folder / layout.MANIFEST)
        try:
            texts = {key: str(found.get(key, "")) for key in ("question", "typed")}
            return About(**{**found, **texts, "varying": tuple(found["varying"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise LinfitError(f"{folder / layout.MANIFEST} is not as linfit writes it: no sweep can go on from it") from error

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
        self._made = next((folder for folder in [*reversed(path.parents), path] if not folder.exists()), None)
        path.mkdir(parents=True, exist_ok=True)  # Hydra's own sweepers have made it
        self._lock = claim(path)

    def plan(self, fits: PlannedFits, about: About, settings: DictConfig) -> None:
        """Writes the settings and the manifest; ConfigError if another sweep's are there."""
        if (self.path / layout.MANIFEST).exists():
            self.release()
            raise ConfigError(f"{self.path} holds another sweep: choose another hydra.sweep.dir, or go on with it by {command(self.path)}")
        hidden = masked(OmegaConf.to_container(settings, resolve=False))
        try:
            with whole(self.path / SETTINGS) as file:
                file.write_text(OmegaConf.to_yaml(OmegaConf.create(hidden)), encoding="utf-8")
            write_manifest(self.path, fits, asdict(about))
        except BaseException:
            self.withdraw()
            raise

    def release(self) -> None:
        """Lets others work in it."""
        self._lock.release()

    def withdraw(self) -> None:
        """Takes back what `plan` has written, where nothing could begin."""
        for name in (layout.MANIFEST, SETTINGS, LOCK):
            (self.path / name).unlink(missing_ok=True)
        self.release()
        for folder in (self.path, *self.path.parents) if self._made is not None else ():
            with suppress(OSError):  # it holds something else
                folder.rmdir()
            if folder == self._made:
                break


def claim(path: Path) -> BaseFileLock:
    """The lock of a sweep's folder, held until it is released or this process ends; TakenError if another one holds it, LinfitError if none can be."""
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TakenError(f"the sweep in {path} is being run by another process: wait for it to end, or interrupt it") from error
    except OSError as error:
        raise LinfitError(f"no sweep can be run in {path}: {error.strerror or error}") from error
    return lock


def command(path: Path, trust: bool = False) -> str:
    """What to type to go on with the sweep of a folder."""
    shown = path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
    text = str(shown) if str(shown).isascii() and " " not in str(shown) else f"'{shown}'"
    return f"linfit resume {text}" + (" --trust" if trust else "")
