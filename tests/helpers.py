"""The tables that every generic test iterates over: a row for each component, and problems whose answers are known.

A new component costs one row here. What is special about a component is a flag of its row, never its name in a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from numpy.typing import NDArray

from linfit.config import GROUPS, FitConfig
from linfit.problem.problem import Problem

Settings = Mapping[str, Any]

CONF = Path(__file__).parents[1] / "conf"
DTYPES = ("float32", "float64")
#: How laws that hold for all inputs are tried: the same inputs every time, no files.
LAW = hypothesis.settings(derandomize=True, database=None, deadline=None, max_examples=60)


@dataclass(frozen=True)
class Row:
    """A component: its name, the fields it has no default for, and valid settings that give every field another value.

    `beside` are the fields that do not decide the numbers.
    """

    name: str
    needed: Settings = field(default_factory=dict)
    variations: Sequence[Settings] = ()
    beside: Sequence[str] = ()

    @property
    def plain(self) -> dict[str, Any]:
        return {"name": self.name, **self.needed}

    def settings(self) -> list[dict[str, Any]]:
        """The plain component and each of its variations."""
        return [self.plain, *({**self.plain, **variation} for variation in self.variations)]


@dataclass(frozen=True)
class DatasetRow(Row):
    """`shapes` are (n, p, q) of the plain dataset and of each variation; `draws`: from a stream; `truth`: is known."""

    shapes: Sequence[tuple[int, int, int]] = ()
    draws: bool = True
    truth: bool = True


@dataclass(frozen=True)
class InitRow(Row):
    """`draws`: from a stream; `shape`: the only (p, q) that it fits, None for any."""

    draws: bool = False
    shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class LossRow(Row):
    """`torch` is the reduction with which torch's MSELoss is this loss."""

    torch: str = ""


@dataclass(frozen=True)
class OptimizerRow(Row):
    """`torch` is its class in torch.optim, None where the update is ours; `contracting`: at a fixed `lr` it comes to rest."""

    torch: str | None = None
    contracting: bool = True
    lr: float = 1e-3


@dataclass(frozen=True)
class DeviceRow(Row):
    """`always`: every machine has it; `dtypes`: those it computes in."""

    always: bool = True
    dtypes: Sequence[str] = DTYPES


