"""Catalogue of experiments and components with one line each, and of a component's fields.

A field's description is the comment behind its value in the component's YAML.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from linfit.component import Component, describe_unknown
from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps.compose.compose import create_loader, load_plugins
from linfit.sweeps.config_files import search_path
from linfit.sweeps.config_files.messages import COMPOSITION_ERRORS, explain_composition

#: Beginnings of comments that Hydra and editors read.
HEADER_PREFIXES = ("@package", "yaml-language-server")
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


@dataclass(frozen=True)
class ComponentField:
    """A hyperparameter, as its YAML sets and its class constrains it."""

    key: str
    value: str
    allowed: str
    about: str


def describe_experiments() -> dict[str, str]:
    """Return each experiment's question, the comment at its top."""
    return {name: read_headline(file) for name, file in search_path.find_experiments().items()}


def read_question(experiment: str) -> str:
    """Return the question of an experiment's file, without its final command."""
    file = search_path.find_experiments().get(experiment)
    if file is None:
        return ""
    command = f"linfit run {experiment}"
    return read_headline(file).removesuffix(f": {command}").removesuffix(command).strip()


def describe_groups() -> dict[str, dict[str, str]]:
    """Return each config group's components, each with its one line."""
    load_plugins(())
    described = {}
    for group in GROUPS:
        names = list_components(group)
        described[group] = {name: describe_component(group, name) for name in names}
    return described


def list_entries() -> list[str]:
    """Return the arguments of `linfit list`: `experiments`, GROUP and GROUP/NAME."""
    listed = ["experiments", *GROUPS]
    for group in GROUPS:
        listed += [f"{group}/{name}" for name in list_components(group)]
    return listed


def list_components(group: str) -> list[str]:
    """Return the values of `group=NAME`, which have a YAML file."""
    if group not in GROUPS:
        raise ConfigError(describe_unknown("group", group, [*GROUPS, "experiments"]))
    return list(search_path.find_components(group))


def describe_component(group: str, name: str) -> str:
    """Return one line about a component, from its class or YAML."""
    component = GROUPS[group].choices.get(name)
    if component is None:
        return read_headline(search_path.find_components(group)[name])
    return summarize_component(component)


def summarize_component(component: type[Component]) -> str:
    """Return the first line of a component's docstring."""
    return (component.__doc__ or "").strip().splitlines()[0]


def read_component(group: str, name: str) -> tuple[str, list[ComponentField]]:
    """Return a component's documentation and fields; ConfigError for an unknown name."""
    if name not in list_components(group):
        raise ConfigError(describe_unknown(group, name, list_components(group)))
    load_plugins(())
    given = _settings_of(group, name)
    # A file of another name chooses the class by its key `name`.
    registered = GROUPS[group].choices
    known = registered.get(name) or registered.get(given.get("name", ("", ""))[0])
    properties = {}
    documentation = ""
    if known is not None:
        properties = known.model_json_schema().get("properties", {})
        documentation = known.__doc__ or ""
    fields = []
    for key, (value, comment) in given.items():
        if key != "name":
            allowed = _allowed(properties.get(key, {}))
            fields.append(ComponentField(key, value, allowed, comment))

    headline = read_headline(search_path.find_components(group)[name])
    if known is not None and name == known.model_fields["name"].default:
        return documentation or headline, fields
    return headline or documentation, fields


def _settings_of(group: str, name: str) -> dict[str, tuple[str, str]]:
    """Return (value, comment) of each key in a component's files; a later file wins."""
    found: dict[str, tuple[str, str]] = {}
    for file in _files_of(group, name):
        for key, value, comment in read_settings(file):
            if key.partition(".")[0] != "defaults":
                found[key] = (value, comment or found.get(key, ("", ""))[1])
    return found


def _files_of(group: str, name: str) -> list[Path]:
    """Return a component's file and those in its `defaults`, in the order Hydra merges them."""
    file = search_path.find_components(group)[name]
    if "defaults" not in [key for key, _, _ in read_settings(file)]:
        return [file]
    loader = create_loader()
    try:
        merged = loader.compute_defaults_list(
            search_path.TOP_CONFIG, [f"{group}={name}"], RunMode.RUN
        )
    except (*COMPOSITION_ERRORS, ValueError, OSError) as error:
        raise ConfigError(explain_composition(error, loader, search_path.TOP_CONFIG)) from error
    parts = [part for part in merged.defaults if part.package == group]
    return [search_path.find_config_file(str(part.config_path)) for part in parts]


def read_headline(file: Path) -> str:
    """Return a YAML file's first comment, without Hydra's and editors' headers."""
    for line in _lines_of(file):
        comment = line.lstrip("# ").strip()
        if line.startswith("#") and not comment.startswith(HEADER_PREFIXES):
            return comment
    return ""


def read_comments(file: Path) -> dict[str, str]:
    """Return the comment behind a YAML file's values, by dotted key."""
    return {key: comment for key, _, comment in read_settings(file) if comment}


def read_settings(file: Path) -> list[tuple[str, str, str]]:
    """Return (dotted key, value, comment) of a YAML file's lines.

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
        return " or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    words = [schema.get("type", "")]
    if items := schema.get("items") or (schema.get("prefixItems") or [None])[0]:
        words[0] += f" of {_allowed(items)}"
    for key, sign in _BOUNDS.items():
        if key in schema and abs(schema[key]) < 2**62:
            words.append(f"{sign} {schema[key]:g}")
    return " ".join(words).strip()
