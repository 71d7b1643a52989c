"""Synthetic datasets of classes, of counts, and of few true weights.

n samples, p features, q targets, k classes.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from linfit.problem.datasets.synthetic import (
    ONE_THREAD,
    DrawnDataset,
    SampleCount,
    SyntheticDataset,
    name_columns,
)
from linfit.problem.problem import Problem
from linfit.problem.types import Array
from linfit.script_fragments import Lines, ScriptScope

FeatureCount = Annotated[int, Field(ge=1, le=10_000)]


class Classes(DrawnDataset):
    """Clouds of normal samples around k centers, one for each class: targets 0 … k − 1.

    Deviations are 1 in every direction, and `separation` is the distance between the two nearest
    centers. Classes are as large as each other, but for one sample. `label_noise` is the share of
    samples, rounded, that are given another class than that of their cloud, any other being as
    likely: without it, classes far apart can be separated, and a log loss has no minimum.
    """

    name: Literal["classes"] = "classes"
    n: SampleCount = 200
    p: FeatureCount = 2
    classes: Annotated[int, Field(ge=2, le=1000)] = 2
    separation: Annotated[float, Field(gt=0)] = 2.0
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.1

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.n < self.classes:
            raise ValueError(
                f"{self.classes} classes of {self.n} samples: each needs one at least, "
                f"choose dataset.n of at least {self.classes}, or fewer dataset.classes"
            )
        return self

    def shape(self) -> tuple[int, int]:
        return self.p, 1

    def num_drawn(self) -> int:
        return (self.n + self.classes) * self.p + 3 * self.n

    @property
    def num_relabelled(self) -> int:
        """Number of samples with another class than that of their cloud."""
        return round(self.label_noise * self.n)

    def load(self, seed: int) -> Problem:
        stream = self.create_stream(seed)
        k = self.classes
        centers = stream.standard_normal((k, self.p))
        away = centers[:, None] - centers[None]
        nearest = np.sqrt((away**2).sum(axis=2))[np.triu_indices(k, 1)].min()
        centers *= self.separation / nearest
        labels = stream.permutation(self.n) % k  # [n]
        X = centers[labels] + stream.standard_normal((self.n, self.p))
        other = stream.permutation(self.n)[: self.num_relabelled]
        labels[other] = (labels[other] + stream.integers(1, k, len(other))) % k
        y = labels[:, None].astype(np.float64)  # [n, 1]
        return Problem(X, y, name_columns("x", self.p), ("class",), "linfit:classes")

    def script_lines(self, scope: ScriptScope) -> Lines:
        k = self.classes
        return (
            self.write_stream_line(scope.seed),
            f"centers = stream.standard_normal(({k}, {self.p}))",
            "away = centers[:, None] - centers[None]",
            f"nearest = np.sqrt((away**2).sum(axis=2))[np.triu_indices({k}, 1)].min()",
            f"centers *= {self.separation!r} / nearest",
            f"labels = stream.permutation({self.n}) % {k}",
            f"X = centers[labels] + stream.standard_normal(({self.n}, {self.p}))  # [n, p]",
            f"other = stream.permutation({self.n})[:{self.num_relabelled}]",
            f"labels[other] = (labels[other] + stream.integers(1, {k}, len(other))) % {k}",
            "y = labels[:, None].astype(float)  # [n, 1]",
        )


class Counts(DrawnDataset):
    """Counts of Poisson's distribution with mean exp(XW): X ~ N(0, 1), W ~ N(0, spread²/p).

    `spread` is about the standard deviation of the mean's logarithm.
    """

    name: Literal["counts"] = "counts"
    n: SampleCount = 200
    p: FeatureCount = 3
    q: SampleCount = 1
    spread: Annotated[float, Field(ge=0, le=4)] = 1.0

    def shape(self) -> tuple[int, int]:
        return self.p, self.q

    def num_drawn(self) -> int:
        return self.n * (self.p + self.q) + self.p * self.q

    def load(self, seed: int) -> Problem:
        stream = self.create_stream(seed)
        X = stream.standard_normal((self.n, self.p))  # [n, p]
        truth = self.spread / np.sqrt(self.p) * stream.standard_normal((self.p, self.q))
        y = stream.poisson(np.exp(X @ truth)).astype(np.float64)  # [n, q]
        names = name_columns("x", self.p)
        return Problem(X, y, names, name_columns("y", self.q), "linfit:counts", truth)

    def script_lines(self, scope: ScriptScope) -> Lines:
        return (
            ONE_THREAD,
            self.write_stream_line(scope.seed),
            f"X = stream.standard_normal(({self.n}, {self.p}))  # [n, p]",
            f"truth = {self.spread!r} / np.sqrt({self.p}) "
            f"* stream.standard_normal(({self.p}, {self.q}))",
            "y = stream.poisson(np.exp(X @ truth)).astype(float)  # [n, q]",
        )


class SparseLinear(SyntheticDataset):
    """y = XW + ε with X ~ N(0, 1), and weights W that are 0 but for some of each target.

    These, `nonzero` of the p, are drawn anew for each target; their sizes are between 1 and 2, with
    either sign.
    """

    name: Literal["sparse_linear"] = "sparse_linear"
    n: SampleCount = 100
    p: FeatureCount = 50
    q: SampleCount = 1
    nonzero: Annotated[int, Field(ge=0)] = 5
    noise: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if self.nonzero > self.p:
            raise ValueError(
                f"{self.nonzero} nonzero weights of {self.p}: choose dataset.nonzero of at most "
                f"{self.p}, or dataset.p of at least {self.nonzero}"
            )
        return self

    def shape(self) -> tuple[int, int]:
        return self.p, self.q

    def num_drawn(self) -> int:
        return (self.n + 3 * self.q) * self.p + self.n * self.q

    def load(self, seed: int) -> Problem:
        stream = self.create_stream(seed)
        X = stream.standard_normal((self.n, self.p))  # [n, p]
        truth = self._draw_truth(stream)
        y = self.add_noise(X @ truth, stream)
        names = name_columns("x", self.p)
        return Problem(X, y, names, name_columns("y", self.q), "linfit:sparse_linear", truth)

    def _draw_truth(self, stream: np.random.Generator) -> Array:
        """Return the true weights `[p, q]`."""
        signs = stream.choice([-1.0, 1.0], (self.p, self.q))
        sizes = stream.uniform(1, 2, (self.p, self.q))
        ranks = stream.permuted(np.tile(np.arange(self.p)[:, None], self.q), axis=0)
        return np.where(ranks < self.nonzero, signs * sizes, 0.0)

    def script_lines(self, scope: ScriptScope) -> Lines:
        shape = f"({self.p}, {self.q})"
        return (
            ONE_THREAD,
            self.write_stream_line(scope.seed),
            f"X = stream.standard_normal(({self.n}, {self.p}))  # [n, p]",
            f"signs = stream.choice([-1.0, 1.0], {shape})",
            f"sizes = stream.uniform(1, 2, {shape})",
            f"ranks = stream.permuted(np.tile(np.arange({self.p})[:, None], {self.q}), axis=0)",
            f"truth = np.where(ranks < {self.nonzero}, signs * sizes, 0.0)  # [p, q]",
            self.write_noise_line("X @ truth", self.n, self.q),
        )
