"""The data of a stack: what is computed of all samples, by elementwise products.

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from linfit.engine.stacked.blocks import Task
from linfit.method.products import ElementwiseProducts, StackedProducts
from linfit.problem.types import Array

#: Computes tensors `[r, …]` of r fits at W `[r, p, q]`, such as their losses and gradients.
Computation = Callable[[Tensor], tuple[Tensor, ...]]
#: Binds a computation to the features and targets of r fits.
Binding = Callable[[StackedProducts, Tensor], Computation]


class StackData(ABC):
    """Features and targets of r fits."""

    @abstractmethod
    def keep_rows(self, rows: Sequence[int]) -> None:
        """Keep the data of these fits only, in this order."""

    @abstractmethod
    def bind(self, binding: Binding) -> Computation:
        """Return what `binding` computes of all samples."""


class ElementwiseData(StackData):
    """X `[r, p, 1, n]` and y `[r, q, n]`, each `[1, …]` if all fits share it."""

    def __init__(self, tasks: Sequence[Task], dtype: torch.dtype, device: torch.device) -> None:
        features = [task.data.X for task in tasks]
        targets = [task.data.rounded.seen_targets for task in tasks]
        self.X = stack_arrays(features, dtype, device).unsqueeze(2)
        self.y = stack_arrays(targets, dtype, device)

    def keep_rows(self, rows: Sequence[int]) -> None:
        indices = torch.tensor(rows, device=self.X.device)
        if len(self.X) > 1:
            self.X = self.X[indices]
        if len(self.y) > 1:
            self.y = self.y[indices]

    def bind(self, binding: Binding) -> Computation:
        return binding(ElementwiseProducts(self.X), self.y)


def stack_arrays(arrays: Sequence[Array], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return arrays `[n, m]` as `[r, m, n]`, `[1, m, n]` if all are one array."""
    distinct = {id(array): array for array in arrays}
    samples_last = np.stack(list(distinct.values())).swapaxes(1, 2)
    stacked = torch.from_numpy(samples_last).to(dtype).contiguous().to(device)
    if len(distinct) in (1, len(arrays)):
        return stacked
    number = {key: index for index, key in enumerate(distinct)}
    return stacked[torch.tensor([number[id(array)] for array in arrays], device=device)]
