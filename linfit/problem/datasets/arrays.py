"""Datasets in memory: arrays and frames from Python."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal
from weakref import WeakValueDictionary

import numpy as np
from pydantic import Field, PrivateAttr

from linfit.problem.categories import Levels
from linfit.problem.datasets.columns import ColumnNames
from linfit.problem.datasets.python_objects import convert_column, find_texts, gather_columns
from linfit.problem.datasets.readers.npy import read_array
from linfit.problem.datasets.readers.validation import (
    ROWS_LEFT_OUT,
    ConstantColumns,
    describe_repeated_columns,
)
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.datasets.tabular_file import TabularFile
from linfit.problem.linfit_model_1 import refuse_cell
from linfit.problem.problem import Problem
from linfit.problem.types import Array, describe_limit
from linfit.system.atomic_files import write_atomically

#: A column of text, and its texts.
ColumnLevels = Annotated[
    tuple[str, Annotated[tuple[str, ...], Field(strict=False)]], Field(strict=False)
]
#: Pattern of the files in which runs keep the numbers of arrays.
ARRAY_FILES = "arrays-*.npy"


class HeldColumns:
    """Columns `[n, m]` of some arrays.

    An instance equals only itself, so that configs compare by the digest.
    """

    def __init__(self, table: Array) -> None:
        self.table = table


#: Columns that are held anywhere in this process, by digest.
_HELD: WeakValueDictionary[str, HeldColumns] = WeakValueDictionary()


class Arrays(Dataset):
    """Arrays or a frame from Python, as `linfit.arrays` returns them.

    A config names them by `digest` alone, the SHA-256 of their numbers. A recorded run keeps the
    numbers as an artifact, `arrays-….npy`, which `resume` and `reproduce` read. To fit the config
    by other means, call `linfit.arrays` on the same numbers in the same process first.
    """

    omitted_at_default = frozenset({"levels"})

    name: Literal["arrays"] = "arrays"
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    features: ColumnNames
    target: ColumnNames
    weight: str | None = None
    levels: Annotated[tuple[ColumnLevels, ...], Field(strict=False)] = ()
    """Columns of text, each with its texts: the numbers are their indices."""

    _held: HeldColumns | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Arrays):
            return False
        return self.model_dump() == other.model_dump()

    __hash__ = Dataset.__hash__

    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self.target)

    def is_weighted(self) -> bool:
        return self.weight is not None

    def has_text(self) -> bool:
        return bool(self.levels)

    def resolve_seed(self, seed: int) -> int | None:
        return None

    def num_samples(self) -> int | None:
        return len(self.as_array()) if self.is_loaded() else None

    def locate_sample(self, index: int) -> str:
        return f"row {index}, counted from 0"

    def check_data(self, dtype: str) -> None:
        largest, why = describe_limit(dtype)
        table = self.as_array()
        names = [*self.features, *self.target]
        if self.weight is not None:
            names.append(self.weight)
        _refuse(np.abs(table) > largest, table, names, why)

    def load(self, seed: int) -> Problem:
        table = self.as_array()
        p, q = self.shape()
        weights = None if self.weight is None else table[:, -1]
        levels = dict(self.levels)
        _require_levels(table, (*self.features, *self.target), levels)
        problem = Problem(
            table[:, :p],
            table[:, p : p + q],
            self.features,
            self.target,
            f"linfit:arrays/{self.digest[:12]}",
            weights=weights,
            levels=levels,
        )
        constants = ConstantColumns(p)
        constants.observe(problem.X)
        notes = describe_repeated_columns(self.features, self.target, problem.source)
        notes += constants.describe_constants(self.features, problem.source, levels)
        return replace(problem, notes=notes)

    def is_loaded(self) -> bool:
        """Return whether the numbers are in this process."""
        return (self._held or _HELD.get(self.digest)) is not None

    def as_array(self) -> Array:
        """Return the numbers `[n, m]`: features, targets, weights.

        Raise ValueError if they are not in this process.
        """
        self._held = held = self._held or _HELD.get(self.digest)
        if held is None:
            raise ValueError(
                f"the arrays {self.digest[:12]}… are not in this process: "
                "call linfit.arrays on the same numbers first"
            )
        count = held.table.shape[1]
        if count < sum(self.shape()) + self.is_weighted():
            raise ValueError(
                f"the arrays {self.digest[:12]}… have {count} columns: fewer than are named"
            )
        return held.table

    @property
    def file_name(self) -> str:
        """Name of the file in which a run keeps the numbers."""
        return ARRAY_FILES.replace("*", self.digest[:16])

    def write_file(self, folder: Path) -> Path:
        """Write the numbers to a file that `read_file` accepts, and return it."""
        file = folder / self.file_name
        with write_atomically(file) as temporary, temporary.open("wb") as content:
            np.save(content, self.as_array(), allow_pickle=False)
        return file

    def read_file(self, file: Path) -> None:
        """Read the numbers from a file. Nothing is unpickled.

        Raise ValueError, which names the file, if they do not have this digest.
        """
        try:
            table = read_array(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{file} cannot be read: {error}") from error
        if table.dtype != np.float64 or table.ndim != 2 or hash_array(table) != self.digest:
            raise ValueError(
                f"{file} was changed after it was written: its numbers are not those of the digest"
            )
        self._held = _HELD.setdefault(self.digest, HeldColumns(table))

    @property
    def overrides(self) -> list[str]:
        """Overrides that choose these arrays, for `linfit.sweep` in this process."""
        fields = self.model_dump(exclude={"name"})
        chosen = [f"dataset.{key}={json.dumps(value)}" for key, value in fields.items()]
        return ["dataset=arrays", *chosen]


def arrays(
    X: Any, y: Any = None, *, features: Any = None, target: Any = None, weight: Any = None
) -> Arrays:
    """Return a dataset of arrays, or of a pandas frame.

    Arrays are X `[n, p]`, y `[n]` or `[n, q]`, and `weight` `[n]`.

    >>> import linfit, numpy as np
    >>> data = linfit.arrays(np.arange(12.0).reshape(6, 2), np.arange(6.0))
    >>> linfit.fit(linfit.FitConfig(dataset=data, steps=10)).weights.shape
    (2, 1)

    Of a frame X, of pandas or polars, `target` names one column or several, `weight` one, and
    `features` is all other columns unless given. Columns of text and of categories are features for
    each of their levels, or classes of the target; y may be text too. Columns of arrays are named
    `x`, or `x0`, `x1` …, unless named. The numbers are copied.

    Raise ValueError, with row and column, if a number is not finite or a weight is negative.
    """
    columns, names = gather_columns(X, y, features, target, weight)
    lengths = {name: len(column) for name, column in columns}
    if len(set(lengths.values())) != 1 or not min(lengths.values()):
        raise ValueError(f"columns need one length, above 0, got {lengths}")
    texts = find_texts(columns, names[1] if y is not None else (*names[0], *names[1]))
    table = np.stack(
        [
            texts[name].codes if name in texts else convert_column(name, column)
            for name, column in columns
        ],
        axis=1,
    )

    titles = [name for name, _ in columns]
    why = "is not a finite number: fill it in, or leave the row out"
    _refuse(~np.isfinite(table), table, titles, why)
    if names[2] is not None:
        negative = np.zeros(table.shape, dtype=bool)
        negative[:, -1] = table[:, -1] < 0
        _refuse(negative, table, titles, "is a negative weight")
    levels = tuple((name, found.levels) for name, found in texts.items())
    return _hold(table, *names, levels)


def _hold(
    table: Array,
    features: tuple[str, ...],
    target: tuple[str, ...],
    weight: str | None,
    levels: tuple[ColumnLevels, ...],
) -> Arrays:
    dataset = Arrays(
        digest=hash_array(table), features=features, target=target, weight=weight, levels=levels
    )
    dataset._held = _HELD.setdefault(dataset.digest, HeldColumns(table))
    return dataset


def hold_in_memory(dataset: TabularFile) -> tuple[Arrays, tuple[str, ...]]:
    """Return the numbers of a table as arrays of the same names, and notes on rows left out."""
    data = dataset.load(0)
    weights = [] if data.weights is None else [data.weights[:, None]]
    table = np.concatenate([data.X, data.y, *weights], axis=1)
    levels = tuple((name, tuple(texts)) for name, texts in data.levels.items())
    held = _hold(table, dataset.features, dataset.target, dataset.weight, levels)
    return held, tuple(note for note in data.notes if note.endswith(ROWS_LEFT_OUT))


def hash_array(table: Array) -> str:
    """Return the SHA-256 of the shape and the bytes of `[n, m]`, as hexadecimal digits."""
    content = hashlib.sha256(repr(table.shape).encode())
    content.update(np.ascontiguousarray(table).data)
    return content.hexdigest()


def collect_arrays(datasets: Iterable[Dataset]) -> dict[str, Array]:
    """Return the numbers `[n, m]` of the datasets that are arrays, by digest.

    Another process needs them in addition to the configs.
    """
    return {
        dataset.digest: dataset.as_array()
        for dataset in dict.fromkeys(datasets)
        if isinstance(dataset, Arrays)
    }


def write_arrays(folder: Path, datasets: Iterable[Dataset]) -> list[Path]:
    """Write the numbers of the datasets that are arrays, and return the new files.

    A file that exists is left as it is.
    """
    distinct = {dataset.file_name: dataset for dataset in datasets if isinstance(dataset, Arrays)}
    new = [dataset for name, dataset in distinct.items() if not (folder / name).exists()]
    return [dataset.write_file(folder) for dataset in new]


@contextmanager
def hold_arrays(tables: Mapping[str, Array]) -> Iterator[None]:
    """Hold numbers in this process, which `collect_arrays` returned in another."""
    held = [_HELD.setdefault(digest, HeldColumns(table)) for digest, table in tables.items()]
    try:
        yield
    finally:
        held.clear()


def _require_levels(table: Array, names: tuple[str, ...], levels: Levels) -> None:
    """Raise ValueError if a column of text has an index that is none of its texts'."""
    for j, name in enumerate(names):
        if name in levels:
            codes = table[:, j]
            wrong = (codes < 0) | (codes >= len(levels[name])) | (codes != np.floor(codes))
            for i in np.flatnonzero(wrong):
                raise refuse_cell(int(i), name, f"{float(codes[i])!r} is no index of its levels")


def _refuse(wrong: Any, table: Array, names: list[str], why: str) -> None:
    if wrong.any():
        i, j = map(int, np.argwhere(wrong)[0])
        raise refuse_cell(i, names[j], f"{float(table[i, j])!r} {why}")
