"""The system calls of a run, as strace tells them, and what they do to the model of a disk."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.disk import Disk, Node

CALLS = (
    *(
        "open",
        "openat",
        "creat",
        "lseek",
        "write",
        "writev",
        "pwrite64",
        "pwritev",
        "ftruncate",
        "truncate",
        "fallocate",
    ),
    *(
        "sendfile",
        "copy_file_range",
        "fsync",
        "fdatasync",
        "sync",
        "syncfs",
        "sync_file_range",
        "msync",
    ),
    *(
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "unlink",
        "unlinkat",
        "mkdir",
        "mkdirat",
        "rmdir",
    ),
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


@dataclass(frozen=True)
class Call:
    """A call that succeeded."""

    name: str
    arguments: list[str]
    result: int
    opened: str = ""
    """The path that the returned descriptor stands for."""


_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)(?:<((?:\\x[0-9a-f]{2})+))?")
_UNFINISHED, _RESUMED = (
    re.compile(r"(\d+) +(.*?) *<unfinished \.\.\.>$"),
    re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)$"),
)
_HEX = re.compile(r"\\x([0-9a-f]{2})")


def strace(log: Path) -> list[str]:
    """Return what to put before a command, so that its calls are logged with all their data."""
    return [
        "strace",
        "-f",
        "-qq",
        "-xx",
        "-yy",
        "-s",
        "100000000",
        "-o",
        str(log),
        "-e",
        f"trace={','.join(CALLS)}",
    ]


def may_trace() -> bool:
    """Return True where strace is there, and the system lets it work."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(
            ["strace", "-o", "/dev/null", "true"], capture_output=True, check=False
        ).returncode
        == 0
    )


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
    """Applies to a `Disk` the calls that a run has made below `root`.

    `said` is what the run has printed by now.
    """

    def __init__(self, root: Path, disk: Disk) -> None:
        self.root, self.disk = str(root), disk
        self.open: dict[tuple[str, int], tuple[Node, list[int]]] = {}
        self.said = b""

    def apply(self, call: Call) -> bool:
        """Return True where the call was one on the disk."""
        if call.name in UNKNOWN:
            assert all(self._file(word) is None for word in call.arguments), (
                f"the model does not know {call.name}"
            )
            return False
        return bool(getattr(self, f"_{call.name.removesuffix('at2').removesuffix('at')}")(call))

    def _below(self, path: str) -> str | None:
        """Return a path from the root; None where it leads elsewhere. Relative ones begin there."""
        whole = path if path.startswith("/") else f"{self.root}/{path}"
        return (
            whole.removeprefix(self.root).strip("/")
            if whole.startswith(f"{self.root}/") or whole == self.root
            else None
        )

    def _paths(self, call: Call) -> list[str | None]:
        """Return the paths among the arguments, each from the folder before it."""
        found, folder = [], ""
        for word in call.arguments:
            if word.startswith('"'):
                given = _text(word.strip('"'))
                found.append(
                    self._below(
                        given if given.startswith("/") or not folder else f"{folder}/{given}"
                    )
                )
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
        self.open[str(call.result), id(node)] = (
            node,
            [len(node.content()) if "O_APPEND" in flags else 0],
        )
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
        self.disk.write(
            file[0], int(call.arguments[3]), _bytes(call.arguments[1].strip('"'))[: call.result]
        )
        return True

    def _sendfile(self, call: Call) -> bool:
        begin = re.search(r"\[(\d+)\]", call.arguments[2])
        return self._copy(call, call.arguments[0], call.arguments[1], int(begin[1]) if begin else 0)

    def _copy(self, call: Call, target: str, source: str, begin: int) -> bool:
        if (file := self._file(target)) is None or not call.result:
            return False
        given = self._file(source)
        content = (
            given[0].content()
            if given is not None
            else Path(_text(_path(source) or "")).read_bytes()
        )
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
    """Return the path of a descriptor, as strace shows it: 5<PATH>, in hexadecimal.

    Return None for a pipe.
    """
    found = re.match(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})+)", word)
    return found[1] if found else None
