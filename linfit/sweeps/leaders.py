"""The best fits of a sweep while it runs.

The loss by which fits are compared is known only when the last batch of fits has come.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from linfit.tracking.layout import EXCESS
from linfit.tracking.objective import OBJECTIVE, compared_value

T = TypeVar("T")


class BestFits(Generic[T]):
    """The `count` best fits by objective, and by excess loss.

    Of equal fits the first rows are kept.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._heaps: dict[str, list[tuple[float, int, T]]] = {OBJECTIVE: [], EXCESS: []}

    def add(self, row: int, result: dict[str, object], held: T) -> None:
        """Take in a row of `results.parquet`, and hold an object for it."""
        for column, heap in self._heaps.items():
            entry = (-compared_value(result, column), -row, held)
            if len(heap) < self.count:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)

    def ranked(self, by: str | None) -> list[tuple[int, T]]:
        """Return (row, held object) of the best fits, the best first.

        `by` is a recorded loss; None means excess loss.
        """
        heap = self._heaps[EXCESS if by in (EXCESS, None) else OBJECTIVE]
        ordered = sorted(heap, key=lambda entry: entry[:2], reverse=True)
        return [(-row, held) for _, row, held in ordered]
