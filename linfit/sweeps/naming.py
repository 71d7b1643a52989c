"""What fits and runs are called, from what was typed and what a sweep varies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from linfit.component import Frozen
from linfit.config import FitConfig, canonical, flatten
from linfit.tracking.accounts import label


def varying_keys(overrides: Sequence[Sequence[str]], more: bool = False) -> tuple[str, ...]:
    """Return the keys whose override is not the same in all jobs, in the order in which they came.

    Of a job alone all its keys vary, unless `more` jobs may come: then nothing is known yet.
    """
    values: dict[str, set[str]] = {}
    jobs: Counter[str] = Counter()
    for override, count in Counter(chain.from_iterable(overrides)).items():
        key, _, value = override.lstrip("+").partition("=")
        values.setdefault(key, set()).add(value)
        jobs[key] += count
    alone = len(overrides) == 1 and not more
    return tuple(
        key
        for key, different in values.items()
        if alone or len(different) > 1 or jobs[key] < len(overrides)
    )


def single_name(config_name: str, config: FitConfig, overrides: Sequence[str]) -> str:
    """The experiment file's own name and what the command line changed: `linear_adam lr=0.1`."""
    given = [override for override in overrides if not override.startswith("hydra")]
    changed = label(config, varying_keys([given]), given)
    own = "" if config_name == "linfit" else config_name.rsplit("/", 1)[-1]
    return f"{own} {changed}".strip() or "fit"


def leaf_keys(
    keys: Sequence[str],
    overrides: Sequence[Sequence[str]],
    values_of: Callable[[str], Sequence[Any]],
) -> tuple[str, ...]:
    """Return varying keys, but for a section that an override replaced whole the keys below it that differ.

    `optimizer={lr:0.01},{lr:1.0}` varies `optimizer.lr`. `keys` are what `varying_keys(overrides)` found, and
    `values_of(section)` returns the section of each job's config as plain data. Components of several names are compared
    with those of their own name only.
    """
    given = (
        override.lstrip("+").partition("=") for override in set(chain.from_iterable(overrides))
    )
    replaced = {key for key, _, value in given if value.startswith("{")}
    found = (_leaves(key, values_of(key)) if key in replaced else [key] for key in keys)
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def sections_of(configs: Sequence[FitConfig | Mapping[str, Any]]) -> Callable[[str], list[Any]]:
    """Return the function `values_of` of `leaf_keys` for configs, which may be plain data."""
    return lambda key: [_section(config, key) for config in configs]


def _section(config: Any, key: str) -> Any:
    """Return the value of a key as plain data, None where there is none."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    return config.model_dump(mode="json") if isinstance(config, Frozen) else config


def _leaves(key: str, values: Sequence[Any]) -> list[str]:
    """Return the keys below a section that differ between its values; the section itself where its component does."""
    values_by_name: dict[Any, list[dict[str, Any]]] = {}
    for value in values:
        if isinstance(value, dict):
            values_by_name.setdefault(value.get("name"), []).append(flatten({key: value}))
    leaves = [key] if len(values_by_name) > 1 else []
    for own in values_by_name.values():
        texts = {leaf: {canonical(value.get(leaf)) for value in own} for leaf in own[0]}
        leaves += [leaf for leaf, different in texts.items() if len(different) > 1]
    return leaves
