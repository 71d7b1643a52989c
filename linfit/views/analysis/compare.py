"""Compare the methods of a sweep: settings are chosen on one half of the seeds, and reported on the
other.

The best of many settings looks better on the seeds that it was chosen on than it is. The compared
number is the logarithm of the loss that compares the sweep. Fits of one seed, which share their
data, are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from linfit.problem.measures import find_measure
from linfit.problem.types import Array
from linfit.tracking.schema import mlflow_names
from linfit.views.analysis.comparison import MEASURES, Comparison
from linfit.views.analysis.lowest_loss import describe_lowest_loss
from linfit.views.analysis.ranking import (
    SETTING_KEY,
    LeaderboardEntry,
    Pick,
    count_pairs,
    rank_settings,
)
from linfit.views.analysis.replicates import Replicates, identify_held_rows, name_replicates
from linfit.views.analysis.rounding import Twins, describe_twins, is_within_rounding, read_twins
from linfit.views.analysis.rounding_floor import format_bound, raise_to_floor
from linfit.views.analysis.seed_split import label_settings, split_seeds
from linfit.views.analysis.sweep_data import SweepData

#: Entries of a ranking.
MOST_ENTRIES = 100
#: Validation or training losses no further apart than this factor are equal but for rounding.
ROUNDING_FACTOR = {"float32": 1 + 1e-5, "float64": 1 + 1e-12}


@dataclass(frozen=True)
class ComparedSweep:
    """The comparison of a sweep's methods, and the file of its twins if it has any."""

    data: SweepData
    comparison: Comparison
    files: Sequence[Path] = ()


def compare_methods(swept: SweepData) -> Comparison:
    """Return the comparison of a sweep's methods, or of its settings if it has one method."""
    swept = swept.distinct
    measure, across = choose_measure(swept)
    runs = raise_to_floor(collect_fits(swept, measure))
    chosen_on, reported_on, note = split_seeds(swept, runs)
    reporting = runs[runs["seed"].isin(reported_on)]
    choosing = runs[runs["seed"].isin(chosen_on)]

    # A setting without a fit to report is not chosen.
    setting = label_settings(runs)
    choosing = choosing[setting[choosing.index].isin(setting[reporting.index])]

    entries: list[LeaderboardEntry] = []
    groups = [choosing] if across else [own for _, own in choosing.groupby("problem", sort=False)]
    for group in groups:
        picks = _choose(group)[:MOST_ENTRIES]
        # Reported on the seeds that chose it, a pick is the best of all settings that finished.
        compared = picks if chosen_on != reported_on else _finished(group)
        pairs = count_pairs([(problem, method) for problem, method, _ in compared])
        entries += rank_settings(picks, reporting, pairs, _name_picks(picks, across))

    note += _describe_zeros(runs, measure) or _describe_floor(entries)
    found = Comparison(
        entries,
        _find_robust(runs, MEASURES[measure], name_replicates(swept.keys)),
        note,
        runs,
        measure,
        across,
        _describe_quickest(swept, reporting, across),
        dtype=_find_floor_dtype(swept, measure),
        floors=_find_floors(swept),
        replicates=name_replicates(swept.keys),
    )
    if measure != mlflow_names.EXCESS:
        return _note_rounding(found, max(map(ROUNDING_FACTOR.__getitem__, swept.dtypes)))
    if not across:
        picks = [_key(entry) for entry in entries]
        found = replace(found, lowest_loss=describe_lowest_loss(swept, reporting, picks))
    if mlflow_names.TWINS not in swept.files:
        return found
    return add_twins(found, read_twins(swept.files[mlflow_names.TWINS]))


def choose_measure(swept: SweepData) -> tuple[str, bool]:
    """Return the loss that rankings compare, and if there is one ranking of all problems.

    A training loss is lower where there are more features: it ranks problems only if asked for.
    """
    by = swept.compared_by
    if by is not None and (by == mlflow_names.VALIDATION or swept.objective != "auto"):
        return by, True
    return swept.shown_name, False


def _name_picks(picks: Sequence[Pick], across: bool) -> dict[Pick, str]:
    """Return the name of each setting in a sentence, with its problem in a ranking of several."""
    names = {pick: f"{pick[1]} {pick[2]}".strip() for pick in picks}
    if not across:
        return names
    several = len(set(names.values())) > 1
    for pick, name in names.items():
        if pick[0]:
            names[pick] = f"{pick[0]}, {name}" if several else pick[0]
    return names


