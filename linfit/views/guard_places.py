"""Decide which artifacts `linfit ui` serves: a store names a folder for each of its runs, and whoever wrote it chose them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linfit.tracking.addresses import absolute_address, address_of, folder_of, is_below_address
from linfit.tracking.store import Store


@dataclass(frozen=True)
class Places:
    """Folders of this machine, without links in their paths, and addresses elsewhere: what lies below them is served."""

    folders: tuple[str, ...]
    addresses: tuple[str, ...] = ()

    def find(self, address: str) -> str | None:
        """Return the address of artifacts with all links followed; None where it is not below a place."""
        folder = folder_of(address)
        if folder is None:
            return (
                address
                if any(is_below_address(address, place) for place in self.addresses)
                else None
            )
        real = os.path.realpath(folder)
        return address_of(Path(real)) if self._has(real) else None

    def leads_out(self, path: str) -> bool:
        """True for a path below a place that a link leads out of it."""
        return self._has(os.path.normpath(Path.cwd() / path)) and not self._has(
            os.path.realpath(path)
        )

    def _has(self, path: str) -> bool:
        return any(Path(path).is_relative_to(folder) for folder in self.folders)


def find_places(store: Store, named: Iterable[str] = ()) -> Places:
    """Return the store's own folder of artifacts, unless it is a link to elsewhere, with the places that the user names."""
    own = folder_of(store.artifacts) if store.artifacts else None
    addresses = [absolute_address(place) for place in named]
    folders = [folder for folder in map(folder_of, addresses) if folder is not None]
    if (
        own is not None
        and store.file is not None
        and own.resolve().is_relative_to(store.file.parent.resolve())
    ):
        folders.append(own)
    remote = tuple(address for address in addresses if folder_of(address) is None)
    return Places(tuple(os.path.realpath(folder) for folder in folders), remote)
