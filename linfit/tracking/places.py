"""Where a run's artifacts may be fetched from. The address stands in the store, which whoever writes to it may choose."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from linfit.errors import LinfitError, brief
from linfit.tracking.masking import mask
from linfit.tracking.store import Store

#: Storage whose address names a bucket, not a machine.
BUCKETS = ("s3", "gs")
#: Azure's names a machine, whose end says that it is Azure's.
AZURE = ("wasbs", "abfss")
_ACCOUNT = re.compile(
    r"[^@]+@[\w-]+(\.privatelink)?\.(blob|dfs)\.core\.(windows\.net|chinacloudapi\.cn|usgovcloudapi\.net)"
)
#: What the tracking server itself hands out.
SERVED = ("mlflow-artifacts", "http", "https")


def require_known_place(store: Store, artifact_uri: str) -> None:
    """LinfitError unless it is a bucket, or the tracking server that the user named: no other machine is spoken to."""
    try:
        address, server = urlsplit(artifact_uri), urlsplit(store.uri)
        own = store.is_server and address.scheme in SERVED and address.netloc in ("", server.netloc)
    except ValueError:
        own = False
    else:
        own = (
            own
            or address.scheme in BUCKETS
            or (address.scheme in AZURE and bool(_ACCOUNT.fullmatch(address.netloc)))
        )
    if not own:
        raise LinfitError(
            f"artifacts at {brief(mask(artifact_uri))!r} are not fetched: only from the tracking server, from {', '.join(BUCKETS + AZURE)}"
        )


def require_own_folder(folder: Path, allowed: Iterable[Path]) -> None:
    """LinfitError unless a run's folder lies below one that is allowed."""
    if not any(folder.resolve().is_relative_to(place.resolve()) for place in allowed):
        raise LinfitError(
            f"artifacts in {brief(str(folder))!r} are not opened: only below those of their experiment, or beside the database file"
        )


def own_file(folder: Path, name: str, most: int | None = None) -> Path:
    """A file of a folder; LinfitError where it is a link that leads out of it, or has over `most` bytes."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise LinfitError(f"{file} is a link to somewhere else, which is not followed")
    require_size(file, file.stat().st_size if file.exists() else 0, most)
    return file


def require_size(file: Path | str, size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise LinfitError(f"{file} is larger than it can be: {size:,} bytes, {most:,} at most")
