"""Stacks in panels: a fit's bits are its own at real sizes, whatever library and settings say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linfit.config import FitConfig
from linfit.engine.dispatch import fit
from linfit.engine.fit import Fit, Status
from linfit.engine.product_settings import (
    ELEMENTWISE,
    FORM_SETTING,
    PANELS,
    find_mkl_setting,
    find_stack_form,
    use_recorded_products,
)
from linfit.engine.stacked import forms, self_test
from linfit.engine.stacked.blocks import cut_into_blocks, find_optima
from linfit.engine.stacked.panels import PanelData
from linfit.engine.stacked.program import Program
from linfit.engine.stacked.run import fit_stacks
from linfit.method.products import PanelProducts
from linfit.script.program import render_script
from linfit.settings import SingleEngine
from tests import helpers
from tests.conftest import Ran

DRAWN: Mapping[str, Any] = {"name": "random_linear", "noise": 0.3, "condition": 3.0}
#: Problems that take panels: one block of samples and several, one target, three, and classes.
PROBLEMS: tuple[Mapping[str, Any], ...] = (
    {"dataset": {**DRAWN, "n": 40, "p": 26}},
    {"dataset": {**DRAWN, "n": 2_500, "p": 3, "q": 3}, "loss": "huber"},
    {"dataset": {"name": "classes", "n": 1_100, "p": 5, "label_noise": 0.2}, "loss": "logistic"},
    {"dataset": {"name": "classes", "n": 300, "p": 7, "classes": 3}, "loss": "cross_entropy"},
    {"dataset": {"name": "counts", "n": 2_049, "p": 4}, "loss": "poisson"},
    {"dataset": {**DRAWN, "n": 600, "p": 9}, "loss": "quantile"},
    {"dataset": {"name": "classes", "n": 90, "p": 12}, "loss": "squared_hinge"},
    {"dataset": {**DRAWN, "n": 1_030, "p": 2}, "penalty": {"name": "ridge", "strength": 0.1}},
)
GRADIENTS = ("manual", "autograd", "func_grad", "forward", "finite_difference")


def grid(count: int, **fields: Any) -> list[FitConfig]:
    """Return fits of one problem at `count` learning rates; every ninth one diverges."""
    rates = [1e-3 * 1.01**place if place % 9 else 1e30 for place in range(count)]
    common = {"engine": "stacked", "theory": "none", "steps": 3, "record": {"every": 1}}
    return [
        FitConfig.model_validate(
            {**common, "loss": "mse", "optimizer": {"name": "sgd", "lr": rate}, **fields}
        )
        for rate in rates
    ]


def bits(configs: Sequence[FitConfig]) -> list[tuple[bytes, bytes]]:
    """Return losses and weights of fits, in order."""
    found = dict(fit_stacks([config.resolved(several=True) for config in configs]))
    fits = [found[index] for index in range(len(configs))]
    assert not [one.error for one in fits if one.status is Status.FAILED]
    return [(one.losses.tobytes(), one.weights.tobytes()) for one in fits]


def in_panels(config: FitConfig) -> bool:
    (block,) = cut_into_blocks([config.resolved(several=True)] * 2)
    assert isinstance(block, list)
    find_optima(block)
    return isinstance(Program(block).data, PanelData)


@pytest.mark.parametrize(
    ("turn", "gradient", "dtype"),
    helpers.cover_pairs(range(len(PROBLEMS)), GRADIENTS, helpers.DTYPES),
    ids=str,
)
def test_bits_are_those_of_a_fit_alone(turn: int, gradient: str, dtype: str) -> None:
    configs = grid(67, **PROBLEMS[turn], gradient=gradient, dtype=dtype)
    assert in_panels(configs[0])
    among = bits(configs)
    for place in (0, 1, 31, 32, 66):
        assert bits([configs[place]]) == [among[place]]
    assert bits(configs[40:43]) == among[40:43]
    assert bits(configs[::-1]) == among[::-1]


@pytest.mark.parametrize("dtype", helpers.DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_bits_do_not_depend_on_who_shares_the_data(dtype: str, threads: int) -> None:
    """Fits of one problem, of eleven, and of one each: in one stack, and by themselves."""
    common = {"dtype": dtype, "threads": threads, **PROBLEMS[2]}
    shared = grid(40, **common)
    folded = [
        config
        for fold in range(4)
        for config in grid(9, split={"name": "kfold", "k": 4, "fold": fold}, **common)
    ]
    own = [grid(1, seed=seed, **common)[0] for seed in range(20)]
    for together in ([*shared, *own[:3]], folded, own, [*own, *shared]):
        among = bits(together)
        for place in (0, 10, len(together) - 1):
            assert bits([together[place]]) == [among[place]]


@pytest.mark.parametrize(
    "fields",
    [
        {"batch": {"name": "minibatch", "size": 16}},
        {"batch": {"name": "minibatch", "size": 16}, "gradient": "saga"},
        {"dataset": {"name": "csv", "path": "weighted.csv", "features": ["a", "b"], "target": "y",
                     "weight": "w"}, "loss": "logistic"},
        {"dataset": {**DRAWN, "n": 200, "p": 8}, "gradient": "gram", "loss": "sse"},
    ],
    ids=["minibatch", "saga", "weights", "gram"],
)  # fmt: skip
def test_bits_of_batches_weights_and_summaries(
    fields: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stream = np.random.default_rng(0)
    rows = [
        f"{a},{b},{int(a + b > 0)},{w}"
        for a, b, w in zip(*stream.normal(size=(2, 900)), stream.integers(0, 3, 900), strict=True)
    ]
    Path("weighted.csv").write_text("\n".join(["a,b,y,w", *rows]))
    configs = grid(35, **{"dataset": {**DRAWN, "n": 700, "p": 3}, **fields})
    among = bits(configs)
    assert [bits([configs[place]])[0] for place in (0, 5, 34)] == [among[p] for p in (0, 5, 34)]


@pytest.mark.parametrize("turn", range(len(PROBLEMS)))
@pytest.mark.parametrize("gradient", ["manual", "autograd"])
def test_panels_agree_with_the_single_engine(turn: int, gradient: str) -> None:
    fields = {**PROBLEMS[turn], "gradient": gradient, "dtype": "float64"}
    stacked = fit(grid(3, **fields)[1:])
    single = fit([one.config.model_copy(update={"engine": SingleEngine()}) for one in stacked])
    for one, other in zip(stacked, single, strict=True):
        np.testing.assert_allclose(one.losses, other.losses, rtol=1e-12)
        np.testing.assert_allclose(one.weights, other.weights, rtol=1e-11, atol=1e-13)


# ---- which form ----


def notes(one: Fit) -> tuple[str, ...]:
    assert one.problem is not None
    return one.problem.notes


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and no answers remembered."""
    file = tmp_path / "cache" / "panels.json"
    monkeypatch.setattr(self_test, "_find_file", lambda: file)
    self_test.keeps_bits.cache_clear()
    yield file
    self_test.keeps_bits.cache_clear()


