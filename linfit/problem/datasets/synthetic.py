"""Base class of datasets, and synthetic ones.

A synthetic dataset draws everything in float64, from its own stream.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from itertools import accumulate
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from linfit.component import Component, Seed, optional
from linfit.problem.problem import Problem
from linfit.problem.random_streams import Purpose, create_generator, write_generator_line
from linfit.problem.types import Array
from linfit.script_fragments import Lines, ScriptScope

SampleCount = Annotated[int, Field(ge=1, le=10**9)]
NoiseLevel = Annotated[float, Field(ge=0)]
#: A list in YAML, a tuple in a frozen config.
Coefficients = Annotated[tuple[float, ...], Field(strict=False, min_length=1)]
#: The line of a script before products whose bits must not depend on numpy's threads.
ONE_THREAD = (
    'threadpoolctl.threadpool_limits(1, "blas")  '
    "# numpy's products have the same bits on any number of processors"
)
IncreasingRange = Annotated[tuple[float, float], Field(strict=False)]


class Dataset(Component):
    """Source of the features and targets of a fit."""

    @abstractmethod
    def load(self, seed: int) -> Problem:
        """Return the problem.

        `seed` is that of the fit, which the dataset uses unless it has a seed of its own.
        """

    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Return (p, q), the numbers of features and targets, without loading."""

    def blocks(self, seed: int) -> Iterator[Problem]:
        """Yield the problem in parts of some samples, for callers that need not hold all."""
        yield self.load(seed)

    def check_data(self, dtype: str) -> None:
        """Raise ValueError if the data cannot be loaded, or held by `dtype`.

        This is called before any fit runs.
        """

    def num_samples(self) -> int | None:
        """Return n if it is known without loading, else None."""
        return None

    def count_samples(self, seed: int) -> Iterator[int]:
        """Yield numbers up to which samples have been counted; the last is n.

        The data are read only if n is not known.
        """
        if (known := self.num_samples()) is not None:
            yield known
        else:
            yield from accumulate(len(block.X) for block in self.blocks(seed))

    def locate_sample(self, index: int) -> str:
        """Return where a sample stands, for an error; `index` counts from 0."""
        return f"sample {index}, counted from 0"

    def num_drawn(self) -> int:
        """Return the number of random numbers that loading draws."""
        return 0

    def is_weighted(self) -> bool:
        """Return whether the samples have weights."""
        return False

    def has_text(self) -> bool:
        """Return True if columns are text, as far as is known before all of them are read."""
        return False

    @optional
    def script_lines(self, scope: ScriptScope) -> Lines:
        """Return lines for `linfit script` that make float64 arrays `X` and `y`."""
        raise NotImplementedError(f"dataset {self.name} has no script lines")

    def list_files(self) -> tuple[str, ...]:
        """Return the paths of the data files that are read."""
        return ()

    def plot_inputs(self) -> Array | None:
        """Return the x `[n]` of which all features are functions, None if there is none.

        Plots have it as their horizontal axis.
        """
        return None

    def resolve_seed(self, seed: int) -> int | None:
        """Return the seed from which the data are drawn, None if they are not random.

        Equal datasets with equal seeds are loaded once.
        """
        return seed


class DrawnDataset(Dataset):
    """Dataset drawn from `create_stream`."""

    n: SampleCount
    seed: Seed | None = None

    def resolve_seed(self, seed: int) -> int:
        return seed if self.seed is None else self.seed

    def num_samples(self) -> int:
        return self.n

    def num_drawn(self) -> int:
        return self.n * sum(self.shape())

    def create_stream(self, seed: int) -> np.random.Generator:
        return create_generator(self.resolve_seed(seed), Purpose.DATA)

    def write_stream_line(self, seed: int) -> str:
        return write_generator_line(self.resolve_seed(seed), Purpose.DATA)


class SyntheticDataset(DrawnDataset):
    """Dataset drawn from `create_stream`, with normal noise on its targets.

    `noise` is its standard deviation.
    """

    noise: NoiseLevel

    def add_noise(self, y: Array, stream: np.random.Generator) -> Array:
        return y + self.noise * stream.standard_normal(y.shape)

    def write_noise_line(self, y: str, n: int, q: int) -> str:
        return f"y = {y} + {self.noise!r} * stream.standard_normal(({n}, {q}))  # [n, q]"


