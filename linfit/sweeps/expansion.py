"""Thousands of jobs from a few compositions: Hydra composes what has structure, values are put into copies of the result.

A job is a list of overrides. What chooses a component, adds, deletes, interpolates or merges is
Hydra's: such overrides of one section are composed once, without those of the others, and the
sections that a job asks for are joined to a base. What replaces one plain value by another
(`optimizer.lr=0.1`) is put into the base. Where that could differ from what Hydra would compose,
Hydra composes the base, or the whole job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, open_dict
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from linfit.config import FitConfig
from linfit.sweeps.composition import complete, load_plugins, plain, require_values, validated
from linfit.sweeps.explanation import notice
from linfit.sweeps.joining import Files, Joiner
from linfit.sweeps.origin import Origin
from linfit.sweeps.overrides import read_raw
from linfit.sweeps.passing import hold_passing_data
from linfit.sweeps.sections import (
    Section,
    Sections,
    build_component,
    follow,
    put,
    sections_of,
    slots_of,
)
from linfit.sweeps.slots import Composed, Parts, Slots, Value, slots, survey

#: Bases and validated components that are remembered: a grid needs few of them, random draws never repeat.
MAX_BASES, MAX_COMPONENTS = 256, 4096
#: Bases that Hydra composes whole before any are joined, which would cost a small sweep as much.
WHOLE_BASES = 4


@dataclass(frozen=True, eq=False)
class Base:
    """What Hydra composes of some overrides, and where values may be put into it."""

    overrides: tuple[str, ...]
    sections: Sections
    slots: Slots
    touched: frozenset[str]
    """Sections that composed values touch: a value for them would have to keep its place among these."""
    joined: bool = False
    """The overrides were composed section by section."""

    @cached_property
    def data(self) -> dict[str, Any]:
        """All sections as plain data."""
        return {name: section.data for name, section in self.sections.items()}

    def takes(self, values: Sequence[Value]) -> bool:
        """Return True if values may be put into it, and nothing in it is about the job itself."""
        if values and "hydra" in self.touched:
            return False
        return self.slots.closed and all(map(self._takes, values))

    def _takes(self, value: Value) -> bool:
        keys, references, _ = self.slots
        fits = value.key in keys or (value.key in references and not isinstance(value.value, list))
        return fits and value.section not in self.touched


@dataclass(frozen=True, eq=False)
class Plan:
    """What the jobs share that put values for the same keys into the same base: their fields, validated where no value is put."""

    fields: dict[str, Any]
    references: Mapping[str, str]


class Expansion:
    """The configs of the jobs of a sweep; `config` is what Hydra composed for the sweep itself."""

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        assert isinstance(
            loader, ConfigLoaderImpl
        )  # the only one there is; it knows which keys are groups
        self.config, self.loader = config, loader
        self.experiment = str(config.hydra.job.config_name)
        self._hydra_overrides = read_raw(config.hydra.overrides.hydra)
        self._parts = Parts(loader, self.experiment, self._hydra_overrides)
        self._closed = slots(survey(config).values()).closed
        self._whole = 0
        self._told: set[str] = set()
        self._loaded: list[Any] = []
        self._base = lru_cache(MAX_BASES)(self._new_base)
        files = Files(self._parts.files, self.experiment, self._hydra_overrides)
        self._joiner = Joiner(files, self._sections)
        self._experiments = self._origin(())
        self._plan = lru_cache(MAX_BASES)(self._new_plan)
        self._component = lru_cache(MAX_COMPONENTS)(self._new_component)

    def composed(self, overrides: Sequence[str], number: int | None = None) -> DictConfig:
        """The job as Hydra composes it: the long way, which the short way has to equal."""
        composed = self.loader.load_sweep_config(self.config, list(overrides))
        if number is not None:
            with open_dict(composed):
                composed.hydra.job.id, composed.hydra.job.num = str(number), number
        return composed

    def _origin(self, overrides: Sequence[str], base: Origin | None = None) -> Origin:
        return Origin(self.experiment, overrides, self.loader, self._hydra_overrides, base)

    def data(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The job as plain data: what `plain(composed(overrides))` is."""
        found = self._short(overrides)
        if found is None:
            return plain(self.composed(overrides))
        base, values = found
        derived = _derived(values, base.slots.references)
        return put(
            base.data,
            [((value.section, *value.path), value.value) for value in (*values, *derived)],
        )

    def fit_config(self, overrides: Sequence[str], number: int | None = None) -> FitConfig:
        """The fit config of a job, which may refer to its number; ConfigError where it is invalid, and what Hydra raises where it cannot be composed."""
        found = self._short(overrides)
        if found is None:
            return validated(
                plain(self.composed(overrides, number)), self._origin(overrides), self._tell
            )
        try:
            return self._validated(*found)
        except (
            ValidationError,
            PydanticCustomError,
        ):  # validated as a whole, which names the key with its group
            return validated(self.data(overrides), self._origin(overrides), self._tell)

    def _short(self, overrides: Sequence[str]) -> tuple[Base, list[Value]] | None:
        """The base and the values to put in, or None where Hydra has to compose the whole job."""
        if not self._closed:  # nor are most bases
            return None
        parts = [self._parts.read(override) for override in overrides]
        try:
            base = self._base(tuple(part for part in parts if isinstance(part, Composed)))
        except (
            Exception
        ):  # of any kind: without its values the base may be wrong, and with them right
            return None
        values = [part for part in parts if isinstance(part, Value)]
        return (base, values) if base.takes(values) else None

    def _new_base(self, parts: tuple[Composed, ...]) -> Base:
        texts = tuple(part.text for part in parts)
        merged = (part for part in parts if not part.chooses)
        touched = frozenset(part.section for part in merged if part.section is not None)
        joined = self._joiner.join(parts) if self._whole >= WHOLE_BASES else None
        if joined is not None and (found := slots_of(joined)).closed:
            return Base(texts, follow(joined, found.references), found, touched, joined=True)
        self._whole += 1
        sections = self._sections(texts)
        return Base(texts, sections, slots_of(sections), touched)

    def _sections(self, overrides: Sequence[str]) -> Sections:
        return sections_of(self.composed(overrides))

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
        return hold_passing_data(FitConfig.model_validate(fields))

    def _new_plan(self, base: Base, keys: tuple[str, ...]) -> Plan:
        overrides = [*base.overrides, *(f"{key}=" for key in keys)]
        origin = self._origin(overrides, self._experiments if base.joined else None)
        self._load_plugins(base.data.get("plugins") or [])
        data = complete(base.data, origin, self._tell)
        require_values(data, keys)
        references = {
            key: other
            for key, other in base.slots.references.items()
            if other in keys and _has(data, key)
        }
        touched = {key.partition(".")[0] for key in (*keys, *references)}
        fields = {
            name: part if name in touched else _component(base, name, part)
            for name, part in data.items()
        }
        return Plan(fields, references)

    def _new_component(self, plan: Plan, section: str, values: tuple[Value, ...]) -> Any:
        return build_component(
            section, put(plan.fields[section], [(value.path, value.value) for value in values])
        )

    def _load_plugins(self, modules: Any) -> None:
        """Load plug-ins once: looking for installed ones takes longer than the rest of a job."""
        if modules not in self._loaded:
            load_plugins(modules)
            self._loaded.append(modules)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            notice(text)


def _derived(values: Sequence[Value], references: Mapping[str, str]) -> list[Value]:
    """The values of the keys that refer to a key for which there is a value, and have none of their own."""
    if not references:
        return []
    given = {value.key: value.value for value in values}
    return [
        Value.of(key, given[other])
        for key, other in references.items()
        if other in given and key not in given
    ]


def _has(data: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _component(base: Base, name: str, part: Any) -> Any:
    """Return the component of a section: that of the base, unless some of its values were dropped."""
    section = base.sections.get(name)
    if section is None or section.data is not part:
        section = Section(name, part, {})
    return section.component
