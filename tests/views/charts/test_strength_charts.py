"""Pictures over a penalty's strengths: weights, support and losses are computed again here."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest

from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.charts.sweeps.strength_fits import StrengthLosses
from tests.views.charts.drawn import charts_of, draw_and_lay_out

LASSO = ("dataset=sparse_linear", "loss=mse", "penalty=lasso", "optimizer=fista", "steps=60")
WIDE = ("dataset.p=30", "features.intercept=true", "split=kfold")
#: Sweeps over strengths.
PATHS = {
    "folds": (
        *LASSO,
        *WIDE,
        "penalty.strength=geomspace(0.01,10,5)",
        "split.fold=range(0,5)",
    ),
    "alone": (*LASSO, "penalty.strength=geomspace(0.01,10,4)"),
    "with zero": (*LASSO, "penalty.strength=0,0.1,1,10"),
    "classes": (
        "dataset=classes",
        "dataset.p=3",
        "dataset.classes=3",
        "loss=cross_entropy",
        "penalty=ridge",
        "optimizer=newton",
        "steps=8",
        "split=kfold",
        "split.fold=range(0,3)",
        "penalty.strength=0.001,0.01,0.1",
    ),
    "two methods": (
        *LASSO[:3],
        "steps=20",
        "optimizer=fista,proximal_gradient",
        "penalty.strength=0.01,0.1,1",
    ),
}
#: Which of the pictures each has.
MADE = {
    "folds": {"strength_path", "support", "over_penalty_strength"},
    "alone": {"strength_path", "support", "over_penalty_strength"},
    "with zero": {"strength_path", "support", "over_penalty_strength"},
    "classes": {"strength_path", "over_penalty_strength", "calibration", "confusion"},
    "two methods": {"strength_path", "support", "over_penalty_strength"},
}


@pytest.mark.parametrize("name", PATHS)
def test_pictures_over_strengths_are_drawn(name: str, swept_of: Callable[..., SweepData]) -> None:
    made = charts_of(swept_of(*PATHS[name]))
    wanted = {"strength_path", "support", "over_penalty_strength", "calibration", "confusion"}
    assert set(made) & wanted == MADE[name]
    for chart in made.values():
        draw_and_lay_out(chart)
        go.Figure(json.loads(json.dumps(convert_to_plotly(chart), allow_nan=False)))


def test_weights_are_medians_over_folds_the_largest_with_names(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*PATHS["folds"])
    chart = charts_of(swept)["strength_path"]
    table = swept.table
    strengths = sorted(set(table["penalty.strength"]))
    path = []
    for strength in strengths:
        own = table[table["penalty.strength"] == strength]["weights"]
        path.append(np.median(np.stack(list(own)), axis=0)[:-1])  # without the intercept
    others, *named = chart.series
    assert others.label == "20 others" and others.kind == "threads"
    order = np.argsort(-np.abs(path).max(axis=0), kind="stable")[:10]
    assert [series.label for series in named] == [f"x{feature}" for feature in order]
    for series, feature in zip(named, order, strict=True):
        assert series.x.tolist() == strengths
        assert series.y == pytest.approx(np.array(path)[:, feature])
    assert chart.x.scale == "log"
    assert "median over 5 folds" in chart.note and "intercept" in chart.note


def test_losses_are_medians_with_the_leaderboards_first_and_the_one_standard_error_choice(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*PATHS["folds"])
    made = charts_of(swept)
    groups = swept.table.groupby("penalty.strength")["validation_loss"]
    medians = groups.median()
    errors = groups.std() / np.sqrt(5)
    [line] = made["over_penalty_strength"].series
    assert line.y == pytest.approx(medians.to_numpy())
    assert line.low is not None and line.high is not None
    assert line.high - line.low == pytest.approx(2 * errors.to_numpy())
    best = float(compare_methods(swept).entries[0].problem.partition("=")[2])
    simplest = medians[medians <= medians[best] + errors[best]].index.max()
    assert simplest > best
    for name in MADE["folds"]:
        assert {mark.x for mark in made[name].marks} == {best, simplest}
    sizes = swept.table.groupby("penalty.strength")["support_size"]
    [support] = made["support"].series
    assert support.y == pytest.approx(sizes.median().to_numpy())
    assert support.low == pytest.approx(sizes.min().to_numpy())


def test_the_simplest_strength_is_the_largest_within_an_error() -> None:
    medians = np.array([1.0, 0.8, 0.85, 0.95, 0.89])
    none = np.zeros(5)
    assert StrengthLosses(medians, np.full(5, 0.1), none).simplest == 4
    assert StrengthLosses(medians, np.full(5, 0.01), none).simplest == 1
    alone = StrengthLosses(medians, np.full(5, np.nan), none)
    assert (alone.best, alone.simplest) == (1, None)


def test_strengths_that_lose_fits_come_last_as_in_the_leaderboard() -> None:
    lost = np.array([0.0, 0.2, 0.0, 0.0, 0.2])
    losses = StrengthLosses(np.array([1.0, 0.8, 0.85, 0.95, 0.89]), np.full(5, 0.1), lost)
    assert (losses.best, losses.simplest) == (2, 3)


def test_weights_of_several_targets_are_lengths(swept_of: Callable[..., SweepData]) -> None:
    swept = swept_of(*PATHS["classes"])
    chart = charts_of(swept)["strength_path"]
    lengths = [
        np.linalg.norm(np.reshape(weights, (3, 3)), axis=1) for weights in swept.table["weights"]
    ]
    first = [
        length
        for length, s in zip(lengths, swept.table["penalty.strength"], strict=True)
        if s == 0.1
    ]
    drawn = sorted(series.y[-1] for series in chart.series)
    assert drawn == pytest.approx(sorted(np.median(first, axis=0)))
    assert "length of each feature's weights of 3 targets" in chart.note


def test_the_classes_of_the_best_setting_are_pooled_over_its_folds(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of(*PATHS["classes"])
    table = charts_of(swept)["confusion"].table
    assert table is not None
    entry = compare_methods(swept).entries[0]
    own = swept.table[swept.table["penalty.strength"] == float(entry.problem.partition("=")[2])]
    right = sum(
        row.validation_accuracy * n for row, n in zip(own.itertuples(), (40, 40, 40), strict=True)
    )
    assert table.counts.sum() == 120  # three fifths of 200 samples
    assert np.trace(table.counts) == pytest.approx(right)
