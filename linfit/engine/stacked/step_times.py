"""The time of a step of each fit of a stack: its share of what the steps of all took.

b fits of a block, r rows of its program.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array


class StepTimes:
    """Seconds and steps of b fits, window by window.

    Fits share the evaluation of losses and gradients equally, and each kind of optimizer the time
    of its updates. What a window takes besides, such as copies, is shared in proportion.
    """

    def __init__(self, count: int) -> None:
        self.seconds = np.zeros(count)
        self.steps = np.zeros(count)
        self.begun = time.perf_counter()

    def start_window(self) -> None:
        """Start the clock of a window."""
        self.begun = time.perf_counter()

    def end_window(self, rows: NDArray[np.int64], shares: Array, steps: int) -> None:
        """Enter the steps of a window that the fits `rows` `[r]` took by `shares` `[r]`."""
        took = time.perf_counter() - self.begun
        total = shares.sum()
        parts = shares / total if total > 0 else np.full(len(rows), 1 / len(rows))
        np.add.at(self.seconds, rows, took * parts)
        self.steps[rows] += steps

    def per_step(self, row: int) -> float | None:
        """Return the seconds of a step of a fit, None without a step."""
        if not self.steps[row]:
            return None
        return float(self.seconds[row] / self.steps[row])
