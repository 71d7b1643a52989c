"""What groups of fits are called: as short as it goes, and no two alike.

r fits of a sweep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.config import GROUPS, canonical, flatten, is_repetition

Ids = NDArray[np.int64]
#: Keys whose value says enough without them.
PLAIN = ("dtype",)


class Words:
    """The words for groups of fits, from their configs as plain data and the names of components that were chosen."""

    def __init__(
        self, configs: Sequence[Mapping[str, Any]], chosen: Mapping[str, Sequence[str]]
    ) -> None:
        self.configs, self.chosen = configs, chosen

    def label(
        self, ids: Ids, keys: Sequence[str], sections: Sequence[str], within: Ids | None = None
    ) -> list[str]:
        """Return the label of each fit's group, in the words of `keys`.

        Groups that these would give one label get the words of more keys below `sections`, as many as tell
        them apart. Where `ids` are groups `within` larger ones, only those of one larger group have to differ.
        """
        groups, first = np.unique(ids, return_index=True)
        outer = np.zeros(len(groups), dtype=np.int64) if within is None else within[first]
        places = first.tolist()
        labels = self._joined(places, keys)
        same: dict[tuple[int, str], list[int]] = {}
        for number, label in enumerate(labels):
            same.setdefault((int(outer[number]), label), []).append(number)
        for alike in same.values():
            if len(alike) > 1:
                more = self._apart([places[number] for number in alike], sections)
                for number, words in zip(alike, more, strict=True):
                    labels[number] = f"{labels[number]} {words}".strip()
        return [labels[number] for number in np.searchsorted(groups, ids).tolist()]

    def value(self, key: str, place: int) -> Any:
        """Return the value of a key for a fit: of a group the name that was chosen, None where there is no such key."""
        if key in self.chosen:
            return self.chosen[key][place]
        part: Any = self.configs[place]
        for name in key.split("."):
            part = part.get(name) if isinstance(part, Mapping) else None
        return part.get("name") if isinstance(part, Mapping) else part

    def _joined(self, places: Sequence[int], keys: Sequence[str]) -> list[str]:
        columns = [self._column(key, places, keys) for key in keys]
        if not columns:
            return [""] * len(places)
        return [" ".join(word for word in words if word) for words in zip(*columns, strict=True)]

    def _column(self, key: str, places: Sequence[int], keys: Sequence[str]) -> list[str]:
        """Return the word for a key of each fit, with as many digits as tell its values apart."""
        ends = [other.rsplit(".", 1)[-1] for other in keys]
        end = key.rsplit(".", 1)[-1]
        named = key in GROUPS or key in PLAIN
        start = "" if named else f"{end if ends.count(end) == 1 else key}="
        values = [self.value(key, place) for place in places]
        texts = {canonical(value): value for value in values}
        short = {text: _text(value) for text, value in texts.items()}
        exact = len(set(short.values())) < len(short)
        words = {
            text: start + (_exact(value) if exact else short[text]) for text, value in texts.items()
        }
        return ["" if value is None else words[canonical(value)] for value in values]

    def _apart(self, places: Sequence[int], sections: Sequence[str]) -> list[str]:
        """Return words that tell groups apart: of the keys in which they differ as many as it takes, else their number."""
        labels = [""] * len(places)
        for key in self._different(places, sections):
            words = self._column(key, places, [key])
            longer = [f"{label} {word}".strip() for label, word in zip(labels, words, strict=True)]
            if len(set(longer)) > len(set(labels)):
                labels = longer
            if len(set(labels)) == len(labels):
                return labels
        return [f"{label} #{number}".strip() for number, label in enumerate(labels, 1)]

    def _different(self, places: Sequence[int], sections: Sequence[str]) -> Iterator[str]:
        """Yield the keys below some sections in which the configs of these fits differ, but for those that repeat a fit."""
        flat = [
            flatten({name: self.configs[place].get(name) for name in sections}) for place in places
        ]
        for key in dict.fromkeys(key for own in flat for key in own):
            if not is_repetition(key) and len({canonical(own.get(key)) for own in flat}) > 1:
                yield key


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def _exact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
