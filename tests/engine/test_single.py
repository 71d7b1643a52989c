"""The single engine: repeated bits, statuses, recorded steps, devices, every combination."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from linfit.config import FitConfig
from linfit.engine.dispatch import fit, fit_as_completed
from linfit.engine.fit import Fit, Status
from linfit.method.gradients import Autograd
from linfit.method.init import Init
from linfit.method.models import Model, TensorPredictor
from linfit.method.optimizers import DescentStepper, ManualSGD, Optimizer
from linfit.settings import list_devices
from tests.engine.alone import config, tensors
from tests.helpers import (
    DATASETS,
    DEVICES,
    DTYPES,
    EXACT_GRADIENTS,
    GRADIENTS,
    INITS,
    LOSSES,
    MODELS,
    OPTIMIZERS,
    PROBLEMS,
    QUADRATIC_LOSSES,
    DatasetRow,
    DeviceRow,
    InitRow,
    LossRow,
    OptimizerRow,
    Row,
    cover_pairs,
    curvature,
    label,
    scratch_registry,
)

pytestmark = pytest.mark.usefixtures("one_thread")
#: A noise-free problem in small, exact numbers: the residuals at the truth are exactly 0.
EXACT = {
    "name": "polynomial",
    "degree": 1,
    "coefficients": [2.0, 3.0],
    "range": [-2.0, 2.0],
    "n": 5,
    "noise": 0.0,
}


#: A start beside the optimum of the default dataset.
NEAR = {"name": "given", "weights": [2.0, 3.05]}


def same_bits(one: Fit, other: Fit) -> bool:
    return (
        one.losses.tobytes() == other.losses.tobytes()
        and one.weights.tobytes() == other.weights.tobytes()
        and one.steps.tolist() == other.steps.tolist()
    )


# ---- the same again ----

TWICE = [
    config(
        dtype=dtype,
        model=model.name,
        optimizer=row.plain,
        gradient=gradient.name,
        dataset=dataset,
        init="torch_default",
        steps=20,
        seed=5,
    )
    for (row, dtype, model, gradient), dataset in zip(
        [
            (row, dtype, MODELS[i % 2], GRADIENTS[i % len(GRADIENTS)])
            for i, (row, dtype) in enumerate(product(OPTIMIZERS, DTYPES))
        ],
        # Arrays are in the memory of one process.
        [given for row in DATASETS if row.name != "arrays" for given in row.settings()],
        strict=False,
    )
]
PRINT_BITS = """
import json, sys
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
found = fit([FitConfig.model_validate(config) for config in json.loads(sys.argv[1])])
bits = [[one.status, one.losses.tobytes().hex(), one.weights.tobytes().hex()] for one in found]
print(json.dumps(bits))
"""


def bits(found: list[Fit]) -> list[list[str]]:
    return [[one.status, one.losses.tobytes().hex(), one.weights.tobytes().hex()] for one in found]


def test_the_same_config_gives_the_same_bits_in_whatever_company() -> None:
    first = fit(TWICE)
    assert bits(fit(TWICE[::-1]))[::-1] == bits(first)
    assert bits([fit(one) for one in TWICE]) == bits(first)
    assert len({losses for _, losses, _ in bits(first)}) == len(TWICE)


def test_the_same_config_gives_the_same_bits_in_another_process(tmp_path: Path) -> None:
    some = TWICE[::3]
    configs = json.dumps([one.as_dict() for one in some])
    printed = subprocess.run(
        [sys.executable, "-c", PRINT_BITS, configs],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(printed.stdout) == bits(fit(some))


def test_numbers_do_not_depend_on_what_was_recorded_or_called() -> None:
    base = config(steps=50, seed=2)
    assert (
        fit(base).weights.tobytes()
        == fit(config(steps=50, seed=2, record={"every": 7}, name="other")).weights.tobytes()
    )
    assert not same_bits(fit(base), fit(config(steps=50, seed=1)))
    assert same_bits(
        fit(base),
        fit(
            config(
                steps=50,
                seed=9,
                dataset={"name": "parabola", "seed": 2},
                init={"name": "normal", "seed": 2},
            )
        ),
    )


def state() -> list[Any]:
    return [
        torch.get_rng_state().tolist(),
        repr(np.random.get_state()),
        random.getstate(),
        torch.get_num_threads(),
        torch.get_num_interop_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        np.geterr(),
    ]


@pytest.mark.parametrize(
    ("init", "dataset", "model", "threads"),
    cover_pairs(INITS, [row for row in DATASETS if row.shapes[0][1:] == (2, 1)], MODELS, [1, 2]),
    ids=label,
)
def test_the_global_state_is_left_as_it_was(
    init: InitRow, dataset: DatasetRow, model: Row, threads: int
) -> None:
    torch.set_num_threads(3 - threads)
    before = state()
    found = fit(
        config(init=init.plain, dataset=dataset.plain, model=model.name, threads=threads, steps=3)
    )
    assert found.status == Status.COMPLETED
    assert state() == before


# ---- statuses ----


def brute_divergence(fitted: FitConfig, lr: float) -> tuple[list[float], list[torch.Tensor]]:
    """Gradient descent until the loss is not finite or above the limit; all losses and weights."""
    X, y, w = tensors(fitted)
    losses: list[float] = []
    weights: list[torch.Tensor] = []
    while not losses or (
        math.isfinite(losses[-1]) and losses[-1] <= fitted.stop.divergence * losses[0]
    ):
        losses.append(((X @ w - y) ** 2).sum().item())
        weights.append(w)
        w = w - lr * (2 * X.T @ (X @ w - y))
    return losses, weights


@pytest.mark.parametrize(
    ("init", "lr", "divergence", "dtype"),
    cover_pairs(["normal", NEAR], [0.01, 0.1, 1e3], [1e1, 1e6, 1e300], DTYPES),
    ids=label,
)
def test_divergence_is_found_at_its_step(
    init: Any, lr: float, divergence: float, dtype: str
) -> None:
    fitted = config(
        optimizer={"name": "manual_sgd", "lr": lr},
        init=init,
        gradient="manual",
        stop={"divergence": divergence},
        dtype=dtype,
        steps=5000,
        seed=1,
    )
    found = fit(fitted)
    losses, weights = brute_divergence(fitted, lr)
    assert found.status == Status.DIVERGED
    assert found.error is None
    assert found.diverged_at_step == len(losses) - 1 > 0
    assert found.steps[-1] == found.diverged_at_step
    assert found.steps.tolist() == [
        *(step for step in fitted.record.recorded_steps(5000) if step < len(losses) - 1),
        len(losses) - 1,
    ]
    np.testing.assert_allclose(
        found.losses,
        [losses[step] for step in found.steps],
        rtol=1e-2 if dtype == "float32" else 1e-9,
    )
    np.testing.assert_allclose(
        found.weights, weights[-1].numpy(), rtol=1e-2 if dtype == "float32" else 1e-9
    )
    assert found.loss == math.inf
    assert not found.losses[-1] <= divergence * found.losses[0]


@pytest.mark.parametrize(
    ("row", "lr", "dtype"), cover_pairs(OPTIMIZERS, [None, 1e3], DTYPES), ids=label
)
def test_the_last_point_belongs_to_the_stored_weights(
    row: OptimizerRow, lr: float | None, dtype: str
) -> None:
    found = fit(config(optimizer=row.at(lr or row.lr), dtype=dtype, steps=30, seed=1))
    assert found.problem is not None and found.path is not None
    seen = found.problem.cast(dtype)
    X, y = (torch.tensor(array, dtype=getattr(torch, dtype)) for array in (seen.X, seen.y))
    last = ((X @ torch.tensor(found.weights) - y) ** 2).sum().item()
    assert last == found.losses[-1] or (math.isnan(last) and math.isnan(found.losses[-1]))
    assert found.weights.tobytes() == found.path.weights[-1].tobytes()
    assert len(found.path.weights) == len(found.losses) == len(found.steps)


@pytest.mark.parametrize("divergence", [1e6, 1e300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_diverged_fit_can_be_looked_at(dtype: str, divergence: float) -> None:
    found = fit(
        config(
            optimizer={"name": "sgd", "lr": 1e100 if dtype == "float64" else 1e10},
            stop={"divergence": divergence},
            dtype=dtype,
        )
    )
    assert found.status == Status.DIVERGED
    assert len(found.excess_losses) == len(found.losses)
    assert found.distance_to_optimum > 1e6
    distance = found.distance_to_truth
    assert distance is not None and distance > 1e6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [[1e308, -1e308], [1e308, 1e308], [1e160, 0.0]], ids=str)
def test_a_start_at_nan_or_infinity_has_diverged_before_the_first_step(
    weights: list[float], dtype: str
) -> None:
    found = fit(config(init={"name": "given", "weights": weights}, dtype=dtype, steps=5))
    assert found.error is None
    assert (found.status, found.diverged_at_step, found.steps.tolist(), found.loss) == (
        Status.DIVERGED,
        0,
        [0],
        math.inf,
    )
    assert not math.isfinite(found.losses[0])
    assert found.steps_to_tolerance is None
    with np.errstate(over="ignore"):
        assert found.weights.tolist() == np.array(weights)[:, None].astype(dtype).tolist()


@pytest.mark.parametrize(
    ("row", "lr", "dtype"), cover_pairs(OPTIMIZERS, [1e-3, 1e-2], DTYPES), ids=label
)
def test_a_start_at_the_optimum_of_noise_free_data_does_not_diverge(
    row: OptimizerRow, lr: float, dtype: str
) -> None:
    """Rounding, or a decay of the weights, is any multiple of an initial loss of zero."""
    optimizer = row.at(lr)
    found = fit(
        config(
            dataset=EXACT,
            init={"name": "given", "weights": [2.0, 3.0]},
            optimizer=optimizer,
            dtype=dtype,
            steps=100,
        )
    )
    assert found.losses[0] == 0
    assert found.losses[-1] < 1e-2
    assert (found.status, found.diverged_at_step) == (row.status, None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", OPTIMIZERS, ids=label)
def test_a_start_beside_the_optimum_of_noise_free_data_does_not_diverge(
    row: OptimizerRow, dtype: str
) -> None:
    """Adam and its like make steps of size lr, however small the gradient: a small loss grows."""
    optimizer = row.at(1e-3)
    found = fit(
        config(
            dataset=EXACT,
            init={"name": "given", "weights": [2.0, 3.0000002]},
            optimizer=optimizer,
            dtype=dtype,
            steps=100,
        )
    )
    assert 0 < found.losses[0] < 1e-12
    assert found.losses[-1] < 1e-2
    assert (found.status, found.diverged_at_step) == (row.status, None)


def test_zero_targets_and_zero_weights_stay_zero() -> None:
    zero = {"name": "polynomial", "degree": 1, "coefficients": [0.0, 0.0], "noise": 0.0}
    for row in OPTIMIZERS:
        found = fit(config(dataset=zero, init="zeros", optimizer=row.steady, steps=5))
        assert (found.status, found.loss, found.weights.tolist()) == (
            row.status,
            0.0,
            [[0.0], [0.0]],
        )
        assert found.steps_to_tolerance == 0


@pytest.mark.parametrize("fault", ["raises", "exits"])
@pytest.mark.parametrize("where", ["build", "step", "draw"])
def test_a_component_that_raises_or_exits_has_failed_and_the_others_go_on(
    fault: str, where: str
) -> None:
    def fail() -> None:
        if fault == "exits":
            sys.exit(0)
        raise ZeroDivisionError("a component's own mistake")

    class Falling(DescentStepper):
        def step(self) -> None:
            fail()

    with scratch_registry():

        class FaultyOptimizer(ManualSGD):
            """Fails while it is built, or at its first step."""

            name: Literal["faulty"] = "faulty"  # type: ignore[assignment]

            def build(self, parameter: torch.Tensor, n: float) -> DescentStepper:
                if where == "build":
                    fail()
                return Falling(parameter, self.lr, 1)

        class FaultyInit(Init):
            """Fails at once."""

            name: Literal["faulty"] = "faulty"

            def draw(self, p: int, q: int, seed: int, dtype: torch.dtype) -> torch.Tensor:
                fail()
                return torch.zeros(p, q, dtype=dtype)

        assert Optimizer.choices["faulty"] is FaultyOptimizer
        assert Init.choices["faulty"] is FaultyInit
        good = config(steps=3)
        bad = config(
            steps=3,
            threads=2,
            **({"init": "faulty"} if where == "draw" else {"optimizer": "faulty"}),
        )
        before = state()
        one, failed, other = fit([good, bad, good])
    assert state() == before
    assert same_bits(one, other)
    assert one.status == Status.COMPLETED
    assert failed.status == Status.FAILED
    assert failed.config is bad
    assert failed.error is not None
    assert failed.error.startswith("Traceback")
    assert failed.error.rstrip().endswith(
        "SystemExit: 0" if fault == "exits" else "ZeroDivisionError: a component's own mistake"
    )
    assert failed.loss == math.inf
    assert (failed.path, failed.steps_to_tolerance, failed.diverged_at_step) == (None, None, None)
    for read in (
        "steps",
        "losses",
        "weights",
        "excess_losses",
        "distance_to_optimum",
        "distance_to_truth",
    ):
        with pytest.raises(ValueError, match="a failed fit has no numbers"):
            getattr(failed, read)


def test_ctrl_c_is_not_a_failed_fit() -> None:
    with scratch_registry():

        class Interrupted(ManualSGD):
            """Someone presses Ctrl-C."""

            name: Literal["interrupted"] = "interrupted"  # type: ignore[assignment]

            def build(self, parameter: torch.Tensor, n: float) -> DescentStepper:
                raise KeyboardInterrupt

        before = state()
        with pytest.raises(KeyboardInterrupt):
            fit(config(optimizer="interrupted", threads=2))
        assert state() == before
        assert Optimizer.choices["interrupted"] is Interrupted


def test_a_prediction_of_another_shape_is_not_broadcast() -> None:
    with scratch_registry():

        class Flat(Model):
            """Predicts [n], which minus [n, 1] would silently be [n, n]."""

            name: Literal["flat"] = "flat"

            def build(self, weights: torch.Tensor) -> TensorPredictor:
                class Flattened(TensorPredictor):
                    def __call__(self, X: torch.Tensor) -> torch.Tensor:
                        return (X @ self.weight)[:, 0]

                return Flattened(weights.clone().requires_grad_())

            def predict(
                self, predictor: Any, parameter: torch.Tensor, X: torch.Tensor
            ) -> torch.Tensor:
                return (X @ parameter)[:, 0]

            def transpose(self, tensor: torch.Tensor) -> torch.Tensor:
                return tensor

        found = fit(config(model="flat", steps=1))
        assert Model.choices["flat"] is Flat
    assert found.status == Status.FAILED
    assert found.error is not None
    assert "predicts [30] for targets of [30, 1]" in found.error


# ---- what is written down ----


@pytest.mark.parametrize("steps", [0, 1, 2, 39, 1000])
def test_the_recorded_steps_are_those_announced(steps: int) -> None:
    whole = fit(config(steps=steps, record={"every": 1}))
    for every in (None, 7):
        fitted = config(steps=steps, record={"every": every})
        found = fit(fitted)
        assert_recorded(found, fitted, whole)


def assert_recorded(found: Fit, fitted: FitConfig, whole: Fit) -> None:
    steps = fitted.steps
    assert found.steps.tolist() == fitted.record.recorded_steps(steps)
    assert found.losses.tolist() == whole.losses[found.steps].tolist()
    assert found.weights.tobytes() == whole.weights.tobytes()
    assert found.loss == found.losses[-1]


def test_a_fit_of_no_steps_is_its_start() -> None:
    found = fit(config(steps=0, init={"name": "given", "weights": [0.5, -2]}))
    assert (found.status, found.steps.tolist(), found.weights.tolist()) == (
        Status.COMPLETED,
        [0],
        [[0.5], [-2.0]],
    )


@pytest.mark.parametrize(
    ("row", "dtype", "tolerance", "noise"),
    cover_pairs(OPTIMIZERS, DTYPES, [0.5, 1e-3, 1e-6], [0.0, 5.0]),
    ids=label,
)
def test_steps_to_tolerance_is_the_first_step_of_all(
    row: OptimizerRow, dtype: str, tolerance: float, noise: float
) -> None:
    found = fit(
        config(
            dataset={"name": "parabola", "noise": noise},
            optimizer=row.steady,
            record={"every": 1, "tolerance": tolerance},
            dtype=dtype,
            steps=100,
        )
    )
    within = found.excess_losses <= tolerance * found.excess_losses[0]
    assert found.steps_to_tolerance == (int(np.argmax(within)) if within.any() else None)
    seldom = {**found.config.as_dict(), "record": {"tolerance": tolerance}}
    assert fit(FitConfig.model_validate(seldom)).steps_to_tolerance == found.steps_to_tolerance


def test_some_fits_reach_their_tolerance_and_some_do_not() -> None:
    """So that the test above is about both."""
    assert fit(config(optimizer={"name": "sgd"}, steps=300)).steps_to_tolerance is not None
    assert fit(config(optimizer={"name": "sgd", "lr": 1e-6}, steps=300)).steps_to_tolerance is None


def test_a_fit_is_measured_against_what_it_saw() -> None:
    """In float32 the data are rounded, and so is the optimum that can be reached."""
    found = fit(config(optimizer={"name": "sgd", "lr": 2e-3}, steps=2000, dtype="float32"))
    assert found.optimum is not None and found.problem is not None
    seen = found.problem.cast("float32")
    expected, squares, *_ = np.linalg.lstsq(seen.X, seen.y, rcond=None)
    np.testing.assert_allclose(found.optimum.weights, expected, rtol=1e-13)
    assert found.optimum.loss == pytest.approx(squares.item(), rel=1e-12)
    assert found.distance_to_optimum == pytest.approx(
        float(np.linalg.norm(found.weights - expected))
    )
    assert found.distance_to_optimum < 1e-5
    assert found.distance_to_truth == pytest.approx(
        float(np.linalg.norm(found.weights - [[2.0], [3.0]]))
    )
    assert found.loss == pytest.approx(squares.item(), rel=1e-5)


# ---- where it goes ----


@pytest.mark.parametrize(
    ("row", "gradient"),
    [
        (row, EXACT_GRADIENTS[i % len(EXACT_GRADIENTS)])
        for i, row in enumerate(row for row in OPTIMIZERS if row.contracting)
    ],
    ids=label,
)
def test_a_contracting_optimizer_forgets_a_small_disturbance(
    row: OptimizerRow, gradient: Row
) -> None:
    start = np.array([0.5, -1.0])
    optimizer = row.steady

    def end(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        given = {"name": "given", "weights": weights.tolist()}
        return fit(
            config(
                init=given, optimizer=optimizer, gradient=gradient.name, dtype="float64", steps=200
            )
        ).weights

    np.testing.assert_allclose(end(start + 1e-9), end(start), rtol=1e-9)


@pytest.mark.parametrize(
    ("gradient", "loss", "model"),
    cover_pairs(EXACT_GRADIENTS, QUADRATIC_LOSSES, MODELS),
    ids=label,
)
def test_gradient_descent_reaches_the_exact_answer(
    gradient: Row, loss: LossRow, model: Row
) -> None:
    dataset = {"name": "random_linear", "n": 12, "p": 3, "q": 2, "condition": 2.0}
    scale = {"sum": 1, "mean": 1 / 24}[loss.torch]
    # One over the largest curvature: X of random_linear has the largest singular value √n.
    lr = 1 / (2 * scale * 12)
    found = fit(
        config(
            dataset=dataset,
            loss=loss.name,
            model=model.name,
            gradient=gradient.name,
            optimizer={"name": "sgd", "lr": lr},
            dtype="float64",
            steps=200,
            init="torch_default",
        )
    )
    assert found.problem is not None
    expected = np.linalg.lstsq(found.problem.X, found.problem.y, rcond=None)[0]
    np.testing.assert_allclose(found.weights, expected, rtol=1e-12)
    assert found.distance_to_optimum < 1e-12
    assert found.excess_losses[0] > 1e-3
    assert found.excess_losses[-1] < 1e-24


@pytest.mark.parametrize(
    ("row", "model"),
    [(row, MODELS[i % 2]) for i, row in enumerate(OPTIMIZERS) if row.separable],
    ids=label,
)
def test_targets_do_not_see_each_other(row: OptimizerRow, model: Row, tmp_path: Path) -> None:
    """Of the sum of squares, each column of W is the fit of its own target."""
    numbers = np.random.default_rng(4).standard_normal((12, 5))
    file = tmp_path / "data.csv"
    file.write_text(
        "a,b,u,v,w\n" + "".join(",".join(map(repr, line)) + "\n" for line in numbers.tolist())
    )
    start = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]]

    def weights(targets: list[int]) -> NDArray[Any]:
        columns = {
            "name": "csv",
            "path": str(file),
            "features": ["a", "b"],
            "target": [f"{'uvw'[i]}" for i in targets],
        }
        init = {"name": "given", "weights": [[line[i] for i in targets] for line in start]}
        optimizer = row.steady
        found = fit(
            config(
                dataset=columns,
                init=init,
                optimizer=optimizer,
                model=model.name,
                dtype="float64",
                steps=25,
            )
        )
        assert found.status == row.status
        return found.weights

    together = weights([0, 1, 2])
    assert together.shape == (2, 3)
    np.testing.assert_allclose(
        together, np.hstack([weights([0]), weights([1]), weights([2])]), rtol=1e-10
    )


# ---- every pair of components ----

COMBINATIONS = cover_pairs(
    INITS,
    DTYPES,
    MODELS,
    LOSSES,
    GRADIENTS,
    OPTIMIZERS,
    allowed=lambda init, dtype, model, loss, gradient, optimizer: (
        gradient.takes(loss) and optimizer.suits(loss)
    ),
)


@pytest.mark.parametrize(
    ("turn", "dataset", "shape"),
    [(turn % 3, *problem) for turn, problem in enumerate(PROBLEMS)],
    ids=label,
)
def test_every_pair_of_components_fits_or_is_refused(
    turn: int, dataset: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    """A third of the combinations meets each problem: all of them meet one like it."""
    largest = {loss.name: curvature(config(dataset=dataset, loss=loss.name)) for loss in LOSSES}
    for init, dtype, model, loss, gradient, optimizer in COMBINATIONS[turn::3]:
        parts = {
            "dataset": dataset,
            "init": init.plain,
            "dtype": dtype,
            "model": model.name,
            "loss": loss.name,
            "gradient": gradient.name,
            "optimizer": optimizer.gentle(largest[loss.name]),
        }
        if init.shape not in (None, shape[1:]):
            with pytest.raises(
                ValueError, match=r"init\.weights has 2 rows of 1 numbers, the problem needs"
            ):
                config(**parts)
            continue
        found = fit(config(**parts, steps=2))
        # Homotopy ends by itself at the optimum.
        assert found.status in (Status.COMPLETED, Status.CONVERGED), (parts, found.error)
        assert found.weights.shape == shape[1:]
        assert found.weights.dtype == dtype
        assert np.isfinite(found.losses).all()


@pytest.mark.parametrize("row", DEVICES, ids=label)
def test_an_absent_device_is_refused_before_anything_runs(row: DeviceRow) -> None:
    fitted = config(device=row.name, steps=2)
    if row.always or row.name in list_devices():
        found = fit(fitted)
        assert found.status == Status.COMPLETED
        assert found.config.device.name in list_devices()
        return
    with scratch_registry():

        class Counted(Autograd):
            """Says that it was used."""

            name: Literal["counted"] = "counted"  # type: ignore[assignment]

            def bind(self, *parts: Any) -> Any:
                raise AssertionError("something ran")

        assert Counted.choices["counted"] is Counted
        with pytest.raises(ValueError, match=f"device {row.name} is not there"):
            fit_as_completed([config(gradient="counted"), fitted])


def test_one_config_gives_one_fit_and_many_give_many_in_order() -> None:
    configs = [config(steps=steps) for steps in (3, 1, 2)]
    assert isinstance(fit(configs[0]), Fit)
    assert [one.config.steps for one in fit(configs)] == [3, 1, 2]
    assert fit([]) == []
    assert [one.steps[-1] for one in fit(configs)] == [3, 1, 2]
