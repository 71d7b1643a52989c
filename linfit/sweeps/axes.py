"""What a sweep varies: one axis for each key, or for keys that vary together, and how an override says the values of it."""

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
    Override,
    Quote,
    QuotedString,
    RangeSweep,
    Sweep,
    Transformer,
)

from linfit.component import unknown
from linfit.errors import ConfigError

#: The largest sweep. Beyond it, even what each run costs in a database takes hours.
LIMIT = 1_000_000

_WORD = re.compile(r"(?!(?i:true|false|null|inf|nan)$)[A-Za-z_][\w/.-]*", re.ASCII)


class Setting(NamedTuple):
    """A value for one key in one job: the override, and what a filter sees."""

    override: str
    key: str
    value: Any


Row = tuple[Setting, ...]


@dataclass(frozen=True)
class Axis:
    """`size` rows; `row(i)` is made when it is asked for, so that an axis may be counted before it is expanded."""

    keys: tuple[str, ...]
    size: int
    row: Callable[[int], Row]

    def draw(self, u: float) -> Row:
        """A row for a number from [0, 1): all are equally likely."""
        return self.row(int(u * self.size))


@dataclass(frozen=True)
class Interval:
    """Numbers from low to high, evenly on a linear or a log scale; integers include both ends."""

    element: str
    keys: tuple[str, ...]
    low: float
    high: float
    log: bool
    integer: bool

    def draw(self, u: float) -> Row:
        low, high = (self.low - 0.5, self.high + 0.5) if self.integer else (self.low, self.high)
        drawn = (
            math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
            if self.log
            else low + u * (high - low)
        )
        value: float = min(max(round(drawn) if self.integer else drawn, self.low), self.high)
        value = int(value) if self.integer else float(value)
        return (Setting(f"{self.element}={value!r}", self.keys[0], value),)


def axis(override: Override, seed: int) -> Axis | Interval:
    """The axis of what stands on the command line or in `params`; one value is an axis of size 1."""
    element, key = override.get_key_element(), bare(override)
    if override.is_interval_sweep():
        return _interval(override)
    if override.is_delete() and override._value is None:
        return _listed((key,), [(Setting(element, key, None),)])
    if not override.is_sweep_override():
        return _listed(
            (key,),
            [(Setting(f"{element}={override.get_value_element_as_str()}", key, override.value()),)],
        )
    values = _values(override, seed)
    if not isinstance(values, range) and any(
        isinstance(value, Sweep) for value in values
    ):  # a range may be long
        raise ConfigError(
            f"{override.input_line} mixes values with a range: write every value, or two sweeps in hydra.sweeper.grids"
        )
    if not values:
        raise ConfigError(
            f"{override.input_line} has no values: a sweep needs at least one for each key"
        )

    def row(i: int) -> Row:
        value = values[i]
        written = (
            text(value) if isinstance(value, str) else Transformer.str(value)
        )  # of which Hydra would leave out the quotes
        return (Setting(f"{element}={written}", key, Override._convert_value(value)),)

    return Axis((key,), len(values), row)


def paired(keys: Sequence[str], rows: Sequence[Sequence[Any]]) -> Axis:
    """Keys that vary together; values are data, so that text is that text and a list is one value."""
    settings = [
        tuple(
            Setting(f"{key}={text(value)}", key.lstrip("+"), value)
            for key, value in zip(keys, row, strict=True)
        )
        for row in rows
    ]
    distinct = {tuple(setting.override for setting in row): row for row in settings}
    return _listed(tuple(key.lstrip("+") for key in keys), list(distinct.values()))


def bare(override: Override) -> str:
    """The key without its prefix: `+a=1` and `a=1` are about the same key."""
    return override.get_key_element().lstrip("+~")


def text(value: Any) -> str:
    """A value in Hydra's override grammar."""
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) else QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{text(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(text, value)) + "]"
    return (
        {None: "null", True: "true", False: "false"}[value]
        if value is None or isinstance(value, bool)
        else repr(value)
    )


def stream(seed: int, *names: str) -> np.random.Generator:
    """A stream for each name: the draws for one key do not depend on which other keys are drawn."""
    return np.random.default_rng(
        np.random.SeedSequence([seed, *(crc32(name.encode()) for name in names)])
    )


def _listed(keys: tuple[str, ...], rows: Sequence[Row]) -> Axis:
    return Axis(keys, len(rows), rows.__getitem__)


def _values(override: Override, seed: int) -> Sequence[Any]:
    """The values in order; `shuffle(...)` orders them by the sweep's seed, where Hydra's own shuffle has none."""
    value = override._value
    if isinstance(value, RangeSweep):
        values = _range(override, value)
    else:
        values = value.list if isinstance(value, ChoiceSweep) else list(override.sweep_iterator())
    if isinstance(value, RangeSweep | ChoiceSweep) and value.shuffle:
        values = [
            values[i] for i in stream(seed, "shuffle", bare(override)).permutation(len(values))
        ]
    return values


def _range(override: Override, value: RangeSweep) -> Sequence[Any]:
    if value.step == 0:
        raise ConfigError(
            f"{override.input_line} has step 0: give a step that leads from start to stop"
        )
    numbers = value.range()
    if not isinstance(numbers, FloatRange):
        return numbers
    size = math.ceil((numbers.stop - numbers.start) / numbers.step)  # type: ignore[operator]
    if size > LIMIT:
        raise ConfigError(
            f"{override.input_line} has {size:,} values, the limit is {LIMIT:,}: use a larger step, or interval(...) and sample"
        )
    return list(numbers)


def _interval(override: Override) -> Interval:
    value = override._value
    assert isinstance(value, IntervalSweep) and value.start is not None and value.end is not None
    if not (math.isfinite(value.start) and math.isfinite(value.end) and value.start < value.end):
        raise ConfigError(
            f"{override.input_line}: an interval goes from a smaller to a larger number"
        )
    log = "log" in value.tags
    if strangers := value.tags - {"log"}:
        raise ConfigError(f"{override.input_line}: {unknown('tag', min(strangers), ['log'])}")
    if log and value.start <= 0:
        raise ConfigError(f"{override.input_line}: a log scale needs an interval above 0")
    integer = isinstance(value.start, int) and isinstance(value.end, int)
    return Interval(
        override.get_key_element(), (bare(override),), value.start, value.end, log, integer
    )
