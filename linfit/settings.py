"""Where a fit runs, what of it is kept, and when it stops: the sections of a fit config that are not mathematics."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from linfit.component import Component, Frozen

CURVE_POINTS = 40
#: A part of what there was at first.
Share = Annotated[float, Field(gt=0, lt=1)]


class Device(Component):
    """Where tensors live."""

    #: The dtypes that tensors may have there.
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")

    @abstractmethod
    def resolve(self) -> Device:
        """The device that there is; ValueError if it is absent."""

    def check(self, dtype: str) -> None:
        """Raises ValueError where the device cannot compute in `dtype`."""
        if dtype not in self.dtypes:
            only = " and ".join(self.dtypes)
            raise ValueError(
                f"device {self.name} computes in {only} only, got dtype {dtype}: choose dtype={only} or device=cpu"
            )

    def check_part(self, part: str, instead: str) -> None:
        """Raises ValueError where a part of a fit that computes in float64, whatever its dtype, cannot do so on the device."""
        if "float64" not in self.dtypes:
            only = " and ".join(self.dtypes)
            raise ValueError(
                f"device {self.name} computes in {only} only, and {part} in float64: choose {instead} or device=cpu"
            )


class CPU(Device):
    """The processor: always there, the only device for which bits are promised."""

    name: Literal["cpu"] = "cpu"

    def resolve(self) -> Device:
        return self


class CUDA(Device):
    """The first NVIDIA (or ROCm) accelerator that torch sees."""

    name: Literal["cuda"] = "cuda"

    def resolve(self) -> Device:
        return _present(self)


class MPS(Device):
    """Apple's accelerator; float32 only."""

    name: Literal["mps"] = "mps"

    dtypes: ClassVar[tuple[str, ...]] = ("float32",)

    def resolve(self) -> Device:
        return _present(self)


class Auto(Device):
    """cuda if it is there, otherwise cpu. mps is taken only when asked for, because it has no float64."""

    name: Literal["auto"] = "auto"

    def resolve(self) -> Device:
        return CUDA() if "cuda" in devices() else CPU()


def devices() -> list[str]:
    """The devices that torch can use here."""
    import torch

    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    return [name for name, present in there.items() if present]


def _present(device: Device) -> Device:
    if device.name not in devices():
        raise ValueError(
            f"device {device.name} is not there: this machine has {', '.join(devices())}; choose one of them or device=auto"
        )
    return device


class Engine(Component):
    """What executes fits."""

    @abstractmethod
    def resolve(self, several: bool, stackable: bool) -> Engine:
        """The engine that runs a fit: one of `several` or alone, of parts that are all `stackable` or not."""


class SingleEngine(Engine):
    """One fit at a time with torch's own modules and optimizers: the reference."""

    name: Literal["single"] = "single"

    def resolve(self, several: bool, stackable: bool) -> Engine:
        return self


#: Bytes that a block of fits may take for its tensors and its results; as many may hold problems for other blocks.
Memory = Annotated[int, Field(ge=2**20)]


class StackedEngine(Engine):
    """Many fits as one tensor program, cut into blocks of at most `memory` bytes; parts without a stacked rule run `single`."""

    name: Literal["stacked"] = "stacked"
    memory: Memory = 2**29

    def resolve(self, several: bool, stackable: bool) -> Engine:
        return self if stackable else SingleEngine()


class AutoEngine(Engine):
    """A fit alone runs `single`, several run `stacked`."""

    name: Literal["auto"] = "auto"
    memory: Memory = 2**29

    def resolve(self, several: bool, stackable: bool) -> Engine:
        return StackedEngine(memory=self.memory) if several and stackable else SingleEngine()


class Tracking(Component):
    """Where runs are kept."""


class MLflowTracking(Tracking):
    """MLflow: a database or a server.

    `uri` is an MLflow tracking URI; null means MLFLOW_TRACKING_URI, or else `sqlite:///outputs/mlflow.db`. `artifacts` is
    where files of new MLflow experiments go; null means the folder `artifacts` beside a SQLite store, otherwise what the
    server says. `runs` is which fits of a sweep become runs: `all`, or `best:K` for the K of lowest excess loss; every fit is
    always in the sweep's `results.parquet`. `git_diff` says whether `git.diff` is kept, with what is uncommitted of the files
    that decide a run, secrets masked. Both `uri` and `artifacts` may hold `${oc.env:…}`, which is resolved only when the store is opened and stored as it stands here.
    """

    name: Literal["mlflow"] = "mlflow"
    uri: str | None = None
    artifacts: str | None = None
    child_artifacts: bool = False
    runs: str = "all"
    git_diff: bool = True

    @field_validator("runs")
    @classmethod
    def _all_or_best(cls, runs: str) -> str:
        if re.fullmatch("all|best:[1-9][0-9]{0,8}", runs, re.ASCII) is None:
            raise ValueError(f"got {runs!r}, there are all and best:K, such as best:20")
        return runs

    @property
    def best(self) -> int | None:
        """How many of a sweep's fits become runs, the best; None for all."""
        return None if self.runs == "all" else int(self.runs.removeprefix("best:"))


class NoTracking(Tracking):
    """Nowhere: nothing is stored, MLflow is not imported."""

    name: Literal["none"] = "none"


class Record(Frozen):
    """What of a fit's path is kept: about 40 steps spaced for a log axis, the first and the last, and `every` so many.

    `steps_to_tolerance` is the first step whose excess loss is at most `tolerance` times the initial one.
    """

    every: Annotated[int, Field(ge=1)] | None = None
    tolerance: Share = 1e-6

    def steps(self, total: int) -> list[int]:
        """The steps recorded of a fit of `total` updates, increasing, from 0 to `total`."""
        spaced = np.geomspace(1, max(total, 1), CURVE_POINTS).round().astype(int).tolist()
        regular = range(0, total + 1, self.every) if self.every else ()
        return sorted({0, total, *regular, *(step for step in spaced if step <= total)})


class Stop(Frozen):
    """When a fit ends before its last step: `divergence` is how many times its initial loss a fit may reach.

    A fit ends as `converged` at the first step whose excess loss is at most `excess_loss` times the initial one, or whose
    gradient's norm is at most `gradient_norm` times the initial one; without these it makes all its steps.
    """

    later = frozenset({"excess_loss", "gradient_norm"})

    divergence: Annotated[float, Field(gt=1)] = 1e6
    excess_loss: Share | None = None
    gradient_norm: Share | None = None
