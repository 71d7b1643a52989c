"""The documented plug-in, docs/examples/torch_optimizers.py, beside torch itself."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from linfit.engine.dispatch import fit
from linfit.method.optimizers import Optimizer
from tests.helpers import config, scratch_registry

FILE = Path(__file__).parents[2] / "docs" / "examples" / "torch_optimizers.py"
NAMES = {
    "adadelta": "Adadelta",
    "adamax": "Adamax",
    "nadam": "NAdam",
    "radam": "RAdam",
    "asgd": "ASGD",
    "rprop": "Rprop",
}


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    spec = spec_from_file_location("torch_optimizers", FILE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "torch_optimizers", module)
    with scratch_registry():
        spec.loader.exec_module(module)
        yield


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(("name", "torchs"), NAMES.items())
def test_a_fit_is_the_plain_torch_loop_with_torchs_own_defaults(name: str, torchs: str) -> None:
    fitted = config(
        optimizer=name, plugins=["torch_optimizers"], steps=30, dtype="float64", record={"every": 1}
    )
    found, data = fit(fitted), fitted.dataset.load(0)
    assert found.path is not None, found.error
    X, y = torch.tensor(data.X), torch.tensor(data.y)
    w = torch.tensor(found.path.weights[0]).requires_grad_()
    optimizer = getattr(torch.optim, torchs)([w])
    for expected in found.losses:
        loss = ((X @ w - y) ** 2).sum()
        assert loss.item() == pytest.approx(expected, rel=1e-12)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@pytest.mark.usefixtures("plug_in")
def test_in_a_sweep_they_run_single_and_say_why() -> None:
    configs = [config(optimizer=name, steps=2) for name in NAMES]
    assert all(each.unstackable() == ["optimizer"] for each in configs)
    assert {found.config.engine.name for found in fit([*configs, *configs])} == {"single"}
    for name, torchs in NAMES.items():
        arguments = inspect.signature(getattr(torch.optim, torchs)).parameters
        assert {key for key in Optimizer.choices[name].model_fields if key != "name"} <= set(
            arguments
        )
