"""The fit config: everything that says what a fit is, typed, frozen and data; and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from linfit.component import Choice, Component, Frozen, Seed
from linfit.method.gradients import Autograd, Gradient
from linfit.method.init import Init, Normal
from linfit.method.models import Model, TensorModel
from linfit.method.optimizers import Adam, Optimizer
from linfit.problem.datasets import Dataset, Parabola
from linfit.problem.files import file_digest
from linfit.problem.losses import SSE, Loss
from linfit.settings import CPU, AutoEngine, Device, Engine, MLflowTracking, Record, Stop, Tracking

GROUPS: dict[str, type[Component]] = {
    group.group: group for group in (Dataset, Model, Init, Loss, Gradient, Optimizer, Device, Engine, Tracking)
}
#: What says where a run is kept and what it is called, not what its numbers are.
BESIDE_THE_NUMBERS = ("name", "tracking", "record")
ADHOC = "adhoc"


class FitConfig(Frozen):
    """The full configuration of one fit. Each group takes a component, its name, or a mapping with its name.

    `FitConfig(optimizer="adam", seed=3)` and `FitConfig(optimizer=Adam(lr=0.1))` are both fit configs. A combination that
    cannot be fitted is refused here, before anything runs, with a pydantic ValidationError, which is a ValueError.
    """

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = ADHOC
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"
    steps: Annotated[int, Field(ge=0, le=10**9)] = 1000
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    plugins: Annotated[tuple[str, ...], Field(strict=False)] = ()
    dataset: Choice[Dataset] = Parabola()
    model: Choice[Model] = TensorModel()
    init: Choice[Init] = Normal()
    loss: Choice[Loss] = SSE()
    gradient: Choice[Gradient] = Autograd()
    optimizer: Choice[Optimizer] = Adam()
    device: Choice[Device] = CPU()
    engine: Choice[Engine] = AutoEngine()
    tracking: Choice[Tracking] = MLflowTracking()
    record: Record = Record()
    stop: Stop = Stop()

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        self.init.check(*self.dataset.shape())
        self.device.check(self.dtype)
        return self

    def resolved(self, several: bool = False) -> Self:
        """This config with the device that there is and the engine that runs it, alone or as one of several.

        Raises ValueError where the device asked for is absent.
        """
        device = self.device.resolve()
        engine = self.engine.resolve(several, not self.unstackable())
        if device == self.device and engine == self.engine:
            return self
        return self.model_copy(update={"device": device, "engine": engine})

    def unstackable(self) -> list[str]:
        """The groups whose component has no stacked rule, so that the fit runs in the single engine."""
        return [part.group for part in (self.model, self.loss, self.gradient, self.optimizer) if not part.stackable()]

    def as_dict(self) -> dict[str, Any]:
        """The whole config as plain data, that `FitConfig.model_validate` takes back."""
        return self.model_dump(mode="json")

    def numbers(self) -> dict[str, Any]:
        """What decides the numbers, as plain data: sub-seeds resolved, data files by the hash of their bytes."""
        fields = {key: value for key, value in self.as_dict().items() if key not in BESIDE_THE_NUMBERS}
        for part in ("dataset", "init"):
            if fields[part].get("seed", 0) is None:
                fields[part]["seed"] = self.seed
        if files := self.dataset.files():
            fields["dataset"].pop("path", None)
            fields["data"] = [file_digest(file) for file in files]
        fields["engine"].pop("memory", None)  # where a stack is cut does not change a bit
        if not self.plugins:
            del fields["plugins"]
        return fields

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of what decides the numbers; the same fingerprint means the same numbers are expected."""
        return digest(self.numbers())


def canonical(data: Any) -> str:
    """JSON with sorted keys and no spaces; floats as Python's repr, the shortest that reads back exactly."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(data: Any) -> str:
    return hashlib.sha256(canonical(data).encode()).hexdigest()


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"optimizer": {"lr": 0.1}}` as `{"optimizer.lr": 0.1}`; a component stands under its group's own name."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix.removesuffix(".") if key == "name" and prefix else f"{prefix}{key}"] = value
    return flat


def explain(error: ValidationError) -> str:
    """One line for each thing that is wrong: the key, what came, what is allowed."""
    return "; ".join(_explain(part) for part in error.errors(include_url=False))


def _explain(part: Any) -> str:
    key = ".".join(str(place) for place in part["loc"])
    message = part["msg"].removeprefix("Value error, ")
    if part["type"] in ("component", "value_error"):
        return f"{key}: {message}" if key else message
    if part["type"] == "missing":
        return f"{key} is required"
    return f"{key}: got {part['input']!r}, {message[:1].lower()}{message[1:]}"
