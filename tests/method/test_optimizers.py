"""Optimizers: fields and defaults are torch's, and what is ours does what its formula says."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from linfit.method.optimizers import ManualSGD, Optimizer, TorchOptimizer
from linfit.problem.losses import SSE
from linfit.problem.theory.optimum import find_optimum
from tests.helpers import OPTIMIZERS, OptimizerRow, config, label, problem

#: Switches of torch's implementation, which change speed or memory and not the method.
SWITCHES = {"foreach", "fused", "capturable", "differentiable"}
#: A problem of two features, with curvatures 2 and 8.
QUADRATIC = find_optimum(problem(np.diag([1.0, 2.0]), np.ones((2, 1))), SSE())
TORCH = [row for row in OPTIMIZERS if row.torch]


@pytest.mark.matrix
@pytest.mark.parametrize("row", TORCH, ids=label)
def test_fields_and_defaults_are_torchs(row: OptimizerRow) -> None:
    parameters = inspect.signature(getattr(torch.optim, str(row.torch))).parameters
    torchs = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name != "params" and name not in SWITCHES
    }
    ours = {
        name: field.default
        for name, field in Optimizer.choices[row.name].model_fields.items()
        if name != "name"
    }
    assert ours == torchs
    assert all(isinstance(ours[name], bool) == isinstance(torchs[name], bool) for name in ours)


@pytest.mark.parametrize("row", OPTIMIZERS, ids=label)
def test_the_table_says_whose_the_update_is(row: OptimizerRow) -> None:
    choice = Optimizer.choices[row.name]
    assert issubclass(choice, TorchOptimizer) == (row.torch is not None)
    if issubclass(choice, TorchOptimizer):
        assert choice.torch_name == row.torch


@pytest.mark.parametrize("row", TORCH, ids=label)
def test_torchs_own_optimizer_is_built_with_every_setting(row: OptimizerRow) -> None:
    for given in row.settings():
        assert_built(row, given)


def assert_built(row: OptimizerRow, given: dict[str, Any]) -> None:
    parameter = torch.zeros(2, 1, requires_grad=True)
    stepper = Optimizer.choose(given).build(parameter, 30)
    assert isinstance(stepper, torch.optim.Optimizer)
    assert isinstance(stepper, getattr(torch.optim, str(row.torch)))
    assert type(stepper).__name__ == row.torch
    (group,) = stepper.param_groups
    assert group["params"][0] is parameter
    fields = Optimizer.choose(given).model_dump(exclude={"name"})
    plain = getattr(torch.optim, str(row.torch))(
        [parameter], **{key: value for key, value in given.items() if key != "name"}
    )
    for key, value in fields.items():
        assert group[key] == value
        assert group[key] == pytest.approx(plain.param_groups[0][key])


@pytest.mark.parametrize("average", [False, True])
def test_manual_sgd_is_its_formula(average: bool) -> None:
    parameter = torch.tensor([[1.0], [-2.0]], dtype=torch.float64, requires_grad=True)
    parameter.grad = torch.tensor([[0.3], [7.0]], dtype=torch.float64)
    stepper = ManualSGD(lr=0.25, average=average).build(parameter, n=10)
    w, g = np.array([[1.0], [-2.0]]), np.array([[0.3], [7.0]])
    for _ in range(3):
        stepper.step()
        w = w - 0.25 * (g / 10 if average else g)
    assert parameter.detach().numpy().tolist() == w.tolist()
    assert parameter.requires_grad


@pytest.mark.matrix
@pytest.mark.parametrize("row", OPTIMIZERS, ids=label)
def test_an_optimizer_updates_in_place_along_the_gradient(row: OptimizerRow) -> None:
    """The first step from rest is downhill in every coordinate; `maximize` turns it round."""
    for given in row.settings():
        parameter = torch.tensor([[0.0], [0.0]], dtype=torch.float64, requires_grad=True)
        parameter.grad = torch.tensor([[0.5], [-3.0]], dtype=torch.float64)
        place = parameter.data_ptr()
        Optimizer.choose(given).tuned_to(QUADRATIC).build(parameter, n=4).step()
        assert parameter.data_ptr() == place
        sign = 1 if given.get("maximize") else -1
        assert not row.descends or torch.equal(
            torch.sign(parameter.detach()), sign * torch.sign(parameter.grad)
        )


@pytest.mark.parametrize("row", [row for row in OPTIMIZERS if row.lr is not None], ids=label)
def test_a_learning_rate_is_positive(row: OptimizerRow) -> None:
    for lr in (0, -0.1):
        with pytest.raises(ValueError, match="greater than 0"):
            config(optimizer={"name": row.name, "lr": lr})
