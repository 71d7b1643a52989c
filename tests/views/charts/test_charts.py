"""The pictures: their content is computed again here, and everything odd is drawn."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.figure import Figure

import linfit
from linfit.errors import ConfigError
from linfit.problem.theory.optimum import find_optimum
from linfit.tracking.schema.run_colors import color_methods
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.analysis.theory import compute_stable_rate, predict_rate
from linfit.views.charts.chart import Chart, LeftOut, Series
from linfit.views.charts.drawing.looks import choose_look
from linfit.views.charts.drawing.matplotlib_charts import draw_chart, save_chart, use_chart_style
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.fits.data_chart import plot_data
from linfit.views.charts.fits.fit_charts import FIT_CHARTS, plot_descent, plot_loss
from linfit.views.charts.sweeps import heat_map, loss_lines, sweep_charts
from linfit.views.charts.sweeps.curves import FitCurve, interpolate_curve
from linfit.views.charts.sweeps.methods import choose_styles
from linfit.views.charts.ticks import choose_ticks, hide_overlaps, name_ticks
from linfit.views.charts.weight_plane import choose_plane, clip_path
from linfit.views.report.page import pack_plotly

PNG, SVG = b"\x89PNG\r\n\x1a\n", b"<?xml"
FITS = {
    "two weights": ["steps=30"],
    "one weight": [
        "dataset=polynomial",
        "dataset.degree=0",
        "dataset.coefficients=[2]",
        "steps=30",
    ],
    "five weights": ["dataset=random_linear", "steps=30"],
    "several targets": [
        "dataset=random_linear",
        "dataset.p=1",
        "dataset.q=3",
        "dataset.condition=1",
        "steps=30",
    ],
    "diverged": ["optimizer=sgd", "optimizer.lr=1", "steps=30"],
    "no step": ["steps=0"],
    "columns of a file": ["article/linear_adam", "steps=3"],
    "one sample": ["dataset.n=1", "steps=3"],
}
SWEEPS = {
    "usual": ("optimizer=sgd,adam", "optimizer.lr=0.001,0.007,1.0", "seed=range(0,8)"),
    "all diverged": ("optimizer=sgd", "optimizer.lr=1.0,10.0", "seed=0,1"),
    "one fit": ("seed=0",),
    "seeds alone": ("seed=range(0,6)",),
    "random": (
        "optimizer=sgd",
        "optimizer.lr=tag(log,interval(1e-4,1e-1))",
        "optimizer.momentum=interval(0,0.9)",
        "hydra.sweeper.sample=40",
    ),
    "several problems": (
        "dataset=parabola,random_linear",
        "optimizer=sgd,adam",
        "optimizer.lr=0.001,0.01",
    ),
    "one weight": (
        "dataset=polynomial",
        "dataset.degree=0",
        "dataset.coefficients=[2]",
        "optimizer.lr=0.01,0.1",
        "steps=4,5",
    ),
    "several losses": ("dataset.noise=0.1,10.0", "optimizer.lr=0.1,1.0", "loss=sse,mse"),
    "ten methods": (
        "optimizer=sgd,manual_sgd,adam,adamw,rmsprop",
        "model=tensor,linear",
        "optimizer.lr=0.001,0.003,0.005,0.007",
        "seed=range(0,2)",
    ),
    "two bounds": (
        "optimizer=sgd",
        "optimizer.momentum=0.9",
        "optimizer.nesterov=true,false",
        "optimizer.lr=0.003,0.01,0.1",
    ),
    "ended early": (
        "optimizer=sgd",
        "optimizer.lr=0.003",
        "seed=range(0,5)",
        "stop.excess_loss=0.01",
    ),
}


def charts_of(swept: SweepData) -> dict[str, Chart]:
    comparison = compare_methods(swept)
    makers = sweep_charts.list_sweep_charts(swept, comparison)
    made = {name: maker(swept, comparison) for name, maker in makers.items()}
    assert all(chart.name == name for name, chart in made.items() if isinstance(chart, Chart))
    return {name: chart for name, chart in made.items() if isinstance(chart, Chart)}


def labels_of(series: Series) -> list[str]:
    """Return the labels of all that is drawn once."""
    return series.label.removesuffix(" (equal)").split(", ")


def data_of(*arguments: str) -> Chart:
    chart = plot_data(linfit.fit(linfit.compose([*arguments])))
    assert isinstance(chart, Chart)
    return chart


def draw_and_lay_out(chart: Chart) -> Figure:
    with use_chart_style():
        figure = draw_chart(chart)
        figure.draw_without_rendering()
    return figure


@pytest.mark.matrix
@pytest.mark.parametrize("arguments", FITS.values(), ids=FITS)
def test_a_fit_is_drawn(arguments: list[str]) -> None:
    fit = linfit.fit(linfit.compose(arguments))
    for maker in FIT_CHARTS.values():
        chart = maker(fit)
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


def test_learning_rates_are_medians_with_the_range_and_the_largest_stable_rate(
    usual: SweepData,
) -> None:
    chart = charts_of(usual)["learning_rate"]
    by_label = {series.label: series for series in chart.series}
    adam = usual.table[usual.table["optimizer"] == "adam"].groupby("optimizer.lr")["excess_loss"]
    assert by_label["adam"].x.tolist() == [0.001, 0.007, 1.0]
    assert by_label["adam"].low == pytest.approx(adam.min().to_numpy())
    assert by_label["adam"].high == pytest.approx(adam.max().to_numpy())
    assert by_label["adam"].y == pytest.approx(adam.median().to_numpy())
    assert np.isnan(by_label["sgd"].y[-1])
    [mark] = chart.marks
    X = np.stack([np.linspace(-2, 2, 30) ** 2, np.ones(30)], axis=1)
    assert mark.x == pytest.approx(2 / np.linalg.eigvalsh(2 * X.T @ X)[-1])
    assert mark.label == "largest stable: sgd"
    [row] = chart.strip
    assert (row.x.tolist(), row.y.tolist(), row.style) == ([1.0], [1.0], by_label["sgd"].style)


def test_two_bounds_are_told_apart_and_one_that_varies_is_a_range(
    swept_of: Callable[..., SweepData],
) -> None:
    chart = charts_of(swept_of(*SWEEPS["two bounds"]))["learning_rate"]
    assert [mark.label for mark in chart.marks] == [
        "largest stable: nesterov=true",
        "largest stable: nesterov=false",
    ]
    assert [mark.style for mark in chart.marks] == [line.style for line in chart.series] == [0, 1]
    assert chart.marks[1].x / chart.marks[0].x == pytest.approx(
        2.8
    )  # 2(1 + m)/λ and 2(1 + m)/(1 + 2m)λ
    swept = swept_of(*SWEEPS["random"])
    [mark] = charts_of(swept)["learning_rate"].marks
    bounds = [compute_stable_rate(*swept.load_instance(row)) for row in range(40)]
    assert mark.to is not None and [mark.x, mark.to] == pytest.approx(
        [min(filter(None, bounds)), max(filter(None, bounds))]
    )


def test_where_fits_diverge_stands_above_the_axes_hollow_below_half(
    swept_of: Callable[..., SweepData],
) -> None:
    lost = np.array([False, True, False, False, True, False])
    row = loss_lines.count_lost("diverged", 0, np.array([0.1, 0.1, 0.1, 1.0, 1.0, 2.0]), lost)
    assert (row.x.tolist(), row.y.tolist()) == ([0.1, 1.0], pytest.approx([1 / 3, 1 / 2]))
    chart = replace(charts_of(swept_of(*SWEEPS["two bounds"]))["learning_rate"], strip=[row])
    below, above = draw_and_lay_out(chart).axes[::-1]
    assert (
        above.get_position().y0 >= below.get_position().y1 and above.get_xlim() == below.get_xlim()
    )
    assert [text.get_text() for text in above.get_yticklabels()] == ["diverged"]
    [*_, shown] = convert_to_plotly(chart)["data"]
    assert (shown["yaxis"], shown["marker"]["symbol"]) == ("y2", ["circle-open", "circle"])


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


def test_no_bound_is_marked_where_gradients_are_of_few_samples(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of("optimizer=sgd", "optimizer.lr=0.001,0.01", "batch=minibatch")
    assert charts_of(swept)["learning_rate"].marks == []


def test_curves_are_medians_over_the_seeds_of_the_chosen_setting(usual: SweepData) -> None:
    comparison = compare_methods(usual)
    chart = charts_of(usual)["curves"]
    for entry, series in zip(comparison.entries, chart.series, strict=True):
        own = usual.table[
            (usual.table["optimizer"] == entry.method)
            & (usual.table["optimizer.lr"] == float(entry.setting[3:]))
        ]
        finals = np.sort([usual.curves.select(row)[1][-1] for row in own["row"]])
        assert series.label == entry.name
        assert series.y[-1] == pytest.approx(np.median(finals))


def test_a_fit_that_ended_early_stays_where_it_ended_and_one_that_diverged_does_not(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*SWEEPS["ended early"])
    steps = [int(swept.curves.select(row)[0][-1]) for row in range(5)]
    finals = sorted(float(swept.curves.select(row)[1][-1]) for row in range(5))
    assert len(set(steps)) > 1 and set(swept.results["status"]) == {"converged"}
    [curve] = charts_of(swept)["curves"].series
    assert curve.x[-1] == max(steps) and curve.y[-1] == pytest.approx(finals[2])
    grid = np.array([0, 1, 2])
    for is_finished, end in ((True, 2.0), (False, np.inf)):
        own = FitCurve(grid[:2], np.array([4.0, 2.0]), is_finished)
        assert interpolate_curve(grid, own).tolist() == [4, 2, end]


def test_the_profile_is_the_share_within_a_factor_of_the_quickest(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*SWEEPS["ten methods"])
    table, comparison = swept.table, compare_methods(swept)
    chart = charts_of(swept)["profile"]
    settings = {entry.method: float(entry.setting[3:]) for entry in comparison.entries}
    steps = {
        method: table[
            (table["optimizer"] + " " + table["model"] == method) & (table["optimizer.lr"] == lr)
        ]["steps_to_tolerance"].to_numpy()
        for method, lr in settings.items()
    }
    least = np.nanmin([steps[method] for method in choose_styles(comparison)], axis=0)
    for series in chart.series:
        for label in labels_of(series):
            within = [steps[label] <= factor * least * (1 + 1e-12) for factor in series.x]
            assert series.y == pytest.approx([found.mean() for found in within])
    assert max(series.y[0] for series in chart.series) == 1.0


def test_the_paths_are_those_of_the_first_seed_at_the_chosen_settings(usual: SweepData) -> None:
    chart = charts_of(usual)["paths"]
    for series in chart.series:
        optimizer, lr = series.label.split(" lr=")
        table = usual.table
        [row] = table[
            (table["optimizer"] == optimizer)
            & (table["optimizer.lr"] == float(lr))
            & (table["seed"] == 0)
        ]["row"]
        assert np.stack([series.x, series.y], axis=1) == pytest.approx(
            usual.curves.select_path(row)
        )
        assert not series.leaves_picture


def test_a_path_is_cut_at_the_edge_that_it_crosses() -> None:
    path = np.array([[1.0, 0.0], [-1.0, 1.0], [5.0, 4.0], [0.0, 0.0]])
    cut, leaves = clip_path(path[:3], np.zeros(2), 2.0)
    assert leaves and cut.tolist() == [[1, 0], [-1, 1], [1, 2]]
    back, leaves = clip_path(path, np.zeros(2), 2.0)
    assert not leaves and back[:3].tolist() == cut.tolist()
    assert np.isnan(back[3]).all() and back[4:].tolist() == [[2, 1.6], [0, 0]]
    assert clip_path(path[:2], np.zeros(2), 2.0)[1] is False
    assert clip_path(np.array([[1.0, 0.0], [np.nan, 0.0]]), np.zeros(2), 2.0)[0].tolist() == [
        [1, 0]
    ]
    for arguments in ([], FITS["one weight"]):
        fit = linfit.fit(linfit.compose([*arguments, "optimizer=sgd", "optimizer.lr=1"]))
        chart = plot_descent(fit)
        [drawn] = [series for series in chart.series if series.kind == "path"]
        assert fit.status == "diverged" and drawn.leaves_picture and len(drawn.x) == 2
        assert "leaves the picture" in chart.note


def test_of_many_samples_some_are_drawn_and_of_several_targets_the_first() -> None:
    chart = data_of("dataset.n=5001", "steps=2")
    assert {len(series.x) for series in chart.series} == {2000}
    assert chart.note == "2000 of 5001 samples, evenly"
    assert (chart.series[0].x[0], chart.series[0].x[-1]) == (-2, 2)
    several = plot_descent(
        linfit.fit(linfit.compose(["dataset=random_linear", "dataset.q=3", "steps=2"]))
    )
    assert "the first of 3 targets" in several.note


@pytest.mark.parametrize(
    ("low", "high", "wanted", "texts"),
    [
        (0.0068, 0.0081, (0.007, 0.0079), ["0.0070", "0.0079"]),
        (1e-4, 2e-4, (0.00010001, 0.00010002), ["0.00010001", "0.00010002"]),
        (220.1, 222.6, (), ["220.5", "221.0", "221.5", "222.0", "222.5"]),
        (9e-5, 1.1e-2, (), ["0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01"]),
        (2e-7, 9e-6, (), ["2·10⁻⁷", "5·10⁻⁷", "10⁻⁶", "2·10⁻⁶", "5·10⁻⁶"]),
        (1e-7, 1e4, (), ["10⁻⁶", "10⁻⁴", "10⁻²", "10⁰", "10²", "10⁴"]),
        (0.5, 1500, (), ["1", "10", "100", "1000"]),
    ],
)
def test_ticks_are_where_they_help_in_one_notation(
    low: float, high: float, wanted: tuple[float, ...], texts: list[str]
) -> None:
    assert name_ticks(choose_ticks(low, high, wanted)) == texts


def test_a_tick_that_has_no_room_is_nameless() -> None:
    rates = (0.0001, 0.0003, 0.001, 0.1)
    assert hide_overlaps(rates, name_ticks(rates), 3.0) == ["0.0001", "", "0.001", "0.1"]


def test_a_heat_map_of_any_two_swept_keys(usual: SweepData) -> None:
    chart = heat_map.plot_heat_map(usual, compare_methods(usual), "seed", "optimizer.lr")
    assert isinstance(chart, Chart) and chart.surface is not None
    assert chart.x.names == tuple(map(str, range(8)))
    cell = usual.table[(usual.table["seed"] == 3) & (usual.table["optimizer.lr"] == 0.007)][
        "excess_loss"
    ]
    assert chart.surface.z[1, 3] == pytest.approx(cell.median())
    with pytest.raises(ConfigError, match=r"no swept key 'sed': did you mean 'seed'\?"):
        heat_map.plot_heat_map(usual, compare_methods(usual), "sed")


#: Sweeps, their heat maps by name, and what the note says of fits that did not finish.
HEAT_MAPS = {
    "one method": (
        ("optimizer=sgd", "optimizer.lr=0.001,1.0", "optimizer.momentum=0.0,0.5", "seed=0,1"),
        {"heat_map": "Final excess loss"},
        "median over all else; ×: none finished; 4 diverged",
    ),
    "several methods": (
        ("optimizer=adam,adamw", "optimizer.lr=0.1,1.0", "optimizer.eps=1e-8,1e-6"),
        {
            "heat_map": "Final excess loss of adam",
            "heat_map_adamw": "Final excess loss of adamw",
        },
        "each cell is one fit",
    ),
    "not crossed": (SWEEPS["random"], {}, ""),
}


@pytest.mark.parametrize(("arguments", "titles", "note"), HEAT_MAPS.values(), ids=HEAT_MAPS)
def test_heat_maps_are_of_crossed_keys_one_for_each_method(
    arguments: tuple[str, ...],
    titles: dict[str, str],
    note: str,
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*arguments)
    made = {name: chart for name, chart in charts_of(swept).items() if name.startswith("heat")}
    assert {name: chart.title for name, chart in made.items()} == titles
    for chart in made.values():
        assert chart.surface is not None and chart.note.startswith(note)
        fits = [int(count.split()[2]) for row in chart.surface.counts for count in row]
        assert sum(fits) * len(made) == len(swept.results)
    if not titles:
        left_out = heat_map.plot_heat_map(swept, compare_methods(swept))
        assert isinstance(left_out, LeftOut) and "40 of the 1600 combinations" in left_out.reason


def test_a_cell_says_how_many_of_its_fits_finished_and_a_name_is_as_long_as_it_must_be() -> None:
    cells = [
        heat_map._text(*cell)
        for cell in (
            (3e-5, 9, 9),
            (721.4, 7, 9),
            (np.nan, 3, 9),
            (np.nan, 0, 2),
            (np.nan, 0, np.nan),
        )
    ]
    assert cells == ["3e-5", "721\n7/9", "×\n3/9", "×", ""]
    assert heat_map._names([0.00010001, 0.00010002, None]) == ["0.00010001", "0.00010002", "–"]


def test_a_fit_shows_the_data_and_the_known_answer() -> None:
    fit = linfit.fit(linfit.compose(["steps=30"]))
    series = {line.label: line for line in data_of("steps=30").series}
    assert set(series) == {"data", "fit", "exact optimum", "truth"}
    assert series["truth"].y == pytest.approx(2 * np.linspace(-2, 2, 30) ** 2 + 3)
    [loss, excess] = plot_loss(fit).series
    assert excess.y == pytest.approx(fit.excess_losses)
    assert loss.y == pytest.approx(fit.losses)


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer=sgd", "optimizer.lr=0.003"],
        ["optimizer=manual_sgd", "optimizer.lr=0.2", "optimizer.average=true"],
        ["optimizer=sgd", "optimizer.lr=0.001", "optimizer.momentum=0.3"],
        [
            "optimizer=sgd",
            "optimizer.lr=0.001",
            "optimizer.momentum=0.3",
            "optimizer.nesterov=true",
        ],
    ],
)
def test_the_prediction_is_exact(arguments: list[str]) -> None:
    config = linfit.compose([*arguments, "dtype=float64", "steps=200", "record.every=1"])
    fit = linfit.fit(config)
    rate = predict_rate(fit)
    assert rate is not None
    seen = np.sqrt(fit.excess_losses[121] / fit.excess_losses[120])
    assert rate == pytest.approx(seen, rel=1e-3)
    line = plot_loss(fit).series[-1]
    assert line.label.startswith("predicted excess loss, rate")
    known = np.isfinite(line.y)
    assert known.sum() > 100
    assert line.y[known] == pytest.approx(fit.excess_losses[known], rel=1e-9)


def test_no_rate_is_predicted_where_nobody_knows_it() -> None:
    assert predict_rate(linfit.fit(linfit.compose(["optimizer=adam", "steps=2"]))) is None
    for other in (
        "optimizer.weight_decay=0.1",
        "batch=minibatch",
        "schedule=exponential",
        "loss=huber",
    ):
        assert predict_rate(linfit.fit(linfit.compose(["optimizer=sgd", other, "steps=2"]))) is None


@pytest.mark.parametrize("loss", ["loss=sse", "loss=mse", "loss=huber"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["dataset=parabola"],
        ["dataset=random_linear", "dataset.p=1", "dataset.q=2", "dataset.condition=1"],
        ["dataset=random_linear"],
    ],
)
def test_the_contours_are_the_excess_loss(arguments: list[str], loss: str) -> None:
    config = linfit.compose([*arguments, loss, "dtype=float64"])
    problem = config.dataset.load(0)
    known = find_optimum(problem, config.loss)
    plane = choose_plane(problem, known)
    places = np.random.default_rng(0).normal(size=(5, 4, 2)) + plane.center
    W = plane.lift(places, known.weights)
    assert plane.project(W.reshape(-1, *known.weights.shape)) == pytest.approx(
        places.reshape(-1, 2), abs=1e-9
    )
    assert plane.compute_excess(places) == pytest.approx(known.excess_loss(W))


def test_the_two_leading_directions_hold_what_they_say() -> None:
    config = linfit.compose(["dataset=random_linear", "dtype=float64"])
    problem = config.dataset.load(0)
    known = find_optimum(problem, config.loss)
    plane = choose_plane(problem, known)
    assert plane.directions is not None
    moved = known.weights[None] + plane.directions[:, 0][None, :, None]
    assert plane.project(moved)[0] == pytest.approx([1.0, 0.0], abs=1e-9)
    assert known.excess_loss(moved) == pytest.approx(plane.compute_excess(np.array([[1.0, 0.0]])))
    assert np.diag(plane.curvature) == pytest.approx(known.curvatures[:2])
