"""What twins show, told with the leaderboard: the horizon, and gaps within rounding."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linfit.engine.rounding_twins import TwinComparison
from linfit.errors import LinfitError
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis import rounding
from linfit.views.analysis.compare import add_twins, compare_methods, select_for_twins
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.leaderboard import format_leaderboard, format_markdown_leaderboard
from linfit.views.report.page import render_page

Linfit = Callable[..., Any]


def test_of_each_of_the_first_entries_one_fit_is_twinned(usual: SweepData) -> None:
    comparison = compare_methods(usual)
    rows = select_for_twins(comparison, 6)
    named = usual.results.set_index("row")["name"]
    assert [named[row].split()[0] for row in rows] == [entry.method for entry in comparison.entries]
    assert all(named[row].endswith("seed=0") for row in rows)
    assert select_for_twins(comparison, 1) == rows[:1]


@pytest.mark.parametrize(
    ("spread", "alike"), [(0.0, False), (1e-6, False), (50.0, True), (float("inf"), True)]
)
def test_a_gap_smaller_than_between_twins_is_none(
    usual: SweepData, spread: float, alike: bool, tmp_path: Path
) -> None:
    comparison = compare_methods(usual)
    first, second = select_for_twins(comparison, 2)
    twins = {first: TwinComparison(None, 0.0, 0.0), second: TwinComparison(37, spread, 1e-30)}
    kept = rounding.read_twins(rounding.write_twins(twins, tmp_path / mlflow_names.TWINS))
    assert kept == twins
    told = add_twins(comparison, kept)
    assert [entry.rounding for entry in told.entries[:2]] == [False, alike]
    board = format_leaderboard(told)
    column = {title: [row[place] for row in board.rows] for place, title in enumerate(board.titles)}
    assert column["copies part"][:2] == ["never", "from step 37"]
    assert (column["told apart"][1] == "no: rounding") == alike
    assert ("a gap within rounding" in told.summarize()) == alike
    words = (
        "2 fits were run again with nothing changed but rounding: "
        "the losses of 1 come apart, the first at step 37"
    )
    page = render_page(usual, told, [])
    assert words in format_markdown_leaderboard(told) and words in page
    shown = page.split('<script type="application/json"')[0] + format_markdown_leaderboard(told)
    assert not re.search("twin|horizon", shown, re.IGNORECASE)
    files = {**usual.files, mlflow_names.TWINS: tmp_path / mlflow_names.TWINS}
    assert compare_methods(replace(usual, files=files)).entries[:2] == told.entries[:2]


def test_an_excess_loss_that_is_rounding_is_not_better_than_another() -> None:
    one, other = TwinComparison(None, 0.0, 1e-12), TwinComparison(None, 0.0, 1e-12)
    assert rounding.is_within_rounding(1e-13, one, 1e-15, other)
    assert rounding.is_within_rounding(0.0, one, 1e-15, other)
    assert not rounding.is_within_rounding(1e-11, one, 1e-12, other)
    # What twins' excess losses do says nothing of validation losses, whose own spread counts.
    apart, close = TwinComparison(None, 9.0, 0.0), TwinComparison(None, 0.0, 0.0, loss_spread=0.01)
    for twin, measure, within in (
        (apart, mlflow_names.VALIDATION, False),
        (close, mlflow_names.VALIDATION, True),
        (close, mlflow_names.LOSS, True),
        (close, "validation_rmse", False),
    ):
        assert rounding.is_within_rounding(1.01, twin, 1.0, twin, measure) == within
    assert (
        rounding.find_horizon(
            {0: one, 1: TwinComparison(7, 1.0, 0.0), 2: TwinComparison(5, np.inf, 0.0)}
        )
        == 5
    )
    assert rounding.describe_twins({}) == ""
    assert (
        rounding.describe_twins({0: one})
        == "1 fit was run again with nothing changed but rounding: the losses never come apart."
    )


@pytest.mark.parametrize("text", ["", "[]x", "[1]", '[{"row": 0}]'])
def test_a_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "twins.json").write_text(text)
    with pytest.raises(LinfitError, match=r"twins.json cannot be read"):
        rounding.read_twins(tmp_path / "twins.json")


@pytest.mark.pictures
def test_a_sweep_is_recorded_with_its_horizon(linfit: Linfit, workdir: Path, client: Any) -> None:
    asked = [
        "-m",
        "optimizer=sgd,rmsprop",
        "optimizer.lr=0.005,0.1",
        "steps=1000",
        "record.every=20",
    ]
    ran = linfit("run", *asked)
    assert (ran.code, "could not be made" in ran.err) == (0, False)
    [parent] = client.search_runs(["1"], f"tags.`{mlflow_names.KIND}` = 'sweep'")
    kept = json.loads(
        Path(
            client.download_artifacts(parent.info.run_id, mlflow_names.TWINS, str(workdir))
        ).read_text()
    )
    step = int(parent.data.tags[mlflow_names.HORIZON])
    assert [row["step"] for row in kept if row["step"] is not None] == [step]
    said = linfit("report", parent.info.run_id)
    assert "the first at step" in said.out and str(step) in said.out and "never" in said.out
    assert json.loads(linfit("report", parent.info.run_id, "--json").out)["horizon"]
