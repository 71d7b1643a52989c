"""One fit at a time: the reference, and the lesson.

The four levels of the article meet in `descend`. Its parts are real torch and stand in `linfit/method/`:

    the weights     a raw tensor, ŷ = X @ w                 or  a real nn.Linear              (models.py)
    the gradient    2 Xᵀ(Xw − y) by hand, loss.backward(),  or  torch.func.grad_and_value     (gradients.py)
    the update      w -= lr * w.grad by hand                or  a real torch.optim optimizer  (optimizers.py)

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
    trace = descend(config, seen, known)
    path = Path(np.array(trace.steps), np.array(trace.losses), np.stack(trace.weights))
    status = Status.COMPLETED if trace.diverged_at is None else Status.DIVERGED
    return Fit(config, status, problem, known, path, trace.reached_at, trace.diverged_at)


@dataclass
class Trace:
    """What `descend` writes down on its way: k steps, losses and weights `[p, q]`, and where something happened."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    weights: list[NDArray[Any]] = field(default_factory=list)
    reached_at: int | None = None
    diverged_at: int | None = None


def descend(config: FitConfig, problem: Problem, known: Optimum) -> Trace:
    """Gradient descent, as the article writes it: loss and gradient where the weights stand, then the update."""
    dtype, device = getattr(torch, config.dtype), torch.device(config.device.name)
    X = torch.tensor(problem.X, dtype=dtype, device=device)  # [n, p]
    y = torch.tensor(problem.y, dtype=dtype, device=device)  # [n, q]
    n, p, q = problem.shape
    start = config.init.draw(p, q, config.seed, dtype).to(device)  # [p, q]

    model = config.model.build(start)
    require_shape(model(X), y)
    evaluate = config.gradient.bind(config.model, model, config.loss, X, y)
    optimizer = config.optimizer.build(model.weight, n)

    def weights() -> NDArray[Any]:
        return config.model.transpose(model.weight.detach()).cpu().numpy().copy()  # [p, q]

    trace, watch = Trace(), Watch(config, problem, known, weights())
    recorded = set(config.record.steps(config.steps))
    for step in range(config.steps + 1):
        loss = evaluate().item()
        diverged = watch.diverged(loss)
        if step in recorded or diverged:
            trace.steps.append(step)
            trace.losses.append(loss)
            trace.weights.append(weights())
        if diverged:
            trace.diverged_at = step
            break
        if loss <= watch.screen and watch.reached(weights()):
            trace.reached_at = step
        if step < config.steps:
            optimizer.step()
    return trace


def require_shape(prediction: Tensor, y: Tensor) -> None:
    """Nothing broadcasts silently."""
    if prediction.shape != y.shape:
        raise ValueError(f"the model predicts {list(prediction.shape)} for targets of {list(y.shape)}")


class Watch:
    """Looks at every loss: has the fit diverged, and is it within the tolerance for the first time?

    A fit has diverged when its loss is not finite, or above `stop.divergence` times the initial loss.
    """

    def __init__(self, config: FitConfig, problem: Problem, known: Optimum, start: NDArray[Any]) -> None:
        _, p, _ = problem.shape
        self.at_zero = known.scale * float(np.square(problem.y).sum())
        self.times, self.limit = config.stop.divergence, -1.0
        self.optimum = known
        self.threshold = config.record.tolerance * float(known.excess(start.astype(np.float64)))
        self.screen = float(tolerance_screen(known.loss, self.threshold, self.at_zero, p, config.dtype))

    def diverged(self, loss: float) -> bool:
        if self.limit < 0:  # the initial loss
            self.limit = float(divergence_limit(self.times, loss, self.at_zero))
        return not loss <= self.limit  # also true of NaN, and of an infinite initial loss

    def reached(self, weights: NDArray[Any]) -> bool:
        if self.optimum.excess(weights.astype(np.float64)) > self.threshold:
            return False
        self.screen = -1.0  # no loss is below it: the first step is found
        return True
