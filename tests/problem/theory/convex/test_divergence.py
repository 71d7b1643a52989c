"""Bregman divergences of the losses, against decimal arithmetic of 800 digits."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal, getcontext, localcontext

import numpy as np
import pytest
import torch

from linfit.problem.losses import CrossEntropy, Logistic, Loss, Poisson, SquaredHinge
from linfit.problem.types import Array

Exact = Callable[[list[Decimal], list[Decimal]], Decimal]


def log_sum(values: list[Decimal]) -> Decimal:
    return sum((value.exp() for value in values), Decimal()).ln()


def exact_softmax(eta: list[Decimal], delta: list[Decimal]) -> Decimal:
    after = [a + b for a, b in zip(eta, delta, strict=True)]
    total = sum((value.exp() for value in eta), Decimal())
    slope = sum((a.exp() / total * b for a, b in zip(eta, delta, strict=True)), Decimal())
    return log_sum(after) - log_sum(eta) - slope


def exact_logistic(eta: list[Decimal], delta: list[Decimal]) -> Decimal:
    return exact_softmax([Decimal(), *eta], [Decimal(), *delta])


def exact_poisson(eta: list[Decimal], delta: list[Decimal]) -> Decimal:
    return eta[0].exp() * (delta[0].exp() - 1 - delta[0])


def exact_hinge(eta: list[Decimal], delta: list[Decimal]) -> Decimal:
    best = 1 - eta[0]
    short = best - delta[0]
    return (
        max(Decimal(), short) ** 2 - max(Decimal(), best) ** 2 + 2 * max(Decimal(), best) * delta[0]
    )


LOSSES: list[tuple[Loss, int, Exact]] = [
    (Logistic(), 1, exact_logistic),
    (Poisson(), 1, exact_poisson),
    (SquaredHinge(), 1, exact_hinge),
    (CrossEntropy(), 3, exact_softmax),
]
#: Sizes of η and δ, and the digits that are promised.
REGIONS = [
    (5, 1e-9, 2e-15),
    (5, 10.0, 5e-15),
    (300, 10.0, 1e-13),
    (700, 300.0, 1e-13),
    (700, 1e3, 2e-13),
]


def measure(loss: Loss, eta: Array, delta: Array, y: Array) -> Array:
    parts = (torch.from_numpy(part) for part in (eta, y, delta))
    return np.asarray(loss.divergence(*parts).numpy())[:, 0]


@pytest.mark.parametrize(("size", "step", "digits"), REGIONS)
@pytest.mark.parametrize(("loss", "q", "exact"), LOSSES, ids=lambda row: getattr(row, "name", ""))
def test_a_divergence_has_its_digits(
    loss: Loss, q: int, exact: Exact, size: float, step: float, digits: float
) -> None:
    stream = np.random.default_rng(0)
    eta = stream.uniform(-size, size, (25, q))
    delta = step * stream.standard_normal((25, q))
    found = measure(loss, eta, delta, np.eye(q)[np.zeros(25, dtype=int)])
    assert (found >= 0).all()
    with localcontext() as context:
        context.prec = 100 + int(size)
        for got, *row in zip(found, eta.tolist(), delta.tolist(), strict=True):
            truth = exact(*([Decimal(number) for number in part] for part in row))
            if Decimal("1e-300") < truth < Decimal("1e300"):
                assert abs(Decimal(float(got)) - truth) <= Decimal(digits) * truth


def test_the_decimal_truth_is_not_the_difference_of_floats() -> None:
    assert getcontext().prec < 800
    saturated = np.full((1, 1), 100.0)
    with np.errstate(all="raise"):
        assert measure(Logistic(), saturated, saturated / 4, np.ones((1, 1)))[0] > 0


@pytest.mark.parametrize(("loss", "q", "exact"), LOSSES, ids=lambda row: getattr(row, "name", ""))
def test_a_plug_in_that_states_no_divergence_has_nearly_the_same(
    loss: Loss, q: int, exact: Exact
) -> None:
    stream = np.random.default_rng(1)
    y = np.eye(q)[np.zeros(200, dtype=int)]
    for step in (1e-12, 1e-5, 0.1, 5.0):
        eta = stream.uniform(-5, 5, (200, q))
        delta = step * stream.standard_normal((200, q))
        stated = measure(loss, eta, delta, y)
        parts = (torch.from_numpy(part) for part in (eta, y, delta))
        found = Loss.divergence(loss, *parts).numpy()[:, 0]
        if isinstance(loss, SquaredHinge):  # its curvature jumps
            smooth = np.sign(1 - eta[:, 0]) == np.sign(1 - eta[:, 0] - delta[:, 0])
            found, stated = found[smooth], stated[smooth]
        np.testing.assert_allclose(found, stated, rtol=1e-9)


@pytest.mark.parametrize("loss", [Logistic(), Poisson(), SquaredHinge(), CrossEntropy()], ids=str)
def test_nothing_moved_is_nothing(loss: Loss) -> None:
    q = 3 if loss.couples_targets else 1
    eta = np.linspace(-1e4, 700, 30)[:, None] * np.eye(q)[0]
    y = np.eye(q)[np.zeros(30, dtype=int)]
    assert (measure(loss, eta, 0 * eta, y) == 0).all()
