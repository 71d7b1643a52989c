"""A sweep in Python: its best fits, and the short names of keys."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from linfit.errors import ConfigError, LinfitError
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.leaderboard import format_leaderboard
from linfit.views.results import Results


def test_the_best_fits_are_a_frame(usual: SweepData) -> None:
    results = Results(usual)
    top = results.top(5)
    assert list(top.columns) == list(results.table.columns) and len(top) == 5
    assert top.iloc[0].equals(results.best)
    assert top["excess_loss"].is_monotonic_increasing
    finished = results.table[results.table["status"] == "completed"]
    assert len(results.top(1000)) == len(finished) < len(results.table)
    assert results.top(0).empty

    chosen = results.top(3, optimizer="adam", lr=0.007)
    assert set(chosen["optimizer"]) == {"adam"} and set(chosen["optimizer.lr"]) == {0.007}
    assert results.top(3, **{"optimizer.lr": 0.007, "optimizer": "adam"}).equals(chosen)


def test_the_best_fit_by_accuracy_has_the_fewest_errors(swept_of: Callable[..., SweepData]) -> None:
    given = (
        "dataset=classes",
        "dataset.separation=20.0",
        "dataset.label_noise=0.0",
        "loss=logistic",
        "optimizer=sgd,adam",
    )
    rates = "optimizer.lr=0.001,0.1,1.0"
    results = Results(swept_of(*given, rates, "objective=accuracy", "seed=0,1,2"))
    table = results.table
    assert {"accuracy", "log_loss", "roc_auc"} <= set(table) and "r2" not in table
    assert not any(name.startswith("validation_") for name in table if name != "validation_loss")
    assert (table["objective"] == 1 - table["accuracy"]).all()
    assert results.best["accuracy"] == 1 > table["accuracy"].min()
    board = results.leaderboard
    assert (board["one_minus_accuracy"] > 0).all(), (
        "no errors count as fewer than the fewest there are"
    )
    assert "A value of 0 counts as half the smallest one above 0" in results.comparison.note
    assert re.search(r"1 − accuracy: median ≤ 0\.\d+ \(3 seeds", results.comparison.summarize())
    assert "no: both 0" in {row[-1] for row in format_leaderboard(results.comparison).rows}


def test_short_keys_are_taken_where_one_key_is_meant(
    usual: SweepData, swept_of: Callable[..., SweepData]
) -> None:
    results = Results(usual)
    for x in ("lr", "optimizer.lr"):
        assert results.plot("heat_map", x=x, y="optimizer").axes[0].get_xlabel() == "optimizer.lr"
    with pytest.raises(ConfigError, match="no swept key 'lrs'"):
        results.plot("heat_map", x="lrs")
    with pytest.raises(ConfigError, match="no swept key 'steps'"):
        results.top(3, steps=1)
    seeds = Results(swept_of("seed=0,1", "dataset.seed=0,1", "init.seed=0,1"))
    assert len(seeds.top(9, seed=1)) == 4, "a whole key is no short one"
    twice = Results(swept_of("dataset.seed=0,1", "init.seed=0,1"))
    with pytest.raises(ConfigError, match=r"seed is short for dataset\.seed and for init\.seed"):
        twice.top(1, seed=0)


@pytest.mark.parametrize("k", [-1, 1.5, "3", True])
def test_how_many_is_a_number(k: object, usual: SweepData) -> None:
    with pytest.raises(ConfigError, match="top takes a number of fits, got"):
        Results(usual).top(k)  # type: ignore[arg-type]


def test_fits_that_nothing_compares_have_no_best(swept_of: Callable[..., SweepData]) -> None:
    with pytest.raises(LinfitError, match="has no best fits"):
        Results(swept_of("loss=sse,mse", "dataset.n=20,30")).top()


@pytest.mark.parametrize("row", [99, -1, "0", None, 0.5])
def test_a_row_is_one_of_the_table(row: object, usual: SweepData) -> None:
    results = Results(usual)
    for ask in (results.model, results.held_out):
        with pytest.raises(ConfigError, match="give a row of its table, or its number, 0 to 47"):
            ask(row)
