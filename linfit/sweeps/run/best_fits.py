"""The best fits of a sweep while it runs.

The loss by which fits are compared is known only when the last batch of fits has come.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from linfit.tracking.schema.mlflow_names import EXCESS
from linfit.tracking.schema.objective import OBJECTIVE_COLUMN, score_result

Held = TypeVar("Held")


class BestFits(Generic[Held]):
    """The `count` best fits by objective, and by excess loss.

    Of equal fits the first rows are kept.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._heaps: dict[str, list[tuple[float, int, Held]]] = {OBJECTIVE_COLUMN: [], EXCESS: []}

    def add(self, row: int, result: dict[str, object], held: Held) -> None:
        """Take in a row of `results.parquet`; hold an object for it."""
        for column, heap in self._heaps.items():
            entry = (-score_result(result, column), -row, held)
            if len(heap) < self.count:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)

    def rank_by(self, by: str | None) -> list[tuple[int, Held]]:
        """Return (row, held object) of the best fits, the best first.

        `by` is a recorded loss; None means excess loss.
        """
        column = EXCESS if by in (EXCESS, None) else OBJECTIVE_COLUMN
        ordered = sorted(self._heaps[column], key=lambda entry: entry[:2], reverse=True)
        return [(-row, held) for _, row, held in ordered]
