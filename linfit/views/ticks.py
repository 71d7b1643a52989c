"""Where a logarithmic axis has its ticks and what stands there: without mathematical typesetting, and in one notation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from linfit.views.charts import STEP_ZERO

#: The share of a value below which two are the same on an axis.
NOTHING = 1e-9
#: Ticks of an axis; the shares of it that half a letter, and the gap between two texts, take.
MOST, LETTER, GAP = 7, 0.013, 0.02
#: The decades from which 1, 2, 5, … and powers of ten are enough.
SHORT, LONG = 0.7, 2.5
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def ticks(low: float, high: float, wanted: Sequence[float] = ()) -> list[float]:
    """The ticks between two ends: the values wanted if there are few, or powers of ten, or 1, 2, 5, …, or even steps."""
    if low <= 0:  # nothing is drawn
        return []
    decades = count_decades(low, high)
    inside = [value for value in wanted if low <= value <= high]
    if len(inside) > 1:
        return inside
    if decades >= LONG:
        first, last = int(np.ceil(np.log10(low) - 1e-9)), int(np.floor(np.log10(high) + 1e-9))
        stride = -(-(last - first + 1) // MOST)
        return [10.0**power for power in range(-(-first // stride) * stride, last + 1, stride)]
    if decades >= SHORT:
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        return [
            tick
            for power in powers
            for tick in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)
            if low <= tick <= high
        ]
    return _even(low, high)


def count_decades(low: float, high: float) -> float:
    """Return log₁₀ of high / low, which need not be a number itself."""
    return float(np.log10(high) - np.log10(low))


def step_ticks(last: float) -> list[float]:
    """Those of an axis of steps, which begins with step 0."""
    return [
        tick
        for tick in (STEP_ZERO, *10.0 ** np.arange(0, np.ceil(np.log10(max(last, 1))) + 1))
        if tick <= last * 1.05
    ]


def step_names(values: Iterable[float]) -> list[str]:
    return ["0" if step < 1 else f"{step:.0f}" if step < 1e5 else power_of(step) for step in values]


def names(values: Sequence[float]) -> list[str]:
    """The ticks in one notation, with as many digits as tell them apart: plain, or as powers of ten."""
    plain = not len(values) or (min(values) >= 1e-4 and max(values) < 1e5)
    if not plain or (
        len(values) > 2 and max(values) > 1e3 * min(values) and all(map(_is_power, values))
    ):
        return distinct(values, power_of)
    found = distinct(
        values,
        lambda value, digits: np.format_float_positional(float(f"{value:.{digits}g}"), trim="-"),
    )
    return _aligned(found) if len(values) and max(values) < 10 * min(values) else found


def distinct(
    values: Sequence[float], written: Callable[[float, int], str], fewest: int = 3
) -> list[str]:
    """The values as `written(value, digits)` has them, with the fewest digits that tell all of them apart."""
    found: list[str] = []
    for digits in range(fewest, 18):
        found = [written(value, digits) for value in values]
        if len(set(found)) == len(set(values)):
            break
    return found


def power_of(value: float, digits: int = 3) -> str:
    """10⁻³, 2·10⁻⁷."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = "10" + str(int(exponent)).translate(SUPERSCRIPTS)
    factor = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return power if factor == "1" else f"{factor}·{power}"


def _is_power(value: float) -> bool:
    return bool(abs(np.log10(value) - round(np.log10(value))) < 1e-9)


def _aligned(numbers: Sequence[str]) -> list[str]:
    """With as many decimals as the longest of them."""
    decimals = max(len(number.partition(".")[2]) for number in numbers)
    return [f"{float(number):.{decimals}f}" for number in numbers]


def where_room(values: Sequence[float], texts: Sequence[str], decades: float) -> list[str]:
    """The texts beside each other along an axis, blank where one would touch another: powers of ten come first."""
    kept: list[int] = []
    for place in sorted(
        range(len(values)), key=lambda place: (not _is_power(values[place]), values[place])
    ):
        if all(_apart(values, texts, place, other, decades) for other in kept):
            kept.append(place)
    return [text if place in kept else "" for place, text in enumerate(texts)]


def _apart(
    values: Sequence[float], texts: Sequence[str], one: int, other: int, decades: float
) -> bool:
    """Whether two texts do not touch."""
    needed = GAP + LETTER * len(texts[one] + texts[other])
    return abs(count_decades(values[one], values[other])) >= needed * decades


def _even(low: float, high: float) -> list[float]:
    """Steps of 1, 2 or 5 times a power of ten; where there is nothing between, the value itself."""
    if high <= low * (1 + NOTHING):
        return [float(f"{low:.12g}")]
    size = 10.0 ** np.floor(np.log10((high - low) / 3))
    step = size * max(factor for factor in (1, 2, 5) if factor * size <= (high - low) / 3)
    return [
        float(f"{step * k:.12g}")
        for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)
    ]
