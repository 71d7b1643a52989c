"""Features: functions of the data's columns, an intercept, and a scaling that can be undone.

    columns `[n, c]` → functions φ of each column `[n, d]` → (φ − shift)·mix, and the intercept
    → features X `[n, p]`

Functions are of columns of numbers. A column of text has indicators of its levels, after all of
them; these are functions too, for which every choice of features takes them as they are (a power
of an indicator is itself), and scaling treats them like any other.

Scaling never changes what can be fitted, only how well it is conditioned: without an intercept that
could make up for it, nothing is shifted. So weights can always be told in terms of the functions
themselves, and where these are polynomials, in terms of the powers of the user's own columns.

n samples, c columns, d functions, p features, q targets, o user terms.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from itertools import product, starmap
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.polynomial import Chebyshev, Legendre
from numpy.polynomial import Polynomial as Powers
from pydantic import Field, model_validator

from linfit.component import Component
from linfit.problem import linfit_model_1 as formulas
from linfit.problem.categories import NO_CATEGORIES, Categories
from linfit.problem.scaling import (
    ColumnBlocks,
    compute_whitening,
    measure_bounds,
    measure_deviations,
    weigh_samples,
)
from linfit.problem.types import Array

INTERCEPT = "1"
FunctionCount = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Features as a function of columns.

    It has everything that was learnt from training samples.
    """

    features: Features
    columns: tuple[str, ...]
    bounds: Array
    """The least and the largest value of each column `[2, c]`."""
    shift: Array
    """`[d]`"""
    mix: Array
    """`[d, d]`"""
    categories: Categories = NO_CATEGORIES
    """Levels of the columns of text."""

    @property
    def functions(self) -> tuple[str, ...]:
        """Names of the functions `[d]`."""
        numbers = self.features.functions(self.categories.list_numbers(self.columns))
        return (*numbers, *self.categories.name_indicators(self.columns))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features `[p]`."""
        if self.features.intercept:
            return (*self.functions, INTERCEPT)
        return self.functions

    def expand(self, columns: Array) -> Array:
        """Return the functions `[n, d]` of columns `[n, c]`, whose texts are indices of levels."""
        if not self.categories:
            return self.features.expand(columns, self.bounds)
        indicators = self.categories.indicate(self.columns, columns)
        numbers = self.categories.select_numbers(self.columns, columns)
        if not numbers.shape[1]:
            return indicators
        return np.hstack([self.features.expand(numbers, self.bounds), indicators])

    def __call__(self, columns: Array) -> Array:
        """Return X `[n, p]` of columns `[n, c]`, whose texts are indices of levels."""
        X = self.expand(columns)
        if self.features.scaling != "none":
            X = formulas.scale(X, self.shift, self.mix)
        if self.features.intercept:
            return formulas.add_ones(X)
        return X

    def in_user_terms(self) -> tuple[tuple[str, ...], Array]:
        """Return the user terms.

        They are their names `[o]`, the intercept last, and T `[o, p]`. T·W are their weights `[o,
        q]`.
        """
        names, matrix, constants = self.sum_functions()  # [o], [o, d], [d]
        matrix = matrix @ self.mix
        last = (constants - self.shift) @ self.mix
        if self.features.intercept:
            matrix = np.hstack([matrix, np.zeros((len(matrix), 1))])
            last = np.append(last, 1.0)
        elif not last.any():
            return names, matrix
        return (*names, INTERCEPT), np.vstack([matrix, last])

    def sum_functions(self) -> tuple[tuple[str, ...], Array, Array]:
        """Return the user terms' names `[o]`, and functions as their sums: `[o, d]`, plus `[d]`."""
        numbers = self.categories.list_numbers(self.columns)
        names, matrix, constants = self.features.in_user_terms(numbers, self.bounds)
        indicators = self.categories.name_indicators(self.columns)
        if not indicators:
            return names, matrix, constants
        o, d = matrix.shape
        whole = np.eye(o + len(indicators), d + len(indicators), d - o)
        whole[:o] = 0
        whole[:o, :d] = matrix
        return (*names, *indicators), whole, np.append(constants, np.zeros(len(indicators)))

    def to_parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return plain data and arrays, which `from_parts` takes back."""
        plain = {"features": self.features.model_dump(mode="json"), "columns": list(self.columns)}
        if self.categories:
            plain["categories"] = self.categories.to_plain()
        arrays = {"bounds": self.bounds}
        if self.features.scaling != "none":  # otherwise nothing is shifted or mixed
            arrays |= {"shift": self.shift, "mix": self.mix}
        return plain, arrays

    @classmethod
    def from_parts(cls, plain: dict[str, Any], arrays: dict[str, Array]) -> FeatureMap:
        """Return the expansion of what `to_parts` returned."""
        features = Features.choose(plain["features"])
        columns = tuple(plain["columns"])
        categories = Categories.from_plain(plain.get("categories"))
        bare = _map_without_scaling(features, columns, arrays["bounds"], categories)
        return replace(bare, shift=arrays.get("shift", bare.shift), mix=arrays.get("mix", bare.mix))


class Features(Component):
    """The map from the data's columns to what is fitted.

    `intercept` adds a feature of ones, the last. `scaling` is learnt from the training samples,
    weighted as they are: `standardize` divides each function by its standard deviation, `whiten`
    makes them uncorrelated too, with variance one, and as near to the standardized ones as that
    allows (Kessy, Lewin and Strimmer, "Optimal Whitening and Decorrelation", 2018: ZCA-cor). With
    an intercept both subtract the mean; without one, deviations are from zero.
    """

    intercept: bool = True
    scaling: Literal["none", "standardize", "whiten"] = "none"

    @abstractmethod
    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names `[d]` of the functions of the columns `[c]`."""

    @abstractmethod
    def expand(self, columns: Array, bounds: Array) -> Array:
        """Return the functions `[n, d]` of columns `[n, c]`.

        Their training bounds are `[2, c]`.
        """

    def in_user_terms(
        self, columns: tuple[str, ...], bounds: Array
    ) -> tuple[tuple[str, ...], Array, Array]:
        """Return the user terms' names `[o]`, and functions as their sums.

        The functions are `[o, d]` times the terms, plus `[d]`.
        """
        names = self.functions(columns)
        return names, np.eye(len(names)), np.zeros(len(names))

    def rounding_factor(self, bounds: Array) -> float:
        """Return how many roundings of its size a function has where its column has one."""
        return 1.0

    def needs_bounds(self) -> bool:
        """Return True if functions depend on the bounds of columns."""
        return False

    def can_fail(self) -> bool:
        """Return True if some data make learning the features impossible."""
        return self.needs_bounds() or self.scaling == "whiten"

    def learns(self) -> bool:
        """Return True if the features depend on the training samples."""
        return self.needs_bounds() or self.scaling != "none"

    def is_identity(self) -> bool:
        """Return True if the features are the columns themselves."""
        return False

    def num_features(self, c: int) -> int:
        """Return p, the number of features of c columns."""
        return len(self.functions(("",) * c)) + self.intercept

    def fit(
        self,
        columns: tuple[str, ...],
        blocks: ColumnBlocks,
        categories: Categories = NO_CATEGORIES,
    ) -> FeatureMap:
        """Return the expansion learnt from the training samples.

        They are gone through up to three times; texts are indices of levels of `categories`. Raise
        ValueError if nothing can be learnt from them.
        """
        numbers = categories.list_numbers(columns)
        bounds = np.zeros((2, len(numbers)))
        if self.needs_bounds():
            bounds = measure_bounds(
                lambda: ((categories.select_numbers(columns, X), w) for X, w in blocks()),
                len(numbers),
            )
            for name, low, high in zip(numbers, *bounds, strict=True):
                if low == high:
                    raise ValueError(
                        f"features={self.name}: column {name!r} is constant, its range is empty: "
                        "leave it out or give features.domain"
                    )

        learnt = _map_without_scaling(self, columns, bounds, categories)
        if self.scaling == "none":
            return learnt
        shift, second = self._moments(blocks, learnt)
        scales = measure_deviations(second, shift)
        if self.scaling == "standardize":
            mix = np.diag(1 / scales)
        else:
            mix = compute_whitening(second, scales, learnt.functions)
        return replace(learnt, shift=shift, mix=mix)

    def _moments(self, blocks: ColumnBlocks, learnt: FeatureMap) -> tuple[Array, Array]:
        """Return the mean `[d]` and the mean products of deviations from it `[d, d]`.

        Without an intercept the mean counts as zero.
        """
        d = len(learnt.shift)
        shift = np.zeros(d)
        if self.intercept:
            total = 0.0
            for columns, given in blocks():
                weights = weigh_samples(columns, given)
                shift = shift + weights @ learnt.expand(columns)
                total += weights.sum()
            shift = shift / total

        second = np.zeros((d, d))
        total = 0.0
        for columns, given in blocks():
            away = learnt.expand(columns) - shift
            weights = weigh_samples(columns, given)
            second = second + (away * weights[:, None]).T @ away
            total += weights.sum()
        return shift, second / total


