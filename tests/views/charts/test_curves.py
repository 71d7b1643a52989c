"""Curves and the performance profile of a sweep are computed again here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.sweeps.curves import FitCurve, interpolate_curve
from linfit.views.charts.sweeps.methods import choose_styles
from tests.views.charts.drawn import SWEEPS, charts_of, labels_of


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
