"""Descriptions in MLflow's UI, of a run and its experiment: question, outcome, how to run it again.

All are returned as Markdown or tags: linfit/publication.py records them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linfit.engine.fit import Fit, Status
from linfit.problem.types import Array
from linfit.sweeps.recording import Done
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.tracking import layout, notes, run_records, saved_views
from linfit.tracking.accounts import swept_numbers
from linfit.tracking.objective import INCOMPARABLE

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.views.comparison import Comparison

#: Rows of the leaderboard in a description; its files have all.
MOST_ROWS = 10
MOST_WEIGHTS = 4
MOST_NOTES = 5


@dataclass(frozen=True)
class Description:
    """A run's note, and its block in the note of its MLflow experiment, in Markdown."""

    run: str
    experiment: str


def describe(
    result: RunResult,
    recorded: Recorded,
    comparison: Comparison | None = None,
    files: Sequence[Path] = (),
) -> Description:
    """Return the description of a run to which `files` are attached."""
    outcome, *details = answer(result, comparison)
    typed = f"Again: {notes.code(result.typed)}" if result.typed else ""
    question = [f"**{notes.literal(result.question)}**"] if result.question else []
    below = [*remarks(result), *details, *pictures(recorded, files)]
    note = notes.paragraphs([*question, outcome, typed, *below])

    head = question or [f"**{notes.literal(recorded.row.name)}**"]
    run = notes.link("its run", recorded.recorder.experiment_id, recorded.run_id)
    block = [*head, outcome, f"{typed} ({run})".strip()]
    return Description(note, notes.paragraphs(block, notes.MAX_EXPERIMENT_NOTE))


def remarks(result: RunResult) -> list[str]:
    """Return a paragraph with the notes on the data, none without notes."""
    kept = list(result.notes)
    if not kept:
        return []
    lines = [f"- {notes.literal(note)}" for note in kept[:MOST_NOTES]]
    if len(kept) > MOST_NOTES:
        lines.append(f"- and {len(kept) - MOST_NOTES} more")
    return ["\n".join(["Of the data:", "", *lines])]


def answer(result: RunResult, comparison: Comparison | None) -> list[str]:
    """Return the paragraphs of the outcome.

    A sentence, then the leaderboard if there is one.
    """
    if comparison is not None:
        return _describe_leaderboard(result.done, comparison)
    if result.sweep_id is not None and result.recorded is not None:
        return [f"{counts(result.done)} {best(result.done, result.recorded)}".strip()]
    assert result.fit is not None
    return [ended(result.fit)]


def _describe_leaderboard(done: Sequence[Done], comparison: Comparison) -> list[str]:
    from linfit.views.board import format_markdown_note, format_markdown_rows

    sentence = f"{notes.literal(comparison.sentence())} {counts(done)}"
    titles, rule, *rows = format_markdown_rows(comparison)
    table = [apart(titles), rule, *map(apart, rows[:MOST_ROWS])]
    return [sentence, "\n".join(table), format_markdown_note(comparison)]


def apart(row: str) -> str:
    """Pad the cells of a Markdown row.

    MLflow's UI leaves no room between them.
    """
    return row.replace(" | ", "&nbsp;&nbsp; | ")


def counts(done: Sequence[Done]) -> str:
    """Return how many fits ended with which status."""
    numbers = Counter(fit.status.value for fit in done)
    named = (f"{count} {status}" for status, count in numbers.most_common())
    return f"{len(done)} fits: {', '.join(named)}."


def best(done: Sequence[Done], recorded: Recorded) -> str:
    """Return the best fit with a link to its run, or why there is none."""
    by = layout.compared_by(recorded.row.tags)
    first = min(done, key=lambda fit: fit.value(by))
    if first.value(by) == float("inf"):
        return ""
    if by is None:
        return f"{INCOMPARABLE}. No model is logged."

    name = notes.code(first.name)
    if first.run_id:
        name = notes.link(name, recorded.recorder.experiment_id, first.run_id)
    return f"The lowest {by.replace('_', ' ')}, {_short(first.value(by))}, has {name}."


def ended(fit: Fit) -> str:
    """Return how a fit ended, and the exact optimum."""
    if fit.status is Status.FAILED or fit.optimum is None:
        return f"It failed: {notes.code((fit.error or '').strip().splitlines()[-1])}."

    how = "Diverged" if fit.status is Status.DIVERGED else fit.status.value.capitalize()
    outcome = (
        f"{how} after {fit.steps[-1]} updates with loss {_short(fit.losses[-1])}, "
        f"{_short(fit.excess_losses[-1])} above the least possible."
    )
    if fit.weights.size > MOST_WEIGHTS:
        distance = _short(fit.distance_to_optimum)
        return f"{outcome} The weights are {distance} from the exact optimum."
    exact = _list_weights(fit.optimum.weights)
    return f"{outcome} Weights {_list_weights(fit.weights)}; the exact optimum is {exact}."


def _short(number: float) -> str:
    return f"{number:.7g}"


def _list_weights(weights: Array) -> str:
    return ", ".join(f"{weight:.6g}" for weight in weights.ravel())


def pictures(recorded: Recorded, files: Sequence[Path]) -> list[str]:
    """Return a link to the report and the pictures, as far as they are attached to the run."""
    experiment_id, run_id = recorded.recorder.experiment_id, recorded.run_id
    shown = []
    if any(file.name == layout.REPORT for file in files):
        text = "The report, with every run and interactive charts"
        shown.append(notes.link(text, experiment_id, run_id, layout.REPORT))
    drawn = (file for file in files if file.parent.name == layout.PICTURES)
    names = [file.name for file in drawn if file.suffix == ".png"]
    return shown + [notes.picture(run_id, f"{layout.PICTURES}/{name}") for name in names]


def presentation(recorded: Recorded, block: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags to set of the MLflow experiment.

    Its description, views and kind.

    `tags` are those that it has.
    """
    varying, numeric = swept(recorded)
    made = saved_views.views(recorded.row.end, varying, numeric)
    kind = {key: value for key, value in saved_views.EXPERIMENT_KIND.items() if key not in tags}
    note = notes.replaced(tags.get(notes.NOTE, ""), block)
    return {
        **kind,
        notes.NOTE: note,
        **saved_views.news(made, tags, keep=not varying),
    }


def swept(recorded: Recorded) -> tuple[list[str], list[str]]:
    """Return the keys that a sweep varies, and those that are numbers in its first fit."""
    varying = run_records.varying(recorded.row)
    return varying, list(swept_numbers(recorded.config, varying))
