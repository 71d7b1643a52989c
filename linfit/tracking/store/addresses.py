"""Turn paths into addresses, and addresses into paths. No other module does either.

MLflow decodes `%XX` in the address of a folder, with or without `file:` before it. SQLAlchemy
decodes it in the name of a database, and reads the text after `?` as options.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from linfit.errors import RecordingError, shorten
from linfit.tracking.secrets.masking import mask

SQLITE_SCHEME = "sqlite"
#: MLflow makes a folder of the raw text behind `sqlite:///`, and none where a driver is named.
SQLITE_WITH_DRIVER = "sqlite+pysqlite"
#: Options that Python's driver takes, and a function that reads the value of each.
SQLITE_OPTIONS: dict[str, Callable[[str], object]] = {
    "timeout": float,
    "isolation_level": str,
    "detect_types": int,
    "check_same_thread": str,
    "cached_statements": int,
}
SQLITE_URI_HINT = "write sqlite:///path/to/mlflow.db"
#: Hosts whose `file:` addresses are folders of this machine.
_HERE = ("", "localhost")
#: Characters that mean something else in an address than in a path.
_SPECIAL = set("%#?;")


def is_sqlite(uri: str) -> bool:
    """Return True for a SQLite store's tracking URI.

    A driver may be named or not.
    """
    return urlsplit(uri).scheme in (SQLITE_SCHEME, SQLITE_WITH_DRIVER)


def parse_sqlite_uri(uri: str) -> tuple[Path, str]:
    """Return the file and the options of a SQLite store.

    RecordingError where the URI names no file, or a store that is kept in memory.
    """
    _, _, rest = uri.partition(":")
    name, _, options = rest.removeprefix("//").removeprefix("/").partition("?")
    name = unquote(name)
    named = dict(parse_qsl(options, keep_blank_values=True))
    in_memory = name in ("", ":memory:") or name.startswith("file::memory:")
    if in_memory or named.get("mode") == "memory":
        raise _refusal(uri, "keeps nothing, every run would be lost")
    if not rest.startswith("///") or name.startswith("file:") or "uri" in named:
        raise _refusal(uri, "does not name a file as MLflow does")
    for option, value in named.items():
        _require_option(uri, option, value)
    return Path(name), options


def format_sqlite_uri(file: Path, options: str = "") -> str:
    """Return the tracking URI of a SQLite store.

    MLflow, too, reads this very file from it.
    """
    path = file.as_posix()
    name = re.sub("[%?]", lambda sign: quote(sign[0]), path)
    scheme = SQLITE_SCHEME if name == path else SQLITE_WITH_DRIVER
    query = f"?{options}" if options else ""
    return f"{scheme}:///{name}{query}"


def format_connection_uri(file: Path, mode: str = "rw") -> str:
    """Return the URI by which sqlite3 opens an existing file.

    An absent file is not made.
    """
    return f"{_without_host(file.absolute().as_uri())}?mode={mode}"


def format_reading_uri(file: Path) -> str:
    """Return the URI by which sqlite3 reads a file without changing it.

    The file is opened for writing, so that what a killed process was writing is rolled back. Not if
    a log lies beside it: the last connection that may write moves the log into the file.
    """
    log = file.with_name(f"{file.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    return format_connection_uri(file, "ro" if has_log else "rw")


def find_folder(address: str) -> Path | None:
    """Return the local folder that MLflow means by an address.

    None for other addresses.
    """
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


def format_address(folder: Path) -> str:
    """Return the artifact address of a folder.

    That is its path where MLflow reads the path literally, otherwise a `file:` URL. MLflow takes
    the letter of a Windows drive for a scheme.
    """
    folder = folder.absolute()
    if folder.drive or _SPECIAL & set(str(folder)):
        return _without_host(folder.as_uri())
    return str(folder)


def resolve_address(place: str) -> str:
    """Return the address of a place that the user names.

    The user gives a URL or a literal path.
    """
    if is_path(place):
        return format_address(Path(place))
    folder = find_folder(place)
    return place if folder is None else format_address(folder)


def is_path(address: str) -> bool:
    """Return True for a path, False for a text with scheme.

    The path is absolute or relative.
    """
    return urlsplit(address).scheme == "" or Path(address).drive != ""


def join_address(address: str, segment: str) -> str:
    """Return the address of a part of a folder or bucket."""
    folder = find_folder(address)
    if folder is None:
        return f"{address.rstrip('/')}/{segment}"
    return format_address(folder / segment)


def is_below_address(address: str, place: str) -> bool:
    """Return True for an address below `place`.

    Both are on the same machine or in the same bucket.
    """
    try:
        asked = urlsplit(address)
        allowed = urlsplit(place)
    except ValueError:
        return False
    if asked._replace(path="") != allowed._replace(path=""):
        return False
    if not f"{asked.path}/".startswith(f"{allowed.path.rstrip('/')}/"):
        return False
    # segments by which a reader would leave the place
    return not {".", ".."} & set(re.split(r"[/\\]", unquote(asked.path)))


def _without_host(url: str) -> str:
    """Return a `file:` URL with its host, if it has one, as the beginning of the path.

    The URL of a folder on a Windows share has a host.
    """
    if url.startswith("file:///"):
        return url
    return url.replace("file://", "file:////", 1)


def _without_root(path: str) -> str:
    """Return the path of a `file:` URL without the extra slash before a Windows drive or share."""
    for bare in (path[1:], path):
        if Path(bare).drive:
            return bare
    return path


def _require_option(uri: str, option: str, value: str) -> None:
    try:
        SQLITE_OPTIONS[option](value)
    except KeyError:
        allowed = ", ".join(SQLITE_OPTIONS)
        raise _refusal(
            uri, f"has the option {shorten(repr(option))}, and SQLite stores take {allowed}"
        ) from None
    except ValueError:
        raise _refusal(uri, f"has no number for its option {option}") from None


def _refusal(uri: str, why: str) -> RecordingError:
    return RecordingError(f"tracking.uri {mask(uri)!r} {why}: {SQLITE_URI_HINT}")