def _describe_quickest(swept: SweepData, runs: pd.DataFrame, across: bool) -> str:
    """Return a sentence on the settings with the fewest steps to the tolerance, of all that ran.

    It is empty for one setting, for several problems, and where most fits did not reach it.
    """
    medians = runs.groupby(SETTING_KEY, sort=False)["steps"].median()
    least = medians.min()
    tolerances = set(swept.list_values("record.tolerance"))
    is_one_problem = runs["problem"].nunique() == 1 and not across
    if len(medians) < 2 or not np.isfinite(least) or len(tolerances) > 1 or not is_one_problem:
        return ""
    keys = medians.index[medians == least].to_list()
    names = [f"{method} {setting}".strip() for _, method, setting in keys]
    who = " and ".join(names)
    if len(names) > 2:
        who = f"{names[0]} and {len(names) - 1} more"
    verb = "were" if len(names) > 1 else "was"
    count = f"{least:g} step{'s' if least != 1 else ''}"
    return f"{who} {verb} the quickest: {count} to {tolerances.pop():g} of the initial excess loss."


def _note_rounding(comparison: Comparison, factor: float) -> Comparison:
    """Return the comparison with the entries marked that rounding parts from the first."""
    entries = []
    for entry in comparison.entries:
        first = comparison.find_first(entry)
        near = entry is not first and first.median <= entry.median <= first.median * factor
        entries.append(replace(entry, rounding=entry.rounding or near))
    return replace(comparison, entries=entries)


def add_twins(comparison: Comparison, twins: Twins) -> Comparison:
    """Return the comparison with the evidence of twins of some of its fits."""
    partings = {key: twins[row] for row, key in _rows(comparison.fits) if row in twins}
    entries = []
    for entry in comparison.entries:
        first = comparison.find_first(entry)
        own = partings.get(_key(entry))
        best = partings.get(_key(first))
        rounding = entry.rounding
        if entry is not first and own is not None and best is not None:
            rounding = rounding or is_within_rounding(
                entry.median,
                own,
                first.median,
                best,
            )
        if own is None:
            step = float("nan")
        else:
            step = float("inf") if own.step is None else float(own.step)
        entries.append(replace(entry, horizon=step, rounding=rounding))
    return replace(comparison, entries=entries, twins_note=describe_twins(twins))


def select_for_twins(comparison: Comparison, most: int) -> list[int]:
    """Return the rows of fits to twin.

    They are the first finished fit of each of the first entries.
    """
    rows: dict[Pick, int] = {}
    for row, key in _rows(comparison.fits[comparison.fits["log"].notna()]):
        rows.setdefault(key, row)
    keys = [_key(entry) for entry in comparison.entries]
    return [rows[key] for key in keys if key in rows][:most]


def _key(entry: LeaderboardEntry) -> Pick:
    return entry.problem, entry.method, entry.setting


def _rows(runs: pd.DataFrame) -> list[tuple[int, Pick]]:
    """Return the row of each fit, with its problem, method and setting."""
    keys = runs[SETTING_KEY].itertuples(index=False, name=None)
    return list(zip(runs["row"].tolist(), keys, strict=True))


def collect_fits(swept: SweepData, measure: str = mlflow_names.EXCESS) -> pd.DataFrame:
    """Return the problem, method and setting of each fit in words, and its repetition's number.

    `log` is log₁₀ of the loss or measure named `measure`, NaN unless the fit finished, and
    `floor` that of its rounding floor. `steps` are those to the tolerance, infinite if the fit did
    not reach it, or has left it again at its end.
    """
    groups = swept.groups
    is_excess = measure == mlflow_names.EXCESS
    losses = measure_losses(swept, measure)
    floors = swept.floors if is_excess else _find_measure_floor(losses, measure)
    with np.errstate(divide="ignore"):
        log = np.log10(np.where(np.isfinite(losses), losses, np.nan))
        floor = np.log10(floors)
    steps = swept.results["steps_to_tolerance"].astype(float).fillna(np.inf)
    return pd.DataFrame(
        {
            "row": swept.results["row"],
            "problem": groups.problems,
            "method": groups.methods,
            "setting": groups.settings,
            "seed": groups.repetitions,
            "held": identify_held_rows(swept.configs, groups.repetitions, swept.keys),
            "log": log,
            "floor": floor,
            "steps": np.where(_is_within_tolerance(swept), steps, np.inf),
        }
    )


