"""Curves in text."""

from __future__ import annotations

import numpy as np
import pytest

from linfit.views.terminal.sketch import SKETCH_HEIGHT, SKETCH_WIDTH, draw_sketch


def test_a_falling_line_falls_from_corner_to_corner() -> None:
    steps = np.array([1, 10, 100, 1000])
    lines = draw_sketch(steps.tolist(), (1.0 / steps).tolist(), braille=False)
    assert len(lines) == SKETCH_HEIGHT + 1
    assert lines[0].split() == ["1", lines[0].split()[1]]
    assert lines[0].index("*") == 11
    assert len(lines[SKETCH_HEIGHT - 1]) == 11 + SKETCH_WIDTH
    assert lines[SKETCH_HEIGHT - 1].split()[0] == "0.001"
    assert lines[-1].split() == ["step", "1", "1000"]
    columns = [line[11:] for line in lines[:SKETCH_HEIGHT]]
    assert sorted(
        place for line in columns for place, sign in enumerate(line) if sign == "*"
    ) == list(range(SKETCH_WIDTH))


def test_braille_has_the_same_shape() -> None:
    steps = [0, 1, 10, 100]
    lines = draw_sketch(steps, [100.0, 10.0, 1.0, 0.1])
    drawn = [line[11:] for line in lines[:SKETCH_HEIGHT]]
    assert {sign for line in drawn for sign in line} <= {" ", *map(chr, range(0x2801, 0x2900))}
    assert drawn[0][0] != " " and drawn[-1][-1] != " "


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert draw_sketch([0], [1.0]) == []
    assert draw_sketch([0, 1, 2], [float("nan"), float("inf"), 0.0]) == []
    assert len(draw_sketch([0, 1, 2], [2.0, 2.0, 2.0])) == SKETCH_HEIGHT + 1
    assert draw_sketch([0, 1, 5], [1.0, 0.5, float("inf")])[-1].split() == ["step", "0", "1"]


@pytest.mark.parametrize("columns", [40, 60, 200])
@pytest.mark.parametrize("braille", [True, False])
def test_a_narrow_terminal_is_not_overrun(columns: int, braille: bool) -> None:
    lines = draw_sketch([0, 1, 10, 1000], [100.0, 10.0, 1.0, 0.1], braille, columns)
    assert len(lines) == SKETCH_HEIGHT + 1
    assert max(map(len, lines)) == min(columns, 11 + SKETCH_WIDTH)
