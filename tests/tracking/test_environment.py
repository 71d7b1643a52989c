"""What is kept of where a run's numbers come from: packages, machine, code, git."""

from __future__ import annotations

import ast
import json
import platform
import re
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from linfit.config import FitConfig
from linfit.tracking import code, environment, git, layout

Linfit = Callable[..., Any]
CANARY = "s3cretcanary"


def test_every_installed_package_has_its_version() -> None:
    there = {re.sub(r"[-_.]+", "-", found.name).lower(): found.version for found in distributions() if ".dist-info" in str(found._path)}  # type: ignore[attr-defined]
    assert len(there) > 50
    assert there.items() <= environment.packages().items()


def test_the_machine_is_described_as_torch_and_numpy_see_it() -> None:
    found = environment.environment(3)
    assert found["python"] == platform.python_version()
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert (found["threads"], found["device"], found["mkl_cbwr"]) == ("3", "cpu", "COMPATIBLE")
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["blas"].split()[0] in torch.__config__.show()
    assert found["numpy_blas"].split()[0] in str(np.show_config(mode="dicts"))
    assert platform.machine() in found["platform"]
    assert found["cpu"] and all(isinstance(value, str) for value in found.values())


@pytest.mark.parametrize(
    ("info", "name"),
    [("processor: 0\nmodel name\t: Some CPU @ 3 GHz\nflags: a\nmodel name\t: other\n", "Some CPU @ 3 GHz"), (None, None), ("x: y\n", None)],
)
def test_the_processor_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str | None, name: str | None) -> None:
    file = tmp_path / "cpuinfo"
    if info is not None:
        file.write_text(info)
    monkeypatch.setattr(environment, "CPU_INFO", file)
    assert environment.cpu.__wrapped__() == (name or platform.processor() or platform.machine())


# ---- code ----

SOURCE = (
    '"""A module."""\n\nclass A:\n    """Text."""\n\n    def f(self, x):\n        """More."""\n        return [x + 1, ""]  # a comment\n'
)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (SOURCE.replace("More.", "Less."), True),
        (SOURCE.replace("  # a comment", ""), True),
        (SOURCE.replace("[x + 1, ", "[\n            x + 1,\n            "), True),
        (SOURCE.replace('        """More."""\n', ""), True),
        (SOURCE.replace("x + 1", "x + 2"), False),
        (SOURCE.replace("x + 1", "x - 1"), False),
        (SOURCE.replace('""]', '"a"]'), False),
        (SOURCE.replace("[x + 1", "[1 + x"), False),
        (SOURCE.replace("(self, x)", "(self, x=None)"), False),
    ],
)
def test_what_counts_as_code(tmp_path: Path, other: str, same: bool) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(SOURCE)
    two.write_text(other)
    assert (code._syntax(one) == code._syntax(two)) is same


def test_empty_fields_which_differ_between_pythons_are_left_out() -> None:
    function = ast.parse("def f(): pass").body[0]
    before = code._dump(function)
    function.type_params = []  # type: ignore[attr-defined]
    assert code._dump(function) == before
    assert "type_params" not in before and "decorator_list" not in before


def test_the_files_behind_the_digest_are_named() -> None:
    files = code.file_digests()
    assert {"problem/losses.py", "method/optimizers.py", "engine/single.py"} <= set(files)
    assert not [name for name in files if name.startswith(("tracking", "views", "sweeps"))]
    assert len({files["problem/losses.py"], files["engine/single.py"]}) == 2


# ---- git ----


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    commands = ("init -q -b trunk", "add .", "-c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -qm one")
    (tmp_path / "file.txt").write_text("one\n")
    for command in commands:
        subprocess.run(["git", *command.split()], check=True)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    git.state.cache_clear()
    git._uncommitted.cache_clear()


def test_a_clean_repository_has_a_commit_and_no_diff(repository: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert git.state() == {"commit": head, "branch": "trunk", "dirty": "false"}
    assert git.diff() == ""
    assert git.tags() == {"mlflow.source.git.commit": head, "mlflow.source.git.branch": "trunk", "linfit.git.dirty": "false"}


def test_what_is_uncommitted_is_kept_with_secrets_masked(repository: Path) -> None:
    lines = [
        f"url = 'https://user:{CANARY}@host/path'",
        f"PASSWORD={CANARY}",
        f'"api_key": "{CANARY}",',
        f"db_password: {CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"export AWS_SECRET_ACCESS_KEY={CANARY}",
        "two",
    ]
    (repository / "file.txt").write_text("\n".join(lines) + "\n")
    forget()
    assert git.state()["dirty"] == "true" and len(git.state()["diff"]) == 16
    assert "+two" in git.diff() and "-one" in git.diff()
    assert CANARY not in git.diff()
    assert git.diff().count("***") == 6


def test_a_large_diff_is_not_kept_and_a_new_file_counts(repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    forget()
    assert git.state()["dirty"] == "true" and git.diff() == ""
    (repository / "file.txt").write_text("x" * git.MAX_DIFF)
    forget()
    assert git.diff() == "" and "diff" in git.state()


def test_no_repository_and_one_without_a_commit_have_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ([], ["init", "-q"]):
        if command:
            subprocess.run(["git", *command], check=True)
        forget()
        assert (git.state(), git.tags(), git.diff()) == ({}, {}, "")
    forget()


# ---- what a run keeps ----


def test_a_run_keeps_it_in_tags_and_files(linfit: Linfit, workdir: Path, client: Any, repository: Path) -> None:
    (repository / "file.txt").write_text(f"token = {CANARY}\ntwo\n")
    forget()
    assert linfit("run", "steps=2", "threads=2").code == 0
    assert linfit("run", "-m", "steps=2", "seed=0,1").code == 0
    for run in client.search_runs(["1"], filter_string=f"tags.`{layout.CODE}` LIKE '%'"):
        machine = json.loads(run.data.tags[layout.ENVIRONMENT])
        stored = json.loads(Path(client.download_artifacts(run.info.run_id, layout.ENVIRONMENT_FILE)).read_text())
        assert environment.matches(stored)
        assert stored["machine"] == machine
        assert stored["packages"] == environment.packages()
        assert stored["code"]["digest"] == run.data.tags[layout.CODE]
        assert stored["git"]["branch"] == run.data.tags["mlflow.source.git.branch"] == "trunk"
        assert "+two" in Path(client.download_artifacts(run.info.run_id, layout.GIT_DIFF)).read_text()
    kept = [file for file in (workdir / "outputs").rglob("*") if file.is_file()]
    assert [file for file in kept if CANARY.encode() in file.read_bytes()] == []


def test_a_document_that_was_changed_does_not_match(tmp_path: Path) -> None:
    [file, *_] = environment.write(tmp_path, FitConfig())
    stored = json.loads(file.read_text())
    assert environment.matches(stored)
    assert not environment.matches({**stored, "linfit": "0"})
    assert not environment.matches([]) and not environment.matches({})
