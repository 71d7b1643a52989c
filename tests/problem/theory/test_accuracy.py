"""Certified digits of public least-squares problems, and promised digits before anything runs."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit
from linfit.engine.prediction.predict import predict_from_fit
from linfit.problem.datasets.arrays import arrays
from linfit.problem.losses import SSE
from linfit.problem.theory import optimum as theory
from linfit.problem.theory.accuracy import estimate_overall_digits, measure_condition
from linfit.problem.theory.digits import Digits, estimate_digits
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.theory.refinement import multiply_exactly
from tests.helpers import (
    DATA,
    DTYPES,
    Exact,
    conditioned,
    config,
    cover_pairs,
    problem,
    rational_least_squares,
)

#: Their origin: tests/data/nist/README.md.
CERTIFIED: dict[str, dict[str, Any]] = json.loads((DATA / "nist" / "certified.json").read_text())
#: The condition number of the columns scaled to norm one is below 1e5 in all but this.
ILL = "filip"
TAME = [name for name in CERTIFIED if name != ILL]


def run(name: str, dtype: str = "float64", **parts: Any) -> Fit:
    """Return a fit of a certified problem in its own units, by the closed form by default."""
    file, fields = DATA / "nist" / f"{name}.csv", CERTIFIED[name]
    columns = file.read_text().splitlines()[0].split(",")[1:]
    features = {
        "name": "polynomial",
        "degree": fields["degree"],
        "intercept": fields.get("intercept", True),
    }
    dataset = {"name": "csv", "path": str(file), "features": columns, "target": "y"}
    given = {"features": features, "optimizer": "closed_form", "steps": 1, "dtype": dtype, **parts}
    found = fit(config(dataset=dataset, **given))
    assert found.error is None, found.error
    return found


def certified(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([float(weight) for weight in CERTIFIED[name]["weights"]])


def overall(found: Fit) -> float:
    """The digits that are promised of W as a whole."""
    assert found.optimum is not None and found.problem is not None
    promised = estimate_overall_digits(
        found.optimum, found.problem.cast(found.config.dtype), found.config.dtype
    )
    assert promised is not None
    return promised


def each(found: Fit) -> Digits:
    """Those that are promised of each weight."""
    assert found.optimum is not None and found.problem is not None
    promised = estimate_digits(
        found.optimum, found.problem.cast(found.config.dtype), found.config.dtype
    )
    assert promised is not None
    assert predict_from_fit(found).digits == promised.fewest  # type: ignore[union-attr]
    return promised


def digits(found: Any, exact: Any) -> float:
    """Return the worst number's digits as NIST counts: −log₁₀ of the relative error, 15 at most."""
    errors = np.abs(np.ravel(found) - np.ravel(exact)) / np.abs(np.ravel(exact))
    return float(-np.log10(max(errors.max(), 1e-15)))


