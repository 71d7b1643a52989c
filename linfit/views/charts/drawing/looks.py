"""How a series of each style looks, in both libraries: readable also without colours."""

from __future__ import annotations

from typing import Any

from linfit.tracking.schema.run_colors import choose_color

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINE_DASHES = (
    "-",
    (0, (5, 2.5)),
    (0, (1.4, 1.8)),
    (0, (5, 2, 1.2, 2)),
    (0, (8, 3)),
    (0, (3, 1.5, 1, 1.5, 1, 1.5)),
    (0, (2.5, 2.5)),
    (0, (8, 2, 2, 2)),
)
#: Widths of solid lines, and of those that must leave room to see a line below them.
LINE_WIDTHS = (2.8, 2.2, 1.7, 2.0, 2.2, 2.0, 2.0, 2.0)
PLOTLY_DASHES = (
    "solid",
    "dash",
    "dot",
    "dashdot",
    "longdash",
    "longdashdot",
    "10px,3px,2px,3px",
    "2px,4px",
)
PLOTLY_SYMBOLS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "x",
    "star",
)
#: Colours of the best fits, of the others, and of those that did not finish.
BEST_COLOR = "#0B3C73"
OTHERS_COLOR = "#B5B5B5"
LOST_COLOR = "#D55E00"
#: Threads up to which they are drawn thick.
FEW_THREADS = 15
INK = "#222222"
NOTE_COLOR = "#555555"


def choose_look(number: int) -> tuple[str, str, Any]:
    """Return matplotlib's colour, marker and dashes of a style."""
    other = (number + number // 8) % 8  # styles of one colour differ in all else
    return choose_color(number), MARKERS[other], LINE_DASHES[other]


def choose_plotly_look(number: int) -> tuple[str, str, str]:
    """Return Plotly's colour, symbol and dashes of a style."""
    other = (number + number // 8) % 8
    return choose_color(number), PLOTLY_SYMBOLS[other], PLOTLY_DASHES[other]


def choose_faint_color(number: int) -> str:
    """Return the colour of a style, half way to white."""
    red, green, blue = bytes.fromhex(choose_color(number)[1:])
    return "#" + "".join(f"{(part + 255) // 2:02X}" for part in (red, green, blue))
