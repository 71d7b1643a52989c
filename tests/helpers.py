"""Tables of components and of problems with known answers, for every generic test.

A new component costs one row here. What is special about a component is a flag of its row, never
its name in a test.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from typing import Any

import cloudpickle
import hypothesis
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from linfit.config import GROUPS, FitConfig
from linfit.engine.fit import Status
from linfit.problem.datasets.arrays import Arrays, arrays
from linfit.problem.problem import Problem

Settings = Mapping[str, Any]

DATA = Path(__file__).parent / "data"
#: The option of Linux's prctl by which a process is sent a signal when its parent is gone.
PR_SET_PDEATHSIG, PRCTL = 1, ctypes.CDLL(None).prctl if sys.platform == "linux" else None
#: Arrays that are held as long as the tests run.
ARRAYS = arrays(np.cos(np.arange(24.0)).reshape(12, 2), np.sin(np.arange(12.0)), weight=np.ones(12))
ROOT = Path(__file__).parents[1]
CONF, EXPERIMENTS = ROOT / "conf", ROOT / "experiments"
DTYPES = ("float32", "float64")
#: How laws that hold for all inputs are tried: the same inputs every time, no files.
LAW = hypothesis.settings(derandomize=True, database=None, deadline=None, max_examples=60)


@dataclass(frozen=True)
class Row:
    """A component: its name, the fields without a default, and other valid settings.

    The settings give every field another value. `beside` are the fields that do not decide the
    numbers; `longer` are lines by which its plain program may be longer than others.
    """

    name: str
    needed: Settings = field(default_factory=dict)
    variations: Sequence[Settings] = ()
    beside: Sequence[str] = ()
    longer: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        return {"name": self.name, **self.needed}

    def settings(self) -> list[dict[str, Any]]:
        """The plain component and each of its variations."""
        return [self.plain, *({**self.plain, **variation} for variation in self.variations)]


@dataclass(frozen=True)
class DatasetRow(Row):
    """A dataset.

    `shapes` are (n, p, q) of the plain dataset and of each variation; `draws`: it draws from a
    stream; `truth`: its true weights are known; `noisy`: its targets are XW and normal noise.
    """

    shapes: Sequence[tuple[int, int, int]] = ()
    draws: bool = True
    truth: bool = True
    noisy: bool = True


@dataclass(frozen=True)
class InitRow(Row):
    """`draws`: from a stream; `shape`: the only (p, q) that it fits, None for any."""

    draws: bool = False
    shape: tuple[int, int] | None = None


@dataclass(frozen=True)
class LossRow(Row):
    """A loss.

    `torch` is the reduction with which torch's `torch_class` is this loss, made with the row's
    settings. `quadratic`: its optimum is a least-squares solution; `difference`: a step of central
    differences whose error is small; `kind`: what its targets are; `smooth`: it has a derivative
    everywhere.
    """

    torch: str = ""
    torch_class: str = "MSELoss"
    quadratic: bool = True
    difference: float = 1e-2
    kind: str = "number"
    smooth: bool = True

    def targets(self, n: int, q: int, dtype: str = "float64") -> NDArray[Any]:
        """Return targets `[n, q]` of this kind, encoded, with both classes or all of them."""
        stream = np.random.default_rng(5)
        drawn: dict[str, Callable[[], NDArray[Any]]] = {
            "number": lambda: stream.standard_normal((n, q)),
            "binary": lambda: stream.permuted(np.arange(n * q) % 2).reshape(n, q),
            "sign": lambda: 2 * stream.permuted(np.arange(n * q) % 2).reshape(n, q) - 1,
            "classes": lambda: np.eye(q)[stream.permuted(np.arange(n) % q)],
            "count": lambda: stream.poisson(1.5, (n, q)),
        }
        return drawn[self.kind]().astype(dtype)

    def dataset(self, n: int, p: int, q: int, weight: Any = None) -> Arrays:
        """Return arrays with targets of this kind as a user has them: a class is a number."""
        y = self.targets(n, q)
        if self.kind == "classes":
            y = y.argmax(axis=1)
        X = np.random.default_rng(6).standard_normal((n, p))
        return arrays(X, y, weight=weight)


@dataclass(frozen=True)
class PenaltyRow(Row):
    """`quadratic`: squares of weights alone, so that squared errors keep a quadratic objective."""

    quadratic: bool = True


@dataclass(frozen=True)
class GradientRow(Row):
    """A gradient.

    `near`: its relative distance from the exact gradient in float64; `quadratic_only`: it refuses
    other losses; `batched`: it takes batches alone.
    """

    near: float = 1e-12
    quadratic_only: bool = False
    batched: bool = False

    def takes(self, loss: LossRow) -> bool:
        return loss.quadratic or not self.quadratic_only

    @property
    def exact(self) -> bool:
        return self.near <= 1e-12


@dataclass(frozen=True)
class BatchRow(Row):
    """`draws`: from a stream."""

    draws: bool = False


@dataclass(frozen=True)
class ScheduleRow(Row):
    """A schedule. `torch` is its class in torch.optim.lr_scheduler, None for a constant rate."""

    torch: str | None = None


@dataclass(frozen=True)
class OptimizerRow(Row):
    """An optimizer.

    `torch` is its class in torch.optim, None if the update is linfit's own. `lr` is stable on the
    default dataset, None if the optimizer has no learning rate.

    - `contracting`: at a fixed `lr` it comes to rest
    - `amplifies`: how many times more rounding than others it makes on its way
    - `knowing`: it needs a quadratic loss, whose optimum and curvatures are known
    - `curving`: it needs a smooth loss
    - `bounded`: it diverges at an `lr` above about one over the largest curvature
    - `descends`: its first step goes against the gradient
    - `converges`: it knows its last step, at which the fit has converged
    - `names_torch`: a plain program names torch.optim, though the class is linfit's own
    - `batches`: it takes gradients of a few samples at a time
    - `corners`: it goes with ‖W‖₁ in the penalty, by a subgradient or its proximal operator
    - `separable`: each target moves as it would alone
    """

    torch: str | None = None
    contracting: bool = True
    lr: float | None = 1e-3
    amplifies: float = 1.0
    knowing: bool = False
    curving: bool = False
    bounded: bool = False
    descends: bool = True
    converges: bool = False
    names_torch: bool = False
    batches: bool = True
    corners: bool = True
    separable: bool = True

    def takes(self, penalty: PenaltyRow) -> bool:
        """Return True if the optimizer, with its constants left to theory, takes the penalty."""
        return penalty.quadratic or (self.corners and not self.knowing)

    def at(self, lr: float | None) -> dict[str, Any]:
        """The optimizer with a learning rate, if it takes one."""
        return {**self.plain, **({} if self.lr is None else {"lr": lr})}

    def gentle(self, curvature: float) -> dict[str, Any]:
        """Return the plain optimizer.

        Where that matters, its learning rate is at most half of one over the largest curvature.
        """
        return (
            self.at(min(self.lr, 0.5 / curvature))
            if self.bounded and self.lr is not None
            else self.plain
        )

    def suits(self, loss: LossRow) -> bool:
        return loss.quadratic if self.knowing else loss.smooth or not self.curving

    @property
    def status(self) -> Status:
        """How a fit ends that reaches the optimum without a stopping rule."""
        return Status.CONVERGED if self.converges else Status.COMPLETED

    @property
    def steady(self) -> dict[str, Any]:
        """The optimizer with its own `lr`."""
        return self.at(self.lr)


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
        shapes=(
            (30, 4, 1),
            (30, 2, 1),
            (30, 1, 1),
            (30, 4, 1),
            (30, 4, 1),
            (9, 4, 1),
            (30, 4, 1),
            (30, 4, 1),
        ),
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
        shapes=(
            (100, 5, 1),
            (12, 5, 1),
            (100, 3, 1),
            (100, 5, 3),
            (100, 5, 1),
            (100, 5, 1),
            (100, 5, 1),
            (4, 6, 2),
            (1, 1, 1),
        ),
    ),
    DatasetRow(
        "csv",
        needed={"path": "linfit:article.csv", "features": ["x_squared", "one"], "target": "y"},
        variations=(
            {"features": "one"},
            {"target": ["y", "x"]},
            {"weight": "one"},
            {"missing": "drop"},
            {"path": str(DATA / "article.csv"), "separator": ";"},
            {"path": str(DATA / "article_comma.csv"), "separator": ";", "decimal": ","},
            {"encoding": "latin-1"},
        ),
        shapes=((30, 2, 1), (30, 1, 1), (30, 2, 2), *((30, 2, 1),) * 5),
        draws=False,
        truth=False,
    ),
    DatasetRow(
        "parquet",
        needed={
            "path": str(DATA / "article.parquet"),
            "features": ["x_squared", "one"],
            "target": "y",
        },
        variations=(
            {"features": "one"},
            {"target": ["y", "x"]},
            {"weight": "one"},
            {"missing": "drop"},
        ),
        shapes=((30, 2, 1), (30, 1, 1), (30, 2, 2), (30, 2, 1), (30, 2, 1)),
        draws=False,
        truth=False,
    ),
    DatasetRow(
        "npy",
        needed={"path": str(DATA / "article.npy"), "features": ["1", "2"], "target": "3"},
        variations=(
            {"features": "2"},
            {"target": ["3", "0"]},
            {"weight": "2"},
            {"missing": "drop"},
        ),
        shapes=((30, 2, 1), (30, 1, 1), (30, 2, 2), (30, 2, 1), (30, 2, 1)),
        draws=False,
        truth=False,
    ),
    DatasetRow(
        "arrays",
        needed=ARRAYS.model_dump(include={"digest", "features", "target"}, mode="json"),
        variations=({"weight": "weight"}, {"levels": [["one", ["no", "yes"]]]}),
        shapes=((12, 2, 1), (12, 2, 1), (12, 2, 1)),
        draws=False,
        truth=False,
    ),
    DatasetRow(
        "sklearn",
        needed={"set": "diabetes"},
        variations=({"set": "linnerud"}, {"set": "breast_cancer"}),
        shapes=((442, 10, 1), (20, 3, 3), (569, 30, 1)),
        draws=False,
        truth=False,
    ),
    DatasetRow(
        "classes",
        variations=(
            {"n": 9, "classes": 4},
            {"p": 1},
            {"separation": 0.5},
            {"label_noise": 0.0},
            {"seed": 11},
        ),
        shapes=((200, 2, 1), (9, 2, 1), (200, 1, 1), *((200, 2, 1),) * 3),
        truth=False,
        noisy=False,
    ),
    DatasetRow(
        "counts",
        variations=({"n": 7}, {"p": 2, "q": 3}, {"spread": 0.0}, {"seed": 11}),
        shapes=((200, 3, 1), (7, 3, 1), (200, 2, 3), (200, 3, 1), (200, 3, 1)),
        noisy=False,
    ),
    DatasetRow(
        "sparse_linear",
        variations=(
            {"n": 20},
            {"p": 8},
            {"q": 2},
            {"nonzero": 0},
            {"noise": 0.0},
            {"seed": 11},
        ),
        shapes=((100, 50, 1), (20, 50, 1), (100, 8, 1), (100, 50, 2), *((100, 50, 1),) * 3),
    ),
)
#: Problems that differ in their numbers, with their (n, p, q): what all tests of fits iterate over.
#: The other settings of DATASETS are tried where they are read or drawn.
PROBLEMS: tuple[tuple[dict[str, Any], tuple[int, int, int]], ...] = (
    ({"name": "parabola"}, (30, 2, 1)),
    ({"name": "parabola", "noise": 0.0}, (30, 2, 1)),
    ({"name": "polynomial"}, (30, 4, 1)),
    ({"name": "polynomial", "degree": 0, "coefficients": [1.5]}, (30, 1, 1)),
    ({"name": "random_linear"}, (100, 5, 1)),
    ({"name": "random_linear", "n": 12, "p": 3, "q": 3, "condition": 1.0}, (12, 3, 3)),
    ({"name": "random_linear", "n": 4, "p": 6, "q": 2}, (4, 6, 2)),
    ({"name": "random_linear", "n": 1, "p": 1, "condition": 1.0}, (1, 1, 1)),
    (
        {
            "name": "csv",
            "path": "linfit:article.csv",
            "features": ["x_squared", "one"],
            "target": ["y", "x"],
        },
        (30, 2, 2),
    ),
)
SCALED = ({"intercept": True}, {"scaling": "standardize"}, {"scaling": "whiten"})
#: Abilities of every group of functions with the default dataset; `intercept` is true by default.
RANGED = ({"intercept": False}, {"scaling": "standardize"}, {"domain": [-1.0, 5.0]})
FEATURES = (
    Row("raw", variations=SCALED),
    Row(
        "polynomial",
        variations=(*RANGED, {"degree": 2}, {"basis": "chebyshev"}, {"basis": "legendre"}),
    ),
    Row("fourier", variations=(*RANGED, {"order": 1})),
    Row("rbf", variations=(*RANGED, {"centers": 3}, {"width": 2.0})),
)
MODELS = (Row("tensor"), Row("linear"))
INITS = (
    InitRow("normal", variations=({"mean": 1.5}, {"std": 0.25}, {"seed": 11}), draws=True),
    InitRow("torch_default", variations=({"seed": 11},), draws=True),
    InitRow("zeros"),
    InitRow("given", needed={"weights": [0.25, -1.5]}, shape=(2, 1)),
)
LOSSES = (
    LossRow("sse", torch="sum"),
    LossRow("mse", torch="mean"),
    LossRow(
        "huber",
        variations=({"delta": 0.25},),
        torch="mean",
        torch_class="HuberLoss",
        quadratic=False,
        difference=1e-6,
    ),
)
#: Losses of other targets than numbers, and those that are not smooth.
OTHER_LOSSES = (
    LossRow(
        "logistic", torch="mean", torch_class="BCEWithLogitsLoss", quadratic=False, kind="binary"
    ),
    LossRow(
        "cross_entropy",
        torch="mean",
        torch_class="CrossEntropyLoss",
        quadratic=False,
        kind="classes",
    ),
    LossRow("squared_hinge", quadratic=False, kind="sign"),
    LossRow("poisson", torch="mean", torch_class="PoissonNLLLoss", quadratic=False, kind="count"),
    LossRow("quantile", variations=({"quantile": 0.2},), quadratic=False, smooth=False),
)
ALL_LOSSES = (*LOSSES, *OTHER_LOSSES)
QUADRATIC_LOSSES = tuple(row for row in LOSSES if row.quadratic)
SPLITS = (
    Row("holdout", variations=({"validation": 0.25}, {"validation": 0.25, "seed": 3})),
    Row("kfold", variations=({"k": 3}, {"fold": 2}, {"seed": 3})),
)
PENALTIES = (
    PenaltyRow("none"),
    PenaltyRow("ridge", variations=({"strength": 0.25}, {"intercept": True})),
    PenaltyRow("lasso", variations=({"strength": 0.25}, {"intercept": True}), quadratic=False),
    PenaltyRow(
        "elastic_net",
        variations=({"strength": 0.25}, {"l1_ratio": 0.25}, {"intercept": True}),
        quadratic=False,
    ),
)
GRADIENTS = (
    GradientRow("manual"),
    GradientRow("autograd"),
    GradientRow("func_grad"),
    GradientRow("forward"),
    GradientRow("finite_difference", variations=({"step": 1e-4},), near=1e-7),
    GradientRow("gram", quadratic_only=True),
)
EXACT_GRADIENTS = tuple(row for row in GRADIENTS if row.exact)
#: Gradients of batches alone.
BATCH_GRADIENTS = (
    GradientRow("svrg", variations=({"epoch": 3},), batched=True, longer=10),
    GradientRow("saga", batched=True, longer=10),
)
BATCHES = (
    Row("full"),
    BatchRow(
        "minibatch",
        variations=({"size": 7}, {"replacement": True}, {"seed": 11}),
        draws=True,
        longer=3,
    ),
)
SCHEDULES = (
    ScheduleRow("none"),
    ScheduleRow("step", variations=({"step_size": 9}, {"gamma": 0.5}), torch="StepLR"),
    ScheduleRow("exponential", variations=({"gamma": 0.9},), torch="ExponentialLR"),
    ScheduleRow("cosine", variations=({"T_max": 17}, {"eta_min": 1e-4}), torch="CosineAnnealingLR"),
    ScheduleRow(
        "linear",
        variations=({"start_factor": 0.5}, {"end_factor": 0.25}, {"total_iters": 12}),
        torch="LinearLR",
    ),
)
OPTIMIZERS = (
    OptimizerRow(
        "manual_sgd", variations=({"lr": 2e-3}, {"lr": 1e-2, "average": True}), bounded=True
    ),
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
        bounded=True,
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
    OptimizerRow(
        "lbfgs",
        variations=(
            {"lr": 0.5},
            {"history_size": 3},
            {"tolerance_grad": 1e-3},
            {"tolerance_change": 1e-4},
        ),
        lr=1.0,
        corners=False,
        separable=False,
        curving=True,
        names_torch=True,
        batches=False,
    ),
    OptimizerRow(
        "nadam",
        variations=(
            {"lr": 0.1},
            {"betas": [0.8, 0.95]},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"momentum_decay": 0.1},
            {"maximize": True},
            {"weight_decay": 0.1, "decoupled_weight_decay": True},
        ),
        torch="NAdam",
        lr=0.05,
    ),
    OptimizerRow(
        "radam",
        variations=(
            {"lr": 2e-3},
            {"betas": [0.8, 0.95]},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"maximize": True},
            {"weight_decay": 0.1, "decoupled_weight_decay": True},
        ),
        torch="RAdam",
        bounded=True,
    ),
    OptimizerRow(
        "adamax",
        variations=(
            {"lr": 0.1},
            {"betas": [0.8, 0.95]},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"maximize": True},
        ),
        torch="Adamax",
        lr=0.05,
    ),
    OptimizerRow(
        "adadelta",
        variations=(
            {"lr": 0.5},
            {"rho": 0.8},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"maximize": True},
        ),
        torch="Adadelta",
        contracting=False,
        lr=1.0,
    ),
    OptimizerRow(
        "asgd",
        variations=(
            {"lr": 2e-3},
            {"lambd": 0.1},
            {"lambd": 0.1, "alpha": 0.5},
            {"t0": 3.0},
            {"weight_decay": 0.1},
            {"lr": 1e-3, "maximize": True},
        ),
        torch="ASGD",
        bounded=True,
    ),
    OptimizerRow(
        "rprop",
        variations=(
            {"lr": 0.1},
            {"etas": [0.4, 1.5]},
            {"step_sizes": [1e-3, 0.5]},
            {"maximize": True},
        ),
        torch="Rprop",
        contracting=False,
        lr=0.05,
    ),
    OptimizerRow(
        "lion",
        variations=({"lr": 0.1}, {"betas": [0.8, 0.95]}, {"weight_decay": 0.1}),
        contracting=False,
        lr=1e-3,
    ),
    OptimizerRow(
        "schedule_free_sgd",
        variations=(
            {"lr": 2e-3},
            {"momentum": 0.5},
            {"weight_decay": 0.1},
            {"warmup_steps": 7},
            {"r": 1.0},
            {"warmup_steps": 7, "weight_lr_power": 1.0},
        ),
        bounded=True,
        longer=5,
    ),
    OptimizerRow(
        "schedule_free_adamw",
        variations=(
            {"lr": 0.1},
            {"betas": [0.8, 0.95]},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"warmup_steps": 7},
            {"r": 1.0},
            {"warmup_steps": 7, "weight_lr_power": 1.0},
        ),
        lr=0.05,
        longer=7,
    ),
    OptimizerRow(
        "prodigy",
        variations=(
            {"lr": 0.5},
            {"betas": [0.8, 0.95]},
            {"beta3": 0.9},
            {"eps": 1e-3},
            {"weight_decay": 0.1},
            {"weight_decay": 0.1, "decouple": False},
            {"use_bias_correction": True},
            {"lr": 0.5, "safeguard_warmup": True},
            {"d0": 1e-3},
            {"d_coef": 0.5},
            {"growth_rate": 1.5},
        ),
        contracting=False,
        lr=1.0,
        amplifies=10.0,
        separable=False,
        longer=8,
    ),
    OptimizerRow("heavy_ball", variations=({"lr": 2e-3}, {"momentum": 0.5}), knowing=True),
    OptimizerRow("nesterov", variations=({"lr": 2e-3}, {"momentum": 0.5}), knowing=True),
    OptimizerRow("proximal_gradient", variations=({"lr": 2e-3},), bounded=True),
    OptimizerRow("fista", variations=({"lr": 2e-3}, {"restart": "none"}), bounded=True, longer=3),
    OptimizerRow(
        "conjugate_gradient",
        variations=({"preconditioner": "jacobi"},),
        lr=None,
        amplifies=10.0,
        knowing=True,
    ),
    OptimizerRow("newton", lr=None, curving=True, corners=False, batches=False, separable=False),
    OptimizerRow("coordinate_descent", lr=None, knowing=True, longer=7),
    OptimizerRow("homotopy", lr=None, knowing=True, descends=False, converges=True),
    OptimizerRow("closed_form", lr=None, knowing=True, descends=False),
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
        variations=(
            {"uri": "sqlite:///elsewhere.db"},
            {"artifacts": "elsewhere"},
            {"child_artifacts": True},
            {"runs": "best:3"},
            {"git_diff": False},
        ),
    ),
    Row("none"),
)

#: Every component of linfit's own, by group. A test keeps tables, classes and conf/ in step.
TABLES: dict[str, Sequence[Row]] = {
    "dataset": DATASETS,
    "features": FEATURES,
    "model": MODELS,
    "init": INITS,
    "loss": ALL_LOSSES,
    "split": SPLITS,
    "penalty": PENALTIES,
    "gradient": (*GRADIENTS, *BATCH_GRADIENTS),
    "batch": BATCHES,
    "schedule": SCHEDULES,
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


def beside(group: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a component needs beside itself: targets that a loss takes, or batches."""
    row = next((row for row in TABLES[group] if row.name == given["name"]), None)
    if isinstance(row, LossRow) and row.kind != "number":
        columns = {"features": ["a", "b"], "target": row.kind}
        return {"dataset": {"name": "csv", "path": str(DATA / "kinds.csv"), **columns}}
    if isinstance(row, GradientRow) and row.batched:
        return {"batch": {"name": "minibatch"}}
    return {}


