"""Draw charts with matplotlib, in one style: readable as a thumbnail, and without colours.

Figures are made through matplotlib's objects, never through pyplot, whose figures are global. The
same chart gives the same bytes.
"""

from __future__ import annotations

import linfit.views.charts.drawing.plain_matplotlib  # noqa: F401 - before all others

# isort: split
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from linfit.system.atomic_files import write_atomically
from linfit.views.charts.chart import Chart
from linfit.views.charts.drawing.fonts import FIRST_FONT, choose_fonts
from linfit.views.charts.drawing.looks import NOTE_COLOR
from linfit.views.charts.drawing.matplotlib_axes import add_frames, draw_strip, set_up_axis
from linfit.views.charts.drawing.matplotlib_classes import draw_regions, draw_table, name_table
from linfit.views.charts.drawing.matplotlib_series import draw_mark, draw_series
from linfit.views.charts.drawing.notebook_figure import NotebookFigure
from linfit.views.charts.surfaces import draw_surface
from linfit.views.charts.ticks import shorten_label

#: Inches.
FIGURE_SIZE = (7.2, 4.5)
DPI = 110
#: Letters of a line in the legend, in the title, also beside a legend, and in the note.
LABEL_WIDTH = 22
TITLE_WIDTH = 54
NARROW_TITLE_WIDTH = 36
NOTE_WIDTH = 98
CHART_STYLE: Any = {
    "font.family": FIRST_FONT,
    "font.size": 12.5,
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "legend.handlelength": 2.2,
    "lines.linewidth": 2.2,
    "lines.markersize": 6.5,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "linfit",
    "svg.fonttype": "none",  # text, which can be searched, in any script
    "path.simplify": True,
}
#: Inches of a line of the legend, and of the gap between entries.
LEGEND_LINE = 0.19
LEGEND_GAP = 0.11
#: Inches that the legend has; a longer one is written smaller.
LEGEND_HEIGHT = 3.9
#: The smallest letters of a legend, in points.
SMALLEST_LETTERS = 7.0


def save_chart(chart: Chart, folder: Path) -> list[Path]:
    """Write a chart as PNG and SVG, named after it, and return the files."""
    with use_chart_style():
        figure = draw_chart(chart)
        figure.dpi = DPI
        layout = figure.get_layout_engine()
        assert layout is not None
        layout.execute(figure)
        # The layout is done: savefig would repeat it for each file.
        figure.set_layout_engine("none")
        files = [folder / f"{chart.name}.png", folder / f"{chart.name}.svg"]
        agg: Any = FigureCanvasAgg(figure)
        svg: Any = FigureCanvasSVG(figure)
        with write_atomically(files[0]) as png_file, write_atomically(files[1]) as svg_file:
            agg.print_png(png_file, metadata={"Software": None})
            svg.print_svg(svg_file, metadata={"Date": None, "Creator": None})
    return files


@contextmanager
def use_chart_style() -> Iterator[None]:
    """Have linfit's settings of matplotlib, and afterwards the user's again."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(CHART_STYLE)
        # `choose_fonts` has said so.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def draw_chart(chart: Chart) -> Figure:
    """Return the chart as a figure with an Agg canvas."""
    matplotlib.rcParams["font.family"] = choose_fonts(chart)
    tight = ConstrainedLayoutEngine(h_pad=0.03, hspace=0)
    figure = NotebookFigure(figsize=FIGURE_SIZE, layout=tight if chart.strip else "constrained")
    FigureCanvasAgg(figure)
    axes, strip = add_frames(figure, chart)
    if chart.surface is not None:
        draw_surface(figure, axes, chart.surface)
    if chart.regions is not None:
        draw_regions(axes, chart.regions)
    if chart.table is not None:
        draw_table(axes, chart.table)

    alpha = 0.2 if len(chart.series) < 4 else 0.1
    for number, series in enumerate(chart.series):
        draw_series(
            axes,
            series,
            number if series.style is None else series.style,
            alpha,
        )
    for mark in chart.marks:
        draw_mark(axes, mark)
    if strip is not None:
        draw_strip(strip, chart)

    if chart.table is None:
        set_up_axis(axes, chart.x, "x")
        set_up_axis(axes, chart.y, "y")
    else:
        name_table(axes, chart)
    if chart.note:
        note = "\n".join(wrap(chart.note, NOTE_WIDTH))
        figure.supxlabel(
            note,
            fontsize=9.5,
            color=NOTE_COLOR,
            x=0.01,
            ha="left",
        )
    beside = _legend(figure, axes, chart)
    letters = NARROW_TITLE_WIDTH if beside else TITLE_WIDTH
    (strip or axes).set_title("\n".join(wrap(chart.title, letters)), pad=10)
    return figure


def _legend(figure: Figure, axes: Axes, chart: Chart) -> bool:
    """Draw the legend where it covers nothing, if it tells something apart.

    It is above the axes where rows have names. Otherwise it is beside them, and takes up to a third
    of the width: True.
    """
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) < 2 and not any(mark.y is None for mark in chart.marks):
        return False
    if chart.y.names:
        figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=9.5)
        return False

    texts = [shorten_label(label, LABEL_WIDTH, 3) for label in labels]
    inches = sum(LEGEND_LINE * (1 + text.count("\n")) + LEGEND_GAP for text in texts)
    size = CHART_STYLE["legend.fontsize"] * min(1, LEGEND_HEIGHT / inches)
    figure.legend(
        handles,
        texts,
        loc="outside right upper",
        labelspacing=0.7,
        fontsize=max(size, SMALLEST_LETTERS),
    )
    return True
