"""Minibatches of a stack: each fit draws its own, just as it would in the single engine.

n samples, m samples of a batch, r fits of a stack, u different streams.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from linfit.config import FitConfig
from linfit.engine.stacked.blocks import Task
from linfit.engine.stacked.data import Computation, ElementwiseData
from linfit.method.batches import Sampler, count_batches_ahead
from linfit.method.gradients import BatchMemory, StackedEvaluation
from linfit.problem.losses import Loss


class StackBatches:
    """Draw a batch for each of r fits at every step.

    Fits with one seed share a stream.
    """

    def __init__(self, tasks: Sequence[Task], data: ElementwiseData) -> None:
        self.data = data
        self.n = data.X.shape[-1]
        self.samplers: list[Sampler] = []
        streams: dict[Hashable, int] = {}
        number = []
        for task in tasks:
            batch = task.config.batch
            seed = batch.resolve_seed(task.config.seed)
            if seed not in streams:
                streams[seed] = len(self.samplers)
                self.samplers.append(batch.sampler(self.n, task.config.seed))
            number.append(streams[seed])
        self.number = torch.tensor(number, device=data.X.device)  # [r]
        self.ahead = count_batches_ahead(self.samplers[0].size, len(self.samplers))
        self.drawn = torch.empty(len(self.samplers), 0, 0, dtype=torch.int64)  # [u, ahead, m]
        self.at = 0
        self.memory = BatchMemory()

    def draw_rows(self) -> Tensor:
        """Return every fit's next batch as sample indices `[r, m]`, `[1, m]` if all are one."""
        if self.at == self.drawn.shape[1]:
            drawn = [sampler.draw(self.ahead) for sampler in self.samplers]
            self.drawn = torch.from_numpy(np.stack(drawn)).to(self.data.X.device)
            self.at = 0
        self.at += 1
        rows = self.drawn[:, self.at - 1]  # [u, m]
        return rows if len(rows) == 1 else rows[self.number]

    def keep_fits(self, rows: Sequence[int]) -> None:
        """Keep these fits only."""
        self.number = self.number[list(rows)]
        self.memory.keep_fits(torch.tensor(rows, device=self.data.X.device))

    def bind_evaluation(
        self, config: FitConfig, loss: Loss, compute_losses: Computation
    ) -> StackedEvaluation:
        """Return a function of W: full losses, batch gradients.

        The losses are of all samples, as `compute_losses` has them, the gradients of the batches.
        """
        X = self.data.X
        count = 1 if len(self.samplers) == 1 else len(self.number)
        shape = (count, self.samplers[0].size)
        step = config.gradient.stack_batches(config.model, loss, X, self.data.y, shape, self.memory)

        def evaluate(W: Tensor) -> tuple[Tensor, Tensor]:
            gradient = step(W, self.draw_rows())
            (losses,) = compute_losses(W)
            return losses, gradient

        return evaluate
