"""Sweeps that the tests of views look at: each run once, by the code that users call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from linfit.engine.dispatch import fit_as_completed
from linfit.engine.fit import Fit, Status
from linfit.sweeps.run.hydra_app import execute
from linfit.sweeps.run.result import RunResult
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.artifacts import open_sweep_data as swept_in
from linfit.views.results import Results
from tests.views.browsing import launched, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Components that a user has given names of their own.
OPTIONS = {"fast": "name: adam\nlr: 0.1\n", "slow": "name: adam\nlr: 0.002\n"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launched()


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[dict[str, str]]:
    """Return the addresses of MLflow's UI on the store in the module's fixture `folder`."""
    with served(folder) as addresses:
        yield addresses


@pytest.fixture(scope="session")
def swept_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SweepData]:
    """`swept_of("seed=0,1")`: an unrecorded sweep, run once for the same arguments."""
    from linfit.sweeps.run.hydra_app import execute
    from linfit.views.report import artifacts

    made: dict[tuple[str, ...], SweepData] = {}

    def run(*arguments: str) -> SweepData:
        if arguments not in made:
            folder = tmp_path_factory.mktemp("sweep")
            steps = (
                [] if any(argument.startswith("steps=") for argument in arguments) else ["steps=60"]
            )
            result = execute(
                ["--multirun", "tracking=none", *steps, f"hydra.sweep.dir={folder}", *arguments]
            )
            assert result.recorded is not None
            made[arguments] = artifacts.open_sweep_data(result.recorded)
        return made[arguments]

    return run


@pytest.fixture(scope="session")
def usual(swept_of: Callable[..., SweepData]) -> SweepData:
    """Two optimizers, three learning rates of which one diverges with sgd, eight seeds."""
    return swept_of("optimizer=sgd,adam", "optimizer.lr=0.001,0.007,1.0", "seed=range(0,8)")


@pytest.fixture
def sweep(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Results, Path, RunResult]]:
    """Runs a sweep, a share of whose fits fail; its results, its folder, and what ran it."""
    (workdir / "conf" / "optimizer").mkdir(parents=True)
    for name, text in OPTIONS.items():
        (workdir / "conf" / "optimizer" / f"{name}.yaml").write_text(text)

    def run(*arguments: str, failing: float = 0.0) -> tuple[Results, Path, RunResult]:
        random = np.random.default_rng(len(arguments))

        def some(*given: Any) -> Iterator[tuple[int, Fit]]:
            for place, fit in fit_as_completed(*given):
                fails = random.random() < failing
                yield place, Fit(fit.config, Status.FAILED, error="no luck") if fails else fit

        monkeypatch.setattr("linfit.sweeps.executors.executor.fit_as_completed", some)
        steps = [] if any(argument.startswith("steps=") for argument in arguments) else ["steps=12"]
        result = execute(["--multirun", *steps, *arguments])
        assert result.recorded is not None
        return Results(swept_in(result.recorded)), result.recorded.folder, result

    return run
