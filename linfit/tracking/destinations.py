"""Where a run may be recorded, and its artifacts written: where its own config or the environment says.

A store, and the manifest of a sweep, hold addresses too, which whoever hands them over chooses: those are no permission.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from linfit.errors import ConfigError, RecordingError, brief, printable
from linfit.settings import MLflowTracking, Tracking
from linfit.system import quote_word, quote_words
from linfit.tracking.addresses import folder_of, is_below_address, is_sqlite, parse_sqlite_uri
from linfit.tracking.masking import mask
from linfit.tracking.store import ARTIFACTS, Store, default_artifacts

#: Folders of artifacts beside a database: linfit's own, and those that MLflow makes by itself.
OWN_FOLDERS = (ARTIFACTS, "mlruns", "mlartifacts")
#: Names of this machine, from which nothing leaves it.
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
#: What needs no quotes on a command line, neither for the shell nor for Hydra.
_PLAIN = re.compile(r"[\w./:@+-]+", re.ASCII)
#: A text that is a reference to the environment, whole.
_REFERENCE = re.compile(r"\$\{oc\.env:\w+\}")


def require_named_place(store: Store, location: str, whose: str) -> None:
    """RecordingError unless artifacts that are written to `location` stay where this run was told to write.

    That is beside the database file, or below `tracking.artifacts`. What a store records is no permission: whoever handed
    it over chose that. A tracking server names its own places.
    """
    if store.names_places or _is_named(store, location):
        return
    shown = brief(printable(mask(location)))
    raise RecordingError(
        f"{whose} keeps its artifacts in {shown!r}, where nothing is written unless it is named: {_advice(location)}"
    )


def _is_named(store: Store, location: str) -> bool:
    if location != location.strip() or not location.isprintable():
        return False  # MLflow's parser leaves such signs out
    named = store.artifacts if store.artifacts != default_artifacts(store) else None
    folder = folder_of(location)
    if folder is None:
        return named is not None and is_below_address(location, named)
    chosen = folder_of(named) if named is not None else None
    allowed = [*_own_folders(store), *([_resolved(chosen)] if chosen is not None else [])]
    if folder.is_absolute() and folder.drive not in {place.drive for place in allowed}:
        return False  # to resolve a Windows share is to speak to its host
    try:
        real = folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return False
    return any(real.is_relative_to(place) for place in allowed)


def _own_folders(store: Store) -> Iterator[Path]:
    """Yield the folders beside a database file; of another database the one that MLflow makes where it is started."""
    if store.file is None:
        yield Path.cwd() / "mlruns"
        return
    for home in {store.file.parent.resolve(), store.file.resolve().parent}:
        yield from (
            home / name for name in OWN_FOLDERS
        )  # not resolved: what is a link there leads out of them


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError, ValueError):
        return folder.absolute()


def _advice(location: str) -> str:
    other = "choose another experiment with name=…, or another store with --uri"
    if (
        location != location.strip()
        or not location.isprintable()
        or mask(location) != location
        or "'" in location
    ):
        return other
    folder = folder_of(location)
    place = location if folder is None or folder.drive else str(_resolved(folder))
    value = place if _PLAIN.fullmatch(place) else f"'{place}'"
    named = f"{quote_word(f'tracking.artifacts={value}')} to `linfit run`, or --artifacts {quote_word(place)} to others"
    return f"if it is yours, add {named}; else {other}"


# ---- what a manifest names ----


def require_named_store(recorded: MLflowTracking, resolved: MLflowTracking) -> None:
    """ConfigError where a manifest names a store, or a place for artifacts, that is neither of this folder, this machine nor the environment.

    `recorded` is as the manifest has it, `resolved` without references.
    """
    unnamed = _unnamed(recorded, resolved)
    for option, value in unnamed.items():
        what = "a store" if option == "--uri" else "a place for artifacts"
        raise ConfigError(
            f"the sweep's manifest names {what}, {brief(mask(value))!r}, that is not below the working directory:"
            f" if it is yours, add {quote_words([option, mask(value)])}"
        )


def options_for(tracking: Tracking) -> list[str]:
    """Return the words with which `linfit resume` is told where a sweep is recorded; none where its manifest is enough."""
    if not isinstance(tracking, MLflowTracking):
        return []
    return [
        word
        for option, value in _unnamed(tracking, tracking).items()
        for word in (option, mask(value))
    ]


def _unnamed(recorded: MLflowTracking, resolved: MLflowTracking) -> dict[str, str]:
    found = {}
    if resolved.uri and not (
        _REFERENCE.fullmatch(recorded.uri or "") or _is_own_store(resolved.uri)
    ):
        found["--uri"] = resolved.uri
    if resolved.artifacts and not (
        _REFERENCE.fullmatch(recorded.artifacts or "") or is_here(folder_of(resolved.artifacts))
    ):
        found["--artifacts"] = resolved.artifacts
    return found


def _is_own_store(uri: str) -> bool:
    """Return True for the environment's store, a server of this very machine, and a file below the working directory."""
    if uri == os.environ.get("MLFLOW_TRACKING_URI") or _is_loopback_server(uri):
        return True
    return is_sqlite(uri) and is_here(parse_sqlite_uri(uri)[0])


def _is_loopback_server(uri: str) -> bool:
    try:
        address = urlsplit(uri)
    except ValueError:
        return False
    return address.scheme in ("http", "https") and address.hostname in LOOPBACK_NAMES


def is_here(place: Path | None) -> bool:
    """Return True for what lies below the working directory."""
    return place is not None and _resolved(place).is_relative_to(Path.cwd().resolve())
