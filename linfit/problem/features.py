"""What becomes of the data's columns before they are fitted: functions of them, an intercept, a scaling that can be undone.

    columns `[n, c]` → functions φ of each column `[n, d]` → (φ − shift)·mix, and the intercept → features X `[n, p]`

Scaling never changes what can be fitted, only how well it is conditioned: where there is no intercept that could make up for it,
nothing is shifted. So weights can always be told in terms of the functions themselves, and where these are polynomials, in terms
of the powers of the user's own columns.

n samples, c columns, d functions, p features, q targets.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.polynomial import Chebyshev, Legendre
from numpy.polynomial import Polynomial as Powers
from pydantic import Field, model_validator

from linfit.component import Component
from linfit.problem import linfit_model_1 as formulas
from linfit.problem.problem import Array
from linfit.problem.scaling import Blocks, bounds_of, deviations, weights_of, whitening

INTERCEPT = "1"
Degree = Annotated[int, Field(ge=1, le=64)]


@dataclass(frozen=True, eq=False)
class Expansion:
    """Features as a function of columns, with all that was learnt of the training samples."""

    features: Features
    columns: tuple[str, ...]
    bounds: Array
    """The least and the largest value of each column `[2, c]`."""
    shift: Array
    """`[d]`"""
    mix: Array
    """`[d, d]`"""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features `[p]`."""
        return (
            *self.features.functions(self.columns),
            *((INTERCEPT,) if self.features.intercept else ()),
        )

    def __call__(self, columns: Array) -> Array:
        """X `[n, p]` of columns `[n, c]`."""
        X = self.features.expand(columns, self.bounds)
        if self.features.scaling != "none":
            X = formulas.scale(X, self.shift, self.mix)
        return formulas.add_ones(X) if self.features.intercept else X

    def own(self) -> tuple[tuple[str, ...], Array]:
        """The names `[o]` of the user's own terms, the intercept last, and T `[o, p]` such that T·W are their weights `[o, q]`."""
        names, matrix, constants = self.features.own(self.columns, self.bounds)  # [o], [o, d], [d]
        matrix, constants = matrix @ self.mix, (constants - self.shift) @ self.mix
        if not (self.features.intercept or constants.any()):
            return names, matrix
        last = np.append(constants, 1.0) if self.features.intercept else constants
        padded = np.hstack([matrix, np.zeros((len(matrix), len(last) - len(constants)))])
        return (*names, INTERCEPT), np.vstack([padded, last])

    def as_parts(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Plain data and arrays, that `of_parts` takes back; without scaling nothing is shifted or mixed."""
        learnt = ("bounds",) if self.features.scaling == "none" else ("bounds", "shift", "mix")
        plain = {"features": self.features.model_dump(mode="json"), "columns": list(self.columns)}
        return plain, {name: getattr(self, name) for name in learnt}

    @classmethod
    def of_parts(cls, plain: dict[str, Any], arrays: dict[str, Array]) -> Expansion:
        features, columns = Features.choose(plain["features"]), tuple(plain["columns"])
        d = len(features.functions(columns))
        return cls(
            features,
            columns,
            arrays["bounds"],
            arrays.get("shift", np.zeros(d)),
            arrays.get("mix", np.eye(d)),
        )


class Features(Component):
    """What the columns of the data become before they are fitted.

    `intercept` adds a feature of ones, the last. `scaling` is learnt of the training samples, weighted as they are:
    `standardize` divides each function by its standard deviation, `whiten` makes them uncorrelated too, with variance one, and as
    near to the standardized ones as that allows (Kessy, Lewin and Strimmer, "Optimal Whitening and Decorrelation", 2018: ZCA-cor).
    With an intercept both subtract the mean; without one, deviations are from zero.
    """

    intercept: bool = True
    scaling: Literal["none", "standardize", "whiten"] = "none"

    @abstractmethod
    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The names `[d]` of the functions of the columns `[c]`."""

    @abstractmethod
    def expand(self, columns: Array, bounds: Array) -> Array:
        """The functions `[n, d]` of columns `[n, c]`, whose bounds in the training samples are `[2, c]`."""

    def own(self, columns: tuple[str, ...], bounds: Array) -> tuple[tuple[str, ...], Array, Array]:
        """Terms of the user's own `[o]` and what the functions are of them: `[o, d]` times the terms, plus `[d]`."""
        names = self.functions(columns)
        return names, np.eye(len(names)), np.zeros(len(names))

    def roundings(self, bounds: Array) -> float:
        """How many roundings of a number of its size the functions have where a column has one, of bounds `[2, c]`."""
        return 1.0

    def bounded(self) -> bool:
        """Whether the functions depend on the bounds of the columns."""
        return False

    def particular(self) -> bool:
        """Whether there are data that the features cannot be learnt of."""
        return self.bounded() or self.scaling == "whiten"

    def neutral_of_data(self) -> bool:
        """Whether the features are the columns themselves."""
        return False

    def num(self, c: int) -> int:
        """p, the number of features of c columns."""
        return len(self.functions(("",) * c)) + self.intercept

    def learn(self, columns: tuple[str, ...], blocks: Blocks) -> Expansion:
        """The expansion of the training samples, which are gone through up to three times."""
        bounds = bounds_of(blocks, len(columns)) if self.bounded() else np.zeros((2, len(columns)))
        constant = [name for name, low, high in zip(columns, *bounds, strict=True) if low == high]
        if self.bounded() and constant:
            raise ValueError(
                f"features={self.name}: column {constant[0]!r} is constant, its range is empty: leave it out or give features.domain"
            )
        d = len(self.functions(columns))
        shift, mix = np.zeros(d), np.eye(d)
        if self.scaling != "none":
            shift, second = self._moments(blocks, bounds, d)
            scales = deviations(second, shift)
            mix = (
                np.diag(1 / scales)
                if self.scaling == "standardize"
                else whitening(second, scales, self.functions(columns))
            )
        return Expansion(self, columns, bounds, shift, mix)

    def _moments(self, blocks: Blocks, bounds: Array, d: int) -> tuple[Array, Array]:
        """The mean `[d]`, zero without an intercept, and the mean products of deviations from it `[d, d]`."""
        shift, second, total = np.zeros(d), np.zeros((d, d)), 0.0
        expanded = (
            (self.expand(columns, bounds), weights_of(columns, weights))
            for columns, weights in blocks()
        )
        for X, weights in expanded if self.intercept else ():
            shift, total = shift + weights @ X, total + weights.sum()
        shift, total = (shift / total, 0.0) if self.intercept else (shift, 0.0)
        for columns, given in blocks():
            away, counts = self.expand(columns, bounds) - shift, weights_of(columns, given)
            second, total = second + (away * counts[:, None]).T @ away, total + counts.sum()
        return shift, second / total


class Raw(Features):
    """The columns as they are."""

    name: Literal["raw"] = "raw"
    intercept: bool = False

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return columns

    def num(self, c: int) -> int:
        return c + self.intercept

    def expand(self, columns: Array, bounds: Array) -> Array:
        return columns

    def neutral_of_data(self) -> bool:
        return not self.intercept and self.scaling == "none"


class Ranged(Features):
    """Functions on a range of each column: `domain`, or that of the training samples."""

    domain: Annotated[tuple[float, float], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if self.domain is not None and not self.domain[0] < self.domain[1]:
            raise ValueError(f"domain must increase, got {list(self.domain)}")
        return self

    def bounded(self) -> bool:
        return self.domain is None

    def ends(self, bounds: Array) -> Array:
        """The least and largest value `[2, c]` that the functions are made for."""
        return formulas.choose_ends(bounds, self.domain)

    def unit(self, columns: Array, bounds: Array) -> Array:
        """The columns `[n, c]` with their ranges mapped to [−1, 1]."""
        return formulas.map_to_unit(columns, self.ends(bounds))

    def magnified(self, bounds: Array) -> float:
        """How many times larger a rounding of a column is beside half its range than beside its values."""
        low, high = self.ends(bounds)
        return float(
            (1 + 2 * np.maximum(np.abs(low), np.abs(high)) / (high - low)).max(initial=1.0)
        )


class PolynomialFeatures(Ranged):
    """Polynomials of each column up to `degree`, the highest first: its powers, or Chebyshev's or Legendre's on its range.

    No products of different columns. Chebyshev's and Legendre's span the same functions far better conditioned, for columns
    spread over their range; `domain` does not matter to powers, which are of the column as it is.
    """

    name: Literal["polynomial"] = "polynomial"
    degree: Degree = 3
    basis: Literal["monomial", "chebyshev", "legendre"] = "monomial"

    def bounded(self) -> bool:
        return self.basis != "monomial" and self.domain is None

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        letter = {"chebyshev": "T", "legendre": "P"}.get(self.basis)
        return tuple(
            _power(name, k) if letter is None else f"{letter}{k}({name})"
            for name in columns
            for k in self._degrees()
        )

    def expand(self, columns: Array, bounds: Array) -> Array:
        return formulas.expand_polynomial(columns, self.ends(bounds), self.degree, self.basis)

    def own(self, columns: tuple[str, ...], bounds: Array) -> tuple[tuple[str, ...], Array, Array]:
        names = tuple(_power(name, k) for name in columns for k in self._degrees())
        matrix, constants = np.eye(len(names)), np.zeros(len(names))
        if self.basis == "monomial":
            return names, matrix, constants
        kind = Chebyshev if self.basis == "chebyshev" else Legendre
        for place, ends in enumerate(self.ends(bounds).T):
            own = slice(place * self.degree, (place + 1) * self.degree)
            powers = [
                kind.basis(k, domain=ends).convert(kind=Powers).coef for k in self._degrees()
            ]  # lowest first
            table = np.stack(
                [
                    np.pad(coefficients, (0, self.degree + 1 - len(coefficients)))
                    for coefficients in powers
                ],
                axis=1,
            )
            matrix[own, own], constants[own] = table[:0:-1], table[0]
        return names, matrix, constants

    def roundings(self, bounds: Array) -> float:
        """A power has its degree of them; on a range, the steepest slope is the degree squared."""
        return (
            self.degree + 1.0
            if self.basis == "monomial"
            else self.degree**2 * self.magnified(bounds)
        )

    def _degrees(self) -> range:
        return range(self.degree, 0, -1)


class Fourier(Ranged):
    """Sines and cosines of each column: sin(2πk·t) and cos(2πk·t), k = 1 … `order`, where t goes from 0 to 1 over its range."""

    name: Literal["fourier"] = "fourier"
    order: Degree = 3

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            f"{wave}{k}({name})"
            for name in columns
            for k in range(1, self.order + 1)
            for wave in ("sin", "cos")
        )

    def expand(self, columns: Array, bounds: Array) -> Array:
        return formulas.expand_fourier(columns, self.ends(bounds), self.order)

    def roundings(self, bounds: Array) -> float:
        """The fastest wave turns so many times quicker than its column."""
        return np.pi * self.order * self.magnified(bounds)


class RBF(Ranged):
    """Gaussian bumps exp(−½((x − c)/width)²) around `centers` evenly spaced points c over the range of each column.

    `width` counts in distances between neighbouring centers.
    """

    name: Literal["rbf"] = "rbf"
    centers: Annotated[int, Field(ge=2, le=4096)] = 10
    width: Annotated[float, Field(gt=0)] = 1.0

    def functions(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"rbf{k}({name})" for name in columns for k in range(self.centers))

    def expand(self, columns: Array, bounds: Array) -> Array:
        return formulas.expand_rbf(columns, self.ends(bounds), self.centers, self.width)

    def roundings(self, bounds: Array) -> float:
        """A bump is steepest one width from its center."""
        return self.centers / (2 * self.width) * self.magnified(bounds)


def _power(name: str, k: int) -> str:
    return name if k == 1 else f"{name}^{k}"
