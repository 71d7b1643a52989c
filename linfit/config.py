"""The fit config: the typed, frozen description of one fit, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

import linfit.method.solvers
import linfit.problem.datasets.arrays
import linfit.problem.datasets.bundled
import linfit.problem.datasets.drawn
import linfit.problem.datasets.files  # noqa: F401  these join the group when they are defined
from linfit.component import Choice, Component, Frozen, Seed
from linfit.conventions import exclude_from_fingerprint
from linfit.method.batches import Batch, Full
from linfit.method.gradients import Autograd, Gradient
from linfit.method.init import Init, Normal
from linfit.method.models import Model, TensorModel
from linfit.method.optimizers import Adam, Optimizer
from linfit.method.schedules import Constant, Schedule
from linfit.problem.datasets.file_digest import hash_file
from linfit.problem.datasets.prepare import apply_weights, load_problem
from linfit.problem.datasets.synthetic import Dataset, Parabola
from linfit.problem.datasets.targets import encode_targets
from linfit.problem.features import Features, Raw
from linfit.problem.losses import SSE, Loss
from linfit.problem.objectives import ObjectiveName, check_objective
from linfit.problem.penalties import NoPenalty, Penalty, Shrinkage
from linfit.problem.problem import Problem
from linfit.problem.split import Holdout, Split
from linfit.problem.theory.optimum import Optimum, find_optimum, leave_unknown
from linfit.problem.theory.sufficient_statistics import (
    PartStatistics,
    shares_statistics,
    summarize,
    summarize_parts,
)
from linfit.problem.threads import limit_blas_threads
from linfit.settings import CPU, AutoEngine, Device, Engine, MLflowTracking, Record, Stop, Tracking

GROUPS: dict[str, type[Component]] = {
    group.group: group
    for group in (
        Dataset,
        Split,
        Features,
        Model,
        Init,
        Loss,
        Penalty,
        Gradient,
        Batch,
        Optimizer,
        Schedule,
        Device,
        Engine,
        Tracking,
    )
}
#: Keys that change no number of a fit: its name, its store, what is recorded, drawn and compared,
#: and if it is measured against its optimum.
NOT_IN_FINGERPRINT = ("name", "tracking", "record", "pictures", "objective", "theory")
ADHOC = "adhoc"


class FitConfig(Frozen):
    """The full configuration of one fit.

    Each group takes a component, its name, or a mapping with its name: both
    `FitConfig(optimizer="adam", seed=3)` and `FitConfig(optimizer=Adam(lr=0.1))` are fit configs. A
    combination that cannot be fitted is refused before anything runs, with a pydantic
    ValidationError, which is a ValueError.
    """

    omitted_at_default = frozenset(
        {"plugins", "deterministic", "features", "penalty", "batch", "schedule", "split"}
    )

    name: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")] = (
        ADHOC
    )
    seed: Seed = 0
    dtype: Literal["float32", "float64"] = "float32"
    steps: Annotated[int, Field(ge=0, le=10**9)] = 1000
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    deterministic: bool = True
    mean_over: Literal["weights", "samples"] = "weights"
    plugins: Annotated[tuple[str, ...], Field(strict=False)] = ()
    dataset: Choice[Dataset] = Parabola()
    features: Choice[Features] = Raw()
    model: Choice[Model] = TensorModel()
    init: Choice[Init] = Normal()
    loss: Choice[Loss] = SSE()
    penalty: Choice[Penalty] = NoPenalty()
    gradient: Choice[Gradient] = Autograd()
    batch: Choice[Batch] = Full()
    optimizer: Choice[Optimizer] = Adam()
    schedule: Choice[Schedule] = Constant()
    device: Choice[Device] = CPU()
    engine: Choice[Engine] = AutoEngine()
    tracking: Choice[Tracking] = MLflowTracking()
    split: Choice[Split] = Holdout()
    record: Record = Record()
    stop: Stop = Stop()
    pictures: bool = True
    objective: ObjectiveName = "auto"
    theory: Literal["auto", "none"] = "auto"

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        self._check_init()
        self.device.check_dtype(self.dtype)
        self.optimizer.check_loss(self.loss)
        self._check_combination()
        return self

    def _check_init(self) -> None:
        """Raise ValueError if the initial weights have another shape, where it is known."""
        try:
            self.init.check_shape(*self.shape())
        except ValueError:
            # How many features a column of text has, and how many classes a target, is known
            # once they are read.
            if not (self.loss.target_kind == "classes" or self.dataset.has_text()):
                raise

    def shape(self) -> tuple[int, int]:
        """Return (p, q), the numbers of features and targets, without loading the data.

        Of data that have text (`dataset.has_text`), each such column counts once, and so does a
        target that has classes.
        """
        c, q = self.dataset.shape()
        return self.features.num_features(c), q

    def problem(self, known: PartStatistics | None = None) -> Problem:
        """Return the problem in float64, or its summary if the gradient needs no more.

        `known` are the statistics of the split's parts, if they have been computed. Raise
        ValueError if the data cannot be loaded.
        """
        parts = (self.dataset, self.features, self.split, self.seed)
        with limit_blas_threads():
            if self.gradient.uses_summary:
                problem = summarize(*parts, self.dtype, known)
            else:
                kind = self.loss.target_kind
                problem = encode_targets(load_problem(*parts, kind), kind)
        return apply_weights(problem, self.loss, self.mean_over != "samples")

    def part_statistics(self) -> PartStatistics | None:
        """Return the statistics of the split's parts, of which all its folds are sums.

        None if this fit has none.
        """
        parts = (self.dataset, self.features, self.split)
        if not self.gradient.uses_summary or not shares_statistics(*parts):
            return None
        with limit_blas_threads():
            return summarize_parts(self.dataset, self.features, self.split, self.seed, self.dtype)

    def has_weighted_mean(self) -> bool:
        """Return True if the loss, or an update, is a mean over weighted samples."""
        return self.dataset.is_weighted() and (self.loss.averages() or self.optimizer.averages())

    def has_penalty_beside_intercept(self) -> bool:
        """Return True if there are a penalty and an added intercept."""
        return self.features.intercept and self.penalty.squared() > 0

    def shrinkage(self) -> Shrinkage:
        """Return the strengths of the penalty, and if an intercept is exempt from it."""
        exempt = self.features.intercept and not self.penalty.shrinks_intercept()
        found = Shrinkage(self.penalty.squared(), exempt, self.penalty.absolute())
        return Shrinkage() if found.is_nothing else found

    def notes(self) -> tuple[str, ...]:
        """Return sentences on the combination of choices that the user should read."""
        found = []
        if self.penalty.absolute() and not self.optimizer.handles_l1:
            found.append(
                f"optimizer {self.optimizer.name} descends by a subgradient of "
                f"penalty {self.penalty.name}, and reaches no weight of exactly 0: "
                "optimizer=fista does"
            )
        if not self.has_answer():
            found.append(
                "theory=none: no answer was computed, so there is no excess loss "
                "and no distance to the optimum"
            )
        return tuple(found)

    def has_answer(self) -> bool:
        """Return True if the fit is measured against its exact optimum."""
        return self.theory != "none"

    def resolve_objective(self) -> str:
        """Return what `objective` names, where that is `auto` what it stands for.

        It stays `auto` where that is the training loss evaluated in float64.
        """
        if self.objective != "auto":
            return self.objective
        if self.split.holds_out():
            return self.loss.held_out_objective
        return "auto" if self.has_answer() else "loss"

    def find_optimum(self, seen: Problem) -> Optimum:
        """Return the optimum of a problem in this fit's dtype, unknown if theory is none."""
        if self.has_answer():
            return find_optimum(seen, self.loss, self.shrinkage())
        needed = self.optimizer.needs_moments
        return leave_unknown([seen], self.loss, [self.shrinkage()], needed)[0]

    def _check_combination(self) -> None:
        """Raise ValueError if two choices do not go together."""
        if not self.batch.is_full:
            self._check_batches()
        elif self.gradient.reduces_variance:
            raise ValueError(
                f"gradient {self.gradient.name} corrects the gradients of batches, of which "
                f"batch={self.batch.name} has none: choose batch=minibatch, or gradient=manual"
            )
        if not self.schedule.is_constant and "lr" not in type(self.optimizer).model_fields:
            raise ValueError(
                f"optimizer {self.optimizer.name} has no lr to schedule: "
                "choose schedule=none, or another optimizer"
            )
        if self.has_answer():
            self.loss.check_penalty(self.penalty)
        self.gradient.check_loss(self.loss)
        if self.penalty.absolute():
            self._check_l1()
        if self.gradient.in_float64:
            self.device.check_part(f"gradient {self.gradient.name}", "gradient=manual")
        if self.stop.gradient_norm is not None:
            self.device.check_part("stop.gradient_norm", "stop.excess_loss")
        summarizes = self.gradient.uses_summary
        holds_out = self.split.holds_out()
        check_objective(self.objective, self.loss, self.penalty, summarizes, holds_out)
        if not self.has_answer():
            self._check_without_answer()

    def _check_without_answer(self) -> None:
        """Raise ValueError if a part needs the optimum, which theory=none does not compute."""
        if self.objective == "excess_loss":
            part = "objective=excess_loss"
            remedy = "objective=loss"
        elif self.stop.excess_loss is not None:
            part = "stop.excess_loss"
            remedy = "stop.gradient_norm"
        elif self.optimizer.needs_answer():
            part = f"optimizer {self.optimizer.name}"
            remedy = "another optimizer"
            if "lr" in type(self.optimizer).model_fields:
                remedy = "give its optimizer.lr, and optimizer.momentum if it has one"
        else:
            return
        raise ValueError(
            f"{part} needs the optimum, which theory=none does not compute: "
            f"choose theory=auto, or {remedy}"
        )

    def _check_l1(self) -> None:
        """Raise ValueError if a part needs a smooth penalty."""
        self.optimizer.check_l1(self.penalty.name)
        if self.stop.gradient_norm is not None:
            raise ValueError(
                f"stop.gradient_norm needs a gradient, which penalty {self.penalty.name} has not "
                "where a weight is 0: choose stop.excess_loss"
            )

    def _check_batches(self) -> None:
        """Raise ValueError if a part needs all samples at once."""
        for part in (self.gradient, self.optimizer):
            if not part.supports_batches:
                raise ValueError(
                    f"{part.group} {part.name} works with all samples at once: "
                    f"choose batch=full, or another {part.group}"
                )
        if self.stop.gradient_norm is not None:
            raise ValueError(
                "stop.gradient_norm is of the gradient of all samples: "
                "choose batch=full, or stop.excess_loss"
            )

    def resolved(self, several: bool = False) -> Self:
        """Return this config with its actual device and engine.

        The engine is another if the fit is one of `several`.
        Raise ValueError if the device asked for is absent.
        """
        device = self.device.resolve()
        engine = self.engine.resolve(several, not self.unstackable())
        if device == self.device and engine == self.engine:
            return self
        return self.model_copy(update={"device": device, "engine": engine})

    def unstackable(self) -> list[str]:
        """Return the groups whose component has no stacked rule.

        If there is one, the fit runs in the single engine.
        """
        parts = (self.model, self.loss, self.gradient, self.optimizer, self.schedule)
        groups = [part.group for part in parts if not part.supports_stacking()]
        is_scheduled = not self.schedule.is_constant
        if is_scheduled and not self.optimizer.scales_with_lr() and "schedule" not in groups:
            groups.append("schedule")
        return groups

    def as_dict(self) -> dict[str, Any]:
        """Return the whole config as plain data, which `FitConfig.model_validate` accepts."""
        return self.model_dump(mode="json")

    def numbers(self, data: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return all that decides the numbers, as plain data.

        Sub-seeds are resolved, and data files are represented by the hash of their bytes. `data` is
        `as_dict()`, if the caller has it already.
        """
        if data is None:
            data = self.as_dict()
        fields = {key: copy(value) for key, value in data.items() if key not in NOT_IN_FINGERPRINT}
        parts = [(fields[key], part) for key, part in self if key in fields]
        records = [(own, part) for own, part in parts if isinstance(part, Frozen)]
        for own, part in records:
            for name in part.list_seed_fields():
                if own[name] is None:
                    own[name] = self.seed
        if files := self.dataset.list_files():
            fields["dataset"].pop("path", None)
            fields["data"] = list(map(hash_file, files))
        fields["engine"].pop("memory", None)  # the size of blocks changes no bit
        for own, part in [*records, (fields, self)]:
            for name in part.list_neutral_fields():
                del own[name]
        for section, name in exclude_from_fingerprint(self):
            own = fields[section] if section else fields
            del own[name]
        return fields

    def fingerprint(self) -> str:
        """Return the SHA-256 of the canonical JSON of all that decides the numbers.

        Equal fingerprints mean that equal numbers are expected. A run records the fingerprint of
        its config as it ran: `resolved()`, in a sweep `resolved(several=True)`.
        """
        return hash_data(self.numbers())


def is_seed_key(key: str) -> bool:
    """Return True if a key is a seed.

    A seed only repeats a fit. It is a seed of the config or of a component. A key `seed` of a
    component whose plug-in is not loaded counts too.
    """
    section, _, field = key.partition(".")
    if not field:
        return section in FitConfig.list_seed_fields()
    kinds: list[Any] = []
    if section in GROUPS:
        kinds = list(GROUPS[section].choices.values())
    elif section in FitConfig.model_fields:
        kinds = [FitConfig.model_fields[section].annotation]
    sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Frozen)]
    if field == "seed" and sections:
        return True
    return any(field in kind.list_seed_fields() for kind in sections)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(data: Any) -> str:
    """Return JSON with sorted keys and no spaces.

    Floats are written as Python's repr: the shortest text that reads back exactly.
    """
    return _CANONICAL.encode(data)


def hash_data(data: Any) -> str:
    """Return the SHA-256 of the canonical JSON of plain data."""
    return hashlib.sha256(canonical_json(data).encode()).hexdigest()


def flatten_config(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `{"optimizer": {"lr": 0.1}}` as `{"optimizer.lr": 0.1}`.

    The key of a component's name is that of its group.
    """
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(flatten_config(value, f"{prefix}{key}."))
        elif key == "name" and prefix:
            flat[prefix.removesuffix(".")] = value
        else:
            flat[f"{prefix}{key}"] = value
    return flat
