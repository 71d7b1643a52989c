"""Describe what came out of a fit: run now, or read back from a table or from its weights file.

k recorded steps, p features, q targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from linfit.engine.fit import Fit, Status
from linfit.problem.types import Array
from linfit.tracking.model import read_weights
from linfit.tracking.read.sweep_tables import TableEntry


@dataclass(frozen=True, eq=False)
class Outcome:
    """The outcome of a fit: recorded losses and final weights.

    The weights are listed row by row, as float64.
    """

    status: str
    dtype: str
    steps: NDArray[np.int64]
    """The recorded steps `[k]`."""
    losses: Array
    """The losses at these steps `[k]`."""
    weights: Array | None
    """The final weights `[p·q]`; None where they were not kept."""
    complete: bool = True
    """False where losses that are not finite are left out, as in MLflow."""

    @staticmethod
    def from_fit(fit: Fit) -> Outcome:
        """Return the outcome of a fit that ran in this process."""
        status = fit.status.value
        dtype = fit.config.dtype
        if fit.status is Status.FAILED:
            return Outcome(status, dtype, np.array([], int), np.array([]), None)
        weights = fit.weights.astype(np.float64).ravel()
        return Outcome(status, dtype, fit.steps, fit.losses, weights)

    def drop_nonfinite(self) -> Outcome:
        """Return the outcome without losses that are not finite."""
        kept = np.isfinite(self.losses)
        return replace(self, steps=self.steps[kept], losses=self.losses[kept], complete=False)

    def select_steps(self, steps: NDArray[np.int64]) -> Outcome:
        """Return the outcome at these steps only."""
        kept = np.isin(self.steps, steps)
        return replace(self, steps=self.steps[kept], losses=self.losses[kept])


def read_row_outcome(result: TableEntry, curve: TableEntry | None) -> Outcome:
    """Return the outcome of a sweep's fit from its table rows.

    They are its rows of the results and the curves.
    """
    stored = curve or {"step": None, "loss": None}
    return Outcome(
        str(result["status"]),
        str(result["dtype"]),
        np.array(stored["step"] or [], float).astype(int),
        np.array(stored["loss"] or [], float),
        np.array(result["weights"] or [], float),
    )


def read_file_outcome(file: Path) -> tuple[Outcome, str]:
    """Return a single run's outcome and fingerprint, from `weights.safetensors`.

    LinfitError if the file was changed after it was written.
    """
    tensors, header = read_weights(file)
    weights = tensors["weight"]
    outcome = Outcome(
        header.get("status", ""),
        str(weights.dtype),
        tensors["steps"],
        tensors["losses"],
        weights.astype(np.float64).ravel(),
    )
    return outcome, header.get("fingerprint", "")
