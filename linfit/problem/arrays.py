"""Data that are in memory already: arrays and frames from Python, and the sets that scikit-learn ships."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import numpy as np
from pydantic import Field, PrivateAttr

from linfit.lines import Lines, Scope
from linfit.problem.cells import LEFT_OUT, Constants, repeated
from linfit.problem.datasets import Dataset
from linfit.problem.files import Columns, Table
from linfit.problem.frames import columns_of, numbers_of
from linfit.problem.npy import read_array
from linfit.problem.problem import Problem
from linfit.problem.types import Array, limit
from linfit.writing import whole

#: The files in which runs keep the numbers of arrays.
ARRAYS = "arrays-*.npy"


class Held:
    """The columns of some arrays `[n, m]`. Equal to nothing but itself, so that configs compare by the digest."""

    def __init__(self, table: Array) -> None:
        self.table = table


#: What is held anywhere in this process, by its digest.
_HELD: WeakValueDictionary[str, Held] = WeakValueDictionary()


class Arrays(Dataset):
    """Arrays or a frame of Python's, made by `linfit.arrays`; `digest` is the SHA-256 of their numbers.

    A config names them by their digest alone. A run that is recorded keeps the numbers as an artifact, `arrays-….npy`, from which
    `resume` and `reproduce` have them; whoever fits the config otherwise has to have called `linfit.arrays` on the same numbers
    in the same process.
    """

    name: Literal["arrays"] = "arrays"
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    features: Columns
    target: Columns
    weight: str | None = None

    _held: Held | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        return (
            type(self) is type(other)
            and isinstance(other, Arrays)
            and self.model_dump() == other.model_dump()
        )

    __hash__ = Dataset.__hash__

    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self.target)

    def weighted(self) -> bool:
        return self.weight is not None

    def drawn_from(self, seed: int) -> int | None:
        return None

    def num_samples(self) -> int | None:
        return len(self.table()) if self.is_here() else None

    def check(self, dtype: str) -> None:
        largest, why = limit(dtype)
        _refuse(np.abs(self.table()) > largest, self.table(), self._names(), why)

    def load(self, seed: int) -> Problem:
        table, (p, q) = self.table(), self.shape()
        weights = None if self.weight is None else table[:, -1]
        problem = Problem(
            table[:, :p],
            table[:, p : p + q],
            self.features,
            self.target,
            f"linfit:arrays/{self.digest[:12]}",
            weights=weights,
        )
        constants = Constants(p)
        constants.look(problem.X)
        return replace(
            problem,
            notes=(
                *repeated(self.features, self.target, problem.source),
                *constants.notes(self.features, problem.source),
            ),
        )

    def _names(self) -> list[str]:
        return [*self.features, *self.target, *([] if self.weight is None else [self.weight])]

    def is_here(self) -> bool:
        """Whether the numbers are in this process."""
        return (self._held or _HELD.get(self.digest)) is not None

    def table(self) -> Array:
        """The numbers `[n, m]`: features, targets, weights; ValueError where they are not in this process."""
        self._held = held = self._held or _HELD.get(self.digest)
        if held is None:
            raise ValueError(
                f"the arrays {self.digest[:12]}… are not in this process: call linfit.arrays on the same numbers first"
            )
        if held.table.shape[1] < sum(self.shape()) + self.weighted():
            raise ValueError(
                f"the arrays {self.digest[:12]}… have {held.table.shape[1]} columns: fewer than are named"
            )
        return held.table

    @property
    def file_name(self) -> str:
        """The name of the file in which a run keeps the numbers."""
        return ARRAYS.replace("*", self.digest[:16])

    def write(self, folder: Path) -> Path:
        """Writes the numbers, and returns the file, which `read` takes."""
        file = folder / self.file_name
        with whole(file) as temporary, temporary.open("wb") as content:
            np.save(content, self.table(), allow_pickle=False)
        return file

    def read(self, file: Path) -> None:
        """Takes the numbers from a file; ValueError, which names it, where they are not those of the digest. Nothing is unpickled."""
        try:
            table = read_array(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        if table.dtype != np.float64 or table.ndim != 2 or digest_of(table) != self.digest:
            raise ValueError(
                f"{file} was changed after it was written: its numbers are not those of the digest"
            )
        self._held = _HELD.setdefault(self.digest, Held(table))

    @property
    def overrides(self) -> list[str]:
        """What chooses these arrays on a command line, for `linfit.sweep` in this process."""
        fields = self.model_dump(exclude={"name"})
        return [
            "dataset=arrays",
            *(f"dataset.{key}={json.dumps(value)}" for key, value in fields.items()),
        ]


def arrays(
    X: Any, y: Any = None, *, features: Any = None, target: Any = None, weight: Any = None
) -> Arrays:
    """A dataset of arrays X `[n, p]` and y `[n]` or `[n, q]`, with `weight` `[n]`, or of a pandas frame X and names of its columns.

    >>> import linfit, numpy as np
    >>> data = linfit.arrays(np.arange(12.0).reshape(6, 2), np.arange(6.0))
    >>> linfit.fit(linfit.FitConfig(dataset=data, steps=10)).weights.shape
    (2, 1)

    Of a frame, `target` names one column or several, `features` the others unless given. Arrays have names only if given. Every number
    must be finite, weights not negative; ValueError otherwise, with the row and the column. The numbers are copied.
    """
    columns, names = columns_of(X, y, features, target, weight)
    lengths = {name: len(column) for name, column in columns}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise ValueError(f"columns need one length, above 0, got {lengths}")
    table, titles = (
        np.stack([numbers_of(name, column) for name, column in columns], axis=1),
        [name for name, _ in columns],
    )
    _refuse(
        ~np.isfinite(table),
        table,
        titles,
        "is not a finite number: fill it in, or leave the row out",
    )
    if names[2] is not None:
        _refuse(
            np.where(np.arange(table.shape[1]) == table.shape[1] - 1, table < 0, False),
            table,
            titles,
            "is a negative weight",
        )
    dataset = Arrays(digest=digest_of(table), features=names[0], target=names[1], weight=names[2])
    dataset._held = _HELD.setdefault(dataset.digest, Held(table))
    return dataset


def in_memory(dataset: Table) -> tuple[Arrays, tuple[str, ...]]:
    """The numbers of a table as arrays of the same names, and what is to be said of rows that were left out."""
    data = dataset.load(0)
    weights = [] if data.weights is None else [data.weights[:, None]]
    table = np.concatenate([data.X, data.y, *weights], axis=1)
    held = Arrays(
        digest=digest_of(table),
        features=dataset.features,
        target=dataset.target,
        weight=dataset.weight,
    )
    held._held = _HELD.setdefault(held.digest, Held(table))
    return held, tuple(note for note in data.notes if note.endswith(LEFT_OUT))


def digest_of(table: Array) -> str:
    """SHA-256 over the shape and the bytes of numbers `[n, m]`, as hexadecimal digits."""
    content = hashlib.sha256(repr(table.shape).encode())
    content.update(np.ascontiguousarray(table).data)
    return content.hexdigest()


def tables_of(datasets: Iterable[Dataset]) -> dict[str, Array]:
    """The numbers `[n, m]` of those that are arrays, by digest: what another process needs beside their configs."""
    return {
        dataset.digest: dataset.table()
        for dataset in dict.fromkeys(datasets)
        if isinstance(dataset, Arrays)
    }


def write_arrays(folder: Path, datasets: Iterable[Dataset]) -> list[Path]:
    """Writes the numbers of those that are arrays, each once, and returns the files."""
    distinct = {dataset.file_name: dataset for dataset in datasets if isinstance(dataset, Arrays)}
    return [
        dataset.write(folder) for name, dataset in distinct.items() if not (folder / name).exists()
    ]


@contextmanager
def holding(tables: Mapping[str, Array]) -> Iterator[None]:
    """Has the numbers in this process, as `tables_of` gave them in another."""
    held = [_HELD.setdefault(digest, Held(table)) for digest, table in tables.items()]
    try:
        yield
    finally:
        held.clear()


def _refuse(wrong: Any, table: Array, names: list[str], why: str) -> None:
    if wrong.any():
        i, j = map(int, np.argwhere(wrong)[0])
        raise ValueError(
            f"row {i} (counted from 0), column {names[j]!r}: {float(table[i, j])!r} {why}"
        )


class Sklearn(Dataset):
    """A regression set that scikit-learn ships: `diabetes` (442 × 10, columns as scikit-learn scales them) or `linnerud` (20 × 3, 3 targets)."""

    name: Literal["sklearn"] = "sklearn"
    set: Literal["diabetes", "linnerud"]

    def shape(self) -> tuple[int, int]:
        return {"diabetes": (10, 1), "linnerud": (3, 3)}[self.set]

    def drawn_from(self, seed: int) -> int | None:
        return None

    def load(self, seed: int) -> Problem:
        return _bundled(self.set)

    def lines(self, scope: Scope) -> Lines:
        return (
            f"bundled = datasets.load_{self.set}()",
            "X, y = bundled.data, bundled.target.reshape(len(bundled.data), -1)  # [n, p], [n, q]",
        )


@cache
def _bundled(name: str) -> Problem:
    """What scikit-learn ships under this name; read once, never written to."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    X, y = (
        np.array(found.data, dtype=np.float64),
        np.array(found.target, dtype=np.float64).reshape(len(found.data), -1),
    )
    X.flags.writeable = y.flags.writeable = False
    return Problem(
        X,
        y,
        tuple(found.feature_names),
        tuple(found.get("target_names", ("y",))),
        f"sklearn:{name}",
    )
