"""Which overrides may be put into a composed config without composing it again, and where they may be put."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf

from linfit.config import GROUPS
from linfit.sweeps.composition import MISSING

MAX_PARTS = 4096

_KEY = r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)"
#: What Hydra's grammar reads as an integer or a float; everything else is left to its parser, which takes 100 µs.
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
class Value:
    """An override that may be put in."""

    key: str
    section: str
    path: tuple[str, ...]
    """Below the section; empty where the key stands at the top."""
    value: Any

    @classmethod
    def of(cls, key: str, value: Any) -> Value:
        section, *path = key.split(".")
        return cls(key, section, tuple(path), value)


@dataclass(frozen=True, slots=True)
class Composed:
    """An override that Hydra composes."""

    text: str
    section: str | None
    """The top-level key that it is about; None if it may be about more than one."""
    chooses: bool = False
    """It chooses a component of a group."""


class Parts:
    """Reads overrides; what has been read is remembered."""

    def __init__(
        self, loader: ConfigLoaderImpl, experiment: str, hydra_overrides: list[str]
    ) -> None:
        self.files = loader._parse_overrides_and_create_caching_repo(experiment, hydra_overrides)[1]
        self._parser = OverridesParser.create()
        self.read = lru_cache(MAX_PARTS)(self._read)
        self._is_group = lru_cache(MAX_PARTS)(self.files.group_exists)

    def _read(self, text: str) -> Value | Composed:
        for pattern, number in ((_INTEGER, int), (_FLOAT, float)):
            if (
                (found := pattern.fullmatch(text))
                and not _special(found[1])
                and not self._is_group(found[1])
            ):
                return Value.of(found[1], number(found[2]))
        try:
            override = self._parser.parse_override(text)
        except HydraException:
            return Composed(text, None)  # and Hydra will say what is wrong with it
        if not isinstance(override.value(), dict) and self._is_group(override.key_or_group):
            group = override.key_or_group if _is_plain_choice(override) else None
            return Composed(text, group, chooses=True)
        if _may_be_put(override):
            return Value.of(override.key_or_group, override.value())
        section = _SECTION.match(override.key_or_group)
        return Composed(text, section and section[0])


def _is_plain_choice(override: Override) -> bool:
    """Return True for `optimizer=adam`: one component, of a group that is no other's subgroup."""
    plain = override.type is OverrideType.CHANGE and override.value_type is ValueType.ELEMENT
    alone = override.package is None and _NAME.fullmatch(override.key_or_group) is not None
    value = override.value()
    return plain and alone and isinstance(value, str) and "${" not in value


def _may_be_put(override: Override) -> bool:
    return (
        override.type in (OverrideType.CHANGE, OverrideType.FORCE_ADD)
        and override.value_type is ValueType.ELEMENT
        and override.package is None
        and _DOTTED.fullmatch(override.key_or_group) is not None
        and not _special(override.key_or_group)
        and not (
            override.key_or_group == "name" and override.value() is None
        )  # the experiment's own name
        and _literal(override.value())
    )


def _special(key: str) -> bool:
    """Keys that decide how the others are read: Hydra's, plug-ins, and the name by which a component is chosen."""
    section, _, rest = key.partition(".")
    return section in ("hydra", "plugins") or (rest == "name" and section in GROUPS)


def _literal(value: Any) -> bool:
    """Whether OmegaConf takes the value as it stands."""
    if isinstance(value, list):
        return all(_literal(part) for part in value)
    if isinstance(value, str):
        return "${" not in value and value != MISSING
    return value is None or isinstance(value, bool | int | float)


class Slots(NamedTuple):
    keys: frozenset[str]
    references: dict[str, str]
    closed: bool


#: The keys of a section: with None where a value may be put, with its text at an interpolation.
Survey = Mapping[str, str | None]


def survey(composed: DictConfig) -> dict[str, Survey]:
    """Return the survey of each section."""
    sections = [section for section in composed if section != "hydra"]
    return {str(section): dict(_survey(composed, section, "")) for section in sections}


def slots(surveys: Iterable[Survey]) -> Slots:
    """The keys that hold plain values or lists, the `${references}` to them, and whether there are no other interpolations."""
    found = {key: text for section in surveys for key, text in section.items()}
    keys = frozenset(key for key, text in found.items() if text is None)
    targets = {
        key: match[1]
        for key, text in found.items()
        if text is not None and (match := _REFERENCE.fullmatch(text))
    }
    references = {key: other for key, other in targets.items() if other in keys}
    closed = all(
        text is None or key in references or _kept(key, text) for key, text in found.items()
    )
    return Slots(keys, references, closed)


def _survey(parent: DictConfig, name: Any, prefix: str) -> Iterator[tuple[str, str | None]]:
    """Each key at or below `parent[name]` where a value may be put, with None, or where an interpolation stands, with its text."""
    key, node = f"{prefix}{name}", parent._get_node(name)
    addressable = _NAME.fullmatch(str(name)) is not None
    text = str(
        OmegaConf.to_container(node, resolve=False)
        if isinstance(node, DictConfig | ListConfig)
        else node._value()
    )  # type: ignore[union-attr]
    if addressable and _open_dict(node):
        for child in node:  # type: ignore[union-attr]
            yield from _survey(node, child, f"{key}.")  # type: ignore[arg-type]
    elif "${" in text:
        yield key, text
    elif (
        addressable
        and (type(node) is AnyNode or _open_list(node))
        and not node._get_flag("readonly")
    ):  # type: ignore[union-attr]
        yield key, None


def _open_dict(node: Any) -> bool:
    """A mapping as YAML gives it, not a structured config, which would convert or refuse values."""
    plain = (
        isinstance(node, DictConfig)
        and node._metadata.object_type in (None, dict)
        and node._metadata.element_type is Any
    )
    return plain and not (node._is_none() or node._is_missing() or node._is_interpolation())


def _open_list(node: Any) -> bool:
    return (
        isinstance(node, ListConfig)
        and node._metadata.element_type is Any
        and node._metadata.ref_type is Any
    )


def _kept(key: str, text: str) -> bool:
    """True where what is put in changes nothing: references to the working directory, and in `tracking` to the environment."""
    constant = _CONSTANT if key.startswith("tracking.") else _DIRECTORY
    return "${" not in constant.sub("", text)
