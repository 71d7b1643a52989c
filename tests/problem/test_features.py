"""Features: functions of columns, scaling that can be undone, weights in the user's own terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from linfit.engine.dispatch import fit
from linfit.problem.features import FeatureMap, Features
from tests.helpers import FEATURES, Row, config, label

STREAM = np.random.default_rng(5)
PLACE = np.array([0.0, 100.0])
COLUMNS = np.sort(STREAM.uniform(-3, 7, (40, 2)), axis=0) + PLACE
WEIGHTS = STREAM.uniform(0.1, 2, 40)
SETTINGS = [given for row in FEATURES for given in row.settings()]
OTHER = STREAM.uniform(-3, 7, (9, 2)) + PLACE


def learn(
    given: dict[str, Any],
    columns: NDArray[np.float64] = COLUMNS,
    weights: NDArray[np.float64] | None = None,
) -> FeatureMap:
    names = ("a", "b")[: columns.shape[1]]
    return Features.choose(given).fit(names, lambda: [(columns, weights)])


def own(expansion: FeatureMap, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """The user's own terms, as their names say, by hand."""
    values = dict(zip(("a", "b"), columns.T, strict=False))
    bare = FeatureMap(
        expansion.features.model_copy(update={"scaling": "none", "intercept": False}),
        *_rest(expansion),
    )
    functions = dict(zip(bare.names, bare(columns).T, strict=True))
    terms = []
    for name in expansion.in_user_terms()[0]:
        column, _, power = name.partition("^")
        terms.append(
            np.ones(len(columns))
            if name == "1"
            else values[column] ** int(power or 1)
            if column in values
            else functions[name]
        )
    return np.stack(terms, axis=1)


def _rest(expansion: FeatureMap) -> tuple[Any, ...]:
    return expansion.columns, expansion.bounds, expansion.shift, expansion.mix


@pytest.mark.parametrize("given", SETTINGS, ids=label)
def test_features_are_as_many_as_announced_and_named_and_survive_json(
    given: dict[str, Any],
) -> None:
    expansion = learn(given)
    assert np.array_equal(FeatureMap.from_parts(*expansion.to_parts())(OTHER), expansion(OTHER))
    X = expansion(COLUMNS)
    assert X.shape == (40, Features.choose(given).num_features(2))
    assert len(set(expansion.names)) == X.shape[1] == len(expansion.names)
    assert np.isfinite(X).all()
    if Features.choose(given).intercept:
        assert expansion.names[-1] == "1"
        assert (X[:, -1] == 1).all()


