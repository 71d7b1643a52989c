"""A fit's pictures of its data and losses are computed again here."""

from __future__ import annotations

import numpy as np
import pytest

import linfit
from linfit.views.analysis.theory import predict_rate
from linfit.views.charts.fits.fit_charts import plot_descent, plot_loss
from tests.views.charts.drawn import data_of


def test_of_many_samples_some_are_drawn_and_of_several_targets_the_first() -> None:
    chart = data_of("dataset.n=5001", "steps=2")
    assert {len(series.x) for series in chart.series} == {2000}
    assert chart.note == "2000 of 5001 samples, evenly"
    assert (chart.series[0].x[0], chart.series[0].x[-1]) == (-2, 2)
    several = plot_descent(
        linfit.fit(linfit.compose(["dataset=random_linear", "dataset.q=3", "steps=2"]))
    )
    assert "the first of 3 targets" in several.note


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
