"""What fits and runs are called, from what was typed and what a sweep varies."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from linfit.config import FitConfig
from linfit.tracking.accounts import label


def varying_keys(overrides: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The keys whose override is not the same in all jobs, in the order in which they were given."""
    values: dict[str, set[str]] = {}
    for override in dict.fromkeys(chain.from_iterable(overrides)):
        key, _, value = override.lstrip("+").partition("=")
        values.setdefault(key, set()).add(value)
    return tuple(key for key, different in values.items() if len(different) > 1 or len(overrides) == 1)


def single_name(config_name: str, config: FitConfig, overrides: Sequence[str]) -> str:
    """The experiment file's own name and what the command line changed: `linear_adam lr=0.1`."""
    changed = label(config, varying_keys([[override for override in overrides if not override.startswith("hydra")]]))
    own = "" if config_name == "linfit" else config_name.rsplit("/", 1)[-1]
    return f"{own} {changed}".strip() or "fit"
