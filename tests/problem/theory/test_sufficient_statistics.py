"""Sufficient statistics: equal squared errors for every W, and the price in digits."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from linfit.engine.dispatch import fit
from linfit.problem.datasets.arrays import arrays
from linfit.problem.datasets.synthetic import Dataset, RandomLinear
from linfit.problem.losses import Loss
from linfit.problem.problem import Problem
from linfit.problem.theory.optimum import find_optimum
from linfit.problem.theory.sufficient_statistics import GramAccumulator, find_root
from tests.helpers import (
    DTYPES,
    QUADRATIC_LOSSES,
    Exact,
    Row,
    conditioned,
    config,
    label,
    problem,
    scratch_registry,
)


def in_pieces(size: int) -> Dataset:
    """Random data that come a few samples at a time."""
    with scratch_registry():

        class Pieces(RandomLinear):
            name: Literal["pieces"] = "pieces"  # type: ignore[assignment]

            def blocks(self, seed: int) -> Iterator[Problem]:
                whole = self.load(seed)
                for start in range(0, len(whole.X), size):
                    rows = slice(start, start + size)
                    yield replace(whole, X=whole.X[rows], y=whole.y[rows])

        return Pieces()


def summary(gradient: str = "gram", **parts: Any) -> Problem:
    return config(gradient=gradient, **parts).problem()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", QUADRATIC_LOSSES, ids=label)
def test_a_summary_has_the_squared_error_of_all_samples(loss: Row, dtype: str) -> None:
    parts: dict[str, Any] = {"dataset": {"name": "random_linear", "q": 2}, "dtype": dtype}
    whole, short = summary("manual", **parts).cast(dtype), summary(**parts)
    assert short.shape == whole.shape == (100, 5, 2)
    assert short.X.shape == (7, 5)
    measure = Loss.choose(loss.plain)
    one, other = find_optimum(whole, measure), find_optimum(short, measure)
    np.testing.assert_allclose(other.weights, one.weights, rtol=1e-10)
    np.testing.assert_allclose(other.curvatures, one.curvatures, rtol=1e-10)
    assert other.loss == pytest.approx(one.loss, rel=1e-9)
    W = np.random.default_rng(0).standard_normal((5, 2))
    for given in (whole, short):
        found = float(
            given.bind_loss(measure)(torch.from_numpy(given.X @ W), torch.from_numpy(given.y))
        )
        assert found == pytest.approx(one.loss + float(one.excess_loss(W)), rel=1e-12)


def test_bits_do_not_depend_on_the_blocks() -> None:
    stream = np.random.default_rng(2)
    A = stream.standard_normal((20_000, 51))
    found = []
    for size in (20_000, 1, 999, 64, 10_000):
        sums = GramAccumulator(51, "float64")
        for start in range(0, len(A), size):
            sums.add(A[start : start + size, :50], A[start : start + size, 50:])
        assert sums.num_samples == 20_000
        found.append(sums.compute_root(50).tobytes())
    assert len(set(found)) == 1
    rows = np.frombuffer(found[0]).reshape(51, 51)
    np.testing.assert_allclose(rows.T @ rows, A.T @ A, rtol=0, atol=1e-10 * 20_000)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("given", [np.float32, np.float64])
def test_bits_do_not_depend_on_where_the_columns_stand(given: type, dtype: str) -> None:
    """Columns of one array are multiplied where they are, others are copied first."""
    A: Any = np.random.default_rng(2).standard_normal((30_011, 6)).astype(given)
    wider = np.hstack([A, A])[:, 3:9]
    found = []
    for X, y in (
        (A[:, :4], A[:, 4:]),
        (A[:, :4].copy(), A[:, 4:].copy()),
        (wider[:, 3:], wider[:, :3]),
    ):
        sums = GramAccumulator(6, dtype)
        for rows in (slice(0, 7), slice(7, 29_000), slice(29_000, None)):
            sums.add(X[rows], y[rows])
        found.append(sums.compute_root(4))
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    seen = A.astype(dtype).astype(float)
    np.testing.assert_allclose(found[0].T @ found[0], seen.T @ seen, rtol=1e-10, atol=1e-7)


def test_a_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "large.npy"
    np.save(file, np.random.default_rng(0).standard_normal((400_000, 11)).astype(np.float32))
    given = config(
        dataset={"name": "npy", "path": str(file), "features": "0:10", "target": "10"},
        gradient="gram",
    )
    given.problem()  # what is loaded when it is first used
    tracemalloc.start()
    given.problem()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.stat().st_size > 17e6
    assert peak < 5e6


@pytest.mark.parametrize("split", [{}, {"validation": 0.3}])
@pytest.mark.parametrize("scaling", ["none", "standardize"])
def test_pieces_give_the_summary_of_the_whole(split: dict[str, Any], scaling: str) -> None:
    features = {"name": "raw", "intercept": True, "scaling": scaling}
    one = config(dataset=in_pieces(7), gradient="gram", split=split, features=features).problem()
    other = config(
        dataset=RandomLinear(), gradient="gram", split=split, features=features
    ).problem()
    np.testing.assert_allclose(one.X.T @ one.X, other.X.T @ other.X, rtol=1e-6, atol=1e-6)
    assert one.shape == other.shape
    assert (one.validation is None) == (not split)
    if one.validation is not None and other.validation is not None:
        assert one.validation.shape == other.validation.shape
        np.testing.assert_allclose(
            one.validation.y.T @ one.validation.y,
            other.validation.y.T @ other.validation.y,
            rtol=1e-6,
        )


def test_a_root_of_a_singular_matrix_has_its_rank() -> None:
    X = np.column_stack([np.arange(1.0, 9), 2 * np.arange(1.0, 9), np.ones(8), np.zeros(8)])
    rows = find_root(X.T @ X, 4)
    np.testing.assert_allclose(rows.T @ rows, X.T @ X, atol=1e-12 * np.abs(X.T @ X).max())
    assert np.linalg.matrix_rank(rows) == 2
    assert (find_root(np.zeros((3, 3)), 2) == 0).all()


@pytest.mark.parametrize("condition", [1.0, 1e2, 1e4, 1e6])
def test_the_optimum_has_the_digits_that_a_squared_condition_number_leaves(
    condition: float,
) -> None:
    X = conditioned(condition, 60, 6, seed=3)
    y = X @ np.ones((6, 1)) + 0.1 * np.random.default_rng(1).standard_normal((60, 1))
    exact = Exact(X, y).weights
    sums = GramAccumulator(7, "float64")
    sums.add(X, y)
    rows = sums.compute_root(6)
    given = problem(rows[:, :6], rows[:, 6:])
    error = np.linalg.norm(
        find_optimum(given, Loss.choose("sse")).weights - exact
    ) / np.linalg.norm(exact)
    assert error <= 10 * 10.0 ** -(14 - 2 * np.log10(condition))


@pytest.mark.parametrize("near", [0, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5])
def test_the_minimal_loss_of_columns_that_nearly_depend_on_each_other_is_that_of_the_weights(
    near: float,
) -> None:
    stream = np.random.default_rng(0)
    (a, b), (noise, e) = stream.uniform(0, 1, (2, 300)), stream.standard_normal((2, 300))
    X, y = np.column_stack([a, b, a + b + near * noise]), (1 + 2 * a - b + 0.1 * e)[:, None]
    found = fit(
        config(
            dataset=arrays(X, y), gradient="gram", optimizer="closed_form", steps=1, dtype="float64"
        )
    )
    assert found.optimum is not None
    least = float(np.square(y - X @ np.linalg.lstsq(X, y, rcond=1e-15)[0]).sum())
    loss = float(np.square(y - X @ found.weights).sum())
    assert found.optimum.loss == pytest.approx(loss, rel=1e-3)
    assert least * (1 - 1e-9) <= loss <= least * 1.02
    assert found.optimum.rank == (2 if near < 1e-6 else 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gram_takes_the_steps_of_the_gradient_by_hand(dtype: str) -> None:
    for optimizer in (
        {"name": "manual_sgd", "lr": 0.1, "average": True},
        {"name": "adam", "lr": 0.05},
    ):
        parts: dict[str, Any] = {
            "dataset": "random_linear",
            "optimizer": optimizer,
            "steps": 60,
            "dtype": dtype,
        }
        one, other = fit(config(gradient="manual", **parts)), fit(config(gradient="gram", **parts))
        tolerance = 1e-11 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(
            other.losses, one.losses, rtol=tolerance, atol=tolerance * one.losses[0]
        )
        np.testing.assert_allclose(other.weights, one.weights, rtol=tolerance, atol=tolerance)
        assert other.weights.dtype == dtype


def test_values_that_the_dtype_cannot_hold_are_refused() -> None:
    found = fit(
        config(
            dataset={
                "name": "polynomial",
                "degree": 1,
                "coefficients": [1.0, 0.0],
                "range": [0.0, 1e200],
            },
            gradient="gram",
        )
    )
    assert found.error is not None
    assert "float32 cannot hold: scale them" in found.error