def cover_pairs(
    *factors: Sequence[Any], allowed: Callable[..., bool] = lambda *row: True
) -> list[tuple[Any, ...]]:
    """Return few allowed rows of levels, one of each factor, in which every pair of levels occurs.

    The choice is greedy: each row takes the first pair that is missing, and as many others with it
    as any row does.
    """
    missing = {
        ((i, a), (j, b)): None
        for (i, one), (j, other) in combinations(enumerate(factors), 2)
        for a, b in product(range(len(one)), range(len(other)))
    }
    found = []
    while missing:
        first = next(iter(missing))
        fixed = dict(first)
        candidates = product(
            *([fixed[i]] if i in fixed else range(len(one)) for i, one in enumerate(factors))
        )
        rows = [
            row
            for row in candidates
            if allowed(*(one[place] for one, place in zip(factors, row, strict=True)))
        ]
        if not rows:  # no allowed row has this pair
            del missing[first]
            continue
        best = max(rows, key=lambda row: sum(pair in missing for pair in _pairs_of(row)))
        for pair in _pairs_of(best):
            missing.pop(pair, None)
        found.append(tuple(one[place] for one, place in zip(factors, best, strict=True)))
    return found


def _pairs_of(row: Sequence[int]) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    return combinations(enumerate(row), 2)


