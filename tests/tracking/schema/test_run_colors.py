"""Colours of runs in MLflow's UI: one for each method, as in the pictures."""

from __future__ import annotations

import pytest

from linfit.tracking.schema.run_colors import METHOD_COLORS, color_methods

BLUE, RED = METHOD_COLORS[:2]
#: Varying keys, overrides of each fit, colours.
SWEEPS = {
    "optimizers": (
        ("optimizer", "seed"),
        [("optimizer=sgd", "seed=0"), ("optimizer=sgd", "seed=1"), ("optimizer=adam", "seed=0")],
        [BLUE, BLUE, RED],
    ),
    "two choices": (
        ("optimizer", "gradient"),
        [("optimizer=sgd", "gradient=manual"), ("optimizer=sgd", "gradient=autograd")],
        [BLUE, RED],
    ),
    "a choice that does not vary": (
        ("optimizer", "seed"),
        [("model=linear", "optimizer=sgd"), ("model=linear", "optimizer=adam")],
        [BLUE, RED],
    ),
    "numbers alone": (("optimizer.lr",), [("optimizer.lr=1",), ("optimizer.lr=2",)], []),
    "problems alone": (("loss",), [("loss=mse",), ("loss=huber",)], []),
}


@pytest.mark.parametrize(("varying", "overrides", "colors"), SWEEPS.values(), ids=SWEEPS)
def test_each_method_has_its_colour(
    varying: tuple[str, ...], overrides: list[tuple[str, ...]], colors: list[str]
) -> None:
    assert color_methods(overrides, varying) == colors
