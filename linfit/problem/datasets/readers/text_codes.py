"""Texts of columns as numbers while a file is read: the index of a text's first appearance.

c is a column's number of cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from linfit.errors import shorten
from linfit.problem.types import Array

#: Most different texts of a column.
MAX_LEVELS = 1000
#: Cells that are numbers to people, though perhaps not to linfit.
LOOKS_NUMERIC = re.compile(r"[-+]?[\d\s.,_'’]*\d[\d\s.,_'’]*(e[-+]?\d+)?", re.IGNORECASE)
#: Truth values, in lower case.
TRUTH_VALUES = {"false": 0.0, "true": 1.0}


class TextCodes:
    """Numbers of the texts in some columns, which may hold text."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(allowed)
        self.indices: dict[str, dict[str, int]] = {}

    @property
    def levels(self) -> dict[str, tuple[str, ...]]:
        """Texts of each column of text, in order of appearance."""
        return {name: tuple(found) for name, found in self.indices.items()}

    def begin_column(self, column: str) -> None:
        """Take a column for one of text."""
        self.indices.setdefault(column, {})

    def encode(self, column: str, text: str, path: str) -> float:
        """Return the number of a text; ValueError if the column has too many different ones."""
        known = self.indices[column]
        index = known.setdefault(text, len(known))
        if index >= MAX_LEVELS:
            raise ValueError(
                f"{path}, column {column!r} has more than {MAX_LEVELS:,} different texts, the "
                f"last {shorten(repr(text))}: leave it out, or group them"
            )
        return float(index)

    def encode_all(
        self, column: str, texts: Sequence[str | None], places: NDArray[np.integer], path: str
    ) -> Array:
        """Return the numbers `[c]` of cells at `places` of distinct texts, NaN where one is None.

        A place of −1 is a missing cell.
        """
        codes = [np.nan if text is None else self.encode(column, text, path) for text in texts]
        return np.asarray(np.array([*codes, np.nan])[places])


def looks_like_text(cell: str) -> bool:
    """Return True for a cell that is neither a number nor a misspelt one."""
    return LOOKS_NUMERIC.fullmatch(cell.strip()) is None
