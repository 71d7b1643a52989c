"""Ask git about the working directory's repository: its HEAD, and uncommitted files of a run.

A repository's own config may name programs: monitors, filters, hooks, diff drivers, transports. git
runs them where it looks at the working tree, at the index or at a remote. So git is asked for
commits and their objects alone; files are compared here.
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
from itertools import product
from pathlib import Path

from linfit.system.host import find_program
from linfit.tracking.provenance import code_digest
from linfit.tracking.schema.mlflow_names import DIRTY
from linfit.tracking.secrets.masking import mask

#: Characters of the longest diff that is kept.
MAX_DIFF_CHARACTERS = 100_000
#: Bytes of a file that are compared.
MAX_FILE_BYTES = 2**26
#: Seconds that git has for an answer.
GIT_TIMEOUT = 5.0
#: Folders of the working directory, and beside linfit in a checkout, whose YAML files decide a run.
CONFIG_FOLDERS = ("conf", "experiments")
#: Options for git: none of these may start a program, whatever the repository's config says.
GIT_OPTIONS = (
    "--no-pager",
    "--no-replace-objects",
    "-c",
    "core.fsmonitor=false",
    "-c",
    f"core.hooksPath={os.devnull}",
)
#: git looks for the repository where it is told to, changes nothing, and fetches no missing object
#: from a remote.
GIT_VARIABLES = {
    "GIT_ALLOW_PROTOCOL": "",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
#: The tag of a run for each key of a repository's state.
GIT_TAGS = {
    "commit": "mlflow.source.git.commit",
    "branch": "mlflow.source.git.branch",
    "dirty": DIRTY,
}
_LINK = "120000"


@dataclass(frozen=True)
class ChangedFile:
    """A file that decides a run and differs from HEAD.

    A side that has no such file is None.
    """

    path: str
    blob: str | None
    content: bytes | None


def collect_git_tags(plugins: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the tags of commit, branch and uncommitted changes.

    Only changes of files on which a run depends count. Empty outside of a repository.
    """
    found = read_git_state(plugins)
    return {tag: found[key] for key, tag in GIT_TAGS.items() if key in found}


@cache
def read_git_state(plugins: tuple[str, ...] = ()) -> dict[str, str]:
    """Return `commit`, `branch`, `dirty` and `diff`.

    `diff` is the hash of what is uncommitted. Empty outside of a repository.
    """
    top = find_repository()
    if top is None:
        return {}
    answer = ask_git(top, "rev-parse", "HEAD", "--symbolic-full-name", "HEAD")
    if answer is None:  # no commit, or somebody else's repository
        return {}
    commit, _, name = answer.decode(errors="replace").strip().partition("\n")
    found = {"commit": commit, "branch": name.removeprefix("refs/heads/")}
    if name == "HEAD":
        found["branch"] = "(detached)"
    changes = find_changed_files(top, commit, plugins)
    if changes is None:  # nobody knows
        return found
    if not changes:
        return {**found, "dirty": "false"}
    hashed = hashlib.sha256()
    for change in changes:
        line = f"{change.path}\0{change.blob}\0{_blob_id(change.content, 64)}\n"
        hashed.update(line.encode(errors="surrogateescape"))
    return {**found, "dirty": "true", "diff": hashed.hexdigest()[:16]}


def read_git_diff(plugins: tuple[str, ...] = ()) -> str:
    """Return the uncommitted changes to files that decide a run.

    Only files that HEAD has are compared. Secrets are masked. Empty if the changes are longer than
    MAX_DIFF.
    """
    top = find_repository()
    found = read_git_state(plugins)
    if top is None or found.get("dirty") != "true":
        return ""
    text = ""
    for change in find_changed_files(top, found["commit"], plugins) or ():
        if change.blob is None:
            continue
        before = ask_git(top, "cat-file", "blob", change.blob)
        if before is None:
            continue
        if max(len(before), len(change.content or b"")) > MAX_DIFF_CHARACTERS:
            return ""
        text += _compare(change, before)
    return text if len(text) <= MAX_DIFF_CHARACTERS else ""


def find_repository() -> Path | None:
    """Return the folder of the working directory's repository, None without one."""
    here = Path.cwd().resolve()
    for folder in (here, *here.parents):
        if os.path.lexists(folder / ".git"):
            return folder
    return None


@cache
def find_changed_files(
    top: Path, commit: str, plugins: tuple[str, ...]
) -> list[ChangedFile] | None:
    """Return the files that decide a run and are uncommitted.

    They are not as the commit has them. None where git does not say what the commit has.
    """
    folders, files = _decisive(top, plugins)
    parents = {path.rpartition("/")[0] or path for path in files}  # a command line is short
    listed = _list_tree(top, commit, sorted({*folders, *parents}))
    if listed is None:
        return None
    committed = {
        path: entry for path, entry in listed.items() if path in files or path.endswith(".yaml")
    }
    present = {path for path in files if not _is_installed(top, path, listed)}
    for folder in folders:
        present.update(_walk(top, folder))
    changes = []
    for path in sorted(present | committed.keys()):
        change = _find_change(top, path, *committed.get(path, ("", None)))
        if change is not None:
            changes.append(change)
    return changes


