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
from linfit.sweeps.compose.compose import (
    load_plugins,
    normalize_data,
    require_values,
    resolve_composed,
    validate_data,
)
from linfit.sweeps.compose.fast_path import (
    ComposedOverride,
    OverrideReader,
    PlacedValue,
    Slots,
    locate_slots,
    merge_surveys,
)
from linfit.sweeps.compose.joining import ConfigFiles, SectionJoiner
from linfit.sweeps.compose.origin import Origin
from linfit.sweeps.compose.piped_data import hold_passing_data
from linfit.sweeps.compose.sections import (
    ConfigSection,
    Sections,
    build_component,
    collect_slots,
    follow_references,
    put_values,
    read_sections,
)
from linfit.sweeps.config_files.messages import notify_user
from linfit.sweeps.config_files.overrides import read_raw_overrides

#: Bases that are remembered: a grid needs few of them.
MAX_BASES = 256
#: Validated components that are remembered: random draws never repeat.
MAX_COMPONENTS = 4096
#: Bases that Hydra composes whole before any are joined; a small sweep gains nothing by joining.
WHOLE_BASES = 4


@dataclass(frozen=True, eq=False)
class JobBase:
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

    def can_take(self, values: Sequence[PlacedValue]) -> bool:
        """Return True if values may be put into the base.

        That is so if nothing in the base depends on the job.
        """
        if values and "hydra" in self.touched:
            return False
        return self.slots.closed and all(map(self._takes, values))

    def _takes(self, value: PlacedValue) -> bool:
        if value.section in self.touched:
            return False
        if value.key in self.slots.keys:
            return True
        return value.key in self.slots.references and not isinstance(value.value, list)


@dataclass(frozen=True, eq=False)
class ValidationPlan:
    """Fields of jobs that put the same keys into one base.

    Fields into which no value is put are validated already.
    """

    fields: dict[str, Any]
    references: Mapping[str, str]


