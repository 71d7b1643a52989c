"""A small model of a disk: from the system calls of a run, the states that a power loss may leave.

What a file holds and what it is called are two things. `fsync` of a file keeps what was written into it; `fsync` of a folder keeps the
names that were made, changed or removed in it. Whatever else there is may be lost, kept, or kept in part.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: What a disk writes in one piece.
SECTOR = 512
PAGE = 4096
CALLS = (
    *("open", "openat", "creat", "lseek", "write", "writev", "pwrite64", "pwritev", "ftruncate", "truncate", "fallocate"),
    *("sendfile", "copy_file_range", "fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
)
#: Calls that the model does not know, and which must not be made on its files.
UNKNOWN = {
    "creat",
    "copy_file_range",
    "writev",
    "pwritev",
    "fallocate",
    "truncate",
    "sync",
    "syncfs",
    "sync_file_range",
    "msync",
    "symlink",
    "symlinkat",
}
#: What a file holds, by its path from the disk's root; None for a folder.
State = dict[str, bytes | None]


# ---- the model ----


@dataclass(eq=False)
class Node:
    """A file or a folder: what `fsync` has kept of it, and what was written since, as (offset, bytes) or a new size."""

    is_folder: bool = False
    kept: bytes = b""
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)

    def content(self, chosen: Sequence[tuple[int, bytes] | int] | None = None) -> bytes:
        """Return what is in it when these of its pending writes have reached the disk, or all."""
        if not (self.pending if chosen is None else chosen):
            return self.kept
        found = bytearray(self.kept)
        for write in self.pending if chosen is None else chosen:
            if isinstance(write, int):
                found[:] = found[:write].ljust(write, b"\0")
                continue
            offset, data = write
            found.extend(bytes(max(0, offset - len(found))))
            found[offset : offset + len(data)] = data
        return bytes(found)


@dataclass(eq=False)
class Change:
    """Names that change in one step: (folder, name, what it names from now on, or None)."""

    names: list[tuple[Node, str, Node | None]]
    durable: bool = False


@dataclass(frozen=True)
class Loss:
    """What a power loss does: which of some names and of the pending writes of a file are kept."""

    name: str
    names: Callable[[list[Change]], list[Change]]
    writes: Callable[[list[tuple[int, bytes] | int]], list[tuple[int, bytes] | int]]


class Disk:
    """A tree of folders and files below a root, which is there for good.

    `ordered`: one journal for all names, as ext4 has, which `fsync` of any file writes out.
    """

    def __init__(self, ordered: bool = False) -> None:
        self.root, self.ordered = Node(is_folder=True), ordered
        self.changes: list[Change] = []

    def find(self, path: str) -> Node | None:
        """Return what a path names now."""
        return _walk(self.root, self._tree(self.changes), path)

    def make(self, path: str, is_folder: bool = False) -> Node:
        node = Node(is_folder)
        self._change((path, node))
        return node

    def write(self, node: Node, offset: int, data: bytes) -> None:
        node.pending.append((offset, data))

    def resize(self, node: Node, size: int) -> None:
        node.pending.append(size)

    def remove(self, path: str) -> None:
        self._change((path, None))

    def link(self, old: str, new: str) -> None:
        self._change((new, self._there(old)))

    def rename(self, old: str, new: str) -> None:
        self._change((old, None), (new, self._there(old)))

    def sync(self, node: Node) -> None:
        """Keep what is in a file, or the names in a folder."""
        if node.pending:
            node.kept, node.pending = node.content(), []
        for change in self.changes:
            if self.ordered or any(folder is node for folder, _, _ in change.names):
                change.durable = True

    def state(self, loss: Loss) -> State:
        """Return what is found when the power comes back."""
        left = [change for change in self.changes if not change.durable]
        chosen = set(map(id, loss.names(left)))
        tree = self._tree([change for change in self.changes if change.durable or id(change) in chosen])
        contents: dict[int, bytes] = {}
        found: State = {}
        for path, node in _nodes(self.root, tree):
            if node.is_folder:
                found[path] = None
            elif id(node) not in contents:
                contents[id(node)] = node.content(loss.writes(node.pending))
            if not node.is_folder:
                found[path] = contents[id(node)]
        return found

    def _there(self, path: str) -> Node:
        node = self.find(path)
        assert node is not None, path
        return node

    def _change(self, *names: tuple[str, Node | None]) -> None:
        parts = [(path.rpartition("/"), node) for path, node in names]
        self.changes.append(Change([(self._there(folder), name, node) for (folder, _, name), node in parts]))

    def _tree(self, changes: Sequence[Change]) -> dict[int, dict[str, Node]]:
        """Return the names in each folder."""
        tree: dict[int, dict[str, Node]] = {}
        for change in changes:
            for folder, name, node in change.names:
                there = tree.setdefault(id(folder), {})
                if node is None:
                    there.pop(name, None)
                else:
                    there[name] = node
        return tree


def _walk(root: Node, tree: Mapping[int, Mapping[str, Node]], path: str) -> Node | None:
    node: Node | None = root
    for name in filter(None, path.split("/")):
        node = None if node is None else tree.get(id(node), {}).get(name)
    return node


def _nodes(root: Node, tree: Mapping[int, Mapping[str, Node]], above: str = "") -> Iterator[tuple[str, Node]]:
    for name, node in sorted(tree.get(id(root), {}).items()):
        yield f"{above}{name}", node
        yield from _nodes(node, tree, f"{above}{name}/")


def _none(items: list) -> list:  # type: ignore[type-arg]
    return []


def _all(items: list) -> list:  # type: ignore[type-arg]
    return items


def _torn(writes: list[tuple[int, bytes] | int]) -> list[tuple[int, bytes] | int]:
    """All of it, but the end of the last write."""
    if not writes or isinstance(writes[-1], int):
        return writes[:-1]
    offset, data = writes[-1]
    return [*writes[:-1], (offset, data[: len(data) // 2 // SECTOR * SECTOR or len(data) // 2])]


#: The power is lost in the middle of a write.
TORN = Loss("a write is torn", _all, _torn)
#: The power is lost with all that was not flushed, with data or names alone, in the middle of a write, or with nothing.
LOSSES = (
    Loss("all is lost", _none, _none),
    Loss("names are kept", _all, _none),
    Loss("data are kept", _none, _all),
    TORN,
    Loss("nothing is lost", _all, _all),
)


def random_loss(seed: int) -> Loss:
    """Names and pages of which each is kept or not."""
    draws = random.Random(seed)

    def writes(pending: list[tuple[int, bytes] | int]) -> list[tuple[int, bytes] | int]:
        return [write for piece in pending for write in _pages(piece) if draws.random() < 0.5]

    return Loss(f"random {seed}", lambda changes: [change for change in changes if draws.random() < 0.5], writes)


def prefix_loss(seed: int) -> Loss:
    """Names, and the writes of each file, in their order up to some point."""
    draws = random.Random(seed)

    def prefix(items: list) -> list:  # type: ignore[type-arg]
        return items[: draws.randint(0, len(items))]

    return Loss(f"prefix {seed}", prefix, lambda pending: _torn(prefix(pending)))


def _pages(write: tuple[int, bytes] | int) -> Iterator[tuple[int, bytes] | int]:
    if isinstance(write, int):
        yield write
        return
    offset, data = write
    first = PAGE - offset % PAGE
    bounds = [0, *range(first, len(data), PAGE), len(data)]
    for start, end in itertools.pairwise(bounds):
        yield offset + start, data[start:end]


def restore(state: State, folder: Path) -> None:
    """Have in a folder what a state says, and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, content in state.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


