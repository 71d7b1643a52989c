"""The material of stacked rules: hyperparameters of many fits as columns, and optimizers' state.

A rule is written as the equations are, of negation, +, −, ×, ÷, √ and max alone. IEEE 754 rounds
each of them correctly, so an element's bits cannot depend on its place or its neighbours; `pow`, or
a sum fused with a product, would not promise that. A variance that may be rounding and nothing else
is torch's own lerp and addcmul, whose bits were found to be the same in every place too.

Shape letters: n samples, p features, q targets; s fits of a stack, whose optimizers are of one
kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from linfit.component import Component
from linfit.problem.types import Array

if TYPE_CHECKING:
    from torch import Tensor

#: Updates for which numbers that change with the step are computed at once.
UPDATES_AHEAD = 32
#: A learning rate above which its product with a gradient may overflow before it is divided.
HUGE_RATE = 1e6
#: `update(k, W, g)` moves the weights W `[s, p, q]` in place by their gradients g `[s, p, q]`.
#: It is the k-th update, counted from 1.
Update = Callable[[int, "Tensor", "Tensor"], None]
StackedRule = TypeVar("StackedRule", bound=Callable[..., Update])


def proportional_to_lr(rule: StackedRule) -> StackedRule:
    """Mark a rule `stacked` whose steps are proportional to `lr`.

    Stacks can schedule it.
    """
    vars(rule)["is_proportional_to_lr"] = True
    return rule


def is_proportional_to_lr(rule: Callable[..., Update]) -> bool:
    """Return True if a rule is marked with `proportional_to_lr`."""
    return "is_proportional_to_lr" in vars(rule)


def identify_kind(component: Component) -> tuple[object, ...]:
    """Return what fits of one kind share.

    That is the class, its switches, and which numbers are zero.
    """
    return (type(component), *map(_kind, vars(component).values()))


def _kind(value: Any) -> object:
    if isinstance(value, int | float):
        return bool(value)
    if isinstance(value, tuple):
        return tuple(map(_kind, value))
    return value


class HyperparameterColumns:
    """The numbers of s components of one kind, in float64.

    `hyperparameters["lr"]` is `[s, 1, 1]`, `hyperparameters["betas"]` a pair of such arrays.
    """

    def __init__(self, components: Sequence[Component], like: Tensor) -> None:
        self.components = components
        self.like = like

    def __getitem__(self, field: str) -> Array:
        rows = [vars(component)[field] for component in self.components]
        values = np.array(rows, dtype=np.float64)  # [s] or [s, m]
        return values.T.reshape(*values.shape[:0:-1], -1, 1, 1)

    def tensor(self, field: str) -> Tensor:
        """Return a field's values, spread to `[s, p, q]`.

        They have the weights' dtype and are on their device.
        """
        return self.expand_values(self[field])

    def expand_values(self, values: Array) -> Tensor:
        """Return `[s, 1, 1]` spread to `[s, p, q]`.

        The result has the weights' dtype and is on their device. Flat arithmetic is the fastest.
        """
        return self.round_values(values).expand_as(self.like).contiguous()

    def round_values(self, values: Array) -> Tensor:
        """Return `[s, 1, 1]` in the weights' dtype, on their device."""
        import torch

        return torch.from_numpy(values).to(self.like.dtype).to(self.like.device)

    def mark_huge_rates(self) -> Tensor | None:
        """Return a mask of huge learning rates `[s, 1, 1]`.

        None if none is huge.
        """
        import torch

        huge = self["lr"] > HUGE_RATE
        if not huge.any():
            return None
        return torch.from_numpy(huge).to(self.like.device)

    def compute_by_step(self, formula: Callable[[range], Array]) -> Callable[[int], Tensor]:
        """Return k ↦ `[s, 1, 1]`, computed AHEAD updates at once.

        `formula` gives `[w, s, 1, 1]` for w updates k.
        """
        ahead = range(0)
        table: Tensor

        def at(k: int) -> Tensor:
            nonlocal ahead, table
            if k not in ahead:
                ahead = range(k, k + UPDATES_AHEAD)
                table = self.round_values(formula(ahead))
            return table[k - ahead.start]

        return at

    def iterate_by_step(
        self, sequence: Callable[..., Iterator[Any]], *columns: Array
    ) -> Callable[[int], Tensor]:
        """Return k ↦ the k-th numbers of a sequence, `[s, 1, 1]` or `[m, s, 1, 1]`.

        `sequence` yields them, one or m at a time, in Python's own arithmetic, from a fit's numbers
        in `columns` `[s, 1, 1]`. Fits of equal numbers share one.
        """
        rows = np.stack([column.ravel() for column in columns], axis=1)
        distinct, place = np.unique(rows, axis=0, return_inverse=True)
        running = [sequence(*row) for row in distinct.tolist()]
        made = 0

        def formula(steps: range) -> Array:
            nonlocal made
            skipped = steps.start - 1 - made
            table = np.array(
                [list(islice(one, skipped, skipped + len(steps))) for one in running]
            )  # [distinct, w] or [distinct, w, m]
            made = steps.stop - 1
            return np.moveaxis(table[place.ravel()], 0, -1)[..., None, None]

        return self.compute_by_step(formula)

    def select(self, rows: Sequence[int], like: Tensor) -> HyperparameterColumns:
        """Return the columns of these fits alone."""
        return HyperparameterColumns([self.components[row] for row in rows], like)


class OptimizerState:
    """State of s optimizers between updates.

    Tensors `[s, p, q]` by name, zero at first.
    """

    def __init__(self, like: Tensor) -> None:
        self.like = like
        self.tensors: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.tensors:
            self.tensors[name] = self.like.new_zeros(self.like.shape)
        return self.tensors[name]

    def select(self, rows: Tensor, like: Tensor) -> OptimizerState:
        """Return the state of these fits alone."""
        chosen = OptimizerState(like)
        chosen.tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}
        return chosen


def scale_quotient(lr: Tensor, over: Tensor, under: Tensor, huge: Tensor | None) -> Tensor:
    """Return lr·(over/under) `[s, p, q]`.

    It is computed in torch.optim's order where lr is `huge`. That order is (lr·over)/under, which
    overflows here exactly where torch's does. Other fits keep the bits that they have without a
    huge rate in their stack.
    """
    import torch

    usual = lr * (over / under)
    if huge is None:
        return usual
    return torch.where(huge, lr * over / under, usual)


def sum_over(terms: Tensor, dim: int) -> Tensor:
    """Return the sum of `[s, …]` along an axis.

    Each fit's has the bits that it has in any stack. torch sums a single number in another order
    than many: a lone fit is doubled.
    """
    import torch

    if len(terms) > 1:
        return terms.sum(dim)
    return torch.cat([terms, terms]).sum(dim)[:1]


def raise_to_steps(base: Array, steps: range) -> Array:
    """Return baseᵏ `[w, s, 1, 1]` for each k of `steps`.

    There are w steps. Each distinct base is computed once. They are computed by Python's own power,
    as torch.optim does.
    """
    distinct, place = np.unique(base, return_inverse=True)
    table = np.array([[number**k for number in distinct.tolist()] for k in steps])  # [w, distinct]
    return table[:, place.reshape(base.shape)]
