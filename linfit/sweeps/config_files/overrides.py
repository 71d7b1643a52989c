"""Overrides in Hydra's grammar: the keys that they give, and each key given once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, OverrideType, ValueType
from hydra.core.override_parser.types import Override as ParsedOverride
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf

from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps.config_files.messages import notify_user


def read_raw_overrides(overrides: ListConfig) -> list[str]:
    """Return a list of overrides as it was typed.

    Iterating over it would resolve `${steps}` to the value outside the sweep, and write the value
    of `${oc.env:TOKEN}` wherever the overrides are written.
    """
    raw: Any = OmegaConf.to_container(overrides, resolve=False)
    return raw  # type: ignore[no-any-return]


@lru_cache(4096)
def parse_override(text: str) -> ParsedOverride:
    """Parse one override as Hydra does, each text once.

    Nobody may change the result. OverrideParseException if the text is none. `glob(…)` needs
    `parse_overrides` with a loader.
    """
    [parsed] = _parser().parse_overrides([text])
    return parsed


@cache
def _parser() -> OverridesParser:
    """Return Hydra's parser; making one takes as long as a parse."""
    return OverridesParser.create()


def parse_overrides(
    overrides: Iterable[str], loader: ConfigLoader | None = None
) -> list[ParsedOverride]:
    """Parse overrides as Hydra does.

    `glob(…)` needs the loader, which knows the choices.
    """
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


def is_plain_setting(override: ParsedOverride) -> bool:
    """Return True for `KEY=VALUE` with one value, without prefix or package."""
    return (
        override.type is OverrideType.CHANGE
        and override.value_type is ValueType.ELEMENT
        and override.package is None
    )


def find_given_keys(override: ParsedOverride) -> frozenset[str]:
    """Return the keys that an override gives.

    A mapping gives those in it, and merges.
    """
    key = override.key_or_group
    if override.package not in (None, key.replace("/", ".")):
        key = f"{key}@{override.package}"
    return frozenset().union(*(_leaves(key, value) for value in _values(override)))


def collect_given_keys(overrides: Iterable[ParsedOverride]) -> set[str]:
    """Return the keys that parsed overrides give."""
    return set().union(*map(find_given_keys, overrides))


def collect_keys(overrides: Iterable[str]) -> set[str]:
    """Return the keys that overrides give."""
    return collect_given_keys(map(parse_override, overrides))


def settle_repeated_keys(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without those that a later one replaces.

    Of two values for a key the last counts, as in Hydra, with a note. ConfigError if one of the two
    is swept: Hydra would drop the one or multiply the fits, by how it is spelled.
    """
    try:
        parsed = list(map(parse_override, overrides))
    except HydraException:
        return list(overrides)  # Hydra reports the mistake when it composes
    kept: list[ParsedOverride] = []
    for later in parsed:
        for earlier in [each for each in kept if _repeats(each, later)]:
            later = _replace(earlier, later, kept)
        kept.append(later)
    return [str(override.input_line) for override in kept]


def require_unique_keys(keys: Sequence[str]) -> None:
    """Raise ConfigError if the sweeper's settings give a key twice."""
    if twice := [key for key in dict.fromkeys(keys) if keys.count(key) > 1]:
        raise ConfigError(
            f"{twice[0]} stands twice in hydra.sweeper's params, pairs and grids: "
            f"leave it in one of them"
        )


def _replace(
    earlier: ParsedOverride, later: ParsedOverride, kept: list[ParsedOverride]
) -> ParsedOverride:
    """Remove the earlier of two overrides of a key from `kept` if possible; return the later."""
    first = find_given_keys(earlier)
    second = find_given_keys(later)
    key = min(first & second, default=earlier.key_or_group)
    twice = f"{key} is given twice, by {earlier.input_line} and by {later.input_line}"
    if earlier.is_sweep_override() or later.is_sweep_override():
        raise ConfigError(f"{twice}: write one of them, with every value that you want")
    if earlier.is_delete() or later.is_delete():
        return later  # both apply in turn: a key is deleted and added anew
    notify_user(f"note: {twice}: the last counts")
    if later.is_add() or not first <= second:
        return later  # both stay: Hydra refuses, or merges mappings
    kept.remove(earlier)
    if earlier.type not in (OverrideType.ADD, OverrideType.FORCE_ADD) or later.is_force_add():
        return later
    # Without the prefix of the earlier one, the key of the later one does not exist.
    prefix = "+" if earlier.is_add() else "++"
    return parse_override(f"{prefix}{later.input_line}")


def _repeats(earlier: ParsedOverride, later: ParsedOverride) -> bool:
    """Return True if the later override gives a key of the earlier, or one above it."""
    first = find_given_keys(earlier)
    second = find_given_keys(later)
    if first & second:
        return True
    above = tuple(f"{key}." for key in second - set(GROUPS))
    return any(key.startswith(above) for key in first)


def _values(override: ParsedOverride) -> list[Any]:
    """Return the values that are known without expanding a range or a glob."""
    value = override._value
    if isinstance(value, ChoiceSweep):
        return list(map(ParsedOverride._convert_value, value.list))
    return [override.value()]


def _leaves(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict) or not value:
        yield key
        return
    for name, part in value.items():
        yield from _leaves(f"{key}.{name}", part)
