"""Initial weights: which stream they come from, and that the global one is left alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from linfit.method.init import Init, Normal, TorchDefault
from linfit.problem.random_streams import Purpose, compute_torch_seed
from tests.helpers import DTYPES, INITS, InitRow, cover_pairs, label

SHAPES = [(1, 1), (2, 1), (5, 3), (64, 2)]
SETTINGS = [(row, given) for row in INITS for given in row.settings()]
DRAWN = [row for row in INITS if row.draws]


def draw(
    given: dict[str, Any], p: int = 2, q: int = 1, seed: int = 0, dtype: str = "float64"
) -> torch.Tensor:
    return Init.choose(given).draw(p, q, seed, getattr(torch, dtype))


@pytest.mark.parametrize(
    ("row", "given", "dtype", "shape"),
    [(*one, *more) for one, *more in cover_pairs(SETTINGS, DTYPES, SHAPES)],
    ids=label,
)
def test_initial_weights_have_the_shape_and_dtype_asked_for(
    row: InitRow, given: dict[str, Any], dtype: str, shape: tuple[int, int]
) -> None:
    if row.shape not in (None, shape):
        with pytest.raises(
            ValueError,
            match=rf"the problem needs {shape[0]} rows \(features\) of {shape[1]} \(targets\)",
        ):
            Init.choose(given).check_shape(*shape)
        with pytest.raises(ValueError, match="the problem needs"):
            draw(given, *shape)
        return
    Init.choose(given).check_shape(*shape)
    weights = draw(given, shape[0], shape[1], seed=3, dtype=dtype)
    assert weights.shape == shape
    assert weights.dtype == getattr(torch, dtype)
    assert weights.is_contiguous()
    assert not weights.requires_grad
    assert torch.equal(weights, draw(given, shape[0], shape[1], seed=3, dtype=dtype))


@pytest.mark.parametrize("row", DRAWN, ids=label)
def test_what_is_drawn_follows_the_seed_unless_it_has_its_own(row: InitRow) -> None:
    assert not torch.equal(draw(row.plain, seed=0), draw(row.plain, seed=1))
    assert torch.equal(draw({**row.plain, "seed": None}, seed=4), draw(row.plain, seed=4))
    assert torch.equal(draw({**row.plain, "seed": 0}, seed=4), draw(row.plain, seed=0))
    assert torch.equal(draw({**row.plain, "seed": 2**32 - 1}), draw(row.plain, seed=2**32 - 1))


@pytest.mark.parametrize("row", [row for row in INITS if not row.draws], ids=label)
def test_what_is_not_drawn_does_not_follow_the_seed(row: InitRow) -> None:
    assert torch.equal(draw(row.plain, seed=0), draw(row.plain, seed=1))


@pytest.mark.parametrize("row", INITS, ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_global_streams_are_left_alone(row: InitRow, dtype: str) -> None:
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    draw(row.plain, dtype=dtype)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), repr(np.random.get_state())) == before[1:]


@pytest.mark.parametrize(("dtype", "shape", "seed"), cover_pairs(DTYPES, SHAPES, [0, 7]))
def test_torch_default_is_nn_linears_own_draw(
    dtype: str, shape: tuple[int, int], seed: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(compute_torch_seed(seed, Purpose.INITIAL_WEIGHTS))
        expected = (
            torch.nn.Linear(*shape, bias=False, dtype=getattr(torch, dtype)).weight.detach().T
        )
    weights = draw({"name": "torch_default"}, shape[0], shape[1], seed=seed, dtype=dtype)
    assert torch.equal(weights, expected)
    assert weights.abs().max() <= shape[0] ** -0.5
    assert torch.equal(TorchDefault(seed=seed).draw(*shape, 99, getattr(torch, dtype)), expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_normal_is_the_same_point_in_both_dtypes(shape: tuple[int, int]) -> None:
    given = {"name": "normal", "mean": 0.1, "std": 0.3}
    double = draw(given, *shape)
    assert torch.equal(draw(given, *shape, dtype="float32"), double.float())
    generator = torch.Generator().manual_seed(compute_torch_seed(0, Purpose.INITIAL_WEIGHTS))
    assert torch.equal(
        double, 0.1 + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    )


def test_normal_has_the_mean_and_standard_deviation_asked_for() -> None:
    weights = Normal(mean=-2.0, std=0.5).draw(4000, 2, 1, torch.float64)
    assert weights.mean().item() == pytest.approx(-2, abs=4 * 0.5 / 8000**0.5)
    assert weights.std().item() == pytest.approx(0.5, rel=0.05)
    assert torch.equal(
        Normal(mean=-2.0, std=0.0).draw(3, 2, 1, torch.float64),
        torch.full((3, 2), -2.0, dtype=torch.float64),
    )


def test_given_weights_are_rows_of_features() -> None:
    assert draw({"name": "given", "weights": [1, 2.5]}).tolist() == [[1.0], [2.5]]
    assert draw({"name": "given", "weights": [[1], [2.5]]}).tolist() == [[1.0], [2.5]]
    assert draw({"name": "given", "weights": [[1, 2], [3, 4], [5, 6]]}, 3, 2).tolist() == [
        [1, 2],
        [3, 4],
        [5, 6],
    ]
    assert (
        draw({"name": "given", "weights": [0.1, 0.2]}, dtype="float32").tolist()
        == np.array([[0.1], [0.2]], dtype=np.float32).tolist()
    )
    assert draw({"name": "zeros"}, 3, 2).tolist() == [[0, 0]] * 3
