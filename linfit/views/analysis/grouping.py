"""The problem, method, setting and repetition of each fit of a sweep.

Fits are told apart by what decides their numbers, never by words. The words are made afterwards:
from the name of the choice where one was made, else from values, and as long as it takes to tell
apart what differs.

r fits of a sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from linfit.config import GROUPS, NOT_IN_FINGERPRINT, canonical_json, flatten_config, is_seed_key
from linfit.problem.split import Holdout
from linfit.tracking.schema.config_record import parse_choice
from linfit.tracking.schema.grid_labels import GridLabel
from linfit.tracking.schema.objective import PROBLEM_SECTIONS
from linfit.views.analysis.group_labels import GroupIds, GroupWords

#: Keys that change no number, besides those of `NOT_IN_FINGERPRINT`.
INDIFFERENT_KEYS = ("engine.memory",)
#: The only component that is written without its name.
UNNAMED_COMPONENT = Holdout().name


@dataclass(frozen=True)
class SweptKeys:
    """The keys that a sweep varies, by what they are."""

    problem: tuple[str, ...]
    choices: tuple[str, ...]
    numbers: tuple[str, ...]
    seeds: tuple[str, ...]


@dataclass(frozen=True)
class FitGroups:
    """The groups of each fit `[r]` in words, which differ where the groups do."""

    problems: list[str]
    methods: list[str]
    settings: list[str]
    """Within the method; empty where each setting is a method."""
    choices: list[str]
    """The choice of method, also where there is one alone."""
    repetitions: GroupIds
    """The number of each fit's repetition."""
    by_choice: bool
    """True if methods are choices; otherwise the settings of the only choice are methods."""


def sort_keys(varying: Sequence[str], values_of: Callable[[str], Sequence[Any]]) -> SweptKeys:
    """Return the keys that a sweep varies by what they are.

    `values_of(key)` are a key's values in all fits.
    """
    seeds = tuple(key for key in varying if is_seed_key(key))
    problem = tuple(
        key for key in varying if key.split(".")[0] in PROBLEM_SECTIONS and key not in seeds
    )
    rest = [key for key in varying if key not in (*seeds, *problem)]
    choices = tuple(key for key in rest if key in GROUPS or is_choice(values_of(key)))
    return SweptKeys(
        problem,
        choices,
        tuple(key for key in rest if key not in choices),
        seeds,
    )


def is_choice(values: Iterable[Any]) -> bool:
    """Return True if a key's values are choices of method, not numbers to be tuned."""
    for value in values:
        is_list = isinstance(value, str) and value.startswith("[")
        if isinstance(value, bool | str) and not is_list:
            return True
    return False


def collect_options(overrides: Sequence[Sequence[str]]) -> dict[str, list[str | None]]:
    """Return the component chosen by name for each fit, for each group with a choice."""
    read: dict[str, tuple[str, str] | None] = {}
    found: dict[str, list[str | None]] = {}
    for place, own in enumerate(overrides):
        for override in own:
            if override not in read:
                read[override] = parse_choice(override)
            choice = read[override]
            if choice is None:
                continue
            group, option = choice
            if group not in found:
                found[group] = [None] * len(overrides)
            found[group][place] = option
    return found


def group_fits(
    configs: Sequence[Mapping[str, Any]],
    options: Mapping[str, Sequence[str | None]],
    keys: SweptKeys,
    grids: Sequence[GridLabel | None],
) -> FitGroups:
    """Return the groups of fits with these configs, as plain data.

    `options` are the components that were chosen by name, and `grids` the labels of the fits'
    grids. Labels are made of these and of `keys` first.
    """
    r = len(configs)
    every = dict.fromkeys(chain.from_iterable(configs))
    names = [name for name in every if name not in NOT_IN_FINGERPRINT]
    sections = [ConfigVariants.collect(name, configs) for name in names]
    of_problem = [section for section in sections if section.name in PROBLEM_SECTIONS]
    rest = [section for section in sections if section.name not in PROBLEM_SECTIONS]

    chosen = {group: _named(group, own, configs) for group, own in options.items()}
    made = []
    for group, own in chosen.items():
        if group not in PROBLEM_SECTIONS:
            numbers, _ = pd.factorize(np.array(own, dtype=object))
            made.append(numbers)
    made += [section.index_parts(section.list_choices()) for section in rest]
    method = combine_ids(made, r)
    setting = combine_ids(
        [method, *(section.index_parts(section.list_settings()) for section in rest)], r
    )
    problem = combine_ids(
        [section.index_parts(section.list_settings()) for section in of_problem], r
    )

    words = GroupWords(configs, chosen, grids)
    own_names = [section.name for section in rest]
    problems = words.label_groups(problem, keys.problem, [section.name for section in of_problem])
    choices = words.label_groups(method, keys.choices or ("optimizer",), own_names)
    repeated = identify_repetitions(sections, r)
    if method.any():
        settings = words.label_groups(
            setting,
            keys.numbers,
            own_names,
            within=method,
            outer_keys=keys.choices or ("optimizer",),
        )
        return FitGroups(
            problems,
            choices,
            settings,
            choices,
            repeated,
            by_choice=True,
        )
    methods = words.label_groups(setting, keys.numbers or ("optimizer",), own_names)
    return FitGroups(
        problems,
        methods,
        [""] * r,
        choices,
        repeated,
        by_choice=False,
    )


