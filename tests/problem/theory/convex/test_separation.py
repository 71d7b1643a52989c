"""Losses without a minimum are recognized, with the infimum that they have."""

from __future__ import annotations

import numpy as np
import pytest

from linfit.problem.losses import CrossEntropy, Logistic, Loss, Poisson, SquaredHinge
from linfit.problem.theory.ambiguity import describe_ambiguity
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.types import Array, Mask
from tests.helpers import problem
from tests.problem.theory.convex.test_minimize import draw, evaluate, minimize

INTERCEPT = np.ones((40, 1))
FLAG = (np.arange(40) >= 30).astype(float)[:, None]
X40 = np.random.default_rng(0).standard_normal((40, 2))
MIXED = (np.arange(40) % 2).astype(float)[:, None]
CLASSES = np.eye(3)[np.where(FLAG[:, 0] > 0, 2, np.arange(40) % 2)]
COUNTS = np.where(FLAG > 0, 0.0, 1.0 + np.arange(40)[:, None] % 3)
#: Loss, features, targets, the number of separated samples or classes, the samples left over.
TABLE: dict[str, tuple[Loss, Array, Array, int, Mask]] = {
    "a plane": (Logistic(), X40, np.heaviside(X40[:, :1], 0), 40, FLAG < 0),
    "one class": (Logistic(), INTERCEPT, INTERCEPT, 40, FLAG < 0),
    "a category of one class": (
        Logistic(),
        np.hstack([INTERCEPT, X40, FLAG]),
        np.maximum(MIXED, FLAG),
        10,
        FLAG == 0,
    ),
    "three planes": (
        CrossEntropy(),
        np.eye(3)[np.arange(40) % 3],
        np.eye(3)[np.arange(40) % 3],
        80,
        FLAG < 0,
    ),
    "a class apart": (CrossEntropy(), np.hstack([INTERCEPT, X40, FLAG]), CLASSES, 50, FLAG == 0),
    "no counts": (Poisson(), INTERCEPT, 0 * INTERCEPT, 40, FLAG < 0),
    "a category without counts": (
        Poisson(),
        np.hstack([INTERCEPT, X40, FLAG]),
        COUNTS,
        10,
        FLAG == 0,
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_has_no_minimum_has_an_infimum(case: str) -> None:
    loss, X, y, separated, left = TABLE[case]
    found = minimize(loss, X, y)
    assert not found.attained
    assert found.around.gone.sum() == separated  # type: ignore[attr-defined]
    if not left.any():
        assert found.objective == 0
        return
    rest = minimize(loss, X[left[:, 0]], y[left[:, 0]][:, : y.shape[1]])
    share = left.mean()
    assert found.objective == pytest.approx(share * rest.objective, rel=1e-10)


@pytest.mark.parametrize("case", TABLE)
def test_excess_is_measured_from_the_infimum(case: str) -> None:
    loss, X, y, _, _ = TABLE[case]
    found = minimize(loss, X, y)
    stream = np.random.default_rng(1)
    for size in (0.0, 1.0, 5.0):
        W = size * stream.standard_normal(found.weights.shape)
        excess = float(found.around.excess(W - found.weights))
        there = evaluate(loss, X, y, W, 0)
        assert excess == pytest.approx(there - found.objective, rel=1e-9)


@pytest.mark.parametrize("case", TABLE)
def test_a_penalty_gives_a_minimum(case: str) -> None:
    loss, X, y, _, _ = TABLE[case]
    found = minimize(loss, X, y, 0.1)
    assert found.attained
    assert found.gap is not None
    assert found.gap < 1e-25


def test_one_class_is_separated_by_an_intercept_that_no_penalty_holds() -> None:
    X = np.hstack([X40, INTERCEPT])
    found = minimize(Logistic(), X, INTERCEPT, 0.1, exempt=True)
    assert not found.attained
    assert found.objective == 0
    assert minimize(Logistic(), X, MIXED, 0.1, exempt=True).attained


def test_a_loss_that_reaches_its_infimum_has_a_minimum() -> None:
    found = minimize(SquaredHinge(), X40, np.sign(X40[:, :1]))
    assert found.attained
    assert found.objective < 1e-25


@pytest.mark.parametrize("loss", [Logistic(), CrossEntropy(), Poisson()], ids=lambda x: x.name)
def test_a_single_sample_on_the_other_side_makes_a_minimum(loss: Loss) -> None:
    X, y = draw(loss, 60, 3)
    assert minimize(loss, X, y).attained


def test_a_note_on_many_optima_names_the_one_that_is_meant_if_there_is_one() -> None:
    twice = np.hstack([X40, X40[:, :1]])
    for y, meant in ((MIXED, ["the one of smallest norm"]), (np.heaviside(X40[:, :1], 0), [])):
        data = problem(twice, y)
        note = describe_ambiguity(find_optimum(data, Logistic()), data)
        assert [words for words in meant if note and words in note] == meant
        assert (note is None) == (not meant)
