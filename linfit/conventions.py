"""Conventions that changed between schemas of the stored config, each as a field of the config.

A fit of an earlier schema can therefore still be run, and says what its numbers meant. When a
config of an earlier schema is read, the field gets its earlier value. The fingerprint excludes that
value, and every value that changes no number: fingerprints of earlier schemas stay valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from linfit.component import Frozen
from linfit.problem.penalties import Ridge

Config = TypeVar("Config", bound=Frozen)

#: Schema of configs that are written. Earlier ones can be read.
CONFIG_SCHEMA = 2


@dataclass(frozen=True)
class Convention:
    """A field that a schema introduced.

    Earlier schemas meant its value `before`.
    """

    schema: int
    section: str
    """Key of the part of the config that has the field; empty for a field of the config itself."""
    owner: type[Frozen]
    """Class of the parts that have the field."""
    field: str
    before: object
    matters: Callable[[Any], bool]
    """Return True if the field can change a number of the fit."""

    @property
    def key(self) -> str:
        """Key of the field in a config, as overrides name it."""
        if self.section:
            return f"{self.section}.{self.field}"
        return self.field

    def find_part(self, config: Frozen) -> Frozen | None:
        """Return the part of the config that has the field.

        None if the config has none.
        """
        part = getattr(config, self.section) if self.section else config
        return part if isinstance(part, self.owner) else None


CONVENTIONS = (
    Convention(
        2, "penalty", Ridge, "intercept", True, lambda config: config.has_penalty_beside_intercept()
    ),
    Convention(2, "", Frozen, "mean_over", "samples", lambda config: config.has_weighted_mean()),
)


def restore_conventions(config: Config, schema: int) -> Config:
    """Return a config stored in `schema` with that schema's conventions."""
    for convention in CONVENTIONS:
        part = convention.find_part(config)
        if schema >= convention.schema or part is None:
            continue
        update: dict[str, object] = {convention.field: convention.before}
        if convention.section:
            update = {convention.section: part.model_copy(update=update)}
        config = config.model_copy(update=update)
    return config


def exclude_from_fingerprint(config: Frozen) -> Iterator[tuple[str, str]]:
    """Yield (section, field) of each convention that the fit's fingerprint excludes."""
    for convention in CONVENTIONS:
        part = convention.find_part(config)
        if part is None:
            continue
        if getattr(part, convention.field) == convention.before or not convention.matters(config):
            yield convention.section, convention.field


def find_keys_without_effect(*configs: Frozen) -> set[str]:
    """Return convention keys that change no number of any fit."""

    def has_effect(convention: Convention) -> bool:
        return any(convention.find_part(one) and convention.matters(one) for one in configs)

    return {convention.key for convention in CONVENTIONS if not has_effect(convention)}
