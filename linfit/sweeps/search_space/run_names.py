"""Names of fits and runs, from the command line and the keys that a sweep varies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from linfit.component import Frozen
from linfit.config import FitConfig, canonical_json, flatten_config
from linfit.errors import count_things
from linfit.override import Override
from linfit.sweeps.config_files.search_path import TOP_CONFIG
from linfit.tracking.schema.config_record import UNNAMED_KEYS, list_fit_words
from linfit.tracking.schema.grid_labels import is_label
from linfit.tracking.schema.short_names import MAX_RUN_NAME, name_by_words


def find_varying_keys(overrides: Sequence[Sequence[str]], more: bool = False) -> tuple[str, ...]:
    """Return the keys whose override differs between jobs.

    They are in order of appearance. All keys of a single job vary, unless `more` jobs may come:
    then nothing is known yet.
    """
    values: dict[str, set[str]] = {}
    jobs: Counter[str] = Counter()
    for text, count in Counter(chain.from_iterable(overrides)).items():
        if is_label(text):
            continue
        override = Override.read(text)
        key = override.key
        if override.deletes:
            key = f"~{key}"
        values.setdefault(key, set()).add(override.value or "")
        jobs[key] += count

    if len(overrides) == 1 and not more:
        return tuple(values)
    return tuple(key for key in values if len(values[key]) > 1 or jobs[key] < len(overrides))


def name_single_run(config_name: str, config: FitConfig, overrides: Sequence[str]) -> str:
    """Name a single run by its experiment and its overrides: `linear_adam lr=0.1`."""
    given = [text for text in overrides if not text.startswith("hydra") or is_label(text)]
    changed = list_fit_words(config, find_varying_keys([given]), given)
    own = [] if config_name == TOP_CONFIG else [config_name.rsplit("/", 1)[-1]]
    return name_by_words([*own, *changed]) or "fit"


def name_sweep(config_name: str, varying: Sequence[str], num_fits: int | None) -> str:
    """Name a sweep by its experiment, without one by what varies: `optimizer × lr, 90 fits`.

    `num_fits` is None as long as further fits may come.
    """
    if config_name != TOP_CONFIG:
        return config_name.rsplit("/", 1)[-1]
    named = [key for key in varying if key.split(".")[0] not in UNNAMED_KEYS]
    ends = [key.rpartition(".")[2] for key in named]
    words = []
    for key, end in zip(named, ends, strict=True):
        words.append(end if ends.count(end) == 1 else key)
    if num_fits is None:
        return name_by_words(words, " × ") or "sweep"
    count = count_things(num_fits, "fit")
    if not words:
        return count
    return f"{name_by_words(words, ' × ', MAX_RUN_NAME - len(count) - 2)}, {count}"


def expand_varying_sections(
    keys: Sequence[str],
    overrides: Sequence[Sequence[str]],
    values_of: Callable[[str], Sequence[Any]],
) -> tuple[str, ...]:
    """Replace sections that overrides set whole by the differing keys.

    `optimizer={lr:0.01},{lr:1.0}` varies `optimizer.lr`. `keys` are the result of
    `find_varying_keys(overrides)`, and `values_of(section)` returns the section of each job's
    config as plain data. A component is compared with components of its own name only.
    """
    replaced = set()
    for override in map(Override.read, set(chain.from_iterable(overrides))):
        if not override.deletes and (override.value or "").startswith("{"):
            replaced.add(override.key)
    found: list[str] = []
    for key in keys:
        if key in replaced:
            found += _differing_leaves(key, values_of(key))
        else:
            found.append(key)
    return tuple(dict.fromkeys(found))


def create_section_reader(
    configs: Sequence[FitConfig | Mapping[str, Any]],
) -> Callable[[str], list[Any]]:
    """Return the function `values_of` of `expand_varying_sections`; configs may be plain data."""
    return lambda key: [_section(config, key) for config in configs]


def _section(config: Any, key: str) -> Any:
    """Return the value of a key as plain data, None if the config lacks it."""
    for name in key.split("."):
        config = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    if isinstance(config, Frozen):
        return config.model_dump(mode="json")
    return config


def _differing_leaves(key: str, values: Sequence[Any]) -> list[str]:
    """Return the keys below a section that differ; also the section if components differ."""
    values_by_name: dict[Any, list[dict[str, Any]]] = {}
    for value in values:
        if isinstance(value, dict):
            values_by_name.setdefault(value.get("name"), []).append(flatten_config({key: value}))

    leaves = []
    if len(values_by_name) > 1:
        leaves.append(key)
    for own in values_by_name.values():
        for leaf in own[0]:
            different = {canonical_json(value.get(leaf)) for value in own}
            if len(different) > 1:
                leaves.append(leaf)
    return leaves
