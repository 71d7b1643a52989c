"""The recorded curves of a sweep's fits, end to end in flat arrays, as their table has them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from linfit.problem.types import Array


@dataclass(frozen=True)
class SweepCurves:
    """Curves of the fits that have one.

    Fit `rows[i]` has the points `starts[i]` to `starts[i + 1]` of `steps`, `losses` and `excess`.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]
    steps: NDArray[np.int64]
    losses: Array
    excess: Array
    path_starts: NDArray[np.int64]
    """Where the weights of each fit begin in `path`."""
    path: Array
    """Weights at each point, of fits that are small enough for their path to be recorded."""

    @staticmethod
    def from_table(table: pa.Table, has_excess: bool = True) -> SweepCurves:
        """Return the curves of a table with one row a fit and one list a column.

        Losses take the place of excess losses that there are not.
        """
        table = table.combine_chunks()
        starts, steps = _flatten(table["step"])
        _, losses = _flatten(table["loss"])
        excess = losses
        if has_excess:
            _, excess = _flatten(table["excess_loss"])
        path_starts, path = _flatten(table["path"])
        rows = table["row"].to_numpy()
        return SweepCurves(
            rows,
            starts,
            steps,
            losses,
            excess,
            path_starts,
            path,
        )

    @cached_property
    def positions(self) -> dict[int, int]:
        """The position of each fit's curve, by the fit's row."""
        return {row: position for position, row in enumerate(self.rows.tolist())}

    def select(self, row: int) -> tuple[NDArray[np.int64], Array]:
        """Return the steps `[k]` and excess losses `[k]` of a fit.

        Empty if it has none.
        """
        position = self.positions.get(row)
        if position is None:
            return self.steps[:0], self.excess[:0]

        part = slice(self.starts[position], self.starts[position + 1])
        return self.steps[part], self.excess[part]

    def select_path(self, row: int) -> Array:
        """Return the weights `[k, p·q]` of a fit, `[k, 0]` if they were not recorded."""
        steps, _ = self.select(row)
        if not len(steps):
            return np.empty((0, 0))

        position = self.positions[row]
        part = slice(self.path_starts[position], self.path_starts[position + 1])
        return self.path[part].reshape(len(steps), -1)

    def find_initial(self, row: int) -> float:
        """Return the excess loss before the first update.

        NaN without a curve.
        """
        _, excess = self.select(row)
        return float(excess[0]) if len(excess) else float("nan")


def _flatten(lists: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return where each list of a column begins, and all lists end to end."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    return array.offsets.to_numpy(), array.values.to_numpy(zero_copy_only=False)
