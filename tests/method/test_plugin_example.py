"""The documented plug-ins, docs/examples/: optimizers, a loss, a dataset."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.prediction.predict import predict_before_fit
from linfit.method.optimizers import Optimizer
from linfit.problem.losses import Loss
from linfit.problem.penalties import Shrinkage
from linfit.problem.theory.optimum import find_optimum
from linfit.script.program import render_script
from tests.helpers import config, scratch_registry
from tests.test_script import same

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
TORCHS = {"adafactor": "Adafactor"}


@pytest.fixture(autouse=True)
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Define the components of all examples, and restore torch's threads, which programs set."""
    threads = torch.get_num_threads()
    with scratch_registry(), torch.random.fork_rng():
        for file in EXAMPLES.glob("*.py"):
            spec = spec_from_file_location(file.stem, file)
            assert spec is not None and spec.loader is not None
            module = module_from_spec(spec)
            monkeypatch.setitem(sys.modules, file.stem, module)
            spec.loader.exec_module(module)
        yield
    torch.set_num_threads(threads)


def with_plug_ins(**parts: Any) -> FitConfig:
    plugins = sorted(file.stem for file in EXAMPLES.glob("*.py"))
    return config(**{"plugins": plugins, "steps": 30, "record": {"every": 1}, **parts})


def test_what_the_documentation_shows_is_in_the_examples() -> None:
    shown = re.findall(r"```py\n(.*?)```", (DOCS / "plugins.md").read_text("utf-8"), re.DOTALL)
    # Without white space: in the page a method stands at another depth than in its class.
    written = ["".join(file.read_text("utf-8").split()) for file in EXAMPLES.glob("*.py")]
    assert len(shown) >= 3
    for code in shown:
        assert any("".join(code.split()) in text for text in written), code


# ---- another optimizer of torch's ----


@pytest.mark.parametrize(("name", "torchs"), TORCHS.items())
def test_a_fit_is_the_plain_torch_loop_with_torchs_own_defaults(name: str, torchs: str) -> None:
    fitted = with_plug_ins(optimizer=name, dtype="float64")
    found = fit(fitted)
    data = fitted.dataset.load(0)
    assert found.path is not None, found.error
    X = torch.tensor(data.X)
    y = torch.tensor(data.y)
    w = torch.tensor(found.path.weights[0]).requires_grad_()
    optimizer = getattr(torch.optim, torchs)([w])
    for expected in found.losses:
        loss = ((X @ w - y) ** 2).sum()
        assert loss.item() == pytest.approx(expected, rel=1e-12)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def test_in_a_sweep_they_run_single_and_say_why() -> None:
    configs = [with_plug_ins(optimizer=name, steps=2) for name in TORCHS]
    assert all(each.unstackable() == ["optimizer"] for each in configs)
    assert {found.config.engine.name for found in fit([*configs, *configs])} == {"single"}
    for name, torchs in TORCHS.items():
        arguments = inspect.signature(getattr(torch.optim, torchs)).parameters
        fields = {key for key in Optimizer.choices[name].model_fields if key != "name"}
        assert fields <= set(arguments)


@pytest.mark.parametrize("name", TORCHS)
def test_they_keep_the_lines_of_torchs_optimizers(name: str) -> None:
    assert f"torch.optim.{TORCHS[name]}(" in render_script(with_plug_ins(optimizer=name), "a test")


# ---- an optimizer, a loss, a dataset ----

OURS = [
    {"optimizer": {"name": "averaged_momentum", "lr": 2e-3, "momentum": 0.5}},
    {"loss": {"name": "pseudo_huber", "delta": 0.5}, "optimizer": {"name": "sgd", "lr": 0.05}},
    {"dataset": {"name": "wave", "noise": 0.2}, "optimizer": {"name": "sgd", "lr": 1e-2}},
]


@pytest.mark.parametrize("parts", OURS, ids=lambda parts: next(iter(parts)))
def test_a_plug_in_is_stacked_with_the_single_engines_losses(parts: dict[str, Any]) -> None:
    configs = [with_plug_ins(**parts, dtype="float64", seed=seed) for seed in range(3)]
    alone = [fit(each) for each in configs]
    together = fit(configs)
    assert {found.config.engine.name for found in alone} == {"single"}
    assert {found.config.engine.name for found in together} == {"stacked"}
    for one, other in zip(alone, together, strict=True):
        assert other.losses == pytest.approx(one.losses, rel=1e-9)


@pytest.mark.parametrize("parts", OURS, ids=lambda parts: next(iter(parts)))
@pytest.mark.parametrize("gradient", ["manual", "autograd"])
def test_its_plain_program_has_the_engines_bits(parts: dict[str, Any], gradient: str) -> None:
    same(with_plug_ins(**parts, gradient=gradient))


def test_a_schedule_of_the_optimizer_is_stacked() -> None:
    parts = {"optimizer": "averaged_momentum", "schedule": "exponential"}
    assert with_plug_ins(**parts).unstackable() == []


def test_theory_of_the_optimizer_is_what_happens() -> None:
    def with_lr(lr: float) -> FitConfig:
        optimizer = {"name": "averaged_momentum", "lr": lr, "momentum": 0.5}
        return with_plug_ins(optimizer=optimizer, dtype="float64", steps=3000)

    bound = predict_before_fit(with_lr(1e-3)).largest_stable_lr
    assert bound is not None
    assert fit(with_lr(1.01 * bound)).status == "diverged"
    below = with_lr(0.5 * bound)
    theory = predict_before_fit(below)
    assert theory.rate is not None and theory.rate < 1
    assert theory.steps_to_tolerance is not None
    assert fit(below).steps_to_tolerance == theory.steps_to_tolerance


@pytest.mark.parametrize("shrinkage", [Shrinkage(), Shrinkage(0.05), Shrinkage(0.05, exempt=True)])
def test_the_optimum_of_the_loss_is_flat_and_its_excess_exact(shrinkage: Shrinkage) -> None:
    loss = Loss.choose({"name": "pseudo_huber", "delta": 0.5})
    problem = with_plug_ins(dataset="random_linear").problem()
    known = find_optimum(problem, loss, shrinkage)

    def objective(W: torch.Tensor) -> torch.Tensor:
        mask = torch.from_numpy(shrinkage.mark_penalized(len(W)))[:, None]
        penalty = 0.5 * shrinkage.strength * (mask * W).square().sum()
        return loss(torch.from_numpy(problem.X) @ W, torch.from_numpy(problem.y)) + penalty

    best = torch.tensor(known.weights, requires_grad=True)
    value = objective(best)
    (slope,) = torch.autograd.grad(value, best)
    assert np.abs(slope.numpy()).max() < 1e-14
    least = value.item()
    assert known.loss == pytest.approx(least, rel=1e-14)
    for step in (1e-6, 1e-2, 1.0, 100.0):
        other = best.detach() + step
        excess = float(known.excess_loss(other.numpy()))
        assert excess == pytest.approx(objective(other).item() - least, rel=1e-6, abs=1e-15)
