"""A stack in panels: its fits in groups, their samples in blocks, a piece of work at a time.

A piece is a group of fits in a block of samples. Its tensors stay below 512 KiB, so that they stand
in the processor's cache, and no page is asked of the system anew at every step. What is computed of
a fit is the sum over its blocks, in order: which samples stand in a block depends on the dtype
alone.

n samples, p features, q targets, r fits of a stack, g fits of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from linfit.engine.stacked.blocks import Task
from linfit.engine.stacked.data import Binding, Computation, StackData
from linfit.engine.stacked.forms import count_block_samples
from linfit.method.batches import batch_loss_ratio
from linfit.method.products import LEAST_PANELS, LONE_ROWS, PANEL_ROWS, PanelProducts
from linfit.problem.losses import Loss
from linfit.problem.types import Array

#: Most bytes of a tensor of a piece.
PIECE_BYTES = 2**19
#: Fits that share one X, on the average, from which on these are multiplied together.
LEAST_SHARING = 8


class PanelData(StackData):
    """Features and targets of r fits, cut into pieces when a computation is bound."""

    def __init__(
        self, tasks: Sequence[Task], loss: Loss, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.tasks = list(tasks)
        self.loss = loss
        self.dtype = dtype
        self.device = device

    def keep_rows(self, rows: Sequence[int]) -> None:
        self.tasks = [self.tasks[row] for row in rows]

    def bind(self, binding: Binding) -> Computation:
        pieces = list(PieceCutter(self, binding).cut())

        def compute(W: Tensor) -> tuple[Tensor, ...]:
            whole: list[Tensor] = []
            for piece in pieces:
                parts = piece.compute(W[piece.rows])
                if not whole:
                    whole = [part.new_empty(len(W), *part.shape[1:]) for part in parts]
                for total, part in zip(whole, parts, strict=True):
                    total[piece.rows] = part
            return tuple(whole)

        return compute


@dataclass(frozen=True)
class Piece:
    """The rows of a group of fits, and what is computed of them in each block of samples."""

    rows: slice | Tensor
    blocks: Sequence[tuple[float, Computation]]
    """Share of the block's loss in the whole, and the computation."""

    def compute(self, W: Tensor) -> list[Tensor]:
        """Return the sums over the blocks at W `[g, p, q]`."""
        found: list[Tensor] = []
        for share, compute_block in self.blocks:
            parts = compute_block(W)
            if share != 1:
                parts = tuple(share * part for part in parts)
            found = list(map(torch.add, found, parts)) if found else list(parts)
        return found


class PieceCutter:
    """Cut r fits into pieces: those that share X together, or each with its own."""

    def __init__(self, data: PanelData, binding: Binding) -> None:
        self.data = data
        self.binding = binding
        self.features = [task.data.X for task in data.tasks]
        #: Targets as the loss sees them, one array for one problem.
        seen = {id(task.data.rounded): task.data.rounded.seen_targets for task in data.tasks}
        self.targets = [seen[id(task.data.rounded)] for task in data.tasks]
        self.samples = len(self.features[0])
        self.q = data.tasks[0].data.rounded.shape[2]
        self.width = count_block_samples(self.samples, data.dtype)
        self.rows_of: dict[int, list[int]] = {}
        for row, X in enumerate(self.features):
            self.rows_of.setdefault(id(X), []).append(row)
        self.is_shared = LEAST_SHARING * (len(self.rows_of) - 1) < len(self.features)
        self.tensors: dict[tuple[int, ...], Tensor] = {}

    def cut(self) -> Iterator[Piece]:
        """Yield the pieces."""
        together = [list(range(len(self.features)))]
        if self.is_shared:
            together = list(self.rows_of.values())
        for rows in together:
            for group in split_rows(rows, self.count_fits()):
                yield Piece(index_rows(group, self.data.device), list(self.cut_blocks(group)))

    def count_fits(self) -> int:
        """Return the most fits of a group."""
        rows = PIECE_BYTES // (self.width * self.data.dtype.itemsize)
        if self.is_shared:
            panels = max(LEAST_PANELS, rows // PANEL_ROWS)
            return max(2, panels * PANEL_ROWS // self.q)
        height = -(-self.q // LONE_ROWS) * LONE_ROWS
        return max(2, rows // height)

    def cut_blocks(self, group: Sequence[int]) -> Iterator[tuple[float, Computation]]:
        """Yield share and computation of each block of samples of these fits."""
        features = [self.features[row] for row in group]
        targets = [self.targets[row] for row in group]
        for start in range(0, self.samples, self.width):
            stop = min(start + self.width, self.samples)
            X = self.lay_samples_last(features, start, stop)
            y = self.lay_samples_last(targets, start, stop)
            share = batch_loss_ratio(self.data.loss, self.samples, stop - start, self.q)
            yield share, self.binding(PanelProducts(X[0] if len(X) == 1 else X), y)

    def lay_samples_last(self, arrays: Sequence[Array], start: int, stop: int) -> Tensor:
        """Return these samples of arrays `[n, m]` as `[g, m, width]`, `[1, …]` if all are one."""
        if len({id(array) for array in arrays}) == 1:
            arrays = arrays[:1]
        key = (start, *map(id, arrays))
        if key not in self.tensors:
            taken = torch.from_numpy(np.stack([array[start:stop].T for array in arrays]))
            self.tensors[key] = taken.to(self.data.dtype).contiguous().to(self.data.device)
        return self.tensors[key]


def split_rows(rows: Sequence[int], most: int) -> Iterator[list[int]]:
    """Yield groups of up to `most` rows; one that is left over stands twice in its group.

    torch sums a single number in another order than several.
    """
    for start in range(0, len(rows), most):
        group = list(rows[start : start + most])
        yield group if len(group) > 1 else 2 * group


def index_rows(group: Sequence[int], device: torch.device) -> slice | Tensor:
    """Return rows as a slice if they follow each other, which copies none."""
    following = range(group[0], group[0] + len(group))
    if list(group) == list(following):
        return slice(following.start, following.stop)
    return torch.tensor(list(group), device=device)
