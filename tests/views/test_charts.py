"""The pictures: what they show is computed again here; that they can be drawn is tried on everything odd."""

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
from linfit.errors import ConfigError
from linfit.problem.theory import optimum
from linfit.views import sweep_charts
from linfit.views.charts import Chart
from linfit.views.comparison import compare
from linfit.views.drawing import draw, save, style
from linfit.views.fit_charts import CHARTS, data_chart, loss_chart
from linfit.views.interactive import plotly
from linfit.views.page import packed_plotly
from linfit.views.planes import plane_of
from linfit.views.prediction import predicted_rate
from linfit.views.swept import Swept

PNG, SVG = b"\x89PNG\r\n\x1a\n", b"<?xml"
FITS = {
    "two weights": ["steps=30"],
    "one weight": ["dataset=polynomial", "dataset.degree=0", "dataset.coefficients=[2]", "steps=30"],
    "five weights": ["dataset=random_linear", "steps=30"],
    "several targets": ["dataset=random_linear", "dataset.p=1", "dataset.q=3", "dataset.condition=1", "steps=30"],
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
    "several problems": ("dataset=parabola,random_linear", "optimizer=sgd,adam", "optimizer.lr=0.001,0.01"),
    "one weight": ("dataset=polynomial", "dataset.degree=0", "dataset.coefficients=[2]", "optimizer.lr=0.01,0.1", "steps=4,5"),
    "several losses": ("dataset.noise=0.1,10.0", "optimizer.lr=0.1,1.0", "loss=sse,mse"),
}


def charts_of(swept: Swept) -> dict[str, Chart]:
    made = {name: maker(swept, compare(swept)) for name, maker in sweep_charts.CHARTS.items()}
    return {name: chart for name, chart in made.items() if chart is not None}


@pytest.mark.parametrize("arguments", FITS.values(), ids=FITS)
def test_a_fit_is_drawn(arguments: list[str]) -> None:
    fit = linfit.fit(linfit.compose(arguments))
    for maker in CHARTS:
        with style():
            draw(maker(fit)).draw_without_rendering()


