"""What is looked at in the cells of a table, a block of rows at a time: those that are missing, infinite or too large, and constant columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from linfit.problem.tables import ROWS, Numbers
from linfit.problem.types import Array, limit

#: How the note of rows that were left out ends.
LEFT_OUT = "with missing cells left out"


class Cleaner:
    """Finds what is no number to fit in blocks of columns `[b, m]`, and counts the rows that are left out."""

    def __init__(
        self, path: str, columns: tuple[str, ...], drop: bool, weighted: bool, dtype: str | None
    ) -> None:
        self.path, self.columns, self.drop, self.weighted = path, columns, drop, weighted
        self.largest, self.too_large = limit(dtype) if dtype is not None else (np.inf, "")
        self.dropped = 0

    def clean(self, block: Numbers, row: Any) -> Numbers:
        with np.errstate(over="ignore", invalid="ignore"):
            suspicious = not np.isfinite(
                block.sum()
            )  # much faster than looking at each, and rarely wrong
        if suspicious:
            self._refuse(np.isinf(block), block, row, "is not a finite number")
            missing = np.isnan(block)
            if not self.drop:
                self._refuse(
                    missing,
                    block,
                    row,
                    "is missing: fill it in, or leave such rows out with dataset.missing=drop",
                )
            kept = ~missing.any(axis=1)
            self.dropped += int((~kept).sum())
            block = block[kept]
        if (
            self.largest < np.inf
            and max(block.max(initial=0), -block.min(initial=0)) > self.largest
        ):
            self._refuse(np.abs(block) > self.largest, block, row, self.too_large)
        if self.weighted:
            negative = np.zeros(block.shape, dtype=bool)
            negative[:, -1] = block[:, -1] < 0
            self._refuse(negative, block, row, "is a negative weight")
        return block

    def _refuse(self, wrong: Numbers, block: Numbers, row: Any, why: str) -> None:
        if wrong.any():
            i, j = map(int, np.argwhere(wrong)[0])
            raise ValueError(
                f"{self.path}, {row(i)}, column {self.columns[j]!r}: {_cell(block[i, j])} {why}"
            )

    def notes(self) -> tuple[str, ...]:
        if not self.dropped:
            return ()
        return (f"{self.path}: {self.dropped} row{'s' if self.dropped > 1 else ''} {LEFT_OUT}",)


def _cell(number: float) -> str:
    return "a cell" if np.isnan(number) else repr(float(number))


class Constants:
    """Finds the columns that are the same in every row, but for a column of ones, which is there on purpose; rows come in blocks."""

    def __init__(self, p: int) -> None:
        self.first: Array | None = None
        self.same, self.num_rows = np.arange(p), 0

    def look(self, X: Numbers) -> None:
        """Takes X `[b, p]`; a column that has differed is not looked at again."""
        if self.first is None:
            self.first = X[0].astype(np.float64)
            self.same = np.flatnonzero(self.first != 1)
        self.num_rows += len(X)
        for rows in (X[:ROWS], X[ROWS:]):  # most columns vary soon
            if len(self.same):
                self.same = self.same[(rows[:, self.same] == self.first[self.same]).all(axis=0)]

    def notes(self, names: tuple[str, ...], source: str) -> tuple[str, ...]:
        if self.first is None or self.num_rows < 2:
            return ()
        return tuple(
            f"{source}: column {names[place]!r} is constant, {float(self.first[place])!r} in every row"
            for place in self.same
        )


def repeated(features: tuple[str, ...], targets: tuple[str, ...], source: str) -> tuple[str, ...]:
    """Says which features are there twice, or are targets too."""
    twice = (
        f"column {name!r} is a feature {features.count(name)} times"
        for name in dict.fromkeys(features)
        if features.count(name) > 1
    )
    both = (
        f"column {name!r} is a feature and a target: it predicts itself"
        for name in dict.fromkeys(targets)
        if name in features
    )
    return tuple(f"{source}: {said}" for said in (*twice, *both))
