"""What a run, and the MLflow experiment it stands in, say of themselves in MLflow's UI: what was asked, what came out, how to run it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from linfit.engine.fit import Fit, Status
from linfit.sweeps.recording import Done
from linfit.sweeps.run_result import Recorded, RunResult
from linfit.tracking import layout, notes, saved_views
from linfit.tracking.accounts import swept_numbers
from linfit.tracking.objective import INCOMPARABLE
from linfit.views.tables import number

#: Rows of the leaderboard in a description; its files have all.
MOST_ROWS = 10
MOST_WEIGHTS = 4
MOST_NOTES = 5


def describe(result: RunResult, files: Sequence[Path] = ()) -> None:
    """Describes what was run, and its MLflow experiment, with `files` that were attached to the run; LinfitError if the store fails."""
    recorded = result.recorded
    if recorded is None or not recorded.run_id:
        return
    said = answer(result, files)
    typed = f"Again: {notes.code(result.typed)}" if result.typed else ""
    question = [f"**{notes.literal(result.question)}**"] if result.question else []
    note = notes.paragraphs(
        [*question, said[0], typed, *remarks(result), *said[1:], *pictures(recorded, files)]
    )
    recorder = recorded.recorder
    recorder.tag(recorded.run_id, {notes.NOTE: note})
    head = question or [f"**{notes.literal(recorded.row.name)}**"]
    run = notes.link("its run", recorder.experiment_id, recorded.run_id)
    block = notes.paragraphs(
        [*head, said[0], f"{typed} ({run})".strip()], notes.MAX_EXPERIMENT_NOTE
    )
    recorder.present(presentation(recorded, result.done, block, recorder.presentation()))


def remarks(result: RunResult) -> list[str]:
    """What is to be known of the data, in a paragraph; none where there is nothing."""
    lines = [f"- {notes.literal(note)}" for note in result.notes[:MOST_NOTES]]
    more = len(result.notes) - MOST_NOTES
    return (
        ["\n".join(["Of the data:", "", *lines, *([f"- and {more} more"] if more > 0 else [])])]
        if lines
        else []
    )


def answer(result: RunResult, files: Sequence[Path]) -> list[str]:
    """What came out, in a sentence first."""
    board = next((file for file in files if file.name == f"{layout.LEADERBOARD}.md"), None)
    if board is not None:
        sentence, table, *rest = board.read_text(encoding="utf-8").strip().split("\n\n")
        rows = [apart(row) for row in table.splitlines()[: 2 + MOST_ROWS]]
        return [f"{sentence} {counts(result.done)}", "\n".join(rows), *rest]
    if result.sweep_id is not None and result.recorded is not None:
        return [f"{counts(result.done)} {best(result.done, result.recorded)}".strip()]
    return [ended(result.fit)] if result.fit is not None else []


def apart(row: str) -> str:
    """A row of a table whose cells do not touch: MLflow's UI leaves no room between them."""
    return row if "---" in row else row.replace(" | ", "&nbsp;&nbsp; | ")


def counts(done: Sequence[Done]) -> str:
    """How many fits ended how."""
    numbers = Counter(one.status.value for one in done)
    return f"{len(done)} fits: {', '.join(f'{count} {status}' for status, count in numbers.most_common())}."


def best(done: Sequence[Done], recorded: Recorded) -> str:
    """The best fit, with a link to its run; why there is none where fits cannot be compared."""
    by = layout.compared_by(recorded.row.tags)
    first = min(done, key=lambda one: one.value(by))
    if first.value(by) == float("inf"):
        return ""
    if by is None:
        return f"{INCOMPARABLE}. No model is logged."
    name = notes.code(first.name)
    linked = (
        notes.link(name, recorded.recorder.experiment_id, first.run_id) if first.run_id else name
    )
    return f"The lowest {by.replace('_', ' ')}, {number(first.value(by))}, has {linked}."


def ended(fit: Fit) -> str:
    """How a fit ended, beside the exact answer."""
    if fit.status is Status.FAILED or fit.optimum is None:
        return f"It failed: {notes.code((fit.error or '').strip().splitlines()[-1])}."
    how = "Diverged" if fit.status is Status.DIVERGED else fit.status.value.capitalize()
    said = f"{how} after {fit.steps[-1]} updates with loss {number(fit.losses[-1])}, {number(fit.excess_losses[-1])} above the least possible."
    if fit.weights.size > MOST_WEIGHTS:
        return f"{said} The weights are {number(fit.distance_to_optimum)} from the exact optimum."
    found, exact = (
        ", ".join(f"{weight:.6g}" for weight in weights.ravel())
        for weights in (fit.weights, fit.optimum.weights)
    )
    return f"{said} Weights {found}; the exact optimum is {exact}."


def pictures(recorded: Recorded, files: Sequence[Path]) -> list[str]:
    """The report's address, and the pictures that were attached to the run."""
    report = [
        notes.link(
            "The report, with every run and interactive charts",
            recorded.recorder.experiment_id,
            recorded.run_id,
            file.name,
        )
        for file in files
        if file.name == layout.REPORT
    ]
    drawn = [
        file.name for file in files if file.parent.name == layout.PICTURES and file.suffix == ".png"
    ]
    return [
        *report,
        *(notes.picture(recorded.run_id, f"{layout.PICTURES}/{name}") for name in drawn),
    ]


def presentation(
    recorded: Recorded, done: Sequence[Done], block: str, tags: Mapping[str, str]
) -> dict[str, str]:
    """The tags of the MLflow experiment that are to be set: its description, its views, and what kind of experiment it is."""
    varying, numeric = swept(recorded)
    made = saved_views.views(recorded.row.end, varying, numeric)
    kind = {key: value for key, value in saved_views.EXPERIMENT_KIND.items() if key not in tags}
    note = notes.replaced(tags.get(notes.NOTE, ""), block)
    return {**kind, notes.NOTE: note, **saved_views.news(made, tags, keep=not varying)}


def swept(recorded: Recorded) -> tuple[list[str], list[str]]:
    """The keys that a sweep varies, and those of them that are numbers in its first fit; none of a single run."""
    varying = run_records.varying(recorded.row)
    return varying, list(swept_numbers(recorded.config, varying))
