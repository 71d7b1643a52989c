"""A wheel, installed in an empty environment elsewhere, brings its configs and experiments and runs them."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `linfit` of an environment that has the wheel, and what it depends on from here, but not this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    _call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    [wheel] = folder.glob("linfit_lab-*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    _call(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    [site] = environment.glob("lib/python*/site-packages")
    # Its path files are not read there: what is installed from this checkout stays out of sight.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin" / "linfit"


def _call(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_a_shipped_experiment_and_a_sweep(installed: Path, workdir: Path) -> None:
    assert str(ROOT) not in _call(str(installed.with_name("python")), "-c", "import linfit; print(linfit.__file__)")
    fit = _call(str(installed), "run", "article/linear_adam", cwd=workdir)
    assert "linear_adam: completed after 1001 updates" in fit
    sweep = _call(str(installed), "run", "-m", "optimizer=adam,sgd", "steps=20", cwd=workdir)
    assert "2 fits: 2 completed" in sweep


def test_the_wheel_finds_the_users_own_files_first(installed: Path, workdir: Path) -> None:
    (workdir / "experiments").mkdir()
    (workdir / "experiments" / "mine.yaml").write_text("# @package _global_\n# Mine\ndefaults: [/linfit, _self_]\nsteps: 3\n")
    listed = _call(str(installed), "list", "experiments", cwd=workdir)
    assert "mine" in listed
    assert "article/linear_adam" in listed
    assert "steps: 3" in _call(str(installed), "run", "mine", "--cfg", "job", cwd=workdir)
