"""Targets that a loss takes but is not meant for are told before anything runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Linfit = Callable[..., Any]
NOTE = (
    "note: sklearn:diabetes: target 'y' has 214 classes in 442 training samples, "
    "all of them numbers: if it is a quantity, choose loss=mse\n"
)


@pytest.mark.parametrize(("name", "note"), [("diabetes", NOTE), ("digits", ""), ("iris", "")])
def test_classes_that_look_like_a_quantity_are_noted_once(
    name: str, note: str, bare: Path, linfit: Linfit
) -> None:
    loss = ("loss=cross_entropy", "theory=none")
    done = linfit("plan", "-m", "dataset=sklearn", f"dataset.set={name}", *loss, "seed=0,1")
    assert done.code == 0
    assert done.err.count("if it is a quantity") == bool(note)
    assert note in done.err
