"""Folds: parts that are drawn once, held out one after the other, in both engines."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.errors import ConfigError
from linfit.problem.datasets.arrays import arrays
from linfit.problem.datasets.prepare import split_samples
from linfit.problem.split import SAMPLES_AT_ONCE, KFold
from linfit.sweeps.plan.enumerate import enumerate_jobs
from linfit.sweeps.preflight.checks import resolve_configs
from tests.helpers import config


def draw(n: int, k: int, seed: int = 0, **more: Any) -> np.ndarray[Any, Any]:
    """Return the part of each sample."""
    return np.concatenate(list(KFold(k=k).draw_parts(n, seed, **more)))


@pytest.mark.parametrize("n", [5, 31, SAMPLES_AT_ONCE + 7, 2 * SAMPLES_AT_ONCE])
def test_folds_hold_out_each_sample_once_in_parts_of_equal_size(n: int) -> None:
    folds = [np.concatenate(list(KFold(fold=fold).draw_held_out(n, 3))) for fold in range(5)]
    assert (np.sum(folds, axis=0) == 1).all()
    sizes = [int(fold.sum()) for fold in folds]
    assert sum(sizes) == n
    assert max(sizes) - min(sizes) <= 1
    assert sizes == [KFold(fold=fold).count_held_out(n) for fold in range(5)]
    assert [n - size for size in sizes] == [KFold(fold=fold).count_fitted(n) for fold in range(5)]


def test_every_sample_is_in_each_part_as_often_as_in_any_other() -> None:
    parts = np.array([draw(7, 3, seed) for seed in range(2000)])
    for part, size in enumerate((3, 2, 2)):
        often = (parts == part).sum(axis=0)
        assert np.abs(often - 2000 * size / 7).max() < 4 * np.sqrt(2000 * size / 7)
    lots = [np.sum(draw(SAMPLES_AT_ONCE + 900, 3, seed)[-900:] == 0) for seed in range(40)]
    assert np.std(lots) > 5
    assert np.mean(lots) == pytest.approx(300, abs=12)


def test_parts_are_drawn_from_the_splits_seed_alone() -> None:
    assert not np.array_equal(draw(40, 5, 1), draw(40, 5, 2))
    given = np.concatenate(list(KFold(fold=4, seed=1).draw_parts(40, 2)))
    assert np.array_equal(given, draw(40, 5, 1))
    own = {"name": "kfold", "fold": 1}
    assert (
        config(seed=3, split=own).fingerprint()
        == config(seed=3, split={**own, "seed": 3}).fingerprint()
        != config(seed=3, split={**own, "fold": 2}).fingerprint()
    )


@pytest.mark.parametrize("counts", [(50, 50), (97, 3), (10, 7, 1)])
def test_classes_are_spread_evenly_over_the_parts(counts: tuple[int, ...]) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = draw(len(labels), 4, labels=labels)
    table = np.array([np.bincount(parts[labels == own], minlength=4) for own in range(len(counts))])
    assert (np.ptp(table, axis=1) <= 1).all()
    assert np.ptp(table.sum(axis=0)) <= 1
    assert not np.array_equal(parts, draw(len(labels), 4, 1, labels=labels))


@pytest.mark.parametrize("gradient", ["manual", "gram"])
@pytest.mark.parametrize("scaling", ["none", "standardize"])
def test_a_fold_is_fitted_to_its_own_training_rows(gradient: str, scaling: str) -> None:
    stream = np.random.default_rng(1)
    X, y = stream.standard_normal((33, 3)) + 2, stream.standard_normal(33)
    X[7] *= 1e9  # in the part that is held out, its digits must not be missed in the others
    held = int(np.concatenate(list(KFold().draw_parts(33, 2)))[7])
    folds = [
        config(
            dataset=arrays(X, y),
            split={"name": "kfold", "fold": fold, "seed": 2},
            features={"name": "raw", "intercept": True, "scaling": scaling},
            gradient=gradient,
            optimizer="closed_form",
            dtype="float64",
            steps=1,
        )
        for fold in (held, (held + 1) % 5, (held + 2) % 5)
    ]
    alone, stacked = [fit(one) for one in folds], fit(folds)
    for own, other in zip(alone, stacked, strict=True):
        train = np.delete(X, own.held_out, axis=0)
        design = np.c_[train, np.ones(len(train))]
        best, *_ = np.linalg.lstsq(design, np.delete(y, own.held_out), rcond=1e-15)
        tested = np.c_[X, np.ones(33)][own.held_out] @ best - y[own.held_out]
        assert own.validation_losses is not None
        assert other.validation_losses is not None
        if own is alone[0]:  # else the outlier is fitted, and rounding is large
            assert own.validation_losses[-1] == pytest.approx(np.square(tested).sum(), rel=1e-9)
        assert np.array_equal(own.held_out, other.held_out)
    sizes = {own.problem.shape[0] for own in alone if own.problem}
    assert sizes <= {26, 27}


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_of_a_fold_have_the_same_bits_alone_and_beside_the_others(
    weighted: bool,
) -> None:
    stream = np.random.default_rng(1)
    weight = stream.integers(0, 3, 40).astype(float) if weighted else None
    data = arrays(stream.standard_normal((40, 3)), stream.standard_normal(40), weight=weight)
    folds = [
        config(
            dataset=data,
            split={"name": "kfold", "k": 4, "fold": fold},
            gradient="gram",
            loss="mse",
            engine="stacked",
            dtype="float64",
            steps=5,
        )
        for fold in range(4)
    ]
    for own, other in zip([fit(one) for one in folds], fit(folds[::-1])[::-1], strict=True):
        assert np.array_equal(own.weights, other.weights)
        assert own.problem is not None
        assert other.problem is not None
        assert own.problem.X.tobytes() == other.problem.X.tobytes()
        rows = config(dataset=data, split=own.config.split, loss="mse").problem()
        np.testing.assert_allclose(own.problem.X.T @ own.problem.X, rows.X.T @ rows.X, rtol=1e-12)
        assert own.problem.shape == rows.shape
        assert own.problem.total == rows.total


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split.fold=5"], "split: fold=5 is none of the 5 parts, 0 to 4"),
        (["split.fold=-1"], "split.fold: got -1, choose a whole number ≥ 0"),
        (["split.k=1"], "split.k: got 1, choose a whole number ≥ 2"),
        (["-m", "split.fold=range(0,6)"], "fold=5 is none of the 5 parts"),
        (["-m", "split.k=5,31"], "split.k=31 parts of 30 samples: each needs one at least"),
        (["split.validation=0.2"], "split.validation goes with split=holdout"),
    ],
)
def test_a_fold_that_cannot_be_is_one_line(arguments: list[str], message: str) -> None:
    def prepare() -> None:
        resolve_configs([job.config for job in enumerate_jobs(["split=kfold", *arguments]).jobs])

    with pytest.raises(ConfigError) as caught:
        prepare()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_samples_of_classes_are_split_with_their_classes() -> None:
    y = np.repeat([3.0, 8.0], (80, 20))
    data = arrays(np.arange(100.0)[:, None], y)
    for kind, spread in (("classes", 0), ("number", 1)):
        rare = [
            split_samples(data, KFold(fold=fold), 1, kind)[0].y.tolist().count([8.0])  # type: ignore[arg-type]
            for fold in range(5)
        ]
        assert (len(set(rare)) > 1) == bool(spread)
        assert sum(rare) == 80
