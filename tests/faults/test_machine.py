"""Every fit is there once, with its own bits, after any steps in any order, each broken off or not.

Hypothesis draws the steps. What it prints of a failure (`state.sweep(…)`, line by line) is kept
below as a story.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.faults.world import Doom, World, tell_story

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="forks real processes and kills them, on Linux"
)
#: Files that a sweep of twelve fits touches, more or less.
TOUCHED = 160
OPTIMIZERS, PICKS, SEEDS, SIZES = (
    st.sampled_from(["sgd", "adam"]),
    st.integers(0, 30),
    st.integers(0, 5),
    st.integers(1, 12),
)
MOMENTS = st.integers(1, TOUCHED)
KILLS = st.tuples(st.sampled_from(["main", "helper", "all", "group"]), MOMENTS)
WAY = st.sampled_from(["itself", "itself", "desk"])
COMMON: dict[str, Any] = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
}
#: Two profiles: a minute, the same every time, reported as it was found; and as long as anybody has
#: patience for, then made short.
SHORT = settings(
    **COMMON,
    derandomize=True,
    max_examples=6,
    stateful_step_count=8,
    phases=(Phase.explicit, Phase.generate),
    report_multiple_bugs=False,
)
LONG = settings(**COMMON, max_examples=300, stateful_step_count=20)
#: The seed of the long one; drawn unless it is given, and told where it has found something.
SEED = "LINFIT_SEED"


class Machine(RuleBasedStateMachine):
    """Steps in a world of their own; at the end all that is unfinished goes on."""

    store: Path

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.store)

    @rule(optimizer=OPTIMIZERS, first=SEEDS, size=SIZES, files=st.booleans(), way=WAY)
    def sweep(self, **drawn: Any) -> None:
        self.world.sweep(**drawn)

    @rule(optimizer=OPTIMIZERS, first=SEEDS, size=SIZES, files=st.booleans(), way=WAY, doom=KILLS)
    def kill_sweep(self, **drawn: Any) -> None:
        self.world.sweep(**drawn)

    @rule(
        size=st.integers(9, 12), doom=st.tuples(st.sampled_from(["main", "worker", "all"]), MOMENTS)
    )
    def kill_workers(self, size: int, doom: Doom) -> None:
        self.world.sweep("adam", 0, size, workers=2, doom=doom)

    @rule(first=SEEDS, sizes=st.tuples(SIZES, SIZES), doom=st.none() | KILLS)
    def two_sweeps(self, **drawn: Any) -> None:
        self.world.two_sweeps(**drawn)

    @rule(optimizer=OPTIMIZERS, seed=SEEDS, doom=st.none() | KILLS)
    def run(self, **drawn: Any) -> None:
        self.world.run(**drawn)

    @rule(
        pick=st.none() | PICKS,
        way=WAY,
        doom=st.none() | KILLS,
    )
    def resume(self, **drawn: Any) -> None:
        self.world.resume(**drawn)

    @rule(pick=PICKS, doom=st.none() | KILLS)
    def reproduce(self, **drawn: Any) -> None:
        self.world.reproduce(**drawn)

    @rule(pick=PICKS)
    def verify(self, **drawn: Any) -> None:
        self.world.verify(**drawn)

    @rule(pick=PICKS)
    def delete(self, **drawn: Any) -> None:
        self.world.delete(**drawn)

    @rule(pick=PICKS)
    def restore(self, **drawn: Any) -> None:
        self.world.restore(**drawn)

    @rule(whole=st.booleans())
    def move(self, **drawn: Any) -> None:
        self.world.move(**drawn)

    @rule()
    def relocate(self) -> None:
        self.world.relocate()

    def teardown(self) -> None:
        self.world.end()


@pytest.fixture
def machine(migrated_store: Path) -> type[Machine]:
    """Return the machine, whose worlds begin with an empty store."""
    Machine.store = migrated_store
    return Machine


def test_some_histories(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=SHORT)


@pytest.mark.faults_all
def test_many_histories(machine: type[Machine]) -> None:
    number = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    try:
        run_state_machine_as_test(seed(number)(machine), settings=LONG)
    except BaseException as error:
        error.add_note(f"the same once more: {SEED}={number}")
        raise


#: Histories that once went wrong, and one that has every step.
STORIES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "every step": [
        ("sweep", {"optimizer": "sgd", "first": 0, "size": 5}),
        ("run", {"optimizer": "adam", "seed": 1}),
        ("reproduce", {"pick": 3}),
        ("verify", {"pick": 0}),
        ("delete", {"pick": 2}),
        ("restore", {"pick": 0}),
        ("delete", {"pick": 1}),
        ("resume", {"pick": 0}),
        ("move", {"whole": True}),
        ("run", {"optimizer": "adam", "seed": 2}),
        ("relocate", {}),
        ("two_sweeps", {"first": 3, "sizes": (4, 6), "doom": ("main", 60)}),
        ("resume", {}),
    ],
}


@pytest.mark.parametrize("story", STORIES)
def test_stories(story: str, migrated_store: Path) -> None:
    tell_story(migrated_store, STORIES[story])
