"""Fits and runs as text: for `linfit run` when it ends, and for `linfit show` later."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich import markup
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from linfit.engine.fit import Fit, Status
from linfit.errors import escape_unprintable
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.system.output import replace_for_encoding
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import describe_objective, orient_value

if TYPE_CHECKING:  # reading imports MLflow, which a fit that is not tracked does without
    from linfit.tracking.read.reader import StoredRun

MOST_LISTED_FITS = 100
MOST_PRINTED_WEIGHTS = 8
MOST_PRINTED_STEPS = 12
#: Blanks between two columns of a table.
COLUMN_GAP = 2
#: The width to which a column of text may be folded.
FOLDED_WIDTH = 8
#: The narrowest terminal for which there is a layout.
LEAST_TERMINAL_WIDTH = 12
#: Characters of a float64 with all its digits.
LONGEST_NUMBER = 24
#: The most columns without room that are named; more are counted.
MOST_NAMED_COLUMNS = 6
NO_VALUE = "–"
#: What stands before the status of a fit that is lost, and its colour: neither tells alone.
STATUS_MARKS = {"diverged": "!", "failed": "×"}
STATUS_COLOURS = {"!": "yellow", "×": "red"}
#: Printed for an empty text, such as that of an environment variable.
UNSET_VALUE = "unset"


@dataclass(frozen=True)
class FitLine:
    """One fit of a table.

    None where it has no such number.
    """

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
    def from_completed(done: CompletedFit, by: str | None = mlflow_names.EXCESS) -> FitLine:
        """Return the line of a fit ranked by a recorded loss.

        By None if it is not ranked.
        """
        row = done.result
        status = row["status"]
        step = row.get("diverged_at_step")
        return FitLine(
            done.name,
            status if step is None else f"{status} at {step}",
            row.get("loss"),
            row.get("excess_loss"),
            row.get("distance_to_optimum"),
            format_weights(list(np.array(row.get("weights", ()), row["dtype"]))),
            done.run_id,
            _rank(by, status, done.loss_by(by)),
        )

    @staticmethod
    def from_run(record: StoredRun, by: str | None = mlflow_names.EXCESS) -> FitLine:
        """Return the line of a run ranked by a recorded loss.

        By None if it is not ranked.
        """
        metrics = record.metrics
        status = record.tags.get(mlflow_names.STATUS, record.status.lower())
        step = metrics.get("diverged_at_step")
        return FitLine(
            record.name,
            status if step is None else f"{status} at {step:.0f}",
            metrics.get(mlflow_names.LOSS),
            metrics.get(mlflow_names.EXCESS),
            metrics.get("distance_to_optimum"),
            format_weights(read_final_weights(record)),
            record.run_id,
            _rank(by, status, _find_compared(metrics, by)),
        )


def _find_compared(metrics: Mapping[str, float], by: str | None) -> float | None:
    value = metrics.get(by or mlflow_names.EXCESS)
    return None if value is None else orient_value(by, value)


def _rank(by: str | None, status: str, value: float | None) -> float:
    """Return the number that ranks a fit, infinity unless it finished, 0 if nothing ranks it."""
    finished = status in (Status.COMPLETED, Status.CONVERGED)
    if value is None or not finished or not math.isfinite(value):
        return math.inf
    return 0.0 if by is None else value


def escape_markup(text: str) -> str:
    """Return text in which neither rich nor the terminal finds commands."""
    return markup.escape(escape_unprintable(text))


class PlainConsole(Console):
    """A console that measures text as its stream's encoding shows it."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(replace_for_encoding(text, self.encoding), **options)


def open_console(file: IO[str] | None = None) -> Console:
    """Return a console, so wide without a terminal that nothing is cut."""
    plain = PlainConsole(file=file, highlight=False, emoji=False)
    if not plain.is_terminal:
        plain.width = 10_000
    elif plain.is_dumb_terminal or not plain.width:
        # rich keeps COLUMNS=0, and takes any dumb terminal for one of 80 columns.
        plain.size = ConsoleDimensions(*get_terminal_size())
    plain.width = max(plain.width, LEAST_TERMINAL_WIDTH)
    return plain


