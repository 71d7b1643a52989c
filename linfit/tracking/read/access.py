"""Decide what linfit may read or write where a store or a stored config names the place.

Whoever hands over a store chose the addresses in it: an address is no permission. Permission comes
from this machine's user: by the working directory, a command line, a run's own config, or the
environment.

    a run's artifacts are read     require_known_place, require_own_folder, own_file
    a stored config reads data     Permits.admit
    a run's artifacts are written  require_named_place
    a manifest names a store       require_named_store
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from linfit.config import FitConfig
from linfit.errors import ConfigError, LinfitError, RecordingError, escape_unprintable, shorten
from linfit.problem.datasets.arrays import Arrays
from linfit.problem.datasets.tabular_file import SHIPPED_FOLDER, SHIPPED_PREFIX, TabularFile
from linfit.settings import MLflowTracking, Tracking
from linfit.system.host import quote_word, quote_words
from linfit.tracking.read.config import LoadPlugins, require_same_numbers
from linfit.tracking.secrets.masking import mask
from linfit.tracking.store.addresses import (
    find_folder,
    is_below_address,
    is_sqlite,
    parse_sqlite_uri,
)
from linfit.tracking.store.store import ARTIFACTS_FOLDER, Store, default_artifacts

#: Storage whose address names a bucket, not a machine.
BUCKET_SCHEMES = ("s3", "gs")
#: Storage of Azure, whose address names a machine of Azure's.
AZURE_SCHEMES = ("wasbs", "abfss")
_ACCOUNT = re.compile(
    r"[^@]+@[\w-]+(\.privatelink)?\.(blob|dfs)\.core"
    r"\.(windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)"
)
#: Schemes that the tracking server itself serves.
SERVER_SCHEMES = ("mlflow-artifacts", "http", "https")
#: Folders of artifacts beside a database: linfit's own, and those that MLflow makes by itself.
ARTIFACT_FOLDERS = (ARTIFACTS_FOLDER, "mlruns", "mlartifacts")
#: Names of this machine, from which nothing leaves it.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
DATA_HINT = "give its folder with --data"
#: Texts that need no quotes on a command line, neither for the shell nor for Hydra.
_PLAIN = re.compile(r"[\w./:@+-]+", re.ASCII)
#: A text that is a reference to the environment, whole.
_REFERENCE = re.compile(r"\$\{oc\.env:\w+\}")

FindKeptFile = Callable[[str], Path]
"""Returns the path of a file that a run has kept, by the file's name."""


# ---- artifacts that are read ----


def require_known_place(store: Store, artifact_uri: str) -> None:
    """Raise LinfitError unless artifacts are in a known place.

    Known are buckets and the user's own tracking server. No other machine is spoken to.
    """
    if not _is_known(store, artifact_uri):
        raise LinfitError(
            f"artifacts at {shorten(mask(artifact_uri))!r} are not fetched: "
            f"only from the tracking server, from {', '.join(BUCKET_SCHEMES + AZURE_SCHEMES)}"
        )


def _is_known(store: Store, artifact_uri: str) -> bool:
    try:
        address = urlsplit(artifact_uri)
        server = urlsplit(store.uri)
    except ValueError:
        return False
    if address.scheme in BUCKET_SCHEMES:
        return True
    if address.scheme in AZURE_SCHEMES and _ACCOUNT.fullmatch(address.netloc):
        return True
    return (
        store.is_server
        and address.scheme in SERVER_SCHEMES
        and address.netloc in ("", server.netloc)
    )


def require_own_folder(folder: Path, allowed: Iterable[Path]) -> None:
    """Raise LinfitError unless a run's folder is below an allowed one."""
    if not _is_below(folder, allowed):
        raise LinfitError(
            f"artifacts in {shorten(str(folder))!r} are not opened: "
            "only below those of their experiment, or beside the database file"
        )


