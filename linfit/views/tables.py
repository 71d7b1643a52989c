"""Fits and runs as text: what `linfit run` prints at the end, and what `linfit show` prints later."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from linfit.engine.fit import Fit, Status
from linfit.errors import printable
from linfit.output import encodable
from linfit.sweeps.recording import Done
from linfit.tracking import layout
from linfit.views.markup import escape

if TYPE_CHECKING:  # reading imports MLflow, which a fit that is not tracked does without
    from linfit.tracking.reading import Record

MOST_RUNS = 100
MOST_WEIGHTS = 8
MOST_STEPS = 12
#: Blanks between two columns of a table, columns into which text may be folded, and the narrowest terminal for which there is a layout.
GAP, FOLDED, LEAST_WIDTH = 2, 8, 12
#: Characters of a float64 with all its digits.
LONGEST_NUMBER = 24
#: Columns without room that are named; of more their number is said.
MOST_NAMED = 6
ABSENT = "–"
#: What stands for an empty text, as that of an environment variable.
UNSET = "unset"


@dataclass(frozen=True)
class Line:
    """One fit of a table; None where it has no such number."""

    name: str
    status: str
    loss: float | None
    excess: float | None
    distance: float | None
    weights: str
    run_id: str = ""
    compared: float = 0.0
    """The number by which it is ranked; infinity unless the fit finished."""

    @staticmethod
    def of_done(done: Done, by: str | None = layout.EXCESS) -> Line:
        """Return the line of a fit that is ranked by a recorded loss; by None where it is not ranked."""
        row = done.result
        status, at = row["status"], row.get("diverged_at_step")
        weights = numbers(list(np.array(row.get("weights", ()), row["dtype"])))
        ended = status if at is None else f"{status} at {at}"
        losses = row.get("loss"), row.get("excess_loss"), row.get("distance_to_optimum")
        return Line(
            done.name, ended, *losses, weights, done.run_id, _rank(by, status, done.value(by))
        )

    @staticmethod
    def of_record(record: Record, by: str | None = layout.EXCESS) -> Line:
        """Return the line of a run that is ranked by a recorded loss; by None where it is not ranked."""
        metrics = record.metrics
        status = record.tags.get(layout.STATUS, record.status.lower())
        at = metrics.get("diverged_at_step")
        return Line(
            record.name,
            status if at is None else f"{status} at {at:.0f}",
            metrics.get(layout.LOSS),
            metrics.get(layout.EXCESS),
            metrics.get("distance_to_optimum"),
            numbers(final_weights(record)),
            record.run_id,
            _rank(by, status, metrics.get(by or layout.EXCESS)),
        )


def _rank(by: str | None, status: str, value: float | None) -> float:
    """Return the number by which a fit is ranked: of several that finished and cannot be compared the same."""
    if (
        value is None
        or status not in (Status.COMPLETED, Status.CONVERGED)
        or not math.isfinite(value)
    ):
        return math.inf
    return 0.0 if by is None else value


class Plain(Console):
    """A console that measures text as its stream's encoding shows it."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(encodable(text, self.encoding), **options)


def console(file: IO[str] | None = None) -> Console:
    """As wide as its content where nobody looks at a terminal, so that nothing is cut."""
    plain = Plain(file=file, highlight=False, emoji=False)
    if not plain.is_terminal:
        plain.width = 10_000
    elif (
        plain.is_dumb_terminal or not plain.width
    ):  # rich takes COLUMNS=0 as it is, and any dumb terminal for one of 80 columns
        plain.size = ConsoleDimensions(*get_terminal_size())
    plain.width = max(plain.width, LEAST_WIDTH)
    return plain


def leaderboard(lines: Sequence[Line], all_rows: bool = False) -> Table:
    """The fits, best first; at most 100 unless all are asked for."""
    ranked = sorted(lines, key=lambda line: line.compared)
    shown = ranked if all_rows else ranked[:MOST_RUNS]
    columns = {
        "run": [line.name for line in shown],
        "status": [line.status for line in shown],
        "loss": [number(line.loss) for line in shown],
        "excess loss": [number(line.excess) for line in shown],
        "distance": [number(line.distance) for line in shown],
        "weights": [line.weights for line in shown],
    }
    if any(line.run_id for line in lines):
        columns["run id"] = [line.run_id[:12] for line in shown]
    more = f"the best {MOST_RUNS} of {len(ranked)}" if len(shown) < len(ranked) else ""
    return fitted(
        columns,
        ("loss", "excess loss", "distance"),
        ("weights", "run id", "distance", "loss"),
        more,
        kept="excess loss",
    )


