"""Locks, Makefile, workflow and matrix install what pyproject.toml asks for.

They do so by the same targets everywhere.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import matrix

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
#: Lock → the extras that it holds beside linfit's own dependencies.
HASHED = {"requirements.lock": ["dev"], "requirements-extras.lock": list(EXTRAS)}
TORCH = "requirements-torch.lock"
#: What `make site` adds to the environment of requirements.lock.
SITE = "requirements-site.lock"
WORKFLOW = ROOT / ".github" / "workflows" / "checks.yml"
#: Without what a make that runs these tests tells those below it.
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}


def read_lock(name: str) -> dict[str, set[Version]]:
    """Name → locked versions, of which environment markers choose one."""
    pins: dict[str, set[Version]] = {}
    for package, version in re.findall(
        r"^([\w.-]+)==([^\s;\\]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE
    ):
        pins.setdefault(canonicalize_name(package), set()).add(Version(version))
    return pins


@pytest.mark.parametrize("name", HASHED)
def test_a_lock_has_what_is_asked_for_but_torch(name: str) -> None:
    pins = read_lock(name)
    asked = [
        Requirement(text)
        for text in [
            *PROJECT["dependencies"],
            *(part for extra in HASHED[name] for part in EXTRAS[extra]),
        ]
    ]
    for requirement in asked:
        versions = pins.get(canonicalize_name(requirement.name), set())
        assert bool(versions) is (requirement.name != "torch"), requirement
        assert all(version in requirement.specifier for version in versions), requirement


@pytest.mark.parametrize(("name", "num"), [*((name, 100) for name in HASHED), (SITE, 50)])
def test_a_lock_has_hashes_of_everything(name: str, num: int) -> None:
    pins = re.split(r"\n(?=\w)", (ROOT / name).read_text(encoding="utf-8"))[1:]
    assert len(pins) > num
    assert [pin for pin in pins if "--hash=sha256:" not in pin] == []


def test_torchs_lock_has_what_it_alone_needs() -> None:
    pins = read_lock(TORCH)
    [asked] = (Requirement(text) for text in PROJECT["dependencies"] if text.startswith("torch"))
    assert all(version in asked.specifier for version in pins["torch"])
    assert {"sympy", "triton"} <= pins.keys()
    base, extras = read_lock("requirements.lock"), read_lock("requirements-extras.lock")
    assert pins.keys() & base.keys() == set()
    # An extra may need the same packages, as dask needs fsspec.
    assert all(pins[name] == extras[name] for name in pins.keys() & extras.keys())
    needed = [Requirement(text) for text in requires("torch") or []]
    assert {
        canonicalize_name(one.name) for one in needed if one.marker is None
    } <= pins.keys() | base.keys()
    assert "--hash" not in (ROOT / TORCH).read_text(encoding="utf-8")


def test_locks_agree() -> None:
    assert read_lock("requirements.lock").items() <= read_lock("requirements-extras.lock").items()


def test_the_sites_lock_has_what_it_asks_for_and_changes_no_other_version() -> None:
    site, extras = read_lock(SITE), read_lock("requirements-extras.lock")
    for requirement in map(Requirement, PYPROJECT["dependency-groups"]["site"]):
        versions = site[requirement.name]
        assert all(version in requirement.specifier for version in versions), requirement
    assert all(site[name] <= extras[name] for name in site.keys() & extras.keys())


@pytest.mark.parametrize("name", [*HASHED, SITE, TORCH])
def test_no_lock_names_an_index(name: str) -> None:
    assert re.findall(r"://|--(?!hash)\w+", (ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("version", [(3, 10), (3, 11), (3, 13), (3, 14)], ids=str)
def test_a_python_that_is_not_admitted_is_refused_in_one_line(
    version: tuple[int, int], tmp_path: Path
) -> None:
    called = ".".join(map(str, version))
    admitted = called in SpecifierSet(PROJECT["requires-python"])
    python = tmp_path / "python"
    pretended = (
        f"import sys; sys.version_info = {(*version, 0)}; "
        "exec(sys.argv[2]) if sys.argv[1] == '-c' else None"
    )
    python.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(pretended)} "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    done = subprocess.run(
        [
            "make",
            f"PYTHON={python}",
            f"VENV={tmp_path}/venv",
            "PIP=true",
            f"BIN={tmp_path}",
            f"{tmp_path}/venv/.installed",
        ],
        cwd=ROOT,
        env=ALONE,
        capture_output=True,
        text=True,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("linfit needs Python")]
    assert [line for line in said if f"is {called}: make PYTHON=" in line] == said
    assert len(said) == (0 if admitted else 1), done.stderr


@pytest.mark.parametrize(("system", "program"), [("", "bin/mypy"), ("Windows_NT", "Scripts/mypy")])
def test_programs_stand_where_the_system_has_them(system: str, program: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", f"OS={system}", "types"],
        cwd=ROOT,
        env=ALONE,
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1].endswith(f"/{program}"), done.stderr


def test_the_workflow_calls_targets_that_are_there() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    called = re.findall(
        r"^make (\S+)",
        "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"]),
        re.MULTILINE,
    )
    targets = re.findall(
        r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert (
        {"lint", "types", "test", "slow", "matrix", "browser", "faults"}
        <= set(called)
        <= set(targets)
    )
    assert {
        system.partition("-")[0] for system in jobs["tests"]["strategy"]["matrix"]["system"]
    } == {"ubuntu", "macos", "windows"}
    assert jobs["matrix"]["strategy"]["matrix"]["python"] == list(matrix.PYTHONS)
    assert jobs["matrix"]["strategy"]["matrix"]["environment"] == list(matrix.USUAL)


def test_the_workflow_may_only_read() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert yaml.safe_load(text)["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    assert [
        action
        for action in re.findall(r"uses: (.+)", text)
        if not re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action)
    ] == []


def test_the_matrix_has_every_python_that_is_admitted() -> None:
    minors = [f"3.{minor}" for minor in range(30)]
    assert list(matrix.PYTHONS) == [
        python for python in minors if python in SpecifierSet(PROJECT["requires-python"])
    ]


@pytest.mark.parametrize("script", ["exit 127", "echo 3.12", "echo what; echo is; echo this"])
def test_an_interpreter_that_does_not_run_is_not_found(script: str, tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text(f"#!/bin/sh\n{script}\n")
    shim.chmod(0o755)
    assert matrix.ask_interpreter(str(shim)) is None
    assert matrix.ask_interpreter(str(tmp_path / "absent")) is None


def test_the_interpreters_at_hand_are_found_once_each(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    found = dict(matrix.find_interpreters())
    assert found[f"3.{sys.version_info.minor}"] == sys.executable
    assert set(found) <= set(matrix.PYTHONS)


def test_the_lowest_torch_is_the_declared_one() -> None:
    assert f"torch>={matrix.torch('lowest-torch')[0].partition('==')[2]}" in PROJECT["dependencies"]


@pytest.mark.parametrize(
    ("passed", "failed", "ok"), [(100, 0, True), (99, 1, False), (0, 0, False), (None, 0, False)]
)
def test_an_environment_without_a_test_that_passed_has_failed(
    passed: int | None, failed: int, ok: bool
) -> None:
    assert matrix.Outcome("lowest", "3.11", {}, passed, failed, 1.0).ok is ok


def test_an_environment_that_cannot_be_made_is_a_row_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = matrix.run_environment("locked", "3.11", str(tmp_path / "absent"), tmp_path)
    matrix.print_table([outcome])
    assert not outcome.ok
    assert "not made" in capsys.readouterr().out.splitlines()[-1]