@pytest.mark.parametrize("arguments", SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_is_drawn_where_a_picture_makes_sense(arguments: tuple[str, ...], swept_of: Callable[..., Swept]) -> None:
    made = charts_of(swept_of(*arguments))
    assert "curves" in made
    for chart in made.values():
        with style():
            draw(chart).draw_without_rendering()
        drawn = plotly(chart)
        go.Figure(json.loads(json.dumps(drawn, allow_nan=False)))  # raises for a trace or a setting that Plotly does not know


def test_the_pages_script_is_of_the_version_that_the_charts_were_held_against() -> None:
    whole = (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    own = gzip.decompress(base64.b64decode(packed_plotly())).decode()
    known, brought = (re.match(r"/\*\*\n\* plotly\.js.* v([\d.]+)\n", text) for text in (whole, own))
    assert known and brought and known[1] == brought[1], "run `make plotly PLOTLY=…` with the version of the plotly installed"


def test_which_pictures_make_sense(swept_of: Callable[..., Swept], usual: Swept) -> None:
    assert set(charts_of(usual)) == {"learning_rate", "curves", "profile", "paths", "heat_map"} | ({"trials"} & set(charts_of(usual)))
    assert set(charts_of(swept_of("seed=0"))) == {"curves", "paths"}


def test_the_same_chart_gives_the_same_bytes(usual: Swept, tmp_path: Path) -> None:
    chart = charts_of(usual)["learning_rate"]
    (tmp_path / "again").mkdir()
    first = save(chart, tmp_path)
    assert first[0].read_bytes().startswith(PNG) and first[1].read_bytes().startswith(SVG)
    for one, other in zip(first, save(chart, tmp_path / "again"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_drawing_leaves_matplotlib_as_it_was(usual: Swept, tmp_path: Path) -> None:
    import matplotlib

    matplotlib.rcParams["font.size"] = 7.0
    save(charts_of(usual)["curves"], tmp_path)
    assert matplotlib.rcParams["font.size"] == 7.0
    matplotlib.rcdefaults()


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    from linfit.views.charts import Axis, Series

    line = Series("<script>$x^2$&", np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    chart = Chart("odd", "$a$ <b> 漢字", Axis("x"), Axis("y"), [line, line])
    assert "<script>" not in save(chart, tmp_path)[1].read_text()
    assert plotly(chart)["data"][0]["name"] == "&lt;script&gt;$x^2$&amp;"


def test_learning_rates_are_medians_with_the_range_and_the_largest_stable_rate(usual: Swept) -> None:
    chart = charts_of(usual)["learning_rate"]
    by_label = {series.label: series for series in chart.series}
    adam = usual.table[usual.table["optimizer"] == "adam"].groupby("optimizer.lr")["excess_loss"]
    assert by_label["adam"].x.tolist() == [0.001, 0.007, 1.0]
    assert by_label["adam"].low == pytest.approx(adam.min().to_numpy())
    assert by_label["adam"].high == pytest.approx(adam.max().to_numpy())
    assert by_label["adam"].y == pytest.approx(adam.quantile(interpolation="higher").to_numpy())
    assert np.isnan(by_label["sgd"].y[-1])
    [mark] = chart.marks
    X = np.stack([np.linspace(-2, 2, 30) ** 2, np.ones(30)], axis=1)
    assert mark.x == pytest.approx(2 / np.linalg.eigvalsh(2 * X.T @ X)[-1])
    assert mark.label == "largest stable: sgd"


def test_no_bound_is_marked_where_gradients_are_of_few_samples(swept_of: Callable[..., Swept]) -> None:
    swept = swept_of("optimizer=sgd", "optimizer.lr=0.001,0.01", "batch=minibatch")
    assert charts_of(swept)["learning_rate"].marks == []


def test_curves_are_medians_over_the_seeds_of_the_chosen_setting(usual: Swept) -> None:
    comparison = compare(usual)
    chart = charts_of(usual)["curves"]
    for entry, series in zip(comparison.entries, chart.series, strict=True):
        own = usual.table[(usual.table["optimizer"] == entry.method) & (usual.table["optimizer.lr"] == float(entry.setting[3:]))]
        finals = np.sort([usual.curves.of(row)[1][-1] for row in own["row"]])
        assert series.label == entry.name
        assert series.y[-1] == pytest.approx(finals[3])  # the fourth of eight: the lower median


def test_a_heat_map_of_any_two_swept_keys(usual: Swept) -> None:
    chart = sweep_charts.heat_map(usual, compare(usual), "seed", "optimizer.lr")
    assert chart is not None and chart.surface is not None
    assert chart.x.names == tuple(map(str, range(8)))
    cell = usual.table[(usual.table["seed"] == 3) & (usual.table["optimizer.lr"] == 0.007)]["excess_loss"]
    assert chart.surface.z[1, 3] == pytest.approx(float(np.exp(np.log(cell.astype(float)).mean())))
    with pytest.raises(ConfigError, match=r"no swept key 'sed': did you mean 'seed'\?"):
        sweep_charts.heat_map(usual, compare(usual), "sed")


def test_a_fit_shows_the_data_and_the_known_answer() -> None:
    fit = linfit.fit(linfit.compose(["steps=30"]))
    series = {line.label: line for line in data_chart(fit).series}
    assert set(series) == {"data", "fit", "exact optimum", "truth"}
    assert series["truth"].y == pytest.approx(2 * np.linspace(-2, 2, 30) ** 2 + 3)
    [loss, excess] = loss_chart(fit).series
    assert excess.y == pytest.approx(fit.excess_losses)
    assert loss.y == pytest.approx(fit.losses)


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer=sgd", "optimizer.lr=0.003"],
        ["optimizer=manual_sgd", "optimizer.lr=0.2", "optimizer.average=true"],
        ["optimizer=sgd", "optimizer.lr=0.001", "optimizer.momentum=0.3"],
        ["optimizer=sgd", "optimizer.lr=0.001", "optimizer.momentum=0.3", "optimizer.nesterov=true"],
    ],
)
def test_the_predicted_rate_is_the_one_that_is_seen(arguments: list[str]) -> None:
    config = linfit.compose([*arguments, "dtype=float64", "steps=200", "record.every=1"])
    fit = linfit.fit(config)
    rate = predicted_rate(fit)
    assert rate is not None
    seen = np.sqrt(fit.excess_losses[121] / fit.excess_losses[120])
    assert rate == pytest.approx(seen, rel=1e-3)
    assert loss_chart(fit).series[-1].label.startswith("predicted rate")


def test_no_rate_is_predicted_where_nobody_knows_it() -> None:
    assert predicted_rate(linfit.fit(linfit.compose(["optimizer=adam", "steps=2"]))) is None
    for other in ("optimizer.weight_decay=0.1", "batch=minibatch", "schedule=exponential", "loss=huber"):
        assert predicted_rate(linfit.fit(linfit.compose(["optimizer=sgd", other, "steps=2"]))) is None


@pytest.mark.parametrize(
    "arguments", [["dataset=parabola"], ["dataset=random_linear", "dataset.p=1", "dataset.q=2", "dataset.condition=1"]]
)
def test_the_contours_over_two_weights_are_the_excess_loss(arguments: list[str]) -> None:
    config = linfit.compose([*arguments, "dtype=float64"])
    problem = config.dataset.load(0)
    known = optimum(problem, config.loss)
    plane = plane_of(problem, known)
    W = np.random.default_rng(0).normal(size=(5, *known.weights.shape))
    assert plane.excess(plane.coordinates(W)) == pytest.approx(known.excess(W))


def test_the_two_leading_directions_hold_what_they_say() -> None:
    config = linfit.compose(["dataset=random_linear", "dtype=float64"])
    problem = config.dataset.load(0)
    known = optimum(problem, config.loss)
    plane = plane_of(problem, known)
    assert plane.directions is not None
    moved = known.weights[None] + plane.directions[:, 0][None, :, None]
    assert plane.coordinates(moved)[0] == pytest.approx([1.0, 0.0], abs=1e-9)
    assert known.excess(moved) == pytest.approx(plane.excess(np.array([[1.0, 0.0]])))
    assert np.diag(plane.curvature) == pytest.approx(known.curvatures[:2])
