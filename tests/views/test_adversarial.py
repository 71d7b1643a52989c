"""Sweeps made to mislead: answer, leaderboard, captions and MLflow say the same, and the truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linfit.publication import compare_sweep, publish_artifacts, publish_description
from linfit.sweeps.run.result import RunResult
from linfit.tracking.schema import descriptions
from linfit.views.analysis.compare import compare_methods
from linfit.views.charts.chart import Chart
from linfit.views.charts.sweeps.sweep_charts import SWEEP_CHARTS
from linfit.views.results import Results
from tests.views import answers
from tests.views.test_answers import check

Sweep = Callable[..., tuple[Results, Path, RunResult]]
EQUAL = "{optimizer: 'sgd,manual_sgd', model: 'tensor,linear', gradient: 'manual,autograd'}"
OTHERS = "{optimizer: 'adam,rmsprop', model: 'tensor,linear', gradient: autograd}"
#: Of sweeps: the arguments, the share of fits that fail, and what the answer begins with.
SWEEPS: dict[str, tuple[tuple[str, ...], float, str]] = {
    "all diverged": (("optimizer=sgd", "optimizer.lr=1e3,1e4", "seed=0,1"), 0.0, "No fit finished"),
    "all failed": (("optimizer=sgd,adam", "seed=0,1"), 1.0, "No fit finished"),
    "one seed": (("optimizer=sgd,adam", "optimizer.lr=0.001,0.003"), 0.0, "sgd lr=0.003 came"),
    "ties at the floor": (
        ("optimizer=closed_form,conjugate_gradient", "seed=range(0,6)"),
        0.0,
        "closed_form came nearest to the optimum: median excess loss ≤ ",
    ),
    "many seeds of one setting": (("optimizer=sgd", "seed=range(0,60)"), 0.0, "sgd came nearest"),
    "features swept": (
        ("dataset=polynomial", "features=polynomial", "features.degree=1,2,5", "seed=0,1"),
        0.0,
        "degree=",
    ),
    "features swept, held out": (
        (
            "dataset=polynomial",
            "optimizer=closed_form",
            "features=polynomial",
            "features.degree=1,2,5",
            "split.validation=0.3",
            "seed=range(0,6)",
        ),
        0.0,
        "degree=1 has the lowest validation loss: median ",
    ),
    "random draws": (
        (
            "optimizer=adam",
            "optimizer.lr=tag(log,interval(1e-4,1e-1))",
            "hydra.sweeper.sample=20",
        ),
        0.0,
        "lr=",
    ),
    "ten methods, eight of them equal": (
        (f"hydra.sweeper.grids=[{EQUAL},{OTHERS}]", "seed=0,1", "optimizer.lr=0.002"),
        0.0,
        "",
    ),
    "some lost": (("optimizer=sgd,adam", "optimizer.lr=0.001,0.01", "seed=range(0,8)"), 0.4, ""),
    "other alphabets": (
        (
            "hydra.sweeper.pairs=[{keys:[optimizer,optimizer.lr],values:[[sgd,0.001],[adam,0.1]]}]",
            "name='Größe 実験 опыт'",
            "seed=0,1,2",
        ),
        0.0,
        "sgd lr=0.001 came nearest to the optimum: median excess loss ",
    ),
}


@pytest.fixture(params=list(SWEEPS.values()), ids=list(SWEEPS))
def case(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.pictures
def test_everything_says_the_same(sweep: Sweep, client: Any, case: Any) -> None:
    arguments, failing, begins = case
    results, folder, result = sweep(*arguments, failing=failing)
    check(results, folder, list(arguments))
    comparison = compare_methods(results.swept)
    answer = comparison.summarize()
    assert answer.startswith(begins)

    made = publish_artifacts(result, compare_sweep(result))
    publish_description(result, made)
    assert made.comparison is not None
    answer = made.comparison.summarize()  # with twins
    note = client.get_run(result.sweep_id).data.tags[descriptions.NOTE_TAG]
    note = note.replace(descriptions.NO_BREAK_HYPHEN, "-")
    assert descriptions.escape_markdown(answer) in note
    page = (folder / "report.html").read_text(encoding="utf-8")
    for number in re.findall(r"\d\.\d+e[-+]\d+", answer):
        assert number in page and number in note
    check_ranks(results, folder)


def check_ranks(results: Results, folder: Path) -> None:
    """Ranks are in the order of the medians that are computed from the tables alone."""
    fits = answers.read_fits(folder)
    frame = results.leaderboard
    counts = sorted(len({fit.row for fit in fits if fit.problem == one}) for one in _problems(fits))
    assert frame["fits"].sum() <= sum(counts)
    finished = frame[frame["finished"] > 0]
    column = next(name for name in ("excess", "validation_loss", "loss") if name in frame)
    for _, board in finished.groupby("problem" if column == "excess" else "horizon", dropna=False):
        lost = 1 - board["finished"] / board["fits"]
        order = list(zip(lost, board[column].where(~board["at_floor"], 0.0), strict=True))
        assert order == sorted(order)


def _problems(fits: list[answers.Fit]) -> set[str]:
    return {fit.problem for fit in fits}


def test_captions_count_what_is_drawn(sweep: Sweep, case: Any) -> None:
    arguments, failing, _ = case
    results, _, _ = sweep("tracking=none", *arguments, failing=failing)
    swept = results.swept.distinct
    for maker in SWEEP_CHARTS.values():
        chart = maker(swept, results.comparison)
        if not isinstance(chart, Chart):
            continue
        said = re.search(r"\b(?:the best )?(\d+) of (\d+)(?: methods)?\b", chart.note)
        if said and "fits" not in chart.note[said.end() : said.end() + 6]:
            drawn, number = map(int, said.groups())
            assert drawn < number
            labels = {label for line in chart.series for label in line.label.split(", ") if label}
            assert drawn <= max(len(labels), len(chart.series)) or drawn == len(labels)
        for status, count in swept.results["status"].value_counts().items():
            told = re.search(rf"(\d+) {status}", chart.note)
            assert told is None or int(told[1]) <= count
