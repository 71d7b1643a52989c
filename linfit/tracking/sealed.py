"""The tables of a sweep, each of which is what its run has the hash of: the one way in which they are read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.errors import LinfitError
from linfit.tracking import layout
from linfit.tracking.tables import file_hash

if TYPE_CHECKING:  # reading from a store imports MLflow
    from linfit.tracking.reading import Reader, Record


def unchanged(reader: Reader, record: Record, name: str) -> Path:
    """Return a table of a sweep; LinfitError where its hash is not the one that the sweep's run has, if it has one."""
    file = reader.file(record, name)
    require_hash(file, record)
    return file


def require_hash(file: Path, record: Record) -> None:
    """LinfitError where a sweep's run has the hash of a table of that name, and the file has another."""
    known = hashes_of(record).get(file.name)
    if known is not None and file_hash(file) != known:
        raise LinfitError(
            f"{file} was changed after it was written: its hash is not the one in tag {layout.FILES} of run {record.run_id}"
        )


def hashes_of(record: Record) -> Mapping[str, str]:
    """Return the hashes of a sweep's tables by their names, none of one that has not kept them."""
    try:
        found = json.loads(record.tags.get(layout.FILES, "{}"))
    except (ValueError, RecursionError) as error:
        raise LinfitError(
            f"tag {layout.FILES} of run {record.run_id} cannot be read: {error}"
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise LinfitError(
            f"tag {layout.FILES} of run {record.run_id} cannot be read: it has no hashes by name"
        )
    return found
