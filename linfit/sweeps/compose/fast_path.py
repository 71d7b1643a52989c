"""Places of a composed config into which overrides may be put without composing again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.types import Override as ParsedOverride
from hydra.core.override_parser.types import OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf

from linfit.config import GROUPS
from linfit.sweeps.compose.compose import MISSING_VALUE
from linfit.sweeps.config_files.overrides import is_plain_setting, parse_override

MAX_PARTS = 4096

_KEY = r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
#: Integers and floats of Hydra's grammar; its parser, which takes 100 µs, reads everything else.
_INTEGER = re.compile(_KEY + r"=(-?(?:0|[1-9][0-9]*))", re.ASCII)
_FLOAT = re.compile(
    _KEY + r"=(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+))", re.ASCII
)
_DIRECTORY = re.compile(r"\$\{hydra:runtime\.cwd\}")
_CONSTANT = re.compile(rf"{_DIRECTORY.pattern}|\$\{{oc\.env:[^${{}}]*\}}")
_REFERENCE = re.compile(r"\$\{" + _KEY + r"\}", re.ASCII)
_DOTTED = re.compile(_KEY, re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SECTION = re.compile(rf"{_NAME.pattern}(?=[.\[]|$)", re.ASCII)


@dataclass(frozen=True, eq=False, slots=True)
class PlacedValue:
    """An override that may be put in."""

    key: str
    section: str
    path: tuple[str, ...]
    """Below the section; empty if the key is the section itself."""
    value: Any

    @classmethod
    def at_key(cls, key: str, value: Any) -> PlacedValue:
        """Return the value for a dotted key."""
        section, *path = key.split(".")
        return cls(key, section, tuple(path), value)


@dataclass(frozen=True, slots=True)
class ComposedOverride:
    """An override that Hydra composes."""

    text: str
    section: str | None
    """The top-level key that it changes; None if it may change several."""
    chooses: bool = False
    """It chooses a component of a group."""


class OverrideReader:
    """Reads overrides, each text once."""

    def __init__(
        self, loader: ConfigLoaderImpl, experiment: str, hydra_overrides: list[str]
    ) -> None:
        self.files = loader._parse_overrides_and_create_caching_repo(experiment, hydra_overrides)[1]
        self.read = lru_cache(MAX_PARTS)(self._read)
        self._is_group = lru_cache(MAX_PARTS)(self.files.group_exists)

    def _read(self, text: str) -> PlacedValue | ComposedOverride:
        if (number := self._read_number(text)) is not None:
            return number
        try:
            override = parse_override(text)
        except HydraException:
            return ComposedOverride(text, None)  # Hydra reports the mistake when it composes
        key = override.key_or_group
        value = override.value()
        if not isinstance(value, dict) and self._is_group(key):
            chosen = key if _is_plain_choice(override) else None
            return ComposedOverride(text, chosen, chooses=True)
        if _may_be_put(override):
            return PlacedValue.at_key(key, value)
        section = _SECTION.match(key)
        return ComposedOverride(text, section and section[0])

    def _read_number(self, text: str) -> PlacedValue | None:
        """Read the override of a number without Hydra's parser; None if it is another one."""
        number: type[int | float] = int
        found = _INTEGER.fullmatch(text)
        if found is None:
            number = float
            found = _FLOAT.fullmatch(text)
        if found is None or _is_special(found[1]) or self._is_group(found[1]):
            return None
        return PlacedValue.at_key(found[1], number(found[2]))


def _is_plain_choice(override: ParsedOverride) -> bool:
    """Return True for `optimizer=adam`: one component, of a group that is no subgroup."""
    value = override.value()
    return (
        is_plain_setting(override)
        and _NAME.fullmatch(override.key_or_group) is not None
        and isinstance(value, str)
        and "${" not in value
    )


def _may_be_put(override: ParsedOverride) -> bool:
    key = override.key_or_group
    value = override.value()
    if override.type not in (OverrideType.CHANGE, OverrideType.FORCE_ADD):
        return False
    if override.value_type is not ValueType.ELEMENT or override.package is not None:
        return False
    if _DOTTED.fullmatch(key) is None or _is_special(key):
        return False
    if key == "name" and value is None:
        return False  # null stands for the experiment's own name
    return _is_literal(value)


def _is_special(key: str) -> bool:
    """Return True if a key decides how others are read.

    These are Hydra's keys, plug-ins, and the names by which components are chosen.
    """
    section, _, rest = key.partition(".")
    return section in ("hydra", "plugins") or (rest == "name" and section in GROUPS)


def _is_literal(value: Any) -> bool:
    """Return True if OmegaConf takes the value unchanged."""
    if isinstance(value, list):
        return all(map(_is_literal, value))
    if isinstance(value, str):
        return "${" not in value and value != MISSING_VALUE
    return value is None or isinstance(value, bool | int | float)


class Slots(NamedTuple):
    """Places into which values may be put."""

    keys: frozenset[str]
    """Keys with plain values or lists."""
    references: dict[str, str]
    """Keys that hold `${KEY}` for one of these keys."""
    closed: bool
    """No other interpolation depends on what is put in."""


#: Keys of a section: None if a value may be put there, the text of an interpolation otherwise.
SectionSurvey = Mapping[str, str | None]


def locate_slots(composed: DictConfig) -> dict[str, SectionSurvey]:
    """Return the survey of each section."""
    sections = [section for section in composed if section != "hydra"]
    return {str(section): dict(_survey(composed, section, "")) for section in sections}


def merge_surveys(surveys: Iterable[SectionSurvey]) -> Slots:
    """Return the slots of the surveyed sections together."""
    found: dict[str, str | None] = {}
    for section in surveys:
        found |= section
    keys = frozenset(key for key, text in found.items() if text is None)
    references: dict[str, str] = {}
    closed = True
    for key, text in found.items():
        if text is None:
            continue
        match = _REFERENCE.fullmatch(text)
        if match is not None and match[1] in keys:
            references[key] = match[1]
        else:
            closed = closed and _is_constant(key, text)
    return Slots(keys, references, closed)


def _survey(parent: DictConfig, name: Any, prefix: str) -> Iterator[tuple[str, str | None]]:
    """Yield the keys at or below `parent[name]` that are slots or hold interpolations."""
    key = f"{prefix}{name}"
    node: Any = parent._get_node(name)
    addressable = _NAME.fullmatch(str(name)) is not None
    if addressable and _is_open_dict(node):
        for child in node:
            yield from _survey(node, child, f"{key}.")
        return

    if isinstance(node, DictConfig | ListConfig):
        text = str(OmegaConf.to_container(node, resolve=False))
    else:
        text = str(node._value())
    plain = type(node) is AnyNode or _is_open_list(node)
    if "${" in text:
        yield key, text
    elif addressable and plain and not node._get_flag("readonly"):
        yield key, None


def _is_open_dict(node: Any) -> bool:
    """Return True for a mapping of YAML; a structured config may convert or refuse values."""
    if not isinstance(node, DictConfig):
        return False
    if node._metadata.object_type not in (None, dict) or node._metadata.element_type is not Any:
        return False
    return not (node._is_none() or node._is_missing() or node._is_interpolation())


def _is_open_list(node: Any) -> bool:
    if not isinstance(node, ListConfig):
        return False
    return node._metadata.element_type is Any and node._metadata.ref_type is Any


def _is_constant(key: str, text: str) -> bool:
    """Return True if no value that is put in changes an interpolation.

    Constant are references to the working directory, and in `tracking` to the environment.
    """
    constant = _CONSTANT if key.startswith("tracking.") else _DIRECTORY
    return "${" not in constant.sub("", text)