def format_fits(
    lines: Sequence[FitLine],
    most: int | None = MOST_LISTED_FITS,
    rest: str = "--all",
    by: str | None = None,
) -> Table:
    """Return a table of the fits, best first.

    At most 100 unless another number or all are asked for. `rest` is what shows the others, `by`
    the recorded loss that ranks them.
    """
    ranked = sorted(lines, key=lambda line: line.compared)
    shown = ranked[:most]
    compared = {}
    if by not in (None, mlflow_names.LOSS, mlflow_names.EXCESS):
        compared[describe_objective(by)] = [format_compared(line, by) for line in shown]
    columns = {
        "run": [line.name for line in shown],
        "status": [status_with_mark(line.status) for line in shown],
        **compared,
        "loss": [format_number(line.loss) for line in shown],
        "excess loss": [format_number(line.excess) for line in shown],
        "distance": [format_number(line.distance) for line in shown],
        "weights": [line.weights for line in shown],
    }
    if any(line.run_id for line in lines):
        columns["run id"] = [line.run_id[:12] for line in shown]
    caption = ""
    if len(shown) < len(ranked):
        caption = f"the best {most} of {len(ranked)}: {rest} prints all"
    numeric = (*compared, "loss", "excess loss", "distance")
    expendable = ("weights", "run id", "distance", "loss")
    return format_table(columns, numeric, expendable, caption, kept="excess loss")


def format_compared(line: FitLine, by: str | None) -> str:
    """Return the number that ranks a fit, a dash if it is lost."""
    return format_number(line.compared) if by and math.isfinite(line.compared) else NO_VALUE


def format_table(
    columns: Mapping[str, Sequence[str]],
    numeric: Collection[str],
    expendable: Sequence[str] = (),
    caption: str = "",
    kept: str = "",
) -> Table:
    """Return a table that fits into the terminal without a cell being cut.

    Columns without room are left out, in the order of `expendable`, and named. Where that is not
    enough, text is folded. Then columns are left out from the last one on, `kept` after all others
    but the first. A number is never folded.
    """
    room = open_console().width
    encoding = open_console().encoding
    texts = {}
    for title, cells in columns.items():
        texts[title] = [
            replace_for_encoding(escape_unprintable(cell), encoding) for cell in (title, *cells)
        ]
    widths = {title: max(map(cell_len, cells)) for title, cells in texts.items()}
    narrow = dict(widths)
    for title in widths.keys() - set(numeric):
        narrow[title] = min(widths[title], _least_width(texts[title]))

    shown = _drop(widths, [title for title in expendable if title in widths], room)
    last_first = sorted(list(shown)[:0:-1], key=lambda title: title == kept)
    shown = _drop({title: narrow[title] for title in shown}, last_first, room)
    shown = _fold({title: widths[title] for title in shown}, narrow, room)

    left_out = widths.keys() - shown.keys()
    named = [title for title in dict.fromkeys((*expendable, *columns)) if title in left_out]
    remarks = "; ".join(filter(None, (caption, _missing(named))))
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        caption=remarks or None,
    )
    for title, width in shown.items():
        is_number = title in numeric
        justify: Any = "right" if is_number else "left"
        table.add_column(
            escape_markup(title),
            justify=justify,
            overflow="fold",
            no_wrap=is_number,
            width=width,
        )
    for row in zip(*(columns[title] for title in shown), strict=True):
        cells = [_mark_cell(title, cell) for title, cell in zip(shown, row, strict=True)]
        table.add_row(*cells)
    return table


def _mark_cell(title: str, cell: str) -> str:
    """Return a cell as markup, a status that is a loss with its colour."""
    text = escape_markup(cell)
    colour = STATUS_COLOURS.get(cell.split(" ")[0])
    return f"[{colour}]{text}[/]" if title == "status" and colour else text


def mark_status(status: str) -> str:
    """Return a status as markup: with a mark and a colour if the fit is lost."""
    text = status_with_mark(status)
    colour = STATUS_COLOURS.get(text.split(" ")[0])
    return f"[{colour}]{text}[/]" if colour else text


def status_with_mark(status: str) -> str:
    """Return a status with a mark before it if the fit is lost."""
    mark = STATUS_MARKS.get(status.split(" ")[0])
    return f"{mark} {status}" if mark else status


