"""Tables in terminals of every width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from linfit.views.terminal import tables
from linfit.views.terminal.tables import FitLine, format_fits, format_table

NAME, NUMBER = "manual_sgd lr=0.0001 seed=12", 3.448501e-13
LINES = [
    FitLine(
        NAME,
        "completed",
        0.1900841,
        NUMBER,
        1.349692e-07,
        "2.0114312 2.9715586",
        "c64e470000270000",
    )
]


def printed(made: object, width: int) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(made)
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (60, ("weights", "run id", "distance", "loss")),
        (80, ("weights", "run id")),
        (100, ("weights",)),
        (200, ()),
    ],
)
def test_what_has_no_room_is_left_out_and_named_and_no_number_is_cut(
    width: int, left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "open_console", lambda: Console(width=width, file=io.StringIO()))
    text = printed(format_fits(LINES), width)
    head, row = text.splitlines()[:2]
    assert NAME in row and "3.448501e-13" in row and "…" not in text
    assert ("1.349692e-07" in row, "c64e47000027" in row) == (
        "distance" not in left_out,
        "run id" not in left_out,
    )
    assert (" loss " in head.replace("excess loss", "")) == ("loss" not in left_out)
    said = " ".join(text.split())
    assert ("no room for " + ", ".join(left_out) in said) == bool(left_out)


def test_markup_and_signs_that_terminals_obey_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "open_console", lambda: Console(width=40, file=io.StringIO()))
    text = printed(format_table({"run": ["[bold]x[/]\x1b[2J"]}, (), ()), 40)
    assert "[bold]x[/]" in text and "\x1b" not in text
