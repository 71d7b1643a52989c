"""Sweeps that the tests of views look at: each run once, by the code that users call."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from linfit.views.swept import Swept


@pytest.fixture(scope="session")
def swept_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Swept]:
    """`swept_of("seed=0,1")`: the tables of a sweep that is not recorded; the same arguments give the same one."""
    from linfit.sweeps.app import execute
    from linfit.sweeps.runner import Runner
    from linfit.views import illustration

    made: dict[tuple[str, ...], Swept] = {}

    def run(*arguments: str) -> Swept:
        if arguments not in made:
            folder = tmp_path_factory.mktemp("sweep")
            runner = Runner()
            execute(["--multirun", "tracking=none", "steps=60", f"hydra.sweep.dir={folder}", *arguments], runner)
            assert runner.recorded is not None
            made[arguments] = illustration.swept_of(runner.recorded)
        return made[arguments]

    return run


@pytest.fixture(scope="session")
def usual(swept_of: Callable[..., Swept]) -> Swept:
    """Two optimizers, three learning rates of which one diverges with sgd, eight seeds."""
    return swept_of("optimizer=sgd,adam", "optimizer.lr=0.001,0.007,1.0", "seed=range(0,8)")
