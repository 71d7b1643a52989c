"""What there is to choose from: experiments and components with one line each, and a component's fields.

A field is described where it is set: in the comment behind its value in the component's YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from linfit.component import Component, unknown
from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps import locations
from linfit.sweeps.composition import load_plugins, new_loader
from linfit.sweeps.explanation import UNCOMPOSED, explain_composition

#: How comments begin that are not for readers.
HEADERS = ("@package", "yaml-language-server")
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


def question(experiment: str) -> str:
    """What the experiment's file asks, in the comment at its top, without the command that the comment may end with."""
    file = locations.experiments().get(experiment)
    return (
        headline(file)
        .removesuffix(f": linfit run {experiment}")
        .removesuffix(f"linfit run {experiment}")
        .strip()
        if file
        else ""
    )


def groups() -> dict[str, dict[str, str]]:
    """Each config group's components, each with its one line."""
    load_plugins(())
    return {group: {name: about(group, name) for name in choices(group)} for group in GROUPS}


def names() -> list[str]:
    """What `linfit list` takes: `experiments`, each group, and each component as GROUP/NAME."""
    return [
        "experiments",
        *GROUPS,
        *(f"{group}/{name}" for group in GROUPS for name in choices(group)),
    ]


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
    load_plugins(())
    given = _settings_of(group, name)
    known = _class_of(group, name)
    schema = known.model_json_schema() if known is not None else {}
    properties, definitions = schema.get("properties", {}), schema.get("$defs", {})
    fields = [
        Field(key, value, _allowed(properties.get(key, {}), definitions), comment)
        for key, (value, comment) in given.items()
        if key != "name"
    ]
    own = known is not None and name == known.model_fields["name"].default
    documentation = (known.__doc__ if known is not None else None) or ""
    asked = headline(locations.components(group)[name])
    return (documentation or asked if own else asked or documentation), fields


def _class_of(group: str, name: str) -> type[Component] | None:
    """Return the class of a component's YAML: of its own name, or of the one that its `name` chooses."""
    known = GROUPS[group].choices.get(name)
    return (
        known
        if known is not None
        else GROUPS[group].choices.get(_settings_of(group, name).get("name", ("", ""))[0])
    )


def _settings_of(group: str, name: str) -> dict[str, tuple[str, str]]:
    """Return (value, comment) of each key that a component's files give; a later file wins."""
    found: dict[str, tuple[str, str]] = {}
    for file in _files_of(group, name):
        for key, value, comment in settings(file):
            found[key] = value, comment or found.get(key, ("", ""))[1]
    return {key: given for key, given in found.items() if key.partition(".")[0] != "defaults"}


def _files_of(group: str, name: str) -> list[Path]:
    """Return the files that make a component, in the order in which Hydra merges them: what its `defaults` name, and its own."""
    file = locations.components(group)[name]
    if not any(key == "defaults" for key, _, _ in settings(file)):
        return [file]
    loader = new_loader()
    try:
        merged = loader.compute_defaults_list(
            locations.TOP, [f"{group}={name}"], RunMode.RUN
        ).defaults
    except (*UNCOMPOSED, ValueError, OSError) as error:
        raise ConfigError(explain_composition(error, loader, locations.TOP)) from error
    return [
        locations.config_file(str(part.config_path)) for part in merged if part.package == group
    ]


def headline(file: Path) -> str:
    """The first comment of a YAML file, without the headers that Hydra and editors read."""
    lines = [
        line.lstrip("# ").strip()
        for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        if line.startswith("#")
    ]
    return next((line for line in lines if not line.startswith(HEADERS)), "")


def comments(file: Path) -> dict[str, str]:
    """The comment behind each value of a YAML file, by dotted key."""
    return {key: comment for key, _, comment in settings(file) if comment}


def settings(file: Path) -> list[tuple[str, str, str]]:
    """(dotted key, value, comment) of a YAML file that has one key a line, two more spaces for each level."""
    found, above = [], ""
    for line in file.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        setting, _, comment = line.partition(" # ")
        key, colon, value = setting.strip().partition(":")
        depth = (len(line) - len(line.lstrip())) // 2
        if colon and key.isidentifier():
            above = ".".join([*above.split(".")[:depth], key])
            found.append((above, value.strip(), comment.strip()))
    return found


def _allowed(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A field's JSON schema in words: `number > 0`."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part, definitions) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    bounds = [
        f"{sign} {schema[key]:g}"
        for key, sign in _BOUNDS.items()
        if key in schema and abs(schema[key]) < 2**62
    ]
    items = schema.get("items") or (schema.get("prefixItems") or [None])[0]
    inner = f" of {_allowed(items, definitions)}" if items else ""
    return " ".join([schema.get("type", "") + inner, *bounds]).strip()
