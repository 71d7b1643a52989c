"""Catalogue of experiments and components with one line each, and of a component's fields.

A field's description is the comment behind its value in the component's YAML.
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

#: Beginnings of comments that Hydra and editors read.
HEADERS = ("@package", "yaml-language-server")
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


@dataclass(frozen=True)
class Field:
    """One hyperparameter of a component, as set in its YAML and constrained by its class."""

    key: str
    value: str
    allowed: str
    about: str


def experiments() -> dict[str, str]:
    """Return each experiment's question, the comment at its top."""
    return {name: headline(file) for name, file in locations.experiments().items()}


def question(experiment: str) -> str:
    """Return the question of an experiment's file, without the command at its end."""
    file = locations.experiments().get(experiment)
    if file is None:
        return ""
    command = f"linfit run {experiment}"
    return headline(file).removesuffix(f": {command}").removesuffix(command).strip()


def groups() -> dict[str, dict[str, str]]:
    """Return each config group's components, each with its one line."""
    load_plugins(())
    return {group: {name: about(group, name) for name in choices(group)} for group in GROUPS}


def names() -> list[str]:
    """Return the arguments of `linfit list`: `experiments`, GROUP and GROUP/NAME."""
    listed = ["experiments", *GROUPS]
    for group in GROUPS:
        listed += [f"{group}/{name}" for name in choices(group)]
    return listed


def choices(group: str) -> list[str]:
    """Return the values of `group=NAME`, which have a YAML file."""
    if group not in GROUPS:
        raise ConfigError(unknown("group", group, [*GROUPS, "experiments"]))
    return list(locations.components(group))


def about(group: str, name: str) -> str:
    """Return a component's one line, from its class or else its YAML."""
    component = GROUPS[group].choices.get(name)
    return headline(locations.components(group)[name]) if component is None else summary(component)


def summary(component: type[Component]) -> str:
    """Return the first line of a component's docstring."""
    return (component.__doc__ or "").strip().splitlines()[0]


def component(group: str, name: str) -> tuple[str, list[Field]]:
    """Return a component's documentation and fields; ConfigError for an unknown name."""
    if name not in choices(group):
        raise ConfigError(unknown(group, name, choices(group)))
    load_plugins(())
    given = _settings_of(group, name)
    # A file of another name chooses the class by its key `name`.
    registered = GROUPS[group].choices
    known = registered.get(name) or registered.get(given.get("name", ("", ""))[0])
    schema = known.model_json_schema() if known is not None else {}
    properties = schema.get("properties", {})
    fields = [
        Field(key, value, _allowed(properties.get(key, {})), comment)
        for key, (value, comment) in given.items()
        if key != "name"
    ]
    documentation = "" if known is None else known.__doc__ or ""
    comment = headline(locations.components(group)[name])
    if known is not None and name == known.model_fields["name"].default:
        return documentation or comment, fields
    return comment or documentation, fields


def _settings_of(group: str, name: str) -> dict[str, tuple[str, str]]:
    """Return (value, comment) of each key in a component's files; a later file wins."""
    found: dict[str, tuple[str, str]] = {}
    for file in _files_of(group, name):
        for key, value, comment in settings(file):
            if key.partition(".")[0] != "defaults":
                found[key] = (value, comment or found.get(key, ("", ""))[1])
    return found


def _files_of(group: str, name: str) -> list[Path]:
    """Return a component's file and those in its `defaults`, in the order Hydra merges them."""
    file = locations.components(group)[name]
    if not any(key == "defaults" for key, _, _ in settings(file)):
        return [file]
    loader = new_loader()
    try:
        merged = loader.compute_defaults_list(locations.TOP, [f"{group}={name}"], RunMode.RUN)
    except (*UNCOMPOSED, ValueError, OSError) as error:
        raise ConfigError(explain_composition(error, loader, locations.TOP)) from error
    parts = [part for part in merged.defaults if part.package == group]
    return [locations.config_file(str(part.config_path)) for part in parts]


def headline(file: Path) -> str:
    """Return the first comment of a YAML file, without headers for Hydra and editors."""
    for line in _lines_of(file):
        comment = line.lstrip("# ").strip()
        if line.startswith("#") and not comment.startswith(HEADERS):
            return comment
    return ""


def comments(file: Path) -> dict[str, str]:
    """Return the comment behind each value of a YAML file, by dotted key."""
    return {key: comment for key, _, comment in settings(file) if comment}


def settings(file: Path) -> list[tuple[str, str, str]]:
    """Return (dotted key, value, comment) of each line of a YAML file.

    The file has one key a line, indented by two spaces for each level.
    """
    found: list[tuple[str, str, str]] = []
    above: list[str] = []
    for line in _lines_of(file):
        setting, _, comment = line.partition(" # ")
        key, colon, value = setting.strip().partition(":")
        if colon and key.isidentifier():
            depth = (len(line) - len(line.lstrip())) // 2
            above = [*above[:depth], key]
            found.append((".".join(above), value.strip(), comment.strip()))
    return found


def _lines_of(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8-sig", errors="replace").splitlines()


def _allowed(schema: dict[str, Any]) -> str:
    """Return a field's JSON schema in words: `number > 0`."""
    if "anyOf" in schema:
        return " or ".join(_allowed(part) for part in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    words = [schema.get("type", "")]
    if items := schema.get("items") or (schema.get("prefixItems") or [None])[0]:
        words[0] += f" of {_allowed(items)}"
    for key, sign in _BOUNDS.items():
        if key in schema and abs(schema[key]) < 2**62:
            words.append(f"{sign} {schema[key]:g}")
    return " ".join(words).strip()
