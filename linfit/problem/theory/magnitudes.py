"""Scaling by powers of two for numbers whose squares overflow float64, or vanish in it.

A power of two changes no digit. Numbers of ordinary size are left as they are, to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array

Exponents = NDArray[np.int32]
#: Binary exponents up to which squares, and sums of very many of them, are ordinary numbers.
ORDINARY_EXPONENT = 400


def find_exponents(array: Array, axis: int | tuple[int, ...]) -> Exponents:
    """Return the binary exponents of the largest numbers along `axis`.

    The axis is kept. They are 0 where these numbers are ordinary.
    """
    largest = np.abs(array).max(axis=axis, keepdims=True, initial=0.0)
    found: Exponents = np.frexp(largest)[1]
    found[np.abs(found) <= ORDINARY_EXPONENT] = 0
    return found


def scale_by_exponents(array: Array, exponents: Exponents) -> Array:
    """Return the numbers times 2^exponents, infinite if too large."""
    if not exponents.any():
        return array
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(array, exponents))


def measure_column_norms(X: Array) -> Array:
    """Return the norms `[…, 1, p]` of X's columns.

    X is `[…, n, p]`.
    """
    exponents = find_exponents(X, -2)
    norms = np.linalg.norm(scale_by_exponents(X, -exponents), axis=-2, keepdims=True)
    return scale_by_exponents(norms, exponents)
