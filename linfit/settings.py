"""Sections of a fit config without mathematics: device, engine, tracking, record and stop."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from linfit.component import Component, Frozen

CURVE_POINTS = 40
#: A fraction of the initial value.
InitialFraction = Annotated[float, Field(gt=0, lt=1)]


class Device(Component):
    """Device of the tensors."""

    #: The dtypes that the device supports.
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")

    @abstractmethod
    def resolve(self) -> Device:
        """Return the actual device. Raise ValueError if it is absent."""

    def check_dtype(self, dtype: str) -> None:
        """Raise ValueError if the device cannot compute in `dtype`."""
        if dtype not in self.dtypes:
            only = " and ".join(self.dtypes)
            raise ValueError(
                f"device {self.name} computes in {only} only, got dtype {dtype}: "
                f"choose dtype={only} or device=cpu"
            )

    def check_part(self, part: str, instead: str) -> None:
        """Raise ValueError if the device lacks float64, which `part` needs."""
        if "float64" not in self.dtypes:
            only = " and ".join(self.dtypes)
            raise ValueError(
                f"device {self.name} computes in {only} only, and {part} in float64: "
                f"choose {instead} or device=cpu"
            )


class CPU(Device):
    """The processor: always present, and the only device for which bits are promised."""

    name: Literal["cpu"] = "cpu"

    def resolve(self) -> Device:
        return self


class CUDA(Device):
    """The first NVIDIA (or ROCm) accelerator that torch sees."""

    name: Literal["cuda"] = "cuda"

    def resolve(self) -> Device:
        return _require_present(self)


class MPS(Device):
    """Apple's accelerator; float32 only."""

    name: Literal["mps"] = "mps"

    dtypes: ClassVar[tuple[str, ...]] = ("float32",)

    def resolve(self) -> Device:
        return _require_present(self)


class Auto(Device):
    """cuda if present, else cpu. mps must be asked for, because it has no float64."""

    name: Literal["auto"] = "auto"

    def resolve(self) -> Device:
        return CUDA() if "cuda" in list_devices() else CPU()


def list_devices() -> list[str]:
    """Return the devices that torch can use on this machine."""
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def _require_present(device: Device) -> Device:
    present = list_devices()
    if device.name not in present:
        raise ValueError(
            f"device {device.name} is not there: this machine has {', '.join(present)}; "
            "choose one of them or device=auto"
        )
    return device


class Engine(Component):
    """Program that runs fits."""

    @abstractmethod
    def resolve(self, several: bool, stackable: bool) -> Engine:
        """Return the engine that runs a fit.

        `several` is True if it is one of several, `stackable` if all its parts have a stacked rule.
        """


class SingleEngine(Engine):
    """One fit at a time with torch's own modules and optimizers: the reference."""

    name: Literal["single"] = "single"

    def resolve(self, several: bool, stackable: bool) -> Engine:
        return self


#: Most bytes of a block of fits, for tensors and results; problems for other blocks may take as
#: many again.
MemoryBytes = Annotated[int, Field(ge=2**20)]


class StackedEngine(Engine):
    """Many fits as one tensor program, in blocks of at most `memory` bytes.

    Fits with a part that has no stacked rule run `single`.
    """

    name: Literal["stacked"] = "stacked"
    memory: MemoryBytes = 2**29

    def resolve(self, several: bool, stackable: bool) -> Engine:
        return self if stackable else SingleEngine()


class AutoEngine(Engine):
    """A lone fit runs `single`, several run `stacked`."""

    name: Literal["auto"] = "auto"
    memory: MemoryBytes = 2**29

    def resolve(self, several: bool, stackable: bool) -> Engine:
        if several and stackable:
            return StackedEngine(memory=self.memory)
        return SingleEngine()


class Tracking(Component):
    """Store of the runs."""


class MLflowTracking(Tracking):
    """MLflow: a database or a server.

    `uri` is an MLflow tracking URI; null means MLFLOW_TRACKING_URI, or else
    `sqlite:///outputs/mlflow.db`. `artifacts` is the place for files of new MLflow experiments;
    null means the folder `artifacts` next to a SQLite store, otherwise the server's default. `runs`
    says which fits of a sweep become runs: `all`, or `best:K` for the K of lowest excess loss;
    every fit is always in the sweep's `results.parquet`. `git_diff` says if `git.diff` is kept: the
    uncommitted changes of the files that decide a run, with secrets masked. Both `uri` and
    `artifacts` may contain `${oc.env:…}`, which is stored as written, and resolved only when the
    store is opened.
    """

    name: Literal["mlflow"] = "mlflow"
    uri: str | None = None
    artifacts: str | None = None
    child_artifacts: bool = False
    runs: str = "all"
    git_diff: bool = True

    @field_validator("runs")
    @classmethod
    def _check_runs(cls, runs: str) -> str:
        if re.fullmatch("all|best:[1-9][0-9]{0,8}", runs, re.ASCII) is None:
            raise ValueError(f"got {runs!r}, there are all and best:K, such as best:20")
        return runs

    @property
    def best(self) -> int | None:
        """Number of a sweep's best fits that become runs; None for all."""
        if self.runs == "all":
            return None
        return int(self.runs.removeprefix("best:"))


class NoTracking(Tracking):
    """No store: nothing is recorded, and MLflow is not imported."""

    name: Literal["none"] = "none"


class Record(Frozen):
    """Recorded steps: the first, the last, about 40 spaced for a log axis, and each `every`-th.

    `steps_to_tolerance` is the first step whose excess loss is at most `tolerance` times the
    initial one.
    """

    every: Annotated[int, Field(ge=1)] | None = None
    tolerance: InitialFraction = 1e-6

    def recorded_steps(self, total: int) -> list[int]:
        """Return the recorded steps of a fit of `total` updates, in order."""
        spaced = np.geomspace(1, max(total, 1), CURVE_POINTS).round().astype(int)
        regular = range(0, total + 1, self.every) if self.every else ()
        return sorted({0, total, *regular, *spaced[spaced <= total].tolist()})


class Stop(Frozen):
    """Rules that end a fit before its last step.

    A fit has `diverged` if its loss exceeds `divergence` times the initial loss. It has `converged`
    at the first step whose excess loss is at most `excess_loss` times the initial one, or whose
    gradient norm is at most `gradient_norm` times the initial one.
    """

    omitted_at_default = frozenset({"excess_loss", "gradient_norm"})

    divergence: Annotated[float, Field(gt=1)] = 1e6
    excess_loss: InitialFraction | None = None
    gradient_norm: InitialFraction | None = None
