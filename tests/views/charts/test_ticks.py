"""Ticks are where they help, with names as short as they may be."""

from __future__ import annotations

import pytest

from linfit.views.charts.ticks import choose_ticks, hide_overlaps, name_ticks


@pytest.mark.parametrize(
    ("low", "high", "wanted", "texts"),
    [
        (0.0068, 0.0081, (0.007, 0.0079), ["0.0070", "0.0079"]),
        (1e-4, 2e-4, (0.00010001, 0.00010002), ["0.00010001", "0.00010002"]),
        (220.1, 222.6, (), ["220.5", "221.0", "221.5", "222.0", "222.5"]),
        (9e-5, 1.1e-2, (), ["0.0001", "0.0002", "0.0005", "0.001", "0.002", "0.005", "0.01"]),
        (2e-7, 9e-6, (), ["2·10⁻⁷", "5·10⁻⁷", "10⁻⁶", "2·10⁻⁶", "5·10⁻⁶"]),
        (1e-7, 1e4, (), ["10⁻⁶", "10⁻⁴", "10⁻²", "10⁰", "10²", "10⁴"]),
        (0.5, 1500, (), ["1", "10", "100", "1000"]),
    ],
)
def test_ticks_are_where_they_help_in_one_notation(
    low: float, high: float, wanted: tuple[float, ...], texts: list[str]
) -> None:
    assert name_ticks(choose_ticks(low, high, wanted)) == texts


def test_a_tick_that_has_no_room_is_nameless() -> None:
    rates = (0.0001, 0.0003, 0.001, 0.1)
    assert hide_overlaps(rates, name_ticks(rates), 3.0) == ["0.0001", "", "0.001", "0.1"]
