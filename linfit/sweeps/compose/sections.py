"""Sections of a composed config: its top-level keys, with plain data and slots for values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from omegaconf import DictConfig
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from linfit.component import Frozen
from linfit.config import GROUPS, FitConfig
from linfit.sweeps.compose.compose import resolve_composed
from linfit.sweeps.compose.fast_path import SectionSurvey, Slots, locate_slots, merge_surveys


@dataclass(frozen=True, eq=False)
class ConfigSection:
    """A top-level key of a composed config."""

    name: str
    data: Any
    survey: SectionSurvey

    @cached_property
    def component(self) -> Any:
        """The validated component, or the plain data if invalid.

        Each job reports the mistake with its key then.
        """
        try:
            return build_component(self.name, self.data)
        except (ValidationError, PydanticCustomError):
            return self.data


Sections = Mapping[str, ConfigSection]


def build_component(section: str, data: Any) -> Any:
    """Return the component of a section's data.

    A section without a type is returned as its data.
    """
    if section in GROUPS:
        return GROUPS[section].choose(data)
    field = FitConfig.model_fields.get(section)
    if field is None:
        return data
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, Frozen):
        return kind.model_validate(data)
    return data


def read_sections(composed: DictConfig) -> Sections:
    """Return the sections of a composed config."""
    surveys = locate_slots(composed)
    sections = {}
    for name, data in resolve_composed(composed).items():
        sections[name] = ConfigSection(name, data, surveys[name])
    return sections


def collect_slots(sections: Sections) -> Slots:
    """Return the slots of sections, which may refer to each other."""
    return merge_surveys(section.survey for section in sections.values())


def follow_references(sections: Sections, references: Mapping[str, str]) -> Sections:
    """Return the sections with each reference replaced by its value."""
    followed = dict(sections)
    for key, other in references.items():
        name, *path = key.split(".")
        source, *steps = other.split(".")
        value = followed[source].data
        for step in steps:
            value = value[step]
        section = followed[name]
        if path:
            value = put_values(section.data, [(tuple(path), value)])
        followed[name] = replace(section, data=value)
    return followed


def put_values(
    tree: dict[str, Any], values: Iterable[tuple[tuple[str, ...], Any]]
) -> dict[str, Any]:
    """Return a copy of `tree` with a value at each path.

    The copy shares the rest with `tree`.
    """
    for (key, *rest), value in values:
        if rest:
            value = put_values(tree[key], [(tuple(rest), value)])
        tree = {**tree, key: value}
    return tree
