"""A folder full of traps, which leave a mark if anybody runs, imports or obeys them.

The traps are modules, programs, a repository and settings. Commands run in processes of their own,
with the working directory in every place where an untidy environment has it.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linfit.system.host import end_detached, find_program, start_detached
from linfit.tracking.provenance import git

#: Modules that linfit and its dependencies import, some of them only where they are installed, and
#: modules that Python imports by itself.
MODULES = (
    *(
        "mlflow",
        "torch",
        "sklearn",
        "pandas",
        "numpy",
        "cloudpickle",
        "joblib",
        "matplotlib",
        "scipy",
        "pyarrow",
        "yaml",
        "hydra",
        "flask",
    ),
    *(
        "bottleneck",
        "numexpr",
        "cupy",
        "IPython",
        "uvicorn",
        "gunicorn",
        "huey",
        "requests",
        "psutil",
        "rich",
        "git",
        "dotenv",
        "tomllib",
    ),
    *(
        "sitecustomize",
        "usercustomize",
        "antlr4",
        "sqlalchemy",
        "alembic",
        "click",
        "jinja2",
        "typing_extensions",
        "plotly",
        "dask",
        "ray",
    ),
)
PROGRAMS = (
    "git",
    "uname",
    "fc-list",
    "ldconfig",
    "gcc",
    "sh",
    "python",
    "python3",
    "waitress-serve",
    "xdg-open",
    "lsb_release",
)
HOOKS = (
    "post-index-change",
    "fsmonitor-watchman",
    "post-checkout",
    "reference-transaction",
    "pre-auto-gc",
)
#: What a repository's config may have run.
KEYS = (
    *(
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.editor",
        "core.askPass",
        "core.gitProxy",
        "core.alternateRefsCommand",
    ),
    *(
        "diff.external",
        "diff.trap.command",
        "diff.trap.textconv",
        "filter.trap.clean",
        "filter.trap.smudge",
        "filter.trap.process",
    ),
    *(
        "credential.helper",
        "gpg.program",
        "pager.ls-tree",
        "pager.rev-parse",
        "alias.rev-parse",
        "remote.origin.uploadpack",
    ),
)
#: Runs commands one after the other, as if each were typed.
TYPED = """
import json, sys
from linfit import __main__ as program
for words in json.loads(sys.argv.pop()):
    sys.argv[:] = ["linfit", *words]
    try:
        program.main()
    except SystemExit as end:
        print(" ".join(words), "->", end.code, file=sys.stderr)
"""
FIT = "steps=5"


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """The folder, with a store that has nothing yet, an experiment of its own, and a plug-in."""
    folder = tmp_path_factory.mktemp("traps")
    mark = f"open({str(folder / 'MARK')!r}, 'a').write(__name__ + '\\n')\n"
    for name in MODULES:
        write(folder / f"{name}.py", mark)
    write(folder / "hydra_plugins" / "trap.py", mark)
    write(folder / "gunicorn.conf.py", mark)
    write(
        folder / "trap-1.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: trap\nVersion: 1\n"
    )
    points = (
        "[linfit.components]\ntrap = mlflow\n"
        "[mlflow.tracking_store]\nsqlite = mlflow:x\n"
        "[mlflow.run_context_provider]\nx = mlflow:x\n"
    )
    write(folder / "trap-1.dist-info" / "entry_points.txt", points)
    write(folder / "matplotlibrc", "backend: nonsense\naxes.prop_cycle: nonsense\n")
    write(folder / "neighbour_4711.py", "open('NAMED', 'w').close()\n")
    write(folder / "part_4711.py", "import neighbour_4711\n")
    for name in PROGRAMS:
        write(folder / name, f"#!/bin/sh\necho {name} >> '{folder}/MARK'\n").chmod(0o755)
    write(folder / "experiments" / "mine.yaml", "defaults: [/linfit, _self_]\nsteps: 3\n")
    lay_repository(folder)
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    return folder


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    return file


def lay_repository(folder: Path) -> None:
    """Make the folder a repository with one commit and an uncommitted change.

    It has every key and hook that may name a program.
    """
    program = find_program("git")
    if program is None:
        pytest.skip("there is no git")

    def run(*arguments: str) -> None:
        author = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(
            [program, "-C", str(folder), *author, *arguments], check=True, capture_output=True
        )

    run("init", "-q", "-b", "trunk")
    run("add", "experiments")
    run("commit", "-qm", "one")
    trap = write(folder / ".git" / "trap", f"#!/bin/sh\necho repository >> '{folder}/MARK'\n")
    trap.chmod(0o755)
    for key in KEYS:
        run("config", key, f"!{trap}" if key.startswith("alias") else str(trap))
    for hook in HOOKS:
        shutil.copy(trap, folder / ".git" / "hooks" / hook)
    write(folder / ".gitattributes", "* filter=trap diff=trap\n")
    write(folder / "experiments" / "mine.yaml", "defaults: [/linfit, _self_]\nsteps: 4\n")


def untidy(folder: Path) -> dict[str, str]:
    """Return the environment of a user with the working directory in PATH.

    It says nothing of MLflow.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MLFLOW_", "PYTHON", "GIT_"))
    }
    return {
        **kept,
        "PATH": f".{os.pathsep}{folder}{os.pathsep}{os.pathsep}{os.environ['PATH']}",
        "MPLBACKEND": "nonsense",
    }


