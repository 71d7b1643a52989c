"""The ticks of a logarithmic axis and their names: in one notation, without typesetting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap
from unicodedata import east_asian_width

import numpy as np

from linfit.views.charts.chart import STEP_ZERO, ChartAxis

#: The relative difference below which two values are one on an axis.
SAME_WITHIN = 1e-9
#: Ticks of an axis.
MOST_AXIS_TICKS = 7
#: The share of an axis that half a letter takes.
LETTER_SHARE = 0.013
#: The share of an axis between two texts.
GAP_SHARE = 0.02
#: The decades of an axis from which on ticks are 1, 2, 5, …
FEW_DECADES = 0.7
#: The decades of an axis from which on ticks are powers of ten.
MANY_DECADES = 2.5
#: The last step of an axis that names each, and of one that names 1, 2, 5, …
FEW_STEPS = 8
SEVERAL_STEPS = 100
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def choose_ticks(low: float, high: float, wanted: Sequence[float] = ()) -> list[float]:
    """Return the ticks between two ends.

    The values wanted if there are two or more, otherwise powers of ten, or 1, 2, 5, …, or even
    steps.
    """
    if low <= 0:  # nothing is drawn
        return []
    inside = [value for value in wanted if low <= value <= high]
    if len(inside) > 1:
        return inside

    decades = count_decades(low, high)
    if decades >= MANY_DECADES:
        first = int(np.ceil(np.log10(low) - 1e-9))
        last = int(np.floor(np.log10(high) + 1e-9))
        stride = -(-(last - first + 1) // MOST_AXIS_TICKS)
        return [10.0**power for power in range(-(-first // stride) * stride, last + 1, stride)]
    if decades >= FEW_DECADES:
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        found = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        return [tick for tick in found if low <= tick <= high]
    return _even(low, high)


def choose_axis_ticks(
    axis: ChartAxis, low: float, high: float
) -> tuple[list[float], list[str]] | None:
    """Return the ticks of an axis and their names, None where the library chooses them."""
    if axis.scale == "steps":
        places = choose_step_ticks(high)
        return places, name_steps(places)
    if axis.scale == "log":
        places = choose_ticks(low, high, axis.ticks)
        if axis.whole:
            places = [place for place in places if place == round(place)]
        return places, name_ticks(places)
    if axis.ticks:
        return list(axis.ticks), [f"{place:.6g}" for place in axis.ticks]
    if axis.whole:
        places = choose_whole_ticks(low, high)
        return places, [f"{place:.0f}" for place in places]
    return None


def count_decades(low: float, high: float) -> float:
    """Return log₁₀ of high / low, which need not be a number itself."""
    return float(np.log10(high) - np.log10(low))


def choose_step_ticks(last: float) -> list[float]:
    """Return the ticks of an axis of steps, which begins with step 0."""
    if last < FEW_STEPS:
        found = [float(step) for step in range(1, int(last) + 1)]
    else:
        powers = range(int(np.ceil(np.log10(last))) + 1)
        factors = (1, 2, 5) if last < SEVERAL_STEPS else (1,)
        found = [factor * 10.0**power for power in powers for factor in factors]
    return [tick for tick in (STEP_ZERO, *found) if tick <= last * 1.05]


def choose_whole_ticks(low: float, high: float) -> list[float]:
    """Return whole numbers between two ends, in steps of 1, 2 or 5 times a power of ten."""
    least = max((high - low) / MOST_AXIS_TICKS, 1)
    size = 10.0 ** np.floor(np.log10(least))
    step = int(size * min(factor for factor in (1, 2, 5, 10) if factor * size >= least))
    first = int(np.ceil(low / step)) * step
    return [float(place) for place in range(first, int(np.floor(high)) + 1, step)]


def name_steps(values: Iterable[float]) -> list[str]:
    """Return the names of ticks of an axis of steps."""
    return [_name_step(value) for value in values]


def _name_step(step: float) -> str:
    if step < 1:
        return "0"
    return f"{step:.0f}" if step < 1e5 else format_power(step)


def name_ticks(values: Sequence[float]) -> list[str]:
    """Return the names of ticks: plain, or powers of ten, with the digits that tell them apart."""
    if not len(values):
        return []
    low = min(values)
    high = max(values)
    is_plain = low >= 1e-4 and high < 1e5
    is_long = len(values) > 2 and high > 1e3 * low
    if not is_plain or (is_long and all(map(_is_power, values))):
        return format_distinct(values, format_power)
    found = format_distinct(values, _write_plain)
    return _aligned(found) if high < 10 * low else found


def _write_plain(value: float, digits: int) -> str:
    return np.format_float_positional(float(f"{value:.{digits}g}"), trim="-")


def format_distinct(
    values: Sequence[float], written: Callable[[float, int], str], fewest: int = 3
) -> list[str]:
    """Return values as `written(value, digits)`, with the fewest digits that tell them apart."""
    found: list[str] = []
    for digits in range(fewest, 18):
        found = [written(value, digits) for value in values]
        if len(set(found)) == len(set(values)):
            break
    return found


def format_power(value: float, digits: int = 3) -> str:
    """Return a number as 10⁻³ or 2·10⁻⁷."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    factor = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return power if factor == "1" else f"{factor}·{power}"


def shorten_label(label: str, letters: int, most: int) -> str:
    """Return a label in up to `most` lines, with its middle left out if it is too long.

    What tells labels apart is often their end. Wide letters, such as Chinese ones, count twice.
    """
    if label:
        letters = max(4, letters * len(label) // _count_columns(label))
    room = letters * most - most
    if len(label) > room and "\n" not in label:
        label = f"{label[: room // 2]} … {label[-(room // 2) + 3 :]}"
    lines: list[str] = []
    for part in label.split("\n"):
        lines += wrap(part, letters) or [""]
    return "\n".join(lines)


def _count_columns(label: str) -> int:
    return len(label) + sum(east_asian_width(letter) in "WF" for letter in label)


def _is_power(value: float) -> bool:
    return bool(abs(np.log10(value) - round(np.log10(value))) < 1e-9)


def _aligned(numbers: Sequence[str]) -> list[str]:
    """Return numbers with as many decimals as the longest of them."""
    decimals = max(len(number.partition(".")[2]) for number in numbers)
    return [f"{float(number):.{decimals}f}" for number in numbers]


def hide_overlaps(values: Sequence[float], texts: Sequence[str], decades: float) -> list[str]:
    """Return the texts along an axis, blank where one would touch another.

    Powers of ten come first.
    """
    kept: list[int] = []
    indices = range(len(values))
    for index in sorted(indices, key=lambda index: (not _is_power(values[index]), values[index])):
        if all(
            _are_apart(
                values,
                texts,
                index,
                other,
                decades,
            )
            for other in kept
        ):
            kept.append(index)
    return [text if index in kept else "" for index, text in enumerate(texts)]


def _are_apart(
    values: Sequence[float], texts: Sequence[str], one: int, other: int, decades: float
) -> bool:
    """Return True if two texts do not touch."""
    needed = GAP_SHARE + LETTER_SHARE * len(texts[one] + texts[other])
    return abs(count_decades(values[one], values[other])) >= needed * decades


def _even(low: float, high: float) -> list[float]:
    """Return steps of 1, 2 or 5 times a power of ten; of equal ends the value itself."""
    if high <= low * (1 + SAME_WITHIN):
        return [float(f"{low:.12g}")]
    third = (high - low) / 3
    size = 10.0 ** np.floor(np.log10(third))
    step = size * max(factor for factor in (1, 2, 5) if factor * size <= third)
    multiples = range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    return [float(f"{step * k:.12g}") for k in multiples]
