"""Fits leave torch's compiler alone: they do not import it, change it for others, or lose a bit."""

from __future__ import annotations

import functools
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from linfit.method.eager import AnyMethod, eager
from tests.helpers import OPTIMIZERS, ROOT, OptimizerRow, label

TORCH = [row for row in OPTIMIZERS if row.torch]


@pytest.mark.slow
def test_fits_have_their_bits_without_torchs_compiler() -> None:
    program = [sys.executable, "-W", "ignore", "-m", "tests.method.uncompiled"]
    done = subprocess.run(
        program, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("fits") > 200
    assert found == {"loaded": [], "differing": [], "compiled": True}


def stepped(cls: type[torch.optim.Optimizer], **settings: Any) -> torch.Tensor:
    """Return weights after three steps on Σw²."""
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    optimizer = cls([weight], lr=0.1, **settings)  # type: ignore[call-arg]
    for _ in range(3):
        optimizer.zero_grad()
        (weight * weight).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("row", TORCH, ids=label)
def test_the_class_stays_torchs(row: OptimizerRow) -> None:
    cls = getattr(torch.optim, str(row.torch))
    stepped(cls)
    before = dict(vars(cls))
    made = eager(cls)
    assert issubclass(made, cls)
    assert (made.__name__, made.__qualname__, made.__module__) == (
        cls.__name__,
        cls.__qualname__,
        cls.__module__,
    )
    assert eager(cls) is made
    assert torch.equal(stepped(made), stepped(cls))
    assert dict(vars(cls)) == before


def test_hooks_and_state_are_kept() -> None:
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.ones(2)
    optimizer = eager(torch.optim.Adam)([weight])
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    optimizer.step()
    assert called == ["before", "after"]
    again = eager(torch.optim.Adam)([torch.ones(2, requires_grad=True)])
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(
        again.state_dict()["state"][0]["exp_avg"], optimizer.state[weight]["exp_avg"]
    )


@pytest.mark.parametrize("differentiable", [False, True])
def test_autograd_records_the_step_of_a_differentiable_optimizer_alone(
    differentiable: bool,
) -> None:
    leaf = torch.ones(2, requires_grad=True)
    weight = leaf.clone()
    weight.retain_grad()
    weight.grad = torch.ones(2)
    settings: dict[str, Any] = {"differentiable": True} if differentiable else {}
    eager(torch.optim.SGD)([weight], lr=0.1, **settings).step()
    with torch.enable_grad():
        assert (
            weight.grad_fn is not None and "Clone" not in weight.grad_fn.name()
        ) == differentiable


def as_it_is(step: AnyMethod) -> AnyMethod:
    return step


def without_wraps(step: AnyMethod) -> AnyMethod:
    def stepping(self: Any, closure: Any = None) -> Any:
        return step(self, closure)

    return stepping


def renamed_layer(step: AnyMethod) -> AnyMethod:
    @functools.wraps(step)
    def another(*arguments: Any, **options: Any) -> Any:
        return step(*arguments, **options)

    return another


@pytest.mark.parametrize(
    "layer",
    [as_it_is, without_wraps, renamed_layer, torch.no_grad()],
    ids=["bare", "wrapped", "renamed", "mode"],
)
def test_a_step_in_a_layer_that_is_not_known_stays_as_it_is(
    layer: Callable[[AnyMethod], AnyMethod],
) -> None:
    """As in another version of torch, or where somebody has put a layer of their own around it."""
    bare = inspect.unwrap(torch.optim.SGD.step)

    def halved(self: Any, closure: Any = None) -> Any:
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.grad *= 0.5
            return bare(self, closure)

    cls = type("SGD", (torch.optim.SGD,), {"step": layer(halved)})
    step = cls.__dict__["step"]
    made = eager(cls)
    assert made.__dict__.get("step", step) is step
    assert torch.equal(stepped(made), stepped(cls))
    assert not torch.equal(stepped(made), stepped(torch.optim.SGD))


def test_a_class_without_layers_is_used_as_it_is() -> None:
    class Plain:
        def step(self) -> None: ...

    assert eager(Plain) is Plain