@pytest.mark.parametrize("name", CERTIFIED)
def test_the_certified_values_are_those_of_exact_arithmetic(name: str) -> None:
    """Data and values are transcribed as they are: the decimals' exact solution has all digits."""
    fields = CERTIFIED[name]
    with (DATA / "nist" / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    powers = range(fields["degree"], 0, -1)
    constant = [Fraction(1)] if fields.get("intercept", True) else []
    X = [
        [
            *(Fraction(row[column]) ** k for column in row if column != "y" for k in powers),
            *constant,
        ]
        for row in rows
    ]
    solution = rational_least_squares(X, [[Fraction(row["y"])] for row in rows])
    for (weight,), given in zip(solution, map(Decimal, fields["weights"]), strict=True):
        assert abs(weight - Fraction(given)) <= abs(weight) * Fraction(5, 10**15)


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("name", TAME)
def test_the_closed_form_has_the_certified_digits(name: str, engine: str) -> None:
    found = run(name, engine=engine)
    assert found.optimum is not None and measure_condition(found.optimum) < 1e5
    assert digits(found.weights, certified(name)) >= 12


def test_where_float64_cannot_bear_the_condition_number_the_fit_says_so() -> None:
    found = run(ILL)
    assert found.optimum is not None and measure_condition(found.optimum) == pytest.approx(
        5.2e9, rel=0.01
    )
    promised = overall(found)
    assert promised == pytest.approx(4.8)
    assert digits(found.weights, certified(ILL)) >= 7 > promised
    assert found.problem is not None
    assert "expect about 5 digits of the optimal weights in float64" in found.problem.notes[-1]
    assert "condition number of the features, columns scaled, is 5.2e+09" in found.problem.notes[-1]
    lost = run(ILL, gradient="gram")
    assert (
        lost.problem is not None
        and "hardly a digit" in lost.problem.notes[-1]
        and "gram squares it" in lost.problem.notes[-1]
    )


@pytest.mark.parametrize(
    ("name", "gradient", "dtype"), cover_pairs(list(CERTIFIED), ["manual", "gram"], DTYPES)
)
def test_no_more_digits_are_promised_than_are_there(name: str, gradient: str, dtype: str) -> None:
    """Of W as a whole, in units in which every column has norm one: within half a digit."""
    found = run(name, dtype, gradient=gradient)
    assert found.optimum is not None
    norms = np.linalg.norm(found.optimum.root, axis=0)
    error, size = (norms * (found.optimum.weights[:, 0] - certified(name)), norms * certified(name))
    promised = overall(found)
    attained = -np.log10(max(float(np.linalg.norm(error) / np.linalg.norm(size)), 1e-15))
    assert attained >= promised - 0.5
    assert found.problem is not None
    noted = any("of the optimal weights" in note for note in found.problem.notes)
    assert noted == (promised < (9 if dtype == "float64" else 3))


SCALINGS: tuple[dict[str, Any], ...] = (
    {},
    {"scaling": "standardize"},
    {"scaling": "whiten"},
    {"basis": "chebyshev"},
    {"basis": "legendre", "scaling": "standardize"},
    {"basis": "chebyshev", "scaling": "whiten"},
)


@pytest.mark.parametrize(
    ("scaling", "dtype", "gradient"),
    cover_pairs(SCALINGS, DTYPES, ["manual", "gram"]),
    ids=lambda given: "-".join(given.values()) if isinstance(given, dict) else given,
)
def test_of_no_weight_in_own_terms_more_digits_are_promised_than_are_there(
    scaling: dict[str, Any], dtype: str, gradient: str
) -> None:
    """Nor far fewer where features are rounded: some are whole numbers, which lose nothing."""
    short = []
    for name, fields in CERTIFIED.items():
        intercept = fields.get("intercept", True)
        if (not intercept and "basis" in scaling) or (
            name == ILL and scaling == {"scaling": "whiten"}
        ):
            continue  # another model; refused
        features = {
            "name": "polynomial",
            "degree": fields["degree"],
            "intercept": intercept,
            **scaling,
        }
        found = run(name, dtype, features=features, gradient=gradient)
        promised = each(found).user_terms
        assert promised is not None and found.own_weights is not None
        errors = np.abs(found.own_weights[1][:, 0] / certified(name) - 1)
        attained = -np.log10(errors.clip(1e-15, 1))
        assert (promised[:, 0] <= attained + 0.05).all(), (name, promised[:, 0], attained)
        short.extend(
            (attained.clip(None, 6 if dtype == "float32" else 14) - promised[:, 0]).tolist()
        )
    assert not scaling or np.median(short) <= 3.5


def test_each_weight_of_the_features_has_digits_of_its_own() -> None:
    stream = np.random.default_rng(0)
    X = stream.uniform(1, 2, (40, 3))
    y = X @ [[1e6], [1.0], [1e-3]]
    assert (
        each(
            fit(config(dataset=arrays(X, y), optimizer="closed_form", dtype="float64", steps=1))
        ).user_terms
        is None
    )
    given = arrays(X, y, features=["a", "b", "c"])
    promised = each(
        fit(config(dataset=given, optimizer="closed_form", dtype="float64", steps=1))
    ).weights[:, 0]
    assert promised[0] == pytest.approx(14, abs=0.5)
    assert promised[0] - promised[1] == pytest.approx(6, abs=1) and promised[1] - promised[
        2
    ] == pytest.approx(3, abs=0.5)


@pytest.mark.parametrize(("made", "named"), [("a + b", "'a', 'b', 'd'"), ("0.3 * a", "'a', 'd'")])
def test_columns_that_depend_on_each_other_but_for_rounding_are_named(
    made: str, named: str
) -> None:
    columns = dict(zip("abc", np.random.default_rng(0).uniform(0, 1, (3, 300)), strict=True))
    table = np.column_stack([*columns.values(), eval(made, columns)])
    data = arrays(table, table[:, 0] + 0.1 * np.sin(np.arange(300)), features=["a", "b", "c", "d"])
    found = fit(config(dataset=data, optimizer="heavy_ball", steps=1))
    assert found.problem is not None
    assert (
        f"hardly a digit of the optimal weights in float32: columns {named} nearly depend "
        "on each other, the" in found.problem.notes[-1]
    )
    assert predict_from_fit(found).steps_to_tolerance is None  # type: ignore[union-attr]


def test_of_longleys_columns_those_are_named_that_grow_with_the_years() -> None:
    found = run("longley", "float32")
    assert (
        found.problem is not None
        and "columns 'x2', 'x3', 'x6', '1' nearly depend on each other" in found.problem.notes[-1]
    )


@pytest.mark.parametrize("engine", ["single", "stacked"])
@pytest.mark.parametrize("name", TAME)
def test_conjugate_gradients_on_sums_do_as_well_as_a_squared_condition_number_allows(
    name: str, engine: str
) -> None:
    """In the user's own units, however unlike: of W as a whole, as above."""
    found = run(
        name,
        gradient="gram",
        optimizer={"name": "conjugate_gradient", "preconditioner": "jacobi"},
        steps=100,
        engine=engine,
    )
    assert found.optimum is not None
    norms = np.linalg.norm(found.optimum.root, axis=0)
    error, size = norms * (found.weights[:, 0] - certified(name)), norms * certified(name)
    attained = -np.log10(max(float(np.linalg.norm(error) / np.linalg.norm(size)), 1e-15))
    assert attained >= overall(found) - 0.5


@pytest.mark.parametrize("condition", [1e3, 1e6, 1e9, 1e12])
def test_a_refined_solution_has_all_digits(condition: float) -> None:
    """The exact solution of the very numbers is rational; a residual may square the condition."""
    stream = np.random.default_rng(7)
    X = conditioned(condition, 30, 4, seed=int(np.log10(condition)))
    y = X @ stream.standard_normal((4, 2)) + 0.1 * stream.standard_normal((30, 2))
    found, exact = find_optimum(problem(X, y), SSE()), Exact(X, y)
    assert found.refined
    np.testing.assert_allclose(found.weights, exact.weights, rtol=1e-15)
    assert found.loss == pytest.approx(float(exact.loss()), rel=1e-14)


def test_what_is_well_conditioned_or_large_is_not_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = conditioned(1e6, 30, 4, seed=1), np.ones((30, 1))
    assert find_optimum(problem(X, y), SSE()).refined
    assert not find_optimum(problem(conditioned(2.0, 30, 4, seed=1), y), SSE()).refined
    monkeypatch.setattr(theory, "MAX_REFINED_NUMBERS", 119)
    assert not find_optimum(problem(X, y), SSE()).refined


def test_a_product_and_its_rounding_are_the_product() -> None:
    stream = np.random.default_rng(0)
    a, b = (stream.standard_normal(200) * 10.0 ** stream.integers(-60, 60, 200) for _ in range(2))
    for x, z, high, low in zip(a, b, *multiply_exactly(a, b), strict=True):
        assert Fraction(float(x)) * Fraction(float(z)) == Fraction(float(high)) + Fraction(
            float(low)
        )


@pytest.mark.parametrize("engine", ["single", "stacked"])
def test_diabetes_has_the_coefficients_of_scikit_learn(engine: str) -> None:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression

    found = fit(
        config(
            dataset={"name": "sklearn", "set": "diabetes"},
            features={"name": "raw", "intercept": True},
            optimizer="closed_form",
            dtype="float64",
            steps=1,
            engine=engine,
        )
    )
    X, y = load_diabetes(return_X_y=True)
    theirs = LinearRegression().fit(X, y)
    np.testing.assert_allclose(found.weights[:, 0], [*theirs.coef_, theirs.intercept_], rtol=1e-8)


def test_digits_are_of_quadratic_losses_and_of_something() -> None:
    given = problem(np.zeros((4, 2)), np.ones((4, 1)))
    assert estimate_digits(find_optimum(given, SSE()), given, "float64") is None
    assert estimate_overall_digits(find_optimum(given, SSE()), given, "float64") is None
    robust = fit(config(loss="huber", steps=1))
    assert predict_from_fit(robust).digits is None  # type: ignore[union-attr]
    wide = problem(conditioned(10, 6, 4, seed=2).T, np.ones((4, 1)))  # more features than samples
    assert estimate_overall_digits(find_optimum(wide, SSE()), wide, "float64") == pytest.approx(
        14, abs=0.1
    )
    known = estimate_digits(find_optimum(wide, SSE()), wide, "float64")
    assert known is not None and 12 < known.fewest <= 14


@pytest.mark.parametrize("size", [1e-200, 1e-160, 1e200])
def test_no_digits_are_told_where_squares_are_no_numbers(size: float) -> None:
    given = problem(
        size * np.array([[1.0, 1], [2, 1], [3, 1], [5, 1]]),
        size * np.array([[5.0], [7], [9], [13.5]]),
    )
    assert estimate_digits(find_optimum(given, SSE()), given, "float64") is None


def test_no_digits_are_told_of_more_weights_than_anybody_reads() -> None:
    stream = np.random.default_rng(0)
    given = problem(stream.standard_normal((3, 501)), stream.standard_normal((3, 1)))
    assert estimate_digits(find_optimum(given, SSE()), given, "float64") is None
