"""Models: the same prediction from the same weights, whatever holds them."""

from __future__ import annotations

import pytest
import torch

from linfit.method.models import LinearModel, Model
from tests.helpers import DTYPES, MODELS, Row, label

SHAPES = [(4, 1, 1), (5, 3, 1), (6, 4, 3)]


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> torch.Tensor:
    return torch.randn(
        shape, dtype=getattr(torch, dtype), generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("row", MODELS, ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_predicts_x_times_w(row: Row, dtype: str, shape: tuple[int, int, int]) -> None:
    n, p, q = shape
    X, weights = numbers((n, p), dtype, 1), numbers((p, q), dtype, 2)
    before = torch.get_rng_state()
    model = Model.choose(row.plain)
    predictor = model.build(weights)
    assert torch.equal(torch.get_rng_state(), before)
    expected = torch.tensor(
        [
            [sum(X[i, k].item() * weights[k, j].item() for k in range(p)) for j in range(q)]
            for i in range(n)
        ]
    )
    predicted = predictor(X)
    assert predicted.shape == (n, q)
    assert predicted.dtype == X.dtype
    torch.testing.assert_close(predicted.float(), expected.float())
    assert torch.equal(model.predict(predictor, predictor.weight, X), predicted)
    assert torch.equal(model.predict(predictor, 2 * predictor.weight, X), predictor(2 * X))


@pytest.mark.parametrize("row", MODELS, ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_starts_at_the_weights_and_owns_them(row: Row, dtype: str) -> None:
    weights = numbers((4, 3), dtype, 2)
    kept = weights.clone()
    model = Model.choose(row.plain)
    predictor = model.build(weights)
    assert predictor.weight.requires_grad and predictor.weight.is_leaf
    assert predictor.weight.dtype == weights.dtype
    assert torch.equal(model.transpose(predictor.weight), kept)
    assert torch.equal(model.transpose(model.transpose(kept)), kept)
    with torch.no_grad():
        predictor.weight.add_(1)
    assert torch.equal(weights, kept)


def test_linear_is_a_real_nn_linear() -> None:
    module = LinearModel().build(numbers((4, 3), "float32", 2))
    assert type(module) is torch.nn.Linear
    assert module.bias is None
    assert module.weight.shape == (3, 4)
    assert [name for name, _ in module.named_parameters()] == ["weight"]
