"""The bar on stderr: what it is told, and what it says of it."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console

from linfit.engine.dispatch import fit_as_completed
from linfit.sweeps.executors.executor import run_fits
from linfit.sweeps.executors.processes import IN_PROCESS, ExecutorSpec
from linfit.sweeps.run.block_pipeline import CompletedFit
from linfit.sweeps.run.hydra_app import execute
from linfit.sweeps.run.session import RunSession
from linfit.views.terminal import progress
from linfit.views.terminal.progress import ProgressBar
from tests.helpers import config

SWEEPS: dict[str, list[Any]] = {
    "a fit alone": [config(engine="single", steps=steps) for steps in (0, 255, 256, 700)],
    "a stack": [
        config(engine="stacked", seed=seed, steps=steps)
        for seed, steps in enumerate((0, 31, 32, 33, 100))
    ],
    "ended before": [
        config(
            engine=engine,
            optimizer={"name": "sgd", "lr": lr},
            steps=600,
            stop={"excess_loss": 1e-3},
        )
        for engine in ("single", "stacked")
        for lr in (1.0, 0.005)
    ],
}


@dataclass
class Heard:
    made: int = 0
    spared: int = 0
    times: int = 0

    def __call__(self, made: int, spared: int) -> None:
        assert min(made, spared) >= 0
        self.made, self.spared, self.times = self.made + made, self.spared + spared, self.times + 1


@pytest.mark.parametrize("configs", SWEEPS.values(), ids=SWEEPS)
def test_every_step_is_reported_as_made_or_spared(configs: list[Any]) -> None:
    heard = Heard()
    fits = [fit for _, fit in fit_as_completed(configs, heard)]
    made = sum(int(fit.steps[-1]) for fit in fits)
    assert heard.made + heard.spared == sum(config.steps for config in configs)
    assert (
        made <= heard.made <= made + 32 * len(fits)
    )  # a stack makes the window full in which a fit ends
    assert heard.times <= 40


@pytest.mark.parametrize("workers", [IN_PROCESS, ExecutorSpec(2)], ids=["here", "in workers"])
def test_workers_report_whole_fits(workers: ExecutorSpec) -> None:
    heard = Heard()
    assert (
        len(list(run_fits([config(seed=seed, steps=40) for seed in range(4)], workers, heard))) == 4
    )
    assert (heard.made, heard.spared) == (160, 0)


class Bar:
    """A bar, on a terminal or none, with the clock in the test's hands."""

    def __init__(self, terminal: bool = True) -> None:
        self.now, self.out = 0.0, io.StringIO()
        console = Console(file=self.out, force_terminal=terminal, width=100, color_system=None)
        self.bar = ProgressBar(console, lambda: self.now)

    def after(self, seconds: float, made: int = 0, spared: int = 0) -> str:
        self.now += seconds
        self.bar.on_steps(made, spared)
        return self.said()

    def recorded(self, seconds: float, *statuses: str) -> str:
        self.now += seconds
        self.bar.advance([CompletedFit("a fit", "", {"status": status}) for status in statuses])
        return self.said()

    def said(self) -> str:
        self.bar.progress.refresh()
        lines = re.sub(r"\x1b\[[\d;?]*\w", "", self.out.getvalue()).replace("\r", "\n").split("\n")
        return " ".join(next((line for line in reversed(lines) if line.strip()), "").split())


def test_the_bar_says_rate_and_time_left_before_the_first_fit_is_done() -> None:
    bar = Bar()
    bar.bar.begin(4, 4000)
    assert bar.said().startswith("0/4 fits")
    assert bar.after(20).endswith("0:00:20")  # nothing is known yet
    assert bar.after(10, made=1000).endswith("100 steps/s 0:00:30 0:00:30 left")
    bar.after(10, made=1000, spared=1000)
    assert bar.after(0).endswith("100 steps/s 0:00:40 0:00:10 left")
    assert bar.after(10, made=1000).endswith("100 steps/s 0:00:50 0:00:00 left")
    assert bar.recorded(0, "completed").endswith("0:00:50 0:00:00 left")
    assert bar.recorded(3, "diverged").endswith(
        "0:00:53 0:00:03 left 1 diverged"
    )  # recording takes its time too
    assert bar.recorded(3, "completed", "failed").startswith("4/4 fits")
    bar.bar.end()
    assert bar.said().endswith("100 steps/s 0:00:56 0:00:00 left 1 diverged, 1 failed")


