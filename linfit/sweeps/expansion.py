"""Thousands of jobs from a few compositions: values are put into copies of a composed config.

A job is a list of overrides. Hydra composes overrides that choose a component, add, delete,
interpolate or merge: those of one section are composed once, without those of the others, and the
sections that a job asks for are joined to a base. An override that replaces one plain value by
another (`optimizer.lr=0.1`) is put into the base. Where that could differ from a composition by
Hydra, Hydra composes the base, or the whole job.
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

#: Bases that are remembered: a grid needs few of them.
MAX_BASES = 256
#: Validated components that are remembered: random draws never repeat.
MAX_COMPONENTS = 4096
#: Bases that Hydra composes whole before any are joined; a small sweep gains nothing by joining.
WHOLE_BASES = 4


@dataclass(frozen=True, eq=False)
class Base:
    """A composed config, and where values may be put into it."""

    overrides: tuple[str, ...]
    sections: Sections
    slots: Slots
    touched: frozenset[str]
    """Sections that merged overrides change: the order of a value among these would count."""
    joined: bool = False
    """The overrides were composed section by section."""

    @cached_property
    def data(self) -> dict[str, Any]:
        """All sections as plain data."""
        return {name: section.data for name, section in self.sections.items()}

    def takes(self, values: Sequence[Value]) -> bool:
        """Return True if values may be put in, and nothing in the base depends on the job."""
        if values and "hydra" in self.touched:
            return False
        return self.slots.closed and all(map(self._takes, values))

    def _takes(self, value: Value) -> bool:
        if value.section in self.touched:
            return False
        if value.key in self.slots.keys:
            return True
        return value.key in self.slots.references and not isinstance(value.value, list)


@dataclass(frozen=True, eq=False)
class Plan:
    """Fields shared by jobs that put values for the same keys into the same base.

    Fields into which no value is put are validated already.
    """

    fields: dict[str, Any]
    references: Mapping[str, str]


class Expansion:
    """Composes the jobs of a sweep; `config` is the composed config of the sweep itself."""

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        # The only loader that Hydra has: it knows which keys are groups.
        assert isinstance(loader, ConfigLoaderImpl)
        self.config = config
        self.loader = loader
        self.experiment = str(config.hydra.job.config_name)
        self._hydra_overrides = read_raw(config.hydra.overrides.hydra)
        self._parts = Parts(loader, self.experiment, self._hydra_overrides)
        self._closed = slots(survey(config).values()).closed
        self._whole = 0
        # Each note is told once, however many jobs it concerns.
        self._tell = lru_cache(None)(notice)
        self._loaded: list[Any] = []
        files = Files(self._parts.files, self.experiment, self._hydra_overrides)
        self._joiner = Joiner(files, self._sections)
        self._experiments = self._origin(())
        self._base = lru_cache(MAX_BASES)(self._new_base)
        self._plan = lru_cache(MAX_BASES)(self._new_plan)
        self._component = lru_cache(MAX_COMPONENTS)(self._new_component)

    def composed(self, overrides: Sequence[str], number: int | None = None) -> DictConfig:
        """Let Hydra compose the whole job: `data` has to return equal values."""
        composed = self.loader.load_sweep_config(self.config, list(overrides))
        if number is not None:
            with open_dict(composed):
                composed.hydra.job.id = str(number)
                composed.hydra.job.num = number
        return composed

    def data(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the job as plain data, equal to `plain(composed(overrides))`."""
        found = self._find_base(overrides)
        if found is None:
            return plain(self.composed(overrides))
        base, values = found
        filled = (*values, *_derived(values, base.slots.references))
        return put(base.data, [((value.section, *value.path), value.value) for value in filled])

    def fit_config(self, overrides: Sequence[str], number: int | None = None) -> FitConfig:
        """Return the fit config of a job, which may refer to its number.

        ConfigError if it is invalid. Raises Hydra's exceptions if it cannot be composed.
        """
        found = self._find_base(overrides)
        if found is None:
            data = plain(self.composed(overrides, number))
        else:
            try:
                return self._validated(*found)
            except (ValidationError, PydanticCustomError):
                # Validated as a whole, the config names the key with its group.
                data = self.data(overrides)
        return validated(data, self._origin(overrides), self._tell)

    def _origin(self, overrides: Sequence[str], base: Origin | None = None) -> Origin:
        return Origin(self.experiment, overrides, self.loader, self._hydra_overrides, base)

    def _find_base(self, overrides: Sequence[str]) -> tuple[Base, list[Value]] | None:
        """Return the base and the values to put in, None if Hydra has to compose the job."""
        if not self._closed:
            return None  # most bases would not be closed either
        parts = [self._parts.read(override) for override in overrides]
        try:
            base = self._base(tuple(part for part in parts if isinstance(part, Composed)))
        except Exception:  # any error: with its values the config may be right
            return None
        values = [part for part in parts if isinstance(part, Value)]
        return (base, values) if base.takes(values) else None

    def _new_base(self, parts: tuple[Composed, ...]) -> Base:
        texts = tuple(part.text for part in parts)
        merged = {part.section for part in parts if not part.chooses}
        touched = frozenset(filter(None, merged))
        if self._whole >= WHOLE_BASES:
            joined = self._joiner.join(parts)
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
        fields = dict(data)
        for name in data.keys() - touched:
            fields[name] = _component(base, name, data[name])
        return Plan(fields, references)

    def _new_component(self, plan: Plan, section: str, values: tuple[Value, ...]) -> Any:
        filled = put(plan.fields[section], [(value.path, value.value) for value in values])
        return build_component(section, filled)

    def _load_plugins(self, modules: Any) -> None:
        """Load plug-ins once: finding installed ones takes longer than the rest of a job."""
        if modules not in self._loaded:
            load_plugins(modules)
            self._loaded.append(modules)


def _derived(values: Sequence[Value], references: Mapping[str, str]) -> list[Value]:
    """Return the values of keys that refer to a key with a value, and have none of their own."""
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
    """Return the component of a section of the base, or of data that replaced it."""
    section = base.sections.get(name)
    if section is None or section.data is not part:
        section = Section(name, part, {})
    return section.component
