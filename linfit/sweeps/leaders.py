"""The best fits of a sweep while it runs, before it is known by which loss its fits are compared."""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from linfit.tracking.layout import EXCESS
from linfit.tracking.objective import OBJECTIVE, compared_value

T = TypeVar("T")


class BestFits(Generic[T]):
    """The `count` best of what is added, by the job's own objective and by excess loss; of equals the first rows."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._heaps: dict[str, list[tuple[float, int, T]]] = {OBJECTIVE: [], EXCESS: []}

    def add(self, row: int, result: dict[str, object], held: T) -> None:
        """Take in a row of `results.parquet` with what is held of its fit."""
        for column, heap in self._heaps.items():
            entry = -compared_value(result, column), -row, held
            if len(heap) < self.count:
                heapq.heappush(heap, entry)
            else:
                heapq.heappushpop(heap, entry)

    def ranked(self, by: str | None) -> list[tuple[int, T]]:
        """Return the best by a recorded loss, by excess loss where there is none, with their rows; the best first."""
        heap = self._heaps[EXCESS if by in (EXCESS, None) else OBJECTIVE]
        return [
            (-row, held) for _, row, held in sorted(heap, key=lambda entry: entry[:2], reverse=True)
        ]
