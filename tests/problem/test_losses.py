"""Losses against torch's own, against numbers of many digits, and in both layouts."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
import torch

from linfit.problem.losses import Loss, WeightedLoss
from tests.helpers import ALL_LOSSES, DTYPES, LOSSES, QUADRATIC_LOSSES, LossRow, label

SHAPES = [(1, 1), (7, 1), (5, 3)]
SETTINGS = [(row, given) for row in ALL_LOSSES for given in row.settings()]


def draw_predictors(shape: tuple[int, int], dtype: str, size: float = 1.0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(1)
    return size * torch.randn(shape, dtype=getattr(torch, dtype), generator=stream)


def targets(row: LossRow, shape: tuple[int, int], dtype: str) -> torch.Tensor:
    return torch.tensor(row.targets(*shape, dtype=dtype))


@pytest.mark.parametrize("row", [row for row in ALL_LOSSES if row.torch], ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_is_torchs(row: LossRow, dtype: str, shape: tuple[int, int]) -> None:
    eta = draw_predictors(shape, dtype)
    y = targets(row, shape, dtype)
    expected = getattr(torch.nn, row.torch_class)(reduction=row.torch)(eta, y)
    value = Loss.choose(row.plain)(eta, y)
    assert value.shape == ()
    assert value.dtype == eta.dtype
    near = 8 * torch.finfo(eta.dtype).eps
    torch.testing.assert_close(value, expected, rtol=near, atol=near)


@pytest.mark.parametrize(("row", "given"), SETTINGS, ids=label)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_derivative_is_autograds_and_central_differences(
    row: LossRow, given: dict[str, Any], shape: tuple[int, int]
) -> None:
    loss = Loss.choose(given)
    eta = draw_predictors(shape, "float64").requires_grad_()
    y = targets(row, shape, "float64")
    derivative = loss.derivative(eta.detach(), y)
    (automatic,) = torch.autograd.grad(loss(eta, y), eta)
    torch.testing.assert_close(derivative, automatic, rtol=1e-14, atol=1e-16)
    step = 1e-5
    with torch.no_grad():
        for place in torch.eye(eta.numel(), dtype=torch.float64):
            along = place.reshape(shape)
            slope = (loss(eta + step * along, y) - loss(eta - step * along, y)) / (2 * step)
            torch.testing.assert_close(slope, (derivative * along).sum(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("row", "given"), SETTINGS, ids=label)
def test_the_curvature_is_that_of_the_derivative(row: LossRow, given: dict[str, Any]) -> None:
    if not row.smooth:
        pytest.skip("the loss has no curvature")
    loss = Loss.choose(given)
    eta = draw_predictors((5, 3), "float64")
    y = targets(row, (5, 3), "float64")
    curvature = loss.curvature(eta, y)
    if loss.couples_targets:
        assert curvature.shape == (5, 3, 3)
    else:
        curvature = torch.diag_embed(curvature)
    count = loss.count_terms(eta) if loss.averages() else 1
    step = 1e-6
    for target in range(3):
        along = torch.zeros_like(eta)
        along[:, target] = step
        slopes = (loss.derivative(eta + along, y) - loss.derivative(eta - along, y)) / (2 * step)
        torch.testing.assert_close(slopes * count, curvature[:, target], rtol=1e-7, atol=1e-8)
    bound = loss.curvature_bound
    if bound is not None:
        assert torch.linalg.eigvalsh(curvature).max() <= bound * (1 + 1e-14)
    torch.testing.assert_close(
        Loss.curvature(loss, eta, y), loss.curvature(eta, y), rtol=1e-12, atol=1e-15
    )


@pytest.mark.parametrize(("row", "given"), SETTINGS, ids=label)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_stack_has_the_loss_of_each_fit(
    row: LossRow, given: dict[str, Any], weighted: bool
) -> None:
    loss = Loss.choose(given)
    etas = [draw_predictors((5, 3), "float64", size) for size in (0.0, 1.0, 30.0)]
    y = targets(row, (5, 3), "float64")
    if weighted:
        loss = WeightedLoss(name="any", loss=loss)
        y = torch.hstack([y, torch.tensor([[0.0], [2.0], [1.0], [0.5], [1.5]])])
    eta = torch.stack([one.T for one in etas])
    stacked = y.T.expand(3, -1, -1)
    expected = torch.stack([loss(one, y) for one in etas])
    torch.testing.assert_close(loss.stacked(eta, stacked), expected, rtol=1e-14, atol=1e-16)
    slopes = torch.stack([loss.derivative(one, y).T for one in etas])
    torch.testing.assert_close(loss.derivative(eta, stacked), slopes, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize(("row", "given"), SETTINGS, ids=label)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_derivative_together_have_the_bits_of_each(
    row: LossRow, given: dict[str, Any], dtype: str, weighted: bool
) -> None:
    loss = Loss.choose(given)
    y = targets(row, (5, 3), dtype)
    if weighted:
        loss = WeightedLoss(name="any", loss=loss)
        weights = torch.tensor([[0.0], [2.0], [1.0], [0.5], [1.5]], dtype=y.dtype)
        y = torch.hstack([y, weights])
    for size in (0.0, 1.0, 30.0, 1e4):
        etas = torch.stack([draw_predictors((5, 3), dtype, size).T, torch.zeros(3, 5).to(y)])
        expected = loss.terms(etas, y.T[None]), loss.derivative(etas, y.T[None])
        found = loss.terms_and_derivative(etas.clone(), y.T[None])
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def compute_exactly(row: LossRow, eta: float, y: float) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Return the loss and its derivative in 5,000 digits, by the textbook's formula."""
    with mpmath.workdps(5000):
        x = mpmath.mpf(eta)
        if row.name in ("logistic", "cross_entropy"):
            return mpmath.log(1 + mpmath.exp(x)) - y * x, 1 / (1 + mpmath.exp(-x)) - y
        if row.name == "squared_hinge":
            short = max(mpmath.mpf(0), 1 - y * x)
            return short**2, -2 * y * short
        return mpmath.exp(x) - y * x, mpmath.exp(x) - y


