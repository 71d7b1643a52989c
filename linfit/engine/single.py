"""One fit at a time: the reference, and the lesson.

The four levels of the article meet in `descend`. Its parts are real torch and stand in `linfit/method/`:

    the weights     a raw tensor, ŷ = X @ w                 or  a real nn.Linear              (models.py)
    the gradient    2 Xᵀ(Xw − y) by hand, loss.backward(),  or  torch.func.grad_and_value     (gradients.py)
    the update      w -= lr * w.grad by hand                or  a real torch.optim optimizer  (optimizers.py)

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Path, Status
from linfit.engine.limits import divergence_limit, tolerance_screen
from linfit.problem.problem import Problem
from linfit.problem.theory import Optimum, optimum


def fit_one(config: FitConfig) -> Fit:
    """Loads the problem, descends, and measures the result against the exact answer."""
    problem = config.dataset.load(config.seed)
    seen = problem.cast(config.dtype)  # what the fit sees is what its optimum is computed from
    known = optimum(seen, config.loss)
    trace = descend(config, seen, Tolerance(config, seen, known))
    path = Path(np.array(trace.steps), np.array(trace.losses), np.stack(trace.weights))
    status = Status.COMPLETED if trace.diverged_at is None else Status.DIVERGED
    return Fit(config, status, problem, known, path, trace.reached_at, trace.diverged_at)


@dataclass
class Trace:
    """What `descend` writes down on its way: k steps, losses and weights `[p, q]`, and where something happened."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    reached_at: int | None = None
    diverged_at: int | None = None


def descend(config: FitConfig, problem: Problem, tolerance: Tolerance) -> Trace:
    """Gradient descent, as the article writes it: loss and gradient where the weights stand, then the update."""
    dtype = getattr(torch, config.dtype)
    device = torch.device(config.device.name)
    X = torch.tensor(problem.X, dtype=dtype, device=device)  # [n, p]
    y = torch.tensor(problem.y, dtype=dtype, device=device)  # [n, q]
    n, p, q = problem.shape

    start = config.init.draw(p, q, config.seed, dtype).to(device)  # [p, q]
    predictor = config.model.build(start)
    if predictor(X).shape != y.shape:
        raise ValueError(f"model {config.model.name} predicts {list(predictor(X).shape)} for targets of {list(y.shape)}")
    evaluate = config.gradient.bind(config.model, predictor, config.loss, X, y)
    optimizer = config.optimizer.build(predictor.weight, n)

    def weights() -> Any:
        return config.model.transpose(predictor.weight.detach()).cpu().numpy().copy()  # [p, q]

    trace = Trace()
    recorded = set(config.record.steps(config.steps))
    of_zero = config.loss(y).item()
    limit = math.inf
    for step in range(config.steps + 1):
        loss = evaluate().item()
        if step == 0:
            limit = float(divergence_limit(config.stop.divergence, loss, of_zero, config.dtype))
        diverged = not loss <= limit  # also true of NaN
        if step in recorded or diverged:
            trace.steps.append(step)
            trace.losses.append(loss)
            trace.weights.append(weights())
        if loss <= tolerance.screen and tolerance.reached(weights):
            trace.reached_at = step
        if diverged:
            trace.diverged_at = step
            break
        if step < config.steps:
            optimizer.step()
    return trace


class Tolerance:
    """Watches for the first step whose excess loss is at most `record.tolerance` times the initial one."""

    def __init__(self, config: FitConfig, problem: Problem, known: Optimum) -> None:
        dtype = getattr(torch, config.dtype)
        _, p, q = problem.shape
        start = config.init.draw(p, q, config.seed, dtype).double().numpy()  # [p, q]
        self.optimum = known
        self.threshold = config.record.tolerance * float(known.excess(start))
        of_zero = known.scale * float(np.square(problem.y).sum())
        self.screen = float(tolerance_screen(known.loss, self.threshold, of_zero, p, config.dtype))

    def reached(self, weights: Callable[[], Any]) -> bool:
        if self.optimum.excess(weights().astype(np.float64)) > self.threshold:
            return False
        self.screen = -1.0  # no loss is below it: the first step is found
        return True
