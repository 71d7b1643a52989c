"""Stopping rules, in both engines: a fit ends as converged at the first step that satisfies one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from tests.helpers import DTYPES, config

ENGINES = ("single", "stacked")
SGD = {"name": "sgd", "lr": 2e-3}


def run(engine: str, stop: dict[str, Any], **parts: Any) -> Fit:
    """The fit, beside others that stop elsewhere or not at all."""
    own = {"optimizer": SGD, "steps": 300, "seed": 3, "engine": engine, **parts}
    neighbours = [
        config(**{**own, "seed": 1, "stop": {}}),
        config(**{**own, "stop": {"excess_loss": 0.5}}),
    ]
    return fit([neighbours[0], config(**own, stop=stop), neighbours[1]])[1]


def whole(fitted: FitConfig) -> Fit:
    """The same fit without a rule, every step recorded."""
    data = {
        **fitted.as_dict(),
        "stop": {"divergence": fitted.stop.divergence},
        "record": {"every": 1},
    }
    return fit(FitConfig.model_validate(data))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("share", [0.5, 1e-3, 1e-6, 1e-9])
def test_it_ends_at_the_first_step_of_so_small_an_excess_loss(
    share: float, engine: str, dtype: str
) -> None:
    found = run(engine, {"excess_loss": share}, dtype=dtype)
    path = whole(found.config)
    at = int(np.argmax(path.excess_losses <= share * path.excess_losses[0]))
    assert at > 0
    assert (found.status, found.steps[-1]) == (Status.CONVERGED, at)
    assert found.losses.tolist() == path.losses[found.steps].tolist()
    assert path.path is not None and found.weights.tobytes() == path.path.weights[at].tobytes()
    assert found.loss == found.losses[-1]
    assert found.steps_to_tolerance == (path.steps_to_tolerance if share <= 1e-6 else None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("share", [0.5, 1e-2, 1e-4])
def test_it_ends_at_the_first_step_of_so_small_a_gradient(
    share: float, engine: str, dtype: str
) -> None:
    found = run(engine, {"gradient_norm": share}, dtype=dtype, record={"every": 1})
    path = whole(found.config)
    assert path.path is not None and path.problem is not None
    X, y = path.problem.X, path.problem.y
    norms = np.linalg.norm(
        [2 * X.T @ (X @ weights - y) for weights in path.path.weights], axis=(1, 2)
    )
    at = int(np.argmax(norms <= share * norms[0]))
    assert at > 0
    assert (found.status, found.steps[-1]) == (Status.CONVERGED, at)
    assert found.losses.tolist() == path.losses[: at + 1].tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_of_two_rules_the_first_that_holds_ends_it(engine: str) -> None:
    ends = [
        run(engine, stop).steps[-1]
        for stop in ({"excess_loss": 1e-4}, {"gradient_norm": 0.1}, {"gradient_norm": 1e-4})
    ]
    assert run(engine, {"excess_loss": 1e-4, "gradient_norm": 0.1}).steps[-1] == min(ends[:2])
    assert run(engine, {"excess_loss": 1e-4, "gradient_norm": 1e-4}).steps[-1] == min(
        ends[0], ends[2]
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rule_that_is_never_satisfied_changes_nothing(engine: str) -> None:
    found, free = run(engine, {"excess_loss": 1e-300, "gradient_norm": 1e-300}), run(engine, {})
    assert found.status is free.status is Status.COMPLETED
    assert found.losses.tobytes() == free.losses.tobytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_start_at_the_answer_has_converged_before_the_first_step(engine: str) -> None:
    exact = {"name": "polynomial", "degree": 1, "coefficients": [2.0, 3.0], "noise": 0.0, "n": 5}
    start = {"name": "given", "weights": [2.0, 3.0]}
    found = run(engine, {"gradient_norm": 0.5}, dataset=exact, init=start, dtype="float64")
    assert (found.status, found.steps.tolist()) == (Status.CONVERGED, [0])


@pytest.mark.parametrize("engine", ENGINES)
def test_what_diverges_does_not_converge_and_what_has_converged_does_not_diverge(
    engine: str,
) -> None:
    wild = {
        "name": "sgd",
        "lr": 1e-2,
    }  # the excess loss falls at no step, and the loss is above its limit after a few
    assert run(engine, {"excess_loss": 1e-3}, optimizer=wild).status is Status.DIVERGED
    rule = {"excess_loss": 0.9999, "gradient_norm": 1e-9, "divergence": 1.5}
    slow = run(engine, rule, optimizer={"name": "sgd", "lr": 1e-3})
    assert (slow.status, slow.steps.tolist()) == (Status.CONVERGED, [0, 1])


def test_rules_are_in_the_fingerprint_only_where_they_are_set() -> None:
    assert config(stop={"excess_loss": None}).fingerprint() == config().fingerprint()
    assert (
        len(
            {
                config(stop=stop).fingerprint()
                for stop in ({}, {"excess_loss": 0.1}, {"gradient_norm": 0.1})
            }
        )
        == 3
    )
