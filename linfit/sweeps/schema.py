"""JSON schemas of YAML files, for editors: one for each group's component files, one for experiments and `conf/linfit.yaml`.

They come from the components' own types and from the comments behind the values in their YAML. Draft 7, because that is what
editors' YAML servers speak.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from linfit.config import GROUPS, FitConfig
from linfit.sweeps import locations
from linfit.sweeps.catalogue import choices, comments, component
from linfit.sweeps.ways import Ways

Schema = dict[str, Any]

DRAFT = "http://json-schema.org/draft-07/schema#"
EXPERIMENT = "experiment"
#: What OmegaConf resolves later, or what is still to be given, may stand for any value.
LATER: Schema = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}
#: Annotations that pydantic derives from class and field names, or that do not hold for a file that changes a part.
NOISE = ("title", "default")


def of_group(group: str) -> Schema:
    """Of the files `conf/GROUP/*.yaml`: which keys each component has, and which it needs."""
    names = choices(group)
    return {
        "$schema": DRAFT,
        "type": "object",
        "properties": {"name": {"enum": names, "description": f"which {group}"}},
        "required": ["name"],
        "allOf": [
            {"if": {"properties": {"name": {"const": name}}}, "then": {"$ref": f"#/$defs/{name}"}}
            for name in names
        ],
        "$defs": {name: _component(group, name) for name in names},
    }


def of_experiment() -> Schema:
    """Of experiments, and of the config that they build on: a delta, so that nothing is required."""
    sections = FitConfig.model_json_schema()
    about = comments(locations.shipped(locations.CONF) / f"{locations.TOP}.yaml")
    own = {
        key: _field(schema, sections["$defs"], about, key)
        for key, schema in sections["properties"].items()
        if key not in GROUPS
    }
    own["name"] = {"anyOf": [own["name"], {"type": "null"}]}  # then the experiment file's name
    parts = {
        group: {name: _component(group, name, whole=False) for name in choices(group)}
        for group in GROUPS
    }
    return {
        "$schema": DRAFT,
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "defaults": _defaults(),
            "hydra": _hydra(),
            **own,
            **{group: _any(parts[group]) for group in GROUPS},
        },
        "allOf": [
            *(_if_chosen(group, name) for group in GROUPS for name in choices(group)),
            _own_sweeper(),
        ],
        "$defs": {
            f"{group}-{name}": schema
            for group, some in parts.items()
            for name, schema in some.items()
        },
    }


def _component(group: str, name: str, whole: bool = True) -> Schema:
    """One component's keys; as a part of an experiment it needs none."""
    known = GROUPS[group].choices.get(name)
    schema = known.model_json_schema() if known is not None else {}
    documentation, fields = component(group, name)
    about = {field.key: field.about for field in fields}
    keys = {
        key: _field(value, schema.get("$defs", {}), about, key)
        for key, value in schema.get("properties", {}).items()
    }
    keys["name"] = {"const": name}
    described = {
        "type": "object",
        "description": documentation,
        "properties": keys,
        "additionalProperties": known is None,
    }
    return {**described, "required": schema.get("required", [])} if whole else described


def _field(
    schema: Schema, definitions: Mapping[str, Any], about: Mapping[str, str], key: str
) -> Schema:
    """One key: its type, its meaning, and room for an interpolation."""
    inner = _plain(schema, definitions)
    if "properties" in inner:
        inner["properties"] = {
            name: _field(part, {}, about, f"{key}.{name}")
            for name, part in inner["properties"].items()
        }
    said = {"description": about[key]} if about.get(key) else {}
    return {**said, **inner} if "properties" in inner else {**said, "anyOf": [inner, LATER]}


def _plain(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """pydantic's schema with its references put in, in the words of draft 7."""
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    return {
        "items" if key == "prefixItems" else key: _plain(value, definitions)
        for key, value in schema.items()
        if key not in NOISE
    }


def _any(parts: Mapping[str, Schema]) -> Schema:
    """A group in an experiment that does not say which component: every key that one of them has."""
    keys: dict[str, list[Schema]] = {}
    for part in parts.values():
        for key, schema in part["properties"].items():
            if schema not in keys.setdefault(key, []):
                keys[key].append(schema)
    closed = not any(part["additionalProperties"] for part in parts.values())
    merged = {key: some[0] if len(some) == 1 else {"anyOf": some} for key, some in keys.items()}
    return {"type": "object", "properties": merged, "additionalProperties": not closed}


def _if_chosen(group: str, name: str) -> Schema:
    """Where the defaults list names the component, the group has its keys and no others."""
    return {
        "if": _chosen(group, {"const": name}),
        "then": {"properties": {group: {"$ref": f"#/$defs/{group}-{name}"}}},
    }


def _own_sweeper() -> Schema:
    """Unless the defaults list names another sweeper, it takes our keys and no others."""
    ours = {"propertyNames": {"enum": [*Ways.model_fields, "max_batch_size", "_target_"]}}
    another = _chosen("hydra/sweeper", {"not": {"const": "linfit"}})
    return {"if": another, "else": {"properties": {"hydra": {"properties": {"sweeper": ours}}}}}


def _chosen(group: str, name: Schema) -> Schema:
    """Holds where the defaults list says for the group what `name` says."""
    spelled = [
        {"type": "object", "required": [key], "properties": {key: name}}
        for key in _spellings(group)
    ]
    return {"required": ["defaults"], "properties": {"defaults": {"contains": {"anyOf": spelled}}}}


def _spellings(group: str) -> Iterator[str]:
    yield from (group, f"/{group}", f"override {group}", f"override /{group}")


def _defaults() -> Schema:
    named = {
        key: {"anyOf": [{"enum": choices(group)}, {"type": ["string", "null"]}]}
        for group in GROUPS
        for key in _spellings(group)
    }
    entry = {
        "anyOf": [
            {"type": "string"},
            {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": named},
        ]
    }
    return {
        "type": "array",
        "description": "what this file builds on, and which components it replaces",
        "items": entry,
    }


def _hydra() -> Schema:
    ways = Ways.model_json_schema()
    sweeper = {
        key: {"anyOf": [_plain(part, ways["$defs"]), {"type": "null"}, LATER]}
        for key, part in ways["properties"].items()
    }
    mode = {
        "enum": ["RUN", "MULTIRUN"],
        "description": "MULTIRUN makes the file a study: a sweep without -m",
    }
    return {
        "type": "object",
        "properties": {"mode": mode, "sweeper": {"type": "object", "properties": sweeper}},
    }
