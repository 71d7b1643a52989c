"""The single engine is the article, and the plain torch loop, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import linfit
from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from tests.engine.alone import config, tensors
from tests.helpers import (
    DTYPES,
    MODELS,
    OPTIMIZERS,
    PROBLEMS,
    QUADRATIC_LOSSES,
    LossRow,
    OptimizerRow,
    Row,
    cover_pairs,
    curvature,
    label,
)

pytestmark = pytest.mark.usefixtures("one_thread")
PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "published.json").read_text())


# ---- the article ----

ARTICLE: dict[str, dict[str, Any]] = {
    "tensor_manual": {
        "model": "tensor",
        "gradient": "manual",
        "optimizer": {"name": "manual_sgd", "lr": 1e-2, "average": True},
    },
    "tensor_autograd": {
        "model": "tensor",
        "gradient": "autograd",
        "optimizer": {"name": "manual_sgd", "lr": 1e-2, "average": True},
    },
    "linear_manual_update": {
        "model": "linear",
        "gradient": "autograd",
        "optimizer": {"name": "manual_sgd", "lr": 1e-3, "average": False},
    },
    "linear_adam": {
        "model": "linear",
        "gradient": "autograd",
        "optimizer": {"name": "adam", "lr": 1e-2},
    },
}


def level(name: str, **parts: Any) -> FitConfig:
    return config(
        name="article",
        steps=PUBLISHED["updates_applied"],
        record={"every": 250},
        dataset={
            "name": "csv",
            "path": "linfit:article.csv",
            "features": ["x_squared", "one"],
            "target": "y",
        },
        init={"name": "given", "weights": PUBLISHED["levels"][name]["initial_weights"]},
        **{**ARTICLE[name], **parts},
    )


@pytest.mark.matrix
@pytest.mark.parametrize("name", PUBLISHED["levels"])
def test_the_articles_levels_give_the_published_numbers(name: str) -> None:
    found = fit(level(name))
    at = dict(zip(found.steps.tolist(), found.losses.tolist(), strict=True))
    printed = [at[step] for step in PUBLISHED["steps_printed"]]
    np.testing.assert_allclose(
        printed, PUBLISHED["levels"][name]["published_losses"], rtol=1e-5, atol=0
    )
    np.testing.assert_allclose(
        found.weights.ravel(), PUBLISHED["levels"][name]["published_weights"], rtol=1e-5, atol=0
    )
    assert found.weights.dtype == np.float32
    assert found.status == Status.COMPLETED


@pytest.mark.matrix
@pytest.mark.parametrize("name", PUBLISHED["levels"])
def test_the_shipped_experiments_are_the_articles_levels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = linfit.compose([f"article/{name}"])
    assert shipped.resolved().fingerprint() == level(name).fingerprint()
    assert (shipped.name, shipped.record) == ("article", level(name).record)


# ---- plain torch ----

Loop = tuple[list[float], list[NDArray[Any]]]
Build = Callable[[list[torch.Tensor]], torch.optim.Optimizer]


def plain_tensor(
    X: torch.Tensor, y: torch.Tensor, start: torch.Tensor, reduction: str, build: Build, steps: int
) -> Loop:
    """The article's second level: a raw tensor and `backward`.

    Losses and weights are those before every update and after the last.
    """
    w = start.clone().requires_grad_(True)
    optimizer = build([w])
    losses, weights = [], []
    for _ in range(steps + 1):
        squares = (X @ w - y) ** 2
        loss = squares.sum() if reduction == "sum" else squares.mean()
        losses.append(loss.item())
        weights.append(w.detach().numpy().copy())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses, weights


def plain_linear(
    X: torch.Tensor, y: torch.Tensor, start: torch.Tensor, reduction: str, build: Build, steps: int
) -> Loop:
    """The article's fourth level: nn.Linear and MSELoss."""
    model = torch.nn.Linear(X.shape[1], y.shape[1], bias=False, dtype=X.dtype)
    with torch.no_grad():
        model.weight.copy_(start.T)
    loss_fn = torch.nn.MSELoss(reduction=reduction)
    optimizer = build(list(model.parameters()))
    losses, weights = [], []
    for _ in range(steps + 1):
        loss = loss_fn(model(X), y)
        losses.append(loss.item())
        weights.append(model.weight.detach().T.numpy().copy())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses, weights


