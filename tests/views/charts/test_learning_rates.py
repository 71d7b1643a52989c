"""The picture over learning rates: medians, the largest stable rate, and fits that were lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from linfit.views.analysis.sweep_data import SweepData
from linfit.views.analysis.theory import compute_stable_rate
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.sweeps import loss_lines
from tests.views.charts.drawn import SWEEPS, charts_of, draw_and_lay_out


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


def test_no_bound_is_marked_where_gradients_are_of_few_samples(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of("optimizer=sgd", "optimizer.lr=0.001,0.01", "batch=minibatch")
    assert charts_of(swept)["learning_rate"].marks == []