#: The events of a scene, in order: (seconds, steps made, steps spared, fits handed over).
Event = tuple[float, int, int, int]
HANDED: Event = (0.0, 0, 0, 1)
FIT: list[Event] = [(0.2, 250, 0, 0)] * 12 + [HANDED]
SLOW: list[Event] = [(0.8, 250, 0, 0)] * 12 + [HANDED]
STOPPED: list[Event] = [(0.2, 256, 0, 0), (0.1, 100, 99_644, 0), HANDED]
CHUNK: list[Event] = [(3.0, 50_000, 0, 0)] + [(0.002, 0, 0, 1)] * 100
#: The steps of a scene, its events, and the seconds until which its duration is unknown.
SCENES: dict[str, tuple[int, list[Event], float]] = {
    "imports before the first steps": (24 * 3000, [(6.0, 250, 0, 0), *FIT[1:], *FIT * 23], 6.0),
    "chunks of fits from other processes": (20 * 50_000, [(0.0, 0, 0, 0), *CHUNK * 20], 3.0),
    "fits that stop early": (40 * 100_000, [(3.0, 256, 0, 0), *STOPPED[1:], *STOPPED * 39], 3.5),
    "many that diverge at once": (
        480 * 3000,
        [(4.0, 15_000, 250_000, 0), *[(0.04, 12_500, 0, 0)] * 94, *[HANDED] * 480],
        4.0,
    ),
    "recording that takes longer": (
        400 * 10,
        [(1.0, 2000, 0, 0)] * 2 + [(0.1, 0, 0, 1)] * 400,
        2.1,
    ),
    "fits that are slower later": (20 * 3000, FIT * 10 + SLOW * 10, 24.0 + 31.0),
}


@pytest.mark.parametrize(("steps", "scene", "unknown"), SCENES.values(), ids=SCENES)
def test_the_time_left_is_never_far_from_what_it_will_be(
    steps: int, scene: list[Event], unknown: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.0)
    bar = Bar()
    bar.bar.begin(sum(fits for *_, fits in scene), steps)
    whole, told = sum(seconds for seconds, *_ in scene), 0
    for seconds, made, spared, fits in scene:
        said = (
            bar.recorded(seconds, *["completed"] * fits)
            if fits
            else bar.after(seconds, made, spared)
        )
        found = re.search(r"(\d+):(\d\d):(\d\d) left", said)
        told += found is not None
        if found is None or bar.now <= unknown:
            continue
        left, really = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3]), whole - bar.now
        assert really / 2 - 1 <= left <= really * 2 + 2, (bar.now, left, really)
    assert told >= len(scene) - 3 and "0:00:00 left" in said


@pytest.mark.parametrize(
    ("arguments", "ended"),
    [
        (["steps=600"], "1/1 fits"),
        (["steps=0"], "1/1 fits"),
        (["steps=900", "stop.excess_loss=0.1", "optimizer.lr=0.1"], "1/1 fits"),
        (["optimizer=sgd", "optimizer.lr=1", "steps=900"], "1/1 fits"),
        (["-m", "seed=0,1,2", "steps=60"], "3/3 fits"),
        (
            [
                "-m",
                "seed=0,1,2",
                "steps=60",
                "hydra/sweeper=basic",
                "hydra.sweeper.max_batch_size=1",
            ],
            "3/3 fits",
        ),
        (["-m", "seed=0,1", "steps=60", "hydra/launcher=basic"], "1/1 fits"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("bare")
def test_the_bar_ends_where_the_fits_have_ended(
    arguments: list[str], ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONE_FIT_SECONDS", 0.0)
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.0)
    bar = Bar()
    execute([*arguments, "tracking=none", "pictures=false"], session=RunSession(bar.bar))
    assert bar.said().startswith(f"{ended} ━━━━━━━━━━━━━━━━━━━━") and "0:00:00 left" in bar.said()


def test_where_nobody_looks_the_bar_is_drawn_once() -> None:
    bar = Bar(terminal=False)
    bar.bar.begin(2, 20)
    bar.after(1, made=20)
    bar.recorded(1, "completed", "completed")
    assert bar.out.getvalue() == ""
    bar.bar.end()
    assert bar.out.getvalue().count("2/2 fits") == 1


@pytest.mark.parametrize(
    ("terminal", "seconds", "shown"), [(True, 5, True), (True, 0.5, False), (False, 5, False)]
)
def test_a_fit_alone_has_a_bar_when_it_takes_long_and_somebody_looks(
    terminal: bool, seconds: float, shown: bool
) -> None:
    bar = Bar(terminal)
    bar.bar.begin(1, 2000)
    bar.after(0)
    said = bar.after(seconds, made=500)
    bar.bar.end()
    assert said.endswith("100 steps/s 0:00:05 0:00:15 left") == shown
    assert (bar.out.getvalue() != "") == shown
