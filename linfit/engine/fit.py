"""The result of a fit: its status, its path, and its distance to the exact optimum.

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.config import FitConfig
from linfit.problem.datasets.targets import read_class_labels
from linfit.problem.measures import HELD_OUT_PREFIX, find_measure, measure_weights
from linfit.problem.problem import Problem
from linfit.problem.sparse_measures import measure_sparsity
from linfit.problem.theory.optimum import Optimum
from linfit.problem.types import Array

#: The module that shows a fit in a notebook. It is imported when it is asked to: views know fits,
#: and a fit knows this name alone.
NOTEBOOK_VIEW = "linfit.views.charts.fits.notebook_fit"


class Status(StrEnum):
    """How a fit ended.

    Completed, converged and diverged fits are results; a failed fit has none.
    """

    COMPLETED = "completed"
    CONVERGED = "converged"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class FitPath:
    """Recorded steps `[k]`, losses `[k]` and weights `[k, p, q]`.

    They are one fit's.
    """

    steps: NDArray[np.int64]
    losses: Array
    weights: NDArray[Any]


@dataclass(frozen=True)
class Fit:
    """One fit: config and status, and unless it failed its path, problem and optimum.

    The loss at step k is the loss after k updates; the last recorded point belongs to the final
    weights.
    """

    config: FitConfig
    status: Status
    problem: Problem | None = None
    optimum: Optimum | None = None
    path: FitPath | None = None
    steps_to_tolerance: int | None = None
    diverged_at_step: int | None = None
    error: str | None = None
    """The traceback of a failed fit."""
    step_seconds: float | None = None
    """Mean time of a step; in a stack the fit's share of a step of all. It differs in every run."""

    def _found(self) -> tuple[FitPath, Optimum, Problem]:
        if self.path is None or self.optimum is None or self.problem is None:
            raise ValueError(f"a {self.status} fit has no numbers")
        return self.path, self.optimum, self.problem

    @property
    def _may_win(self) -> bool:
        return self.status in (Status.COMPLETED, Status.CONVERGED)

    @property
    def steps(self) -> NDArray[np.int64]:
        """The recorded steps `[k]`."""
        return self._found()[0].steps

    @property
    def losses(self) -> Array:
        """The losses at the recorded steps `[k]`: numbers of the dtype, held as float64."""
        return self._found()[0].losses

    @cached_property
    def excess_losses(self) -> Array:
        """loss − minimal loss at the recorded steps `[k]`, from the weights in float64.

        NaN if the optimum is unknown, as with theory=none.
        """
        path, optimum, _ = self._found()
        return optimum.excess_loss(path.weights.astype(np.float64))

    @cached_property
    def validation_losses(self) -> Array | None:
        """The losses of the held-out samples at the recorded steps `[k]`.

        They are computed from the weights in float64; None if no samples are held out.
        """
        path, _, problem = self._found()
        held_out = problem.validation
        if held_out is None:
            return None
        import torch

        loss = held_out.bind_loss(self.config.loss)
        y = torch.from_numpy(held_out.seen_targets)
        found = []
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # of a diverged fit
            for weights in path.weights:
                eta = torch.from_numpy(held_out.X @ weights.astype(np.float64))
                found.append(float(loss(eta, y)))
        return np.array(found)

    @cached_property
    def measures(self) -> dict[str, float]:
        """The measures of the final weights by name, such as r2 or accuracy.

        They are of the samples that were fitted, never penalized, and computed in float64. With a
        penalty that leaves weights at 0, their number and the duality gap. Empty if the fit
        diverged or failed.
        """
        found = self._measure(self.problem)
        if self.problem is None or not self._may_win:
            return found
        weights = self.weights.astype(np.float64)
        shrinkage = self.config.shrinkage()
        return found | measure_sparsity(self.problem, self.config.loss, shrinkage, weights)

    @cached_property
    def held_out_measures(self) -> dict[str, float]:
        """The measures of the final weights on the samples held out.

        Empty if there are none, and if the fit diverged or failed.
        """
        return self._measure(self.problem and self.problem.validation)

    def _measure(self, problem: Problem | None) -> dict[str, float]:
        if problem is None or not self._may_win:
            return {}
        weights = self.weights.astype(np.float64)
        return measure_weights(problem, self.config.loss.target_kind, weights)

    def list_measures(self) -> dict[str, float]:
        """Return all measures, those of samples held out with `validation_` before their names."""
        held_out = self.held_out_measures.items()
        return {**self.measures, **{f"{HELD_OUT_PREFIX}{name}": value for name, value in held_out}}

    @cached_property
    def held_out(self) -> NDArray[np.int64]:
        """The rows of the dataset that were held out, from 0 on; empty if none were.

        `np.delete(X, fit.held_out, axis=0)` are the samples that were fitted. Rows that
        `dataset.missing=drop` leaves out do not count.
        """
        problem = self._found()[2]
        samples = problem.shape[0]
        if problem.validation is not None:
            samples += problem.validation.shape[0]
        return find_held_out(self.config, samples)

    @property
    def own_weights(self) -> tuple[tuple[str, ...], Array] | None:
        """Names and final weights `[o, q]` of the user's own terms.

        None if the features are the data's columns.
        """
        expansion = self._found()[2].expansion
        if expansion is None:
            return None
        names, matrix = expansion.in_user_terms()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return names, matrix @ self.weights.astype(np.float64)

    @property
    def weights(self) -> NDArray[Any]:
        """The final weights W `[p, q]` in the fit's dtype.

        Row i belongs to feature i for every model.
        """
        final: NDArray[Any] = self._found()[0].weights[-1]
        return final

    @property
    def loss(self) -> float:
        """The final loss; infinity if the fit diverged or failed."""
        if not self._may_win:
            return float("inf")
        return float(self.losses[-1])

    @property
    def objective(self) -> float:
        """The number that the config's `objective` names.

        Infinity if the fit diverged or failed.

        `auto` is the loss of the held-out samples, the deviance of counts, or without any the
        training loss, all evaluated in float64; with theory=none the training loss is that of the
        fit's dtype. Lower is better: r2, accuracy and roc_auc count as 1 − the measure.
        """
        if not self._may_win:
            return float("inf")
        by = self.config.resolve_objective()
        if (measure := find_measure(by)) is not None:
            found = self.list_measures()
            return measure.to_loss(found[by]) if by in found else float("inf")
        if by == "validation_loss":
            assert self.validation_losses is not None
            value = self.validation_losses[-1]
        elif by == "loss":
            value = self.losses[-1]
        else:
            least = self._found()[1].loss if by == "auto" else 0.0
            value = least + self.excess_losses[-1]
        return float(value) if np.isfinite(value) else float("inf")

    @property
    def distance_to_optimum(self) -> float:
        """‖W − W*‖ of the final weights."""
        return self._found()[1].measure_distance(self.weights.astype(np.float64))

    @property
    def distance_to_truth(self) -> float | None:
        """‖W − W_true‖ of the final weights.

        None if the dataset does not know its truth.
        """
        truth = self._found()[2].truth
        if truth is None:
            return None
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return float(np.linalg.norm(self.weights.astype(np.float64) - truth))

    def plot(self, name: str = "loss") -> Any:
        """Return a picture of the fit as a matplotlib figure, which a notebook shows.

        `name` is loss, data or descent, for losses of classes also boundary, calibration or
        confusion. ConfigError for another name, and where the fit has no such picture.
        """
        return import_module(NOTEBOOK_VIEW).draw_fit(self, name)

    def __repr__(self) -> str:
        parts = (self.config.optimizer.name, self.config.dataset.name)
        ended = f"{self.status.value}"
        if self.status is Status.DIVERGED:
            ended += f" at step {self.diverged_at_step}"
        elif self.path is not None:
            ended += f" at step {self.steps[-1]}, loss {self.loss:.6g}"
        return f"<linfit.Fit of {' on '.join(parts)}: {ended}>"

    def _repr_html_(self) -> str:
        text: str = import_module(NOTEBOOK_VIEW).format_fit(self)
        return text


def find_held_out(config: FitConfig, samples: int) -> NDArray[np.int64]:
    """Return the rows that a fit of this config holds out of `samples`, in order."""
    if not config.split.holds_out():
        return np.array([], np.int64)
    labels = read_class_labels(config.dataset, config.seed, config.loss.target_kind)
    masks = list(config.split.draw_held_out(samples, config.seed, labels))
    return np.flatnonzero(np.concatenate(masks))