def test_small_fits_multiply_element_by_element() -> None:
    assert not in_panels(grid(1, dataset={**DRAWN, "n": 30, "p": 20})[0])
    assert not in_panels(grid(1, dataset={**DRAWN, "n": 300, "p": 3})[0])
    assert in_panels(grid(1, dataset={**DRAWN, "n": 400, "p": 3})[0])


def test_a_library_that_fails_the_test_gets_no_panels_and_the_run_says_so(
    answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test, "try_panels", lambda *_: False)
    configs = grid(3, **PROBLEMS[0])
    assert not in_panels(configs[0])
    refused = fit(configs)
    assert all(forms.NO_PANELS in notes(one) for one in refused)
    assert set(json.loads(answers.read_text()).values()) == {False}
    monkeypatch.setenv(FORM_SETTING, ELEMENTWISE)
    asked = fit(configs)
    assert not any(forms.NO_PANELS in notes(one) for one in asked)
    assert [one.weights.tobytes() for one in asked] == [one.weights.tobytes() for one in refused]


def test_an_answer_is_kept_and_asked_for_once(
    answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def agree(*question: Any) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr(self_test, "try_panels", agree)
    monkeypatch.setattr(self_test, "IS_MKL_SET_IN_TIME", True)
    question = (64, 16, torch.float32, "cpu", 1)
    for _ in range(2):
        assert self_test.keeps_bits(*question)
        self_test.keeps_bits.cache_clear()
    assert len(asked) == 1
    monkeypatch.setattr(self_test, "IS_MKL_SET_IN_TIME", False)
    assert self_test.keeps_bits(*question)  # what is on disk was found under another setting
    assert len(asked) == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', "null", "[" * 10_000])
def test_a_broken_file_of_answers_is_replaced(
    answers: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    answers.parent.mkdir()
    answers.write_text(content)
    monkeypatch.setattr(self_test, "try_panels", lambda *_: True)
    assert self_test.keeps_bits(64, 16, torch.float32, "cpu", 1)
    assert list(json.loads(answers.read_text()).values()) == [True]


def test_a_folder_that_cannot_be_written_costs_only_time(
    answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.parent.write_text("a file where the folder should be")
    monkeypatch.setattr(self_test, "try_panels", lambda *_: True)
    assert self_test.keeps_bits(64, 16, torch.float32, "cpu", 1)


@pytest.mark.parametrize("product", ["predict_rows", "multiply_transposed"])
def test_the_test_finds_products_that_depend_on_their_neighbours(
    product: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert self_test.try_panels(100, 20, torch.float32, torch.device("cpu"))
    plain = getattr(PanelProducts, product)

    def by_company(self: Any, rows: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = plain(self, rows)
        return found if len(rows) > 3 else found * (1 + torch.finfo(rows.dtype).eps)

    monkeypatch.setattr(PanelProducts, product, by_company)
    assert not self_test.try_panels(100, 20, torch.float32, torch.device("cpu"))


# ---- what a run records ----


def test_a_run_that_names_no_form_is_repeated_as_it_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(FORM_SETTING, raising=False)
    with use_recorded_products({"mkl_cbwr": "COMPATIBLE"}):
        assert find_stack_form() == ELEMENTWISE
        assert not in_panels(grid(1, **PROBLEMS[0])[0])
    assert find_stack_form() == PANELS
    with use_recorded_products({"stack_products": "panels", "mkl_cbwr": "AUTO"}):
        assert in_panels(grid(1, **PROBLEMS[0])[0])


@pytest.mark.parametrize(
    ("machine", "setting"),
    [
        ({"mkl_cbwr": "COMPATIBLE"}, "COMPATIBLE"),
        ({"mkl_cbwr": "AUTO"}, "AUTO"),
        ({"mkl_cbwr": 'AVX2"; import os'}, "AUTO"),
        ({"mkl_cbwr": ["AUTO"]}, "AUTO"),
        ({}, "AUTO"),
    ],
)
def test_a_program_has_the_setting_of_its_run(machine: dict[str, Any], setting: str) -> None:
    config = FitConfig(steps=2)
    program = render_script(config, "a test", find_mkl_setting(machine))
    assert f'os.environ["MKL_CBWR"] = "{setting}"  #' in program


SETTING = """
import os
from linfit.engine.product_settings import note_products, use_recorded_products
if {begun}: note_products()
with use_recorded_products({{"mkl_cbwr": "COMPATIBLE"}}):
    print(os.environ["MKL_CBWR"], os.environ["LINFIT_STACK_PRODUCTS"])
"""


@pytest.mark.parametrize(
    ("begun", "given", "setting"),
    [
        (False, None, "COMPATIBLE"),
        (True, None, "AUTO"),  # too late: it is named as changed
        (False, "AVX2", "AVX2"),  # the user's own
    ],
)
def test_mkl_is_set_as_for_the_original_if_it_still_can_be(
    begun: bool, given: str | None, setting: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    if given:
        environment["MKL_CBWR"] = given
    program = SETTING.format(begun=begun)
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == [setting, ELEMENTWISE]


def test_a_form_that_is_none_is_refused_before_anything_runs(
    linfit: Callable[..., Ran], bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FORM_SETTING, "diagonal")
    done = linfit("run", "-m", "optimizer=adam,sgd", "steps=2")
    message = "LINFIT_STACK_PRODUCTS=diagonal is no form: choose panels or elementwise"
    assert (done.code, done.err) == (2, f"linfit: {message}\n")
    assert not (bare / "outputs").exists()
