"""The two products of a stack, XW and XᵀS, in forms that leave every fit its own bits.

A matrix product chooses its kernel, and with it the order of summation, by the number of its rows
and their alignment. So a fit's bits would depend on the fits beside it. There are two ways out. One
is no matrix product at all: elementwise products, summed over one fit's numbers. The other is a
product that always has the same shape: a panel of a constant number of rows
(docs/decisions/stacked-bits.md).

n samples, p features, q targets, r fits of a stack.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

#: Up to this number, features are added one by one: a sum over a short axis takes three times as
#: long.
MAX_UNROLLED_FEATURES = 4
#: Rows of a panel. Of fewer, the kernels that are chosen by the number of rows were found to be the
#: same from 8 on.
PANEL_ROWS = 32
#: Rows of the panel of a fit whose features no other fit has.
LONE_ROWS = 8
#: Fewest panels: a batch of one is another kernel.
LEAST_PANELS = 2


class StackedProducts(ABC):
    """The features X of r fits, by what a stack computes with them."""

    @abstractmethod
    def multiply(self, W: Tensor) -> Tensor:
        """Return XW as `[r, q, n]`. W is `[r, p, q]`, and torch may differentiate by it."""

    @abstractmethod
    def multiply_transposed(self, S: Tensor) -> Tensor:
        """Return XᵀS as `[r, p, q]`. S is `[r, q, n]`."""


class ElementwiseProducts(StackedProducts):
    """Products computed element by element, and summed over features or samples.

    X is `[r, p, 1, n]`, or `[1, p, 1, n]` if all fits share it. Every fit's sums run alone, in an
    order that follows from (n, p, q).
    """

    def __init__(self, X: Tensor) -> None:
        self.X = X

    def multiply(self, W: Tensor) -> Tensor:
        W = W.unsqueeze(-1)  # [r, p, q, 1]
        if W.shape[1] > MAX_UNROLLED_FEATURES:
            return (self.X * W).sum(dim=1)
        terms: list[Tensor] = list(map(operator.mul, self.X.unbind(1), W.unbind(1)))
        return sum(terms[1:], terms[0])

    def multiply_transposed(self, S: Tensor) -> Tensor:
        return (self.X * S.unsqueeze(1)).sum(dim=-1)


class PanelProducts(StackedProducts):
    """Matrix products in panels of a constant number of rows, one row a fit and target.

    X is `[p, n]` where all fits share it: the rows of all are cut into panels of 32. It is
    `[r, p, n]` where each fit has its own: each is a panel of 8 rows, of which q are in use. What
    is left of a panel is 0. No row's bits depend on its place or on the other rows.
    """

    def __init__(self, X: Tensor) -> None:
        self.X = X
        self.is_shared = X.ndim == 2

    def multiply(self, W: Tensor) -> Tensor:
        if not W.requires_grad:
            return self.predict_rows(W)
        product: Tensor = _product_class().apply(W, self)
        return product

    def multiply_transposed(self, S: Tensor) -> Tensor:
        return self._multiply_rows(S, self.X.mT).mT.contiguous()

    def predict_rows(self, W: Tensor) -> Tensor:
        """Return XW as `[r, q, n]`, which torch does not differentiate."""
        return self._multiply_rows(W.mT, self.X)

    def _multiply_rows(self, rows: Tensor, matrix: Tensor) -> Tensor:
        """Return rows `[r, q, a]` times the matrix `[a, b]` or `[r, a, b]`, as `[r, q, b]`."""
        r, q, a = rows.shape
        b = matrix.shape[-1]
        if self.is_shared:
            panels = fill_panels(rows.reshape(1, r * q, a), PANEL_ROWS, LEAST_PANELS)
            product = panels.bmm(matrix.expand(len(panels), a, b))
            return product.reshape(-1, b)[: r * q].view(r, q, b)
        count = -(-q // LONE_ROWS)
        panels = fill_panels(rows, LONE_ROWS, count)
        own = matrix.repeat_interleave(count, dim=0) if count > 1 else matrix
        return panels.bmm(own).view(r, count * LONE_ROWS, b)[:, :q].contiguous()


def fill_panels(rows: Tensor, height: int, least: int) -> Tensor:
    """Return rows `[s, m, a]` as panels `[s·c, height, a]`, c at least `least`, the rest 0."""
    s, m, a = rows.shape
    count = max(least, -(-m // height))
    if m == count * height:
        return rows.reshape(-1, height, a)
    panels = rows.new_zeros(s, count * height, a)
    panels[:, :m] = rows
    return panels.view(-1, height, a)


_found: list[Any] = []


def _product_class() -> Any:
    """Return the function XW whose derivative by W is taken by the same kind of product."""
    if _found:
        return _found[0]
    import torch

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, W: Tensor, products: PanelProducts) -> Tensor:
            ctx.products = products
            return products.predict_rows(W)

        @staticmethod
        def backward(ctx: Any, S: Tensor) -> tuple[Tensor, None]:
            return ctx.products.multiply_transposed(S), None

    _found.append(Product)
    return Product
