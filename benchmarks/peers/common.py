"""Shared by every program here: the sweep's fits, their data, recorded steps and logging."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

Config = tuple[str, float, int]
"""(optimizer, learning rate, seed)"""

STORE, EXPERIMENT = "sqlite:///outputs/mlflow.db", "sweep"
STEPS = 1000
OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "adagrad": torch.optim.Adagrad,
}
LRS = (0.001, 0.005)
#: About 40 steps spaced for a log axis, the first and the last among them.
RECORDED = sorted({0, STEPS, *np.geomspace(1, STEPS, 40).round().astype(int).tolist()})


def configs(count: int) -> list[Config]:
    """`count` fits, as many of every optimizer."""
    grid = itertools.product(range(-(-count // 10)), OPTIMIZERS, LRS)
    return [(name, lr, seed) for seed, name, lr in itertools.islice(grid, count)]


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """X `[30, 2]` and y `[30, 1]` of y = 2x² + 3 + noise."""
    x = np.linspace(-2, 2, 30)
    y = 2 * x**2 + 3 + np.random.default_rng(seed).normal(scale=0.1, size=30)
    return torch.tensor(np.stack([x**2, np.ones(30)], axis=1), dtype=torch.float32), torch.tensor(
        y[:, None], dtype=torch.float32
    )


def plain_fit(name: str, lr: float, seed: int) -> tuple[dict[int, float], torch.Tensor]:
    """Fit one config in the loop that everybody writes, with torch.optim.

    Return the losses at the recorded steps and the weights `[2, 1]`.
    """
    X, y = data(seed)
    w = torch.randn(2, 1, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    optimizer = OPTIMIZERS[name]([w], lr=lr)
    curve, recorded = {}, set(RECORDED)
    for step in range(STEPS + 1):
        loss = ((X @ w - y) ** 2).sum()
        if step in recorded:
            curve[step] = loss.item()
        if step < STEPS:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return curve, w.detach()


def log(
    client: MlflowClient,
    experiment: str,
    config: Config,
    curve: dict[int, float],
    weights: Sequence[float],
) -> None:
    """One finished run, its params and its whole curve in one log_batch."""
    name, lr, seed = config
    run = client.create_run(experiment, run_name=f"{name} lr={lr} seed={seed}").info.run_id
    now = int(time.time() * 1000)
    params = [
        Param(key, str(value))
        for key, value in {"optimizer": name, "lr": lr, "seed": seed, "steps": STEPS}.items()
    ]
    metrics = [Metric("loss", loss, now, step) for step, loss in curve.items()]
    metrics += [Metric(f"weight/{i}", weight, now, 0) for i, weight in enumerate(weights)]
    client.log_batch(run, metrics=metrics, params=params)
    client.set_terminated(run)


def open_store() -> tuple[MlflowClient, str]:
    """A client, and the id of the MLflow experiment, both made if absent."""
    Path("outputs").mkdir(exist_ok=True)
    client = MlflowClient(STORE)
    found: Any = client.get_experiment_by_name(EXPERIMENT)
    return client, found.experiment_id if found else client.create_experiment(EXPERIMENT)
