"""The loss over any swept number, and pictures of searches over many numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.charts.chart import Chart
from linfit.views.charts.sweeps.over_key import list_line_keys, plot_over_key
from linfit.views.charts.sweeps.search_charts import (
    measure_explained_share,
    plot_importance,
    plot_parallel,
    plot_trials,
)

Sweep = Callable[..., SweepData]
POLYNOMIAL = ("dataset=polynomial", "features=polynomial", "features.degree=1,2,3")
HELD_OUT = ("loss=mse", *POLYNOMIAL, "split.validation=0.4", "optimizer=closed_form", "seed=0,1,2")
BATCHES = ("optimizer=sgd,adam", "optimizer.lr=0.001", "batch=minibatch", "batch.size=2,8,24")
RANDOM = (
    "optimizer=sgd",
    "optimizer.lr=tag(log,interval(1e-4,1e-1))",
    "optimizer.momentum=interval(0,0.9)",
    "init.std=interval(0.5,2)",
    "hydra.sweeper.sample=40",
)
#: Sweeps, keys with a picture, and of the first the labels, the scale, and how its points are read.
LINES = {
    "held out": (
        HELD_OUT,
        ["features.degree"],
        ["validation loss", "training loss"],
        "linear",
        "line: median over seed; band: range of those that finished; pale: training loss",
    ),
    "batches": (BATCHES, ["batch.size"], ["sgd", "adam"], "log", "each point is one fit"),
    "random": (
        RANDOM,
        ["optimizer.momentum", "init.std"],
        ["sgd"],
        "linear",
        "each point is one fit",
    ),
    "two values": (("optimizer=sgd", "optimizer.momentum=0.1,0.2"), [], [], "", ""),
}


@pytest.mark.parametrize(
    ("arguments", "keys", "labels", "scale", "note"), LINES.values(), ids=LINES
)
def test_the_loss_over_any_number(
    arguments: tuple[str, ...],
    keys: list[str],
    labels: list[str],
    scale: str,
    note: str,
    swept_of: Sweep,
) -> None:
    swept = swept_of(*arguments)
    assert list_line_keys(swept) == keys
    if not keys:
        return
    chart = plot_over_key(swept, compare_methods(swept), keys[0])
    assert chart is not None
    assert [series.label for series in chart.series] == labels
    assert (chart.x.label, chart.x.scale) == (keys[0], scale)
    assert chart.note.startswith(note)


def test_both_losses_are_medians_over_the_seeds(swept_of: Sweep) -> None:
    swept = swept_of(*HELD_OUT)
    chart = plot_over_key(swept, compare_methods(swept), "features.degree")
    assert chart is not None
    groups = swept.table.groupby("features.degree")
    for series, column in zip(chart.series, ("validation_loss", "loss"), strict=True):
        assert series.x.tolist() == [1, 2, 3]
        assert series.y == pytest.approx(groups[column].median().to_numpy())


#: Ranks, groups, and the share that the groups explain, adjusted for their number.
SHARES = {
    "all": ([1, 2, 3, 4], [0, 0, 1, 1], 1 - (1 / 2) / (5 / 3)),
    "all but for nothing": ([1, 1, 4, 4], [0, 0, 1, 1], 1.0),
    "nothing": ([1, 4, 2, 3], [0, 0, 1, 1], 0.0),
    "as many groups as fits": ([1, 2, 3, 4], [0, 1, 2, 3], 0.0),
    "equal losses": ([2, 2, 2], [0, 1, 1], 0.0),
}


@pytest.mark.parametrize(("ranks", "groups", "share"), SHARES.values(), ids=SHARES)
def test_the_share_that_a_key_explains(ranks: list[float], groups: list[int], share: float) -> None:
    found = measure_explained_share(np.array(ranks, dtype=float), np.array(groups))
    assert found == pytest.approx(share)


def test_a_search_is_drawn_whole(swept_of: Sweep) -> None:
    swept = swept_of(*RANDOM)
    comparison = compare_methods(swept)
    lost = int((~swept.finished).sum())
    explained = plot_importance(swept, comparison)
    assert isinstance(explained, Chart)
    assert sorted(name.split(" (")[0] for name in explained.y.names) == [
        "init.std",
        "optimizer.lr",
        "optimizer.momentum",
    ]
    assert f"40 fits by excess loss, {lost} diverged: these rank last" in explained.note

    threads = plot_parallel(swept, comparison)
    assert isinstance(threads, Chart)
    drawn = {series.label: int(np.isnan(series.x).sum()) for series in threads.series}
    best = int(np.ceil((40 - lost) / 10))
    assert drawn == {"did not finish": lost, "others": 40 - lost - best, "best tenth": best}

    trials = plot_trials(swept, comparison)
    assert isinstance(trials, Chart)
    [line] = trials.series
    assert line.y[-1] == pytest.approx(max(swept.excess.min(), swept.floors.min()), rel=1)
    assert "line: median of the best so far over all orders" in trials.note
