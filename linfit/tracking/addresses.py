"""Turn paths into addresses, and addresses into paths. No other module does either.

MLflow decodes `%XX` in the address of a folder, with or without `file:` before it. SQLAlchemy decodes it in the name of
a database, and reads what follows `?` as options.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from linfit.errors import RecordingError, brief
from linfit.tracking.masking import mask

SQLITE = "sqlite"
#: MLflow makes a folder of the raw text behind `sqlite:///`, and of nothing behind the same with a driver.
SQLITE_WITH_DRIVER = "sqlite+pysqlite"
#: Options that Python's driver takes, and what reads the value of each.
OPTIONS: dict[str, Callable[[str], object]] = {
    "timeout": float,
    "isolation_level": str,
    "detect_types": int,
    "check_same_thread": str,
    "cached_statements": int,
}
WRITE_A_FILE = "write sqlite:///path/to/mlflow.db"
#: Hosts whose `file:` addresses are folders of this machine.
_HERE = ("", "localhost")
#: Signs that mean something else in an address than in a path.
_SPECIAL = set("%#?;")


def is_sqlite(uri: str) -> bool:
    """True for the tracking URI of a SQLite store, with or without a driver."""
    return urlsplit(uri).scheme in (SQLITE, SQLITE_WITH_DRIVER)


def parse_sqlite_uri(uri: str) -> tuple[Path, str]:
    """Return the file and the options of a SQLite store; RecordingError where it keeps nothing, or is no such URI."""
    _, _, rest = uri.partition(":")
    name, _, options = rest.removeprefix("//").removeprefix("/").partition("?")
    name = unquote(name)
    named = dict(parse_qsl(options, keep_blank_values=True))
    if (
        name in ("", ":memory:")
        or name.startswith("file::memory:")
        or named.get("mode") == "memory"
    ):
        raise _refusal(uri, "keeps nothing, every run would be lost")
    if not rest.startswith("///") or name.startswith("file:") or "uri" in named:
        raise _refusal(uri, "does not name a file as MLflow does")
    for option, value in named.items():
        _require_option(uri, option, value)
    return Path(name), options


def sqlite_uri(file: Path, options: str = "") -> str:
    """Return the tracking URI of a SQLite store, from which MLflow, too, reads this very file."""
    path = file.as_posix()
    name = re.sub("[%?]", lambda sign: quote(sign[0]), path)
    scheme = SQLITE if name == path else SQLITE_WITH_DRIVER
    return f"{scheme}:///{name}" + (f"?{options}" if options else "")


def connection_uri(file: Path, mode: str = "rw") -> str:
    """Return what sqlite3 opens, with `uri=True`, without making an absent file."""
    return f"{_without_host(file.absolute().as_uri())}?mode={mode}"


def reading_uri(file: Path) -> str:
    """Return what sqlite3 opens to read a file without changing it.

    It is opened for writing, so that what a killed process was writing is rolled back, unless a log lies beside it: the last
    connection that may write moves that into the file.
    """
    log = file.with_name(f"{file.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    return connection_uri(file, "ro" if has_log else "rw")


def folder_of(address: str) -> Path | None:
    """Return the folder of this machine that MLflow means by an artifact address; None for an address elsewhere."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    if is_path(address):
        folder = unquote(address)
    elif parts.scheme == "file" and parts.netloc in _HERE:
        folder = _without_root(unquote(parts.path))
    else:
        return None
    return None if "\0" in folder else Path(folder)


def address_of(folder: Path) -> str:
    """Return the artifact address of a folder: its path where MLflow reads that as it stands, otherwise a `file:` URL.

    MLflow takes the letter of a Windows drive for a scheme.
    """
    folder = folder.absolute()
    return (
        _without_host(folder.as_uri())
        if folder.drive or _SPECIAL & set(str(folder))
        else str(folder)
    )


def absolute_address(place: str) -> str:
    """Return the address of a place for artifacts that the user names by a path, which is taken literally, or by a URL."""
    if is_path(place):
        return address_of(Path(place))
    folder = folder_of(place)
    return place if folder is None else address_of(folder)


def is_path(address: str) -> bool:
    """Return True for a path, absolute or relative, and False for what begins with a scheme."""
    return urlsplit(address).scheme == "" or Path(address).drive != ""


def join_address(address: str, segment: str) -> str:
    """Return the address of a folder's, or a bucket's, part."""
    folder = folder_of(address)
    return f"{address.rstrip('/')}/{segment}" if folder is None else address_of(folder / segment)


def is_below_address(address: str, place: str) -> bool:
    """Return True for an address of the same machine or bucket whose path is that of `place`, or below it."""
    try:
        asked, allowed = urlsplit(address), urlsplit(place)
    except ValueError:
        return False
    same = (asked.scheme, asked.netloc, asked.query, asked.fragment) == (
        allowed.scheme,
        allowed.netloc,
        allowed.query,
        allowed.fragment,
    )
    below = f"{asked.path}/".startswith(f"{allowed.path.rstrip('/')}/")
    segments = re.split(
        r"[/\\]", unquote(asked.path)
    )  # those by which a reader would leave the place
    return same and below and not {".", ".."} & set(segments)


def _without_host(url: str) -> str:
    """Return a `file:` URL whose path begins with the host, if it has one, as that of a folder on a Windows share does."""
    return url if url.startswith("file:///") else url.replace("file://", "file:////", 1)


def _without_root(path: str) -> str:
    """Return the path of a `file:` URL without the slash that stands before a Windows drive, or doubled before a share."""
    for bare in (path[1:], path):
        if Path(bare).drive:
            return bare
    return path


def _require_option(uri: str, option: str, value: str) -> None:
    try:
        OPTIONS[option](value)
    except KeyError:
        allowed = ", ".join(OPTIONS)
        raise _refusal(
            uri, f"has the option {brief(repr(option))}, and SQLite stores take {allowed}"
        ) from None
    except ValueError:
        raise _refusal(uri, f"has no number for its option {option}") from None


def _refusal(uri: str, why: str) -> RecordingError:
    return RecordingError(f"tracking.uri {mask(uri)!r} {why}: {WRITE_A_FILE}")
