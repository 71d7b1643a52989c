"""Fits and sweeps whose pictures are tested, and how a test makes these."""

from __future__ import annotations

from matplotlib.figure import Figure

import linfit
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart, Series
from linfit.views.charts.drawing.matplotlib_charts import draw_chart, use_chart_style
from linfit.views.charts.fits.data_chart import plot_data
from linfit.views.charts.sweeps import sweep_charts

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
