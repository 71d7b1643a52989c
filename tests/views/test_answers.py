"""What a sweep says it found, beside what an independent reader of its tables finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linfit.errors import LinfitError
from linfit.sweeps.run.result import RunResult
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.comparison import Comparison
from linfit.views.results import Results
from tests.views import answers

DESIGNS = list(answers.designs(seed=14, count=14))
Sweep = Callable[..., tuple[Results, Path, RunResult]]


def check(results: Results, folder: Path, arguments: list[str]) -> None:
    """Asserts that a sweep's answer is the oracle's."""
    fits = answers.read_fits(folder)
    objective = next(
        (one.partition("=")[2] for one in arguments if one.startswith("objective=")), "auto"
    )
    by = answers.compared_by(fits, objective)
    assert results.swept.compared_by == by
    check_best(results, answers.find_best(fits, by), by, any(fit.finished for fit in fits))
    places = answers.find_places(fits, by, objective)
    check_groups(results.comparison, fits, places)
    measure, across = answers.ranked_by(by, objective)
    check_leaderboard(results.comparison, places)
    check_sentence(results.comparison, places, by, measure, across)


def check_best(results: Results, best: answers.Fit | None, by: str | None, finished: bool) -> None:
    if best is not None:
        assert results.best["row"] == best.row
        return
    with pytest.raises(LinfitError) as raised:
        _ = results.best
    assert ("objective=loss" in str(raised.value)) == (by is None and finished)


def check_groups(
    comparison: Comparison, fits: list[answers.Fit], places: list[answers.Place]
) -> None:
    """The words part the fits exactly as their configs do."""
    runs = comparison.fits
    assert runs["row"].tolist() == [fit.row for fit in fits]
    words = list(zip(runs["problem"], runs["method"], runs["setting"], strict=True))
    for said, own in (
        (runs["problem"].tolist(), [fit.problem for fit in fits]),
        (words, [(fit.problem, fit.setting, fit.method) for fit in fits]),
        (
            [(*word, seed) for word, seed in zip(words, runs["seed"], strict=True)],
            [fit.row for fit in fits],
        ),
    ):
        assert len(set(zip(said, own, strict=True))) == len(set(said)) == len(set(own))
    assert runs["method"].nunique() == len({place.method for place in places})


def check_leaderboard(comparison: Comparison, places: list[answers.Place]) -> None:
    problems = comparison.fits["problem"].drop_duplicates().tolist()
    order = sorted({place.problem for place in places})
    named = [
        (one.problem, other.problem) for one, other in zip(comparison.entries, places, strict=True)
    ]
    assert len(set(named)) == len(order) == len(set(problems) & {one for one, _ in named})
    found = [(one.fits, one.finished) for one in comparison.entries]
    assert found == [(one.fits, one.finished) for one in places]
    for column in ("median", "steps"):
        own = [getattr(one, column) for one in comparison.entries]
        finite = [math.inf if math.isnan(value) else value for value in own]
        assert finite == pytest.approx([getattr(one, column) for one in places], rel=1e-9)


def check_sentence(
    comparison: Comparison,
    places: list[answers.Place],
    by: str | None,
    measure: str,
    across: bool,
) -> None:
    sentence = comparison.summarize()
    finished = [place for place in places if place.finished]
    if not finished and comparison.fits["log"].isna().all():
        assert sentence.startswith("No fit finished")
        return
    several = len({place.problem for place in places}) > 1
    assert ("cannot be compared" in sentence) == (by is None)
    if several and measure != "excess_loss":
        assert "came nearest" not in sentence
    if several and not across:
        assert "came nearest" not in sentence.partition(". ")[0]
    if several and by is not None and finished and not across:
        lowest = min(finished, key=lambda place: (1 - place.finished / place.fits, place.loss))
        name = comparison.entries[places.index(lowest)].problem
        assert sentence.startswith(name)
        assert f"lowest {by.replace('_', ' ')}: {lowest.loss:.3g}" in sentence
    if across and places[0].finished:
        first = comparison.entries[0]
        told = "came nearest to" if measure == "excess_loss" else f"has the lowest {measure_of(by)}"
        assert sentence.startswith(f"{first.name} {told}")
        assert f"{places[0].median:.3g}" in sentence
    if not several and by == "excess_loss" and places[0].finished:
        assert sentence.startswith(f"{comparison.entries[0].name} came nearest to the optimum")


def measure_of(by: str | None) -> str:
    return "training loss" if by == "loss" else str(by).replace("_", " ")


@pytest.mark.parametrize(
    ("arguments", "failing"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] if number % 2 else [])
        for number, case in enumerate(DESIGNS)
    ],
    ids=[" ".join(arguments) for arguments, _ in DESIGNS],
)
def test_a_sweep_answers_as_an_independent_reader_does(
    sweep: Sweep, arguments: list[str], failing: float
) -> None:
    results, folder, _ = sweep("tracking=none", *arguments, failing=failing)
    check(results, folder, arguments)


@pytest.mark.parametrize(
    ("arguments", "failing"),
    [
        (
            [
                "features=polynomial",
                "features.degree=1,2",
                "optimizer=sgd,adam",
                "seed=0,1,0",
                "tracking.runs=best:2",
            ],
            0.0,
        ),
        (["dataset.noise=0.1,1.0", "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=1"], 0.0),
        (["optimizer=sgd", "optimizer.lr=1e3,1e4"], 0.3),
        (["optimizer=fast,slow", "split.validation=0.2", "split.seed=0,1,2"], 0.3),
    ],
)
def test_mlflow_has_the_same_answer(
    sweep: Sweep, client: Any, arguments: list[str], failing: float
) -> None:
    results, folder, result = sweep(*arguments, failing=failing)
    check(results, folder, arguments)
    fits = answers.read_fits(folder)
    by = answers.compared_by(fits)
    best = answers.find_best(fits, by)
    parent = client.get_run(result.sweep_id)
    numbers = {key: value for key, value in parent.data.metrics.items() if key.startswith("best_")}
    assert numbers == (
        {}
        if best is None
        else {
            "best_loss": best.result["loss"],
            "best_objective": best.value(by),
            "best_excess_loss": best.result["excess_loss"],
        }
    )
    assert parent.data.tags[mlflow_names.COMPARED_BY] == (by or mlflow_names.NOT_COMPARABLE)
    assert bool(parent.outputs.model_outputs) == (best is not None)
    if best is not None and "tracking.runs=best:2" in arguments:
        recorded = [done.result for done in result.completed if done.run_id]
        values = sorted(done.result["objective"] for done in result.completed)
        assert sorted(result["objective"] for result in recorded) == values[:2]


def test_a_job_returns_its_objective(sweep: Sweep) -> None:
    results, _, result = sweep(
        "tracking=none", "optimizer=sgd", "optimizer.lr=0.001,1e9", "split.validation=0.0,0.3"
    )
    for row, (_, fit) in enumerate(zip(results.table.itertuples(), result.completed, strict=True)):
        assert fit.result["objective"] == results.table["objective"][row]
    diverged = results.table["status"] == "diverged"
    assert results.table["objective"][diverged].map(math.isinf).all()
    assert not results.table["objective"][~diverged].map(math.isinf).any()