class JobComposer:
    """Composes the jobs of a sweep.

    `config` is the composed config of the sweep itself.
    """

    def __init__(self, config: DictConfig, loader: ConfigLoader) -> None:
        # The only loader that Hydra has: it knows which keys are groups.
        assert isinstance(loader, ConfigLoaderImpl)
        self.config = config
        self.loader = loader
        self.experiment = str(config.hydra.job.config_name)
        self._hydra_overrides = read_raw_overrides(config.hydra.overrides.hydra)
        self._parts = OverrideReader(loader, self.experiment, self._hydra_overrides)
        self._closed = merge_surveys(locate_slots(config).values()).closed
        self._whole = 0
        # Each note is told once, however many jobs it concerns.
        self._tell = lru_cache(None)(notify_user)
        self._loaded: list[Any] = []
        files = ConfigFiles(self._parts.files, self.experiment, self._hydra_overrides)
        self._joiner = SectionJoiner(files, self._sections)
        self._experiments = self._origin(())
        self._base = lru_cache(MAX_BASES)(self._new_base)
        self._plan = lru_cache(MAX_BASES)(self._new_plan)
        self._component = lru_cache(MAX_COMPONENTS)(self._new_component)

    def compose_job(self, overrides: Sequence[str], number: int | None = None) -> DictConfig:
        """Let Hydra compose the job; `resolve_job` has to return equal values."""
        composed = self.loader.load_sweep_config(self.config, list(overrides))
        if number is not None:
            with open_dict(composed):
                composed.hydra.job.id = str(number)
                composed.hydra.job.num = number
        return composed

    def resolve_job(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Return the job as plain data, equal to `resolve_composed(composed(overrides))`."""
        found = self._find_base(overrides)
        if found is None:
            return resolve_composed(self.compose_job(overrides))
        base, values = found
        filled = (*values, *_derived(values, base.slots.references))
        return put_values(
            base.data, [((value.section, *value.path), value.value) for value in filled]
        )

    def validate_job(self, overrides: Sequence[str], number: int | None = None) -> FitConfig:
        """Return the fit config of a job.

        It may refer to its number. ConfigError if it is invalid. Raises Hydra's exceptions if it
        cannot be composed.
        """
        found = self._find_base(overrides)
        if found is None:
            data = resolve_composed(self.compose_job(overrides, number))
        else:
            try:
                return self._validated(*found)
            except (ValidationError, PydanticCustomError):
                # Validated as a whole, the config names the key with its group.
                data = self.resolve_job(overrides)
        return validate_data(data, self._origin(overrides), self._tell)

    def _origin(self, overrides: Sequence[str], base: Origin | None = None) -> Origin:
        return Origin(self.experiment, overrides, self.loader, self._hydra_overrides, base)

    def _find_base(self, overrides: Sequence[str]) -> tuple[JobBase, list[PlacedValue]] | None:
        """Return the base and the values to put in, None if Hydra has to compose the job."""
        if not self._closed:
            return None  # most bases would not be closed either
        composed: list[ComposedOverride] = []
        values: list[PlacedValue] = []
        for part in map(self._parts.read, overrides):
            if isinstance(part, PlacedValue):
                values.append(part)
            else:
                composed.append(part)
        try:
            base = self._base(tuple(composed))
        except Exception:  # any error: with its values the config may be right
            return None
        if not base.can_take(values):
            return None
        return base, values

    def _new_base(self, parts: tuple[ComposedOverride, ...]) -> JobBase:
        texts = tuple(part.text for part in parts)
        touched = frozenset(part.section for part in parts if part.section and not part.chooses)
        if self._whole >= WHOLE_BASES:
            joined = self._joiner.join_sections(parts)
            if joined is not None and (found := collect_slots(joined)).closed:
                return JobBase(
                    texts, follow_references(joined, found.references), found, touched, joined=True
                )
        self._whole += 1
        sections = self._sections(texts)
        return JobBase(texts, sections, collect_slots(sections), touched)

    def _sections(self, overrides: Sequence[str]) -> Sections:
        return read_sections(self.compose_job(overrides))

    def _validated(self, base: JobBase, values: list[PlacedValue]) -> FitConfig:
        plan = self._plan(base, tuple(value.key for value in values))
        fields = dict(plan.fields)
        inside: dict[str, tuple[PlacedValue, ...]] = {}
        for value in (*values, *_derived(values, plan.references)):
            if value.path:
                inside[value.section] = (*inside.get(value.section, ()), value)
            else:
                fields[value.section] = value.value
        for section, own in inside.items():
            fields[section] = self._component(plan, section, own)
        return hold_passing_data(FitConfig.model_validate(fields))

    def _new_plan(self, base: JobBase, keys: tuple[str, ...]) -> ValidationPlan:
        overrides = [*base.overrides, *(f"{key}=" for key in keys)]
        origin = self._origin(overrides, self._experiments if base.joined else None)
        self._load_plugins(base.data.get("plugins") or [])
        data = normalize_data(base.data, origin, self._tell)
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
        return ValidationPlan(fields, references)

    def _new_component(
        self, plan: ValidationPlan, section: str, values: tuple[PlacedValue, ...]
    ) -> Any:
        filled = put_values(plan.fields[section], [(value.path, value.value) for value in values])
        return build_component(section, filled)

    def _load_plugins(self, modules: Any) -> None:
        """Load plug-ins once: finding installed ones takes longer than the rest of a job."""
        if modules not in self._loaded:
            load_plugins(modules)
            self._loaded.append(modules)


def _derived(values: Sequence[PlacedValue], references: Mapping[str, str]) -> list[PlacedValue]:
    """Return the values of keys that refer to a key with a value, and have none of their own."""
    if not references:
        return []
    given = {value.key: value.value for value in values}
    derived = []
    for key, other in references.items():
        if other in given and key not in given:
            derived.append(PlacedValue.at_key(key, given[other]))
    return derived


def _has(data: Any, key: str) -> bool:
    for part in key.split("."):
        if not isinstance(data, dict) or part not in data:
            return False
        data = data[part]
    return True


def _component(base: JobBase, name: str, part: Any) -> Any:
    """Return the component of a section of the base, or of data that replaced it."""
    section = base.sections.get(name)
    if section is None or section.data is not part:
        section = ConfigSection(name, part, {})
    return section.component