class Polynomial(SyntheticDataset):
    """y = Σ cₖ·xᵏ + ε on evenly spaced x, with features [xᵈ … x, 1].

    The highest power comes first, as in numpy.polyval.
    """

    name: Literal["polynomial"] = "polynomial"
    degree: Annotated[int, Field(ge=0, le=64)] = 3
    coefficients: Coefficients = (1.0, 0.0, -2.0, 1.0)
    range: IncreasingRange = (-2.0, 2.0)
    n: SampleCount = 30
    noise: NoiseLevel = 0.1

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if len(self.coefficients) != self.degree + 1:
            raise ValueError(
                f"degree {self.degree} needs {self.degree + 1} coefficients, "
                f"got {len(self.coefficients)}"
            )
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range must increase, got {list(self.range)}")
        return self

    def shape(self) -> tuple[int, int]:
        return self.degree + 1, 1

    def plot_inputs(self) -> Array:
        return np.linspace(*self.range, self.n)

    def load(self, seed: int) -> Problem:
        powers = range(self.degree, -1, -1)
        x = self.plot_inputs()
        X = np.stack([x**power for power in powers], axis=1)  # [n, p]
        truth = np.array(self.coefficients)[:, None]  # [p, 1]
        y = self.add_noise(X @ truth, self.create_stream(seed))  # [n, 1]
        return Problem(X, y, tuple(map(_power, powers)), ("y",), "linfit:polynomial", truth)

    def script_lines(self, scope: ScriptScope) -> Lines:
        low, high = self.range
        return (
            f"x = np.linspace({low!r}, {high!r}, {self.n})",
            f"X = np.stack([x**k for k in range({self.degree}, -1, -1)], axis=1)  # [n, p]",
            f"truth = np.array({list(self.coefficients)!r})[:, None]  # [p, q]",
            self.write_stream_line(scope.seed),
            self.write_noise_line("X @ truth", self.n, 1),
        )


class Parabola(SyntheticDataset):
    """The article's data: y = 2x² + 3 + ε on x = linspace(-2, 2, 30), features [x², 1]."""

    name: Literal["parabola"] = "parabola"
    n: SampleCount = 30
    noise: NoiseLevel = 0.1

    def shape(self) -> tuple[int, int]:
        return 2, 1

    def plot_inputs(self) -> Array:
        return np.linspace(-2, 2, self.n)

    def load(self, seed: int) -> Problem:
        x = self.plot_inputs()
        X = np.stack([x**2, np.ones(self.n)], axis=1)  # [n, 2]
        truth = np.array([[2.0], [3.0]])
        return Problem(
            X,
            self.add_noise(X @ truth, self.create_stream(seed)),
            ("x^2", "1"),
            ("y",),
            "linfit:parabola",
            truth,
        )

    def script_lines(self, scope: ScriptScope) -> Lines:
        return (
            f"x = np.linspace(-2, 2, {self.n})",
            f"X = np.stack([x**2, np.ones({self.n})], axis=1)  # [n, p]",
            self.write_stream_line(scope.seed),
            self.write_noise_line("X @ np.array([[2.0], [3.0]])", self.n, 1),
        )


class RandomLinear(SyntheticDataset):
    """y = XW + ε with W ~ N(0, 1) and X of a given condition number.

    X = √n·U·diag(s)·Vᵀ with random orthonormal U and V, and singular values s from 1 down to
    1/condition, evenly spaced on a log scale. With fewer samples than features the condition
    number is that of the n singular values.
    """

    name: Literal["random_linear"] = "random_linear"
    n: SampleCount = 100
    p: Annotated[int, Field(ge=1, le=10_000)] = 5
    q: SampleCount = 1
    condition: Annotated[float, Field(ge=1)] = 10.0
    noise: NoiseLevel = 0.1

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        if min(self.n, self.p) == 1 and self.condition > 1:
            raise ValueError(
                f"one singular value has condition number 1, got condition {self.condition:g}: "
                "give n and p of 2 or more"
            )
        return self

    def shape(self) -> tuple[int, int]:
        return self.p, self.q

    def load(self, seed: int) -> Problem:
        stream = self.create_stream(seed)
        rank = min(self.n, self.p)
        left = np.linalg.qr(stream.standard_normal((self.n, rank)))[0]  # [n, rank]
        right = np.linalg.qr(stream.standard_normal((self.p, rank)))[0]  # [p, rank]
        X = np.sqrt(self.n) * (left * np.geomspace(1, 1 / self.condition, rank)) @ right.T  # [n, p]
        truth = stream.standard_normal((self.p, self.q))
        y = self.add_noise(X @ truth, stream)
        return Problem(
            X,
            y,
            name_columns("x", self.p),
            name_columns("y", self.q),
            "linfit:random_linear",
            truth,
        )

    def script_lines(self, scope: ScriptScope) -> Lines:
        rank = min(self.n, self.p)
        return (
            ONE_THREAD,
            self.write_stream_line(scope.seed),
            f"left = np.linalg.qr(stream.standard_normal(({self.n}, {rank})))[0]",
            f"right = np.linalg.qr(stream.standard_normal(({self.p}, {rank})))[0]",
            f"singular = np.geomspace(1, {1 / self.condition!r}, {rank})  "
            f"# condition number {self.condition:g}",
            f"X = np.sqrt({self.n}) * (left * singular) @ right.T  # [n, p]",
            f"truth = stream.standard_normal(({self.p}, {self.q}))",
            self.write_noise_line("X @ truth", self.n, self.q),
        )


def _power(power: int) -> str:
    return {0: "1", 1: "x"}.get(power, f"x^{power}")


def name_columns(letter: str, count: int) -> tuple[str, ...]:
    """Return names of `count` columns: the letter, with an index if there are several."""
    return (letter,) if count == 1 else tuple(f"{letter}{i}" for i in range(count))
