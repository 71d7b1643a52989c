"""A small model of a disk, and the states that a power loss may leave of it.

A file's content and its name are two things. `fsync` of a file keeps what was written into it;
`fsync` of a folder keeps the names that were made, changed or removed in it. Everything else may be
lost, kept, or kept in part.
"""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: What a disk writes in one piece.
SECTOR = 512
PAGE = 4096
#: What a file holds, by its path from the disk's root; None for a folder.
State = dict[str, bytes | None]


@dataclass(eq=False)
class Node:
    """A file or a folder.

    It holds what `fsync` has kept of it, and what was written since, as (offset, bytes) or a new
    size.
    """

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
        tree = self._tree(
            [change for change in self.changes if change.durable or id(change) in chosen]
        )
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
        self.changes.append(
            Change([(self._there(folder), name, node) for (folder, _, name), node in parts])
        )

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


def _nodes(
    root: Node, tree: Mapping[int, Mapping[str, Node]], above: str = ""
) -> Iterator[tuple[str, Node]]:
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
#: The power is lost with all that was not flushed, with data or names alone, in the middle of a
#: write, or with nothing.
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

    return Loss(
        f"random {seed}",
        lambda changes: [change for change in changes if draws.random() < 0.5],
        writes,
    )


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
