"""A sweep that is asked for in Python: a list, a text, or a dict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import linfit
from linfit.errors import ConfigError
from linfit.sweeps.compose.python_arguments import list_sweep_arguments

TAKEN: list[tuple[Any, list[str]]] = [
    (["optimizer=sgd,adam", "seed=0"], ["optimizer=sgd,adam", "seed=0"]),
    (("seed=0,1",), ["seed=0,1"]),
    ("seed=0,1", ["seed=0,1"]),
    (
        "article/levels  optimizer=sgd,adam seed=range(0, 3)\n",
        ["article/levels", "optimizer=sgd,adam", "seed=range(0, 3)"],
    ),
    ("dataset.features=[a, b] name='my sweep'", ["dataset.features=[a, b]", "name='my sweep'"]),
    (
        """hydra.sweeper.filter="optimizer.lr < 0.1" a={b: c}""",
        ["""hydra.sweeper.filter="optimizer.lr < 0.1\"""", "a={b: c}"],
    ),
    ("", []),
    (
        {"optimizer": ["sgd", "adam"], "optimizer.lr": [0.1, 1e-05], "seed": range(3)},
        ["optimizer=sgd,adam", "optimizer.lr=0.1,1e-05", "seed=range(0,3)"],
    ),
    ({"seed": range(4, 0, -2)}, ["seed=4,2"]),
    (
        {"optimizer.lr": np.array([0.5, 2.0]), "seed": np.int64(3)},
        ["optimizer.lr=0.5,2.0", "seed=3"],
    ),
    ({"optimizer.lr": "tag(log,interval(1e-4,1))"}, ["optimizer.lr=tag(log,interval(1e-4,1))"]),
    ({"pictures": False, "stop.excess_loss": None}, ["pictures=false", "stop.excess_loss=null"]),
    ({"dataset.features": [["a", "b"], ["c"]]}, ["dataset.features=[a,b],[c]"]),
    ({"split": [{"validation": 0.5}], "seed": [1]}, ["split={validation:0.5}", "seed=1"]),
    ({"dataset.path": ["a,b.csv", "c.csv"]}, ['dataset.path="a,b.csv",c.csv']),
]
REFUSED: list[tuple[Any, str]] = [
    (3, "takes a list of overrides, a text of them, or a dict of keys and values, got 3"),
    (None, "got None"),
    (["seed=0", 3], "3 is no text"),
    ({3: 1}, "a key of a sweep is text such as 'optimizer.lr', got 3"),
    ({"seed": []}, "seed: there is no value to sweep, the list is empty"),
    ({"seed": {0, 1}}, "seed: a set has no order"),
    ({"optimizer": object}, "optimizer: got <class 'object'>, a number, a text"),
    ("seed=[0,1", "is missing"),
    ("name='a", "' is missing"),
]


@pytest.mark.parametrize(("given", "arguments"), TAKEN)
def test_a_sweep_is_a_list_a_text_or_a_dict(given: Any, arguments: list[str]) -> None:
    assert list_sweep_arguments(given) == arguments


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_what_is_no_sweep_is_told_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(ConfigError) as found:
        list_sweep_arguments(given)
    assert said in str(found.value) and "\n" not in str(found.value)


def test_arrays_are_a_value() -> None:
    data = linfit.arrays(np.arange(12.0).reshape(6, 2), np.arange(6.0))
    arguments = list_sweep_arguments({"dataset": data, "seed": range(2)})
    assert arguments == [*data.overrides, "seed=range(0,2)"]
    assert linfit.compose(arguments[:-1]).dataset == data
