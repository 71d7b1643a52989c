"""Labels of grids: the word of an experiment for the settings of one of its grids.

A label changes no number, so it is no part of a config. It stands among the overrides of each fit
of its grid, and is stored with them, before the keys that are named beside it:

    hydra.sweeper.label=["with momentum","optimizer.lr","seed"]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

LABEL_KEY = "hydra.sweeper.label"
_START = f"{LABEL_KEY}="


class GridLabel(NamedTuple):
    """The label of a grid, and the keys with several values in it: they are named beside it."""

    text: str
    named: tuple[str, ...]

    @property
    def override(self) -> str:
        """The label as the last override of a fit; JSON is a list in Hydra's grammar too."""
        words = [self.text, *self.named]
        return _START + json.dumps(words, ensure_ascii=False, separators=(",", ":"))

    def stands_for(self, key: str) -> bool:
        """Return True unless a key, or the section above it, is named beside the label."""
        return not any(key == named or key.startswith(f"{named}.") for named in self.named)


def find_label(overrides: Sequence[str]) -> GridLabel | None:
    """Return the label among the overrides of a fit, None if its grid has none."""
    for override in reversed(overrides):
        if override.startswith(_START):
            return _read_label(override.removeprefix(_START))
    return None


def is_label(override: str) -> bool:
    """Return True for the override that labels a fit."""
    return override.startswith(_START)


def _read_label(written: str) -> GridLabel | None:
    """Read a label; None if somebody else has written it."""
    try:
        text, *named = map(str, json.loads(written))
    except (ValueError, TypeError, RecursionError):
        return None
    return GridLabel(text, tuple(named))
