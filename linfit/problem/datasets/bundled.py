"""The sets that scikit-learn ships."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np

from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.problem import Problem
from linfit.script_fragments import Lines, ScriptScope

#: Numbers of features and targets of each set.
BUNDLED_SHAPES = {
    "diabetes": (10, 1),
    "linnerud": (3, 3),
    "iris": (4, 1),
    "wine": (13, 1),
    "breast_cancer": (30, 1),
    "digits": (64, 1),
}


class Sklearn(Dataset):
    """Set that scikit-learn ships, of numbers or of classes.

    `diabetes` has 442 × 10 features, scaled by scikit-learn; `linnerud` has 20 × 3, and 3 targets.
    The others have classes, numbered from 0 as scikit-learn does: `iris` 150 × 4 and `wine` 178 ×
    13 have 3, `breast_cancer` 569 × 30 has 2, of which 0 is malignant, `digits` 1,797 × 64 has 10.
    """

    name: Literal["sklearn"] = "sklearn"
    set: Literal["diabetes", "linnerud", "iris", "wine", "breast_cancer", "digits"]

    def shape(self) -> tuple[int, int]:
        return BUNDLED_SHAPES[self.set]

    def resolve_seed(self, seed: int) -> int | None:
        return None

    def load(self, seed: int) -> Problem:
        return _bundled(self.set)

    def script_lines(self, scope: ScriptScope) -> Lines:
        return (
            f"bundled = datasets.load_{self.set}()",
            "X, y = bundled.data, bundled.target.reshape(len(bundled.data), -1)  # [n, p], [n, q]",
        )


@cache
def _bundled(name: str) -> Problem:
    """Return a set of scikit-learn's. It is read once, and its arrays are read-only."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    X = np.array(found.data, dtype=np.float64)
    y = np.array(found.target, dtype=np.float64).reshape(len(found.data), -1)
    X.flags.writeable = False
    y.flags.writeable = False
    targets: tuple[str, ...] = ("y",)
    if name == "linnerud":
        targets = tuple(found.target_names)
    elif "target_names" in found:  # which are then those of classes
        targets = ("class",)
    features = tuple(map(str, found.feature_names))
    return Problem(X, y, features, targets, f"sklearn:{name}")
