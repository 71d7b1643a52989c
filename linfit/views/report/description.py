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
from linfit.errors import count_things
from linfit.problem.types import Array
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.result import RecordedRun, RunResult
from linfit.tracking.schema import descriptions, mlflow_names, run_records, saved_views
from linfit.tracking.schema.config_record import select_swept_numbers
from linfit.tracking.schema.objective import INCOMPARABLE_HINT, describe_objective

if TYPE_CHECKING:  # pandas is for sweeps alone
    from linfit.views.analysis.comparison import Comparison

#: Rows of the leaderboard in a description; its files have all.
MOST_NOTED_ROWS = 10
MOST_NOTED_WEIGHTS = 4
MOST_DATA_NOTES = 5


@dataclass(frozen=True)
class Description:
    """A run's note, and its block in the note of its MLflow experiment, in Markdown."""

    run: str
    experiment: str


def describe_run(
    result: RunResult,
    recorded: RecordedRun,
    comparison: Comparison | None = None,
    files: Sequence[Path] = (),
) -> Description:
    """Return the description of a run to which `files` are attached."""
    found = summarize_outcome(result, comparison)
    outcome, *details = map(descriptions.keep_numbers_whole, found)
    typed = f"Again: {descriptions.format_code(result.typed)}" if result.typed else ""
    question = [f"**{descriptions.escape_markdown(result.question)}**"] if result.question else []
    below = [*describe_data(result), *details, *link_pictures(recorded, files)]
    note = descriptions.join_paragraphs([*question, outcome, typed, *below])

    head = question or [f"**{descriptions.escape_markdown(recorded.row.name)}**"]
    run = descriptions.link_run("its run", recorded.recorder.experiment_id, recorded.run_id)
    block = [*head, outcome, f"{typed} ({run})".strip()]
    return Description(note, descriptions.join_paragraphs(block, descriptions.MAX_EXPERIMENT_NOTE))


def describe_data(result: RunResult) -> list[str]:
    """Return a paragraph with the notes on the data, none without notes."""
    kept = list(result.notes)
    if not kept:
        return []
    lines = [f"- {descriptions.escape_markdown(note)}" for note in kept[:MOST_DATA_NOTES]]
    if len(kept) > MOST_DATA_NOTES:
        lines.append(f"- and {len(kept) - MOST_DATA_NOTES} more")
    return ["\n".join(["Of the data:", "", *lines])]


def summarize_outcome(result: RunResult, comparison: Comparison | None) -> list[str]:
    """Return the paragraphs of the outcome.

    A sentence, then the leaderboard if there is one.
    """
    if comparison is not None:
        return _describe_leaderboard(result.completed, comparison)
    if result.sweep_id is not None and result.recorded is not None:
        return [
            " ".join(
                (
                    count_outcomes(result.completed),
                    describe_best(result.completed, result.recorded),
                )
            ).strip()
        ]
    assert result.fit is not None
    return [describe_end(result.fit)]


def _describe_leaderboard(done: Sequence[CompletedFit], comparison: Comparison) -> list[str]:
    from linfit.views.report.leaderboard import format_markdown_note, format_markdown_rows

    sentence = f"{descriptions.escape_markdown(comparison.summarize())} {count_outcomes(done)}"
    titles, rule, *rows = format_markdown_rows(comparison)
    table = [pad_cells(titles), rule, *map(pad_cells, rows[:MOST_NOTED_ROWS])]
    return [sentence, "\n".join(table), format_markdown_note(comparison)]


def tag_best_method(comparison: Comparison | None) -> dict[str, str]:
    """Return the tag with the first of the leaderboard, on each problem; empty without one."""
    if comparison is None:
        return {}
    firsts = [entry for entry in comparison.first_entries if entry.finished]
    names = [f"{first.problem}: {first.name}" if first.problem else first.name for first in firsts]
    return {mlflow_names.BEST_METHOD: "; ".join(names)} if names else {}


def pad_cells(row: str) -> str:
    """Pad the cells of a Markdown row.

    MLflow's UI leaves no room between them.
    """
    return row.replace(" | ", "&nbsp;&nbsp; | ")


def count_outcomes(done: Sequence[CompletedFit]) -> str:
    """Return how many fits ended with which status."""
    numbers = Counter(fit.status.value for fit in done)
    named = (f"{count} {status}" for status, count in numbers.most_common())
    return f"{count_things(len(done), 'fit')}: {', '.join(named)}."


