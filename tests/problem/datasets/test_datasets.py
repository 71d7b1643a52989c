"""Datasets: what they hold, and from which stream they are drawn."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from linfit.config import FitConfig
from linfit.problem.datasets.drawn import Classes, Counts, SparseLinear
from linfit.problem.datasets.synthetic import Dataset, Parabola, Polynomial, RandomLinear
from linfit.problem.datasets.targets import encode_targets
from linfit.problem.problem import Problem
from linfit.problem.random_streams import Purpose, compute_torch_seed, create_generator
from linfit.problem.types import Array
from tests.helpers import DATASETS, DatasetRow, config, label

SETTINGS = [
    (row, given, shape)
    for row in DATASETS
    for given, shape in zip(row.settings(), row.shapes, strict=True)
]
DRAWN = [row for row in DATASETS if row.draws]
NOISY = [row for row in DRAWN if row.noisy]


def load(given: dict[str, Any], seed: int = 0) -> Problem:
    return Dataset.choose(given).load(seed)


def same(one: Problem, other: Problem) -> bool:
    return (
        one.digest == other.digest
        and np.array_equal(one.X, other.X)
        and np.array_equal(one.y, other.y)
    )


def noise(stream: int, n: int, q: int = 1) -> Array:
    """The standard normal numbers of the data stream, as DESIGN states it."""
    return np.random.default_rng(np.random.SeedSequence([stream, 0])).standard_normal((n, q))


@pytest.mark.parametrize(("row", "given", "shape"), SETTINGS, ids=label)
def test_a_dataset_has_the_shape_it_announces_and_is_the_same_every_time(
    row: DatasetRow, given: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    problem = load(given)
    assert problem.shape == shape
    assert problem.X.shape == shape[:2]
    assert problem.y.shape == (shape[0], shape[2])
    assert Dataset.choose(given).shape() == shape[1:]
    assert problem.X.dtype == problem.y.dtype == np.float64
    assert np.isfinite(problem.X).all() and np.isfinite(problem.y).all()
    assert len(set(problem.features)) == shape[1]
    assert len(set(problem.targets)) == shape[2]
    assert (problem.truth is not None) == row.truth
    assert same(load(given, 3), load(given, 3))


@pytest.mark.parametrize("row", DRAWN, ids=label)
def test_a_drawn_dataset_follows_the_seed_unless_it_has_its_own(row: DatasetRow) -> None:
    own = {**row.plain, "seed": 0}
    assert not same(load(row.plain, 0), load(row.plain, 1))
    assert same(load({**row.plain, "seed": None}, 4), load(row.plain, 4))
    assert same(load(own, 4), load(row.plain, 0))
    assert same(load({**row.plain, "seed": 2**32 - 1}, 0), load(row.plain, 2**32 - 1))


@pytest.mark.parametrize("row", [row for row in DATASETS if not row.draws], ids=label)
def test_a_dataset_that_is_not_drawn_has_no_seed(row: DatasetRow) -> None:
    assert same(load(row.plain, 0), load(row.plain, 1))
    assert "seed" not in type(Dataset.choose(row.plain)).model_fields


@pytest.mark.parametrize("row", NOISY, ids=label)
def test_without_noise_the_truth_is_exact(row: DatasetRow) -> None:
    problem = load({**row.plain, "noise": 0.0})
    assert problem.truth is not None
    assert problem.truth.shape == (problem.shape[1], problem.shape[2])
    np.testing.assert_allclose(problem.X @ problem.truth, problem.y, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("row", NOISY, ids=label)
def test_noise_is_normal_with_the_standard_deviation_asked_for(row: DatasetRow) -> None:
    large = {**row.plain, "n": 4000, "noise": 2.5}
    error = (load(large).y - load({**large, "noise": 0.0}).y).ravel()
    assert error.std() == pytest.approx(2.5, rel=0.05)
    assert abs(error.mean()) < 4 * 2.5 / np.sqrt(error.size)
    assert (abs(error) < 2.5).mean() == pytest.approx(0.6827, abs=0.03)


@pytest.mark.parametrize("row", DRAWN, ids=label)
def test_data_do_not_depend_on_how_they_are_fitted(row: DatasetRow) -> None:
    base = config(dataset=row.plain, seed=7)
    for parts in (
        {"init": {"name": "normal", "seed": 1}},
        {"optimizer": "sgd"},
        {"model": "linear"},
        {"dtype": "float64"},
        {"steps": 3},
    ):
        other = config(dataset=row.plain, seed=7, **parts)
        assert same(base.dataset.load(base.seed), other.dataset.load(other.seed))


def test_the_parabola_is_the_articles() -> None:
    problem = Parabola().load(5)
    x = np.linspace(-2, 2, 30)
    assert np.array_equal(problem.X, np.stack([x * x, np.ones(30)], axis=1))
    np.testing.assert_allclose(problem.y[:, 0], 2 * x**2 + 3 + 0.1 * noise(5, 30)[:, 0], rtol=1e-15)
    assert problem.truth is not None and problem.truth.tolist() == [[2.0], [3.0]]
    assert (problem.features, problem.targets) == (("x^2", "1"), ("y",))


def test_a_polynomials_features_are_powers_from_the_highest() -> None:
    coefficients = (0.5, -1.0, 2.0, 3.0)
    problem = Polynomial(
        degree=3, coefficients=coefficients, range=(-1.0, 3.0), n=11, noise=0.2
    ).load(5)
    x = np.linspace(-1, 3, 11)
    np.testing.assert_allclose(
        problem.X, np.stack([x * x * x, x * x, x, np.ones(11)], axis=1), rtol=1e-15
    )
    np.testing.assert_allclose(
        problem.y[:, 0],
        ((0.5 * x - 1.0) * x + 2.0) * x + 3.0 + 0.2 * noise(5, 11)[:, 0],
        rtol=1e-13,
        atol=1e-13,
    )
    assert problem.features == ("x^3", "x^2", "x", "1")


@pytest.mark.parametrize(("n", "p"), [(100, 5), (5, 5), (3, 7), (40, 2)])
def test_a_random_linear_problem_has_the_singular_values_it_announces(n: int, p: int) -> None:
    for condition in (1.0, 10.0, 1e6):
        X = RandomLinear(n=n, p=p, condition=condition).load(2).X
        singular = np.linalg.svd(X, compute_uv=False)
        np.testing.assert_allclose(
            singular, np.sqrt(n) * np.geomspace(1, 1 / condition, min(n, p)), rtol=1e-8
        )


def test_targets_of_a_random_linear_problem_differ() -> None:
    problem = RandomLinear(q=3).load(0)
    assert problem.targets == ("y0", "y1", "y2")
    assert problem.features == ("x0", "x1", "x2", "x3", "x4")
    assert np.linalg.matrix_rank(problem.y) == 3


# ---- streams ----

SEEDS = [0, 1, 2, 3, 255, 2**16, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1]


def test_no_two_streams_coincide() -> None:
    """Not those of two purposes, not those of two seeds: over all seeds, however large."""
    states = {
        (seed, purpose.name): (
            create_generator(seed, purpose).bit_generator.state["state"]["state"],
            compute_torch_seed(seed, purpose),
        )
        for seed in SEEDS
        for purpose in Purpose
    }
    twins = [
        (one, other)
        for one in states
        for other in states
        if one < other and states[one] == states[other]
    ]
    assert twins == []


def test_a_stream_is_reproducible_and_its_torch_seed_fits() -> None:
    for seed in SEEDS:
        for purpose in Purpose:
            assert (
                create_generator(seed, purpose).random(4).tolist()
                == create_generator(seed, purpose).random(4).tolist()
            )
            assert 0 <= compute_torch_seed(seed, purpose) < 2**63


# ---- the problem itself ----


def test_casting_rounds_and_refuses_what_the_dtype_cannot_hold() -> None:
    problem = load({"name": "parabola"})
    rounded = problem.cast("float32")
    assert rounded.X.dtype == np.float64
    assert np.array_equal(rounded.X, problem.X.astype(np.float32))
    assert np.array_equal(rounded.y, problem.y.astype(np.float32))
    assert not same(rounded, problem)
    assert same(problem.cast("float64"), problem)
    large = load({"name": "polynomial", "degree": 1, "coefficients": [1e39, 0.0], "noise": 0.0})
    assert same(large.cast("float64"), large)
    with pytest.raises(
        ValueError,
        match="linfit:polynomial has values that float32 cannot hold: "
        "choose dtype=float64 or scale the data",
    ):
        large.cast("float32")


def test_a_digest_tells_values_and_shapes_apart() -> None:
    X, y = np.arange(6.0).reshape(3, 2), np.ones((3, 1))
    digests = {
        Problem(X, y, ("a", "b"), ("y",), "s").digest,
        Problem(np.nextafter(X, 9.0), y, ("a", "b"), ("y",), "s").digest,
        Problem(X, y * 2, ("a", "b"), ("y",), "s").digest,
        Problem(np.hstack([X, y]), np.ones((3, 0)), ("a", "b", "c"), (), "s").digest,
    }
    assert len(digests) == 4
    assert Problem(np.asfortranarray(X), y, ("p", "q"), ("z",), "elsewhere").digest in digests


def test_every_dataset_is_documented() -> None:
    for row in DATASETS:
        assert inspect.getdoc(Dataset.choices[row.name]) != inspect.getdoc(Dataset)


@pytest.mark.matrix
def test_linnerud_is_what_scikit_learn_ships() -> None:
    from sklearn.datasets import load_linnerud

    problem, bunch = (
        FitConfig.model_validate({"dataset": {"name": "sklearn", "set": "linnerud"}}).dataset.load(
            0
        ),
        load_linnerud(),
    )
    assert problem.shape == (20, 3, 3)
    assert problem.features == tuple(bunch.feature_names) and problem.targets == tuple(
        bunch.target_names
    )
    assert (bunch.data == problem.X).all() and (problem.y == bunch.target).all()


def test_classes_are_clouds_around_centers_apart() -> None:
    wide = Classes(n=30_000, p=3, classes=5, separation=4.0, label_noise=0.0).load(2)
    labels = wide.y[:, 0]
    assert np.unique(labels, return_counts=True)[1].tolist() == [6000] * 5
    centers = np.stack([wide.X[labels == k].mean(axis=0) for k in range(5)])
    away = np.linalg.norm(centers[:, None] - centers, axis=2)[np.triu_indices(5, 1)]
    assert away.min() == pytest.approx(4, abs=0.1)
    spread = np.concatenate([wide.X[labels == k] - centers[k] for k in range(5)])
    np.testing.assert_allclose(np.cov(spread.T), np.eye(3), atol=0.05)

    noisy = Classes(n=30_000, p=3, classes=5, separation=4.0, label_noise=0.25).load(2)
    assert np.array_equal(noisy.X, wide.X)
    changed = noisy.y != wide.y
    assert changed.sum() == 7500
    steps = (noisy.y - wide.y)[changed] % 5
    assert np.unique(steps, return_counts=True)[1] == pytest.approx([1875] * 4, rel=0.1)


def test_counts_have_the_mean_that_their_truth_says() -> None:
    problem = Counts(n=20_000, p=2, q=2, spread=0.5).load(1)
    assert problem.truth is not None
    means = np.exp(problem.X @ problem.truth)
    assert ((problem.y >= 0) & (problem.y == np.floor(problem.y))).all()
    # Poisson's variance is its mean: standardized residuals have variance one.
    residual = (problem.y - means) / np.sqrt(means)
    np.testing.assert_allclose(residual.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(residual.var(axis=0), 1, atol=0.05)


@pytest.mark.parametrize("nonzero", [0, 3, 8])
def test_as_many_true_weights_as_are_said_are_not_zero(nonzero: int) -> None:
    truth = SparseLinear(p=8, q=40, nonzero=nonzero).load(3).truth
    assert truth is not None
    assert ((truth != 0).sum(axis=0) == nonzero).all()
    sizes = np.abs(truth[truth != 0])
    assert ((sizes >= 1) & (sizes <= 2)).all()
    if nonzero == 3:
        assert (truth != 0).any(axis=1).all()  # each target has its own
        assert (truth < 0).any() and (truth > 0).any()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"name": "classes", "n": 3, "classes": 4},
            "4 classes of 3 samples: each needs one at least, choose dataset.n of at least 4",
        ),
        ({"name": "classes", "classes": 1}, "greater than or equal to 2"),
        ({"name": "classes", "separation": 0.0}, "greater than 0"),
        ({"name": "classes", "label_noise": 1.0}, "less than 1"),
        ({"name": "counts", "spread": 5.0}, "less than or equal to 4"),
        (
            {"name": "sparse_linear", "p": 4},
            "5 nonzero weights of 4: choose dataset.nonzero of at most 4",
        ),
        ({"name": "sparse_linear", "nonzero": -1}, "greater than or equal to 0"),
        ({"name": "sklearn", "set": "boston"}, "'breast_cancer'"),
    ],
)
def test_datasets_that_cannot_be_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        Dataset.choose(given)


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("iris", (150, 4, 1), 3),
        ("wine", (178, 13, 1), 3),
        ("breast_cancer", (569, 30, 1), 2),
        ("digits", (1797, 64, 1), 10),
    ],
)
def test_bundled_classes_are_numbered_as_scikit_learn_does(
    name: str, shape: tuple[int, int, int], classes: int
) -> None:
    from sklearn import datasets

    problem = load({"name": "sklearn", "set": name})
    found = getattr(datasets, f"load_{name}")()
    assert problem.shape == shape
    assert problem.targets == ("class",)
    assert np.array_equal(problem.y[:, 0], found.target)
    assert np.array_equal(problem.X, found.data)
    assert encode_targets(problem, "classes").classes == tuple(map(float, range(classes)))