# ---- the system calls ----


@dataclass(frozen=True)
class Call:
    """A call that succeeded."""

    name: str
    arguments: list[str]
    result: int
    opened: str = ""
    """The path that the returned descriptor stands for."""


_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<((?:\\x[0-9a-f]{2})+))?")
_UNFINISHED, _RESUMED = re.compile(r"(\d+) +(.*?) *<unfinished \.\.\.>$"), re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$")
_HEX = re.compile(r"\\x([0-9a-f]{2})")


def strace(log: Path) -> list[str]:
    """Return what to put before a command, so that its calls are logged with all their data."""
    return ["strace", "-f", "-qq", "-xx", "-yy", "-s", "100000000", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]


def may_trace() -> bool:
    """Return True where strace is there, and the system lets it work."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode == 0


def read_calls(lines: Iterator[str]) -> Iterator[Call]:
    """Yield the calls that succeeded, in the order in which they ended."""
    begun: dict[str, str] = {}
    for line in lines:
        text = line.rstrip("\n")
        if waiting := _UNFINISHED.match(text):
            begun[waiting[1]] = waiting[2]
            continue
        if resumed := _RESUMED.match(text):
            text = f"{resumed[1]} {begun.pop(resumed[1])}{resumed[2]}"
        if found := _CALL.match(text):
            yield Call(found[2], found[3].split(", "), int(found[4]), _text(found[5] or ""))


def _text(escaped: str) -> str:
    return _bytes(escaped).decode()


def _bytes(escaped: str) -> bytes:
    if _HEX.match(escaped):
        return bytes.fromhex(escaped.replace("\\x", ""))
    return escaped.encode()


class Replay:
    """Does to a `Disk` what the calls of a run have done below `root`; `said` is what the run has printed by now."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self.root, self.disk = str(root), disk
        self.open: dict[tuple[str, int], tuple[Node, list[int]]] = {}
        self.said = b""

    def apply(self, call: Call) -> bool:
        """Return True where the call was one on the disk."""
        if call.name in UNKNOWN:
            assert all(self._file(word) is None for word in call.arguments), f"the model does not know {call.name}"
            return False
        return bool(getattr(self, f"_{call.name.removesuffix('at2').removesuffix('at')}")(call))

    def _below(self, path: str) -> str | None:
        """Return a path from the root; None where it leads elsewhere. Relative ones begin there."""
        whole = path if path.startswith("/") else f"{self.root}/{path}"
        return whole.removeprefix(self.root).strip("/") if whole.startswith(f"{self.root}/") or whole == self.root else None

    def _paths(self, call: Call) -> list[str | None]:
        """Return the paths among the arguments, each from the folder before it."""
        found, folder = [], ""
        for word in call.arguments:
            if word.startswith('"'):
                given = _text(word.strip('"'))
                found.append(self._below(given if given.startswith("/") or not folder else f"{folder}/{given}"))
            elif (there := _path(word)) is not None:
                folder = _text(there)
        return found

    def _file(self, word: str) -> tuple[Node, list[int]] | None:
        """Return what a descriptor stands for, and the place in it that is written next."""
        path = _path(word)
        below = None if path is None or word.endswith("(deleted)") else self._below(_text(path))
        node = None if below is None else self.disk.find(below)
        return None if node is None else self.open.get((word.split("<")[0], id(node)), (node, [0]))

    def _open(self, call: Call) -> bool:
        flags = next((word for word in call.arguments if word.startswith("O_")), "")
        path = self._below(call.opened)
        if path is None or "O_TMPFILE" in flags:
            return False
        node = self.disk.find(path)
        made = node is None and "O_CREAT" in flags
        if made:
            node = self.disk.make(path)
        if node is None:
            return False
        cut = "O_TRUNC" in flags and bool(node.content())
        if cut:
            self.disk.resize(node, 0)
        self.open[str(call.result), id(node)] = node, [len(node.content()) if "O_APPEND" in flags else 0]
        return made or cut

    def _lseek(self, call: Call) -> bool:
        if (file := self._file(call.arguments[0])) is not None:
            file[1][0] = call.result
        return False

    def _write(self, call: Call) -> bool:
        data = _bytes(call.arguments[1].strip('"'))[: call.result]
        if (file := self._file(call.arguments[0])) is None:
            if call.arguments[0].split("<")[0] in ("1", "2"):
                self.said += data
                return True
            return False
        node, place = file
        self.disk.write(node, place[0], data)
        place[0] += call.result
        return True

    def _pwrite64(self, call: Call) -> bool:
        if (file := self._file(call.arguments[0])) is None:
            return False
        self.disk.write(file[0], int(call.arguments[3]), _bytes(call.arguments[1].strip('"'))[: call.result])
        return True

    def _sendfile(self, call: Call) -> bool:
        begin = re.search(r"\[(\d+)\]", call.arguments[2])
        return self._copy(call, call.arguments[0], call.arguments[1], int(begin[1]) if begin else 0)

    def _copy(self, call: Call, target: str, source: str, begin: int) -> bool:
        if (file := self._file(target)) is None or not call.result:
            return False
        given = self._file(source)
        content = given[0].content() if given is not None else Path(_text(_path(source) or "")).read_bytes()
        node, place = file
        self.disk.write(node, place[0], content[begin : begin + call.result])
        place[0] += call.result
        return True

    def _ftruncate(self, call: Call) -> bool:
        if (file := self._file(call.arguments[0])) is None:
            return False
        self.disk.resize(file[0], int(call.arguments[1]))
        return True

    def _fsync(self, call: Call) -> bool:
        if (file := self._file(call.arguments[0])) is None:
            return False
        self.disk.sync(file[0])
        return True

    _fdatasync = _fsync

    def _mkdir(self, call: Call) -> bool:
        return self._named(call, lambda path: self.disk.make(path, is_folder=True))

    def _unlink(self, call: Call) -> bool:
        return self._named(call, self.disk.remove)

    _rmdir = _unlink

    def _named(self, call: Call, act: Callable[[str], object]) -> bool:
        [path] = self._paths(call)
        if path is None:
            return False
        act(path)
        return True

    def _rename(self, call: Call) -> bool:
        return self._two(call, self.disk.rename)

    def _link(self, call: Call) -> bool:
        return self._two(call, self.disk.link)

    def _two(self, call: Call, act: Callable[[str, str], None]) -> bool:
        old, new = self._paths(call)
        if old is None and new is None:
            return False
        assert old is not None and new is not None, f"{call} leads over the edge of the disk"
        act(old, new)
        return True


def _path(word: str) -> str | None:
    """Return the path of a descriptor, as strace shows it: 5<PATH>, in hexadecimal; None of a pipe."""
    found = re.match(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})+)", word)
    return found[1] if found else None
