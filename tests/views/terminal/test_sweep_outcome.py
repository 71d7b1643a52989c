"""What `linfit run` prints when a sweep has ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from linfit.publication import compare_sweep
from linfit.views.terminal.outcome import show_outcome

Sweep = Callable[..., Any]
RATES = "optimizer.lr=0.001,0.01,0.02,0.03,0.04,0.05,0.06,0.07"


@pytest.mark.parametrize(
    ("arguments", "failing", "counts"),
    [
        (("optimizer=sgd,adam", "seed=0,1"), 0.0, "4 fits: 4 completed"),
        (("optimizer=closed_form", "seed=0,1"), 0.0, "2 fits: 2 completed"),
        (("optimizer=sgd", RATES, "seed=0,1"), 0.0, "16 fits: 2 completed, 14 diverged"),
        (("optimizer=sgd", "optimizer.lr=1e3,1e4"), 0.0, "2 fits: 2 diverged"),
        (("optimizer=adam", "seed=range(0,12)"), 1.0, "12 fits: 12 failed"),
    ],
)
def test_a_sweep_ends_with_its_answer_and_what_was_lost(
    sweep: Sweep,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    failing: float,
    counts: str,
) -> None:
    results, _, result = sweep("tracking=none", "steps=20", *arguments, failing=failing)
    capsys.readouterr()
    compared = compare_sweep(result)
    assert compared is not None
    assert show_outcome(result, as_json=False, compared=compared) == bool(failing)
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == results.comparison.summarize()
    assert counts in lines
    is_far = "completed" in counts and "optimizer=closed_form" not in arguments
    rest = r"tolerance 1e-06 of the initial excess loss not reached: [\d.]+% is left in the nearest"
    assert len(re.findall(rest, told.out)) == is_far
    names = [done.name for done in result.completed]
    listed = [line for line in lines if any(line.startswith(f"{name} ") for name in names)]
    assert len(listed) == min(len(names), 10)
    assert ("the best 10 of" in told.out) == (len(names) > 10)

    lost = [done for done in result.completed if done.status.value in ("diverged", "failed")]
    settings = [line for line in lines if re.match("[!×] (diverged|failed) .* of ", line)]
    assert bool(settings) == bool(lost) and len(settings) <= 5
    if failing:
        assert told.err.count("FAILED") == 1  # one reason
        assert "7 more" in told.err


def test_all_fits_are_printed_if_asked_for(
    sweep: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, result = sweep("tracking=none", "steps=20", "optimizer=sgd", RATES, "seed=0,1")
    show_outcome(result, as_json=False, compared=compare_sweep(result), all_fits=True)
    out = capsys.readouterr().out
    for done in result.completed:
        assert f"{done.name} " in out
    assert out.count("! diverged lr=") + out.count("! diverged sgd") == 7
