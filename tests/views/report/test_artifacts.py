"""Pictures and reports of recorded runs: attached, skipped on request, never a failed run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linfit.tracking.schema import mlflow_names
from tests.helpers import ROOT

Linfit = Callable[..., Any]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def artifacts(client: Any, name: str, kind: str) -> set[str]:
    experiment = client.get_experiment_by_name(name)
    [run] = client.search_runs(
        [experiment.experiment_id],
        f"tags.`{mlflow_names.KIND}` = '{kind}' AND tags.`{mlflow_names.CODE}` LIKE '%'",
    )
    top = client.list_artifacts(run.info.run_id)
    inside = [
        file
        for folder in top
        if folder.is_dir
        for file in client.list_artifacts(run.info.run_id, folder.path)
    ]
    return {file.path for file in [*top, *inside]}


def without_numbers(line: str) -> str:
    """Return the words of a line: how far columns stand apart is up to the version of rich."""
    words = re.sub(r"\b[0-9a-f]{32}\b|[\d.][\d.e_-]*", "#", line).split()
    return " ".join(words)


@pytest.mark.matrix
@pytest.mark.pictures
def test_the_readmes_fit_prints_what_stands_there_and_its_pictures_are_attached_to_its_run(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    [command, *shown] = README.split("```console\n$ linfit ", 1)[1].split("```", 1)[0].splitlines()
    done = linfit(*command.split())
    assert done.err == ""
    assert [without_numbers(line) for line in done.out.splitlines()] == [
        without_numbers(line) for line in shown
    ]
    drawn = {
        f"pictures/{name}.{kind}" for name in ("data", "loss", "descent") for kind in ("png", "svg")
    }
    assert artifacts(client, "article", "fit") >= drawn
    [folder] = (workdir / "outputs" / "runs").iterdir()
    assert {
        file.relative_to(folder).as_posix() for file in (folder / "pictures").iterdir()
    } == drawn


@pytest.mark.pictures
def test_cells_that_are_all_alike_are_drawn_and_reported(linfit: Linfit, workdir: Path) -> None:
    """Manual gradients and autograd agree to the bit, and one learning rate diverges."""
    ran = linfit(
        "run",
        "-m",
        "optimizer=sgd",
        "optimizer.lr=0.001,50",
        "gradient=manual,autograd",
        "steps=20",
    )
    assert ran.code == 0 and "could not be made" not in ran.err
    assert linfit("report").code == 0


def test_a_flat_loss_is_drawn(linfit: Linfit, workdir: Path) -> None:
    (workdir / "flat.csv").write_text("a,b,y\n0,0,1\n0,0,2\n0,0,3\n")
    ran = linfit(
        "run",
        "dataset=csv",
        "dataset.path=flat.csv",
        "dataset.features=[a,b]",
        "dataset.target=y",
        "steps=5",
    )
    assert ran.code == 0 and "could not be made" not in ran.err


def test_pictures_false_skips_them(linfit: Linfit, workdir: Path, client: Any) -> None:
    assert linfit("run", "steps=2", "pictures=false").code == 0
    assert linfit("run", "-m", "seed=0,1", "steps=2", "pictures=false").code == 0
    assert not list((workdir / "outputs").rglob("*.png"))


@pytest.mark.pictures
def test_a_picture_that_fails_never_fails_a_run(
    linfit: Linfit, workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loss_chart(fit: Any) -> Any:
        raise RuntimeError("no ink\nat all")

    charts = {"loss_chart": loss_chart}
    monkeypatch.setattr("linfit.views.charts.fits.fit_charts.FIT_CHARTS", charts)
    done = linfit("run", "steps=2")
    assert done.code == 0
    assert (
        done.err == "linfit: the picture loss_chart could not be made (RuntimeError: no ink); "
        "the run is whole without it\n"
    )


SETTINGS = {
    "a backend": {"MPLBACKEND": "nonsense"},
    "a file": {"MATPLOTLIBRC": "{folder}/matplotlibrc"},
    "a folder": {"MPLCONFIGDIR": "{folder}"},
    "a folder that cannot be made": {"MPLCONFIGDIR": "/proc/none"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_what_an_environment_says_of_matplotlib_changes_no_picture(
    settings: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "matplotlibrc").write_text(
        "savefig.dpi: 7\nbackend: nonsense\naxes.prop_cycle: nonsense\n"
    )
    program = (
        "import linfit.views.charts.drawing.notebook_figure, matplotlib; "
        "print(matplotlib.rcParams['savefig.dpi'], matplotlib.get_backend().lower())"
    )
    environment = {
        **os.environ,
        **{name: value.format(folder=tmp_path) for name, value in settings.items()},
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "figure agg\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_whether_a_run_is_drawn_cannot_be_swept(linfit: Linfit, workdir: Path) -> None:
    assert "pictures cannot be swept" in linfit("run", "-m", "pictures=true,false").err