def ask_git(top: Path, *arguments: str) -> bytes | None:
    """Return the answer of git in the repository at `top`.

    None where git fails, is absent, or refuses somebody else's repository.
    """
    program = find_program("git")
    if program is None:
        return None
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG_")
    }
    environment |= {**GIT_VARIABLES, "GIT_CEILING_DIRECTORIES": str(top.parent)}
    try:
        done = subprocess.run(
            [program, *GIT_OPTIONS, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=GIT_TIMEOUT,
            cwd=top,
            env=environment,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout


def _decisive(top: Path, plugins: tuple[str, ...]) -> tuple[list[str], set[str]]:
    """Return the folders of YAML files and the files of code that decide a run.

    Both within the repository; installed files are no part of it.
    """
    bases = dict.fromkeys((Path.cwd().resolve(), code_digest.LINFIT_FOLDER.parent))
    folders = [_relative(top, base / name) for base, name in product(bases, CONFIG_FOLDERS)]
    installed = Path(sys.prefix).resolve()
    files = {_relative(top, code_digest.LINFIT_FOLDER / "version.py")}
    for file in code_digest.list_decisive_files(plugins).values():
        if not file.is_relative_to(installed):
            files.add(_relative(top, file))
    return list(filter(None, folders)), set(filter(None, files))


def _list_tree(top: Path, commit: str, paths: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """Return mode and blob of each file below the paths in a commit; None without an answer."""
    if not paths:
        return {}
    command = ("--literal-pathspecs", "ls-tree", "-r", "-z", "--full-tree", commit, "--")
    tree = ask_git(top, *command, *paths)
    if tree is None:
        return None
    found = {}
    for entry in filter(None, tree.split(b"\0")):
        attributes, _, path = entry.partition(b"\t")
        mode, kind, blob = attributes.decode().split()
        if kind == "blob":
            found[os.fsdecode(path)] = (mode, blob)
    return found


def _relative(top: Path, path: Path) -> str | None:
    """Return a path as git names it, None if it is not in the repository.

    A path that is a link itself is not followed.
    """
    place = _resolve(path.parent) / path.name
    if place == top or not place.is_relative_to(top):
        return None
    return place.relative_to(top).as_posix()


@cache
def _resolve(folder: Path) -> Path:
    return folder.resolve()


def _is_installed(top: Path, path: str, listed: Collection[str]) -> bool:
    """Return True for a file of linfit where linfit is installed below the repository.

    It is then no part of the repository.
    """
    own = _relative(top, code_digest.LINFIT_FOLDER)
    return own is not None and path.startswith(f"{own}/") and f"{own}/version.py" not in listed


def _find_change(top: Path, path: str, mode: str, blob: str | None) -> ChangedFile | None:
    """Return the difference of a file from git's, None if there is none.

    Line endings do not count, because git may have converted them.
    """
    content = _read(top / path)
    if content is None and blob is None:
        return None
    if content is not None and blob is not None:
        is_same_kind = (top / path).is_symlink() == (mode == _LINK)
        unix = content.replace(b"\r\n", b"\n")
        if is_same_kind and blob in (_blob_id(content, len(blob)), _blob_id(unix, len(blob))):
            return None
    return ChangedFile(path, blob, content)


def _walk(top: Path, folder: str) -> Iterator[str]:
    """Yield the YAML files below a folder, through no link."""
    if (top / folder).is_symlink():
        return
    for place, _, names in os.walk(top / folder):
        for name in names:
            if name.endswith(".yaml"):
                yield (Path(place) / name).relative_to(top).as_posix()


def _read(file: Path) -> bytes | None:
    """Return the content of a file, or the target of a link; None if there is neither."""
    try:
        found = file.lstat()
        if stat.S_ISLNK(found.st_mode):
            return os.fsencode(file.readlink())
        if not stat.S_ISREG(found.st_mode):
            return None
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES)
    except OSError:
        return None


def _blob_id(content: bytes | None, length: int) -> str:
    """Return the id that git gives to a content, by SHA-1 or SHA-256; empty for None."""
    if content is None:
        return ""
    hashed = hashlib.sha256()
    if length == 40:
        hashed = hashlib.sha1(usedforsecurity=False)
    hashed.update(b"blob %d\0" % len(content) + content)
    return hashed.hexdigest()


def _compare(change: ChangedFile, before: bytes) -> str:
    """Return a change as a unified diff of the masked texts.

    Masked before they are compared: a part of a secret would not be recognized without its
    beginning.
    """
    name = f"b/{change.path}"
    if change.content is None:
        name = "/dev/null"
    text = ""
    for line in difflib.unified_diff(
        _masked_lines(before), _masked_lines(change.content or b""), f"a/{change.path}", name
    ):
        text += line
        if not line.endswith("\n"):
            text += "\n\\ No newline at end of file\n"
    return text


def _masked_lines(content: bytes) -> list[str]:
    text = content.decode(errors="replace").replace("\r\n", "\n")
    return mask(text).splitlines(keepends=True)


def forget_git_state() -> None:
    """Ask git again, in another working directory or after changes."""
    read_git_state.cache_clear()
    find_changed_files.cache_clear()
    _resolve.cache_clear()
