"""Optimizers whose constants follow from the problem, against torch and the textbook."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit
from linfit.method.optimizers import Optimizer
from linfit.problem.losses import SSE
from linfit.problem.theory.optimum import Optimum, find_optimum
from tests.helpers import conditioned, config, problem

ENGINES = ("single", "stacked")


def linear(condition: float, **fields: object) -> dict[str, object]:
    return {"name": "random_linear", "n": 40, "p": 6, "condition": condition, **fields}


def run(
    engine: str,
    optimizer: object,
    condition: float,
    steps: int,
    model: str = "linear",
    **fields: object,
) -> Fit:
    found = fit(
        config(
            optimizer=optimizer,
            dataset=linear(condition, **fields),
            steps=steps,
            engine=engine,
            dtype="float64",
            record={"every": 1},
            model=model,
        )
    )
    assert found.error is None, found.error
    return found


@pytest.mark.parametrize(("name", "nesterov"), [("heavy_ball", False), ("nesterov", True)])
def test_with_constants_given_the_steps_are_torchs(name: str, nesterov: bool) -> None:
    ours, torchs = (
        torch.tensor([[1.0], [-2.0]], dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    stepper = Optimizer.choose({"name": name, "lr": 0.1, "momentum": 0.8}).build(ours, 4)
    reference = torch.optim.SGD([torchs], lr=0.1, momentum=0.8, nesterov=nesterov)
    for k in range(20):
        for parameter in (ours, torchs):
            parameter.grad = (
                torch.tensor([[2.0], [0.5]], dtype=torch.float64) * parameter.detach() + k
            )
        stepper.step()
        reference.step()
    torch.testing.assert_close(ours, torchs, rtol=1e-14, atol=0)


def spectrum(*curvatures: float) -> Optimum:
    return find_optimum(
        problem(np.diag(np.sqrt(np.array(curvatures) / 2)), np.ones((len(curvatures), 1))), SSE()
    )


@pytest.mark.parametrize("name", ["heavy_ball", "nesterov"])
@pytest.mark.parametrize("curvatures", [(100.0, 30.0, 1.0), (4.0, 4.0), (9.0, 0.0), (5.0, 1e-9)])
def test_no_other_constants_contract_faster(name: str, curvatures: tuple[float, ...]) -> None:
    """The step's largest eigenvalue over all curvatures is least at the constants of theory."""
    known = spectrum(*curvatures)
    seen = [curvature for curvature in curvatures if curvature > 0]

    def contraction(lr: float, momentum: float) -> float:
        ahead = momentum if name == "nesterov" else 0.0
        matrices = [
            [[1 - lr * c * (1 + ahead), -lr * momentum * (momentum if ahead else 1)], [c, momentum]]
            for c in seen
        ]
        return float(np.abs(np.linalg.eigvals(np.array(matrices))).max())

    fields = Optimizer.choose(name).tuned_to(known).model_dump()
    best = contraction(fields["lr"], fields["momentum"])
    for lr in np.geomspace(0.5, 2, 21) * fields["lr"]:
        for momentum in np.clip(fields["momentum"] + np.linspace(-0.2, 0.2, 21), 0, 0.999999):
            assert contraction(float(lr), float(momentum)) >= best - 1e-3 * (1 - best) - 1e-7


def test_a_constant_that_is_given_is_kept() -> None:
    known = spectrum(4.0, 1.0)
    for name in ("heavy_ball", "nesterov"):
        free = Optimizer.choose(name).tuned_to(known).model_dump()
        assert Optimizer.choose({"name": name, "lr": 0.25}).tuned_to(known).model_dump() == {
            **free,
            "lr": 0.25,
        }
        assert Optimizer.choose({"name": name, "momentum": 0.0}).tuned_to(known).model_dump() == {
            **free,
            "momentum": 0.0,
        }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("q", [1, 6])
@pytest.mark.parametrize("model", ["tensor", "linear"])
def test_conjugate_gradients_end_after_as_many_steps_as_there_are_features(
    engine: str, q: int, model: str
) -> None:
    found = run(engine, "conjugate_gradient", 10.0, 12, model, q=q)
    assert found.excess_losses[6] <= 1e-18 * found.excess_losses[0] < found.excess_losses[5]
    assert all(
        after <= before * (1 + 1e-9) + 1e-24 for before, after in pairwise(found.excess_losses)
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("preconditioner", ["none", "jacobi"])
def test_conjugate_gradients_take_the_steps_of_the_textbook(
    engine: str, preconditioner: str
) -> None:
    """Golub and Van Loan, Matrix Computations, 4th ed., §11.5.2, with its preconditioner."""
    found = run(engine, {"name": "conjugate_gradient", "preconditioner": preconditioner}, 30.0, 5)
    assert found.path is not None and found.problem is not None
    X, y = found.problem.X, found.problem.y
    H, w = 2 * X.T @ X, found.path.weights[0]
    scale = np.diag(H)[:, None] if preconditioner == "jacobi" else np.ones((len(H), 1))
    r = 2 * X.T @ y - H @ w
    d = z = r / scale
    for weights in found.path.weights[1:]:
        alpha = (r.T @ z) / (d.T @ H @ d)
        w, before = w + alpha * d, r.T @ z
        r = r - alpha * (H @ d)
        z = r / scale
        d = z + (r.T @ z) / before * d
        np.testing.assert_allclose(weights, w, rtol=0, atol=1e-9 * np.abs(w).max())


@pytest.mark.parametrize("engine", ENGINES)
def test_as_many_steps_as_different_curvatures_and_none_where_there_is_nothing_to_gain(
    engine: str,
) -> None:
    assert run(engine, "conjugate_gradient", 1.0, 3).excess_losses[1] < 1e-25
    still = fit(
        config(
            optimizer="conjugate_gradient",
            dataset={"name": "polynomial", "degree": 1, "coefficients": [2.0, 3.0], "noise": 0.0},
            init={"name": "given", "weights": [2.0, 3.0]},
            steps=5,
            engine=engine,
        )
    )
    assert still.weights.ravel().tolist() == [2.0, 3.0]


def test_more_features_than_samples_are_no_obstacle() -> None:
    X = conditioned(5, n=6, p=4, seed=2).T  # [4, 6]
    known = find_optimum(problem(X, np.ones((4, 1))), SSE())
    largest, smallest = known.curvature_range
    assert largest / smallest == pytest.approx(25)
    wide = {"name": "random_linear", "n": 4, "p": 9, "condition": 5.0}
    for engine in ENGINES:
        for name, steps in (("heavy_ball", 200), ("nesterov", 200), ("conjugate_gradient", 6)):
            found = fit(
                config(dataset=wide, optimizer=name, steps=steps, engine=engine, dtype="float64")
            )
            assert found.excess_losses[-1] < 1e-18 * found.excess_losses[0]
