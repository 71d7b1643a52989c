"""The time of a step: what a stack took, shared among its fits."""

from __future__ import annotations

import time

import numpy as np
import pytest

from linfit.engine.dispatch import fit
from linfit.engine.stacked.step_times import StepTimes
from tests.helpers import config


def test_shares_of_a_window_add_up_to_its_time() -> None:
    times = StepTimes(3)
    begun = time.perf_counter()
    times.start_window()
    time.sleep(0.02)
    times.end_window(np.array([0, 2]), np.array([1.0, 3.0]), 4)
    took = time.perf_counter() - begun
    assert 0.02 <= times.seconds.sum() <= took
    assert times.seconds[2] == pytest.approx(3 * times.seconds[0])
    assert times.per_step(1) is None  # it made no step
    assert times.per_step(2) == pytest.approx(times.seconds[2] / 4)


@pytest.mark.parametrize("engine", ["single", "stacked"])
def test_every_fit_has_the_time_of_its_steps(engine: str) -> None:
    configs = [config(engine=engine, steps=steps) for steps in (40, 70)]
    begun = time.perf_counter()
    found = fit(configs)
    took = time.perf_counter() - begun
    shares = [one.step_seconds for one in found]
    assert all(share is not None and share > 0 for share in shares)
    assert sum(40 * share for share in shares if share) <= took
