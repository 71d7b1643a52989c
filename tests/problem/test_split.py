"""Held-out samples: how many, which, and that nothing is fitted to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.problem.split import SAMPLES_AT_ONCE, Holdout
from tests.helpers import QUADRATIC_LOSSES, Row, config, label

HALF = {"validation": 0.5}


def held_out(n: int, of_fit: int = 0, **split: Any) -> np.ndarray[Any, Any]:
    return np.concatenate(list(Holdout(**split).draw_held_out(n, of_fit)))


@pytest.mark.parametrize(
    ("n", "share", "count"),
    [(10, 0.2, 2), (30, 0.5, 15), (7, 0.3, 2), (2, 0.5, 1), (3 * SAMPLES_AT_ONCE + 5, 0.1, 19661)],
)
def test_exactly_the_share_is_held_out(n: int, share: float, count: int) -> None:
    mask = held_out(n, validation=share)
    assert (len(mask), int(mask.sum())) == (n, count)


def test_every_sample_is_held_out_as_often_as_any_other() -> None:
    often = sum(held_out(5, seed, validation=0.4).astype(int) for seed in range(2000))
    assert np.abs(often - 800).max() < 4 * np.sqrt(2000 * 0.4 * 0.6)
    lots = [
        held_out(SAMPLES_AT_ONCE + 1000, seed, validation=0.5)[-1000:].sum() for seed in range(40)
    ]
    assert np.std(lots) > 5  # how many of a lot are held out varies too
    assert np.mean(lots) == pytest.approx(500, abs=12)


def test_the_split_follows_the_seed_unless_it_has_its_own() -> None:
    assert not np.array_equal(held_out(40, 1, **HALF), held_out(40, 2, **HALF))
    assert np.array_equal(held_out(40, 1, seed=0, **HALF), held_out(40, 0, **HALF))
    assert (
        config(seed=3, split=HALF).fingerprint()
        == config(seed=3, split={**HALF, "seed": 3}).fingerprint()
    )
    assert (
        config(seed=3, split=HALF).fingerprint()
        != config(seed=3, split={**HALF, "seed": 0}).fingerprint()
    )
    assert config(split={"validation": 0.0}).fingerprint() == config().fingerprint()


def test_a_split_that_leaves_nothing_on_a_side_is_refused() -> None:
    for n, share in ((1, 0.5), (10, 0.04), (10, 0.96)):
        with pytest.raises(
            ValueError,
            match=rf"validation={share:g} holds out \d+ of {n} samples: both sides need one",
        ):
            held_out(n, validation=share)
    with pytest.raises(ValueError, match="less than 1"):
        Holdout(validation=1.0)


def test_training_and_validation_samples_are_all_samples() -> None:
    whole, parts = config().problem(), config(split=HALF).problem()
    assert parts.validation is not None
    together = np.vstack([parts.X, parts.validation.X])
    assert sorted(together.tolist()) == sorted(whole.X.tolist())
    assert len(parts.X) == 15


@pytest.mark.parametrize("loss", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize("gradient", ["manual", "gram"])
def test_the_validation_loss_is_that_of_samples_that_are_never_fitted(
    loss: Row, gradient: str
) -> None:
    features = {"name": "raw", "intercept": True, "scaling": "standardize"}
    given = {
        "loss": loss.name,
        "split": HALF,
        "gradient": gradient,
        "dtype": "float64",
        "features": features,
    }
    data = {"name": "polynomial", "degree": 1, "coefficients": [2.0, -1.0]}
    noisy = [config(dataset=data, seed=seed, steps=30, **given) for seed in (3, 4)]
    alone, stacked = [fit(one) for one in noisy], fit(noisy)
    for one, other in zip(alone, stacked, strict=True):
        assert (
            one.path is not None
            and one.validation_losses is not None
            and other.validation_losses is not None
        )
        held = (
            config(**{**given, "gradient": "manual"}, dataset=data, seed=one.config.seed)
            .problem()
            .validation
        )
        assert held is not None
        by_hand = [
            np.square(held.X @ weights - held.y).sum() / (len(held.X) if loss.name == "mse" else 1)
            for weights in one.path.weights
        ]
        np.testing.assert_allclose(one.validation_losses, by_hand, rtol=1e-10)
        np.testing.assert_allclose(other.validation_losses, one.validation_losses, rtol=1e-9)
    assert fit(config(steps=1)).validation_losses is None


def test_nothing_is_learnt_of_held_out_samples() -> None:
    problem = config(
        split=HALF, features={"name": "raw", "intercept": True, "scaling": "standardize"}
    ).problem()
    assert problem.validation is not None
    assert np.abs(problem.X[:, 0].mean()) < 1e-12
    assert np.abs(problem.validation.X[:, 0].mean()) > 1e-3
