"""Each sentence below a picture is a function of what is drawn."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest

import linfit
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, Series, arrange_strip, find_recorded_points
from linfit.views.charts.drawing.matplotlib_charts import draw_chart, use_chart_style
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.fits.fit_charts import plot_descent
from linfit.views.charts.sweeps.sweep_charts import SWEEP_CHARTS
from linfit.views.charts.weight_plane import clip_path, describe_ends

Sweep = Callable[..., SweepData]
TUNED = "{optimizer: 'sgd,adam', optimizer.lr: '0.001,0.002'}"
GRIDS = f"hydra.sweeper.grids=[{TUNED},{{optimizer: closed_form}}]"
BAND = "; band: range of those that finished"
MANY = "optimizer=sgd,manual_sgd,adam,adamw,rmsprop"
#: Of sweeps, by picture, what the note says exactly; None where there is no picture.
NOTES: dict[str, tuple[tuple[str, ...], dict[str, str | None]]] = {
    "a single fit": (("seed=0",), {"curves": "", "learning_rate": None, "trials": None}),
    "seeds alone": (("seed=range(0,6)",), {"curves": "line: median over seeds; band: quartiles"}),
    "one setting each": (
        ("optimizer=adam,adamw", "seed=0,1"),
        {"curves": "line: median over seeds; band: all seeds", "learning_rate": None},
    ),
    "several settings": (
        ("optimizer=adam,sgd", "optimizer.lr=0.001,0.002"),
        {
            "curves": "each at the setting chosen for it",
            "learning_rate": "each point is one fit",
            "heat_map": "each cell is one fit",
            "profile": None,
        },
    ),
    "bins": (
        ("optimizer=adam", "optimizer.lr=tag(log,interval(1e-4,1e-1))", "hydra.sweeper.sample=60"),
        {
            "learning_rate": f"line: median over the values of each of 15 bins{BAND}",
            "curves": "the best 8 of 60",
        },
    ),
    "a method without a rate": (
        (GRIDS, "seed=0,1"),
        {"learning_rate": f"line: median over seed{BAND}; 2 of 3 methods"},
    ),
    "several problems": (
        ("dataset=parabola,random_linear", "optimizer=adam,adamw", "seed=0,1"),
        {"curves": "line: median over seeds; band: all seeds; parabola"},
    ),
    "ten methods, few of them to search": (
        (MANY, "model=tensor,linear", "optimizer.lr=0.001,0.002"),
        {"curves": "each at the setting chosen for it; the best 8 of 10", "trials": None},
    ),
}


@pytest.mark.parametrize(("arguments", "notes"), NOTES.values(), ids=NOTES)
def test_a_note_says_what_is_drawn(
    arguments: tuple[str, ...], notes: dict[str, str | None], swept_of: Sweep
) -> None:
    swept = swept_of(*arguments)
    comparison = compare_methods(swept)
    for name, note in notes.items():
        chart = SWEEP_CHARTS[name](swept, comparison)
        made = without_floor(chart.note) if isinstance(chart, Chart) else None
        assert made == note, name


def without_floor(note: str) -> str:
    return "; ".join(part for part in note.split("; ") if "rounding floor" not in part)


#: Some fits of `usual` that fail, by row, and how many diverge.
FAILED = {
    "none": [],
    "some": [0, 3, 25],
    "of a rate that diverges": [16, 17, 18],
    "all": [*range(48)],
}


def with_failed(usual: SweepData, rows: list[int]) -> SweepData:
    changed = SweepData(usual.name, usual.experiment, "", usual.files)
    results = usual.results.copy()
    results.loc[rows, "status"] = "failed"
    results.loc[rows, "excess_loss"] = np.nan
    changed.__dict__["results"] = results
    return changed


@pytest.mark.parametrize("rows", FAILED.values(), ids=FAILED)
@pytest.mark.slow
def test_failed_fits_are_no_diverged_ones(rows: list[int], usual: SweepData) -> None:
    swept = with_failed(usual, rows)
    counts = swept.results["status"].value_counts()
    lost = [f"{counts[status]} {status}" for status in ("diverged", "failed") if status in counts]
    comparison = compare_methods(swept)
    charts = {name: SWEEP_CHARTS[name](swept, comparison) for name in ("learning_rate", "heat_map")}
    for chart in charts.values():
        assert isinstance(chart, Chart)
        assert ", ".join(lost) in chart.note
        assert ("failed" in chart.note) == bool(rows)
        assert ("diverged" in chart.note) == ("diverged" in counts)
    chart = charts["learning_rate"]
    assert isinstance(chart, Chart)
    for status in ("diverged", "failed"):
        drawn = {}
        for series in chart.strip:
            if series.label == status:
                drawn[series.style] = dict(zip(series.x, series.y, strict=True))
        table = swept.table.assign(lost=swept.results["status"] == status)
        shares = table.groupby(["optimizer", "optimizer.lr"])["lost"].mean()
        found = {(look, rate): share for look, own in drawn.items() for rate, share in own.items()}
        looks = {"sgd": 0, "adam": 1}
        expected = {
            (looks[name], rate): share for (name, rate), share in shares.items() if share > 0
        }
        assert found == expected
    assert strips_of(chart) == [status for status in ("diverged", "failed") if status in counts]


def strips_of(chart: Chart) -> list[str]:
    """Return the names beside the strip, as both libraries write them."""
    with use_chart_style():
        figure = draw_chart(chart)
        figure.draw_without_rendering()
    page = convert_to_plotly(chart)
    go.Figure(json.loads(json.dumps(page, allow_nan=False)))
    written = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert written == page["layout"]["yaxis2"]["ticktext"]
    return written


def test_a_curve_is_missing_where_a_fit_failed(usual: SweepData) -> None:
    swept = with_failed(usual, usual.table.query("seed == 0")["row"].tolist())
    chart = SWEEP_CHARTS["curves"](swept, compare_methods(swept))
    assert isinstance(chart, Chart) and "2 failed: those that failed have no curve" in chart.note


def test_the_rows_of_a_strip_are_named_amid_them() -> None:
    empty = np.array([])
    rows = [Series(label, empty, empty) for label in ("diverged", "diverged", "failed", "failed")]
    assert arrange_strip(rows) == ([0, 1, 2.5, 3.5], {"diverged": 0.5, "failed": 3.0})
    assert arrange_strip(rows[2:]) == ([0, 1], {"failed": 0.5})


INF, NAN = float("inf"), float("nan")
#: Paths, what of them is within 2 of the origin, which points are marked, whether they end outside.
PATHS = {
    "inside": ([[1, 0], [0, 1]], [[1, 0], [0, 1]], [0, 1], False),
    "leaves": ([[1, 0], [3, 0]], [[1, 0], [2, 0]], [0], True),
    "stays outside": ([[1, 0], [3, 0], [-9, 0], [4, 4]], [[1, 0], [2, 0]], [0], True),
    "comes back": (
        [[1, 0], [3, 0], [1, 0]],
        [[1, 0], [2, 0], [NAN, NAN], [2, 0], [1, 0]],
        [0, 4],
        False,
    ),
    "comes back and leaves": (
        [[0, 0], [4, 4], [0, 4], [0, 1], [0, 5]],
        [[0, 0], [2, 2], [NAN, NAN], [0, 2], [0, 1], [0, 2]],
        [0, 4],
        True,
    ),
    "one weight": ([[1], [5], [-1]], [[1], [2], [NAN], [2], [-1]], [0, 4], False),
    "not finite": ([[1, 0], [0, 0], [NAN, 0], [NAN, NAN]], [[1, 0], [0, 0]], [0], True),
    "infinite": ([[1, 0], [INF, -INF]], [[1, 0]], [], True),
}


@pytest.mark.parametrize(("path", "shown", "marked", "leaves"), PATHS.values(), ids=PATHS)
def test_a_path_is_drawn_where_it_is_inside(
    path: list[list[float]], shown: list[list[float]], marked: list[int], leaves: bool
) -> None:
    whole = np.array(path, dtype=float)
    found, left = clip_path(whole, np.zeros(whole.shape[1]), 2.0)
    assert np.array_equal(found, np.array(shown, dtype=float), equal_nan=True)
    assert bool(left) == leaves
    series = Series("path", found[:, 0], found[:, -1], kind="path", leaves_picture=leaves)
    assert find_recorded_points(series).tolist() == marked
    note = describe_ends([series])
    assert ("leaves the picture" in note) == leaves
    assert ("large marker: end" in note) == (not leaves)
    assert ("interrupted" in note) == bool(np.isnan(found).any())


#: Fits that leave the frame, come back and converge.
RETURNING = {
    "two weights": ["optimizer.lr=0.01"],
    "one weight": [
        "dataset=polynomial",
        "dataset.degree=0",
        "dataset.coefficients=[2]",
        "optimizer.lr=0.045",
    ],
}


@pytest.mark.parametrize("arguments", RETURNING.values(), ids=RETURNING)
def test_a_fit_that_comes_back_has_an_end(arguments: list[str]) -> None:
    decaying = ["optimizer=sgd", "schedule=exponential", "schedule.gamma=0.97", "steps=300"]
    fit = linfit.fit(linfit.compose([*arguments, *decaying, "record.every=1"]))
    chart = plot_descent(fit)
    [path] = [series for series in chart.series if series.kind == "path"]
    assert fit.path is not None and fit.excess_losses[-1] < 1e-3 < fit.excess_losses.max()
    assert np.isnan(path.x).any() and not path.leaves_picture
    assert path.x[-1] == pytest.approx(fit.weights[0, 0])
    assert "leaves" not in chart.note and "interrupted" in chart.note
    with use_chart_style():
        draw_chart(chart).draw_without_rendering()
    assert "path: end" in [trace.get("name") for trace in convert_to_plotly(chart)["data"]]