def _map_without_scaling(
    features: Features, columns: tuple[str, ...], bounds: Array, categories: Categories
) -> FeatureMap:
    """Return the map to functions that are neither shifted nor mixed."""
    numbers = features.functions(categories.list_numbers(columns))
    d = len(numbers) + len(categories.name_indicators(columns))
    return FeatureMap(features, columns, bounds, np.zeros(d), np.eye(d), categories)


class Raw(Features):
    """The columns as they are."""

    name: Literal["raw"] = "raw"
    intercept: bool = False

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return columns

    def num_features(self, c: int) -> int:
        return c + self.intercept

    def expand(self, columns: Array, bounds: Array) -> Array:
        return columns

    def is_identity(self) -> bool:
        return not self.intercept and self.scaling == "none"


class RangedFeatures(Features):
    """Functions on a range of each column.

    The range is `domain`, or that of the training samples.
    """

    domain: Annotated[tuple[float, float], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if self.domain is not None and not self.domain[0] < self.domain[1]:
            raise ValueError(f"domain must increase, got {list(self.domain)}")
        return self

    def needs_bounds(self) -> bool:
        return self.domain is None

    def choose_range(self, bounds: Array) -> Array:
        """Return the least and the largest value `[2, c]` of columns.

        The functions are made for these.
        """
        return formulas.choose_ends(bounds, self.domain)

    def measure_magnification(self, bounds: Array) -> float:
        """Return by how much the range magnifies a rounding.

        A rounding is that many times larger relative to half the range than to the values.
        """
        low, high = self.choose_range(bounds)
        sizes = np.maximum(np.abs(low), np.abs(high))
        return float((1 + 2 * sizes / (high - low)).max(initial=1.0))


class PolynomialFeatures(RangedFeatures):
    """Polynomials of each column up to `degree`, the highest first.

    `basis` are the column's powers, or Chebyshev's or Legendre's polynomials on its range. There
    are no products of different columns. Chebyshev's and Legendre's span the same functions far
    better conditioned, for columns spread over their range; `domain` does not matter to powers,
    which are of the column as it is.
    """

    name: Literal["polynomial"] = "polynomial"
    degree: FunctionCount = 3
    basis: Literal["monomial", "chebyshev", "legendre"] = "monomial"

    def needs_bounds(self) -> bool:
        return self.basis != "monomial" and self.domain is None

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        if self.basis == "monomial":
            return self._powers(columns)
        letter = {"chebyshev": "T", "legendre": "P"}[self.basis]
        pairs = product(columns, self._degrees())
        return tuple(f"{letter}{k}({name})" for name, k in pairs)

    def expand(self, columns: Array, bounds: Array) -> Array:
        return formulas.expand_polynomial(
            columns, self.choose_range(bounds), self.degree, self.basis
        )

    def in_user_terms(
        self, columns: tuple[str, ...], bounds: Array
    ) -> tuple[tuple[str, ...], Array, Array]:
        names = self._powers(columns)
        matrix = np.eye(len(names))
        constants = np.zeros(len(names))
        if self.basis == "monomial":
            return names, matrix, constants
        for i, ends in enumerate(self.choose_range(bounds).T):
            own = slice(i * self.degree, (i + 1) * self.degree)
            table = self._coefficients(ends)
            matrix[own, own] = table[:0:-1]
            constants[own] = table[0]
        return names, matrix, constants

    def _coefficients(self, ends: Array) -> Array:
        """Return the powers' coefficients in each polynomial on a range, `[degree + 1, degree]`.

        The rows are powers, the lowest first; the columns polynomials, the highest first.
        """
        kind = Chebyshev if self.basis == "chebyshev" else Legendre
        table = np.zeros((self.degree + 1, self.degree))
        for column, k in enumerate(self._degrees()):
            powers = kind.basis(k, domain=ends).convert(kind=Powers).coef
            table[: len(powers), column] = powers
        return table

    def rounding_factor(self, bounds: Array) -> float:
        """Return degree + 1 of a power.

        On a range it is the steepest slope, the degree squared.
        """
        if self.basis == "monomial":
            return self.degree + 1.0
        return self.degree**2 * self.measure_magnification(bounds)

    def _powers(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(starmap(_power, product(columns, self._degrees())))

    def _degrees(self) -> range:
        return range(self.degree, 0, -1)


class Fourier(RangedFeatures):
    """Sines and cosines of each column: sin(2πk·t) and cos(2πk·t), k = 1 … `order`.

    t goes from 0 to 1 over the column's range.
    """

    name: Literal["fourier"] = "fourier"
    order: FunctionCount = 3

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        names: list[str] = []
        for name in columns:
            for k in range(1, self.order + 1):
                names += [f"sin{k}({name})", f"cos{k}({name})"]
        return tuple(names)

    def expand(self, columns: Array, bounds: Array) -> Array:
        return formulas.expand_fourier(columns, self.choose_range(bounds), self.order)

    def rounding_factor(self, bounds: Array) -> float:
        """Return the steepest slope, that of the fastest wave."""
        return np.pi * self.order * self.measure_magnification(bounds)


class RBF(RangedFeatures):
    """Gaussian bumps exp(−½((x − c)/width)²) around `centers` points c.

    The points are evenly spaced over the range of each column. `width` counts in distances between
    neighbouring centers.
    """

    name: Literal["rbf"] = "rbf"
    centers: Annotated[int, Field(ge=2, le=4096)] = 10
    width: Annotated[float, Field(gt=0)] = 1.0

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        pairs = product(columns, range(self.centers))
        return tuple(f"rbf{k}({name})" for name, k in pairs)

    def expand(self, columns: Array, bounds: Array) -> Array:
        return formulas.expand_rbf(columns, self.choose_range(bounds), self.centers, self.width)

    def rounding_factor(self, bounds: Array) -> float:
        """Return the steepest slope of a bump, one width from center."""
        return self.centers / (2 * self.width) * self.measure_magnification(bounds)


def _power(name: str, k: int) -> str:
    if k == 1:
        return name
    return f"{name}^{k}"