@pytest.mark.parametrize("given", SETTINGS, ids=label)
def test_weights_in_own_terms_predict_the_same(given: dict[str, Any]) -> None:
    expansion = learn(given)
    names, matrix = expansion.in_user_terms()
    assert matrix.shape == (len(names), len(expansion.names))
    for columns in (COLUMNS, OTHER):
        W = np.random.default_rng(1).standard_normal((matrix.shape[1], 3))
        expected = expansion(columns) @ W
        found = own(expansion, columns) @ (matrix @ W)
        assert (
            np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()
        )  # powers of 107 cancel


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["all alike", "weighted"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("row", FEATURES, ids=label)
def test_scaled_functions_have_variance_one(
    row: Row, intercept: bool, weights: NDArray[np.float64] | None
) -> None:
    counts = np.ones(40) if weights is None else weights
    for scaling in ("standardize", "whiten"):
        given = {**row.plain, "scaling": scaling, "intercept": intercept}
        if row.name == "polynomial":
            given["basis"] = "legendre"
        expansion = learn(given, weights=weights)
        X = expansion(COLUMNS)[:, : len(expansion.names) - intercept]
        if intercept:
            assert np.abs(counts @ X / counts.sum()).max() < 1e-10
        second = (X * counts[:, None]).T @ X / counts.sum()
        if scaling == "whiten":
            np.testing.assert_allclose(second, np.eye(len(second)), atol=1e-6)
        np.testing.assert_allclose(np.diag(second), 1, rtol=1e-6)


def test_functions_are_what_their_names_say() -> None:
    x = np.linspace(-1, 3, 9)[:, None]
    t = (x[:, 0] - 1) / 2  # on [−1, 1]

    def values(**given: Any) -> dict[str, Any]:
        expansion = learn(given, x)
        return dict(zip(expansion.names, expansion(x).T, strict=True))

    powers = values(name="polynomial", degree=3)
    assert list(powers) == ["a^3", "a^2", "a", "1"]
    assert powers["a^3"].tolist() == (x[:, 0] ** 3).tolist()
    chebyshev = values(name="polynomial", degree=4, basis="chebyshev")
    np.testing.assert_allclose(chebyshev["T4(a)"], np.cos(4 * np.arccos(t)), atol=1e-14)
    legendre = values(name="polynomial", degree=2, basis="legendre")
    np.testing.assert_allclose(legendre["P2(a)"], (3 * t**2 - 1) / 2, atol=1e-14)
    fourier = values(name="fourier", order=2)
    np.testing.assert_allclose(fourier["sin2(a)"], np.sin(2 * np.pi * 2 * (t + 1) / 2), atol=1e-14)
    np.testing.assert_allclose(fourier["cos1(a)"], np.cos(2 * np.pi * (t + 1) / 2), atol=1e-14)
    bumps = values(name="rbf", centers=3, width=0.5)
    np.testing.assert_allclose(
        bumps["rbf1(a)"], np.exp(-0.5 * ((x[:, 0] - 1) / 1.0) ** 2), atol=1e-14
    )


def test_pieces_of_the_data_teach_the_same_as_the_whole() -> None:
    for given in SETTINGS:
        pieces = Features.choose(given).fit(
            ("a", "b"), lambda: [(COLUMNS[:7], WEIGHTS[:7]), (COLUMNS[7:], WEIGHTS[7:])]
        )
        np.testing.assert_allclose(
            pieces(OTHER), learn(given, weights=WEIGHTS)(OTHER), rtol=1e-6, atol=1e-9
        )


def test_a_constant_column_keeps_its_size_or_is_refused_where_it_has_no_range() -> None:
    columns = np.column_stack([COLUMNS[:, 0], np.full(40, 0.1)])
    scaled = learn({"name": "raw", "intercept": True, "scaling": "standardize"}, columns)(columns)
    assert np.abs(scaled[:, 1]).max() < 1e-15
    with pytest.raises(
        ValueError, match="column 'b' is constant, its range is empty: leave it out or give"
    ):
        learn({"name": "rbf"}, columns)
    with pytest.raises(
        ValueError, match="whiten: the features 'a', 'b' are linearly dependent or constant"
    ):
        learn(
            {"name": "raw", "scaling": "whiten"},
            np.column_stack([COLUMNS[:, 0], 2 * COLUMNS[:, 0]]),
        )
    with pytest.raises(ValueError, match=r"domain must increase, got \[1.0, 1.0\]"):
        Features.choose({"name": "rbf", "domain": [1, 1]})


def test_neutral_features_change_neither_problem_nor_fingerprint() -> None:
    plain, stated = config(), config(features="raw")
    assert "features" not in stated.numbers()
    assert (
        stated.fingerprint()
        == plain.fingerprint()
        != config(features={"name": "raw", "intercept": True}).fingerprint()
    )
    assert stated.problem().expansion is None
    assert fit(config(steps=1)).own_weights is None


def test_scaling_changes_the_conditioning_and_not_the_answer() -> None:
    """y = 2x − 1 near x = 100: gradient descent takes millions of steps; whitened it takes one."""
    data = {"name": "polynomial", "degree": 1, "coefficients": [2.0, -1.0], "range": [100.0, 101.0]}
    plain = config(dataset=data, dtype="float64").problem()
    expected = np.linalg.lstsq(plain.X, plain.y, rcond=None)[0]
    features = {"name": "raw", "scaling": "whiten"}
    found = fit(
        config(
            dataset=data,
            features=features,
            optimizer={"name": "sgd", "lr": 0.5},
            loss="mse",
            dtype="float64",
            steps=1,
        )
    )
    assert found.optimum is not None and found.own_weights is not None
    assert found.optimum.curvatures == pytest.approx([2, 2], rel=1e-6)
    names, weights = found.own_weights
    assert names == ("x", "1")
    np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-3)
