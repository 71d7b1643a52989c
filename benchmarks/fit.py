"""Measure what a fit costs more than the plain loop of the same level of the article.

Each level is run alternately by linfit and by its loop, in one process and one thread, with the
curve kept in memory and MLflow left out. The output is microseconds per step (median over the
repeats) and the median of the ratios pair by pair.

    python benchmarks/fit.py [--steps 20000] [--repeats 9]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch

import linfit
from linfit.config import FitConfig

LEVELS: dict[str, dict[str, Any]] = {
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
        "optimizer": {"name": "manual_sgd", "lr": 1e-3},
    },
    "linear_adam": {
        "model": "linear",
        "gradient": "autograd",
        "optimizer": {"name": "adam", "lr": 1e-2},
    },
}


def tensor_manual(X: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """Raw tensor, gradient and update by hand."""
    w, n, losses = torch.randn(2, 1), len(X), []
    for _ in range(steps):
        error = X @ w - y
        losses.append((error**2).sum().item())
        gradient = 2 * X.T @ error
        w -= 1e-2 * gradient / n
    return losses


def tensor_autograd(X: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """Raw tensor, backward pass, update by hand."""
    w, n, losses = torch.randn(2, 1, requires_grad=True), len(X), []
    for _ in range(steps):
        loss = ((X @ w - y) ** 2).sum()
        losses.append(loss.item())
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            w -= 1e-2 * w.grad / n  # type: ignore[operator]
            w.grad.zero_()  # type: ignore[union-attr]
    return losses


def linear_manual_update(X: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """nn.Linear, MSELoss, update by hand over the parameters."""
    model, objective, losses = (
        torch.nn.Linear(2, 1, bias=False),
        torch.nn.MSELoss(reduction="sum"),
        [],
    )
    for _ in range(steps):
        loss = objective(model(X), y)
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 1e-3 * parameter.grad  # type: ignore
    return losses


def linear_adam(X: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """nn.Linear, MSELoss, torch.optim.Adam."""
    model, objective, losses = (
        torch.nn.Linear(2, 1, bias=False),
        torch.nn.MSELoss(reduction="sum"),
        [],
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = objective(model(X), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


PLAIN = {
    loop.__name__: loop
    for loop in (tensor_manual, tensor_autograd, linear_manual_update, linear_adam)
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{'level':<22}{'linfit':>12}{'plain loop':>12}{'ratio':>8}   "
        f"(µs per step; {arguments.steps} steps, {arguments.repeats} repeats)"
    )
    for name, parts in LEVELS.items():
        config = FitConfig.model_validate({"steps": arguments.steps, **parts})
        problem = config.dataset.load(config.seed)
        X, y = (torch.tensor(array, dtype=torch.float32) for array in (problem.X, problem.y))
        ours_and_plain: tuple[Callable[[], object], ...] = (
            partial(linfit.fit, config),
            partial(PLAIN[name], X, y, arguments.steps),
        )
        pairs = [tuple(map(seconds, ours_and_plain)) for _ in range(arguments.repeats + 1)]
        ours, plain = zip(*pairs[1:], strict=True)  # the first pair warms up
        scale = 1e6 / arguments.steps
        ratio = median(a / b for a, b in pairs[1:])
        print(f"{name:<22}{median(ours) * scale:>12.1f}{median(plain) * scale:>12.1f}{ratio:>8.2f}")


if __name__ == "__main__":
    main()
