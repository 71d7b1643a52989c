"""Fits on a simulated device without float64: numbers as on the CPU, or refused before they run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import linfit as package
from linfit.errors import ConfigError
from linfit.method.gradients import Gradient
from linfit.script.program import render_script
from tests.conftest import Ran
from tests.engine.without_float64 import pretended
from tests.helpers import TABLES, beside, config, label

#: Groups whose parts compute on the device. Data and features are numpy's, and cast on their way.
GROUPS = ("model", "init", "loss", "penalty", "gradient", "batch", "optimizer", "schedule")
CHOICES = [
    {group: given, **beside(group, given)}
    for group in GROUPS
    for row in TABLES[group]
    for given in row.settings()
]
BESIDE: list[dict[str, Any]] = [
    {"dataset": "random_linear"},
    {
        "dataset": {
            "name": "csv",
            "path": "linfit:article.csv",
            "features": "one",
            "target": "y",
            "weight": "one",
        }
    },
    {"features": {"name": "raw", "intercept": True}, "penalty": {"name": "ridge", "strength": 0.5}},
    {"split": {"validation": 0.25}},
    {"record": {"every": 1, "tolerance": 0.5}},
    {"stop": {"excess_loss": 0.5}},
    {"optimizer": {"name": "sgd", "lr": 1e9}},
    {"batch": "minibatch", "schedule": "cosine", "optimizer": "adam"},
]
#: What computes in float64 whatever the fit's dtype is.
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"gradient": "gram"},
        "device mps computes in float32 only, and gradient gram in float64: "
        "choose gradient=manual or device=cpu",
    ),
    (
        {"stop": {"gradient_norm": 0.1}},
        "device mps computes in float32 only, and stop.gradient_norm in float64: "
        "choose stop.excess_loss or device=cpu",
    ),
    (
        {"dtype": "float64"},
        "device mps computes in float32 only, got dtype float64: "
        "choose dtype=float32 or device=cpu",
    ),
]


def takes(given: dict[str, Any]) -> bool:
    return bool(given.get("gradient", {}).get("name") != "gram")


@pytest.mark.parametrize("engine", ["single", "stacked"])
def test_every_part_computes_on_a_device_without_float64(engine: str) -> None:
    for given in [*filter(takes, CHOICES), *BESIDE]:
        chosen = {"steps": 5, "engine": engine, **given}
        with pretended() as marks:
            found = package.fit(config(device="mps", **chosen))
        here = package.fit(config(**chosen))
        assert marks.storages, chosen
        assert (found.status, found.error) == (here.status, None), chosen
        np.testing.assert_array_equal(found.weights, here.weights, err_msg=str(chosen))


def test_every_plain_program_computes_on_a_device_without_float64() -> None:
    written = 0
    for given in [*filter(takes, CHOICES), *BESIDE]:
        with (
            pretended() as marks,
            redirect_stdout(StringIO()),
            suppress(ConfigError),
        ):  # a batch cannot be written
            exec(render_script(config(device="mps", steps=2, **given), "a fit"), {})
            assert marks.storages, given
            written += 1
    assert written >= 90


def test_fits_of_many_kinds_stack_on_a_device_without_float64() -> None:
    optimizers = [row.name for row in TABLES["optimizer"]]
    with pretended():
        found = package.fit(
            [config(device="mps", steps=4 + i, optimizer=name) for i, name in enumerate(optimizers)]
        )
    assert [fit.error for fit in found] == [None] * len(optimizers)
    assert {fit.config.engine.name for fit in found} == {"stacked"}


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=label)
def test_what_needs_float64_is_refused_before_anything_runs(
    given: dict[str, Any], message: str, linfit: Callable[..., Ran], bare: Path
) -> None:
    with pytest.raises(ValidationError, match=message):
        config(device="mps", **given)
    words = [
        f"{group}.{key}={value}"
        for group, parts in given.items()
        if isinstance(parts, dict)
        for key, value in parts.items()
    ]
    words += [f"{group}={name}" for group, name in given.items() if isinstance(name, str)]
    for command in (["run"], ["plan"], ["run", "-m", "seed=0,1"], ["script"]):
        ran = linfit(*command, "device=mps", "tracking=none", *words)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran
        assert message in ran.err
    assert list(bare.iterdir()) == []


def test_a_gradient_says_itself_that_it_computes_in_float64() -> None:
    gradients = [Gradient.choose(row.name) for row in TABLES["gradient"]]
    assert {gradient.name for gradient in gradients if gradient.in_float64} == {"gram"}
    for gradient in gradients:
        assert gradient.choose_data_dtype(torch.float32) == (
            torch.float64 if gradient.in_float64 else torch.float32
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_auto_takes_the_processor_where_there_is_mps(dtype: str) -> None:
    with pretended():
        assert config(device="auto", dtype=dtype).resolved().device.name == "cpu"
        assert config(device="mps").resolved().device.name == "mps"


@pytest.mark.parametrize(
    "bad",
    [
        lambda x: x.double(),
        lambda x: x.to(torch.float64),
        lambda x: torch.zeros(2, dtype=torch.float64, device=x.device),
        lambda x: torch.zeros(2, dtype=torch.float64).to("mps"),
        lambda x: torch.zeros(2, dtype=torch.float64).to(x.device),
        lambda x: torch.empty_like(x, dtype=torch.float64),
        lambda x: x.sum(dtype=torch.float64),
        lambda x: x.numpy(),
    ],
)
def test_the_pretended_device_refuses_float64(bad: Callable[[torch.Tensor], Any]) -> None:
    with pretended():
        x = torch.ones(2, device="mps") * 2
        assert (x.device.type, x.cpu().device.type, x.cpu().double().sum().item()) == (
            "mps",
            "cpu",
            4,
        )
        with pytest.raises(TypeError):
            bad(x)
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(2)
