"""Scaling by powers of two for numbers whose squares overflow float64, or vanish in it.

A power of two changes no digit. Numbers of ordinary size are left as they are, to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from linfit.problem.types import Array

Exponents = NDArray[np.int32]
#: Binary exponents up to which squares, and sums of very many of them, are ordinary numbers.
ORDINARY = 400


def exponents_of(array: Array, axis: int | tuple[int, ...]) -> Exponents:
    """Return the binary exponents of the largest numbers along `axis`, which is kept.

    They are 0 where these numbers are ordinary.
    """
    largest = np.abs(array).max(axis=axis, keepdims=True, initial=0.0)
    found: Exponents = np.frexp(largest)[1]
    found[np.abs(found) <= ORDINARY] = 0
    return found


def scaled(array: Array, exponents: Exponents) -> Array:
    """Return the numbers times 2^exponents; one that is too large becomes infinite."""
    if not exponents.any():
        return array
    with np.errstate(over="ignore"):
        return np.asarray(np.ldexp(array, exponents))


def column_norms(X: Array) -> Array:
    """Return the norms `[…, 1, p]` of the columns of X `[…, n, p]`."""
    exponents = exponents_of(X, -2)
    norms = np.linalg.norm(scaled(X, -exponents), axis=-2, keepdims=True)
    return scaled(norms, exponents)
