"""What repeats a setting in a sweep: seeds, folds, or both; and which repetitions share rows.

r fits of a sweep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from linfit.views.analysis.group_labels import GroupIds
from linfit.views.analysis.grouping import SweptKeys

FOLD_KEY = "split.fold"


@dataclass(frozen=True)
class Replicates:
    """The words for one repetition and for several, and how to ask for more of them."""

    one: str = "seed"
    many: str = "seeds"
    advice: str = "as seed=range(0,10)"

    def count(self, number: float) -> str:
        """Return the number in words: `one seed`, `5 folds`."""
        return f"{number:.0f} {self.one if number == 1 else self.many}"


SEEDS = Replicates()
FOLDS = Replicates("fold", "folds", "as split.k=10 split.fold=range(0,10)")
FOLDS_AND_SEEDS = Replicates("fold × seed", "folds × seeds", FOLDS.advice)


def name_replicates(keys: SweptKeys) -> Replicates:
    """Return what repeats the settings of a sweep that varies these keys."""
    if FOLD_KEY not in keys.seeds:
        return SEEDS
    return FOLDS if keys.seeds == (FOLD_KEY,) else FOLDS_AND_SEEDS


def identify_held_rows(
    configs: Sequence[Mapping[str, Any]], repetitions: GroupIds, keys: SweptKeys
) -> GroupIds:
    """Return a number for each fit `[r]`, equal where the compared loss may be of the same rows.

    Without folds, each repetition has its own. Of one data set, parts that were drawn once are
    disjoint, and each fold has its own rows. Parts that were drawn several times overlap: all folds
    of such data count as one.
    """
    if FOLD_KEY not in keys.seeds:
        return repetitions
    frame = _list_draws(configs)
    is_drawn_once = frame.groupby("data")["draw"].transform("nunique") == 1
    frame["fold"] = np.where(is_drawn_once, frame["fold"], -1)
    numbers: GroupIds = frame.groupby(["data", "fold"], sort=False).ngroup().to_numpy(np.int64)
    return numbers


def has_overlapping_folds(configs: Sequence[Mapping[str, Any]], keys: SweptKeys) -> bool:
    """Return True if a sweep has folds of parts that were drawn several times of one data set."""
    if FOLD_KEY not in keys.seeds:
        return False
    return bool((_list_draws(configs).groupby("data")["draw"].nunique() > 1).any())


def _list_draws(configs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return what draws the data and the parts of each fit, and its fold."""
    data = [_find_seed(config, "dataset") for config in configs]
    draws = [_identify_parts(config) for config in configs]
    folds = [config["split"].get("fold", -1) for config in configs]
    return pd.DataFrame({"data": data, "draw": draws, "fold": folds})


def _identify_parts(config: Mapping[str, Any]) -> str:
    return f"{config['split'].get('k')} parts of {_find_seed(config, 'split')}"


def _find_seed(config: Mapping[str, Any], section: str) -> int:
    """Return the seed of a section, which may follow the fit's; −1 if it draws nothing."""
    own = config[section]
    if "seed" not in own:
        return -1
    return int(config.get("seed", 0) if own["seed"] is None else own["seed"])
