"""Pictures of classes: regions, frequencies and counts are computed again, and odd data drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

import linfit
from linfit.engine.fit import Fit
from linfit.views.charts.chart import Chart, LeftOut
from linfit.views.charts.drawing.class_looks import paint_regions
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.fits.boundary_chart import plot_boundary
from linfit.views.charts.fits.class_charts import (
    NO_PROBABILITIES,
    compute_wilson_interval,
    plot_calibration,
    plot_confusion,
)
from linfit.views.charts.fits.data_chart import plot_data
from tests.views.charts.drawn import draw_and_lay_out

CLASSES = ["dataset=classes", "features.intercept=true", "dtype=float64", "optimizer=newton"]
HELD = ["split.validation=0.3"]
#: Arguments of fits with pictures of classes, and their classes.
FITS = {
    "two": (["loss=logistic", *HELD], 2),
    "three": (["loss=cross_entropy", "dataset.classes=3", *HELD], 3),
    "ten": (["loss=cross_entropy", "penalty=ridge", "dataset.classes=10"], 10),
    "without probabilities": (["loss=squared_hinge"], 2),
    "curved": (["loss=logistic", "features=polynomial", "features.degree=2"], 2),
    "hardly any noise": (["loss=logistic", "penalty=ridge", "dataset.separation=20"], 2),
}
LONG_NAMES = ["a very long name of a class that goes on and on", "悪性腫瘍の疑い", "<b>$x$</b>"]


def fit_classes(*arguments: str) -> Fit:
    return linfit.fit(linfit.compose([*CLASSES, "steps=12", *arguments]))


def predict(fit: Fit, X: np.ndarray) -> np.ndarray:
    """Return the probabilities `[n, k]`, or for two classes the second's `[n]`."""
    eta = X @ fit.weights
    if fit.config.loss.name == "cross_entropy":
        return np.asarray(np.exp(eta) / np.exp(eta).sum(axis=1, keepdims=True))
    return np.asarray(1 / (1 + np.exp(-eta[:, 0])))


@pytest.mark.parametrize(("arguments", "classes"), FITS.values(), ids=FITS)
def test_classes_are_drawn_by_both_libraries(arguments: list[str], classes: int) -> None:
    fit = fit_classes(*arguments)
    made = [maker(fit) for maker in (plot_boundary, plot_calibration, plot_confusion)]
    has_shares = fit.config.loss.name != "squared_hinge"
    assert [isinstance(chart, Chart) for chart in made] == [True, has_shares, True]
    for chart in made:
        if isinstance(chart, Chart):
            draw_and_lay_out(chart)
            go.Figure(json.loads(json.dumps(convert_to_plotly(chart), allow_nan=False)))
    boundary = made[0]
    assert isinstance(boundary, Chart) and boundary.regions is not None
    assert boundary.regions.names == tuple(map(str, range(classes)))
    if not has_shares:
        assert made[1] == NO_PROBABILITIES
        assert set(boundary.regions.shares.ravel()) == {0.0, 1.0}


@pytest.mark.parametrize("loss", ["logistic", "cross_entropy"])
def test_a_region_is_of_the_likeliest_class_and_held_out_samples_are_hollow(loss: str) -> None:
    fit = fit_classes(f"loss={loss}", *HELD)
    chart = plot_boundary(fit)
    assert isinstance(chart, Chart) and chart.regions is not None
    regions = chart.regions
    across, up = np.meshgrid(regions.x, regions.y)
    X = np.stack([across.ravel(), up.ravel(), np.ones(across.size)], axis=1)
    shares = predict(fit, X)
    second = shares if shares.ndim == 1 else shares[:, 1]
    assert regions.shares[..., 1].ravel() == pytest.approx(second, abs=1e-12)
    lead = regions.eta[..., 1] - regions.eta[..., 0]
    assert np.array_equal(lead > 0, regions.shares[..., 1] > 0.5)

    assert [series.label for series in chart.series] == [
        "class 0",
        "class 1",
        "held out (hollow)",
        "",
    ]
    assert [series.style for series in chart.series] == [0, 1, 0, 1]
    problem = fit.problem
    assert problem is not None and problem.validation is not None
    drawn = [len(series.x) for series in chart.series]
    assert sum(drawn[:2]) == len(problem.X) and sum(drawn[2:]) == len(problem.validation.X)
    places = np.stack([chart.series[3].x, chart.series[3].y], axis=1)
    is_second = problem.validation.y[:, -1] > 0
    own = problem.validation.X[is_second, :2]
    assert sorted(places.tolist()) == sorted(own.tolist())


