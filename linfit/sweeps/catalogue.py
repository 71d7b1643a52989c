"""What there is to choose from: experiments and components with one line each, and a component's fields.

A field is described where it is set: in the comment behind its value in the component's YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linfit.component import Component, unknown
from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps import locations
from linfit.sweeps.composition import load_plugins

_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


@dataclass(frozen=True)
class Field:
    """One hyperparameter of a component, as its YAML sets it and its class constrains it."""

    key: str
    value: str
    allowed: str
    about: str


def experiments() -> dict[str, str]:
    """Each experiment with the question it asks: the comment at its top."""
    return {name: headline(file) for name, file in locations.experiments().items()}


def groups() -> dict[str, dict[str, str]]:
    """Each config group's components, each with its one line."""
    load_plugins(())
    return {group: {name: about(group, name) for name in choices(group)} for group in GROUPS}


def choices(group: str) -> list[str]:
    """The names that `group=NAME` takes: what has a YAML file."""
    if group not in GROUPS:
        raise ConfigError(unknown("group", group, [*GROUPS, "experiments"]))
    return list(locations.components(group))


def about(group: str, name: str) -> str:
    component = GROUPS[group].choices.get(name)
    return headline(locations.components(group)[name]) if component is None else summary(component)


def summary(component: type[Component]) -> str:
    return (component.__doc__ or "").strip().splitlines()[0]


def component(group: str, name: str) -> tuple[str, list[Field]]:
    """A component's documentation and its fields; ConfigError for a name that is not there."""
    if name not in choices(group):
        raise ConfigError(unknown(group, name, choices(group)))
    file = locations.components(group)[name]
    known = GROUPS[group].choices.get(name)
    schema = known.model_json_schema() if known is not None else {}
    properties, definitions = schema.get("properties", {}), schema.get("$defs", {})
    fields = [
        Field(key, value, _allowed(properties.get(key, {}), definitions), comment) for key, value, comment in _lines(file) if key != "name"
    ]
    return (known.__doc__ if known is not None and known.__doc__ else headline(file)), fields


def headline(file: Path) -> str:
    """The first comment of a YAML file, without the header that Hydra reads."""
    lines = [line.lstrip("# ").strip() for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((line for line in lines if not line.startswith("@package")), "")


def _lines(file: Path) -> list[tuple[str, str, str]]:
    """(key, value, comment) of a component's YAML, which has one key a line."""
    parts = [line.partition(" # ") for line in file.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    return [(*map(str.strip, setting.split(":", 1)), comment.strip()) for setting, _, comment in parts]  # type: ignore[misc]


def _allowed(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A field's JSON schema in words: `number > 0`."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part, definitions) for part in schema["anyOf"])
    bounds = [f"{sign} {schema[key]:g}" for key, sign in _BOUNDS.items() if key in schema and abs(schema[key]) < 2**62]
    items = schema.get("items") or (schema.get("prefixItems") or [None])[0]
    inner = f" of {_allowed(items, definitions)}" if items else ""
    return " ".join([schema.get("type", "") + inner, *bounds]).strip()
