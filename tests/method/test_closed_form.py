"""The exact answer as an optimizer: which of many answers it finds, and that it stays there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import predict_from_fit
from tests.helpers import DTYPES, config

ENGINES = ("single", "stacked")
#: More features than samples; columns that depend on each other (a constant beside an intercept);
#: neither.
PROBLEMS: dict[str, dict[str, Any]] = {
    "wide": {"dataset": {"name": "random_linear", "n": 4, "p": 7, "q": 2, "condition": 2.0}},
    "dependent": {"features": {"name": "raw", "intercept": True}},
    "plain": {"dataset": {"name": "random_linear", "q": 3}},
}


def run(engine: str, **parts: Any) -> Fit:
    found = fit(
        config(
            **{
                "optimizer": "closed_form",
                "engine": engine,
                "steps": 3,
                "record": {"every": 1},
                "dtype": "float64",
                **parts,
            }
        )
    )
    assert found.error is None, found.error
    return found


@pytest.mark.parametrize("model", ["tensor", "linear"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_first_step_lands_on_the_optimum_and_later_ones_stay(
    engine: str, dtype: str, model: str
) -> None:
    found = run(engine, dtype=dtype, model=model, **PROBLEMS["plain"])
    assert found.path is not None and found.optimum is not None
    start, *after = found.path.weights
    assert not np.allclose(start, found.optimum.weights)
    for weights in after:
        np.testing.assert_array_equal(weights, found.optimum.weights.astype(dtype))
    assert (
        found.losses[0]
        > found.losses[1]
        == found.losses[3]
        == pytest.approx(found.optimum.loss, rel=1e-5)
    )
    assert found.steps_to_tolerance == 1
    theory = predict_from_fit(found)
    assert theory is not None and (theory.rate, theory.steps_to_tolerance) == (0.0, 1)


@pytest.mark.parametrize("strength", [0.0, 0.5])
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("engine", ENGINES)
def test_of_many_solutions_it_is_the_smallest(engine: str, name: str, strength: float) -> None:
    found = run(
        engine,
        penalty={"name": "ridge", "strength": strength} if strength else "none",
        loss="mse",
        **PROBLEMS[name],
    )
    assert found.problem is not None
    X, y = found.problem.X, found.problem.y
    n, p = X.shape
    decay = strength / 2 * n * y.shape[1]
    penalized = np.eye(p)
    if found.config.features.intercept:
        penalized[-1] = 0  # the intercept, which features add
    A, b = np.vstack([X, np.sqrt(decay) * penalized]), np.vstack([y, np.zeros((p, y.shape[1]))])
    np.testing.assert_allclose(
        found.weights, np.linalg.pinv(A, rcond=1e-12) @ b, rtol=1e-9, atol=1e-11
    )


@pytest.mark.matrix
def test_a_stack_of_different_data_has_the_answers_of_each() -> None:
    configs = [
        config(optimizer="closed_form", seed=seed, engine="stacked", steps=2, dtype="float64")
        for seed in range(5)
    ]
    together, alone = fit(configs), [fit(one) for one in configs]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        assert one.losses.tolist() == other.losses.tolist()
    assert len({one.weights.tobytes() for one in together}) == 5


def test_it_stops_where_it_is_told_to() -> None:
    found = run("single", steps=50, stop={"excess_loss": 1e-9}, **PROBLEMS["plain"])
    assert (found.status, found.steps[-1]) == ("converged", 1)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match="closed_form minimizes quadratic losses, not huber: "
        "choose another optimizer, or loss=mse",
    ):
        config(optimizer="closed_form", loss="huber")
    with pytest.raises(
        ValueError,
        match="optimizer closed_form works with all samples at once: "
        "choose batch=full, or another optimizer",
    ):
        config(optimizer="closed_form", batch="minibatch")
    with pytest.raises(ValueError, match="closed_form has no lr to schedule"):
        config(optimizer="closed_form", schedule="step")
