"""Twins, which differ by rounding only: they stay together if an iteration contracts, else part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.engine.rounding_twins import build_twins, compare_with_twins
from linfit.problem.datasets.arrays import Arrays
from tests.helpers import config

STAYS = {"name": "sgd", "lr": 0.005}
PARTS = {"name": "rmsprop", "lr": 0.1}


@pytest.mark.parametrize("engine", ["single", "stacked"])
def test_rmsprop_parts_from_its_twins_and_gradient_descent_does_not(engine: str) -> None:
    configs = [
        config(optimizer=optimizer, engine=engine, steps=1000) for optimizer in (STAYS, PARTS)
    ]
    stays, parts = compare_with_twins(configs)
    assert stays is not None and parts is not None
    assert (stays.step, stays.spread) == (None, 0.0)
    assert parts.step is not None and 10 < parts.step < 1000
    assert 0.01 < parts.spread < 10
    assert compare_with_twins(configs) == [stays, parts]


def test_twins_differ_by_rounding_only_and_leave_the_fit_as_it_is() -> None:
    features = {"name": "polynomial", "degree": 2, "scaling": "standardize"}
    own = config(
        features=features, split={"validation": 0.2}, optimizer=STAYS, dtype="float64", steps=3
    )
    before = own.fingerprint()
    beside, reverse = (fit(twin) for twin in build_twins(own))
    mine = fit(own)
    assert own.fingerprint() == before
    assert (
        beside.path is not None
        and mine.path is not None
        and mine.problem is not None
        and reverse.problem is not None
    )
    assert (beside.path.weights[0] == np.nextafter(mine.path.weights[0], np.inf)).all()
    assert isinstance(reverse.config.dataset, Arrays)
    assert (mine.problem.X[::-1] == reverse.problem.X).all()
    assert (reverse.problem.y == mine.problem.y[::-1]).all()
    for twin in (beside, reverse):
        np.testing.assert_allclose(twin.losses, mine.losses, rtol=1e-12)
    assert reverse.path is not None and (reverse.path.weights[0] == mine.path.weights[0]).all()


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        ({}, 2),
        ({"batch": "minibatch"}, 1),  # drawn by number: other samples would be drawn
        ({"gradient": "gram"}, 2),
        ({"loss": "huber"}, 2),
        (
            {
                "dataset": {
                    "name": "csv",
                    "path": "linfit:article.csv",
                    "features": ["x", "one"],
                    "target": "y",
                    "weight": "one",
                }
            },
            2,
        ),
        (
            {"dataset": {"name": "random_linear", "n": 2000, "p": 100}, "steps": 20_000},
            0,
        ),  # more products than it is worth
        ({"dataset": {"name": "random_linear", "p": 70, "q": 70}}, 0),
    ],
)
def test_what_has_which_twins(parts: dict[str, Any], count: int) -> None:
    assert len(build_twins(config(optimizer=STAYS, **parts))) == count


def test_fits_that_end_otherwise_have_their_say() -> None:
    diverges, fine = config(optimizer={"name": "sgd", "lr": 1.0}), config(optimizer=STAYS, steps=3)
    gone = config(dataset={"name": "csv", "path": "nowhere.csv", "features": ["a"], "target": "b"})
    found = compare_with_twins([diverges, gone, fine])
    assert found[0] is not None and (found[0].step, found[0].spread) == (None, 0.0)
    assert found[1] is None
    assert found[2] is not None
