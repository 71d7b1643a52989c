"""The picture of the data: over the raw column, whatever the features, weights and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import linfit
from linfit.views.charts.chart import Chart, LeftOut
from linfit.views.charts.fits import raw_data
from linfit.views.charts.fits.data_chart import plot_data

FILE = ["dataset=csv", "dataset.features=[x]", "dataset.target=y", "optimizer=closed_form"]
TARGETS = ["dataset=random_linear", "dataset.p=1", "dataset.condition=1"]
#: Arguments, the axis below, the labels, and the note.
DATA = {
    "a spline over its column": (
        [*FILE, "features=rbf", "split.validation=0.25"],
        "x",
        ["data", "held out", "fit", "exact optimum"],
        "",
    ),
    "weighted rows": (
        [*FILE, "dataset.weight=w", "features=polynomial", "features.scaling=standardize"],
        "x",
        ["data", "fit", "exact optimum"],
        "",
    ),
    "a synthetic dataset, some held out": (
        ["split.validation=0.3"],
        "x",
        ["data", "held out", "fit", "exact optimum", "truth"],
        "",
    ),
    "a summary of the samples": (
        ["gradient=gram", "optimizer=sgd", "optimizer.lr=0.001"],
        "x",
        ["data", "fit", "exact optimum", "truth"],
        "",
    ),
    "two targets": (
        [*TARGETS, "dataset.q=2"],
        "x",
        ["y0: data", "y1: data", "y0: fit", "y1: fit"],
        "",
    ),
    "five targets": (
        [*TARGETS, "dataset.q=5"],
        "x",
        [f"y{i}: {what}" for what in ("data", "fit") for i in range(3)],
        "the first 3 of 5 targets",
    ),
    "several columns": (
        ["dataset=random_linear", "split.validation=0.2"],
        "y, measured",
        ["fit", "held out", "exact optimum", "prediction = target"],
        "",
    ),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    x = np.linspace(-3, 3, 40)
    rows = zip(x.tolist(), np.sin(x).tolist(), (1 + x**2).tolist(), strict=True)
    lines = ["x,y,w", *(",".join(map(str, row)) for row in rows)]
    Path("some.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize(("arguments", "below", "labels", "note"), DATA.values(), ids=DATA)
def test_the_data_are_shown_as_they_are(
    arguments: list[str], below: str, labels: list[str], note: str, here: Path
) -> None:
    is_file = "dataset=csv" in arguments
    path = ["dataset.path=some.csv"] if is_file else []
    chart = plot_data(linfit.fit(linfit.compose([*arguments, *path, "steps=3"])))
    assert isinstance(chart, Chart)
    assert [series.label for series in chart.series] == labels
    assert (chart.x.label, chart.note) == (below, note)
    if is_file:
        points = [series for series in chart.series if series.kind in ("points", "hollow")]
        assert sum(len(series.x) for series in points) == 40
        for series in points:
            assert series.y == pytest.approx(np.sin(series.x))


def test_many_samples_are_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_data, "MOST_READ_AGAIN", 29)
    config = linfit.compose(["features=polynomial", "steps=1"])
    chart = plot_data(linfit.fit(config))
    assert chart == LeftOut("its 30 samples would have to be read again: up to 29 are")