def describe_best(done: Sequence[CompletedFit], recorded: RecordedRun) -> str:
    """Return the best of single fits with a link to its run, or why there is none.

    Other noise may put another fit first: what compares methods is named.
    """
    by = mlflow_names.read_ranking_loss(recorded.row.tags)
    first = min(done, key=lambda fit: fit.loss_by(by))
    if first.loss_by(by) == float("inf"):
        return ""
    if by is None:
        return f"{INCOMPARABLE_HINT}. No model is logged."

    name = descriptions.format_code(first.name)
    if first.run_id:
        name = descriptions.link_run(name, recorded.recorder.experiment_id, first.run_id)
    lowest = f"Of single fits {name} has the lowest {describe_objective(by)}"
    compare = descriptions.format_code(f"linfit report {recorded.run_id[:12]}")
    return f"{lowest}, {_short(first.loss_by(by))}; {compare} compares the methods."


def describe_end(fit: Fit) -> str:
    """Return how a fit ended, and the exact optimum."""
    if fit.status is Status.FAILED or fit.optimum is None:
        return f"It failed: {descriptions.format_code((fit.error or '').strip().splitlines()[-1])}."

    if not fit.optimum.is_known:
        return (
            f"{_describe_how(fit)}.{_describe_measures(fit)} No optimum was computed: theory=none."
        )
    outcome = (
        f"{_describe_how(fit)}, "
        f"{_short(fit.excess_losses[-1])} above the least possible.{_describe_measures(fit)}"
    )
    if not fit.optimum.attained:
        return f"{outcome} There is no optimum: no weights attain the least possible."
    if fit.weights.size > MOST_NOTED_WEIGHTS:
        distance = _short(fit.distance_to_optimum)
        return f"{outcome} The weights are {distance} from the exact optimum."
    names = name_weights(fit)
    exact = _list_weights(names, fit.optimum.weights)
    return f"{outcome} Weights {_list_weights(names, fit.weights)}; the exact optimum is {exact}."


def _describe_how(fit: Fit) -> str:
    """Return how a fit that did not fail ended."""
    how = "Diverged" if fit.status is Status.DIVERGED else fit.status.value.capitalize()
    return f"{how} after {fit.steps[-1]} updates with loss {_short(fit.losses[-1])}"


def _describe_measures(fit: Fit) -> str:
    """Return a sentence on the measures of a fit, empty without any."""
    parts = [_list_measures(fit.measures)]
    if fit.held_out_measures:
        parts.append(f"of samples held out {_list_measures(fit.held_out_measures)}")
    return f" Measures: {'; '.join(parts)}." if fit.measures else ""


def _list_measures(measures: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in measures.items())


def name_weights(fit: Fit) -> list[str]:
    """Return the feature of each weight, with its target where there are several."""
    assert fit.problem is not None
    features = fit.problem.features
    targets = fit.problem.targets
    if len(targets) == 1:
        return list(features)
    return [f"{feature} for {target}" for feature in features for target in targets]


def _short(number: float) -> str:
    return f"{number:.7g}"


def _list_weights(names: Sequence[str], weights: Array) -> str:
    listed = zip(names, weights.ravel(), strict=True)
    return ", ".join(
        f"{descriptions.escape_markdown(name)} = {weight:.6g}" for name, weight in listed
    )


def link_pictures(recorded: RecordedRun, files: Sequence[Path]) -> list[str]:
    """Return a link to the report and the pictures, as far as they are attached to the run."""
    experiment_id = recorded.recorder.experiment_id
    run_id = recorded.run_id
    shown = []
    if any(file.name == mlflow_names.REPORT for file in files):
        text = "The report, with every run and interactive charts"
        shown.append(descriptions.link_run(text, experiment_id, run_id, mlflow_names.REPORT))
    drawn = (file for file in files if file.parent.name == mlflow_names.PICTURES)
    names = [file.name for file in drawn if file.suffix == ".png"]
    return shown + [
        descriptions.embed_picture(run_id, f"{mlflow_names.PICTURES}/{name}") for name in names
    ]


def compose_experiment_tags(
    recorded: RecordedRun, block: str, tags: Mapping[str, str]
) -> dict[str, str]:
    """Return the tags to set of the MLflow experiment.

    Its description, views and kind.

    `tags` are those that it has.
    """
    varying, numeric = list_varied_keys(recorded)
    sweep_id = recorded.run_id if varying else ""
    made = saved_views.build_views(recorded.row.end, varying, numeric, sweep_id)
    kind = {key: value for key, value in saved_views.EXPERIMENT_KIND.items() if key not in tags}
    note = descriptions.replace_note_block(tags.get(descriptions.NOTE_TAG, ""), block)
    return {
        **kind,
        descriptions.NOTE_TAG: note,
        **saved_views.select_new_views(made, tags, keep=not varying),
    }


def list_varied_keys(recorded: RecordedRun) -> tuple[list[str], list[str]]:
    """Return the keys that a sweep varies, and those that are numbers in its first fit."""
    varying = run_records.read_varying(recorded.row)
    return varying, list(select_swept_numbers(recorded.config, varying))
