"""Arrays from Python: a run keeps their numbers for other processes; changed ones are refused."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import linfit as package
from linfit.engine.dispatch import fit
from linfit.engine.fit import Status
from linfit.problem.datasets.arrays import Arrays
from linfit.sweeps.executors.processes import pack_fits, run_packed_fits
from linfit.sweeps.folder.planned import ResumeOptions, read_planned_configs
from tests.helpers import config

Linfit = Callable[..., Any]
X, Y = np.arange(12.0).reshape(6, 2) / 10, np.array([0.1, -0.2, 0.3, 0.25, 1.0, 0.5])
LAST = "outputs/sweeps/one"


def recorded(monkeypatch: pytest.MonkeyPatch, sweep: bool) -> Arrays:
    """A run of arrays that this process then has no more, as another process has never had them."""
    data = package.arrays(X, Y, weight=np.ones(6))
    given = [*data.overrides, "steps=20", "pictures=false"]
    if sweep:
        package.sweep([*given, "optimizer.lr=0.1,0.01", f"hydra.sweep.dir={LAST}"])
    else:
        from linfit.sweeps.run.hydra_app import execute

        execute(given)
    forgotten = Arrays.model_validate(data.model_dump())
    del data
    gc.collect()
    assert not forgotten.is_loaded()
    return forgotten


@pytest.mark.matrix
def test_a_run_of_arrays_is_reproduced_from_what_it_keeps(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(monkeypatch, sweep=False)
    assert linfit("reproduce", "--exact").code == 0


def test_so_are_the_fits_of_a_sweep(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(monkeypatch, sweep=True)
    assert all(
        stored.problem().X.tolist() == X.tolist()
        for stored in read_planned_configs(Path(LAST), [0, 1], ResumeOptions())
    )  # as `resume` reads them
    gc.collect()
    assert linfit("verify").code == 0
    gc.collect()
    assert linfit("reproduce", LAST, "--exact").code == 0


def test_changed_numbers_are_refused_by_name(
    linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recorded(monkeypatch, sweep=False)
    [file] = (workdir / "outputs" / "artifacts").rglob(data.file_name)
    np.save(file, np.load(file) + 1)
    again = linfit("reproduce")
    assert again.code == 2 and f"{file} was changed after it was written" in again.err
    file.write_bytes(pickle.dumps(Y))
    assert linfit("reproduce").code == 2
    file.unlink()
    again = linfit("reproduce")
    assert again.code == 2 and f"has no file {data.file_name}" in again.err


@pytest.mark.matrix
def test_numbers_travel_to_other_processes() -> None:
    data = package.arrays(X, Y)
    here = fit(config(dataset=data, steps=20))
    sent = pickle.dumps(pack_fits([here.config]))
    del data, here
    gc.collect()
    [(_, there)] = run_packed_fits(*pickle.loads(sent))
    assert there["status"] is Status.COMPLETED
    [(_, lost)] = run_packed_fits(pickle.loads(sent)[0], {})
    assert (
        lost["status"] is Status.FAILED
        and "call linfit.arrays on the same numbers first" in lost["error"]
    )
