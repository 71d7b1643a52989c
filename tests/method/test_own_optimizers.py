"""Optimizers that torch lacks, against their papers' updates in plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linfit.engine.dispatch import fit
from tests.helpers import config

Vector = NDArray[np.float64]
Gradient = Callable[[Vector], Vector]
STEPS = 60


def lion(w: Vector, slope: Gradient, given: dict[str, Any]) -> Iterator[Vector]:
    """Chen et al. (2023), program 1."""
    beta1, beta2 = given.get("betas", (0.9, 0.99))
    m = np.zeros_like(w)
    while True:
        yield w
        g = slope(w)
        direction = np.sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g
        w = w - given["lr"] * (direction + given.get("weight_decay", 0.0) * w)


def schedule_free(w: Vector, slope: Gradient, given: dict[str, Any]) -> Iterator[Vector]:
    """Defazio et al. (2024), algorithm 1, whose x and y are held beside each other."""
    is_adamw = given["name"] == "schedule_free_adamw"
    beta1, beta2 = given.get("betas", (given.get("momentum", 0.9), 0.999))
    x, z, v, total, largest = w, w, np.zeros_like(w), 0.0, 0.0
    for k in count(1):
        y = (1 - beta1) * z + beta1 * x
        yield y
        g = slope(y)
        rate = given["lr"] * min(1, k / max(1, given.get("warmup_steps", 0)))
        if is_adamw:
            v = beta2 * v + (1 - beta2) * g**2
            g = g / (np.sqrt(v) + given.get("eps", 1e-8))
            rate *= np.sqrt(1 - beta2**k)
        z = z - rate * (g + given.get("weight_decay", 0.0) * y)
        largest = max(largest, rate)
        weight = k ** given.get("r", 0.0) * largest ** given.get("weight_lr_power", 2.0)
        total += weight
        x = (1 - weight / total) * x + weight / total * z


def prodigy(w: Vector, slope: Gradient, given: dict[str, Any]) -> Iterator[Vector]:
    """Mishchenko and Defazio (2023), algorithm 4, with the switches of their package."""
    lr, d, largest = given["lr"], given.get("d0", 1e-6), given.get("d0", 1e-6)
    beta1, beta2 = given.get("betas", (0.9, 0.999))
    beta3 = given.get("beta3", beta2**0.5)
    decay, decouples = given.get("weight_decay", 0.0), given.get("decouple", True)
    start, m, v, r, s = w, np.zeros_like(w), np.zeros_like(w), 0.0, np.zeros_like(w)
    for k in count(1):
        yield w
        rate = lr
        if given.get("use_bias_correction"):
            rate = lr * (1 - beta2**k) ** 0.5 / (1 - beta1**k)
        g = slope(w) + (0 if decouples else decay * w)
        r = beta3 * r + (1 - beta3) * rate * d**2 * float(np.sum(g * (start - w)))
        s = beta3 * s + (1 - beta3) * (1 if given.get("safeguard_warmup") else rate) * d**2 * g
        m = beta1 * m + (1 - beta1) * d * g
        v = beta2 * v + (1 - beta2) * d**2 * g**2
        shrunk = w - rate * d * decay * w if decouples else w
        w = shrunk - rate * d * m / (np.sqrt(v) + d * given.get("eps", 1e-8))
        estimate = given.get("d_coef", 1.0) * r / np.abs(s).sum()
        largest = max(largest, estimate)
        grown = max(d, estimate) if d == given.get("d0", 1e-6) else d
        d = min(largest, grown * given.get("growth_rate", np.inf))


PAPERS = {
    "lion": lion,
    "schedule_free_sgd": schedule_free,
    "schedule_free_adamw": schedule_free,
    "prodigy": prodigy,
}
AVERAGE = {"warmup_steps": 7, "r": 1.0, "weight_lr_power": 1.0, "weight_decay": 0.1}
SETTINGS: tuple[dict[str, Any], ...] = (
    {"name": "lion", "lr": 0.01},
    {"name": "lion", "lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1},
    {"name": "schedule_free_sgd", "lr": 1e-3},
    {"name": "schedule_free_sgd", "lr": 1e-3, "momentum": 0.5, **AVERAGE},
    {"name": "schedule_free_adamw", "lr": 0.05},
    {"name": "schedule_free_adamw", "lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, **AVERAGE},
    {"name": "prodigy", "lr": 1.0, "d0": 1e-3},
    {"name": "prodigy", "lr": 1.0, "d0": 1e-3, "growth_rate": 1.2},
    {"name": "prodigy", "lr": 0.5, "d0": 1e-2, "weight_decay": 0.1, "safeguard_warmup": True},
    {"name": "prodigy", "lr": 1.0, "d0": 1e-2, "betas": (0.8, 0.95), "beta3": 0.9, "eps": 1e-3}
    | {"d_coef": 0.5, "use_bias_correction": True, "weight_decay": 0.1, "decouple": False},
)


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_a_fit_is_the_papers_update(given: dict[str, Any], engine: str) -> None:
    found = fit(
        config(optimizer=given, engine=engine, dtype="float64", steps=STEPS, record={"every": 1})
    )
    assert found.problem is not None and found.path is not None, found.error
    X, y = found.problem.X, found.problem.y

    def slope(w: Vector) -> Vector:
        return np.asarray(2 * X.T @ (X @ w - y))

    path = PAPERS[given["name"]](found.path.weights[0], slope, given)
    expected = np.stack([w for w, _ in zip(path, range(STEPS + 1), strict=False)])
    np.testing.assert_allclose(found.path.weights, expected, rtol=0, atol=1e-9)
    assert found.losses[-1] < 0.9 * found.losses[0]
