"""What this process knows of data files, so that it need not read them again.

It is known of a version of a file: one that has changed is read anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from linfit.problem.datasets.file_digest import FileVersion
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.problem import Problem
from linfit.problem.types import Array

#: Bytes of numbers that are kept at most.
KEPT_BYTES = 2**24


@dataclass(frozen=True)
class FileContent:
    """What a dataset has in one version of its file."""

    num_rows: int
    largest: float
    """Largest absolute value of the numbers."""
    has_text: bool
    """True if columns are text."""
    blocks: tuple[Problem, ...]
    """All rows; none if they are too large to be kept."""


_CONTENTS: dict[tuple[Dataset, FileVersion], FileContent] = {}


def find_content(dataset: Dataset, version: FileVersion | None) -> FileContent | None:
    """Return what is known of the data in a version of their file, if anything."""
    return None if version is None else _CONTENTS.get((dataset, version))


def keep_while_read(
    dataset: Dataset, find_version: Callable[[], FileVersion | None], blocks: Iterable[Problem]
) -> Iterator[Problem]:
    """Yield the blocks of a file; once all are read, keep what is known of its version."""
    version = find_version()
    room = 0 if version is None else KEPT_BYTES
    num_rows = 0
    largest = 0.0
    has_text = False
    kept = []
    for block in blocks:
        num_rows += len(block.X)
        largest = max(largest, *map(_find_largest, _arrays_of(block)))
        has_text = bool(block.levels)
        room -= _measure(block)
        if room >= 0:
            kept.append(block)
            for array in _arrays_of(block):
                array.flags.writeable = False
        else:
            kept.clear()
        yield block

    if version is not None and version == find_version():
        _keep((dataset, version), FileContent(num_rows, largest, has_text, tuple(kept)))


def _keep(key: tuple[Dataset, FileVersion], content: FileContent) -> None:
    """Keep what was read; blocks of what was read earlier make room for it."""
    _CONTENTS.pop(key, None)
    _CONTENTS[key] = content
    room = KEPT_BYTES
    for other, known in reversed(list(_CONTENTS.items())):
        room -= sum(map(_measure, known.blocks))
        if room < 0:
            _CONTENTS[other] = replace(known, blocks=())


def _arrays_of(block: Problem) -> list[Array]:
    return [array for array in (block.X, block.y, block.weights) if array is not None]


def _find_largest(array: Array) -> float:
    return float(max(array.max(), -array.min()))


def _measure(block: Problem) -> int:
    return sum(array.nbytes for array in _arrays_of(block))
