"""Fonts that have the letters of a picture: a name may be in any script."""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
from collections.abc import Iterable
from functools import cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from linfit.system.output import print_to_stderr
from linfit.views.charts.chart import Chart

FIRST_FONT = "DejaVu Sans"
#: Beginnings of the names of fonts with many scripts, those that are looked into first.
WIDE_FONTS = (
    "Noto Sans CJK",
    "Source Han Sans",
    "WenQuanYi",
    "PingFang",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "MS Gothic",
    "Malgun Gothic",
    "Apple SD Gothic",
    "IPA",
    "Droid Sans Fallback",
    "Arial Unicode",
    "Noto Sans",
)
#: A font of placeholders, which has all letters and shows none.
PLACEHOLDERS = "Last Resort"
#: Fonts that are looked into.
MOST_FONTS = 60
#: Letters that are named in the line on missing ones.
MOST_NAMED_LETTERS = 8
_said: set[str] = set()


def choose_fonts(chart: Chart) -> list[str]:
    """Return the fonts of a chart, the usual one first.

    Letters that no installed font has are named in one line on stderr, once.
    """
    missing = {letter for letter in "".join(_texts(chart)) if letter.isprintable()}
    missing -= _letters(font_manager.findfont(FIRST_FONT))
    chosen = [FIRST_FONT]
    if not missing:
        return chosen

    for name, file in _list_fonts()[:MOST_FONTS]:
        if missing & _letters(file):
            chosen.append(name)
            missing -= _letters(file)
        if not missing:
            break
    _say_missing(missing - _said)
    return chosen


def _texts(chart: Chart) -> Iterable[str]:
    """Return all texts of a chart."""
    yield from (chart.title, chart.note)
    for axis in (chart.x, chart.y):
        yield from (axis.label, *axis.names)
    yield from (series.label for series in (*chart.series, *chart.strip))
    yield from (mark.label for mark in chart.marks)
    for shown in (chart.regions, chart.table):
        yield from () if shown is None else shown.names


def _say_missing(letters: set[str]) -> None:
    if not letters:
        return
    _said.update(letters)
    named = "".join(sorted(letters)[:MOST_NAMED_LETTERS])
    more = " …" if len(letters) > MOST_NAMED_LETTERS else ""
    print_to_stderr(
        f"linfit: no installed font has the letters {named}{more}: PNG pictures show boxes, "
        "SVG and the report have them as text; install a font such as Noto Sans CJK"
    )


@cache
def _list_fonts() -> list[tuple[str, str]]:
    """Return names and files of the installed fonts, those with many scripts first."""
    files: dict[str, str] = {}
    for font in font_manager.fontManager.ttflist:
        if not font.name.startswith(PLACEHOLDERS):
            files.setdefault(font.name, font.fname)

    def rank(name: str) -> int:
        beginnings = [name.startswith(beginning) for beginning in WIDE_FONTS]
        return beginnings.index(True) if any(beginnings) else len(WIDE_FONTS)

    return sorted(files.items(), key=lambda font: (rank(font[0]), font[0]))


@cache
def _letters(file: str) -> frozenset[str]:
    """Return the letters that a font file has, none if it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