def call(folder: Path, *program: str, **environment: str) -> str:
    """Run Python in the folder; what it said on stderr."""
    command = [sys.executable, *program]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**untidy(folder), **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def typed(folder: Path, *commands: str) -> str:
    """Run commands in the folder, as the program `linfit` runs them: from a file elsewhere."""
    program = write(folder.parent / "program" / "typed.py", TYPED)
    said = call(folder, str(program), json.dumps([command.split() for command in commands]))
    assert [line for line in said.splitlines() if " -> " in line] == [
        f"{command} -> 0" for command in commands
    ], said
    return said


def marks(folder: Path) -> list[str]:
    """What was run since the last look."""
    file = folder / "MARK"
    found = sorted(set(file.read_text(encoding="utf-8").split())) if file.exists() else []
    file.unlink(missing_ok=True)
    return found


@pytest.mark.slow
def test_the_traps_work(traps: Path) -> None:
    """Each of them catches one who does not mind."""
    environment = untidy(traps)
    subprocess.run(
        [sys.executable, "-c", "import torch, hydra_plugins.trap"],
        cwd=traps,
        env=environment,
        check=True,
    )
    subprocess.run("git; uname", shell=True, cwd=traps, env=environment, check=True)
    git_itself = find_program("git")
    assert git_itself is not None
    subprocess.run([git_itself, "status"], cwd=traps, env=environment, capture_output=True)
    assert marks(traps) == ["git", "hydra_plugins.trap", "repository", "torch", "uname"]


@pytest.mark.slow
def test_runs_spring_no_trap(traps: Path) -> None:
    said = typed(
        traps,
        "run mine plugins=[part_4711]",
        f"run -m seed=0,1 {FIT} hydra.launcher.workers=2",
        "plan mine",
        "list",
        "list optimizer/adam",
    )
    assert marks(traps) == []
    assert "Traceback" not in said and "could not be made" not in said
    assert (traps / "NAMED").exists()  # what was named was run, and what it imports
    [folder] = (traps / "outputs" / "runs").iterdir()
    assert "-steps: 3\n+steps: 4\n" in (folder / "git.diff").read_text(encoding="utf-8")
    assert list((folder / "pictures").glob("*.png"))


@pytest.mark.slow
def test_reading_what_was_recorded_springs_no_trap(traps: Path) -> None:
    """Stored settings name classes to make; pickles lie among the artifacts."""
    if not (traps / "outputs" / "sweeps").exists():
        pytest.skip("nothing was recorded")
    [sweep] = (traps / "outputs" / "sweeps").iterdir()
    run = max(
        place.name
        for place in (traps / "outputs" / "artifacts" / "mine").iterdir()
        if len(place.name) == 32
    )
    mark = f"open({str(traps / 'MARK')!r}, 'a').write('stored')"
    target: dict[str, Any] = {"_target_": "builtins.exec", "_args_": [mark]}
    hydra = {
        "callbacks": {"trap": target},
        "launcher": target,
        "sweeper": target,
        "job_logging": {"()": "builtins.exec"},
    }
    for file in traps.rglob("multirun.yaml"):
        write(file, json.dumps({"hydra": hydra}))
    for file in traps.rglob(".hydra/*.yaml"):
        write(file, json.dumps({"hydra": hydra, "optimizer": target}))
    pickled = f"cbuiltins\nexec\n(V{mark}\ntR."
    for place in (sweep, *(traps / "outputs" / "artifacts").rglob("weights.safetensors")):
        for name in ("python_model.pkl", "model.pkl", "config.pickle", "job_return.pickle"):
            write((place if place.is_dir() else place.parent) / name, pickled)
    typed(
        traps,
        "show last",
        "resume",
        f"reproduce {sweep}",
        "reproduce last",
        "report last",
        "script last --trust",
        f"diff {run} {run} --trust",
        "verify",
        "relocate",
        "model last",
    )
    assert marks(traps) == []


@pytest.mark.slow
@pytest.mark.parametrize("program", [("-P", "-m", "linfit"), ("-m", "linfit")], ids=" ".join)
def test_python_m_springs_no_trap(traps: Path, program: tuple[str, ...]) -> None:
    call(traps, *program, "run", FIT, "tracking=none")
    assert marks(traps) == []