def _least_width(texts: Sequence[str]) -> int:
    """Return the width to which text may be folded so that no word in it is, unless it is long."""
    words = (len(word) for text in texts for word in text.split())
    return max(FOLDED_WIDTH, min(LONGEST_NUMBER, max(words, default=0)))


def _drop(widths: Mapping[str, int], expendable: Sequence[str], room: int) -> dict[str, int]:
    """Return the columns without those dropped, in the order of `expendable`, until all fit."""
    left = dict(widths)
    for title in expendable:
        if _total(left) <= room:
            break
        del left[title]
    return left


def _fold(widths: dict[str, int], narrow: Mapping[str, int], room: int) -> dict[str, int]:
    """Return widths that fit: the widest column is folded first, none beyond `narrow`."""
    left = dict(widths)
    while _total(left) > room:
        foldable = [title for title in left if left[title] > narrow[title]]
        if not foldable:
            break
        left[max(foldable, key=left.__getitem__)] -= 1
    return left


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + COLUMN_GAP * (len(widths) - 1)


def _missing(titles: Sequence[str]) -> str:
    """Return a remark on the columns without room."""
    if not titles:
        return ""
    named = ", ".join(titles) if len(titles) <= MOST_NAMED_COLUMNS else f"{len(titles)} columns"
    return f"no room for {named}: a wider terminal or --json shows all"


def format_curve(points: Sequence[tuple[int, float, float | None]], every: int | None) -> Table:
    """Return a table of (step, loss, excess loss) at multiples of `every`, or at a dozen steps."""
    shown = [point for point in points if every and point[0] % every == 0]
    if not shown:
        shown = list(points[:: math.ceil(len(points) / MOST_PRINTED_STEPS)])
    if shown[-1] != points[-1]:
        shown.append(points[-1])
    columns = {
        "step": [str(step) for step, _, _ in shown],
        "loss": [format_number(loss) for _, loss, _ in shown],
        "excess loss": [format_number(excess) for _, _, excess in shown],
    }
    return format_table(columns, list(columns))


def list_points(fit: Fit) -> list[tuple[int, float, float | None]]:
    """Return (step, loss, excess loss) at each recorded step."""
    excess = [None if math.isnan(value) else value for value in fit.excess_losses.tolist()]
    return list(zip(fit.steps.tolist(), fit.losses.tolist(), excess, strict=True))


def format_number(value: float | None) -> str:
    """Return a number with seven digits.

    A dash if there is none.
    """
    return NO_VALUE if value is None else f"{value:.7g}"


def read_final_weights(record: StoredRun) -> list[Any]:
    """Return the final weights of a run in the dtype of the fit, so that they print as they were.

    A dtype that no fit has is read as float64.
    """
    dtype = record.params.get("dtype")
    known = dtype if dtype in ("float32", "float64") else "float64"
    with np.errstate(over="ignore"):
        return list(np.array(record.weights, known))


def format_weights(values: Sequence[Any]) -> str:
    """Return weights with all digits that their dtype needs to be read back."""
    more = (
        f" … {len(values) - MOST_PRINTED_WEIGHTS} more"
        if len(values) > MOST_PRINTED_WEIGHTS
        else ""
    )
    return " ".join(f"{value!s}" for value in values[:MOST_PRINTED_WEIGHTS]) + more


#: The quantities of a fit's theory, in the order in which they are printed.
THEORY_LABELS = {
    "minimal_loss": "minimal loss",
    "largest_curvature": "largest eigenvalue",
    "smallest_curvature": "smallest eigenvalue",
    "condition": "condition number",
    "rank": "rank",
    "digits": "fewest digits to expect",
    "gap": "certified to",
    "largest_stable_lr": "largest stable lr",
    "optimal_lr": "optimal lr",
    "rate": "contraction per step",
    "steps_to_tolerance": "steps to tolerance",
    "noise_floor": "noise floor",
}


def describe_theory(theory: Mapping[str, float]) -> str:
    """Return the theory of a fit on one line."""
    return ", ".join(
        f"{words} {theory[key]:.5g}" for key, words in THEORY_LABELS.items() if key in theory
    )
