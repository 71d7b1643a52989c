"""Columns of text as indicators: a feature for each level, 1 where the column has it, else 0.

A dataset holds a text as a number, its index among the column's texts in order of appearance.
Levels are learnt from the training samples and sorted. Where there is an intercept, the first
level has no indicator: with it, the indicators of a column would sum to the intercept.

n samples, c columns, i indicators.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linfit.errors import shorten
from linfit.problem import linfit_model_2
from linfit.problem.types import Array

#: Texts of columns by name: a text's index is its number in the data.
Levels = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Categories:
    """Levels of the columns of text, sorted, as the training samples have them."""

    levels: Levels = field(default_factory=dict)
    drops_first: bool = False
    """True if the first level of each column has no indicator."""

    def __bool__(self) -> bool:
        return bool(self.levels)

    def list_indicated(self, column: str) -> tuple[str, ...]:
        """Return the levels of a column that have an indicator."""
        return self.levels[column][int(self.drops_first) :]

    def list_numbers(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Return the names of those columns that are numbers."""
        return tuple(name for name in columns if name not in self.levels)

    def name_indicators(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Return the names `[i]` of the indicators of columns."""
        texts = [name for name in columns if name in self.levels]
        return tuple(f"{name}={level}" for name in texts for level in self.list_indicated(name))

    def select_numbers(self, names: tuple[str, ...], columns: Array) -> Array:
        """Return those of columns `[n, c]` that are numbers."""
        return columns[:, [j for j, name in enumerate(names) if name not in self.levels]]

    def indicate(self, names: tuple[str, ...], columns: Array) -> Array:
        """Return the indicators `[n, i]` of columns `[n, c]`, whose texts are indices of levels."""
        places = [(j, len(self.levels[n])) for j, n in enumerate(names) if n in self.levels]
        return linfit_model_2.indicate(columns, places, self.drops_first)

    def recode(self, names: tuple[str, ...], columns: Array, levels: Levels, source: str) -> Array:
        """Return columns `[n, c]` whose texts, numbered by `levels`, are indices of these levels.

        Raise ValueError, which names it, for a text that no training sample has.
        """
        if not self.levels:
            return columns
        recoded = np.array(columns, dtype=np.float64)
        for j, name in enumerate(names):
            if name in self.levels:
                recoded[:, j] = self._recode_column(name, columns[:, j], levels, source)
        return recoded

    def _recode_column(self, name: str, codes: Array, levels: Levels, source: str) -> Array:
        if name not in levels:
            raise ValueError(
                f"{source}, column {name!r}: numbers, where the training samples have text: "
                f"{self._describe(name)}: write these"
            )
        known = {level: float(index) for index, level in enumerate(self.levels[name])}
        places = np.array([known.get(text, -1.0) for text in levels[name]] + [np.nan])
        # A missing cell, NaN, stays one.
        found = places[np.where(np.isnan(codes), len(places) - 1, codes).astype(np.intp)]
        unseen = np.flatnonzero(found == -1)
        if len(unseen):
            text = levels[name][int(codes[unseen[0]])]
            raise ValueError(
                f"{source}, column {name!r}: no training sample has {shorten(repr(text))}: "
                f"they have {self._describe(name)}: leave such rows out, or name them alike"
            )
        return np.asarray(found)

    def _describe(self, name: str) -> str:
        return shorten(", ".join(map(repr, self.levels[name])))

    def describe(self, source: str) -> tuple[str, ...]:
        """Return a note for each column: its levels, and which has no indicator."""
        notes = []
        for name, levels in self.levels.items():
            note = f"{source}: column {name!r} is text, with indicators of its levels: "
            note += self._describe(name)
            if self.drops_first:
                note += f"; {levels[0]!r}, the first, is where all of them are 0"
            if lookalikes := find_lookalikes(levels):
                note += f"; {lookalikes}, and count as different"
            notes.append(note)
        if len(self.levels) > 1 and not self.drops_first:
            notes.append(
                f"{source}: the indicators of each of the columns {self._list_columns()} sum to 1: "
                "many weights are equally good; features.intercept=true leaves a level of each out"
            )
        return tuple(notes)

    def _list_columns(self) -> str:
        return shorten(", ".join(map(repr, self.levels)))

    def to_plain(self) -> dict[str, Any]:
        """Return plain data, which `from_plain` takes back."""
        levels = {name: list(texts) for name, texts in self.levels.items()}
        return {"levels": levels, "drops_first": self.drops_first}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any] | None) -> Categories:
        """Return the categories of what `to_plain` returned, none of None."""
        if plain is None:
            return NO_CATEGORIES
        levels = {name: tuple(texts) for name, texts in plain["levels"].items()}
        return cls(levels, bool(plain["drops_first"]))


NO_CATEGORIES = Categories()


def find_lookalikes(texts: Iterable[str]) -> str:
    """Return a clause on two texts that differ in case or blanks alone; empty if none do."""
    known: dict[str, str] = {}
    for text in texts:
        other = known.setdefault("".join(text.casefold().split()), text)
        if other != text:
            return f"{other!r} and {text!r} differ in case or blanks alone"
    return ""


def learn_categories(
    samples: Iterable[tuple[tuple[str, ...], Array, Levels]], drops_first: bool
) -> Categories:
    """Return the levels that samples have.

    They come with the names and the values of columns `[n, c]`, and with the columns' texts.
    """
    found: dict[str, set[str]] = {}
    for names, columns, levels in samples:
        for name, column in zip(names, columns.T, strict=True):
            if name in levels:
                codes = np.unique(column).astype(np.intp)
                found.setdefault(name, set()).update(levels[name][code] for code in codes)
    return Categories({name: tuple(sorted(texts)) for name, texts in found.items()}, drops_first)
