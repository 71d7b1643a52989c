"""The experiments that linfit ships ask what their first line says, and run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers import EXPERIMENTS

#: The number of fits of each study, in words of its own YAML.
STUDIES = {
    "optimizers": 6 * 5 * 10,
    "logistic": 5 * (3 * 3 + 2),
    "counts": 10 * (3 * 3 + 1),
    "lasso_path": 13 * 5,
    "digits": 2 * (2 * 2 + 1),
    "benchopt/ols": 3 * 6,
    "benchopt/ridge": 3 * 7,
    "benchopt/lasso": 3 * 3,
    "benchopt/logreg_l2": 3 * 4,
    "benchopt/huber": 3 * 4,
    "benchopt/quantile": 3 * 3 * 3,
}


def test_the_table_has_every_study() -> None:
    files = [*EXPERIMENTS.glob("*.yaml"), *EXPERIMENTS.glob("benchopt/*.yaml")]
    names = {file.relative_to(EXPERIMENTS).with_suffix("").as_posix() for file in files}
    assert names == set(STUDIES)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "digits" else []) for name in STUDIES],
)
def test_a_study_runs(name: str, linfit: Callable[..., Any]) -> None:
    done = linfit("run", name, "steps=2", "tracking=none", "pictures=false")
    assert done.code == 0, done.err
    assert f"{STUDIES[name]} fits: " in done.out and "failed" not in done.out
