"""Sufficient statistics: all that the squared error knows of the data, in one pass and a few rows.

For A = [X y] `[n, p + q]`, ‖XW − y‖² depends on A through AᵀA alone. A is gone through in blocks of
a size that follows from p + q, whatever pieces it comes in, and AᵀA is accumulated in float64. Its
root, p + q rows A' with A'ᵀA' = AᵀA, is a problem with equal squared error for every W, an equal
optimum and an equal Hessian: engines and theory work on it as on any other, and a step costs O(p²)
whatever n is.

The price is that AᵀA squares the condition number κ of X: of the 16 digits of float64 about
14 − 2·log₁₀ κ remain in the optimum, κ taken after scaling the columns. From κ of about 10⁷ on,
directions are as small as rounding: they count as none, and the rank is short.

n samples, p features, q targets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from linfit.problem.datasets.prepare import (
    fit_feature_map,
    prepare_samples,
    select_samples,
)
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.datasets.targets import encode_targets
from linfit.problem.features import FeatureMap, Features
from linfit.problem.problem import Problem, TargetSpread, multiply_rows
from linfit.problem.split import Split
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array

#: Bytes of a block in float64, about what fits a processor's cache between writing and multiplying.
BLOCK_BYTES = 2**20
#: Rows that a block has at least, however wide they are.
MIN_BLOCK_ROWS = 512
#: Rows of targets at a time whose spread is summed: few enough to stay in a processor's cache.
SPREAD_ROWS = 8192


class GramAccumulator:
    """AᵀA of samples rounded to `dtype`.

    Its bits do not depend on the pieces they come in.
    """

    def __init__(self, width: int, dtype: str) -> None:
        self.block = np.empty((max(MIN_BLOCK_ROWS, BLOCK_BYTES // (8 * width)), width))
        self.filled = 0
        self.num_samples = 0
        self.gram = np.zeros((width, width))
        self.dtype = dtype

    def add(self, X: NDArray[np.floating], y: NDArray[np.floating]) -> None:
        """Add samples X `[b, p]` and y `[b, q]`."""
        joined = _joined(X, y)
        parts = [(0, X), (X.shape[1], y)] if joined is None else [(0, joined)]
        # A whole block in float64 is multiplied where it is in memory, without a copy.
        plain = joined is not None and joined.dtype == self.dtype == "float64"
        start = 0
        while start < len(X):
            stop = min(len(X), start + len(self.block) - self.filled)
            if plain and joined is not None and stop - start == len(self.block):
                self._multiply(joined[start:stop])
            else:
                self._copy([(first, part[start:stop]) for first, part in parts], stop - start)
            self.num_samples += stop - start
            start = stop
            if self.filled == len(self.block):
                self._flush()

    def _copy(self, parts: list[tuple[int, NDArray[np.floating]]], count: int) -> None:
        """Copy `count` rows into the block; each of the parts begins at its own column."""
        rows = slice(self.filled, self.filled + count)
        with np.errstate(over="ignore"):  # found in the sums
            for first, part in parts:
                columns = slice(first, first + part.shape[1])
                self.block[rows, columns] = part.astype(self.dtype, copy=False)
        self.filled = rows.stop

    def _flush(self) -> None:
        self._multiply(self.block[: self.filled])
        self.filled = 0

    def _multiply(self, A: NDArray[np.floating]) -> None:
        """Add AᵀA; A `[b, p + q]` is contiguous, so its product has the same bits in any place."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.gram += A.T @ A

    def compute_root(self, p: int) -> Array:
        """Return rows A' with A'ᵀA' = AᵀA.

        A' is `[p + q, p + q]`, of p features. Directions that may be rounding alone count as zero.
        Raise ValueError if squares overflow.
        """
        if self.filled:
            self._flush()
        if not np.isfinite(self.gram).all():
            raise ValueError(
                "the data have values whose squares are beyond float64, "
                f"or that {self.dtype} cannot hold: scale them"
            )
        return find_root(self.gram, p)


class SpreadAccumulator:
    """Σw(y − ȳ)² of targets in one pass.

    Sums are around the first sample: a constant target has exactly 0, and a mean far from 0 costs
    no digits.
    """

    def __init__(self, first: Array) -> None:
        self.origin = first.copy()
        self.weight = 0.0
        self.sums = np.zeros_like(first)
        self.squares = np.zeros_like(first)

    def add(self, y: Array, weights: Array | None) -> None:
        """Add targets y `[b, q]`, all of weight 1 if `weights` `[b]` is None."""
        with np.errstate(over="ignore", invalid="ignore"):  # found in the sums of squares
            for start in range(0, len(y), SPREAD_ROWS):
                rows = slice(start, start + SPREAD_ROWS)
                self._add(y[rows], np.ones(len(y[rows])) if weights is None else weights[rows])

    def _add(self, y: Array, weights: Array) -> None:
        away = y - self.origin
        self.weight += float(weights.sum())
        self.sums += weights @ away
        self.squares += np.einsum("i,ij,ij->j", weights, away, away)

    def measure(self) -> TargetSpread:
        """Return the spread of the targets so far."""
        with np.errstate(over="ignore", invalid="ignore"):
            around_mean = self.squares - self.sums**2 / (self.weight or 1.0)
        return TargetSpread(self.weight, np.maximum(around_mean, 0))