def label(value: object) -> str | None:
    """A readable test id for the values of these tables; None leaves it to pytest."""
    if isinstance(value, Row | Known):
        return value.name
    if isinstance(value, Mapping):
        return ",".join(
            f"{part}" if key == "name" else f"{key}={part}" for key, part in value.items()
        )
    return None


def config(**parts: Any) -> FitConfig:
    """Return a fit config as YAML would state it, which nothing records.

    Every row above fits the default dataset.
    """
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


def forget_mlflow(patch: pytest.MonkeyPatch) -> None:
    """Have nothing about MLflow in the environment."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        patch.delenv(name)


def end_with_parent(number: int = getattr(signal, "SIGKILL", signal.SIGTERM)) -> None:
    """In a child: have this signal sent to it when its parent is gone, where the system can."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, number)


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a process in a session of its own, and kill all that it has started at the end.

    It is killed however the test ends; on Linux, also if the tests themselves are killed.
    """
    if sys.platform == "linux":
        options.setdefault("preexec_fn", end_with_parent)
    if sys.platform != "win32":
        options.setdefault("start_new_session", True)
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        kill_family(process)


def kill_family(process: subprocess.Popen[Any]) -> None:
    """Kill a process, its descendants, and what is left of its session, and close its pipes."""
    with suppress(psutil.Error):
        for one in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                one.kill()
    with suppress(OSError, AttributeError):  # all of it has ended, or it has no group of its own
        if process.returncode is not None or os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def forbid_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything fail that reads a pickle.

    It is pickle itself, in C or in Python, or cloudpickle, which has it under names of its own.
    """

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was loaded")

    for module in (pickle, cloudpickle):
        monkeypatch.setattr(module, "load", refuse)
        monkeypatch.setattr(module, "loads", refuse)
    for unpickler in ("Unpickler", "_Unpickler"):
        monkeypatch.setattr(pickle, unpickler, type(unpickler, (), {"__init__": refuse}))


