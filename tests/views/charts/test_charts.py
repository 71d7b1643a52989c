"""All pictures are drawn, whatever is odd, with names as they are and one look for a method."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

import linfit
from linfit.tracking.schema.run_colors import color_methods
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, Series
from linfit.views.charts.drawing.looks import choose_look
from linfit.views.charts.drawing.matplotlib_charts import save_chart
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.fits.class_charts import NO_CLASSES
from linfit.views.charts.fits.fit_charts import FIT_CHARTS
from linfit.views.report.page import pack_plotly
from tests.views.charts.drawn import FITS, SWEEPS, charts_of, draw_and_lay_out, labels_of

CLASS_CHARTS = ("boundary_chart", "calibration_chart", "confusion_chart")
PNG, SVG = b"\x89PNG\r\n\x1a\n", b"<?xml"


@pytest.mark.matrix
@pytest.mark.parametrize("arguments", FITS.values(), ids=FITS)
def test_a_fit_is_drawn(arguments: list[str]) -> None:
    fit = linfit.fit(linfit.compose(arguments))
    for name, maker in FIT_CHARTS.items():
        chart = maker(fit)
        if name in CLASS_CHARTS:
            assert chart == NO_CLASSES and not chart.is_missed
        else:
            assert isinstance(chart, Chart)
            draw_and_lay_out(chart)


@pytest.mark.matrix
@pytest.mark.parametrize("arguments", SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_is_drawn_where_a_picture_makes_sense(
    arguments: tuple[str, ...], swept_of: Callable[..., SweepData]
) -> None:
    made = charts_of(swept_of(*arguments))
    assert "curves" in made
    for chart in made.values():
        draw_and_lay_out(chart)
        drawn = convert_to_plotly(chart)
        go.Figure(
            json.loads(json.dumps(drawn, allow_nan=False))
        )  # raises for a trace or a setting that Plotly does not know


def test_the_pages_script_is_of_the_version_that_the_charts_were_held_against() -> None:
    whole = (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    own = gzip.decompress(base64.b64decode(pack_plotly())).decode()
    known, brought = (
        re.match(r"/\*\*\n\* plotly\.js.* v([\d.]+)\n", text) for text in (whole, own)
    )
    assert known and brought and known[1] == brought[1], (
        "run `make plotly PLOTLY=…` with the version of the plotly installed"
    )


def test_which_pictures_make_sense(swept_of: Callable[..., SweepData], usual: SweepData) -> None:
    usually = {"leaderboard", "learning_rate", "curves", "profile", "paths", "heat_map"}
    assert set(charts_of(usual)) == usually
    assert set(charts_of(swept_of("seed=0"))) == {"curves", "paths"}
    # Four settings of each method are something to search, three keys something to explain.
    searched = {*usually, "trials", "importance"}
    assert set(charts_of(swept_of(*SWEEPS["ten methods"]))) - {"time"} == searched


def test_time_is_drawn_where_a_step_of_a_method_is_more_than_a_gradient(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of("optimizer=fista,closed_form", "seed=0,1")
    charts = charts_of(swept)
    over_steps, over_time = charts["curves"].series, charts["time"].series
    seconds = swept.results.groupby(swept.results["name"].str.contains("fista"))["step_seconds"]
    assert (swept.results["step_seconds"] > 0).all()
    for line, timed in zip(over_steps, over_time, strict=True):
        moved = line.x >= 1  # no time has passed before the first step
        pace = seconds.mean()["fista" in line.label]
        np.testing.assert_allclose(timed.x, line.x[moved] * pace)
        np.testing.assert_array_equal(timed.y, line.y[moved])


@pytest.mark.matrix
def test_the_same_chart_gives_the_same_bytes(usual: SweepData, tmp_path: Path) -> None:
    chart = charts_of(usual)["learning_rate"]
    (tmp_path / "again").mkdir()
    first = save_chart(chart, tmp_path)
    assert first[0].read_bytes().startswith(PNG) and first[1].read_bytes().startswith(SVG)
    for one, other in zip(first, save_chart(chart, tmp_path / "again"), strict=True):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.matrix
def test_drawing_leaves_matplotlib_as_it_was(usual: SweepData, tmp_path: Path) -> None:
    import matplotlib

    matplotlib.rcParams["font.size"] = 7.0
    save_chart(charts_of(usual)["curves"], tmp_path)
    assert matplotlib.rcParams["font.size"] == 7.0
    matplotlib.rcdefaults()


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    from linfit.views.charts.chart import ChartAxis

    line = Series("<script>$x^2$&", np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    chart = Chart("odd", "$a$ <b> 漢字", ChartAxis("x"), ChartAxis("y"), [line, line])
    assert "<script>" not in save_chart(chart, tmp_path)[1].read_text()
    assert convert_to_plotly(chart)["data"][0]["name"] == "&lt;script&gt;$x^2$&amp;"


def test_of_many_methods_the_best_are_drawn_with_the_same_look_everywhere(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*SWEEPS["ten methods"])
    made, comparison = charts_of(swept), compare_methods(swept)
    entries = comparison.entries[:8]
    numbers = {method: at for at, method in enumerate(comparison.fits["method"].unique())}
    looks = {entry.method: numbers[entry.method] for entry in entries}
    named = {entry.name: looks[entry.method] for entry in entries}
    for name in ("learning_rate", "profile", "trials", "curves", "paths"):
        expected = named if name in ("curves", "paths") else looks
        own = [labels_of(series) for series in made[name].series]
        assert sorted(label for labels in own for label in labels) == sorted(expected)
        styles = [series.style for series in made[name].series]
        assert styles == [expected[labels[0]] for labels in own]
    assert len({choose_look(style)[:2] for style in looks.values()}) == 8
    of_runs = color_methods(swept.manifest["overrides"].to_pylist(), swept.varying)
    for method, color in zip(comparison.fits["method"], of_runs, strict=True):
        assert method not in looks or choose_look(looks[method])[0] == color
    assert all(
        "the best 8 of 10" in made[name].note
        for name in ("learning_rate", "profile", "trials", "curves", "paths")
    )