def _joined(X: NDArray[np.floating], y: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """Return [X y] `[b, p + q]` without a copy, None if they are not in one contiguous array."""
    b, p = X.shape
    size = X.dtype.itemsize
    width = p + y.shape[1]
    distance = y.__array_interface__["data"][0] - X.__array_interface__["data"][0]
    adjacent = distance == p * size and X.strides == y.strides == (width * size, size)
    if X.dtype != y.dtype or not adjacent:
        return None
    return as_strided(X, (b, width), X.strides, writeable=False)


def find_root(gram: Array, p: int) -> Array:
    """Return A' = [[R, Z], [0, S]] with A'ᵀA' = AᵀA.

    Both are `[m, m]`, of p features.

    RᵀR = XᵀX, RᵀZ = Xᵀy, SᵀS = yᵀy − ZᵀZ. R and S come from eigenvalues after scaling the diagonal
    to one. Features and targets have roots of their own: where columns nearly depend on each other,
    a direction that is rounding for both would take y into the span of X, and its squared error
    with it.
    """
    sizes = np.sqrt(np.diag(gram))
    sizes[sizes == 0] = 1
    scaled = gram / np.outer(sizes, sizes)
    rounding = 16 * len(gram) * np.finfo(float).eps * np.linalg.norm(scaled, 2)
    R, along = _root(scaled[:p, :p], rounding)
    Z = along @ scaled[:p, p:]
    S, _ = _root(scaled[p:, p:] - Z.T @ Z, rounding)
    return np.asarray(np.block([[R, Z], [np.zeros((len(S), p)), S]]) * sizes)


def _root(matrix: Array, rounding: float) -> tuple[Array, Array]:
    """Return R `[m, m]` with RᵀR = a positive semidefinite matrix `[m, m]`, and R⁺ᵀ.

    An eigenvalue up to `rounding` counts as zero.
    """
    values, vectors = np.linalg.eigh(matrix)
    kept = values > rounding
    roots = np.sqrt(np.where(kept, values, 0))[:, None]
    inverse = np.divide(vectors.T, roots, out=np.zeros_like(matrix), where=kept[:, None])
    return roots * vectors.T, inverse


def summarize(dataset: Dataset, features: Features, split: Split, seed: int, dtype: str) -> Problem:
    """Return a summary of the problem, rounded to `dtype`.

    It is the problem that `load` gives. No more than a block of it is ever in memory. The data are
    read once; before that, once more where samples are held out, unless their number is known, and
    where features learn from them.
    """
    if split.validation == 0:
        samples = SampleBlocks(dataset, seed)
        return _summed(samples, fit_feature_map(samples, features, dataset.has_text()), dtype)
    n = max(dataset.count_samples(seed), default=0)
    train = SampleBlocks(dataset, seed, split, n)
    held = SampleBlocks(dataset, seed, split, n, held=True)
    expansion = fit_feature_map(train, features, dataset.has_text())
    return replace(_summed(train, expansion, dtype), validation=_summed(held, expansion, dtype))


@dataclass(frozen=True)
class SampleBlocks:
    """Samples of a dataset, block by block.

    They are all, or those that a split fits or holds out. They can be gone through several times.
    """

    dataset: Dataset
    seed: int
    split: Split | None = None
    n: int = 0
    held: bool = False

    def __iter__(self) -> Iterator[Problem]:
        if self.split is None:
            yield from self.dataset.blocks(self.seed)
            return
        masks = self.split.draw_held_out(self.n, self.seed)
        mask = np.zeros(0, dtype=bool)
        for block in self.dataset.blocks(self.seed):
            size = len(block.X)
            while len(mask) < size:
                mask = np.append(mask, next(masks))
            yield select_samples(block, mask[:size] == self.held)
            mask = mask[size:]


def _summed(samples: SampleBlocks, expansion: FeatureMap | None, dtype: str) -> Problem:
    """Return the summary of the samples as a problem."""
    import torch

    sums: GramAccumulator | None = None
    spread: SpreadAccumulator | None = None
    total: float | None = None
    with limit_blas_threads(torch.get_num_threads()):  # the fit's threads, on which bits may depend
        for block in samples:
            part = encode_targets(prepare_samples(block, expansion), "number")
            if len(part.y):
                spread = spread or SpreadAccumulator(part.y[0])
                spread.add(part.y, part.weights)
            part = multiply_rows(part, part.weights)
            sums = sums or GramAccumulator(part.X.shape[1] + part.y.shape[1], dtype)
            sums.add(part.X, part.y)
            total = None if part.total is None else part.total + (total or 0.0)
    assert sums is not None and spread is not None, "a dataset has samples"
    p = part.X.shape[1]
    rows = sums.compute_root(p)
    return replace(
        part,
        X=rows[:, :p],
        y=rows[:, p:],
        samples=sums.num_samples,
        total=total,
        row_factors=None,
        spread=spread.measure(),
    )