@dataclass(frozen=True)
class Known:
    """A least-squares problem with its answer, found by hand.

    The answer is the smallest W `[p, q]`, min ‖XW − y‖² and the rank of X.
    """

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
    Known(
        "line",
        X=[[0, 1], [1, 1], [2, 1]],
        y=[[1], [2], [4]],
        weights=[[3 / 2], [5 / 6]],
        loss=1 / 6,
        rank=2,
    ),
    Known("exact", X=[[1, 2], [3, 4]], y=[[5], [11]], weights=[[1], [2]], loss=0, rank=2),
    Known(
        "two targets",
        X=[[1, 0], [0, 2], [0, 0]],
        y=[[1, 2], [4, 6], [3, 5]],
        weights=[[1, 2], [2, 3]],
        loss=34,
        rank=2,
    ),
    Known(
        "twice the same column",
        X=[[1, 1], [2, 2]],
        y=[[2], [4]],
        weights=[[1], [1]],
        loss=0,
        rank=1,
    ),
    Known(
        "dependent columns",
        X=[[1, 2], [1, 2], [0, 0]],
        y=[[5], [15], [1]],
        weights=[[2], [4]],
        loss=51,
        rank=1,
    ),
    Known(
        "a column of zeros", X=[[1, 0], [1, 0]], y=[[1], [3]], weights=[[2], [0]], loss=2, rank=1
    ),
    Known(
        "nothing but zeros", X=[[0, 0], [0, 0]], y=[[3], [4]], weights=[[0], [0]], loss=25, rank=0
    ),
    Known("one sample", X=[[3, 4]], y=[[25]], weights=[[3], [4]], loss=0, rank=1),
    Known(
        "more features than samples",
        X=[[1, 0, 1], [0, 2, 0]],
        y=[[2, 4], [2, 6]],
        weights=[[1, 2], [1, 3], [1, 2]],
        loss=0,
        rank=2,
    ),
    Known(
        "columns of unlike size",
        X=[[2**30, 0], [0, 2**-30]],
        y=[[2**30], [2**-30]],
        weights=[[1], [1]],
        loss=0,
        rank=2,
    ),
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


