"""The leaderboard as a picture: what its rows show is what the entries say."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, LeftOut, Series
from linfit.views.charts.sweeps.leaderboard_chart import plot_leaderboard
from linfit.views.charts.sweeps.sweep_charts import list_sweep_charts
from linfit.views.report.artifacts import collect_charts

Sweep = Callable[..., SweepData]
RANDOM = ("optimizer=adam", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "hydra.sweeper.sample=15")
#: Sweeps, the names of the rows, and what the note says.
ROWS = {
    "three seeds, equal methods": (
        ("optimizer=adam,adamw,sgd", "optimizer.weight_decay=0.0", "seed=0,1,2", "steps=9"),
        ["sgd", "adam, adamw (equal)"],
        "mark: median over seeds; points: seeds",
    ),
    "some diverge": (
        ("optimizer=adam,sgd", "optimizer.lr=0.01,1.0", "seed=0,1"),
        ["adam lr=1", "sgd lr=0.01 (0 of 2)"],
        "mark: median over seeds; points: seeds; in brackets: how many fits finished; "
        "each at the setting chosen for it",
    ),
    "seven seeds": (("seed=range(0,7)",), ["adam"], "mark: median over seeds; bar: quartiles"),
    "two settings each, half of the seeds reported": (
        (
            "optimizer=sgd",
            "optimizer.lr=0.003,0.005",
            "optimizer.momentum=0.5,0.6",
            "seed=range(0,8)",
        ),
        None,
        "mark: median over seeds; bar: quartiles",
    ),
    "many": (RANDOM, None, "each row is one fit; the best 12 of 15"),
}


@pytest.mark.parametrize(("arguments", "names", "note"), ROWS.values(), ids=ROWS)
def test_a_row_for_each_entry(
    arguments: tuple[str, ...], names: list[str] | None, note: str, swept_of: Sweep
) -> None:
    swept = swept_of(*arguments)
    comparison = compare_methods(swept)
    chart = plot_leaderboard(swept, comparison)
    assert isinstance(chart, Chart)
    assert names is None or list(chart.y.names) == names
    assert chart.note == note
    for series in chart.series:
        check_row(chart, series, swept)


def check_row(chart: Chart, series: Series, swept: SweepData) -> None:
    """Hold a row against the fits' own losses."""
    name = chart.y.names[int(series.y[0])].split(",")[0].split(" (")[0]
    comparison = compare_methods(swept)
    [entry] = [entry for entry in comparison.entries if entry.name == name]
    if series.kind == "points":
        places = comparison.fits.index[comparison.fits["method"] == entry.method].to_numpy()
        losses = swept.excess[places]
        assert 1 < len(series.x) <= 5
        for value in series.x:
            assert np.isclose(losses, value, rtol=1e-9).any()
    else:
        assert series.x == pytest.approx([entry.median], nan_ok=True)
        if series.low is not None and series.high is not None:
            assert (series.low[0], series.high[0]) == (entry.low, entry.high)


def test_the_rounding_floor_is_shaded_and_named(swept_of: Sweep) -> None:
    swept = swept_of("optimizer=closed_form,adam", "seed=0,1", "dtype=float64", "steps=20")
    chart = plot_leaderboard(swept, compare_methods(swept))
    assert isinstance(chart, Chart) and chart.x.limits is not None
    [mark] = chart.marks
    assert mark.label.startswith("rounding floor, ≤ ")
    assert mark.x == chart.x.limits[0] and mark.to == pytest.approx(swept.floors.max())


def test_every_picture_names_one_floor(swept_of: Sweep) -> None:
    tuned = "{optimizer: sgd, optimizer.lr: '0.003,0.005'}"
    swept = swept_of(
        f"hydra.sweeper.grids=[{tuned},{{optimizer: closed_form}}]", "seed=3,0,2,1,4,5", "steps=20"
    )
    comparison = compare_methods(swept)
    charts = collect_charts(list_sweep_charts(swept, comparison), swept, comparison)
    named: dict[str, list[str]] = {}
    for chart in charts:
        words = " ".join([chart.note, *(mark.label for mark in chart.marks)])
        for number in re.findall("rounding floor, ≤ ([^ ,]*)", words):
            named.setdefault(number, []).append(chart.name)
    highest = swept.floors[swept.excess <= swept.floors].max()
    assert list(named) == [f"{highest:.3g}"]
    assert {"leaderboard", "curves"} <= set(named[f"{highest:.3g}"])


def test_nothing_to_rank(swept_of: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    lost = swept_of("optimizer=sgd", "optimizer.lr=1.0,10.0", "seed=0,1")
    assert plot_leaderboard(lost, compare_methods(lost)) == LeftOut("no fit finished")
    assert collect_charts({"leaderboard": plot_leaderboard}, lost, compare_methods(lost)) == []
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "linfit: no picture leaderboard: no fit finished"
    alone = swept_of("seed=0")
    assert plot_leaderboard(alone, compare_methods(alone)) is None
