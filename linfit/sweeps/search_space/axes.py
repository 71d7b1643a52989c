"""Axes of a sweep: one for each key, or for keys that vary together."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from hydra.core.override_parser.types import (
    ChoiceSweep,
    FloatRange,
    IntervalSweep,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)
from hydra.core.override_parser.types import Override as ParsedOverride

from linfit.component import describe_unknown
from linfit.errors import ConfigError
from linfit.override import Override

#: The largest sweep. Beyond it, even what each run costs in a database takes hours.
MAX_FITS = 1_000_000

_WORD = re.compile(r"(?!(?i:true|false|null|inf|nan)$)[A-Za-z_][\w/.-]*", re.ASCII)
_CONSTANTS = {None: "null", True: "true", False: "false"}


class Setting(NamedTuple):
    """A value for one key in one job."""

    override: str
    key: str
    value: Any
    """The value that a filter sees."""


AxisRow = tuple[Setting, ...]


@dataclass(frozen=True)
class SweepAxis:
    """Rows of settings that are made on demand.

    An axis may be counted without expanding it.
    """

    keys: tuple[str, ...]
    size: int
    row: Callable[[int], AxisRow]

    def draw_row(self, u: float) -> AxisRow:
        """Return the row for a number from [0, 1).

        All rows are equally likely.
        """
        return self.row(int(u * self.size))


@dataclass(frozen=True)
class IntervalAxis:
    """Uniform numbers from low to high.

    The scale is linear or logarithmic. Integers include both ends.
    """

    element: str
    keys: tuple[str, ...]
    low: float
    high: float
    log: bool
    integer: bool

    def draw_row(self, u: float) -> AxisRow:
        """Return the row for a number from [0, 1)."""
        margin = 0.5 if self.integer else 0.0  # so that both ends are as likely as other integers
        low = self.low - margin
        high = self.high + margin
        if self.log:
            drawn = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        else:
            drawn = low + u * (high - low)
        value: float
        if self.integer:
            value = int(min(max(round(drawn), self.low), self.high))
        else:
            value = float(min(max(drawn, self.low), self.high))
        return (Setting(f"{self.element}={value!r}", self.keys[0], value),)


def parse_axis(override: ParsedOverride, seed: int) -> SweepAxis | IntervalAxis:
    """Return an override's axis; one value is of size 1."""
    element = override.get_key_element()
    key = strip_prefix(override)
    if override.is_interval_sweep():
        return _interval(override)
    if override.is_delete() and override._value is None:
        return _listed((key,), [(Setting(element, key, None),)])
    if not override.is_sweep_override():
        written = f"{element}={override.get_value_element_as_str()}"
        return _listed((key,), [(Setting(written, key, override.value()),)])

    values = _values(override, seed)
    # A range is not searched, because it may be long.
    if not isinstance(values, range) and any(isinstance(value, Sweep) for value in values):
        raise ConfigError(
            f"{override.input_line} mixes values with a range: write every value, "
            f"or two sweeps in hydra.sweeper.grids"
        )
    if not values:
        raise ConfigError(
            f"{override.input_line} has no values: a sweep needs at least one for each key"
        )

    def row(index: int) -> AxisRow:
        value = values[index]
        # Hydra's transformer would drop the quotes of plain text.
        written = render_value(value) if isinstance(value, str) else Transformer.str(value)
        return (Setting(f"{element}={written}", key, ParsedOverride._convert_value(value)),)

    return SweepAxis((key,), len(values), row)


def pair_axes(keys: Sequence[str], rows: Sequence[Sequence[Any]]) -> SweepAxis:
    """Return the axis of keys that vary together.

    Values are data: text is not parsed, and a list is one value. Equal rows count once.
    """
    bare_keys = tuple(Override.read(key).key for key in keys)
    distinct: dict[tuple[str, ...], AxisRow] = {}
    for values in rows:
        row = tuple(
            Setting(f"{key}={render_value(value)}", bare_key, value)
            for key, bare_key, value in zip(keys, bare_keys, values, strict=True)
        )
        distinct[tuple(setting.override for setting in row)] = row
    return _listed(bare_keys, list(distinct.values()))


def strip_prefix(override: ParsedOverride) -> str:
    """Return the key without its prefix.

    `+a=1` and `a=1` set the same key.
    """
    return Override.read(override.get_key_element()).key


def render_value(value: Any) -> str:
    """Write a value in Hydra's override grammar."""
    if isinstance(value, str):
        if _WORD.fullmatch(value):
            return value
        return QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{render_value(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(render_value, value)) + "]"
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    return repr(value)


def derive_generator(seed: int, *names: str) -> np.random.Generator:
    """Return a random generator for each name.

    The draws for one key do not depend on which other keys are drawn.
    """
    words = [seed, *(crc32(name.encode()) for name in names)]
    return np.random.default_rng(np.random.SeedSequence(words))


def _listed(keys: tuple[str, ...], rows: Sequence[AxisRow]) -> SweepAxis:
    return SweepAxis(keys, len(rows), rows.__getitem__)


def _values(override: ParsedOverride, seed: int) -> Sequence[Any]:
    """Return the values in order.

    `shuffle(...)` orders them by the sweep's seed; Hydra's own shuffle has no seed.
    """
    value = override._value
    if isinstance(value, RangeSweep):
        values = _range(override, value)
    elif isinstance(value, ChoiceSweep):
        values = value.list
    else:
        return list(override.sweep_iterator())
    if not value.shuffle:
        return values
    order = derive_generator(seed, "shuffle", strip_prefix(override)).permutation(len(values))
    return [values[index] for index in order]


def _range(override: ParsedOverride, value: RangeSweep) -> Sequence[Any]:
    if value.step == 0:
        raise ConfigError(
            f"{override.input_line} has step 0: give a step that leads from start to stop"
        )
    numbers = value.range()
    if not isinstance(numbers, FloatRange):
        return numbers
    size = math.ceil((numbers.stop - numbers.start) / numbers.step)  # type: ignore[operator]
    if size > MAX_FITS:
        raise ConfigError(
            f"{override.input_line} has {size:,} values, the limit is {MAX_FITS:,}: "
            f"use a larger step, or interval(...) and sample"
        )
    return list(numbers)


def _interval(override: ParsedOverride) -> IntervalAxis:
    value = override._value
    assert isinstance(value, IntervalSweep) and value.start is not None and value.end is not None
    low = value.start
    high = value.end
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"{override.input_line}: an interval goes from a smaller to a larger number"
        )
    log = "log" in value.tags
    if strangers := value.tags - {"log"}:
        raise ConfigError(
            f"{override.input_line}: {describe_unknown('tag', min(strangers), ['log'])}"
        )
    if log and low <= 0:
        raise ConfigError(f"{override.input_line}: a log scale needs an interval above 0")
    integer = isinstance(low, int) and isinstance(high, int)
    return IntervalAxis(
        override.get_key_element(), (strip_prefix(override),), low, high, log, integer
    )