def curvature(fitted: FitConfig) -> float:
    """The largest of the Hessian of a config's loss, of Huber's where residuals are small."""
    data = fitted.dataset.load(fitted.seed)
    n, _, q = data.shape
    return 2 * fitted.loss.scale(n, q) * float(np.linalg.norm(data.X, 2)) ** 2


class Exact:
    """The least-squares problem of X `[n, p]` and y `[n, q]`, solved in exact rationals.

    X and y are float64, and X has full column rank.
    """

    def __init__(self, X: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        self.X, self.y = _rational(X), _rational(y)
        self.solution = rational_least_squares(self.X, self.y)  # [p, q]

    @property
    def weights(self) -> NDArray[np.float64]:
        return np.array([[float(weight) for weight in row] for row in self.solution])

    def loss(
        self, weights: Sequence[Sequence[Fraction]] | NDArray[np.float64] | None = None
    ) -> Fraction:
        """‖XW − y‖² of W `[p, q]`, the optimum's where none is given."""
        W = (
            self.solution
            if weights is None
            else _rational(weights)
            if isinstance(weights, np.ndarray)
            else weights
        )
        columns = list(zip(*W, strict=True))
        errors = [
            _dot(x, w) - y
            for x, row in zip(self.X, self.y, strict=True)
            for w, y in zip(columns, row, strict=True)
        ]
        return sum((error * error for error in errors), Fraction(0))


def rational_least_squares(
    X: Sequence[Sequence[Fraction]], y: Sequence[Sequence[Fraction]]
) -> list[list[Fraction]]:
    """W `[p, q]` with XᵀXW = Xᵀy, for X `[n, p]` of full column rank and y `[n, q]`."""
    columns = list(zip(*X, strict=True))
    gram = [[_dot(a, b) for b in columns] for a in columns]
    return _solve(gram, [[_dot(a, b) for b in zip(*y, strict=True)] for a in columns])


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
