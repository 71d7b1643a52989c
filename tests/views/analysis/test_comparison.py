"""The leaderboard: chosen on some seeds, reported on others, honest about the unknown."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import stats

from linfit.engine.rounding_twins import TwinComparison
from linfit.errors import LinfitError
from linfit.tracking.schema.descriptions import escape_markdown
from linfit.views.analysis.compare import (
    add_twins,
    collect_fits,
    compare_methods,
    find_best_fits,
    select_for_twins,
)
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.ranking import LeaderboardEntry
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report import leaderboard
from linfit.views.report.page import describe_best_fits
from linfit.views.results import Results
from linfit.views.terminal.report import format_terminal_leaderboard


def test_settings_are_chosen_on_half_of_the_seeds_and_reported_on_the_other(
    usual: SweepData,
) -> None:
    table = usual.table.assign(log=np.log10(np.where(usual.finished, usual.excess, np.nan)))
    for entry in compare_methods(usual).entries:
        own = table[table["optimizer"] == entry.method]
        scores = (
            own[own["seed"] % 2 == 0]
            .groupby("optimizer.lr")["log"]
            .agg(lost=lambda log: log.isna().sum(), median="median")
        )
        best = scores.sort_values(["lost", "median"]).index[0]
        assert entry.setting == f"lr={best:g}"
        reported = own[(own["optimizer.lr"] == best) & (own["seed"] % 2 == 1)]["log"]
        assert entry.median == pytest.approx(np.median(10**reported))
        ends = (10 ** reported.min(), 10 ** reported.max())
        assert (entry.low, entry.high) == pytest.approx(ends)
        assert (entry.fits, entry.finished) == (4, 4)


def test_differences_are_paired_by_seed(usual: SweepData) -> None:
    first, second = compare_methods(usual).entries
    logs = {}
    for entry in (first, second):
        table = usual.table[
            (usual.table["optimizer"] == entry.method) & (usual.table["seed"] % 2 == 1)
        ]
        own = table[table["optimizer.lr"] == float(entry.setting.removeprefix("lr="))]
        logs[entry.method] = np.log10(own.set_index("seed")["excess_loss"])
    difference = logs[second.method] - logs[first.method]
    assert second.factor == pytest.approx(second.median / first.median)
    test = stats.ttest_1samp(difference, 0.0)
    assert second.distinct == (test.pvalue < 0.05)
    assert (first.factor, first.factor_low, first.factor_high) == (1.0, 1.0, 1.0)


def test_a_diverged_fit_never_wins(usual: SweepData) -> None:
    diverged = usual.table[(usual.table["status"] == "diverged")]
    assert set(diverged["optimizer"]) == {"sgd"}
    [sgd] = [entry for entry in compare_methods(usual).entries if entry.method == "sgd"]
    assert sgd.setting != "lr=1"


def test_too_few_seeds_are_said(swept_of: Callable[..., SweepData]) -> None:
    tuned = "hydra.sweeper.grids=[{optimizer: adam, optimizer.lr: '0.1,0.2'},{optimizer: sgd}]"
    comparison = compare_methods(swept_of(tuned))
    assert comparison.note.startswith("Too few seeds: with one seed")
    assert all(np.isnan(entry.low) for entry in comparison.entries)
    assert "interval" not in comparison.summarize()
    assert compare_methods(swept_of(tuned, "seed=0,1")).note.startswith(
        "Too few seeds: with 2 seeds for each setting"
    )


@pytest.mark.parametrize(
    ("seeds", "fits", "note"),
    [("0", 1, "One seed:"), ("0,1", 2, "Nothing was chosen:"), ("range(0,8)", 8, "Nothing was")],
)
def test_seeds_are_split_only_where_something_is_chosen(
    swept_of: Callable[..., SweepData], seeds: str, fits: int, note: str
) -> None:
    comparison = compare_methods(swept_of("optimizer.lr=0.1,0.2", f"seed={seeds}", "steps=5"))
    assert [entry.fits for entry in comparison.entries] == [fits, fits]
    assert comparison.note.startswith(note)


def test_nothing_finished(swept_of: Callable[..., SweepData]) -> None:
    comparison = compare_methods(swept_of("optimizer=sgd", "optimizer.lr=1.0,10.0", "seed=0,1"))
    assert comparison.summarize() == "No fit finished: all of them diverged or failed."
    assert comparison.most_robust == []
    assert [entry.finished for entry in comparison.entries] == [0, 0]
    assert (
        leaderboard.format_markdown_leaderboard(comparison).count("\n| ") == 4
    )  # titles, a rule, two rows


def test_fits_of_different_problems_are_not_compared(swept_of: Callable[..., SweepData]) -> None:
    comparison = compare_methods(
        swept_of("dataset.noise=0.1,10.0", "optimizer.lr=0.1,1.0", "loss=sse,mse")
    )
    problems = [entry.problem for entry in comparison.entries]
    assert len(set(problems)) == 4
    assert comparison.to_frame()["rank"].tolist() == [1, 2] * 4
    assert all(
        entry.factor == 1.0
        for entry, rank in zip(comparison.entries, comparison.to_frame()["rank"], strict=True)
        if rank == 1
    )


def test_each_problem_has_its_best_and_its_most_robust_setting(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of("dataset.noise=0.1,10.0", "optimizer.lr=0.1,1.0", "seed=0,1")
    comparison, places = compare_methods(swept), find_best_fits(swept)
    assert list(places) == ["noise=0.1", "noise=10"]
    with pytest.raises(LinfitError, match=r"cannot be compared: .*objective=loss"):
        _ = Results(swept).best
    for (problem, place), said in zip(places.items(), comparison.most_robust, strict=True):
        own = swept.table[swept.table["dataset.noise"] == float(problem.removeprefix("noise="))]
        assert swept.table["excess_loss"][place] == own["excess_loss"].min()
        worst = own.groupby("optimizer.lr")["excess_loss"].max()
        assert (
            said == f"lr={worst.idxmin():g} (on {problem}): "
            f"excess loss {worst.min():.3g} on its worst seed"
        )


def test_the_best_fits_are_ranked_by_the_loss_of_the_leaderboard(
    swept_of: Callable[..., SweepData],
) -> None:
    swept = swept_of("dataset.noise=10.0,0.1", "split.validation=0.25", "seed=0,1")
    comparison = compare_methods(swept)
    places = find_best_fits(swept)
    held_out = swept.table["validation_loss"]
    assert (comparison.measure, comparison.across) == ("validation_loss", True)
    assert len(places) == 2
    assert next(iter(places.values())) == held_out.argmin() == Results(swept).best["row"]
    assert held_out[list(places.values())].is_monotonic_increasing

    lines = describe_best_fits(swept, comparison)
    assert [float(re.findall("validation loss (.*), training", line)[0]) for line in lines] == [
        float(f"{held_out[place]:.3g}") for place in places.values()
    ]
    assert not any("excess" in line for line in lines)


def test_a_setting_that_fails_on_one_seed_is_not_robust(swept_of: Callable[..., SweepData]) -> None:
    grids = "{optimizer: sgd, optimizer.lr: '0.001,1.0'},{optimizer: adam, optimizer.lr: '1e-6'}"
    [said] = compare_methods(swept_of(f"hydra.sweeper.grids=[{grids}]", "seed=0,1")).most_robust
    assert said.startswith("sgd lr=0.001: excess loss ")


def test_the_label_of_a_grid_takes_the_place_of_its_settings(
    swept_of: Callable[..., SweepData],
) -> None:
    slow = "{label: slow, optimizer: sgd, optimizer.lr: 0.001}"
    fast = "{label: fast, optimizer: sgd, optimizer.lr: '0.002,0.003', optimizer.momentum: 0.5}"
    adam = "{label: 'Ädam', optimizer: adam, optimizer.lr: 0.1}"
    swept = swept_of(f"hydra.sweeper.grids=[{slow},{fast},{adam}]", "seed=0,1")
    assert swept.results["name"].tolist()[::2] == [
        "slow seed=0",
        "fast lr=0.002 seed=0",
        "fast lr=0.003 seed=0",
        "Ädam seed=0",
    ]
    groups = swept.groups
    assert groups.methods[::2] == ["sgd", "sgd", "sgd", "Ädam"]
    assert groups.settings[::2] == ["slow", "fast lr=0.002", "fast lr=0.003", ""]


def test_the_labels_of_a_pair_name_methods(swept_of: Callable[..., SweepData]) -> None:
    values = "[[sgd,0.001],[adam,0.1]]"
    pair = f"{{keys: [optimizer,optimizer.lr], values: {values}, labels: [plain, 'Ädam']}}"
    swept = swept_of(f"hydra.sweeper.pairs=[{pair}]", "seed=0,1")
    assert swept.results["name"].tolist()[::2] == ["plain seed=0", "Ädam seed=0"]
    assert {entry.name for entry in compare_methods(swept).entries} == {"plain", "Ädam"}


def test_who_is_first_where_settings_are_chosen_need_not_be_first_where_they_are_reported(
    usual: SweepData,
) -> None:
    changed, odd = (
        SweepData(usual.name, usual.experiment, "", usual.files),
        usual.table["seed"] % 2 == 1,
    )
    excess = np.where(
        usual.table["optimizer"] == "adam", np.where(odd, 10.0, 1.0), np.where(odd, 5.0, 2.0)
    )
    changed.__dict__["excess"] = np.where(usual.finished, excess, np.inf)
    found: list[Any] = [
        (entry.method, entry.median, entry.factor) for entry in compare_methods(changed).entries
    ]
    assert found == [
        ("sgd", pytest.approx(5.0), 1.0),
        ("adam", pytest.approx(10.0), pytest.approx(2.0)),
    ]


#: Seeds of adam beside range(0,12) of sgd, and what is said of them.
UNEVEN = {
    "0,2,4": "Too few seeds: with 3 seeds that all methods share",
    "0,2,4,6,8,10": "Each method's setting was chosen on 3 of the 6 seeds that all methods share",
    "12,13": "Too few seeds: with 0 seeds that all methods share",
}


@pytest.mark.parametrize(("seeds", "note"), UNEVEN.items())
def test_methods_that_have_not_the_same_seeds(
    swept_of: Callable[..., SweepData], seeds: str, note: str
) -> None:
    sgd = "{optimizer: sgd, optimizer.lr: '0.001,0.002', seed: 'range(0,12)'}"
    comparison = compare_methods(
        swept_of(
            f"hydra.sweeper.grids=[{sgd},{{optimizer: adam, optimizer.lr: '1.0', seed: '{seeds}'}}]"
        )
    )
    first, second = comparison.entries
    assert min(first.finished, second.finished) > 0
    assert first.median <= second.median
    assert comparison.summarize().startswith(
        f"{first.name} came nearest to the optimum: median excess loss {first.median:.3g}"
    )
    assert comparison.note.startswith(note)


ENTRY = LeaderboardEntry(
    "", "sgd", "lr=1", 4, 4, 4, 9.0, 2.0, 1.0, 4.0, 1.0, 1.0, 1.0, name="sgd lr=1"
)


@pytest.mark.parametrize(
    ("changed", "said", "told_apart"),
    [
        (
            {"factor": 3.0, "factor_low": 2.0, "factor_high": 4.0},
            "adam lr=1 had 3 times that (95% interval of the mean factor: 2 to 4)",
            "yes",
        ),
        (
            {"factor": 3.0, "factor_low": 0.5, "factor_high": 9.0},
            "adam lr=1 had 3 times that, which these seeds cannot tell apart",
            "no",
        ),
        (
            {"finished": 2, "factor": 0.5, "factor_low": 0.1, "factor_high": 0.9},
            "adam lr=1 finished 2 of 4 fits and had 0.5 times that "
            "(95% interval of the mean factor: 0.1 to 0.9)",
            "yes",
        ),
        (
            {"factor": 1.00002, "factor_low": 0.99997, "factor_high": 1.00007},
            "adam lr=1 had 1.00002 times that, which these seeds cannot tell apart",
            "no",
        ),
        (
            {"factor": 1 + 1e-9, "factor_low": 1 - 1e-9, "factor_high": 1.5, "rounding": True},
            "adam lr=1 had the same but for rounding",
            "no: rounding",
        ),
        ({}, "adam lr=1 had the same on every seed", "no: equal"),
    ],
)
def test_the_second_beside_the_first_in_words(
    usual: SweepData, changed: dict[str, Any], said: str, told_apart: str
) -> None:
    comparison = Comparison(
        [ENTRY, replace(ENTRY, method="adam", name="adam lr=1", **changed)],
        [],
        "",
        collect_fits(usual),
    )
    assert (
        comparison.summarize()
        == f"sgd lr=1 came nearest to the optimum: median excess loss 2 (4 seeds: 1 to 4); {said}."
    )
    told = leaderboard.format_leaderboard(comparison)
    assert [row[told.titles.index("told apart")] for row in told.rows] == ["", told_apart]


def test_a_sweep_of_seeds_alone_has_one_entry(swept_of: Callable[..., SweepData]) -> None:
    [entry] = compare_methods(swept_of("seed=range(0,6)")).entries
    assert (entry.name, entry.fits) == ("adam", 6)


def test_an_excess_of_zero_counts_as_the_smallest_that_is_not(usual: SweepData) -> None:
    changed = SweepData(usual.name, usual.experiment, "", usual.files)
    changed.__dict__["excess"] = np.where(np.arange(len(usual.excess)) == 0, 0.0, usual.excess)
    assert collect_fits(changed)["log"].iloc[0] == collect_fits(changed)["log"].min()


@pytest.mark.matrix
def test_the_leaderboard_is_the_same_in_all_files(usual: SweepData, tmp_path: Path) -> None:
    comparison = compare_methods(usual)
    csv, parquet, markdown = leaderboard.write_leaderboard(comparison, tmp_path)
    frame = comparison.to_frame()
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), frame, check_dtype=False)
    pd.testing.assert_frame_equal(
        pd.read_csv(csv, keep_default_na=True, dtype={"problem": str}).fillna({"problem": ""}),
        frame,
        check_dtype=False,
    )
    assert f"| 1 | {comparison.entries[0].method} |" in markdown.read_text()


def test_a_narrow_terminal_keeps_intervals_longest(
    usual: SweepData, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = add_twins(
        compare_methods(usual),
        {
            row: TwinComparison(None, 0.0, 0.0)
            for row in select_for_twins(compare_methods(usual), 2)
        },
    )
    titles = {}
    for width in (200, 100, 80, 60):
        monkeypatch.setattr(
            "linfit.views.terminal.tables.open_console", lambda width=width: Console(width=width)
        )
        titles[width] = [
            str(column.header) for column in format_terminal_leaderboard(comparison).columns
        ]
    assert titles[200][-1] == "copies part"
    assert {"told apart", "all seeds", "mean × first, 95%"} <= set(titles[100])
    assert {"told apart", "all seeds"} <= set(titles[80])
    assert titles[60][-1] == "all seeds"


def test_markdown_shows_a_name_as_it_is() -> None:
    name = "<script>|*a*_b_`c`[d](e)\\#@f"
    shown = escape_markdown(name)
    assert html.unescape(shown) == name
    assert set(re.sub(r"&#\d+;", "", shown)) & set("<>|*_`[]\\#@&") == set()


def test_counts_held_out_are_compared_by_their_deviance_which_is_never_negative(
    swept_of: Callable[..., SweepData],
) -> None:
    grid = "hydra.sweeper.grids=[{optimizer: sgd, optimizer.lr: 0.1}, {optimizer: newton}]"
    given = ("dataset=counts", "loss=poisson", "features.intercept=true", "init=zeros", "steps=50")
    swept = swept_of(*given, "split.validation=0.2", "seed=range(0,4)", grid)
    comparison = compare_methods(swept)
    table = swept.results
    assert (table["validation_loss"] < 0).any()
    assert comparison.measure == "validation_mean_poisson_deviance"
    assert table["objective"].equals(table["validation_mean_poisson_deviance"])
    assert all(entry.finished == entry.fits == 4 for entry in comparison.entries)
    lowest = min(
        table.loc[comparison.fits["method"] == method, "objective"].median()
        for method in ("sgd", "newton")
    )
    assert comparison.entries[0].median == pytest.approx(lowest)
    assert "the lowest validation mean Poisson deviance" in comparison.summarize()


def test_negative_losses_are_not_ranked_by_factors(swept_of: Callable[..., SweepData]) -> None:
    given = ("dataset=counts", "loss=poisson", "features.intercept=true", "init=zeros", "steps=50")
    swept = swept_of(*given, "optimizer.lr=0.1,0.01", "objective=loss")
    with pytest.raises(LinfitError, match="of 2 fits is negative, and rankings compare factors"):
        compare_methods(swept)
