"""Overrides as they were typed: read back unresolved, and each key given once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from omegaconf import ListConfig, OmegaConf

from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps.explanation import notice


def read_raw(overrides: ListConfig) -> list[str]:
    """Return a list of overrides as it was typed.

    Iterating over it would resolve `${steps}` to the value beside the sweep, and write the value of
    `${oc.env:TOKEN}` wherever the overrides are written.
    """
    raw: Any = OmegaConf.to_container(overrides, resolve=False)
    return raw  # type: ignore[no-any-return]


def keys_given(override: Override) -> frozenset[str]:
    """Return the keys that an override gives; a mapping gives those in it, and merges with others."""
    key = override.key_or_group
    if override.package not in (None, key.replace("/", ".")):
        key = f"{key}@{override.package}"
    return frozenset(leaf for value in _values(override) for leaf in _leaves(key, value))


def parse_overrides(overrides: Iterable[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Parse overrides as Hydra does; `glob(…)` needs the loader, which knows the choices."""
    return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))


def all_keys(overrides: Iterable[Override]) -> set[str]:
    """Return the keys that overrides give."""
    return {key for override in overrides for key in keys_given(override)}


def keys_of(overrides: Iterable[str]) -> set[str]:
    """Return the keys that overrides give, which the jobs of a sweep repeat."""
    return {key for override in overrides for key in _keys_of(override)}


@lru_cache(4096)
def _keys_of(override: str) -> frozenset[str]:
    [parsed] = parse_overrides([override])
    return keys_given(parsed)


def settle_repeats(overrides: Sequence[str]) -> list[str]:
    """Return the overrides without those that a later one overtakes.

    Of two values for a key the last counts, as in Hydra, with a note. ConfigError if one of the two
    is swept: Hydra would drop the one or multiply the fits, by how it is spelled.
    """
    try:
        parsed = parse_overrides(overrides)
    except HydraException:
        return list(overrides)  # and Hydra will say what is wrong
    kept: list[Override] = []
    for later in parsed:
        for earlier in [each for each in kept if _repeats(each, later)]:
            later = _overtake(earlier, later, kept)
        kept.append(later)
    return [str(override.input_line) for override in kept]


def require_once(keys: Sequence[str]) -> None:
    """ConfigError where the sweeper's settings give a key twice."""
    if twice := [key for key in dict.fromkeys(keys) if keys.count(key) > 1]:
        raise ConfigError(
            f"{twice[0]} stands twice in hydra.sweeper's params, pairs and grids: leave it in one of them"
        )


def _overtake(earlier: Override, later: Override, kept: list[Override]) -> Override:
    """Drop the earlier of two overrides of a key from those kept, if that changes nothing; return the later."""
    key = min(keys_given(earlier) & keys_given(later), default=earlier.key_or_group)
    twice = f"{key} is given twice, by {earlier.input_line} and by {later.input_line}"
    if earlier.is_sweep_override() or later.is_sweep_override():
        raise ConfigError(f"{twice}: write one of them, with every value that you want")
    if (
        earlier.is_delete() or later.is_delete()
    ):  # one after the other: a key is deleted and added anew
        return later
    notice(f"note: {twice}: the last counts")
    if later.is_add() or not keys_given(earlier) <= keys_given(
        later
    ):  # Hydra refuses, or merges mappings
        return later
    kept.remove(earlier)
    adds = earlier.is_add() or earlier.is_force_add()
    return later if later.is_force_add() or not adds else _respelled(earlier, later)


def _respelled(earlier: Override, later: Override) -> Override:
    """Return the later override with the `+` of the earlier, without which its key is not there."""
    prefix = "+" if earlier.is_add() else "++"
    [respelled] = parse_overrides([f"{prefix}{later.input_line}"])
    return respelled


def _repeats(earlier: Override, later: Override) -> bool:
    """True if the later override gives a key that the earlier one gives, or what stands above it."""
    first, second = keys_given(earlier), keys_given(later)
    return bool(first & second) or any(
        key.startswith(f"{above}.") for key in first for above in second - set(GROUPS)
    )


def _values(override: Override) -> list[Any]:
    """Return the values that are known without expanding a range or a glob."""
    value = override._value
    if isinstance(value, ChoiceSweep):
        return [Override._convert_value(part) for part in value.list]
    return [override.value()]


def _leaves(key: str, value: Any) -> Iterable[str]:
    if not isinstance(value, dict) or not value:
        yield key
        return
    for name, part in value.items():
        yield from _leaves(f"{key}.{name}", part)
