"""Thousands of jobs from a few compositions: Hydra composes what has structure, values are put into copies of the result.

A job is a list of overrides. What chooses a component, adds, deletes, interpolates or merges is Hydra's: each distinct set
of such overrides is composed once, and is called a base. What replaces one plain value by another (`optimizer.lr=0.1`) is
put into the base. Where that could differ from what Hydra would compose, Hydra composes the whole job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from linfit.component import Frozen
from linfit.config import GROUPS, FitConfig
from linfit.sweeps.composition import complete, plain, require_values, validated
from linfit.sweeps.explanation import notice
from linfit.sweeps.slots import Composed, Parts, Value, slots

#: Bases and validated components that are remembered: a grid needs few of them, random draws never repeat.
MAX_BASES, MAX_COMPONENTS = 256, 4096


@dataclass(frozen=True, eq=False)
class Base:
    """What Hydra composed, as plain data, and where values may be put into it."""

    overrides: tuple[str, ...]
    data: dict[str, Any]
    slots: frozenset[str]
    references: Mapping[str, str]
    """Keys that are `${another}` key, and that other key, which is a slot."""
    closed: bool
    """Nothing but the references depends on what is put in."""
    touched: frozenset[str]
    """Sections that composed values touch: a value for them would have to keep its place among these."""

    def takes(self, values: Sequence[Value]) -> bool:
        return not values or (self.closed and all(self._takes(value) for value in values))

    def _takes(self, value: Value) -> bool:
        fits = value.key in self.slots or (value.key in self.references and not isinstance(value.value, list))
        return fits and value.section not in self.touched


@dataclass(frozen=True, eq=False)
class Plan:
    """What the jobs share that put values for the same keys into the same base: their fields, validated where no value is put."""

    fields: dict[str, Any]
    references: Mapping[str, str]


class Expansion:
    """The configs of the jobs of a sweep; `config` is what Hydra composed for the sweep itself."""

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        assert isinstance(loader, ConfigLoaderImpl)  # the only one there is; it knows which keys are groups
        self.config, self.loader = config, loader
        self.experiment = str(config.hydra.job.config_name)
        self._parts = Parts(loader, self.experiment, list(config.hydra.overrides.hydra))
        self._told: set[str] = set()
        self._base = lru_cache(MAX_BASES)(self._new_base)
        self._plan = lru_cache(MAX_BASES)(self._new_plan)
        self._component = lru_cache(MAX_COMPONENTS)(self._new_component)

    def composed(self, overrides: Sequence[str]) -> DictConfig:
        """The job as Hydra composes it: the long way, which the short way has to equal."""
        return self.loader.load_sweep_config(self.config, list(overrides))

    def data(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The job as plain data: what `plain(composed(overrides))` is."""
        found = self._short(overrides)
        if found is None:
            return plain(self.composed(overrides))
        base, values = found
        derived = _derived(values, base.references)
        return put(base.data, [((value.section, *value.path), value.value) for value in (*values, *derived)])

    def fit_config(self, overrides: Sequence[str]) -> FitConfig:
        """The job's fit config; ConfigError where it is invalid, and what Hydra raises where it cannot be composed."""
        found = self._short(overrides)
        if found is None:
            return validated(plain(self.composed(overrides)), overrides, self.experiment, self._tell)
        try:
            return self._validated(*found)
        except (ValidationError, PydanticCustomError):  # validated as a whole, which names the key with its group
            return validated(self.data(overrides), overrides, self.experiment, self._tell)

    def _short(self, overrides: Sequence[str]) -> tuple[Base, list[Value]] | None:
        """The base and the values to put in, or None where Hydra has to compose the whole job."""
        parts = [self._parts.read(override) for override in overrides]
        try:
            base = self._base(tuple(part for part in parts if isinstance(part, Composed)))
        except Exception:  # of any kind: without its values the base may be wrong, and with them right
            return None
        values = [part for part in parts if isinstance(part, Value)]
        return (base, values) if base.takes(values) else None

    def _new_base(self, parts: tuple[Composed, ...]) -> Base:
        overrides = tuple(part.text for part in parts)
        composed = self.composed(overrides)
        found = slots(composed)
        touched = frozenset(part.section for part in parts if part.section is not None)
        return Base(overrides, plain(composed), found.keys, found.references, found.closed and "hydra" not in touched, touched)

    def _validated(self, base: Base, values: list[Value]) -> FitConfig:
        plan = self._plan(base, tuple(value.key for value in values))
        fields = dict(plan.fields)
        inside: dict[str, tuple[Value, ...]] = {}
        for value in (*values, *_derived(values, plan.references)):
            if value.path:
                inside[value.section] = (*inside.get(value.section, ()), value)
            else:
                fields[value.section] = value.value
        for section, own in inside.items():
            fields[section] = self._component(plan, section, own)
        return FitConfig.model_validate(fields)

    def _new_plan(self, base: Base, keys: tuple[str, ...]) -> Plan:
        data = complete(base.data, [*base.overrides, *(f"{key}=" for key in keys)], self.experiment, self._tell)
        require_values(data, keys)
        references = {key: other for key, other in base.references.items() if other in keys and _has(data, key)}
        touched = {key.partition(".")[0] for key in (*keys, *references)}
        return Plan({key: part if key in touched else _try_component(key, part) for key, part in data.items()}, references)

    def _new_component(self, plan: Plan, section: str, values: tuple[Value, ...]) -> Any:
        return _component(section, put(plan.fields[section], [(value.path, value.value) for value in values]))

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            notice(text)


def put(tree: dict[str, Any], values: Iterable[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    """A copy of `tree` with a value at each path; what lies beside the paths is shared with `tree`."""
    for (key, *rest), value in values:
        tree = {**tree, key: put(tree[key], [(tuple(rest), value)]) if rest else value}
    return tree


def _derived(values: Sequence[Value], references: Mapping[str, str]) -> list[Value]:
    """The values of the keys that refer to a key for which there is a value, and have none of their own."""
    if not references:
        return []
    given = {value.key: value.value for value in values}
    return [Value.of(key, given[other]) for key, other in references.items() if other in given and key not in given]


def _has(data: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _component(section: str, data: Any) -> Any:
    if section in GROUPS:
        return GROUPS[section].choose(data)
    field = FitConfig.model_fields.get(section)
    kind = field.annotation if field is not None else None
    return kind.model_validate(data) if isinstance(kind, type) and issubclass(kind, Frozen) else data


def _try_component(section: str, data: Any) -> Any:
    try:
        return _component(section, data)
    except (ValidationError, PydanticCustomError):
        return data  # every job will say so, with the whole key
