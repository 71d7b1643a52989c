"""Letters of any script: a font that has them, or one line."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.font_manager import findfont

from linfit.views.charts.chart import Chart, ChartAxis, Series, is_sparse, merge_equal_series
from linfit.views.charts.drawing import fonts
from linfit.views.charts.ticks import choose_step_ticks, choose_whole_ticks, shorten_label


def chart_with(name: str) -> Chart:
    line = Series(name, np.arange(2.0), np.arange(2.0))
    return Chart("some", "A title", ChartAxis("x"), ChartAxis("y"), [line])


def test_a_font_is_chosen_by_letters(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = fonts._letters(findfont(fonts.FIRST_FONT))
    has = {"first": frozenset("温"), "second": frozenset("温度")}
    monkeypatch.setattr(fonts, "_list_fonts", lambda: [("First", "first"), ("Second", "second")])
    monkeypatch.setattr(fonts, "_letters", lambda file: has.get(file, usual))
    monkeypatch.setattr(fonts, "_said", set())
    assert fonts.choose_fonts(chart_with("mass·ε")) == [fonts.FIRST_FONT]
    assert fonts.choose_fonts(chart_with("温度")) == [fonts.FIRST_FONT, "First", "Second"]
    assert capsys.readouterr().err == ""
    for _ in range(2):
        fonts.choose_fonts(chart_with("温 字"))
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("linfit: no installed font has the letters 字: PNG pictures show boxes")


#: The last step, and the ticks of an axis of steps.
STEP_TICKS = {
    0: [],
    1: [0.5, 1],
    5: [0.5, 1, 2, 3, 4, 5],
    60: [0.5, 1, 2, 5, 10, 20, 50],
    1000: [0.5, 1, 10, 100, 1000],
}


@pytest.mark.parametrize(("last", "ticks"), STEP_TICKS.items())
def test_short_fits_have_whole_ticks(last: int, ticks: list[float]) -> None:
    assert choose_step_ticks(last) == ticks


def test_whole_ticks_and_labels() -> None:
    assert choose_whole_ticks(0.9, 4.2) == [1, 2, 3, 4]
    assert choose_whole_ticks(1, 60) == [10, 20, 30, 40, 50, 60]
    assert shorten_label("adam lr=0.1", 22, 3) == "adam lr=0.1"
    long = shorten_label("momentum=0.5 " * 9 + "lr=0.1", 22, 3)
    assert len(long) < 80 and " … " in long.replace("\n", " ") and long.endswith("lr=0.1")


def test_equal_curves_are_drawn_once_and_few_points_are_marked() -> None:
    steps = np.array([0.0, 1.0, 5.0])
    lines = [Series(name, steps, steps, style=place) for place, name in enumerate("abc")]
    other = Series("d", steps, 2 * steps)
    merged = merge_equal_series([lines[0], other, *lines[1:]])
    assert [(line.label, line.style) for line in merged] == [("a, b, c (equal)", 0), ("d", None)]
    assert is_sparse(steps) and not is_sparse(np.arange(9)) and not is_sparse(np.arange(0, 999, 9))
