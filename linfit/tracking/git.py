"""The git repository of the working directory: where its HEAD stands, and what of the files that decide a run is uncommitted.

A repository's own config may name programs: monitors, filters, hooks, diff drivers, transports. git runs them where it looks at the
working tree, at the index or at a remote. So git is asked for commits and their objects alone; files are compared here.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from linfit.system import find_program
from linfit.tracking import code
from linfit.tracking.layout import DIRTY
from linfit.tracking.masking import mask

#: Characters of uncommitted changes, and bytes of a file, beyond which they are not kept; bytes of a file that are compared.
MAX_DIFF, MAX_FILE = 100_000, 2**26
#: Seconds that git has for an answer.
PATIENCE = 5.0
#: Folders of the working directory, and beside linfit in a checkout, whose YAML files decide a run.
CONFIGS = ("conf", "experiments")
#: Options for git: none of these may start a program, whatever the repository's config says.
OPTIONS = (
    "--no-pager",
    "--no-replace-objects",
    "-c",
    "core.fsmonitor=false",
    "-c",
    f"core.hooksPath={os.devnull}",
)
#: git looks for the repository where it is told to, changes nothing, and fetches no missing object from a remote.
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
#: The tag of a run for each key of a repository's state.
TAGS = {
    "commit": "mlflow.source.git.commit",
    "branch": "mlflow.source.git.branch",
    "dirty": DIRTY,
}
_LINK = "120000"


@dataclass(frozen=True)
class Change:
    """A file that decides a run and is not as HEAD has it: either side is None where there is no such file."""

    path: str
    blob: str | None
    content: bytes | None


def tags(plugins: tuple[str, ...] = ()) -> dict[str, str]:
    """Return commit, branch and whether anything that decides a run is uncommitted, as tags; none outside of a repository."""
    found = state(plugins)
    return {tag: found[key] for key, tag in TAGS.items() if key in found}


def state(plugins: tuple[str, ...] = ()) -> dict[str, str]:
    """Return `commit`, `branch`, `dirty`, and where something is uncommitted its hash as `diff`; empty outside of a repository."""
    return _state(plugins)


@cache
def _state(plugins: tuple[str, ...]) -> dict[str, str]:
    top = find_top()
    answer = (
        None if top is None else ask_git(top, "rev-parse", "HEAD", "--symbolic-full-name", "HEAD")
    )
    if top is None or answer is None:  # no repository, one without a commit, or somebody else's
        return {}
    commit, _, name = answer.decode(errors="replace").strip().partition("\n")
    branch = "(detached)" if name == "HEAD" else name.removeprefix("refs/heads/")
    found = {"commit": commit, "branch": branch}
    changes = find_changes(top, commit, plugins)
    if changes is None:  # nobody knows
        return found
    if not changes:
        return {**found, "dirty": "false"}
    told = hashlib.sha256()
    for change in changes:
        told.update(
            f"{change.path}\0{change.blob}\0{_blob_id(change.content, 64)}\n".encode(
                errors="surrogateescape"
            )
        )
    return {**found, "dirty": "true", "diff": told.hexdigest()[:16]}


def diff(plugins: tuple[str, ...] = ()) -> str:
    """Return what is uncommitted of files that HEAD has and that decide a run, with secrets masked; empty if it is more than is kept."""
    top, found = find_top(), state(plugins)
    if top is None or found.get("dirty") != "true":
        return ""
    changes = [
        change
        for change in find_changes(top, found["commit"], plugins) or ()
        if change.blob is not None
    ]
    before = [ask_git(top, "cat-file", "blob", str(change.blob)) for change in changes]
    known = [
        (change, content)
        for change, content in zip(changes, before, strict=True)
        if content is not None
    ]
    if any(max(len(content), len(change.content or b"")) > MAX_DIFF for change, content in known):
        return ""
    text = "".join(_compare(change, content) for change, content in known)
    return text if len(text) <= MAX_DIFF else ""


def find_top() -> Path | None:
    """Return the folder of the working directory's repository, None if there is none."""
    here = Path.cwd().resolve()
    return next(
        (folder for folder in (here, *here.parents) if os.path.lexists(folder / ".git")), None
    )


@cache
def find_changes(top: Path, commit: str, plugins: tuple[str, ...]) -> list[Change] | None:
    """Return which files that decide a run are not as the commit has them; None where git does not say what it has."""
    folders, files = _decisive(top, plugins)
    parents = {path.rpartition("/")[0] or path for path in files}  # a command line is short
    listed = _list_tree(top, commit, sorted({*folders, *parents}))
    if listed is None:
        return None
    committed = {
        path: entry for path, entry in listed.items() if path in files or path.endswith(".yaml")
    }
    yaml_files = {path for folder in folders for path in _walk(top, folder)}
    present = yaml_files | {path for path in files if not _is_installed(top, path, listed)}
    changes = (
        _find_change(top, path, *committed.get(path, ("", None)))
        for path in sorted(present | committed.keys())
    )
    return [change for change in changes if change is not None]


