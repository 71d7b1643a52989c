"""Theory of a plan's fits before the first step: one row for each problem and optimizer.

Numbers in which the fits differ are ranges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from linfit.config import FitConfig
from linfit.engine.prediction.predict import Theory, predict_theories
from linfit.engine.stacked.blocks import Task, find_optima

#: Numbers of a theory that have a range.
RANGED_FIELDS = (
    "minimal_loss", "largest_curvature", "smallest_curvature", "condition", "rank",
    "largest_stable_lr", "optimal_lr", "rate", "steps_to_tolerance", "noise_floor", "digits",
)  # fmt: skip
NumberRange = tuple[float, float]


@dataclass(frozen=True)
class Forecast:
    """Theory of the fits of one problem and optimizer.

    A range is the least and the largest number, None if the theory knows none.
    """

    problem: str
    optimizer: str
    num_fits: int
    optimum: tuple[float, ...] | None
    """Its first weights, if they are the same for all fits."""
    minimal_loss: NumberRange | None
    largest_curvature: NumberRange | None
    smallest_curvature: NumberRange | None
    condition: NumberRange | None
    rank: NumberRange | None
    largest_stable_lr: NumberRange | None
    optimal_lr: NumberRange | None
    rate: NumberRange | None
    steps_to_tolerance: NumberRange | None
    """Of the fits that reach it."""
    noise_floor: NumberRange | None
    digits: NumberRange | None
    never: int
    """Number of fits whose iteration is known and does not contract."""


@dataclass
class Forecasts:
    """Theories of blocks of fits, and the notes on their problems."""

    found: dict[tuple[str, str], list[Theory]] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)

    def add_block(self, block: Sequence[Task]) -> None:
        """Compute the theory of a block's fits.

        The optima that are still unknown are found too.
        """
        find_optima(
            [
                task
                for task in block
                if task.data.optimum is None or task.config.optimizer.needs_optimum()
            ]
        )
        for task in block:
            self.notes.update((*task.config.notes(), *task.data.problem.notes))
        if not block[0].config.has_answer():
            return
        fits = []
        for task in block:
            start = task.initial_weights.double().cpu().numpy()
            fits.append((task.config, task.data.rounded, task.optimum, start))
        for task, theory in zip(block, predict_theories(fits), strict=True):
            key = (describe_problem(task.config), task.config.optimizer.name)
            self.found.setdefault(key, []).append(theory)

    def list_forecasts(self) -> list[Forecast]:
        """Return one forecast for each problem and optimizer."""
        return [_forecast(*key, theories) for key, theories in self.found.items()]


def describe_problem(config: FitConfig) -> str:
    """Name a config's problem by its components, without neutral ones."""
    parts = (
        config.dataset,
        config.features,
        config.loss,
        config.penalty,
        config.batch,
        config.schedule,
    )
    neutral = {"raw", "none", "full"}
    return " ".join(part.name for part in parts if part.name not in neutral)


def _forecast(problem: str, optimizer: str, theories: Sequence[Theory]) -> Forecast:
    ranges = {}
    for name in RANGED_FIELDS:
        ranges[name] = _range(getattr(theory, name) for theory in theories)
    optima = {theory.optimum for theory in theories}
    return Forecast(
        problem=problem,
        optimizer=optimizer,
        num_fits=len(theories),
        never=sum(theory.rate is not None and theory.rate >= 1 for theory in theories),
        optimum=optima.pop() if len(optima) == 1 else None,
        **ranges,
    )


def _range(values: Iterable[float | None]) -> NumberRange | None:
    known = [float(value) for value in values if value is not None and np.isfinite(value)]
    if not known:
        return None
    return min(known), max(known)
