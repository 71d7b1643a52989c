"""Reproduce 200 runs over all components bit for bit in another process: `make reproduce-all`.

Half of the runs are fits of a sweep.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from linfit.config import FitConfig
from linfit.settings import MLflowTracking
from linfit.sweeps.run.rerun import RepeatedSample, repeat_run, repeat_sample
from linfit.tracking.write.open import open_recorder
from tests import helpers
from tests.stores.write import components, configs, finished

pytestmark = pytest.mark.reproduce_all
HALF = 100
#: Reproduces each of the runs it is given, whose data are in a folder; prints the verdict of each.
ALL = """
import json, sys, linfit
print(json.dumps([linfit.reproduce(run_id, data=sys.argv[1]).verdict for run_id in sys.argv[2:]]))
"""


def many(engines: tuple[str, ...]) -> list[FitConfig]:
    """Return at least as many configs as half of the runs.

    They have every setting of every component, and the engines take turns.
    """
    every = configs(components())
    found = [
        config.model_copy(update={"seed": config.seed + 1000 * again, "steps": 60})
        for again, config in product(range(-(-HALF // len(every))), every)
    ][: max(HALF, len(every))]
    names = [engines[place % len(engines)] for place in range(len(found))]
    return [
        FitConfig.model_validate({**config.as_dict(), "engine": engine})
        for config, engine in zip(found, names, strict=True)
    ]


def python(*arguments: str) -> Any:
    printed = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=1200, check=False
    )
    assert printed.returncode == 0, printed.stderr[-2000:] + printed.stdout[-2000:]
    return json.loads(printed.stdout)


def command(*arguments: str) -> Any:
    return python(
        "-c",
        "from linfit.cli import main; main()",
        *arguments,
        "--data",
        str(helpers.DATA),
        "--exact",
        "--json",
    )


def test_single_runs(workdir: Path) -> None:
    recorder = open_recorder(MLflowTracking(), "single")
    chosen = [config.resolved() for config in many(("single", "single", "stacked"))]
    ids = [repeat_run(config, "one of many", recorder, finished) for config in chosen]
    assert len(ids) >= HALF
    assert {config.optimizer.name for config in chosen} == {row.name for row in helpers.OPTIMIZERS}
    assert set(python("-c", ALL, str(helpers.DATA), *ids)) == {"identical"}
    for run_id in ids[:: len(ids) // 4]:
        assert command("reproduce", run_id)["changes"] == []


@pytest.mark.parametrize(("before", "after"), [(1, 3), (2, 1)])
def test_fits_of_a_sweep(workdir: Path, before: int, after: int) -> None:
    recorder = open_recorder(MLflowTracking(), "swept")
    chosen = [config.resolved(several=True) for config in many(("stacked", "stacked", "single"))]
    sample = RepeatedSample("many", chosen, ("optimizer", "seed"), {})
    sweep, ids = repeat_sample(sample, recorder, finished, workers=before)
    done = command("reproduce", sweep, "--sample", str(len(ids)), "--workers", str(after))
    assert (done["verdict"], done["changes"], len(done["repetitions"])) == (
        "identical",
        [],
        len(ids),
    )
    assert command("reproduce", ids[len(ids) // 2])["reproduces"] == ids[len(ids) // 2]