def ask_git(top: Path, *arguments: str) -> bytes | None:
    """Return what git answers in the repository at `top`; None where it fails, is not there, or refuses somebody else's repository."""
    program = find_program("git")
    if program is None:
        return None
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")
    }
    environment = {**kept, **ENVIRONMENT, "GIT_CEILING_DIRECTORIES": str(top.parent)}
    command = [program, *OPTIONS, *arguments]
    null = subprocess.DEVNULL
    try:
        done = subprocess.run(
            command,
            stdin=null,
            capture_output=True,
            check=True,
            timeout=PATIENCE,
            cwd=top,
            env=environment,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout


def _decisive(top: Path, plugins: tuple[str, ...]) -> tuple[list[str], set[str]]:
    """Return what decides a run within the repository: folders of YAML files, and files of code; what is installed is not part of it."""
    bases = dict.fromkeys((Path.cwd().resolve(), code.PACKAGE.parent))
    folders = [_relative(top, base / name) for base in bases for name in CONFIGS]
    installed = Path(sys.prefix).resolve()
    code_files = [
        file for file in code.decisive_files(plugins).values() if not file.is_relative_to(installed)
    ]
    files = {_relative(top, file) for file in code_files}
    files |= {_relative(top, code.PACKAGE / "version.py")}
    return [folder for folder in folders if folder is not None], {
        file for file in files if file is not None
    }


def _list_tree(top: Path, commit: str, paths: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """Return mode and blob of each file below the paths, as the commit has them; None where git says nothing."""
    if not paths:
        return {}
    tree = ask_git(
        top, "--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", commit, "--", *paths
    )
    if tree is None:
        return None
    found = {}
    for entry in filter(None, tree.split(b"\0")):
        attributes, _, path = entry.partition(b"\t")
        mode, kind, blob = attributes.decode().split()
        if kind == "blob":
            found[os.fsdecode(path)] = mode, blob
    return found


def _relative(top: Path, path: Path) -> str | None:
    """Return a path as git names it, None if it is not in the repository. A link that stands for the path is not followed."""
    place = _resolve(path.parent) / path.name
    return place.relative_to(top).as_posix() if place.is_relative_to(top) and place != top else None


@cache
def _resolve(folder: Path) -> Path:
    return folder.resolve()


def _is_installed(top: Path, path: str, listed: Collection[str]) -> bool:
    """Return True for a file of linfit's own where linfit is installed below the repository, and not part of it."""
    own = _relative(top, code.PACKAGE)
    return own is not None and path.startswith(f"{own}/") and f"{own}/version.py" not in listed


def _find_change(top: Path, path: str, mode: str, blob: str | None) -> Change | None:
    """Return how a file is not as git has it, None if it is; line endings do not count, which git may have converted."""
    content = _read(top / path)
    same_kind = (top / path).is_symlink() == (mode == _LINK)
    if content is None or blob is None:
        return None if content is None and blob is None else Change(path, blob, content)
    ids = (_blob_id(content, len(blob)), _blob_id(content.replace(b"\r\n", b"\n"), len(blob)))
    return None if same_kind and blob in ids else Change(path, blob, content)


def _walk(top: Path, folder: str) -> Iterator[str]:
    """Yield the YAML files below a folder, through no link."""
    if (top / folder).is_symlink():
        return
    for place, _, names in os.walk(top / folder):
        yield from (
            (Path(place) / name).relative_to(top).as_posix()
            for name in names
            if name.endswith(".yaml")
        )


def _read(file: Path) -> bytes | None:
    """Return the content of a file, or where a link leads; None if there is neither."""
    try:
        found = file.lstat()
        if stat.S_ISLNK(found.st_mode):
            return os.fsencode(file.readlink())
        if not stat.S_ISREG(found.st_mode):
            return None
        with file.open("rb") as opened:
            return opened.read(MAX_FILE)
    except OSError:
        return None


def _blob_id(content: bytes | None, length: int) -> str:
    """Return the id that git gives to a content, by SHA-1 or SHA-256; empty for None."""
    if content is None:
        return ""
    found = hashlib.sha1(usedforsecurity=False) if length == 40 else hashlib.sha256()
    found.update(b"blob %d\0" % len(content) + content)
    return found.hexdigest()


def _compare(change: Change, before: bytes) -> str:
    """Return a change as a unified diff of what is masked on both sides: no part of a secret stands without its beginning."""
    old, new = (_lines(content) for content in (before, change.content or b""))
    name = "/dev/null" if change.content is None else f"b/{change.path}"
    lines = difflib.unified_diff(old, new, f"a/{change.path}", name)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(content: bytes) -> list[str]:
    text = content.decode(errors="replace").replace("\r\n", "\n")
    return mask(text).splitlines(keepends=True)


def forget() -> None:
    """Ask git again: the working directory is another one, or its files have changed."""
    _state.cache_clear()
    find_changes.cache_clear()
    _resolve.cache_clear()
