"""The ways to sweep: a grid, keys in pairs, several grids one after the other, random draws; and a filter over all of them.

    hydra:
      sweeper:
        params: {seed: "0,1,2"}                          # crossed with everything else; the command line wins
        pairs: [{keys: [optimizer, optimizer.lr], values: [[sgd, 0.1], [adam, 0.01]]}]
        grids: [{steps: "10,100"}, {steps: 1000, dtype: float64}]   # one after the other
        sample: null                                     # so many random draws instead of all combinations
        seed: 0                                          # of the draws
        filter: optimizer.lr < 0.1 or steps > 10         # see filters.py

Values in `params` and `grids` are written as on the command line. With `sample`, each key is drawn for itself: uniformly from
what is listed or ranged, from `interval(a,b)` uniformly, from `tag(log,interval(a,b))` uniformly on a log scale, from
`int(interval(a,b))` as an integer from a to b; one of the pairs' rows and one of the grids, uniformly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, ValidationError

from linfit.component import Frozen, Seed
from linfit.config import GROUPS, explain
from linfit.errors import ConfigError
from linfit.sweeps.axes import LIMIT, Axis, Interval, Row, axis, paired, stream, text
from linfit.sweeps.filters import Filter
from linfit.sweeps.overrides import all_keys, keys_given, parse_overrides, require_once
from linfit.sweeps.quoting import keep_names

#: How many draws may be dropped by a filter for each that is kept.
MAX_DRAWS = 1000

Axes = Sequence[Axis | Interval]


class Pair(Frozen):
    """Keys that vary together: one row of values after the other."""

    keys: Annotated[list[str], Field(min_length=1)]
    values: Annotated[list[list[Any]], Field(min_length=1)]


class Ways(Frozen):
    """The sweeper's settings as they stand in a study's YAML or on the command line (`hydra.sweeper.sample=500`)."""

    params: dict[str, Any] = Field(default_factory=dict)
    pairs: list[Pair] = Field(default_factory=list)
    grids: list[dict[str, Any]] = Field(default_factory=list)
    sample: Annotated[int, Field(ge=1, le=LIMIT)] | None = None
    seed: Seed = 0
    filter: str | None = None


def ways(node: Mapping[str, Any] | DictConfig) -> Ways:
    """Validates the sweeper's node. What is in `params`, `pairs` and `grids` stays as it is written, for each job to resolve."""
    given = {key: node.get(key) for key in Ways.model_fields}
    plain = {
        key: OmegaConf.to_container(value, resolve=False) if OmegaConf.is_config(value) else value
        for key, value in given.items()
    }
    try:
        return Ways.model_validate(
            {key: value for key, value in plain.items() if value is not None}
        )
    except ValidationError as error:
        raise ConfigError(f"hydra.sweeper.{explain(error)}") from error


def job_overrides(
    ways: Ways, arguments: Sequence[str], loader: ConfigLoader | None = None
) -> Iterator[list[str]]:
    """The overrides of one job after the other; ConfigError before the first where the sweep is empty or too large."""
    grids = _grids(ways, arguments, loader)
    keys = list(dict.fromkeys(key for axes in grids for part in axes for key in part.keys))
    keeps = Filter(ways.filter, keys) if ways.filter is not None else None
    rows = _expanded(grids) if ways.sample is None else _drawn(grids, ways)
    return _overrides(rows, keeps, ways)


def deferred(overrides: Sequence[str]) -> list[str]:
    """The overrides of a sweep as Hydra can compose the sweep itself, from which it leaves out what is swept.

    It would put `optimizer.momentum=0.9` into the default optimizer, whatever optimizers are swept, and fail where that has
    no momentum. `choice(0.9)` is the same for every job, and left out before.
    """
    try:
        parsed = parse_overrides(overrides)
    except HydraException:
        return list(overrides)  # and Hydra will say what is wrong
    return [
        _deferred(override, written) for override, written in zip(parsed, overrides, strict=True)
    ]


def _deferred(override: Override, written: str) -> str:
    group, _, below = override.key_or_group.partition(".")
    plain = (
        override.type is OverrideType.CHANGE
        and override.value_type is ValueType.ELEMENT
        and override.package is None
    )
    if not (plain and group in GROUPS and below) or override.value() in (
        "",
        None,
    ):  # of which Hydra allows no choice
        return written
    return f"{override.key_or_group}=choice({override.get_value_string().strip()})"


def _overrides(
    rows: Iterator[Sequence[Row]], keeps: Filter | None, ways: Ways
) -> Iterator[list[str]]:
    kept = 0
    for seen, job in enumerate(rows):
        if keeps is None or keeps.keeps(
            {setting.key: setting.value for row in job for setting in row}
        ):
            kept += 1
            yield [setting.override for row in job for setting in row]
        if kept == ways.sample:
            return
        if ways.sample is not None and seen >= MAX_DRAWS * (kept + 10):
            raise ConfigError(
                f"filter {ways.filter!r} keeps {kept} of {seen:,} draws: loosen it, or draw from narrower intervals"
            )
    if kept == 0:
        raise ConfigError(
            f"filter {ways.filter!r} drops every combination: loosen it, or sweep over other values"
        )