def test_a_surer_region_is_darker() -> None:
    shares = np.array([[[0.5, 0.5], [0.7, 0.3], [1.0, 0.0]]])
    light = paint_regions(shares).sum(axis=-1)[0]
    assert light[0] > light[1] > light[2]


def test_calibration_is_the_share_of_each_tenth_of_probabilities() -> None:
    fit = fit_classes("loss=logistic", *HELD)
    chart = plot_calibration(fit)
    assert isinstance(chart, Chart)
    held, numbers, fitted = chart.series[1:]
    assert (held.label, held.kind, fitted.label, fitted.kind) == (
        "held-out samples",
        "whiskers",
        "fitted samples",
        "hollow",
    )
    problem = fit.problem
    assert problem is not None and problem.validation is not None
    for part, series in ((problem.validation, held), (problem, fitted)):
        shares = predict(fit, part.X)
        bins = np.floor(shares * 10)
        own = [bins == number for number in sorted(set(bins))]
        assert series.x == pytest.approx([shares[which].mean() for which in own])
        assert series.y == pytest.approx([part.y[which, 0].mean() for which in own])
        if part is not problem:
            assert numbers.texts == tuple(str(which.sum()) for which in own)
    assert "predicted probability of class 1" in chart.x.label


def test_of_several_classes_the_likeliest_is_calibrated() -> None:
    fit = fit_classes("loss=cross_entropy", "dataset.classes=4")
    chart = plot_calibration(fit)
    assert isinstance(chart, Chart) and fit.problem is not None
    shares = predict(fit, fit.problem.X)
    assert chart.x.label == "predicted probability of the likeliest class"
    right = shares.argmax(axis=1) == fit.problem.y.argmax(axis=1)
    counts = np.array([int(text) for text in chart.series[2].texts])
    assert counts @ chart.series[1].y == pytest.approx(right.sum())
    assert counts @ chart.series[1].x == pytest.approx(shares.max(axis=1).sum())


def test_wilsons_interval() -> None:
    from scipy.stats import binomtest

    for right, number in ((0, 5), (3, 7), (50, 50), (40, 90)):
        known = binomtest(right, number).proportion_ci(0.95, "wilson")
        found = compute_wilson_interval(np.array([right / number]), np.array([float(number)]))
        assert [float(end[0]) for end in found] == pytest.approx([known.low, known.high], abs=1e-6)


@pytest.mark.parametrize("is_held", [True, False])
def test_confusion_counts_true_classes_in_rows(is_held: bool) -> None:
    fit = fit_classes("loss=cross_entropy", "dataset.classes=3", *(HELD if is_held else []))
    chart = plot_confusion(fit)
    assert isinstance(chart, Chart) and chart.table is not None and fit.problem is not None
    part = fit.problem.validation if is_held else fit.problem
    assert part is not None
    predicted = (part.X @ fit.weights).argmax(axis=1)
    expected = np.zeros((3, 3), dtype=int)
    np.add.at(expected, (part.y.argmax(axis=1), predicted), 1)
    assert chart.table.counts.tolist() == expected.tolist()
    what = "held-out" if is_held else "fitted"
    assert chart.note.startswith(f"{np.trace(expected)} of {len(part.y)} {what} samples are right")
    axes = draw_and_lay_out(chart).axes[0]
    assert [text.get_text() for text in axes.texts] == [
        str(count) if count else "·" for count in expected.ravel()
    ]


