"""Gradients by hand, by autograd, by torch.func and by central differences agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, cast

import pytest
import torch

from linfit.method.gradients import Gradient
from linfit.method.init import Normal
from linfit.method.models import Model
from linfit.problem.datasets.synthetic import Dataset
from linfit.problem.losses import Loss
from tests.helpers import (
    GRADIENTS,
    LOSSES,
    MODELS,
    PROBLEMS,
    GradientRow,
    LossRow,
    Row,
    cover_pairs,
    label,
)

DATA = [given for given, _ in PROBLEMS]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """These products are far too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Case:
    """A model, a loss and a dataset, at weights drawn for them."""

    def __init__(self, model: Row, loss: LossRow, dataset: dict[str, Any]) -> None:
        problem = Dataset.choose(dataset).load(1)
        self.model, self.loss = Model.choose(model.plain), Loss.choose(loss.plain)
        self.X, self.y = torch.tensor(problem.X), torch.tensor(problem.y)
        self.weights = Normal().draw(problem.shape[1], problem.shape[2], 2, torch.float64)

    def gradient(self, row: Row) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss `[]` and its gradient `[p, q]` of a second evaluation: none adds up."""
        predictor = self.model.build(self.weights)
        evaluate = Gradient.choose(row.plain).bind(self.model, predictor, self.loss, self.X, self.y)
        first = evaluate().detach().clone()
        value = evaluate().detach()
        assert torch.equal(value, first)
        assert predictor.weight.grad is not None
        assert predictor.weight.grad.shape == predictor.weight.shape
        return value, self.model.transpose(predictor.weight.grad)

    def value(self, weights: torch.Tensor) -> torch.Tensor:
        return self.loss(self.X @ weights, self.y)


CASES = cover_pairs(MODELS, LOSSES, DATA)
CASES_BY_ROW = cover_pairs(
    GRADIENTS, MODELS, LOSSES, DATA, allowed=lambda row, model, loss, data: row.takes(loss)
)


@pytest.mark.parametrize(("model", "loss", "dataset"), CASES, ids=label)
def test_all_gradients_are_one(model: Row, loss: LossRow, dataset: dict[str, Any]) -> None:
    case = Case(model, loss, dataset)
    rows = [row for row in GRADIENTS if row.takes(loss)]
    found = {row.name: case.gradient(row) for row in rows}
    value, gradient = found[rows[0].name]
    size = gradient.abs().max().item()
    assert size > 0
    for row in rows:
        other_value, other = found[row.name]
        assert (other - gradient).abs().max().item() <= row.near * size
        assert other_value.item() == pytest.approx(value.item(), rel=1e-12)


@pytest.mark.parametrize(("row", "model", "loss", "dataset"), CASES_BY_ROW, ids=label)
def test_a_gradient_is_that_of_central_differences(
    row: Row, model: Row, loss: LossRow, dataset: dict[str, Any]
) -> None:
    case = Case(model, loss, dataset)
    value, gradient = case.gradient(row)
    assert value.item() == pytest.approx(case.value(case.weights).item(), rel=1e-13)
    slopes = torch.empty_like(gradient)
    for place in product(*map(range, gradient.shape)):
        step = torch.zeros_like(gradient)
        step[place] = loss.difference  # large where the third derivative is zero
        slopes[place] = (case.value(case.weights + step) - case.value(case.weights - step)) / (
            2 * loss.difference
        )
    assert (slopes - gradient).abs().max() <= 1e-6 * gradient.abs().max()


@pytest.mark.matrix
@pytest.mark.parametrize("row", GRADIENTS, ids=label)
def test_a_gradient_follows_the_weights(row: GradientRow) -> None:
    """The evaluation is bound once and called at every step, where the weights stand then."""
    case = Case(MODELS[0], LOSSES[0], DATA[0])
    predictor = case.model.build(case.weights)
    evaluate = Gradient.choose(row.plain).bind(case.model, predictor, case.loss, case.X, case.y)
    evaluate()
    predictor.weight.detach().copy_(3 * case.weights)
    moved = evaluate().item()
    assert moved == pytest.approx(case.value(3 * case.weights).item(), rel=1e-13)
    expected = 2 * case.X.T @ (case.X @ (3 * case.weights) - case.y)
    assert predictor.weight.grad is not None
    torch.testing.assert_close(predictor.weight.grad, expected, rtol=row.near, atol=0)


@pytest.mark.parametrize(("model", "loss", "dataset"), CASES, ids=label)
def test_functional_gradients_have_the_bits_of_torch_func(
    model: Row, loss: LossRow, dataset: dict[str, Any]
) -> None:
    """Forward mode takes `torch.func.jvp` of the loss, plain programs of the whole objective."""
    case = Case(model, loss, dataset)
    predictor = case.model.build(case.weights)
    weight = predictor.weight.detach()

    def objective(parameter: torch.Tensor) -> torch.Tensor:
        return case.loss(case.model.predict(predictor, parameter, case.X), case.y)

    gradient, value = cast(
        "tuple[torch.Tensor, torch.Tensor]", torch.func.grad_and_value(objective)(weight)
    )
    rows = {row.name: row for row in GRADIENTS}
    found, slope = case.gradient(rows["func_grad"])
    assert torch.equal(found, value)
    assert torch.equal(slope, case.model.transpose(gradient))

    along = torch.eye(weight.numel(), dtype=weight.dtype).view(-1, *weight.shape)
    pushed = [torch.func.jvp(objective, (weight,), (direction,))[:2] for direction in along]
    found, slope = case.gradient(rows["forward"])
    assert torch.equal(found, pushed[0][0])
    assert torch.equal(
        slope, case.model.transpose(torch.stack([one for _, one in pushed]).view_as(weight))
    )