def _find_measure_floor(values: Array, measure: str) -> Array:
    """Return what a value of 0 counts as, whose logarithm is compared; 0 for a loss.

    A share of samples, as 1 − accuracy, is 0 where the share of one more sample is not: it counts
    as half the smallest value above 0.
    """
    above = values[(values > 0) & np.isfinite(values)]
    if find_measure(measure) is None or not len(above):
        return np.zeros(len(values))
    return np.full(len(values), above.min() / 2)


def _is_within_tolerance(swept: SweepData) -> NDArray[np.bool_]:
    """Return True for each fit that ended within its tolerance."""
    tolerance = np.array(swept.list_values("record.tolerance"), dtype=float)
    return np.asarray(swept.finished & ~(swept.excess > tolerance * swept.initial))


def _choose(runs: pd.DataFrame) -> list[Pick]:
    """Return the setting chosen for each method on each problem, best first.

    Fewest fits that did not finish, then the smallest median.
    """
    logs = runs.groupby(SETTING_KEY, sort=False)["log"]
    scores = logs.agg(lost=lambda log: log.isna().mean(), median="median").reset_index()
    ranked = scores.sort_values(["lost", "median"], kind="stable", na_position="last")
    best = ranked.drop_duplicates(["problem", "method"])
    return list(best[SETTING_KEY].itertuples(index=False, name=None))


def _finished(runs: pd.DataFrame) -> list[Pick]:
    """Return each setting with a fit that finished."""
    done = runs[runs["log"].notna()].drop_duplicates(SETTING_KEY)
    return list(done[SETTING_KEY].itertuples(index=False, name=None))


def _find_floor_dtype(swept: SweepData, measure: str) -> str:
    """Return the dtype whose rounding makes the floor; empty for several, and for a measure."""
    if find_measure(measure) is not None or len(swept.dtypes) > 1:
        return ""
    return "".join(swept.dtypes)


def _describe_zeros(runs: pd.DataFrame, measure: str) -> str:
    """Return the note's remark on measures that are 0."""
    if find_measure(measure) is None or not (runs["log"] <= runs["floor"]).any():
        return ""
    return " A value of 0 counts as half the smallest one above 0."


def _describe_floor(entries: Sequence[LeaderboardEntry]) -> str:
    """Return the note's remark on entries that are only rounding."""
    if not any(entry.at_floor or entry.factor_at_least for entry in entries):
        return ""
    return " Excess losses at or below their rounding floor count as that floor, and are written ≤."


def _find_floors(swept: SweepData) -> dict[str, float]:
    """Return the highest rounding floor of each problem's fits that came to theirs."""
    reached = swept.excess <= swept.floors
    floors = pd.Series(np.where(reached, swept.floors, np.nan))
    highest = floors.groupby(swept.groups.problems, sort=False).max().dropna()
    return {str(problem): float(floor) for problem, floor in highest.items()}


def _find_robust(runs: pd.DataFrame, measured: str, replicates: Replicates) -> list[str]:
    """Return on each problem the setting whose worst seed is the best, in words."""
    fits = runs.assign(log=runs["log"].fillna(np.inf))
    worst = fits.loc[fits.groupby(SETTING_KEY, sort=False)["log"].idxmax()]
    best = worst.loc[worst.groupby("problem", sort=False)["log"].idxmin()]
    rows = best.to_dict("records")
    finite = [row for row in rows if np.isfinite(row["log"])]
    return [f"{_describe_worst(row, measured)} on its worst {replicates.one}" for row in finite]


def _describe_worst(row: dict[Any, Any], measured: str) -> str:
    where = f" (on {row['problem']})" if row["problem"] else ""
    bound = format_bound(10 ** row["log"], row["log"] <= row["floor"])
    name = f"{row['method']} {row['setting']}".strip()
    return f"{name}{where}: {measured} {bound}"


def measure_losses(swept: SweepData, measure: str) -> Array:
    """Return the loss that rankings compare of each fit, infinity unless the fit finished."""
    return swept.excess if measure == mlflow_names.EXCESS else swept.compared_values


def find_best_fits(swept: SweepData) -> dict[str, int]:
    """Return the index of the fit with the lowest compared loss on each problem.

    One ranking of all problems has the lowest of these first. Problems on which no fit finished are
    left out. Of equal fits the first counts.
    """
    measure, across = choose_measure(swept)
    losses = pd.Series(measure_losses(swept, measure))
    lowest = losses.groupby(swept.groups.problems, sort=False).idxmin()
    found = lowest[np.isfinite(losses[lowest]).to_numpy()]
    if across:
        found = found.iloc[np.argsort(losses[found].to_numpy(), kind="stable")]
    return {str(problem): int(at) for problem, at in found.items()}
