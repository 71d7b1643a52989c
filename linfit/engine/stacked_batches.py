"""The batches of a stack: every fit has its own, drawn as the single engine draws them, whatever its neighbours draw.

n samples, p features, q targets, m samples of a batch, r fits of a stack, u different streams.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from linfit.config import FitConfig
from linfit.engine.blocks import Task
from linfit.method.batches import Minibatch, Sampler, ahead, batch_scale
from linfit.method.gradients import StackedEvaluation


class Batches:
    """The rows that each of r fits looks at, step by step; fits of one seed share a stream."""

    def __init__(self, tasks: Sequence[Task], X: Tensor, y: Tensor) -> None:
        self.n = X.shape[-1]
        self.samplers: list[Sampler] = []
        streams: dict[Hashable, int] = {}
        number = []
        for task in tasks:
            batch = task.config.batch
            assert isinstance(batch, Minibatch)
            seed = batch.drawn_from(task.config.seed)
            if seed not in streams:
                streams[seed] = len(self.samplers)
                self.samplers.append(batch.sampler(self.n, task.config.seed))
            number.append(streams[seed])
        self.number = torch.tensor(number)  # [r]
        self.ahead = ahead(self.samplers[0].size, len(self.samplers))
        self.drawn = torch.empty(len(self.samplers), 0, 0, dtype=torch.int64)  # [u, ahead, m]
        self.at = 0

    def rows(self) -> Tensor:
        """The next batch of every fit `[r, m]`."""
        if self.at == self.drawn.shape[1]:
            self.drawn = torch.from_numpy(
                np.stack([sampler.take(self.ahead) for sampler in self.samplers])
            )
            self.at = 0
        self.at += 1
        return self.drawn[self.number, self.at - 1]

    def select(self, rows: Sequence[int]) -> None:
        """Goes on with these fits only."""
        self.number = self.number[list(rows)]

    def bind(self, config: FitConfig, X: Tensor, y: Tensor, r: int) -> StackedEvaluation:
        """The losses of all samples and the gradients of those that stand in the buffers, filled anew at every step."""
        (_, p, _, n), q, m = X.shape, y.shape[1], self.samplers[0].size
        some_X, some_y = X.new_empty(r, p, 1, m), y.new_empty(r, q, m)
        step = config.gradient.stacked(config.model, config.loss, some_X, some_y)
        share = batch_scale(config.loss, n, m, q)
        all_X, all_y = X.expand(r, p, 1, n), y.expand(r, q, n)

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            rows = self.rows().to(X.device)
            torch.gather(all_X, 3, rows[:, None, None].expand(r, p, 1, m), out=some_X)
            torch.gather(all_y, 2, rows[:, None].expand(r, q, m), out=some_y)
            _, gradient = step(W)
            losses = config.loss.stacked(config.model.stacked(X, W) - y)
            return losses, gradient * share if share != 1 else gradient

        return evaluate
