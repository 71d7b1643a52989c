"""One fit at a time: the reference, and the lesson.

The four levels of the article meet in `descend`. Its parts are real torch and stand in `linfit/method/`:

    the weights     a raw tensor, ŷ = X @ w                 or  a real nn.Linear              (models.py)
    the gradient    2 Xᵀ(Xw − y) by hand, loss.backward(),  or  as torch.func.grad_and_value  (gradients.py)
    the update      w -= lr * w.grad by hand                or  a real torch.optim optimizer  (optimizers.py, eager.py)

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linfit.config import FitConfig
from linfit.engine.fit import Fit, Path, Status
from linfit.engine.limits import divergence_limit, tolerance_screen, tolerance_threshold
from linfit.engine.listening import Report, unheard
from linfit.method.batches import Minibatch, ahead, batch_scale
from linfit.method.gradients import Evaluation, penalized
from linfit.method.models import Predictor
from linfit.method.optimizers import Stepper
from linfit.method.schedules import scheduled
from linfit.problem.accuracy import with_warning
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory import Optimum, optimum

#: Steps between two reports of how far a fit is.
REPORTED = 256
#: What torch says of a number that a tensor's dtype cannot hold.
BEYOND_DTYPE = "without overflow"


def fit_one(config: FitConfig, report: Report = unheard) -> Fit:
    """Loads the problem, descends, and measures the result against the exact answer."""
    problem = config.problem()
    seen = problem.cast(config.dtype)  # what the fit sees is what its optimum is computed from
    known = optimum(seen, config.loss, config.shrinkage())
    trace = descend(config, seen, known, report)
    path = Path(np.array(trace.steps), np.array(trace.losses), np.stack(trace.weights))
    return Fit(
        config,
        trace.status,
        with_warning(problem, known, config.dtype),
        known,
        path,
        trace.reached_at,
        trace.diverged_at,
    )


@dataclass
class Trace:
    """What `descend` writes down on its way: k steps, losses and weights `[p, q]`, and where something happened."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    weights: list[NDArray[Any]] = field(default_factory=list)
    reached_at: int | None = None
    diverged_at: int | None = None
    status: Status = Status.COMPLETED


def descend(config: FitConfig, problem: Problem, known: Optimum, report: Report = unheard) -> Trace:
    """Gradient descent, as the article writes it: loss and gradient where the weights stand, then the update."""
    dtype, device = getattr(torch, config.dtype), torch.device(config.device.name)
    held = config.gradient.data_dtype(dtype)
    X = torch.tensor(problem.X, dtype=held, device=device)  # [n, p]
    y = torch.tensor(problem.y, dtype=held, device=device)  # [n, q]
    _, p, q = problem.shape
    start = config.init.draw(p, q, config.seed, dtype).to(device)  # [p, q]

    model = config.model.build(start)
    require_shape(model(X.to(dtype)), y)
    evaluate = bind(config, model, problem.objective(config.loss), X, y)
    count = config.optimizer.count(problem)
    optimizer = config.optimizer.know(known, config.model).build(model.weight, count)
    optimizer = scheduled(optimizer, config.schedule, config.steps)

    def weights() -> NDArray[Any]:
        return config.model.transpose(model.weight.detach()).cpu().numpy().copy()  # [p, q]

    trace, watch = Trace(), Watch(config, problem, known, weights())
    goals = watch.goals(lambda: model.weight.grad, weights)
    recorded = set(config.record.steps(config.steps))
    for step in range(config.steps + 1):
        loss = evaluate().item()
        diverged = watch.diverged(loss)
        converged = bool(goals) and not diverged and any(goal(loss) for goal in goals)
        if step in recorded or diverged or converged:
            trace.steps.append(step)
            trace.losses.append(loss)
            trace.weights.append(weights())
        if diverged:
            trace.diverged_at, trace.status = step, Status.DIVERGED
            break
        if loss <= watch.screen and watch.reached(weights()):
            trace.reached_at = step
        if converged:
            trace.status = Status.CONVERGED
            break
        if step < config.steps:
            update(optimizer, model)
            if step % REPORTED == REPORTED - 1:
                report(REPORTED, 0)
    report(step % REPORTED, config.steps - step)
    return trace


def update(optimizer: Stepper, model: Predictor) -> None:
    """One step of the optimizer. Of a factor that the weights' dtype cannot hold torch raises: what it would move is lost."""
    try:
        optimizer.step()
    except RuntimeError as error:
        if BEYOND_DTYPE not in str(error):
            raise
        with torch.no_grad():
            model.weight.fill_(torch.nan)


