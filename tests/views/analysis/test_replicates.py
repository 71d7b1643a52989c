"""Folds repeat a setting as seeds do: no row is both chosen on and reported on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from linfit.views.analysis.compare import collect_fits, compare_methods
from linfit.views.analysis.seed_split import split_seeds
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.column_terms import explain_leaderboard
from linfit.views.report.leaderboard import format_leaderboard

TUNED = "hydra.sweeper.grids=[{optimizer: adam, optimizer.lr: '0.1,0.2'},{optimizer: sgd}]"
ONE_DATA = "dataset.seed=0"
#: Arguments of sweeps over folds, the start of the note, and words of the answer.
SWEEPS = {
    "folds": (
        ["split.k=10", "split.fold=range(0,10)"],
        "Each method's setting was chosen on 5 of the 10 folds and is reported on the other 5;",
        "5 folds:",
    ),
    "few folds": (
        ["split.fold=range(0,5)"],
        "Too few folds: with 5 folds for each setting there are none left",
        "5 folds:",
    ),
    "folds of data of each seed": (
        ["split.fold=range(0,4)", "seed=0,1"],
        "Each method's setting was chosen on 4 of the 8 folds × seeds and is reported on",
        "4 folds × seeds:",
    ),
    "parts drawn once of one data set": (
        [ONE_DATA, "split.seed=0", "split.k=6", "split.fold=range(0,6)", "seed=0,1"],
        "Each method's setting was chosen on 3 of the 6 folds and is reported on the other 3;",
        "half of 6 folds × seeds:",
    ),
    "parts drawn for each seed of one data set": (
        [ONE_DATA, "split.fold=range(0,2)", "seed=range(0,6)"],
        "Too few seeds: with parts that were drawn several times from the same rows",
        "half of 12 folds × seeds:",
    ),
}


@pytest.mark.parametrize(("arguments", "note", "words"), SWEEPS.values(), ids=SWEEPS)
def test_folds_are_chosen_on_and_reported_on_without_a_row_in_both(
    swept_of: Callable[..., SweepData], arguments: list[str], note: str, words: str
) -> None:
    swept = swept_of(TUNED, "split=kfold", "loss=mse", "steps=9", *arguments)
    comparison = compare_methods(swept)
    assert comparison.measure == "validation_loss"
    assert comparison.note.startswith(note)
    assert words in comparison.summarize()

    chosen, reported, _ = split_seeds(swept, comparison.fits)
    if note.startswith("Too few"):
        assert chosen == reported == set(comparison.fits["seed"])
        return
    rows = [collect_held_rows(swept, half) for half in (chosen, reported)]
    assert rows[0]
    assert rows[1]
    assert not rows[0] & rows[1]


def collect_held_rows(swept: SweepData, seeds: set[int]) -> set[tuple[int, int]]:
    """Return (seed of the data, row) of all rows that the fits of these repetitions hold out."""
    found = set()
    fits = collect_fits(swept, "validation_loss")
    for row in fits[fits["seed"].isin(seeds)]["row"]:
        config = swept.read_config(row)
        data = config.dataset.resolve_seed(config.seed)
        assert isinstance(data, int)
        masks = list(config.split.draw_held_out(30, config.seed))
        found |= {(data, index) for index in np.flatnonzero(np.concatenate(masks)).tolist()}
    return found


def test_columns_of_folds_are_named_and_explained(swept_of: Callable[..., SweepData]) -> None:
    swept = swept_of("optimizer=adam,sgd", "split=kfold", "split.fold=range(0,3)", "loss=mse")
    comparison = compare_methods(swept)
    titles = format_leaderboard(comparison).titles
    assert "all folds" in titles
    assert explain_leaderboard(comparison, titles)["validation loss"].endswith("over folds")
    assert "on its worst fold" in comparison.most_robust[0]
