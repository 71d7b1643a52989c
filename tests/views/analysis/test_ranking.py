"""Who comes first of many, and whether that is more than luck: exact formulas, and simulated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.coverage import METHODS, SEEDS, SHAPES, simulate, simulate_tuned
from linfit.views.analysis.ranking import LeaderboardEntry, count_pairs, rank_settings
from linfit.views.analysis.rounding_floor import raise_to_floor
from linfit.views.analysis.statistics import adjust_by_holm, compute_p_values, split_level

#: Simulated sweeps of each design, and three times the error of a share of them that is 5 %.
SWEEPS, ERROR = 2000, 3 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize("methods", METHODS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_of_equal_methods_what_is_printed_holds(methods: int, seeds: int) -> None:
    found = simulate(SHAPES["log-normal"], SWEEPS, np.zeros(methods), seeds)
    assert found.every >= 0.95 - ERROR
    assert found.wrong <= 0.05 + ERROR / 2


@pytest.mark.parametrize("means", [(0, 1), (0, 0.1, 0.2), (0, 0, 1, 1, 2, 2), (0, *[3] * 9)])
@pytest.mark.parametrize("seeds", [3, 10])
def test_of_unequal_methods_what_is_printed_holds(means: tuple[float, ...], seeds: int) -> None:
    found = simulate(SHAPES["log-normal"], SWEEPS, np.array(means), seeds)
    assert found.every >= 0.95 - ERROR
    assert found.wrong <= 0.05 + ERROR / 2


@pytest.mark.parametrize("settings", [2, 10])
def test_settings_chosen_on_the_seeds_that_are_reported_count_as_compared(settings: int) -> None:
    found = simulate_tuned(SWEEPS, settings, seeds=4)
    assert found.every >= 0.95 - ERROR
    assert found.wrong <= 0.05


def test_a_clear_difference_is_found() -> None:
    shares = [
        simulate(SHAPES["log-normal"], SWEEPS, np.array([-1.0, 0.0]), seeds).right
        for seeds in SEEDS
    ]
    assert shares == sorted(shares)
    assert shares[1] > 0.7 and shares[-1] == 1.0


def test_skewed_losses_tell_nothing_apart_that_is_equal() -> None:
    for draw in SHAPES.values():
        assert simulate(draw, SWEEPS, np.zeros(6), 5).wrong <= 0.05 + ERROR / 2


@pytest.mark.parametrize(
    ("methods", "pairs"), [("a", 0), ("ab", 1), ("abc", 3), ("aabb", 4), ("aaab", 3), ("", 0)]
)
def test_settings_of_one_method_are_not_compared(methods: str, pairs: int) -> None:
    assert count_pairs(list(methods)) == pairs


def frame_of(logs: dict[str, list[float]], floor: float = -np.inf) -> pd.DataFrame:
    """Return the fits of methods, a logarithm for each seed, as a comparison takes them."""
    rows = [(method, seed, log) for method, own in logs.items() for seed, log in enumerate(own)]
    frame = pd.DataFrame(rows, columns=["method", "seed", "log"])
    return raise_to_floor(
        frame.assign(row=frame.index, problem="", setting="", floor=floor, steps=np.inf)
    )


def rank_of(logs: dict[str, list[float]], floor: float = -np.inf) -> list[LeaderboardEntry]:
    names = {("", method, ""): method for method in logs}
    return rank_settings(list(names), frame_of(logs, floor), count_pairs(list(logs)), names)


NAN = float("nan")
#: Logarithms of excess losses of methods over seeds.
DESIGNS = {
    "two": {"a": [0.0, 0.1, 0.3], "b": [1.0, 1.2, 1.1]},
    "the last first": {
        "a": [5.0, 4.0, 5.5, 5.0],
        "b": [1.0, 0.2, 1.9, 1.1],
        "c": [0.0, 0.1, 0.2, 0.0],
    },
    "lost fits": {"a": [0.0, NAN, 0.3, 0.4], "b": [1.0, 1.2, 1.1, 1.5], "c": [NAN, NAN, 3.0, 2.0]},
    "no seed in common": {"a": [0.0, 0.5, NAN, NAN], "b": [NAN, NAN, 1.0, 2.0]},
    "one seed": {"a": [0.0], "b": [1.0]},
    "none finished": {"a": [NAN, NAN], "b": [1.0, 2.0]},
    "zero": {"a": [-np.inf, -np.inf], "b": [1.0, 2.0], "c": [-np.inf, -400.0]},
}


@pytest.mark.parametrize("logs", DESIGNS.values(), ids=DESIGNS)
def test_entries_are_what_scipy_says(logs: dict[str, list[float]]) -> None:
    entries = rank_of(logs)
    pairs = len(logs) * (len(logs) - 1) // 2
    clamped = {
        method: np.maximum(own, np.log10(np.finfo(float).tiny)) for method, own in logs.items()
    }
    order = sorted(
        clamped,
        key=lambda method: (np.isnan(clamped[method]).mean(), np.nanmedian([*clamped[method], 0])),
    )
    assert sorted(entry.method for entry in entries) == sorted(order)
    first, raw = clamped[entries[0].method], []
    for entry in entries:
        own = clamped[entry.method]
        finished = own[~np.isnan(own)]
        assert (entry.fits, entry.finished) == (len(own), len(finished))
        if len(finished):
            assert entry.median == pytest.approx(np.median(10**finished))
        if len(finished) > 1 and not entry.at_floor:
            assert [entry.low, entry.high] == pytest.approx(
                [10 ** min(finished), 10 ** max(finished)]
            )
        difference = (own - first)[~np.isnan(own - first)]
        if entry is not entries[0] and len(difference) > 1 and np.ptp(difference) > 0:
            t = stats.t(len(difference) - 1, difference.mean(), stats.sem(difference))
            with np.errstate(over="ignore"):
                expected = 10 ** np.array(t.interval(0.95 ** (1 / pairs)))
            assert [entry.factor_low, entry.factor_high] == pytest.approx(expected.tolist())
            raw.append((stats.ttest_1samp(difference, 0).pvalue, entry))
    raw.sort(key=lambda found: found[0])
    adjusted = [1 - (1 - p) ** (pairs - place) for place, (p, _) in enumerate(raw)]
    for place, (_, entry) in enumerate(raw):
        assert entry.p == pytest.approx(max(adjusted[: place + 1]))
        assert entry.distinct == (entry.p < 0.05)


@pytest.mark.parametrize("p", [[0.01, 0.02, 0.9], [0.04, 0.001], [0.0, 1.0, 0.5, NAN], []])
def test_holm_goes_down_step_by_step(p: list[float]) -> None:
    adjusted = adjust_by_holm(np.array(p), 10)
    for one, found in zip(p, adjusted, strict=True):
        if np.isnan(one):
            assert np.isnan(found)
            continue
        smaller = [other for other in p if other <= one]
        steps = [1 - (1 - other) ** (10 - sum(o < other for o in p)) for other in smaller]
        assert found == pytest.approx(max(steps))
        assert found <= 1 - (1 - one) ** 10 + 1e-12


def test_an_interval_without_1_is_told_apart() -> None:
    logs = np.random.default_rng(1).normal(size=(500, 4)) + 1.5
    level = split_level(6)
    half = stats.t(3).ppf(0.5 + level / 2) * logs.std(axis=1, ddof=1) / 2
    outside = np.abs(logs.mean(axis=1)) > half
    assert (outside == (adjust_by_holm(compute_p_values(logs)[:, None], 6)[:, 0] < 0.05)).all()
    assert 0 < outside.sum() < 500


@pytest.mark.parametrize(
    ("values", "p"),
    [([0.0, 0.0, 0.0], 1.0), ([2.0, 2.0], 0.0), ([1.0], NAN), ([], NAN), ([1.0, NAN, 3.0], 0.295)],
)
def test_values_without_spread_have_a_p(values: list[float], p: float) -> None:
    assert compute_p_values(np.array(values)) == pytest.approx(p, abs=1e-3, nan_ok=True)
