"""Labels of groups of fits: as short as possible, and no two alike.

r fits of a sweep.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.config import GROUPS, canonical_json, flatten_config, is_seed_key
from linfit.tracking.schema.grid_labels import GridLabel
from linfit.tracking.schema.short_names import write_value

GroupIds = NDArray[np.int64]
#: Keys whose value needs no key beside it.
VALUE_ONLY_KEYS = ("dtype",)


class GroupWords:
    """Labels from the configs of fits as plain data, and the components chosen by name.

    `grids` are the labels of the fits' grids, None for fits whose grid has none.
    """

    def __init__(
        self,
        configs: Sequence[Mapping[str, Any]],
        chosen: Mapping[str, Sequence[str]],
        grids: Sequence[GridLabel | None],
    ) -> None:
        self.configs = configs
        self.chosen = chosen
        self.grids = grids

    def label_groups(
        self,
        ids: GroupIds,
        keys: Sequence[str],
        sections: Sequence[str],
        within: GroupIds | None = None,
        outer_keys: Sequence[str] = (),
    ) -> list[str]:
        """Return the label `[r]` of each fit's group, in the words of `keys`.

        Groups that these would give one label get the words of more keys below `sections`, as many
        as tell them apart. Where `ids` are groups `within` larger ones, which have the words of
        `outer_keys`, only those of one larger group have to differ.
        """
        groups, first = np.unique(ids, return_index=True)
        outer = np.zeros(len(groups), dtype=np.int64) if within is None else within[first]
        fits = first.tolist()
        grids = self._find_grids(ids)
        outer_grids = {} if within is None else self._find_grids(within)
        columns = [self._column(key, fits, keys) for key in keys]
        labels = []
        for number, group in enumerate(groups.tolist()):
            named = {key: column[number] for key, column in zip(keys, columns, strict=True)}
            is_outside = outer_grids.get(int(outer[number])) is not None
            labels.append(_join(named, grids[group], outer_keys if is_outside else ()))
        same: dict[tuple[int, str], list[int]] = {}
        for number, label in enumerate(labels):
            same.setdefault((int(outer[number]), label), []).append(number)

        for alike in same.values():
            if len(alike) > 1:
                more = self._tell_apart([fits[number] for number in alike], sections)
                for number, words in zip(alike, more, strict=True):
                    labels[number] = f"{labels[number]} {words}".strip()
        return [labels[number] for number in np.searchsorted(groups, ids).tolist()]

    def find_value(self, key: str, fit: int) -> Any:
        """Return the value of a key for a fit.

        None where there is no such key.

        Of a group it is the name that was chosen.
        """
        if key in self.chosen:
            return self.chosen[key][fit]
        part: Any = self.configs[fit]
        for name in key.split("."):
            part = part.get(name) if isinstance(part, Mapping) else None
        return part.get("name") if isinstance(part, Mapping) else part

    def _find_grids(self, ids: GroupIds) -> dict[int, GridLabel | None]:
        """Return the label of each group's grid, None if its fits are of several."""
        found: dict[int, GridLabel | None] = {}
        for group, label in zip(ids.tolist(), self.grids, strict=True):
            if found.setdefault(group, label) != label:
                found[group] = None
        return found

    def _column(self, key: str, fits: Sequence[int], keys: Sequence[str]) -> list[str]:
        """Return the word of a key for each fit, with the digits that tell its values apart."""
        ends = [other.rpartition(".")[2] for other in keys]
        end = key.rpartition(".")[2]
        named = key in GROUPS or key in VALUE_ONLY_KEYS
        start = "" if named else f"{end if ends.count(end) == 1 else key}="

        values = [self.find_value(key, fit) for fit in fits]
        different = {canonical_json(value): value for value in values}
        words = {text: _shorten(value) for text, value in different.items()}
        if len(set(words.values())) < len(words):
            words = {text: write_value(value) for text, value in different.items()}
        return ["" if value is None else start + words[canonical_json(value)] for value in values]

    def _tell_apart(self, fits: Sequence[int], sections: Sequence[str]) -> list[str]:
        """Return words of as many keys as tell groups apart, otherwise numbers."""
        labels = [""] * len(fits)
        for key in self._different_keys(fits, sections):
            words = self._column(key, fits, [key])
            longer = [f"{label} {word}".strip() for label, word in zip(labels, words, strict=True)]
            if len(set(longer)) > len(set(labels)):
                labels = longer
            if len(set(labels)) == len(labels):
                return labels
        return [f"{label} #{number}".strip() for number, label in enumerate(labels, 1)]

    def _different_keys(self, fits: Sequence[int], sections: Sequence[str]) -> Iterator[str]:
        """Yield the keys below some sections in which fits differ, but for repetitions."""
        configs = []
        keys: dict[str, None] = {}
        for fit in fits:
            config = flatten_config({name: self.configs[fit].get(name) for name in sections})
            configs.append(config)
            keys |= dict.fromkeys(config)
        for key in keys:
            if not is_seed_key(key) and len({canonical_json(own.get(key)) for own in configs}) > 1:
                yield key


def _join(words: Mapping[str, str], grid: GridLabel | None, outer_keys: Sequence[str]) -> str:
    """Join the words of keys; a grid's label takes the place of those that it stands for.

    It is left out if it stands for some of `outer_keys`: the larger group is labelled by it.
    """
    kept = [word for key, word in words.items() if grid is None or not grid.stands_for(key)]
    if grid is not None and len(kept) < len(words) and not any(map(grid.stands_for, outer_keys)):
        kept.insert(0, grid.text)
    return " ".join(filter(None, kept))


def _shorten(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else write_value(value)