@pytest.mark.slow
def test_completion_springs_no_trap(traps: Path) -> None:
    program = write(traps.parent / "program" / "typed.py", TYPED)
    said = call(
        traps,
        str(program),
        "[[]]",
        _LINFIT_COMPLETE="bash_complete",
        COMP_WORDS="linfit run opt",
        COMP_CWORD="2",
    )
    assert (said.strip(), marks(traps)) == ("-> 0", [])


@pytest.mark.slow
def test_workers_of_a_program_spring_no_trap(traps: Path) -> None:
    """A program that lies elsewhere has the folder for its working directory."""
    program = (
        "import linfit\n"
        "if __name__ == '__main__':\n"
        "    print(linfit.sweep(['seed=0,1', 'steps=2', 'hydra.launcher.workers=2']))\n"
    )
    call(
        traps, str(write(traps.parent / "program" / "sweeps.py", program)), PATH=os.environ["PATH"]
    )
    assert marks(traps) == []


@pytest.mark.slow
def test_the_ui_springs_no_trap(traps: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = write(traps.parent / "program" / "typed.py", TYPED)
    words = json.dumps([["ui", "--port", str(port), "--no-browser"]])
    with (traps.parent / "ui.log").open("wb") as log:
        process = start_detached(
            [sys.executable, str(program), words],
            cwd=traps,
            env=untidy(traps),
            stdout=log,
            stderr=log,
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/health", process)
        finally:
            process.terminate()
            process.wait(30)
            end_detached(process, 30)
    assert marks(traps) == []


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
        else:
            return
    raise AssertionError("the server has not begun")


# ---- repositories ----


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clean repository with one config."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "a b ü 50%"
    write(folder / "conf" / "x.yaml", "a: 1\n")
    for command in (
        "init -q -b trunk",
        "add .",
        "-c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -qm one",
    ):
        subprocess.run(
            ["git", "-C", str(folder), *command.split()], check=True, capture_output=True
        )
    monkeypatch.chdir(folder)
    git.forget_git_state()
    yield folder
    git.forget_git_state()


def test_no_missing_object_is_fetched(repository: Path) -> None:
    """A repository that says that it was cloned in part has a remote whose address is a program."""
    trap = write(repository.parent / "trap", f"#!/bin/sh\ntouch '{repository.parent}/MARK'\n")
    trap.chmod(0o755)
    config = (
        "[core]\nrepositoryformatversion = 1\n"
        "[extensions]\npartialclone = origin\n"
        "[protocol]\nallow = always\n"
        f'[remote "origin"]\nurl = "ext::{trap}"\npromisor = true\n'
        "fetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
    write(repository / ".git" / "config", config)
    blob = subprocess.run(
        ["git", "rev-parse", "HEAD:conf/x.yaml"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    write(repository / "conf" / "x.yaml", "a: 2\n")
    assert git.read_git_state()["dirty"] == "true" and git.read_git_diff() == ""
    assert not (repository.parent / "MARK").exists()
    subprocess.run(["git", "diff", "HEAD"], capture_output=True)
    assert (repository.parent / "MARK").exists()  # it is a trap


def test_a_repository_that_says_to_be_elsewhere_is_read_here(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository.parent / "elsewhere" / "conf" / "x.yaml", "secret of another folder\n")
    subprocess.run(
        ["git", "config", "core.worktree", str(repository.parent / "elsewhere")], check=True
    )
    for name in (
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_EXTERNAL_DIFF",
        "GIT_TRACE",
    ):
        monkeypatch.setenv(name, str(repository.parent / "elsewhere"))
    assert git.read_git_state()["dirty"] == "false"
    write(repository / "conf" / "x.yaml", "a: 2\n")
    git.forget_git_state()
    assert "-a: 1\n+a: 2\n" in git.read_git_diff()


def test_somebody_elses_repository_is_left_alone(repository: Path) -> None:
    try:
        for place in (repository, repository / ".git"):
            os.chown(place, 12345, 12345)
    except (AttributeError, OSError):
        pytest.skip("only root can give files away")
    assert (git.read_git_state(), git.read_git_diff()) == ({}, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("name", [".git", ".git/HEAD", ".git/config"])
def test_a_repository_that_never_answers_is_none(
    repository: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(git, "GIT_TIMEOUT", 0.3)
    place = repository / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    os.mkfifo(place)
    begin = time.monotonic()
    assert (git.read_git_state(), git.collect_git_tags(), git.read_git_diff()) == ({}, {}, "")
    assert time.monotonic() - begin < 5


def test_pipes_among_the_configs_are_left_out(repository: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("the system has no named pipes")
    os.mkfifo(repository / "conf" / "y.yaml")
    assert git.read_git_state()["dirty"] == "false"


def test_no_program_of_the_working_directory_is_found(
    traps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(traps)
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", str(traps), f"{traps}/../{traps.name}"]))
    assert {name: find_program(name) for name in PROGRAMS} == dict.fromkeys(PROGRAMS)