DATASETS = (
    DatasetRow(
        "parabola",
        variations=({"n": 7}, {"noise": 0.0}, {"seed": 11}),
        shapes=((30, 2, 1), (7, 2, 1), (30, 2, 1), (30, 2, 1)),
    ),
    DatasetRow(
        "polynomial",
        variations=(
            {"degree": 1, "coefficients": [3.0, -1.0]},
            {"degree": 0, "coefficients": [1.5]},
            {"coefficients": [0.5, 1.0, 0.0, -1.0]},
            {"range": [0.0, 1.0]},
            {"n": 9},
            {"noise": 0.0},
            {"seed": 11},
        ),
        shapes=((30, 4, 1), (30, 2, 1), (30, 1, 1), (30, 4, 1), (30, 4, 1), (9, 4, 1), (30, 4, 1), (30, 4, 1)),
    ),
    DatasetRow(
        "random_linear",
        variations=(
            {"n": 12},
            {"p": 3},
            {"q": 3},
            {"condition": 1.0},
            {"noise": 0.0},
            {"seed": 11},
            {"n": 4, "p": 6, "q": 2},
            {"n": 1, "p": 1, "condition": 1.0},
        ),
        shapes=((100, 5, 1), (12, 5, 1), (100, 3, 1), (100, 5, 3), (100, 5, 1), (100, 5, 1), (100, 5, 1), (4, 6, 2), (1, 1, 1)),
    ),
    DatasetRow(
        "csv",
        needed={"path": "linfit:article.csv", "features": ["x_squared", "one"], "target": "y"},
        variations=({"features": "one"}, {"target": ["y", "x"]}),
        shapes=((30, 2, 1), (30, 1, 1), (30, 2, 2)),
        draws=False,
        truth=False,
    ),
)
MODELS = (Row("tensor"), Row("linear"))
INITS = (
    InitRow("normal", variations=({"mean": 1.5}, {"std": 0.25}, {"seed": 11}), draws=True),
    InitRow("torch_default", variations=({"seed": 11},), draws=True),
    InitRow("zeros"),
    InitRow("given", needed={"weights": [0.25, -1.5]}, shape=(2, 1)),
)
LOSSES = (LossRow("sse", torch="sum"), LossRow("mse", torch="mean"))
GRADIENTS = (Row("manual"), Row("autograd"), Row("func_grad"))
OPTIMIZERS = (
    OptimizerRow("manual_sgd", variations=({"lr": 2e-3}, {"lr": 1e-2, "average": True})),
    OptimizerRow(
        "sgd",
        variations=(
            {"lr": 2e-3},
            {"momentum": 0.9},
            {"momentum": 0.8, "dampening": 0.25},
            {"weight_decay": 0.1},
            {"momentum": 0.9, "nesterov": True},
            {"maximize": True},
        ),
        torch="SGD",
    ),
    OptimizerRow(
        "adam",
        variations=(
            {"lr": 0.1},
            {"betas": [0.8, 0.95]},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"amsgrad": True},
            {"maximize": True},
            {"weight_decay": 0.1, "decoupled_weight_decay": True},
        ),
        torch="Adam",
        lr=0.05,
    ),
    OptimizerRow(
        "adamw",
        variations=(
            {"lr": 0.1},
            {"betas": [0.8, 0.95]},
            {"eps": 1e-3},
            {"weight_decay": 0.2},
            {"amsgrad": True},
            {"maximize": True},
        ),
        torch="AdamW",
        lr=0.05,
    ),
    OptimizerRow(
        "rmsprop",
        variations=(
            {"lr": 0.1},
            {"alpha": 0.9},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"momentum": 0.9},
            {"centered": True},
            {"momentum": 0.5, "centered": True},
            {"maximize": True},
        ),
        torch="RMSprop",
        contracting=False,
        lr=0.05,
    ),
    OptimizerRow(
        "adagrad",
        variations=(
            {"lr": 0.5},
            {"lr_decay": 0.01},
            {"weight_decay": 0.1},
            {"initial_accumulator_value": 0.1},
            {"eps": 1e-3},
            {"maximize": True},
        ),
        torch="Adagrad",
        lr=0.5,
    ),
)
DEVICES = (
    DeviceRow("cpu"),
    DeviceRow("auto"),
    DeviceRow("cuda", always=False),
    DeviceRow("mps", always=False, dtypes=("float32",)),
)
ENGINES = (
    Row("single"),
    Row("stacked", variations=({"memory": 2**24},), beside=("memory",)),
    Row("auto", variations=({"memory": 2**24},), beside=("memory",)),
)
TRACKINGS = (
    Row(
        "mlflow",
        variations=({"uri": "sqlite:///elsewhere.db"}, {"artifacts": "elsewhere"}, {"child_artifacts": True}, {"runs": "best:3"}),
    ),
    Row("none"),
)

#: Every component of linfit's own, by group; a test holds the tables, the classes and conf/ together.
TABLES: dict[str, Sequence[Row]] = {
    "dataset": DATASETS,
    "model": MODELS,
    "init": INITS,
    "loss": LOSSES,
    "gradient": GRADIENTS,
    "optimizer": OPTIMIZERS,
    "device": DEVICES,
    "engine": ENGINES,
    "tracking": TRACKINGS,
}
#: The groups that decide where a run is kept, not what its numbers are.
BESIDE_THE_NUMBERS = ("tracking",)


def rows() -> list[tuple[str, Row]]:
    return [(group, row) for group, table in TABLES.items() for row in table]


def settings() -> list[tuple[str, dict[str, Any]]]:
    """Every group with every setting of every component."""
    return [(group, given) for group, row in rows() for given in row.settings()]


def label(value: object) -> str | None:
    """A readable test id for the values of these tables; None leaves it to pytest."""
    if isinstance(value, Row | Known):
        return value.name
    if isinstance(value, Mapping):
        return ",".join(f"{part}" if key == "name" else f"{key}={part}" for key, part in value.items())
    return None


def config(**parts: Any) -> FitConfig:
    """A fit config as YAML would state it, which nothing records. Every row above fits the default dataset."""
    return FitConfig.model_validate({"tracking": "none", **parts})


@contextmanager
def scratch_registry() -> Iterator[None]:
    """Components defined inside are forgotten afterwards."""
    before = {group: dict(base.choices) for group, base in GROUPS.items()}
    try:
        yield
    finally:
        for group, base in GROUPS.items():
            base.choices.clear()
            base.choices.update(before[group])


@dataclass(frozen=True)
class Known:
    """A least-squares problem with its answer, found by hand: the smallest W `[p, q]`, min ‖XW − y‖², the rank of X."""

    name: str
    X: Sequence[Sequence[float]]
    y: Sequence[Sequence[float]]
    weights: Sequence[Sequence[float]]
    loss: float
    rank: int

    @property
    def problem(self) -> Problem:
        return problem(np.array(self.X, dtype=float), np.array(self.y, dtype=float))


