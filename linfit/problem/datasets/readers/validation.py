"""Checks of a table's cells and columns, a block of rows at a time.

Cells may be missing, infinite or too large; columns may be constant or repeated.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np

from linfit.problem.categories import Levels
from linfit.problem.datasets.readers.tables import ROWS, CellBlock
from linfit.problem.types import Array, describe_limit

#: End of the note on rows that were left out.
ROWS_LEFT_OUT = "with missing cells left out"


class RowValidator:
    """Refuses cells that cannot be fitted, in blocks `[b, m]`, and leaves rows out."""

    def __init__(
        self, path: str, columns: tuple[str, ...], drop: bool, weighted: bool, dtype: str | None
    ) -> None:
        self.path = path
        self.columns = columns
        self.drop = drop
        self.weighted = weighted
        self.largest = np.inf
        self.too_large = ""
        if dtype is not None:
            self.largest, self.too_large = describe_limit(dtype)
        self.dropped = 0

    def validate_rows(self, block: CellBlock, row: Any) -> CellBlock:
        """Return the rows to be fitted; ValueError for a cell that is refused.

        `row` names the row at an index of the block.
        """
        # A sum is much faster than a test of each cell. Large finite cells may overflow it: each
        # is then tested for nothing.
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(block.sum())
        if suspicious:
            self._refuse(np.isinf(block), block, row, "is not a finite number")
            missing = np.isnan(block)
            if not self.drop:
                why = "is missing: fill it in, or leave such rows out with dataset.missing=drop"
                self._refuse(missing, block, row, why)
            kept = ~missing.any(axis=1)
            self.dropped += int((~kept).sum())
            block = block[kept]

        if self.largest < np.inf:
            most = max(block.max(initial=0), -block.min(initial=0))
            if most > self.largest:
                self._refuse(np.abs(block) > self.largest, block, row, self.too_large)
        if self.weighted:
            negative = np.zeros(block.shape, dtype=bool)
            negative[:, -1] = block[:, -1] < 0
            self._refuse(negative, block, row, "is a negative weight: write 0 or more")
        return block

    def _refuse(self, wrong: CellBlock, block: CellBlock, row: Any, why: str) -> None:
        if wrong.any():
            i, j = map(int, np.argwhere(wrong)[0])
            cell = "a cell" if np.isnan(block[i, j]) else repr(float(block[i, j]))
            where = f"{self.path}, {row(i)}, column {self.columns[j]!r}"
            raise ValueError(f"{where}: {cell} {why}")

    def describe_left_out(self) -> tuple[str, ...]:
        """Return a note on the rows that were left out, if any."""
        if not self.dropped:
            return ()
        plural = "s" if self.dropped > 1 else ""
        return (f"{self.path}: {self.dropped} row{plural} {ROWS_LEFT_OUT}",)


class ConstantColumns:
    """Finds constant columns in blocks of rows.

    A column of ones is not reported: it is an intercept, there on purpose.
    """

    def __init__(self, p: int) -> None:
        self.first: Array | None = None
        self.same = np.arange(p)
        self.num_rows = 0

    def observe(self, X: CellBlock) -> None:
        """Take a block `[b, p]`, at least one row."""
        if self.first is None:
            self.first = X[0].astype(np.float64)
            self.same = np.flatnonzero(self.first != 1)
        self.num_rows += len(X)
        # Most columns vary soon: the second part is compared in the few that are left.
        for rows in (X[:ROWS], X[ROWS:]):
            if len(self.same):
                self.same = self.same[(rows[:, self.same] == self.first[self.same]).all(axis=0)]

    def describe_constants(
        self, names: tuple[str, ...], source: str, levels: Levels = MappingProxyType({})
    ) -> tuple[str, ...]:
        """Return a note for each constant column; a single row has none."""
        if self.first is None or self.num_rows < 2:
            return ()
        notes = []
        for j in self.same:
            value: str | float = float(self.first[j])
            if names[j] in levels:
                value = levels[names[j]][int(value)]
            notes.append(f"{source}: column {names[j]!r} is constant, {value!r} in every row")
        return tuple(notes)


def describe_repeated_columns(
    features: tuple[str, ...], targets: tuple[str, ...], source: str
) -> tuple[str, ...]:
    """Return a note for each feature that is repeated, or is a target too."""
    notes = []
    for name in dict.fromkeys(features):
        if features.count(name) > 1:
            count = features.count(name)
            notes.append(f"{source}: column {name!r} is a feature {count} times")
    notes += [
        f"{source}: column {name!r} is a feature and a target: it predicts itself"
        for name in dict.fromkeys(targets)
        if name in features
    ]
    return tuple(notes)
