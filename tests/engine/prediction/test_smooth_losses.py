"""What theory says of losses of classes and counts, against what fits then do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import Theory, largest_stable_lr_of_fit, predict_from_fit
from linfit.tracking.schema.run_records import collect_metrics
from tests.helpers import config

CLASSES = {"name": "classes", "n": 60, "p": 3, "label_noise": 0.2}
COUNTS = {"name": "counts", "n": 60, "p": 3}
RIDGE = {"name": "ridge", "strength": 0.05}
#: Loss, its data, and whether its curvature is bounded.
LOSSES: tuple[tuple[str, dict[str, Any], bool], ...] = (
    ("logistic", CLASSES, True),
    ("squared_hinge", CLASSES, True),
    ("cross_entropy", {**CLASSES, "classes": 3}, True),
    ("poisson", COUNTS, False),
)


def run(loss: str, data: dict[str, Any], lr: float, **parts: Any) -> tuple[Fit, Theory]:
    chosen = {
        "dataset": data,
        "loss": loss,
        "dtype": "float64",
        "steps": 400,
        "optimizer": {"name": "sgd", "lr": lr},
        "record": {"every": 1},
        **parts,
    }
    found = fit(config(**chosen))
    theory = predict_from_fit(found)
    assert theory is not None, found.error
    return found, theory


@pytest.mark.parametrize(("loss", "data", "is_bounded"), LOSSES, ids=lambda part: str(part)[:15])
def test_late_steps_contract_as_the_curvature_at_the_optimum_says(
    loss: str, data: dict[str, Any], is_bounded: bool
) -> None:
    _, theory = run(loss, data, 0.01, penalty=RIDGE, steps=1)
    assert theory.largest_curvature is not None and theory.smallest_curvature is not None
    assert theory.condition == theory.largest_curvature / theory.smallest_curvature
    lr = 1 / theory.largest_curvature
    found, theory = run(loss, data, lr, penalty=RIDGE, steps=800)
    assert theory.smallest_curvature is not None
    assert theory.rate == pytest.approx(1 - lr * theory.smallest_curvature, rel=1e-10)
    excess = found.excess_losses
    late = np.flatnonzero(excess < 1e-16 * excess[0])
    assert len(late) > 5
    measured = (excess[late[5]] / excess[late[0]]) ** (1 / 10)
    assert measured == pytest.approx(theory.rate, rel=0.02)
    assert theory.attained
    assert theory.gap is not None and 0 < theory.gap < 1e-25


@pytest.mark.parametrize(("loss", "data", "is_bounded"), LOSSES, ids=lambda part: str(part)[:15])
def test_gradient_descent_falls_at_every_step_below_the_stable_rate(
    loss: str, data: dict[str, Any], is_bounded: bool
) -> None:
    first, theory = run(loss, data, 0.01, penalty=RIDGE, steps=1)
    assert largest_stable_lr_of_fit(first) == theory.largest_stable_lr
    if not is_bounded:
        assert theory.largest_stable_lr is None
        return
    assert theory.largest_stable_lr is not None
    found, _ = run(loss, data, 0.99 * theory.largest_stable_lr, penalty=RIDGE, steps=60)
    excess = found.excess_losses
    assert (np.diff(excess) < 1e-15 * excess[0]).all()


def test_the_stable_rate_of_logistic_regression_is_that_of_a_quarter() -> None:
    found, theory = run("logistic", CLASSES, 0.1, steps=1)
    assert found.problem is not None
    X = found.problem.X
    largest = np.linalg.eigvalsh(X.T @ X / len(X)).max()
    assert theory.largest_stable_lr == pytest.approx(2 / (0.25 * largest))
    moving = {"name": "sgd", "lr": 0.1, "momentum": 0.5}
    assert run("logistic", CLASSES, 0.1, optimizer=moving)[1].largest_stable_lr is None


def test_where_there_is_no_minimum_distances_are_absent_and_a_note_says_so() -> None:
    apart = {**CLASSES, "label_noise": 0.0, "separation": 50.0}
    found, theory = run("logistic", apart, 1.0)
    numbers = theory.to_numbers()
    assert numbers["attained"] == 0
    assert numbers["minimal_loss"] == 0
    assert not {"rate", "condition", "optimum/0"} & set(numbers)
    assert math.isnan(found.distance_to_optimum)
    assert "distance_to_optimum" not in {name for name, _, _ in collect_metrics(found)}
    assert found.problem is not None
    (note,) = [note for note in found.problem.notes if "no minimum" in note]
    assert "add penalty=ridge" in note
    np.testing.assert_allclose(found.excess_losses, found.losses, rtol=1e-12)
    kept, theory = run("logistic", apart, 1.0, penalty=RIDGE)
    assert theory.attained
    assert kept.distance_to_optimum > 0
