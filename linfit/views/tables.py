"""Fits and runs as text: what `linfit run` prints at the end, and what `linfit show` prints later."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from linfit.engine.fit import Fit, Status
from linfit.errors import printable
from linfit.sweeps.recording import Done
from linfit.tracking import layout
from linfit.views.markup import escape

if TYPE_CHECKING:  # reading imports MLflow, which a fit that is not tracked does without
    from linfit.tracking.reading import Record

MOST_RUNS = 100
MOST_WEIGHTS = 8
MOST_STEPS = 12
#: Blanks between two columns of a table.
GAP = 2
ABSENT = "–"


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

    @staticmethod
    def of_done(done: Done) -> Line:
        row = done.result
        status, at = row["status"], row.get("diverged_at_step")
        weights = numbers(list(np.array(row.get("weights", ()), row["dtype"])))
        ended = status if at is None else f"{status} at {at}"
        return Line(done.name, ended, row.get("loss"), row.get("excess_loss"), row.get("distance_to_optimum"), weights, done.run_id)

    @staticmethod
    def of_record(record: Record) -> Line:
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
        )

    @property
    def rank(self) -> tuple[bool, float]:
        """Finished fits first, by excess loss, which compares across datasets and seeds; a diverged one never wins."""
        finished = self.status in (Status.COMPLETED, Status.CONVERGED)
        return (not finished, self.excess if self.excess is not None and math.isfinite(self.excess) else math.inf)


class Plain(Console):
    """A console whose reader may stop reading."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich itself would exit with 1, which means that a fit failed


def console(file: IO[str] | None = None) -> Console:
    """As wide as its content where nobody looks at a terminal, so that nothing is cut."""
    plain = Plain(file=file, highlight=False)
    return plain if plain.is_terminal else Plain(file=file, width=10_000, highlight=False)


def leaderboard(lines: Sequence[Line], all_rows: bool = False) -> Table:
    """The fits, best first; at most 100 unless all are asked for."""
    ranked = sorted(lines, key=lambda line: line.rank)
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
    return fitted(columns, ("loss", "excess loss", "distance"), ("weights", "run id", "distance", "loss"), more)


def fitted(columns: Mapping[str, Sequence[str]], numeric: Collection[str], expendable: Sequence[str], caption: str = "") -> Table:
    """A table in which nothing is cut: what has no room in the terminal is left out, in the order of `expendable`, and named."""
    room = console().width
    widths = {title: GAP + max(map(cell_len, (title, *map(printable, texts)))) for title, texts in columns.items()}
    left_out: list[str] = []
    while sum(widths.values()) - GAP > room and (title := next((one for one in expendable if one in widths), None)):
        left_out.append(title)
        del widths[title]
    said = f"no room for {', '.join(left_out)}: a wider terminal or --json shows all" if left_out else ""
    table = Table(box=None, pad_edge=False, header_style="bold", caption="; ".join(filter(None, (caption, said))) or None)
    for title in widths:
        table.add_column(title, justify="right" if title in numeric else "left", overflow="fold")
    for row in zip(*(columns[title] for title in widths), strict=True):
        table.add_row(*map(escape, row))
    return table


def curve(points: Sequence[tuple[int, float, float | None]], every: int | None) -> Table:
    """(step, loss, excess loss) at the steps that `record.every` asks for, or at a dozen of those recorded."""
    shown = [point for point in points if every and point[0] % every == 0] or _thinned(points)
    if shown[-1] != points[-1]:
        shown.append(points[-1])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("step", "loss", "excess loss"):
        table.add_column(title, justify="right")
    for step, loss, excess in shown:
        table.add_row(str(step), number(loss), number(excess))
    return table


def _thinned(points: Sequence[Any]) -> list[Any]:
    stride = max(1, math.ceil(len(points) / MOST_STEPS))
    return list(points[::stride])


def points_of(fit: Fit) -> list[tuple[int, float, float | None]]:
    return list(zip(fit.steps.tolist(), fit.losses.tolist(), fit.excess_losses.tolist(), strict=True))


def number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.7g}"


def final_weights(record: Record) -> list[Any]:
    """The final weights of a run, as numbers of the dtype they were computed in, so that they print as they were."""
    dtype = record.params.get("dtype")
    with np.errstate(over="ignore"):  # of what no fit has written
        return list(np.array(record.weights, dtype if dtype in ("float32", "float64") else "float64"))


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
    "digits": "digits to expect",
    "largest_stable_lr": "largest stable lr",
    "optimal_lr": "optimal lr",
    "rate": "contraction per step",
    "steps_to_tolerance": "steps to tolerance",
    "noise_floor": "noise floor",
}


def in_words(theory: Mapping[str, float]) -> str:
    """What theory says of a fit, on one line."""
    return ", ".join(f"{words} {theory[key]:.5g}" for key, words in THEORY.items() if key in theory)
