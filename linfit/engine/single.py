"""One fit at a time: the reference, and the lesson.

The four levels of the article meet in `descend`. Its parts are real torch, from `linfit/method/`:

    weights     a raw tensor, ŷ = X @ w, or a real nn.Linear                     (models.py)
    gradient    2 Xᵀ(Xw − y) by hand, loss.backward(), torch.func.grad_and_value (gradients.py)
    update      w -= lr * w.grad by hand, or a real torch.optim optimizer        (optimizers/,
                                                                                  eager.py)

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
from linfit.engine.fit import Fit, FitPath, Status
from linfit.engine.listening import ProgressCallback, ignore_progress
from linfit.engine.stopping import (
    BELOW_EVERY_LOSS,
    divergence_limit,
    gradient_norm,
    resolve_tolerance,
)
from linfit.method.batches import batch_gradient_scale, count_batches_ahead
from linfit.method.gradients import Evaluation, add_penalty
from linfit.method.models import TrainablePredictor
from linfit.method.optimizers import Stepper
from linfit.method.schedules import attach_schedule
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory.accuracy import add_warnings
from linfit.problem.theory.optimum import Optimum

#: Steps between two progress reports of a fit.
REPORT_INTERVAL = 256
#: Part of torch's error message for a number that a tensor's dtype cannot hold.
OVERFLOW_MESSAGE = "without overflow"


def fit_one(config: FitConfig, report: ProgressCallback = ignore_progress) -> Fit:
    """Load the problem, descend, measure the result against the exact optimum."""
    problem = config.problem()
    seen = problem.cast(config.dtype)  # the optimum is that of the data as the fit sees them
    known = config.find_optimum(seen)
    trace = descend(config, seen, known, report)
    return Fit(
        config,
        trace.status,
        add_warnings(problem, known, config.dtype),
        known,
        FitPath(np.array(trace.steps), np.array(trace.losses), np.stack(trace.weights)),
        trace.reached_at,
        trace.diverged_at,
    )


@dataclass
class Trace:
    """Recorded steps, losses and weights `[p, q]` of one fit.

    It holds how the fit ended too.
    """

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    weights: list[NDArray[Any]] = field(default_factory=list)
    reached_at: int | None = None
    diverged_at: int | None = None
    status: Status = Status.COMPLETED


def descend(
    config: FitConfig, problem: Problem, known: Optimum, report: ProgressCallback = ignore_progress
) -> Trace:
    """Descend as the article does.

    Compute loss and gradient at the weights, then the update.
    """
    dtype = getattr(torch, config.dtype)
    device = torch.device(config.device.name)
    data_dtype = config.gradient.choose_data_dtype(dtype)
    X = torch.tensor(problem.X, dtype=data_dtype, device=device)  # [n, p]
    y = torch.tensor(problem.seen_targets, dtype=data_dtype, device=device)  # [n, q]
    _, p, q = problem.shape
    start = config.init.draw(p, q, config.seed, dtype).to(device)  # [p, q]

    model = config.model.build(start)
    require_shape(model(X.to(dtype)), (len(y), q))
    evaluate = bind_objective(config, model, problem.bind_loss(config.loss), X, y)
    optimizer = build_optimizer(config, model, problem, known)

    def weights() -> NDArray[Any]:
        return config.model.transpose(model.weight.detach()).cpu().numpy().copy()  # [p, q]

    trace = Trace()
    watch = StoppingMonitor(config, problem, known, weights())
    goals = watch.rules(lambda: model.weight.grad, weights)
    recorded = set(config.record.recorded_steps(config.steps))
    for step in range(config.steps + 1):
        loss = evaluate().item()
        diverged = watch.has_diverged(loss)
        converged = bool(goals) and not diverged and any(goal(loss) for goal in goals)
        if step in recorded or diverged or converged:
            trace.steps.append(step)
            trace.losses.append(loss)
            trace.weights.append(weights())

        if diverged:
            trace.diverged_at = step
            trace.status = Status.DIVERGED
            break
        if loss <= watch.screen and watch.has_reached_tolerance(weights()):
            trace.reached_at = step
        if converged:
            trace.status = Status.CONVERGED
            break

        if step < config.steps:
            update_weights(optimizer, model)
            if step % REPORT_INTERVAL == REPORT_INTERVAL - 1:
                report(REPORT_INTERVAL, 0)
    report(step % REPORT_INTERVAL, config.steps - step)
    return trace


def build_optimizer(
    config: FitConfig, model: TrainablePredictor, problem: Problem, known: Optimum
) -> Stepper:
    """Return the optimizer of the model's weights.

    It is tuned to the optimum and scheduled.
    """
    tuned = config.optimizer.tuned_to(known, config.model)
    stepper = tuned.build(model.weight, config.optimizer.count_samples(problem))
    return attach_schedule(stepper, config.schedule, config.steps)


def update_weights(optimizer: Stepper, model: TrainablePredictor) -> None:
    """Make one step of the optimizer.

    torch raises if the weights' dtype cannot hold a factor of the update. The weights then become
    NaN, and the fit diverges.
    """
    try:
        optimizer.step()
    except RuntimeError as error:
        if OVERFLOW_MESSAGE not in str(error):
            raise
        with torch.no_grad():
            model.weight.fill_(torch.nan)


def bind_objective(
    config: FitConfig, model: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
) -> Evaluation:
    """Return a function that computes the objective.

    It leaves the objective's gradient in `.grad`. With minibatches the gradient is the estimate of
    one batch.
    """
    if config.batch.is_full:
        evaluate = config.gradient.bind(config.model, model, loss, X, y)
    else:
        evaluate = bind_minibatches(config, model, loss, X, y)
    shrinkage = config.shrinkage()
    if shrinkage.is_nothing:
        return evaluate
    smooth = config.optimizer.handles_l1
    return add_penalty(evaluate, config.model, model.weight, shrinkage, smooth)


def bind_minibatches(
    config: FitConfig, model: TrainablePredictor, loss: Loss, X: Tensor, y: Tensor
) -> Evaluation:
    """Return a function of full loss and batch gradient.

    It computes the loss of all samples and a batch's gradient. Every step copies its batch into the
    same two buffers.
    """
    n, p = X.shape
    q = y.shape[1]
    size = config.batch.num_drawn()
    batch_X = X.new_empty(size, p)
    batch_y = y.new_empty(size, q)
    step = config.gradient.bind(config.model, model, loss, batch_X, batch_y)
    sampler = config.batch.sampler(n, config.seed)
    share = batch_gradient_scale(loss, n, size, q)

    def draw() -> Iterator[Tensor]:
        while True:
            yield from torch.from_numpy(sampler.draw(count_batches_ahead(size))).to(X.device)

    rows = draw()

    def evaluate() -> Tensor:
        chosen = next(rows)
        torch.index_select(X, 0, chosen, out=batch_X)
        torch.index_select(y, 0, chosen, out=batch_y)
        step()
        if share != 1 and model.weight.grad is not None:
            model.weight.grad *= share
        with torch.no_grad():
            return loss(model(X), y)

    return evaluate


def require_shape(prediction: Tensor, shape: tuple[int, int]) -> None:
    """Raise ValueError if predictions would be broadcast to the targets."""
    if tuple(prediction.shape) != shape:
        raise ValueError(
            f"the model predicts {list(prediction.shape)} for targets of {list(shape)}"
        )


class StoppingMonitor:
    """Check every step's loss for divergence and tolerance.

    The tolerance is the record's.
    """

    def __init__(
        self, config: FitConfig, problem: Problem, known: Optimum, start: NDArray[Any]
    ) -> None:
        self.config = config
        self.optimum = known
        self.p = problem.shape[1]
        self.at_zero = known.scale * float(np.square(problem.y).sum())
        self.limit: float | None = None
        self.initial = float(known.excess_loss(start.astype(np.float64)))
        self.threshold, self.screen = self.resolve_tolerance(config.record.tolerance)

    def resolve_tolerance(self, share: float) -> tuple[float, float]:
        """Return threshold and screen of the tolerance `share`.

        The tolerance is `share` × the initial excess loss.
        """
        tolerance = resolve_tolerance(
            share, self.initial, self.optimum.loss, self.at_zero, self.p, self.config.dtype
        )
        return float(tolerance.threshold), float(tolerance.screen)

    def has_diverged(self, loss: float) -> bool:
        """Return True if the fit has diverged at this loss.

        The first call sets the limit.
        """
        if self.limit is None:
            self.limit = float(divergence_limit(self.config.stop.divergence, loss, self.at_zero))
        return not loss <= self.limit  # True also of NaN, and of an infinite initial loss

    def has_reached_tolerance(self, weights: NDArray[Any]) -> bool:
        """Return True if the weights are within the tolerance, once."""
        if not self.optimum.excess_loss(weights.astype(np.float64)) <= self.threshold:
            return False
        self.screen = BELOW_EVERY_LOSS
        return True

    def rules(
        self, gradient: Callable[[], Tensor | None], weights: Callable[[], NDArray[Any]]
    ) -> list[Callable[[float], bool]]:
        """Return the stopping rules.

        They are functions of the loss, True if the fit has converged.
        """
        stop = self.config.stop
        goals: list[Callable[[float], bool]] = []
        if stop.gradient_norm is not None:  # first, because this rule must see every step
            goals.append(GradientNormRule(stop.gradient_norm, gradient))
        if stop.excess_loss is not None:
            threshold, screen = self.resolve_tolerance(stop.excess_loss)

            def is_near(loss: float) -> bool:
                if not loss <= screen:
                    return False
                return bool(self.optimum.excess_loss(weights().astype(np.float64)) <= threshold)

            goals.append(is_near)
        return goals


class GradientNormRule:
    """Stopping rule by the gradient's norm.

    The fit stops when it is at most `share` × its initial norm.
    """

    def __init__(self, share: float, gradient: Callable[[], Tensor | None]) -> None:
        self.share = share
        self.gradient = gradient
        self.threshold: float | None = None

    def __call__(self, loss: float) -> bool:
        slope = self.gradient()
        assert slope is not None
        norm = float(gradient_norm(slope))
        if self.threshold is None:
            self.threshold = self.share * norm
        return norm <= self.threshold
