"""JSON schemas of YAML files for editors: of a group's component files, and of experiments.

They are derived from the components' types and from the comments behind the values in their YAML.
Editors' YAML servers read draft 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linfit.config import GROUPS, FitConfig
from linfit.sweeps.catalogue.catalogue import list_components, read_comments, read_component
from linfit.sweeps.config_files import search_path
from linfit.sweeps.search_space.sweeper import SweepSpec

JsonSchema = dict[str, Any]

JSON_SCHEMA_DRAFT = "http://json-schema.org/draft-07/schema#"
EXPERIMENT_SCHEMA = "experiment"
#: OmegaConf resolves such a text later, or the user gives it, so it may replace any value.
DEFERRED_VALUE: JsonSchema = {"type": "string", "pattern": r"^(\$\{.*\}|\?\?\?)$"}
#: Annotations that pydantic derives from names, or that do not hold for a part of a config.
DROPPED_ANNOTATIONS = ("title", "default")
#: Words of draft 7 for later ones, which pydantic writes.
_DRAFT_7_WORDS = {"prefixItems": "items"}


def build_group_schema(group: str) -> JsonSchema:
    """Return the schema of the files `conf/GROUP/*.yaml`.

    It depends on the component that a file names.
    """
    names = list_components(group)
    return {
        "$schema": JSON_SCHEMA_DRAFT,
        "type": "object",
        "properties": {"name": {"enum": names, "description": f"which {group}"}},
        "required": ["name"],
        "allOf": [
            {"if": {"properties": {"name": {"const": name}}}, "then": {"$ref": f"#/$defs/{name}"}}
            for name in names
        ],
        "$defs": {name: _component(group, name) for name in names},
    }


def build_experiment_schema() -> JsonSchema:
    """Return the schema of experiments and of `conf/linfit.yaml`.

    An experiment changes a config, so that it needs no key.
    """
    sections = FitConfig.model_json_schema()
    about = read_comments(
        search_path.shipped_folder(search_path.CONF) / f"{search_path.TOP_CONFIG}.yaml"
    )
    properties = {"defaults": _defaults(), "hydra": _hydra()}
    for key, schema in sections["properties"].items():
        if key not in GROUPS:
            properties[key] = _field(schema, sections["$defs"], about, key)
    # Null stands for the experiment file's name.
    properties["name"] = {"anyOf": [properties["name"], {"type": "null"}]}

    conditions: list[JsonSchema] = []
    definitions: JsonSchema = {}
    for group in GROUPS:
        parts = {name: _component(group, name, whole=False) for name in list_components(group)}
        properties[group] = _any(parts)
        for name, schema in parts.items():
            conditions.append(_if_chosen(group, name))
            definitions[f"{group}-{name}"] = schema
    return {
        "$schema": JSON_SCHEMA_DRAFT,
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "allOf": [*conditions, _own_sweeper()],
        "$defs": definitions,
    }


def _component(group: str, name: str, whole: bool = True) -> JsonSchema:
    """Return the schema of one component; a part of an experiment needs no key."""
    known = GROUPS[group].choices.get(name)
    schema = known.model_json_schema() if known is not None else {}
    documentation, fields = read_component(group, name)
    about = {field.key: field.about for field in fields}
    keys = {}
    for key, value in schema.get("properties", {}).items():
        keys[key] = _field(value, schema.get("$defs", {}), about, key)
    keys["name"] = {"const": name}
    described: JsonSchema = {
        "type": "object",
        "description": documentation,
        "properties": keys,
        "additionalProperties": known is None,
    }
    if whole:
        described["required"] = schema.get("required", [])
    return described


def _field(
    schema: JsonSchema, definitions: Mapping[str, Any], about: Mapping[str, str], key: str
) -> JsonSchema:
    """Return the schema of one key: its type, its description, or an interpolation."""
    inner = _plain(schema, definitions)
    field: JsonSchema = {"description": about[key]} if about.get(key) else {}
    if "properties" not in inner:
        return {**field, "anyOf": [inner, DEFERRED_VALUE]}
    for name, part in inner["properties"].items():
        inner["properties"][name] = _field(part, {}, about, f"{key}.{name}")
    return {**field, **inner}


def _plain(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """Return pydantic's schema with its references resolved, in the words of draft 7."""
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(definitions[schema["$ref"].rsplit("/", 1)[-1]], definitions)
    kept = {}
    for key, value in schema.items():
        if key not in DROPPED_ANNOTATIONS:
            kept[_DRAFT_7_WORDS.get(key, key)] = _plain(value, definitions)
    return kept


def _any(parts: Mapping[str, JsonSchema]) -> JsonSchema:
    """Return the schema of a group whose component is not known: all keys of its components."""
    keys: dict[str, list[JsonSchema]] = {}
    for part in parts.values():
        for key, schema in part["properties"].items():
            known = keys.setdefault(key, [])
            if schema not in known:
                known.append(schema)
    merged = {}
    for key, some in keys.items():
        merged[key] = some[0] if len(some) == 1 else {"anyOf": some}
    extensible = any(part["additionalProperties"] for part in parts.values())
    return {"type": "object", "properties": merged, "additionalProperties": extensible}


def _if_chosen(group: str, name: str) -> JsonSchema:
    """Restrict the group's keys if the defaults list names the component."""
    return {
        "if": _chosen(group, {"const": name}),
        "then": {"properties": {group: {"$ref": f"#/$defs/{group}-{name}"}}},
    }


def _own_sweeper() -> JsonSchema:
    """Restrict the sweeper's keys to ours, unless the defaults list names another one."""
    ours = {"propertyNames": {"enum": [*SweepSpec.model_fields, "max_batch_size", "_target_"]}}
    another = _chosen("hydra/sweeper", {"not": {"const": "linfit"}})
    return {"if": another, "else": {"properties": {"hydra": {"properties": {"sweeper": ours}}}}}


def _chosen(group: str, name: JsonSchema) -> JsonSchema:
    """Return the condition that the defaults list chooses `name` for the group."""
    spelled: list[JsonSchema] = []
    for key in _spellings(group):
        entry = {"type": "object", "required": [key], "properties": {key: name}}
        spelled.append(entry)
    return {"required": ["defaults"], "properties": {"defaults": {"contains": {"anyOf": spelled}}}}


def _spellings(group: str) -> tuple[str, ...]:
    """Return the keys by which a defaults list chooses a component of a group."""
    return group, f"/{group}", f"override {group}", f"override /{group}"


def _defaults() -> JsonSchema:
    named: JsonSchema = {}
    for group in GROUPS:
        choice = {"anyOf": [{"enum": list_components(group)}, {"type": ["string", "null"]}]}
        named.update(dict.fromkeys(_spellings(group), choice))
    entry = {"type": "object", "minProperties": 1, "maxProperties": 1, "properties": named}
    return {
        "type": "array",
        "description": "what this file builds on, and which components it replaces",
        "items": {"anyOf": [{"type": "string"}, entry]},
    }


def _hydra() -> JsonSchema:
    ways = SweepSpec.model_json_schema()
    sweeper = {
        key: {"anyOf": [_plain(part, ways["$defs"]), {"type": "null"}, DEFERRED_VALUE]}
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