def bind(config: FitConfig, model: Predictor, loss: Loss, X: Tensor, y: Tensor) -> Evaluation:
    """Computes the objective where the weights stand, and leaves its gradient, or a batch's estimate of it, in `.grad`."""
    if isinstance(config.batch, Minibatch):
        evaluate = batched(config, config.batch, model, X, y)
    else:
        evaluate = config.gradient.bind(config.model, model, loss, X, y)
    shrinkage = config.shrinkage()
    if not shrinkage.strength:
        return evaluate
    return penalized(evaluate, config.model, model.weight, shrinkage)


def batched(
    config: FitConfig, batch: Minibatch, model: Predictor, X: Tensor, y: Tensor
) -> Evaluation:
    """The loss of all samples, and the gradient of those that stand in the buffers, filled anew at every step."""
    (n, p), q = X.shape, y.shape[1]
    some_X, some_y = X.new_empty(batch.size, p), y.new_empty(batch.size, q)
    step = config.gradient.bind(config.model, model, config.loss, some_X, some_y)
    sampler = batch.sampler(n, config.seed)
    share = batch_scale(config.loss, n, batch.size, q)
    rows: Iterator[Tensor] = iter(())

    def evaluate() -> Tensor:
        nonlocal rows
        if (chosen := next(rows, None)) is None:
            rows = iter(torch.from_numpy(sampler.take(ahead(batch.size))).to(X.device))
            chosen = next(rows)
        torch.index_select(X, 0, chosen, out=some_X)
        torch.index_select(y, 0, chosen, out=some_y)
        step()
        if share != 1 and model.weight.grad is not None:
            model.weight.grad *= share
        with torch.no_grad():
            return config.loss(model(X) - y)

    return evaluate


def require_shape(prediction: Tensor, y: Tensor) -> None:
    """Nothing broadcasts silently."""
    if prediction.shape != y.shape:
        raise ValueError(
            f"the model predicts {list(prediction.shape)} for targets of {list(y.shape)}"
        )


class Watch:
    """Looks at every loss: has the fit diverged, and is it within the tolerance for the first time?

    A fit has diverged when its loss is not finite, or above `stop.divergence` times the initial loss.
    """

    def __init__(
        self, config: FitConfig, problem: Problem, known: Optimum, start: NDArray[Any]
    ) -> None:
        self.config, self.optimum, self.p = config, known, problem.shape[1]
        self.at_zero = known.scale * float(np.square(problem.y).sum())
        self.times, self.limit = config.stop.divergence, -1.0
        self.initial = float(known.excess(start.astype(np.float64)))
        self.threshold, self.screen = self.within(config.record.tolerance)

    def within(self, share: float) -> tuple[float, float]:
        """The excess loss that is such a share of the initial one, and the loss above which no excess loss is as small."""
        threshold = float(tolerance_threshold(share, self.initial))
        return threshold, float(
            tolerance_screen(self.optimum.loss, threshold, self.at_zero, self.p, self.config.dtype)
        )

    def diverged(self, loss: float) -> bool:
        if self.limit < 0:  # the initial loss
            self.limit = float(divergence_limit(self.times, loss, self.at_zero))
        return not loss <= self.limit  # also true of NaN, and of an infinite initial loss

    def reached(self, weights: NDArray[Any]) -> bool:
        if not self.optimum.excess(weights.astype(np.float64)) <= self.threshold:
            return False
        self.screen = -1.0  # no loss is below it: the first step is found
        return True

    def goals(
        self, gradient: Callable[[], Tensor | None], weights: Callable[[], NDArray[Any]]
    ) -> list[Callable[[float], bool]]:
        """The stopping rules that there are: each says, given the loss, whether the fit has converged."""
        stop = self.config.stop
        goals: list[Callable[[float], bool]] = []
        if stop.gradient_norm is not None:  # the first to be asked, since it must be at every step
            goals.append(Flat(stop.gradient_norm, gradient))
        if stop.excess_loss is not None:
            threshold, screen = self.within(stop.excess_loss)
            goals.append(
                lambda loss: (
                    loss <= screen
                    and bool(self.optimum.excess(weights().astype(np.float64)) <= threshold)
                )
            )
        return goals


class Flat:
    """Is the gradient's norm at most such a share of what it was at first? To be asked at every step."""

    def __init__(self, share: float, gradient: Callable[[], Tensor | None]) -> None:
        self.share, self.gradient = share, gradient
        self.threshold: float | None = None

    def __call__(self, loss: float) -> bool:
        slope = self.gradient()
        assert slope is not None
        norm = float(
            slope.double().square().sum().sqrt()
        )  # as stacks compute it, also where squares vanish
        if self.threshold is None:
            self.threshold = self.share * norm
        return norm <= self.threshold