#: Arguments of fits without a decision boundary, and why; whether a line says so.
LEFT_OUT = {
    "three columns": (["dataset.p=3"], "its data have 3 columns, and a plane shows two", True),
    "one column": (["dataset.p=1"], "its data have one column", False),
    "numbers": (["dataset=random_linear", "loss=mse"], "its loss predicts no classes", False),
    "eleven": (
        ["loss=cross_entropy", "dataset.classes=11"],
        "it has 11 classes, and up to 10 are told apart",
        True,
    ),
}


@pytest.mark.parametrize(("arguments", "reason", "is_missed"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_why_there_is_no_boundary(arguments: list[str], reason: str, is_missed: bool) -> None:
    config = linfit.compose([*CLASSES, "loss=logistic", "penalty=ridge", "steps=2", *arguments])
    chart = plot_boundary(linfit.fit(config))
    assert isinstance(chart, LeftOut)
    assert chart.reason.startswith(reason) and chart.is_missed is is_missed


def test_a_table_of_too_many_classes_is_left_out() -> None:
    chart = plot_confusion(
        fit_classes("loss=cross_entropy", "penalty=ridge", "dataset.classes=21", "steps=1")
    )
    assert chart == LeftOut("it has 21 classes, and a table of up to 20 is readable")


@pytest.mark.filterwarnings("ignore:Glyph")
def test_names_of_classes_are_shown_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    lines = ["u,v,kind"]
    for place in range(90):
        x, y = random.normal(size=2)
        lines.append(f"{x + place % 3},{y},{LONG_NAMES[place % 3]}")
    Path("some.csv").write_text("\n".join(lines), encoding="utf-8")
    data = ["dataset=csv", "dataset.path=some.csv", "dataset.features=[u,v]", "dataset.target=kind"]
    arguments = [*data, "loss=cross_entropy", "features.intercept=true", "steps=5"]
    fit = linfit.fit(linfit.compose([*arguments, "optimizer=newton"]))
    boundary = plot_boundary(fit)
    confusion = plot_confusion(fit)
    assert isinstance(boundary, Chart) and isinstance(confusion, Chart)
    assert confusion.table is not None and confusion.table.names == tuple(sorted(LONG_NAMES))
    assert {series.label for series in boundary.series} == {f"class {name}" for name in LONG_NAMES}
    assert "some.csv" in boundary.title
    ticks = convert_to_plotly(confusion)["layout"]["xaxis"]["ticktext"]
    assert "&lt;b&gt;$x$&lt;/b&gt;" in ticks
    for chart in (boundary, confusion):
        draw_and_lay_out(chart)


#: Arguments of fits over one column, and the mean that a predictor makes.
MEANS = {
    "poisson": (["dataset=counts", "dataset.p=1", "loss=poisson"], np.exp),
    "logistic": (
        ["dataset=classes", "dataset.p=1", "loss=logistic"],
        lambda eta: 1 / (1 + np.exp(-eta)),
    ),
    "quantile": (
        ["dataset=polynomial", "dataset.degree=1", "dataset.coefficients=[1,2]", "loss=quantile"],
        lambda eta: eta,
    ),
}


@pytest.mark.parametrize(("arguments", "mean"), MEANS.values(), ids=MEANS)
def test_the_curve_over_one_column_is_the_mean_that_is_fitted(
    arguments: list[str], mean: Callable[[np.ndarray], np.ndarray]
) -> None:
    fit = linfit.fit(linfit.compose([*arguments, "dtype=float64", "steps=30"]))
    chart = plot_data(fit)
    assert isinstance(chart, Chart) and fit.problem is not None
    curves = {series.label: series for series in chart.series}
    columns = fit.problem.X.shape[1]
    x = curves["fit"].x
    X = x[:, None] if columns == 1 else np.stack([x**power for power in range(columns)], axis=1)
    if columns > 1 and fit.problem.X[0, 0] != 1:
        X = X[:, ::-1]
    assert curves["fit"].y == pytest.approx(mean(X @ fit.weights)[:, 0])
    assert chart.note.startswith("curves: the ")