def contained_file(folder: Path, name: str, most: int | None = None) -> Path:
    """Return a file of a folder.

    LinfitError where it is a link that leads out of the folder, or has over `most` bytes.
    """
    file = folder / name
    if not _is_below(file, [folder]):
        raise LinfitError(f"{file} is a link to somewhere else, which is not followed")
    if file.exists():
        require_size(file, file.stat().st_size, most)
    return file


def require_size(file: Path | str, size: int, most: int | None) -> None:
    """Raise LinfitError where a file has over `most` bytes."""
    if most is not None and size > most:
        raise LinfitError(f"{file} is larger than it can be: {size:,} bytes, {most:,} at most")


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    real = path.resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


# ---- data that a stored config reads ----


@dataclass(frozen=True)
class ReadPolicy:
    """What the user allows a stored config to load and read.

    Plug-ins are loaded through `load`, data files are read below `data`.
    """

    load: LoadPlugins | None = None
    data: Path | None = None

    def authorize(self, config: FitConfig, fingerprint: object, kept: FindKeptFile) -> FitConfig:
        """Return a stored config with its data on this machine.

        ConfigError where its data may not be read, or the config no longer gives the numbers of
        `fingerprint`.
        """
        config = locate_data(config, self.data)
        load_arrays(config, kept)
        require_same_numbers(config, fingerprint)
        return config


def locate_data(config: FitConfig, data: Path | None = None) -> FitConfig:
    """Return a stored config with its data file below `data`.

    The file is looked up by path or by name. ConfigError where the config may not read its data.
    """
    dataset = config.dataset
    if (
        data is not None
        and isinstance(dataset, TabularFile)
        and not dataset.path.startswith(SHIPPED_PREFIX)
    ):
        candidates = (data / dataset.path, data / Path(dataset.path).name)
        found = next(filter(Path.is_file, candidates), None)
        if found is not None:
            dataset = dataset.model_copy(update={"path": str(found)})
            config = config.model_copy(update={"dataset": dataset})
    require_own_data(config, data)
    return config


def require_own_data(config: FitConfig, data: Path | None = None) -> None:
    """Raise ConfigError where a stored config reads a forbidden file.

    It may read what linfit ships, and files below the working directory and below `data`.
    """
    allowed = [SHIPPED_FOLDER, Path.cwd()]
    if data is not None:
        allowed.append(data)
    try:
        refused = [
            file for file in config.dataset.list_files() if not _is_below(Path(file), allowed)
        ]
    except (ValueError, OSError, RuntimeError) as error:  # no path, or links in a circle
        raise ConfigError(f"its data cannot be found: {shorten(str(error))}") from error
    if refused:
        raise ConfigError(
            f"its data file {refused[0]!r} is not below the working directory: "
            f"change to the folder that it was run in, or {DATA_HINT}"
        )


def load_arrays(config: FitConfig, kept: FindKeptFile) -> None:
    """Read the arrays that a run kept into this process.

    They are from Python, and the run has kept their numbers in a file. ConfigError where they are
    not the numbers that the config names.
    """
    dataset = config.dataset
    if isinstance(dataset, Arrays) and not dataset.is_loaded():
        try:
            dataset.read_file(kept(dataset.file_name))
        except (ValueError, LinfitError) as error:
            raise ConfigError(str(error)) from error


# ---- artifacts that are written ----


def require_named_place(store: Store, location: str, whose: str) -> None:
    """Raise RecordingError unless this run may write artifacts at `location`.

    It may write beside the database file and below `tracking.artifacts`. A tracking server names
    its own places.
    """
    if store.names_places or _is_named(store, location):
        return
    shown = shorten(escape_unprintable(mask(location)))
    raise RecordingError(
        f"{whose} keeps its artifacts in {shown!r}, where nothing is written unless it is named: "
        f"{_advice(location)}"
    )