PLAIN = {"tensor": plain_tensor, "linear": plain_linear}
STEPS = 12


def plain(fitted: FitConfig, row: OptimizerRow, given: dict[str, Any], reduction: str) -> Loop:
    """The fit without linfit's engine and method: only data and initial weights are linfit's."""
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in given.items()
        if key != "name"
    }

    def build(parameters: list[torch.Tensor]) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = getattr(torch.optim, str(row.torch))(
            parameters, **arguments
        )
        return optimizer

    X, y, start = tensors(fitted)
    return PLAIN[fitted.model.name](X, y, start, reduction, build, fitted.steps)


def assert_bits(found: Fit, expected: Loop) -> None:
    losses, weights = expected
    assert found.status == Status.COMPLETED
    assert found.steps.tolist() == list(range(len(losses)))
    assert found.losses.tolist() == losses
    assert found.path is not None
    assert found.path.weights.tobytes() == np.stack(weights).tobytes()
    assert found.weights.tobytes() == weights[-1].tobytes()


def test_every_model_has_a_plain_loop() -> None:
    assert set(PLAIN) == {row.name for row in MODELS}


VARIATIONS = [(row, given) for row in OPTIMIZERS if row.torch for given in row.settings()]


@pytest.mark.parametrize(
    ("row", "given", "model", "dtype"),
    [(*variation, MODELS[i % 2], DTYPES[i // 2 % 2]) for i, variation in enumerate(VARIATIONS)],
    ids=label,
)
def test_a_fit_is_the_plain_torch_loop_bit_for_bit(
    row: OptimizerRow, given: dict[str, Any], model: Row, dtype: str
) -> None:
    fitted = config(
        optimizer=given, model=model.name, dtype=dtype, steps=STEPS, record={"every": 1}, seed=3
    )
    assert_bits(fit(fitted), plain(fitted, row, given, "sum"))


@pytest.mark.parametrize(
    ("dataset", "loss", "model", "dtype"),
    cover_pairs([given for given, _ in PROBLEMS], QUADRATIC_LOSSES, MODELS, DTYPES),
    ids=label,
)
def test_a_fit_is_the_plain_torch_loop_on_every_dataset(
    dataset: dict[str, Any], loss: LossRow, model: Row, dtype: str
) -> None:
    row = next(row for row in OPTIMIZERS if row.torch)
    given = row.gentle(curvature(config(dataset=dataset, loss=loss.name)))
    fitted = config(
        dataset=dataset,
        loss=loss.name,
        optimizer=given,
        model=model.name,
        dtype=dtype,
        steps=3,
        record={"every": 1},
        init="torch_default",
    )
    assert_bits(fit(fitted), plain(fitted, row, given, loss.torch))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("average", [False, True])
def test_the_gradient_and_the_update_by_hand_are_the_articles_first_level(
    average: bool, dtype: str
) -> None:
    lr, divisor = (1e-2, 30) if average else (1e-3, 1)
    optimizer = {"name": "manual_sgd", "lr": lr, "average": average}
    fitted = config(
        gradient="manual", optimizer=optimizer, dtype=dtype, steps=STEPS, record={"every": 1}
    )
    X, y, w = tensors(fitted)
    losses, weights = [], []
    for _ in range(STEPS + 1):
        error = X @ w - y
        losses.append((error**2).sum().item())
        weights.append(w.numpy().copy())
        w = w - lr * (2 * X.T @ error / divisor)
    assert_bits(fit(fitted), (losses, weights))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("average", [False, True])
def test_autograd_and_the_update_by_hand_are_the_articles_second_level(
    average: bool, dtype: str
) -> None:
    lr, divisor = (1e-2, 30) if average else (1e-3, 1)
    optimizer = {"name": "manual_sgd", "lr": lr, "average": average}
    fitted = config(
        gradient="autograd", optimizer=optimizer, dtype=dtype, steps=STEPS, record={"every": 1}
    )
    X, y, w = tensors(fitted)
    w.requires_grad_(True)
    losses, weights = [], []
    for _ in range(STEPS + 1):
        loss = ((X @ w - y) ** 2).sum()
        losses.append(loss.item())
        weights.append(w.detach().numpy().copy())
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert w.grad is not None
            w -= lr * (w.grad / divisor)
            w.grad.zero_()
    assert_bits(fit(fitted), (losses, weights))