def _named(
    group: str, options: Sequence[str | None], configs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Return the name of each fit's component: as it was chosen, else its own."""
    names = []
    for option, config in zip(options, configs, strict=True):
        names.append(option or config[group].get("name", UNNAMED_COMPONENT))
    return names


def combine_ids(columns: Iterable[GroupIds], r: int) -> GroupIds:
    """Return a number for each combination of columns, in the order of first occurrence."""
    codes = np.zeros(r, dtype=np.int64)
    for column in columns:
        if column.any():
            codes = pd.factorize(codes * (int(column.max()) + 1) + column)[0].astype(np.int64)
    return codes


def identify_repetitions(sections: Sequence[ConfigVariants], r: int) -> GroupIds:
    """Return the number of each fit's repetition, equal where all seeds are.

    A seed that is not given follows `seed`.
    """
    own = next((section.list_values() for section in sections if section.name == "seed"), [0] * r)
    seed = np.array(own, dtype=np.int64)
    columns = []
    for section in sections:
        for given in section.list_seeds():
            numbers, _ = pd.factorize(np.where(given < 0, seed, given))
            columns.append(numbers)
    return combine_ids(columns, r)


@dataclass(frozen=True)
class ConfigVariants:
    """A section of the fits' configs.

    Its variants, flat, and the variant of each fit.
    """

    name: str
    variants: Sequence[Mapping[str, Any]]
    variant_ids: GroupIds

    @staticmethod
    def collect(name: str, configs: Sequence[Mapping[str, Any]]) -> ConfigVariants:
        """Return the section of this name, with each variant once."""
        known: dict[Hashable, int] = {}
        variants: list[Mapping[str, Any]] = []
        which = np.zeros(len(configs), dtype=np.int64)
        last: Any = object()
        number = 0
        for place, config in enumerate(configs):
            value = config.get(name)
            if value != last:  # most sections are equal in all fits
                number = known.setdefault(canonical_json(value), len(known))
                last = value
            if number == len(variants):
                variants.append(flatten_config({name: value}))
            which[place] = number
        return ConfigVariants(name, variants, which)

    def list_values(self) -> list[Any]:
        """Return the value of each fit, of a section that is a plain value."""
        return [self.variants[number].get(self.name) for number in self.variant_ids.tolist()]

    def list_seeds(self) -> list[GroupIds]:
        """Return the values `[r]` of each of the section's seeds, −1 where a fit has none."""
        found = []
        for key in filter(is_seed_key, self.keys):
            seeds = [variant.get(key) for variant in self.variants]
            filled = [-1 if seed is None else seed for seed in seeds]
            found.append(np.array(filled, dtype=np.int64)[self.variant_ids])
        return found

    def list_settings(self) -> list[Hashable]:
        """Return each variant without its seeds."""
        wanted = {key for key in self.keys if not is_seed_key(key) and key not in INDIFFERENT_KEYS}
        return [_picked(variant, wanted) for variant in self.variants]

    def list_choices(self) -> list[Hashable]:
        """Return each variant's choices of method."""
        wanted = set()
        for key in self.keys:
            if is_choice(variant.get(key) for variant in self.variants):
                wanted.add(key)
        return [_picked(variant, wanted) for variant in self.variants]

    @cached_property
    def keys(self) -> list[str]:
        """The keys of all variants."""
        return list(dict.fromkeys(chain.from_iterable(self.variants)))

    def index_parts(self, parts: Sequence[Hashable]) -> GroupIds:
        """Return a number for each fit, equal where the variants have equal parts."""
        numbers: dict[Hashable, int] = {}
        own = [numbers.setdefault(part, len(numbers)) for part in parts]
        return np.array(own, dtype=np.int64)[self.variant_ids]


def _picked(variant: Mapping[str, Any], wanted: Collection[str]) -> Hashable:
    """Return the wanted keys of a variant, with their values."""
    return tuple((key, _hashable(value)) for key, value in variant.items() if key in wanted)


def _hashable(value: Any) -> Hashable:
    return canonical_json(value) if isinstance(value, list) else value