def fitted(
    columns: Mapping[str, Sequence[str]],
    numeric: Collection[str],
    expendable: Sequence[str] = (),
    caption: str = "",
    kept: str = "",
) -> Table:
    """A table in which nothing is cut: what has no room in the terminal is left out, in the order of `expendable`, and named.

    Text is folded where that is not enough, and then columns are left out from the last one on,
    `kept` after all others but the first; a number is never folded.
    """
    room, encoding = console().width, console().encoding
    texts = {
        title: [encodable(printable(cell), encoding) for cell in (title, *cells)]
        for title, cells in columns.items()
    }
    widths = {title: max(map(cell_len, cells)) for title, cells in texts.items()}
    narrow = {
        title: width if title in numeric else min(width, _least_width(texts[title]))
        for title, width in widths.items()
    }
    shown = _drop(widths, [title for title in expendable if title in widths], room)
    shown = _drop(
        {title: narrow[title] for title in shown},
        sorted(list(shown)[:0:-1], key=lambda title: title == kept),
        room,
    )
    shown = _fold({title: widths[title] for title in shown}, narrow, room)
    left_out = [
        title
        for title in dict.fromkeys((*expendable, *columns))
        if title in widths.keys() - shown.keys()
    ]
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        caption="; ".join(filter(None, (caption, _missing(left_out)))) or None,
    )
    for title, width in shown.items():
        is_number = title in numeric
        table.add_column(
            escape(title),
            justify="right" if is_number else "left",
            overflow="fold",
            no_wrap=is_number,
            width=width,
        )
    for row in zip(*(columns[title] for title in shown), strict=True):
        table.add_row(*map(escape, row))
    return table


def _least_width(texts: Sequence[str]) -> int:
    """Return the width to which text may be folded so that no number in it is."""
    words = (len(word) for text in texts for word in text.split() if re.search(r"\d", word))
    return max(FOLDED, min(LONGEST_NUMBER, max(words, default=0)))


def _drop(widths: Mapping[str, int], expendable: Sequence[str], room: int) -> dict[str, int]:
    """Return the columns that are left when others were dropped, in the order of `expendable`, until all have room."""
    left = dict(widths)
    for title in expendable:
        if _total(left) <= room:
            break
        del left[title]
    return left


def _fold(widths: dict[str, int], narrow: Mapping[str, int], room: int) -> dict[str, int]:
    """Return widths that have room: what is widest is folded first, and nothing beyond its `narrow` width."""
    left = dict(widths)
    while _total(left) > room:
        foldable = [title for title in left if left[title] > narrow[title]]
        if not foldable:
            break
        left[max(foldable, key=lambda title: left[title])] -= 1
    return left


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _missing(titles: Sequence[str]) -> str:
    """Return a remark on the columns that have no room."""
    if not titles:
        return ""
    named = ", ".join(titles) if len(titles) <= MOST_NAMED else f"{len(titles)} columns"
    return f"no room for {named}: a wider terminal or --json shows all"


def curve(points: Sequence[tuple[int, float, float | None]], every: int | None) -> Table:
    """(step, loss, excess loss) at the steps that `record.every` asks for, or at a dozen of those recorded."""
    shown = [point for point in points if every and point[0] % every == 0] or _thinned(points)
    if shown[-1] != points[-1]:
        shown.append(points[-1])
    titles = ("step", "loss", "excess loss")
    rows = [(str(step), number(loss), number(excess)) for step, loss, excess in shown]
    return fitted(dict(zip(titles, zip(*rows, strict=True), strict=True)), titles)


def _thinned(points: Sequence[Any]) -> list[Any]:
    stride = max(1, math.ceil(len(points) / MOST_STEPS))
    return list(points[::stride])


def points_of(fit: Fit) -> list[tuple[int, float, float | None]]:
    return list(
        zip(fit.steps.tolist(), fit.losses.tolist(), fit.excess_losses.tolist(), strict=True)
    )


def number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.7g}"


def final_weights(record: Record) -> list[Any]:
    """The final weights of a run, as numbers of the dtype they were computed in, so that they print as they were."""
    dtype = record.params.get("dtype")
    with np.errstate(over="ignore"):  # of what no fit has written
        return list(
            np.array(record.weights, dtype if dtype in ("float32", "float64") else "float64")
        )


def numbers(values: Sequence[Any]) -> str:
    """Weights with all their digits: the shortest text that reads back as the same number of their dtype."""
    more = f" … {len(values) - MOST_WEIGHTS} more" if len(values) > MOST_WEIGHTS else ""
    return " ".join(f"{value!s}" for value in values[:MOST_WEIGHTS]) + more


#: What theory says of a fit, in the order in which it is told.
THEORY = {
    "minimal_loss": "minimal loss",
    "largest_curvature": "largest eigenvalue",
    "smallest_curvature": "smallest eigenvalue",
    "condition": "condition number",
    "rank": "rank",
    "digits": "fewest digits to expect",
    "largest_stable_lr": "largest stable lr",
    "optimal_lr": "optimal lr",
    "rate": "contraction per step",
    "steps_to_tolerance": "steps to tolerance",
    "noise_floor": "noise floor",
}


def in_words(theory: Mapping[str, float]) -> str:
    """What theory says of a fit, on one line."""
    return ", ".join(f"{words} {theory[key]:.5g}" for key, words in THEORY.items() if key in theory)
