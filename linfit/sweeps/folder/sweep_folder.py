"""The folder of a sweep: its lock, its plan, and how to find it again.

outputs/sweeps/TIME/   .lock  multirun.yaml  manifest.parquet, and while it runs results/  curves/
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
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec
from linfit.system.atomic_files import find_existing_folder, remove_path, write_atomically
from linfit.system.host import is_windows, quote_words
from linfit.system.scratch import note_leftover
from linfit.tracking.schema import mlflow_names
from linfit.tracking.secrets.masking import mask_data
from linfit.tracking.tables.manifest import PlannedFits, read_sweep_info, write_manifest

if TYPE_CHECKING:
    from filelock import BaseFileLock

RUN_FOLDER_KEY = "hydra.run.dir"
SWEEP_FOLDER_KEY = "hydra.sweep.dir"
LOCK_FILE = ".lock"
SETTINGS_FILE = "multirun.yaml"
#: Files that runs and sweeps leave in their folder. Another run would write over them.
OUTPUT_NAMES = (
    mlflow_names.MANIFEST,
    mlflow_names.RESULTS,
    mlflow_names.CURVES,
    SETTINGS_FILE,
    mlflow_names.CONFIG_FILE,
    mlflow_names.WEIGHTS_FILE,
    mlflow_names.ENVIRONMENT_FILE,
    mlflow_names.GIT_DIFF,
    mlflow_names.PICTURES,
    mlflow_names.REPORT,
    mlflow_names.TWINS,
    *(f"{mlflow_names.LEADERBOARD}.{ending}" for ending in ("csv", "parquet", "md")),
)
#: Where sweeps are looked for if none is named.
SWEEPS_FOLDER = Path("outputs", "sweeps")


@dataclass(frozen=True)
class SweepInfo:
    """A sweep without its fits, as its manifest keeps it."""

    id: str
    """The sweep's own, whatever the id of its run."""
    name: str
    varying: tuple[str, ...]
    workers: int
    start: int
    """Milliseconds since the epoch."""
    backend: str = IN_PROCESS.backend
    address: str | None = IN_PROCESS.address
    """The cluster's on which it was started."""
    question: str = ""
    """The question that the experiment's file asks."""
    typed: str = ""
    """The command that asks it."""

    @staticmethod
    def create(
        name: str,
        varying: Sequence[str],
        where: ExecutorSpec,
        start: int,
        question: str = "",
        typed: str = "",
    ) -> SweepInfo:
        """Return a new sweep that runs on `where`."""
        return SweepInfo(
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
    def read_manifest(folder: Path) -> SweepInfo:
        """Read a sweep from the manifest in its folder.

        Raise LinfitError if there is no manifest, or if it tells of no sweep.
        """
        file = folder / mlflow_names.MANIFEST
        found: Any = read_sweep_info(file)
        try:
            texts = {key: str(found.get(key, "")) for key in ("question", "typed")}
            return SweepInfo(**{**found, **texts, "varying": tuple(found["varying"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise LinfitError(
                f"{file} is not as linfit writes it: no sweep can go on from it"
            ) from error

    @property
    def executor(self) -> ExecutorSpec:
        """Where its fits ran when it started."""
        return ExecutorSpec(self.workers, self.backend, self.address)


class FolderInUseError(LinfitError):
    """Another process works in a sweep's folder."""


class SweepFolder:
    """A sweep's folder, in which this process alone works."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it does not exist, and lock it."""
        self.path = path
        self._existing = find_existing_folder(path)
        if self._existing != path:  # else a sweeper of Hydra's own has made it
            note_leftover(path, mlflow_names.MANIFEST)
            path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(path)
        _remove_unfinished(path)

    def write_plan(self, fits: PlannedFits, about: SweepInfo, settings: DictConfig) -> None:
        """Write settings and manifest; ConfigError if another sweep's are there."""
        if (self.path / mlflow_names.MANIFEST).exists():  # another sweep has started just now
            self.release_lock()
            require_unused(self.path, SWEEP_FOLDER_KEY)
        hidden = mask_data(OmegaConf.to_container(settings, resolve=False))
        try:
            with write_atomically(self.path / SETTINGS_FILE) as file:
                file.write_text(OmegaConf.to_yaml(OmegaConf.create(hidden)), encoding="utf-8")
            # Last: a folder with a manifest has all that `linfit resume` needs.
            write_manifest(self.path, fits, asdict(about))
        except BaseException:
            self.withdraw_plan()
            raise

    def release_lock(self) -> None:
        """Let other processes work in the folder."""
        self._lock.release()

    def withdraw_plan(self) -> None:
        """Remove what `write_plan` wrote, with the folders made for it."""
        for name in (mlflow_names.MANIFEST, SETTINGS_FILE):
            (self.path / name).unlink(missing_ok=True)
        self._remove_lock()
        for folder in (self.path, *self.path.parents):
            if folder == self._existing:
                break
            with suppress(OSError):  # it holds something else
                folder.rmdir()

    def _remove_lock(self) -> None:
        """Remove the lock's file before the lock is free: afterwards it may be another's.

        Windows removes no open file, neither this process's nor another's.
        """
        lock = self.path / LOCK_FILE
        if not is_windows():
            lock.unlink(missing_ok=True)
        self.release_lock()
        if is_windows():
            with suppress(OSError):
                lock.unlink(missing_ok=True)


def require_unused(folder: Path, key: str, *more: str) -> None:
    """Raise ConfigError if a run or sweep has used the folder.

    `key` is the setting that names the folder; `more` are further names to look for.
    """
    found = next((name for name in (*OUTPUT_NAMES, *more) if (folder / name).exists()), None)
    if found is None or (found == SETTINGS_FILE and _has_settings_alone(folder)):
        return
    if found == mlflow_names.MANIFEST:
        lock_folder(folder).release()  # raises TakenError if that sweep is running
        raise ConfigError(
            f"{folder} holds another sweep: choose another {key}, or go on with it by "
            f"{quote_resume_command(folder)}"
        )
    raise ConfigError(
        f"{folder} holds {found}, which would be written over: choose another {key}, "
        "or leave it out and have a new folder"
    )


def _has_settings_alone(folder: Path) -> bool:
    """Return True for a sweep that a power loss has stopped before it had a manifest."""
    return all(path.name == SETTINGS_FILE or path.name.startswith(".") for path in folder.iterdir())


def _remove_unfinished(folder: Path) -> None:
    """Remove the files that a sweep was writing, or removing, when the power was lost.

    The list of leftovers may be lost too.
    """
    parts = Path(mlflow_names.RESULTS).stem
    curves = Path(mlflow_names.CURVES).stem
    for name in (*OUTPUT_NAMES, parts, curves):
        for path in folder.glob(f".{name}.{'[a-z0-9_]' * 8}"):
            remove_path(path)
    is_finished = (folder / mlflow_names.MANIFEST).exists() and (
        folder / mlflow_names.RESULTS
    ).exists()
    if is_finished and not (folder / parts).exists():
        remove_path(folder / curves)


def require_no_links(folder: Path) -> None:
    """Raise LinfitError if a link leads out of the folder.

    The folder is a sweep's. Files that are written there would be written elsewhere.
    """
    inside = [*folder.glob("*"), *folder.glob(".*"), *folder.glob("*/*")]
    for place in inside:
        if place.is_symlink() and not place.resolve().is_relative_to(folder.resolve()):
            raise LinfitError(
                f"{place} is a link to somewhere else, which is not written to: "
                "put what it leads to in its place"
            )


def lock_folder(path: Path) -> BaseFileLock:
    """Lock a sweep's folder.

    The lock lasts until it is released or this process ends.

    Raise TakenError if another process holds the lock, LinfitError if no lock can be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise FolderInUseError(
            f"the sweep in {path} is being run by another process: wait for it to end, "
            "or interrupt it"
        ) from error
    except OSError as error:
        raise LinfitError(f"no sweep can be run in {path}: {error.strerror or error}") from error
    return lock


def quote_resume_command(path: Path, trust: bool = False, more: Sequence[str] = ()) -> str:
    """Return the command that resumes a folder's sweep, with `more` words."""
    here = Path.cwd()
    if path.is_absolute() and path.is_relative_to(here):
        path = path.relative_to(here)
    words = ["linfit", "resume", str(path), *more]
    if trust:
        words.append("--trust")
    return quote_words(words)
