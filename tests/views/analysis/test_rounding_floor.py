"""An excess loss at or below its rounding floor is that floor, in every number and sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from linfit.engine.rounding_twins import compare_with_twins
from linfit.publication import run_twins
from linfit.views.analysis.compare import add_twins, compare_methods, select_for_twins
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.rounding_floor import (
    LEAST_FLOOR,
    clip_to_floor,
    compute_floor,
    describe_floor,
    format_bound,
    format_factor,
    format_rounded,
)
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart
from linfit.views.charts.drawing.matplotlib_charts import save_chart
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.sweeps.sweep_charts import SWEEP_CHARTS
from linfit.views.charts.ticks import choose_ticks, count_decades
from linfit.views.report import leaderboard
from linfit.views.report.artifacts import collect_charts
from linfit.views.report.page import render_page
from linfit.views.results import Results
from tests.views.analysis.test_ranking import rank_of

Sweep = Callable[..., SweepData]
EXACT = ("optimizer=closed_form,adam", "seed=range(0,6)", "dtype=float64", "steps=20")
TUNED = "{optimizer: sgd, optimizer.lr: '0.001,0.002'}"
#: Sweeps of which the first is only rounding, and how many share its rank: as many as took as many
#: steps to the tolerance.
ROUNDING = {
    "beside another": (EXACT, 1),
    "alone": (("optimizer=closed_form", "seed=range(0,6)", "dtype=float64"), 1),
    "one fit": (("optimizer=closed_form", "seed=0", "dtype=float64"), 1),
    "two": (("optimizer=closed_form,adam,conjugate_gradient", "seed=0,1,2"), 1),
    "of two dtypes": (("optimizer=closed_form", "dtype=float32,float64", "seed=range(0,6)"), 2),
    "few seeds": ((f"hydra.sweeper.grids=[{TUNED},{{optimizer: closed_form}}]", "seed=0,1"), 1),
}


@pytest.mark.parametrize(
    ("value", "rounded", "factor"),
    [
        (3099.6, "3100", "3100"),
        (999.6, "1000", "1000"),
        (1.234e6, "1.23e+06", "1.23e+06"),
        (-43210.0, "-43200", "-43200"),
        (1.05, "1.05", "1.05"),
        (1.00012, "1", "1.00012"),
        (0.9952, "0.995", "0.9952"),
        (1 - 1e-9, "1", "1"),
        (1.0, "1", "1"),
        (float("inf"), "inf", "inf"),
        (float("nan"), "–", "–"),
    ],
)
def test_numbers_are_written_for_people(value: float, rounded: str, factor: str) -> None:
    assert (format_rounded(value), format_factor(value)) == (rounded, factor)


@pytest.mark.parametrize(
    ("initial", "dtype", "floor"),
    [
        (100.0, "float64", 100 * 2.0**-104),
        (100.0, "float32", 100 * 2.0**-46),
        (0.0, "float32", LEAST_FLOOR),
        (float("nan"), "float64", LEAST_FLOOR),
        (float("inf"), "float64", LEAST_FLOOR),
        (1e-300, "float64", LEAST_FLOOR),
    ],
)
def test_the_floor_is_the_square_of_rounding_times_the_start(
    initial: float, dtype: str, floor: float
) -> None:
    assert compute_floor(initial, dtype) == floor


def test_a_floor_is_the_one_of_the_fits_twins(swept_of: Sweep) -> None:
    swept = swept_of(*EXACT)
    [parting] = compare_with_twins([swept.load_config(0)])
    assert parting is not None and parting.least == swept.floors[0] > 0


@pytest.mark.parametrize(("arguments", "sharing"), ROUNDING.values(), ids=ROUNDING)
def test_rounding_is_written_as_that_everywhere(
    arguments: tuple[str, ...], sharing: int, swept_of: Sweep, tmp_path: Path
) -> None:
    swept = swept_of(*arguments)
    comparison = compare_methods(swept)
    first = comparison.entries[0]
    floor = f"≤ {first.median:.3g}"
    median = "median " if first.finished > 1 else ""
    assert first.at_floor and np.isnan(first.low)
    assert comparison.compute_ranks().count(1) == sharing
    assert (
        f"{first.name} came nearest to the optimum: {median}excess loss {floor}"
        in comparison.summarize()
    )
    assert "written ≤" in comparison.note
    assert "≤" in " ".join(comparison.most_robust)
    assert (
        floor in leaderboard.format_markdown_leaderboard(comparison)
        and floor in Results(swept)._repr_html_()
    )
    charts = collect_charts(SWEEP_CHARTS, swept, comparison)
    assert floor in render_page(swept, comparison, charts)
    assert any("rounding floor, ≤" in chart.note for chart in charts)
    csv, parquet, _ = leaderboard.write_leaderboard(comparison, tmp_path)
    for frame in (pd.read_csv(csv), pd.read_parquet(parquet)):
        columns = list(frame.columns)
        assert columns[columns.index("excess") + 1] == "at_floor"
        assert frame["at_floor"].tolist()[:sharing] == [True] * sharing


@pytest.mark.parametrize("name", ["beside another", "alone"])
def test_rounding_is_drawn(name: str, swept_of: Sweep, tmp_path: Path) -> None:
    swept = swept_of(*ROUNDING[name][0])
    for maker in (SWEEP_CHARTS["curves"], SWEEP_CHARTS["paths"]):
        chart = maker(swept, compare_methods(swept))
        assert isinstance(chart, Chart)
        save_chart(chart, tmp_path)
        convert_to_plotly(chart)


def test_what_lies_above_is_compared_with_the_floor(swept_of: Sweep) -> None:
    comparison = compare_methods(swept_of(*EXACT))
    first, adam = comparison.entries
    assert (first.method, adam.at_floor, adam.factor_at_least) == ("closed_form", False, True)
    assert adam.distinct and adam.factor == pytest.approx(adam.median / first.median, rel=0.05)
    assert f"adam had at least {adam.factor:.3g} times that" in comparison.summarize()
    cells = leaderboard.format_leaderboard(comparison)
    [_, row] = cells.rows
    assert row[cells.titles.index("× first")] == f"≥ {adam.factor:.3g}"
    assert row[cells.titles.index("told apart")] == "yes"


def test_the_demo_says_what_its_rounding_allows(swept_of: Sweep) -> None:
    """Ten seeds: one half chooses, and the answer names the most exact and the quickest."""
    optimizers = "optimizer=manual_sgd,sgd,adam,adamw,rmsprop,adagrad"
    rates = "optimizer.lr=1e-4,1e-3,0.01,0.1,1.0"
    comparison = compare_methods(swept_of(optimizers, rates, "seed=range(0,10)", "steps=1000"))
    by_method = {entry.method: entry for entry in comparison.entries}
    adam, sgd, by_hand = (by_method[name] for name in ("adam", "sgd", "manual_sgd"))
    assert comparison.entries[0] is adam and adam.at_floor
    assert sgd.distinct and sgd.factor_at_least and sgd.fits == adam.fits == 5
    ranks = dict(zip(by_method, comparison.compute_ranks(), strict=True))
    assert ranks["sgd"] == ranks["manual_sgd"] and sgd.median == by_hand.median
    answer = comparison.summarize()
    assert answer.startswith("adam lr=1 came nearest to the optimum: median excess loss ≤")
    assert re.search(r"\. adam lr=1 was the quickest: \d+(\.5)? steps to 1e-06", answer)


#: log₁₀ of excess losses over seeds with a floor of 1e-12, and the rank of each method.
TIES = {
    "zero": (
        {"a": [1.0, 2.0], "b": [-np.inf, -np.inf], "c": [-20.0, -12.0]},
        {"b": 1, "c": 1, "a": 3},
    ),
    "above": ({"a": [-11.9, -12.5], "b": [-30.0, -13.0]}, {"b": 1, "a": 2}),
    "equal": ({"a": [-3.0, -2.0], "b": [-3.0, -2.0], "c": [-5.0, -9.0]}, {"c": 1, "a": 2, "b": 2}),
    "lost": ({"a": [-20.0, np.nan], "b": [-13.0, -14.0]}, {"b": 1, "a": 2}),
    "all": ({"a": [-20.0, -np.inf], "b": [-13.0, -12.0]}, {"a": 1, "b": 1}),
}


@pytest.mark.parametrize(("logs", "ranks"), TIES.values(), ids=TIES)
def test_what_is_rounding_shares_a_rank(
    logs: dict[str, list[float]], ranks: dict[str, int]
) -> None:
    entries = rank_of(logs, floor=-12.0)
    comparison = Comparison(entries, [], "", pd.DataFrame({"log": [0.0]}))
    assert (
        dict(zip([entry.method for entry in entries], comparison.compute_ranks(), strict=True))
        == ranks
    )
    cells = leaderboard.format_leaderboard(comparison)
    told = cells.titles.index("told apart") if "told apart" in cells.titles else 0
    for entry, row in zip(entries[1:], cells.rows[1:], strict=True):
        assert not (entry.at_floor and entries[0].at_floor) or row[told] == "no: rounding"
        assert not (entry.at_floor and entry.distinct)
    if all(entry.at_floor for entry in entries):
        assert comparison.summarize().endswith("had no more than that.")


def test_twins_leave_rounding_what_it_is(swept_of: Sweep) -> None:
    swept = swept_of(*ROUNDING["two"][0])
    comparison = compare_methods(swept)
    twins = run_twins(swept, select_for_twins(comparison, 3))
    told = add_twins(comparison, twins)
    assert [entry.rounding for entry in told.entries] == [False, True, False]


def test_a_picture_draws_rounding_at_the_floor() -> None:
    values, floor = np.array([0.0, 1e-13, 1e-3, np.inf]), np.array([1e-12, 1e-11, 1e-12, 1e-12])
    assert clip_to_floor(values, floor).tolist() == [1e-12, 1e-11, 1e-3, np.inf]
    assert describe_floor(values, floor).startswith(
        "excess losses at or below their rounding floor, ≤ 1e-11"
    )
    assert describe_floor(values[2:], floor[2:]) == ""
    assert format_bound(1e-12, True) == "≤ 1e-12" and format_bound(1e-12, False) == "1e-12"


def test_an_axis_from_the_smallest_number_to_the_largest_has_ticks() -> None:
    assert count_decades(5e-324, 1e308) == pytest.approx(631.3, abs=0.1)
    assert len(choose_ticks(5e-324, 1e308)) == 7
