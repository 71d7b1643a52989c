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

from collections.abc import Iterator, Sequence
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
from linfit.problem.datasets.targets import encode_targets, read_class_labels
from linfit.problem.features import FeatureMap, Features
from linfit.problem.losses.base import TargetKind
from linfit.problem.problem import Problem, TargetSpread, multiply_rows
from linfit.problem.split import Split
from linfit.problem.threads import limit_blas_threads
from linfit.problem.types import Array

#: Bytes of a block in float64, about what fits a processor's cache between writing and multiplying.
BLOCK_BYTES = 2**20
#: Rows that a block has at least, however wide they are.
MIN_BLOCK_ROWS = 512
#: Most parts of a split whose statistics are held at once.
MOST_SHARED_PARTS = 64
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
        return compute_gram_root(self.finish(), p, self.dtype)

    def finish(self) -> Array:
        """Return AᵀA of all samples that were added, and free the block."""
        if self.filled:
            self._flush()
        self.block = self.block[:0].copy()
        return self.gram


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

    @property
    def mean(self) -> Array:
        """The mean of the targets so far `[q]`."""
        return self.origin + self.sums / (self.weight or 1.0)

    def measure(self) -> TargetSpread:
        """Return the spread of the targets so far."""
        with np.errstate(over="ignore", invalid="ignore"):
            around_mean = self.squares - self.sums**2 / (self.weight or 1.0)
        return TargetSpread(self.weight, np.maximum(around_mean, 0))


def join_spreads(parts: Sequence[SpreadAccumulator]) -> TargetSpread:
    """Return the spread of the targets of all parts, a sum of squares around their mean."""
    if len(parts) == 1:
        return parts[0].measure()
    weight = sum(part.weight for part in parts)
    with np.errstate(over="ignore", invalid="ignore"):
        means = np.stack([part.mean for part in parts])  # [k, q]
        shares = np.array([part.weight for part in parts])[:, None]
        mean = (shares * means).sum(axis=0) / (weight or 1.0)
        between = (shares * np.square(means - mean)).sum(axis=0)
        within = np.sum([part.measure().squares for part in parts], axis=0)
    return TargetSpread(weight, within + between)


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


def compute_gram_root(gram: Array, p: int, dtype: str) -> Array:
    """Return `find_root` of AᵀA; ValueError if squares overflow."""
    if not np.isfinite(gram).all():
        raise ValueError(
            "the data have values whose squares are beyond float64, "
            f"or that {dtype} cannot hold: scale them"
        )
    return find_root(gram, p)


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


def summarize(
    dataset: Dataset,
    features: Features,
    split: Split,
    seed: int,
    dtype: str,
    known: PartStatistics | None = None,
) -> Problem:
    """Return a summary of the problem, rounded to `dtype`.

    It is the problem that `load` gives. No more than a block of it is ever in memory. The data are
    read once; before that, once more where samples are held out, unless their number is known, and
    where features learn from them. `known` are the statistics of `summarize_parts`, if they have
    been computed.
    """
    if not split.holds_out():
        samples = SampleBlocks(dataset, seed)
        expansion = fit_feature_map(samples, features, dataset.has_text())
        return join_statistics([_summed(samples, expansion, dtype)])
    if known is None and shares_statistics(dataset, features, split):
        known = summarize_parts(dataset, features, split, seed, dtype)
    if known is not None:
        return known.join(split)
    n = max(dataset.count_samples(seed), default=0)
    train = SampleBlocks(dataset, seed, split, n)
    held = SampleBlocks(dataset, seed, split, n, held=True)
    expansion = fit_feature_map(train, features, dataset.has_text())
    validation = join_statistics([_summed(held, expansion, dtype)])
    return replace(join_statistics([_summed(train, expansion, dtype)]), validation=validation)


def shares_statistics(dataset: Dataset, features: Features, split: Split) -> bool:
    """Return True if all folds of a split are sums of the statistics of the same parts.

    They are not where features are learnt, which each fold does from its own training samples.
    """
    if not split.holds_out() or split.num_parts() > MOST_SHARED_PARTS:
        return False
    return not features.learns() and not dataset.has_text()


def summarize_parts(
    dataset: Dataset, features: Features, split: Split, seed: int, dtype: str
) -> PartStatistics:
    """Return the statistics of each part of a split, from one pass through the data."""
    n = max(dataset.count_samples(seed), default=0)
    split.count_held_out(n)
    expansion = fit_feature_map(SampleBlocks(dataset, seed), features, has_text=False)
    sums = [StatisticsSum(dtype) for _ in range(split.num_parts())]
    with limit_blas_threads(get_torch_threads()):
        for block, parts in align_parts(dataset, split, seed, n):
            for part, own in enumerate(sums):
                own.add(prepare_samples(select_samples(block, parts == part), expansion))
        return PartStatistics([own.finish() for own in sums])


