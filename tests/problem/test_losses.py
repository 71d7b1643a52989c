"""Losses against torch's own."""

from __future__ import annotations

import pytest
import torch

from linfit.problem.losses import Loss
from tests.helpers import DTYPES, LOSSES, QUADRATIC_LOSSES, LossRow, label

SHAPES = [(1, 1), (7, 1), (5, 3)]


def residuals(shape: tuple[int, int], dtype: str) -> torch.Tensor:
    return torch.randn(
        shape, dtype=getattr(torch, dtype), generator=torch.Generator().manual_seed(1)
    )


@pytest.mark.parametrize("row", LOSSES, ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_is_torchs(row: LossRow, dtype: str, shape: tuple[int, int]) -> None:
    residual = residuals(shape, dtype)
    expected = getattr(torch.nn, row.torch_class)(reduction=row.torch)(
        residual, torch.zeros_like(residual)
    )
    value = Loss.choose(row.plain)(residual, torch.zeros_like(residual))
    assert value.shape == ()
    assert value.dtype == residual.dtype
    torch.testing.assert_close(value, expected, rtol=4 * torch.finfo(residual.dtype).eps, atol=0)


@pytest.mark.parametrize("row", LOSSES, ids=label)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_derivative_is_autograds_and_central_differences(
    row: LossRow, shape: tuple[int, int]
) -> None:
    loss = Loss.choose(row.plain)
    residual = residuals(shape, "float64").requires_grad_()
    y = torch.zeros(shape, dtype=torch.float64)
    derivative = loss.derivative(residual.detach(), y)
    (automatic,) = torch.autograd.grad(loss(residual, y), residual)
    torch.testing.assert_close(derivative, automatic, rtol=1e-15, atol=0)
    with torch.no_grad():
        for place in torch.eye(residual.numel(), dtype=torch.float64):
            step = 1e-3 * place.reshape(shape)
            slope = (
                loss(residual + step, y) - loss(residual - step, y)
            ) / 2e-3  # no residual is as near to where a loss bends
            torch.testing.assert_close(
                slope, (derivative * place.reshape(shape)).sum(), rtol=1e-9, atol=1e-11
            )


@pytest.mark.parametrize("delta", [0.1, 0.7, 5.0])
def test_hubers_delta_is_torchs(delta: float) -> None:
    residual = residuals((50, 2), "float64")
    expected = torch.nn.HuberLoss(delta=delta)(residual, torch.zeros_like(residual))
    torch.testing.assert_close(
        Loss.choose({"name": "huber", "delta": delta})(residual, torch.zeros_like(residual)),
        expected,
        rtol=1e-14,
        atol=0,
    )


@pytest.mark.parametrize("row", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_is_its_scale_times_the_sum_of_squares(row: LossRow, shape: tuple[int, int]) -> None:
    loss = Loss.choose(row.plain)
    residual = residuals(shape, "float64")
    squares = sum(number * number for number in residual.flatten().tolist())
    zero = torch.zeros_like(residual)
    assert loss(residual, zero).item() == pytest.approx(loss.scale(*shape) * squares, rel=1e-14)
    assert loss(zero, zero).item() == 0
