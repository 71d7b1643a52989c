"""Kinds of sweeps: a grid, keys in pairs, several grids, random draws; and a filter over them.

    hydra:
      sweeper:
        params: {seed: "0,1,2"}           # crossed with everything else; the command line wins
        pairs:
          - {keys: [optimizer, optimizer.lr], values: [[sgd, 0.1], [adam, 0.01]], labels: [A, B]}
        grids: [{steps: "10,100"}, {steps: 1000, dtype: float64, label: A}]  # one after the other
        sample: null                      # number of random draws instead of all combinations
        seed: 0                           # of the draws
        filter: optimizer.lr < 0.1 or steps > 10         # see filters.py

Values in `params` and `grids` are written as on the command line. There, `geomspace(1e-4,1,9)` are
9 numbers from 1e-4 to 1 in equal ratios and `linspace(0,1,11)` 11 in equal steps; a value of a pair
may be such a grid too, for one row each. The ends are exact, and a number between them is rounded
to the fewest digits that are right to a hundredth of a step, such as 0.000316: the rounded number
is the value of the fit. Whole numbers between ends written as integers are integers.

With `sample`, each key is drawn independently: uniformly from listed or ranged values, uniformly
from `interval(a,b)`, uniformly on a log scale from `tag(log,interval(a,b))`, and as an integer from
a to b from `int(interval(a,b))`; one row of each pair and one of the grids is drawn uniformly.

The `label` of a grid stands in names and labels for the keys that have one value in it, and the
label of a pair's row for the keys of the pair.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, compress, product
from typing import Annotated, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override as ParsedOverride
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from pydantic import Field, ValidationError

from linfit.component import Frozen, Seed
from linfit.config import GROUPS
from linfit.config_errors import explain_validation_errors
from linfit.errors import ConfigError
from linfit.override import Override
from linfit.sweeps.config_files.number_grids import expand_number_grids, list_grid_values
from linfit.sweeps.config_files.overrides import (
    collect_given_keys,
    find_given_keys,
    is_plain_setting,
    parse_override,
    parse_overrides,
    require_unique_keys,
)
from linfit.sweeps.config_files.quoting import quote_column_names
from linfit.sweeps.search_space import labels
from linfit.sweeps.search_space.axes import (
    MAX_FITS,
    AxisRow,
    IntervalAxis,
    SweepAxis,
    derive_generator,
    pair_axes,
    parse_axis,
    render_value,
)
from linfit.sweeps.search_space.filters import JobFilter
from linfit.tracking.schema.grid_labels import LABEL_KEY

#: The entry of a grid that is no key of a config.
LABEL = "label"
#: Draws that a filter may drop for each that it keeps.
MAX_DRAWS = 1000

Axes = Sequence[SweepAxis | IntervalAxis]


class PairedKeys(Frozen):
    """Keys that vary together: one row of values after the other."""

    keys: Annotated[list[str], Field(min_length=1)]
    values: Annotated[list[list[Any]], Field(min_length=1)]
    labels: list[Any] | None = None


class SweepSpec(Frozen):
    """The sweeper's settings in a study's YAML or on the command line.

    `hydra.sweeper.sample=500` is one of them.
    """

    params: dict[str, Any] = Field(default_factory=dict)
    pairs: list[PairedKeys] = Field(default_factory=list)
    grids: list[dict[str, Any]] = Field(default_factory=list)
    sample: Annotated[int, Field(ge=1, le=MAX_FITS)] | None = None
    seed: Seed = 0
    filter: str | None = None


def validate_sweep_spec(node: Mapping[str, Any] | DictConfig) -> SweepSpec:
    """Validate the sweeper's node.

    `params`, `pairs` and `grids` keep their interpolations, which each job resolves.
    """
    if node.get(LABEL) is not None:
        raise ConfigError(
            "hydra.sweeper.label is what linfit sets in each fit of a labelled grid: "
            "label the grid itself, hydra.sweeper.grids=[{label:A,seed:'0,1'}]"
        )
    given: dict[str, Any] = {}
    for key in SweepSpec.model_fields:
        value = node.get(key)
        if OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=False)
        if value is not None:
            given[key] = value
    try:
        ways = SweepSpec.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"hydra.sweeper.{explain_validation_errors(error, SweepSpec)}") from error
    labels.check_labels(_list_labels(ways))
    return ways


def _list_labels(ways: SweepSpec) -> list[labels.LabelledSettings]:
    """Return the labels of grids, and of the rows of pairs."""
    found = []
    for index, grid in enumerate(ways.grids):
        if LABEL in grid:
            where = f"grids[{index}]"
            found.append(
                labels.LabelledSettings(where, "grid", f"{where}.label", grid[LABEL], grid)
            )
    for number, pair in enumerate(ways.pairs):
        where = f"pairs[{number}]"
        if pair.labels is None:
            continue
        if len(pair.labels) != len(pair.values):
            raise ConfigError(
                f"hydra.sweeper.{where}.labels: got {len(pair.labels)}, must be one for each of "
                f"the {len(pair.values)} rows of values"
            )
        for row, (label, values) in enumerate(zip(pair.labels, pair.values, strict=True)):
            place = f"{where}.labels[{row}]"
            found.append(labels.LabelledSettings(place, where, place, label, values))
    return found


def generate_jobs(
    ways: SweepSpec, arguments: Sequence[str], loader: ConfigLoader | None = None
) -> Iterator[list[str]]:
    """Yield the overrides of each job.

    ConfigError before the first job if the sweep is empty or too large.
    """
    grids = _grids(ways, arguments, loader)
    keeps = None
    if ways.filter is not None:
        keys: dict[str, None] = {}
        for part in chain(*grids):
            keys.update(dict.fromkeys(part.keys))
        keeps = JobFilter(ways.filter, list(keys))
    rows = _expanded(grids) if ways.sample is None else _drawn(grids, ways)
    return _overrides(rows, keeps, ways)


def defer_swept_values(overrides: Sequence[str]) -> list[str]:
    """Return the overrides with which Hydra can compose the sweep itself.

    Hydra drops swept overrides from it, but would put `optimizer.momentum=0.9` into the default
    optimizer, whatever optimizers are swept, and fail if that one has no momentum. So one value for
    a key of a component becomes `choice(0.9)`, which is the same for every job.
    """
    try:
        return [_deferred(parse_override(override), override) for override in overrides]
    except HydraException:
        return list(overrides)  # Hydra reports the mistake when it composes


def _deferred(override: ParsedOverride, written: str) -> str:
    group, _, below = override.key_or_group.partition(".")
    if not is_plain_setting(override) or group not in GROUPS or not below:
        return written
    if override.value() in ("", None):
        return written  # Hydra allows no choice of these
    return f"{override.key_or_group}=choice({override.get_value_string().strip()})"


def _overrides(
    rows: Iterator[Sequence[AxisRow]], keeps: JobFilter | None, ways: SweepSpec
) -> Iterator[list[str]]:
    """Yield the overrides of the rows that the filter keeps, at most as many as are sampled."""
    kept = 0
    for seen, job in enumerate(rows):
        settings = list(chain(*job))
        if keeps is None or keeps.should_keep({setting.key: setting.value for setting in settings}):
            kept += 1
            yield [setting.override for setting in settings]
        if kept == ways.sample:
            return
        if ways.sample is not None and seen >= MAX_DRAWS * (kept + 10):
            raise ConfigError(
                f"filter {ways.filter!r} keeps {kept} of {seen:,} draws: "
                f"loosen it, or draw from narrower intervals"
            )
    if kept == 0:
        raise ConfigError(
            f"filter {ways.filter!r} drops every combination: loosen it, or sweep over other values"
        )


def _expanded(grids: Sequence[Axes]) -> Iterator[Sequence[AxisRow]]:
    """Return all combinations of each grid; ConfigError if they are too many, or endless."""
    count = 0
    listed: list[list[SweepAxis]] = []
    for axes in grids:
        own: list[SweepAxis] = []
        for part in axes:
            if isinstance(part, IntervalAxis):
                raise ConfigError(
                    f"{part.keys[0]} is drawn from an interval: say how many draws, "
                    f"hydra.sweeper.sample=100, or list its values"
                )
            own.append(part)
        count += math.prod(part.size for part in own)
        listed.append(own)

    if count > MAX_FITS:
        raise ConfigError(
            f"{count:,} fits ({' + '.join(map(_sizes, listed))}), the limit is {MAX_FITS:,}: "
            f"give fewer values, or draw some, hydra.sweeper.sample=1000"
        )
    return chain.from_iterable(map(_products, listed))


def _sizes(axes: Sequence[SweepAxis]) -> str:
    """Return the size of each axis with several values: `3 optimizer × 1,000 seed`."""
    return " × ".join(f"{part.size:,} {','.join(part.keys)}" for part in axes if part.size > 1)


def _products(axes: Sequence[SweepAxis]) -> Iterator[Sequence[AxisRow]]:
    return product(*(map(part.row, range(part.size)) for part in axes))


def _drawn(grids: Sequence[Axes], ways: SweepSpec) -> Iterator[Sequence[AxisRow]]:
    """Return endless draws; ConfigError if there is nothing to draw."""
    constant = all(isinstance(part, SweepAxis) and part.size == 1 for part in grids[0])
    if len(grids) == 1 and constant:
        raise ConfigError(
            f"hydra.sweeper.sample={ways.sample} has nothing to draw: "
            f"give a key several values, or interval(a,b)"
        )
    return _draw_endlessly(grids, ways.seed)


def _draw_endlessly(grids: Sequence[Axes], seed: int) -> Iterator[Sequence[AxisRow]]:
    """Yield draws without end: the first ones do not depend on how many are wanted."""
    which = derive_generator(seed, "grids")
    streams = []
    for index, axes in enumerate(grids):
        streams.append([derive_generator(seed, str(index), *part.keys) for part in axes])
    while True:
        index = int(which.random() * len(grids))
        pairs = zip(grids[index], streams[index], strict=True)
        yield [part.draw_row(own.random()) for part, own in pairs]


def _grids(ways: SweepSpec, arguments: Sequence[str], loader: ConfigLoader | None) -> list[Axes]:
    """Return the axes of each grid: pairs, its own keys, then those that all grids share."""
    command = parse_overrides(arguments, loader)
    won = collect_given_keys(command)
    params = _written("params", ways.params, loader)
    left = _without(params, won)
    shared = [parse_axis(override, ways.seed) for override in _merged(params, command)]
    pairs = []
    pair_keys: list[str] = []
    for index, given in enumerate(ways.pairs):
        if pair := _pair(index, given, won):
            pairs.append(pair)
            pair_keys += [key for key in pair.keys if key != LABEL_KEY]
    grids: list[Axes] = []
    for index, values in enumerate(ways.grids or ({},)):
        settings = {key: value for key, value in values.items() if key != LABEL}
        own = _without(_written(f"grids[{index}]", settings, loader), won)
        require_unique_keys([*pair_keys, *chain(*map(find_given_keys, (*own, *left)))])
        axes = [*pairs, *(parse_axis(override, ways.seed) for override in own), *shared]
        grids.append(labels.add_labels(axes, values.get(LABEL)))
    return grids


def _without(overrides: Sequence[ParsedOverride], won: set[str]) -> list[ParsedOverride]:
    """Return the overrides that give a key which the command line does not give."""
    return [override for override in overrides if not find_given_keys(override) <= won]


def _merged(
    params: Sequence[ParsedOverride], command: Sequence[ParsedOverride]
) -> list[ParsedOverride]:
    """Return `params` and the command line, which wins.

    An override of the command line takes the place of the one that it replaces.
    """
    won = collect_given_keys(command)
    merged: list[ParsedOverride] = []
    for own in params:
        if not find_given_keys(own) <= won:
            merged.append(own)
            continue
        element = own.get_key_element()
        same = [override for override in command if override.get_key_element() == element]
        merged += [override for override in same if override not in merged]
    return [*merged, *(override for override in command if override not in merged)]


def _pair(number: int, pair: PairedKeys, won: set[str]) -> SweepAxis | None:
    """Return the axis of a pair without the keys of the command line; None if none are left."""
    for row in pair.values:
        if len(row) != len(pair.keys):
            raise ConfigError(
                f"hydra.sweeper.pairs[{number}]: {row} has {len(row)} values "
                f"for the {len(pair.keys)} keys {', '.join(pair.keys)}"
            )
    left = [Override.read(key).key not in won for key in pair.keys]
    if not any(left):
        return None
    keys = list(compress(pair.keys, left))
    given = [() if pair.labels is None else (label,) for label in pair.labels or pair.values]
    rows: list[list[Any]] = []
    for row, label in zip(pair.values, given, strict=True):
        expanded = _expand_grid_of_row(keys, list(compress(row, left)))
        rows += [[*own, *label] for own in expanded]
    return pair_axes(keys if pair.labels is None else [*keys, LABEL_KEY], rows)


def _expand_grid_of_row(keys: Sequence[str], row: list[Any]) -> list[list[Any]]:
    """Return a row of a pair, with a grid of numbers one row for each of them."""
    grids = {}
    for place, (key, value) in enumerate(zip(keys, row, strict=True)):
        if (numbers := list_grid_values(key, value)) is not None:
            grids[place] = numbers
    if len(grids) > 1:
        raise ConfigError(f"hydra.sweeper.pairs: {row} has several grids: a row takes one")
    expanded = [row]
    for place, numbers in grids.items():
        expanded = [[*row[:place], number, *row[place + 1 :]] for number in numbers]
    return expanded


def _written(
    where: str, values: Mapping[str, Any], loader: ConfigLoader | None
) -> list[ParsedOverride]:
    """Parse values of the YAML, where text is written as on the command line."""
    overrides: list[str] = []
    for key, value in values.items():
        if isinstance(value, list | dict):
            raise ConfigError(
                f"hydra.sweeper.{where}.{key} is a {type(value).__name__}: "
                f"write what stands on the command line, "
                f"as text: several values as '0.1,0.01', one list as '[0.9,0.99]'"
            )
        if not isinstance(value, str):
            value = render_value(value)
        overrides.append(quote_column_names(expand_number_grids(f"{key}={value}")))
    return parse_overrides(overrides, loader)