@dataclass(frozen=True)
class Statistics:
    """AᵀA of samples, their number and the sum of their weights, and a problem of their columns."""

    gram: Array
    num_samples: int
    total: float | None
    columns: Problem
    spread: SpreadAccumulator
    dtype: str


@dataclass(frozen=True)
class PartStatistics:
    """Statistics of each part of a split.

    The samples that a fold fits are the sum of the other parts, not the total minus its own: a
    difference would lose digits where the part that is held out has the largest numbers.
    """

    parts: list[Statistics]

    def join(self, split: Split) -> Problem:
        """Return the summary of the split's training samples, and of those held out."""
        held = split.held_part()
        validation = join_statistics([self.parts[held]])
        fitted = [part for index, part in enumerate(self.parts) if index != held]
        return replace(join_statistics(fitted), validation=validation)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(part.gram.nbytes for part in self.parts)


class StatisticsSum:
    """Statistics of samples that are added block by block."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.sums: GramAccumulator | None = None
        self.spread: SpreadAccumulator | None = None
        self.total: float | None = None
        self.columns: Problem | None = None

    def add(self, samples: Problem) -> None:
        """Add samples that have been prepared."""
        samples = encode_targets(samples, "number")
        if len(samples.y):
            self.spread = self.spread or SpreadAccumulator(samples.y[0])
            self.spread.add(samples.y, samples.weights)
        rows = multiply_rows(samples, samples.weights)
        if self.sums is None:
            self.sums = GramAccumulator(rows.X.shape[1] + rows.y.shape[1], self.dtype)
        self.sums.add(rows.X, rows.y)
        self.total = None if rows.total is None else rows.total + (self.total or 0.0)
        X, y = rows.X[:0].copy(), rows.y[:0].copy()
        self.columns = replace(rows, X=X, y=y, row_factors=None)

    def finish(self) -> Statistics:
        """Return the statistics of all samples that were added."""
        assert self.sums is not None and self.columns is not None, "a dataset has samples"
        assert self.spread is not None, "a dataset has samples"
        gram = self.sums.finish()
        count = self.sums.num_samples
        return Statistics(gram, count, self.total, self.columns, self.spread, self.dtype)


def join_statistics(parts: Sequence[Statistics]) -> Problem:
    """Return the summary of the samples of all parts as a problem."""
    first = parts[0]
    gram = first.gram
    total = first.total
    for part in parts[1:]:
        gram = gram + part.gram
        total = None if total is None or part.total is None else total + part.total
    p = first.columns.X.shape[1]
    rows = compute_gram_root(gram, p, first.dtype)
    return replace(
        first.columns,
        X=rows[:, :p],
        y=rows[:, p:],
        samples=sum(part.num_samples for part in parts),
        total=total,
        spread=join_spreads([part.spread for part in parts]),
    )


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
    kind: TargetKind = "number"
    """What the targets are: folds of classes are stratified."""

    def __iter__(self) -> Iterator[Problem]:
        if self.split is None:
            yield from self.dataset.blocks(self.seed)
            return
        part = self.split.held_part()
        for block, parts in align_parts(self.dataset, self.split, self.seed, self.n, self.kind):
            yield select_samples(block, (parts == part) == self.held)


def align_parts(
    dataset: Dataset, split: Split, seed: int, n: int, kind: TargetKind = "number"
) -> Iterator[tuple[Problem, NDArray[np.int64]]]:
    """Yield the blocks of a dataset's n samples, with the part of each sample."""
    pieces = split.draw_parts(n, seed, read_class_labels(dataset, seed, kind))
    parts = np.zeros(0, dtype=np.int64)
    for block in dataset.blocks(seed):
        size = len(block.X)
        while len(parts) < size:
            parts = np.append(parts, next(pieces))
        yield block, parts[:size]
        parts = parts[size:]


def _summed(samples: SampleBlocks, expansion: FeatureMap | None, dtype: str) -> Statistics:
    """Return the statistics of the samples."""
    found = StatisticsSum(dtype)
    with limit_blas_threads(get_torch_threads()):
        for block in samples:
            found.add(prepare_samples(block, expansion))
        return found.finish()


def get_torch_threads() -> int:
    """Return the fit's threads, on which bits may depend."""
    import torch

    return torch.get_num_threads()