KNOWN = (
    Known("one point", X=[[2]], y=[[6]], weights=[[3]], loss=0, rank=1),
    Known("mean", X=[[1], [1], [1]], y=[[1], [2], [6]], weights=[[3]], loss=14, rank=1),
    Known("line", X=[[0, 1], [1, 1], [2, 1]], y=[[1], [2], [4]], weights=[[3 / 2], [5 / 6]], loss=1 / 6, rank=2),
    Known("exact", X=[[1, 2], [3, 4]], y=[[5], [11]], weights=[[1], [2]], loss=0, rank=2),
    Known("two targets", X=[[1, 0], [0, 2], [0, 0]], y=[[1, 2], [4, 6], [3, 5]], weights=[[1, 2], [2, 3]], loss=34, rank=2),
    Known("twice the same column", X=[[1, 1], [2, 2]], y=[[2], [4]], weights=[[1], [1]], loss=0, rank=1),
    Known("dependent columns", X=[[1, 2], [1, 2], [0, 0]], y=[[5], [15], [1]], weights=[[2], [4]], loss=51, rank=1),
    Known("a column of zeros", X=[[1, 0], [1, 0]], y=[[1], [3]], weights=[[2], [0]], loss=2, rank=1),
    Known("nothing but zeros", X=[[0, 0], [0, 0]], y=[[3], [4]], weights=[[0], [0]], loss=25, rank=0),
    Known("one sample", X=[[3, 4]], y=[[25]], weights=[[3], [4]], loss=0, rank=1),
    Known("more features than samples", X=[[1, 0, 1], [0, 2, 0]], y=[[2, 4], [2, 6]], weights=[[1, 2], [1, 3], [1, 2]], loss=0, rank=2),
    Known("columns of unlike size", X=[[2**30, 0], [0, 2**-30]], y=[[2**30], [2**-30]], weights=[[1], [1]], loss=0, rank=2),
)


def problem(X: NDArray[np.float64], y: NDArray[np.float64]) -> Problem:
    """X `[n, p]` and y `[n, q]` with made-up names."""
    names = tuple(f"x{i}" for i in range(X.shape[1])), tuple(f"y{i}" for i in range(y.shape[1]))
    return Problem(X, y, *names, "a test")


def conditioned(condition: float, n: int, p: int, seed: int) -> NDArray[np.float64]:
    """X `[n, p]` with singular values from 1 down to 1/condition."""
    stream = np.random.default_rng(seed)
    left = np.linalg.qr(stream.standard_normal((n, p)))[0]
    right = np.linalg.qr(stream.standard_normal((p, p)))[0]
    matrix: NDArray[np.float64] = left * np.geomspace(1, 1 / condition, p) @ right.T
    return matrix


class Exact:
    """The least-squares problem that the float64 numbers of X `[n, p]`, full column rank, and y `[n, q]` state, in exact rationals."""

    def __init__(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self.X, self.y = _rational(X), _rational(y)
        columns = list(zip(*self.X, strict=True))
        gram = [[_dot(a, b) for b in columns] for a in columns]
        right = [[_dot(a, b) for b in zip(*self.y, strict=True)] for a in columns]
        self.solution = _solve(gram, right)  # [p, q]

    @property
    def weights(self) -> NDArray[np.float64]:
        return np.array([[float(weight) for weight in row] for row in self.solution])

    def loss(self, weights: Sequence[Sequence[Fraction]] | NDArray[np.float64] | None = None) -> Fraction:
        """‖XW − y‖² of W `[p, q]`, the optimum's where none is given."""
        W = self.solution if weights is None else _rational(weights) if isinstance(weights, np.ndarray) else weights
        columns = list(zip(*W, strict=True))
        errors = [_dot(x, w) - y for x, row in zip(self.X, self.y, strict=True) for w, y in zip(columns, row, strict=True)]
        return sum((error * error for error in errors), Fraction(0))


def _rational(array: NDArray[np.float64]) -> list[list[Fraction]]:
    return [[Fraction(float(number)) for number in row] for row in array]


def _dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _solve(matrix: list[list[Fraction]], right: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan's elimination; every pivot of a positive definite matrix differs from 0."""
    table = [[*a, *b] for a, b in zip(matrix, right, strict=True)]
    for i, pivot in enumerate(table):
        table[i] = pivot = [number / pivot[i] for number in pivot]
        for j, row in enumerate(table):
            if j != i:
                table[j] = [number - row[i] * part for number, part in zip(row, pivot, strict=True)]
    return [row[len(matrix) :] for row in table]