@pytest.mark.parametrize("row", [row for row in ALL_LOSSES if row.kind != "number"], ids=label)
@pytest.mark.parametrize("dtype", DTYPES)
def test_extremes_have_the_digits_of_the_dtype(row: LossRow, dtype: str) -> None:
    """Predictors up to 10⁴, where exp(η) overflows in both directions."""
    loss = Loss.choose(row.plain)
    largest = float(torch.finfo(getattr(torch, dtype)).max)
    for eta in (0.0, 1e-6, 1.0, 20.0, 80.0, 120.0, 1e4):
        for signed in (eta, -eta):
            for y in {"sign": (-1.0, 1.0), "count": (0.0, 3.0)}.get(row.kind, (0.0, 1.0)):
                value, slope = compute_exactly(row, signed, y)
                given = torch.tensor([[signed]], dtype=getattr(torch, dtype))
                wanted = torch.tensor([[y]], dtype=given.dtype)
                if row.name == "cross_entropy":  # the second of two classes is y = 1
                    given = torch.hstack([torch.zeros_like(given), given])
                    wanted = torch.hstack([1 - wanted, wanted])
                found = loss(given, wanted).item()
                found_slope = loss.derivative(given, wanted)[0, -1].item()
                if abs(value) > largest:
                    assert found == np.inf and found_slope == np.inf
                    continue
                eps = float(torch.finfo(given.dtype).eps)
                size = eps * (abs(signed) * 4 + 4)
                assert found == pytest.approx(float(value), rel=16 * eps, abs=size)
                near = 64 * eps * max(1.0, abs(signed) if row.kind == "count" else 1.0)
                tiny = 4 * float(torch.finfo(given.dtype).tiny) + (eps * 8 if y > 1 else 0)
                assert found_slope == pytest.approx(float(slope), rel=near, abs=tiny)


def test_a_sample_of_weight_zero_adds_nothing_where_its_loss_is_infinite() -> None:
    loss = WeightedLoss(name="poisson", loss=Loss.choose("poisson"))
    eta = torch.tensor([[1e4], [0.5]], requires_grad=True)
    y = torch.tensor([[1.0, 0.0], [2.0, 2.0]])
    value = loss(eta, y)
    (slope,) = torch.autograd.grad(value, eta)
    assert value.item() == pytest.approx(np.exp(0.5) - 1.0, rel=1e-6)
    assert slope[0] == 0 and torch.equal(loss.derivative(eta.detach(), y)[0], torch.zeros(1))


@pytest.mark.parametrize("delta", [0.1, 0.7, 5.0])
def test_hubers_delta_is_torchs(delta: float) -> None:
    residual = draw_predictors((50, 2), "float64")
    zero = torch.zeros_like(residual)
    expected = torch.nn.HuberLoss(delta=delta)(residual, zero)
    value = Loss.choose({"name": "huber", "delta": delta})(residual, zero)
    torch.testing.assert_close(value, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("row", QUADRATIC_LOSSES, ids=label)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_is_its_scale_times_the_sum_of_squares(row: LossRow, shape: tuple[int, int]) -> None:
    loss = Loss.choose(row.plain)
    residual = draw_predictors(shape, "float64")
    squares = sum(number * number for number in residual.flatten().tolist())
    zero = torch.zeros_like(residual)
    assert loss(residual, zero).item() == pytest.approx(loss.scale(*shape) * squares, rel=1e-14)
    assert loss(zero, zero).item() == 0


def test_every_loss_is_an_own_class() -> None:
    names = [row.name for row in ALL_LOSSES]
    assert len(set(names)) == len(names) and len(LOSSES) < len(names)
