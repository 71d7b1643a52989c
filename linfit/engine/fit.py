"""The result of a fit: how it ended, the path it took, and how far from the exact answer it stopped.

n samples, p features, q targets, k recorded steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linfit.config import FitConfig
from linfit.problem.problem import Array, Problem
from linfit.problem.theory import Optimum


class Status(StrEnum):
    """How a fit ended. Completed, converged and diverged are results; a failed fit has none."""

    COMPLETED = "completed"
    CONVERGED = "converged"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Path:
    """What a fit passed through: the recorded steps `[k]`, the losses there `[k]`, the weights there `[k, p, q]`."""

    steps: NDArray[np.int64]
    losses: Array
    weights: NDArray[Any]


@dataclass(frozen=True)
class Fit:
    """One fit: its config, its status, and unless it failed its path, its problem and the problem's optimum.

    The loss at step k is the loss after k updates; the last recorded point belongs to the final weights.
    """

    config: FitConfig
    status: Status
    problem: Problem | None = None
    optimum: Optimum | None = None
    path: Path | None = None
    steps_to_tolerance: int | None = None
    diverged_at_step: int | None = None
    error: str | None = None
    """The traceback of a failed fit."""

    def _found(self) -> tuple[Path, Optimum, Problem]:
        if self.path is None or self.optimum is None or self.problem is None:
            raise ValueError(f"a {self.status} fit has no numbers")
        return self.path, self.optimum, self.problem

    @property
    def steps(self) -> NDArray[np.int64]:
        """The recorded steps `[k]`."""
        return self._found()[0].steps

    @property
    def losses(self) -> Array:
        """The losses at the recorded steps `[k]`: the dtype's own numbers, held as float64."""
        return self._found()[0].losses

    @cached_property
    def excess_losses(self) -> Array:
        """loss − minimal loss at the recorded steps `[k]`, computed from the weights in float64."""
        path, optimum, _ = self._found()
        return optimum.excess(path.weights.astype(np.float64))

    @cached_property
    def validation_losses(self) -> Array | None:
        """The losses of the samples held out at the recorded steps `[k]`, computed from the weights in float64; None where there are none."""
        path, _, problem = self._found()
        if problem.validation is None:
            return None
        import torch

        held = problem.validation
        loss = held.objective(self.config.loss)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):  # of a diverged fit
            residuals = (held.X @ weights.astype(np.float64) - held.y for weights in path.weights)
            return np.array([float(loss(torch.from_numpy(residual))) for residual in residuals])

    @property
    def own_weights(self) -> tuple[tuple[str, ...], Array] | None:
        """The final weights `[o, q]` of the user's own terms, with their names; None where the features are the data's columns."""
        expansion = self._found()[2].expansion
        if expansion is None:
            return None
        names, matrix = expansion.own()
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return names, matrix @ self.weights.astype(np.float64)

    @property
    def weights(self) -> NDArray[Any]:
        """The final weights W `[p, q]` in the fit's dtype; row i belongs to feature i for every model."""
        final: NDArray[Any] = self._found()[0].weights[-1]
        return final

    @property
    def loss(self) -> float:
        """The final loss; infinity if the fit diverged or failed, so that it never wins a ranking."""
        return (
            float(self.losses[-1])
            if self.status in (Status.COMPLETED, Status.CONVERGED)
            else float("inf")
        )

    @property
    def objective(self) -> float:
        """The number that the config's `objective` asks for; infinity if the fit diverged or failed, so that it never wins.

        `auto` is the loss of the samples held out, or without any the training loss, both evaluated in float64.
        """
        if self.status not in (Status.COMPLETED, Status.CONVERGED):
            return float("inf")
        _, optimum, problem = self._found()
        by = self.config.objective
        if by == "auto" and problem.validation is not None:
            by = "validation_loss"
        if by == "validation_loss":
            assert self.validation_losses is not None
            value = self.validation_losses[-1]
        elif by == "loss":
            value = self.losses[-1]
        else:
            least = optimum.loss if by == "auto" else 0.0
            value = least + self.excess_losses[-1]
        return float(value) if np.isfinite(value) else float("inf")

    @property
    def distance_to_optimum(self) -> float:
        """‖W − W*‖ of the final weights."""
        return self._found()[1].distance(self.weights.astype(np.float64))

    @property
    def distance_to_truth(self) -> float | None:
        """‖W − W_true‖ of the final weights, None where the dataset does not know its truth."""
        truth = self._found()[2].truth
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return (
                None
                if truth is None
                else float(np.linalg.norm(self.weights.astype(np.float64) - truth))
            )
