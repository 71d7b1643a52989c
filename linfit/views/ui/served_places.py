"""Decide which artifacts `linfit ui` serves.

A store names a folder for each of its runs, and whoever wrote the store chose them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linfit.tracking.store.addresses import (
    find_folder,
    format_address,
    is_below_address,
    resolve_address,
)
from linfit.tracking.store.store import Store


@dataclass(frozen=True)
class ServedPlaces:
    """Folders of this machine, with links resolved, and addresses elsewhere, that are served."""

    folders: tuple[str, ...]
    addresses: tuple[str, ...] = ()

    def resolve(self, address: str) -> str | None:
        """Return the address of artifacts with all links followed.

        None if it is not served.
        """
        folder = find_folder(address)
        if folder is None:
            served = any(is_below_address(address, place) for place in self.addresses)
            return address if served else None
        real = os.path.realpath(folder)
        return format_address(Path(real)) if self._has(real) else None

    def leads_out(self, path: str) -> bool:
        """Return True for a served path that a link leads out of its folder."""
        named = os.path.normpath(Path.cwd() / path)
        return self._has(named) and not self._has(os.path.realpath(path))

    def _has(self, path: str) -> bool:
        return any(Path(path).is_relative_to(folder) for folder in self.folders)


def _is_within(folder: Path, parent: Path) -> bool:
    """Return True if a folder is below another one after all links are followed."""
    return folder.resolve().is_relative_to(parent.resolve())


def find_places(store: Store, named: Iterable[str] = ()) -> ServedPlaces:
    """Return the places that the user names, and the store's own folder of artifacts.

    The store's own folder is left out if it is a link to elsewhere.
    """
    folders = []
    remote = []
    for address in map(resolve_address, named):
        folder = find_folder(address)
        if folder is None:
            remote.append(address)
        else:
            folders.append(folder)

    own = find_folder(store.artifacts) if store.artifacts else None
    if own is not None and store.file is not None and _is_within(own, store.file.parent):
        folders.append(own)
    return ServedPlaces(tuple(map(os.path.realpath, folders)), tuple(remote))
