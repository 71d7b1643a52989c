"""The rounding floor of a fit: an excess loss at or below it says nothing more about the method.

The floor is (ε · the root of the initial excess loss)², with ε the rounding of the fit's dtype. An
excess loss at or below it counts as the floor and is printed `≤ FLOOR`, zero included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from linfit.engine.difference import rounding_floor
from linfit.problem.types import Array

if TYPE_CHECKING:  # a single fit does without pandas
    import pandas as pd

#: The floor of a fit that started at its optimum, or whose start is not known.
LEAST_FLOOR = float(np.finfo(float).tiny)
#: Distance from 1 below which a factor is written as 1.
LEAST_SHOWN_DISTANCE = 1e-6


def compute_floor(initial_excess: float, dtype: str) -> float:
    """Return the rounding floor of a fit, which is positive and finite."""
    found = rounding_floor(initial_excess, dtype)
    return found if LEAST_FLOOR < found < np.inf else LEAST_FLOOR


def raise_to_floor(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the fits with `log` raised to their `floor`, both log₁₀.

    NaN stays NaN.

    Where there is no floor, -inf, the smallest normal number is one, so that 0 has a logarithm.
    """
    floor = np.maximum(runs["floor"].fillna(-np.inf), np.log10(LEAST_FLOOR))
    return runs.assign(floor=floor, log=np.maximum(runs["log"], floor))


def clip_to_floor(values: ArrayLike, floor: ArrayLike) -> Array:
    """Return excess losses with those at or below their floor raised to it, for pictures."""
    return np.asarray(np.maximum(np.asarray(values, dtype=float), floor))


def describe_floor(values: ArrayLike, floor: ArrayLike) -> str:
    """Return where excess losses are drawn that are only rounding."""
    found = np.asarray(values, dtype=float)
    least = np.broadcast_to(np.asarray(floor, dtype=float), found.shape)
    low = found <= least
    if not low.any():
        return ""
    return describe_clipping(float(least[low].max()))


def describe_clipping(highest: float) -> str:
    """Return that excess losses are drawn at their rounding floor, and the highest of these."""
    bound = format_bound(highest, True)
    return f"excess losses at or below their rounding floor, {bound}, are drawn at it"


def format_rounded(value: float) -> str:
    """Return a number with three digits: more would pretend. Below a million it has no exponent."""
    if np.isnan(value):
        return "–"
    text = f"{value:.3g}"
    if 1e3 <= abs(float(text)) < 1e6:
        return f"{float(text):.0f}"
    return text


def format_factor(value: float) -> str:
    """Return a factor with three digits, or near 1 with two digits of its distance from 1."""
    distance = abs(value - 1)
    if not LEAST_SHOWN_DISTANCE <= distance < 0.01:
        return format_rounded(value)
    decimals = 1 - int(np.floor(np.log10(distance)))
    return f"{value:.{decimals}f}".rstrip("0")


def format_bound(value: float, at_floor: bool) -> str:
    """Return a number as text, `≤ 3.5e-12` where it is the rounding floor."""
    return f"≤ {format_rounded(value)}" if at_floor else format_rounded(value)