def _is_named(store: Store, location: str) -> bool:
    # MLflow's parser drops spaces at the ends and unprintable characters: it would see another
    # place
    if location != location.strip() or not location.isprintable():
        return False
    named = store.artifacts
    if named == default_artifacts(store):
        named = None
    folder = find_folder(location)
    if folder is None:
        return named is not None and is_below_address(location, named)
    allowed = list(_own_folders(store))
    if named is not None and (chosen := find_folder(named)) is not None:
        allowed.append(_resolved(chosen))
    # resolving the path of a Windows share opens a connection to its host
    if folder.is_absolute() and folder.drive not in {place.drive for place in allowed}:
        return False
    try:
        real = folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return any(map(real.is_relative_to, allowed))


def _own_folders(store: Store) -> Iterator[Path]:
    """Yield the folders of artifacts beside a database file.

    For another database, yield the one that MLflow makes in its working directory.
    """
    if store.file is None:
        yield Path.cwd() / "mlruns"
        return
    for home in {store.file.parent.resolve(), store.file.resolve().parent}:
        # not resolved: a folder that is a link leads out of `home`
        for name in ARTIFACT_FOLDERS:
            yield home / name


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return folder.absolute()


def _advice(location: str) -> str:
    other = "choose another experiment with name=…, or another store with --uri"
    is_typable = location == location.strip() and location.isprintable() and "'" not in location
    if not is_typable or mask(location) != location:
        return other
    folder = find_folder(location)
    place = location
    if folder is not None and not folder.drive:
        place = str(_resolved(folder))
    value = place if _PLAIN.fullmatch(place) else f"'{place}'"
    for_run = quote_word(f"tracking.artifacts={value}")
    named = f"{for_run} to `linfit run`, or --artifacts {quote_word(place)} to others"
    return f"if it is yours, add {named}; else {other}"


# ---- stores that a manifest names ----


def require_named_store(recorded: MLflowTracking, resolved: MLflowTracking) -> None:
    """Raise ConfigError where a manifest names a store elsewhere.

    Likewise for a place of artifacts elsewhere. Not elsewhere are the working directory, servers of
    this machine, and the environment's store. `recorded` is the manifest's config, `resolved` has
    its references to the environment replaced.
    """
    for option, value in _unnamed(recorded, resolved).items():
        what = "a store" if option == "--uri" else "a place for artifacts"
        raise ConfigError(
            f"the sweep's manifest names {what}, {shorten(mask(value))!r}, "
            "that is not below the working directory: "
            f"if it is yours, add {quote_words([option, mask(value)])}"
        )


def list_store_options(tracking: Tracking) -> list[str]:
    """Return `linfit resume`'s options for where a sweep is recorded.

    Empty where the sweep's manifest is enough.
    """
    options = []
    if isinstance(tracking, MLflowTracking):
        for option, value in _unnamed(tracking, tracking).items():
            options += [option, mask(value)]
    return options


def _unnamed(recorded: MLflowTracking, resolved: MLflowTracking) -> dict[str, str]:
    found = {}
    uri = resolved.uri
    if uri and not _REFERENCE.fullmatch(recorded.uri or "") and not _is_own_store(uri):
        found["--uri"] = uri
    place = resolved.artifacts
    by_reference = _REFERENCE.fullmatch(recorded.artifacts or "")
    if place and not by_reference and not is_below_cwd(find_folder(place)):
        found["--artifacts"] = place
    return found


def _is_own_store(uri: str) -> bool:
    """Return True for the environment's store, a server of this machine, or a file below here."""
    if uri == os.environ.get("MLFLOW_TRACKING_URI") or _is_loopback_server(uri):
        return True
    return is_sqlite(uri) and is_below_cwd(parse_sqlite_uri(uri)[0])


def _is_loopback_server(uri: str) -> bool:
    try:
        address = urlsplit(uri)
    except ValueError:
        return False
    return address.scheme in ("http", "https") and address.hostname in LOOPBACK_NAMES


def is_below_cwd(place: Path | None) -> bool:
    """Return True for a path below the working directory."""
    return place is not None and _resolved(place).is_relative_to(Path.cwd().resolve())