def _expanded(grids: Sequence[Axes]) -> Iterator[Sequence[Row]]:
    for part in (part for axes in grids for part in axes):
        if isinstance(part, Interval):
            raise ConfigError(
                f"{part.keys[0]} is drawn from an interval: say how many draws, hydra.sweeper.sample=100, or list its values"
            )
    listed = [[part for part in axes if isinstance(part, Axis)] for axes in grids]
    count = sum(math.prod(part.size for part in axes) for axes in listed)
    if count > LIMIT:
        sizes = " + ".join(
            " × ".join(f"{part.size:,} {','.join(part.keys)}" for part in axes if part.size > 1)
            for axes in listed
        )
        raise ConfigError(
            f"{count:,} fits ({sizes}), the limit is {LIMIT:,}: give fewer values, or draw some, hydra.sweeper.sample=1000"
        )
    return (
        job
        for axes in listed
        for job in product(*([part.row(i) for i in range(part.size)] for part in axes))
    )


def _drawn(grids: Sequence[Axes], ways: Ways) -> Iterator[Sequence[Row]]:
    if len(grids) == 1 and all(isinstance(part, Axis) and part.size == 1 for part in grids[0]):
        raise ConfigError(
            f"hydra.sweeper.sample={ways.sample} has nothing to draw: give a key several values, or interval(a,b)"
        )
    return _endless(grids, ways.seed)


def _endless(grids: Sequence[Axes], seed: int) -> Iterator[Sequence[Row]]:
    """Draws without end: the first ones are the same however many are wanted."""
    which = stream(seed, "grids")
    streams = [[stream(seed, str(i), *part.keys) for part in axes] for i, axes in enumerate(grids)]
    while True:
        i = int(which.random() * len(grids))
        yield [part.draw(own.random()) for part, own in zip(grids[i], streams[i], strict=True)]


def _grids(ways: Ways, arguments: Sequence[str], loader: ConfigLoader | None) -> list[Axes]:
    """Each grid as its axes: pairs, then the grid's own keys, then those that all grids share."""
    command = parse_overrides(arguments, loader)
    won = all_keys(command)
    params = _written("params", ways.params, loader)
    shared = [axis(override, ways.seed) for override in _merged(params, command)]
    pairs = [pair for i, given in enumerate(ways.pairs) if (pair := _pair(i, given, won)).keys]
    grids: list[Axes] = []
    for i, values in enumerate(ways.grids or ({},)):
        own = [
            override
            for override in _written(f"grids[{i}]", values, loader)
            if not keys_given(override) <= won
        ]
        left = [override for override in params if not keys_given(override) <= won]
        require_once(
            [
                *(key for pair in pairs for key in pair.keys),
                *(key for each in (*own, *left) for key in keys_given(each)),
            ]
        )
        grids.append([*pairs, *(axis(override, ways.seed) for override in own), *shared])
    return grids


def _merged(params: Sequence[Override], command: Sequence[Override]) -> list[Override]:
    """The command line's overrides and those of `params` that they leave, each in the place of the one that it replaces."""
    won, merged = all_keys(command), list[Override]()
    for own in params:
        same = [
            override for override in command if override.get_key_element() == own.get_key_element()
        ]
        merged += (
            [own]
            if not keys_given(own) <= won
            else [override for override in same if override not in merged]
        )
    return [*merged, *(override for override in command if override not in merged)]


def _pair(number: int, pair: Pair, won: set[str]) -> Axis:
    """A pair as an axis, without the keys that the command line gives."""
    for row in pair.values:
        if len(row) != len(pair.keys):
            raise ConfigError(
                f"hydra.sweeper.pairs[{number}]: {row} has {len(row)} values for the {len(pair.keys)} keys {', '.join(pair.keys)}"
            )
    places = [place for place, key in enumerate(pair.keys) if key.lstrip("+") not in won]
    return paired(
        [pair.keys[place] for place in places],
        [[row[place] for place in places] for row in pair.values],
    )


def _written(where: str, values: Mapping[str, Any], loader: ConfigLoader | None) -> list[Override]:
    """Values as they stand in YAML, where text is written as on the command line."""
    for key, value in values.items():
        if isinstance(value, list | dict):
            raise ConfigError(
                f"hydra.sweeper.{where}.{key} is a {type(value).__name__}: write what stands on the command line, "
                f"as text: several values as '0.1,0.01', one list as '[0.9,0.99]'"
            )
    written = {
        key: value if isinstance(value, str) else text(value) for key, value in values.items()
    }
    return parse_overrides([keep_names(f"{key}={value}") for key, value in written.items()], loader)
