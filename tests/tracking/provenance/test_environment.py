"""What is kept of where a run's numbers come from: packages, machine, code, git."""

from __future__ import annotations

import ast
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from linfit.config import FitConfig
from linfit.problem import threads
from linfit.system import host
from linfit.tracking.provenance import code_digest, environment, git
from linfit.tracking.read import environment_diff
from linfit.tracking.schema import mlflow_names

Linfit = Callable[..., Any]
CANARY = "s3cretcanary"


@pytest.mark.matrix
def test_every_installed_package_has_its_version() -> None:
    there = {}
    for found in distributions():
        if ".dist-info" in str(found._path):  # type: ignore[attr-defined]
            there[re.sub(r"[-_.]+", "-", found.name).lower()] = found.version
    assert len(there) > 50
    assert there.items() <= environment.list_packages().items()


@pytest.mark.matrix
def test_the_machine_is_described_as_torch_and_numpy_see_it() -> None:
    found = environment.collect_environment(3)
    assert found["python"] == platform.python_version()
    assert found["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert (found["threads"], found["device"], found["mkl_cbwr"]) == ("3", "cpu", "AUTO")
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["blas"].split()[0] in torch.__config__.show()
    assert found["numpy_blas"].split()[0] in str(np.show_config(mode="dicts"))
    assert platform.machine() in found["platform"]
    assert found["cpu"] and all(isinstance(value, str) for value in found.values())


def test_libraries_are_described_as_they_are_loaded() -> None:
    found = environment.collect_environment(1)
    [library] = [
        one
        for one in threadpool_info()
        if f"{os.sep}numpy" in one["filepath"] and one["user_api"] == "blas"
    ]
    assert found["numpy_blas_loaded"] == f"{library['internal_api']} {library['version']}"
    assert found["numpy_blas_kernel"] == library["architecture"]
    assert found["numpy_simd"].split() == np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    assert found["onednn"] in torch.__config__.show()
    assert {version(name) for name in ("scipy", "scikit-learn", "pandas")} <= set(found.values())
    assert len(json.dumps(found)) < 3000  # a tag holds 5,000 characters in older stores


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("/env/lib/python3.11/site-packages/numpy.libs/libscipy_openblas64_-1.so", True),
        ("/env/lib/python3.11/site-packages/numpy/.dylibs/libscipy_openblas64_.dylib", True),
        ("C:\\env\\Lib\\site-packages\\torch\\lib\\libiomp5md.dll", True),
        ("/env/lib/libopenblas.so.0", True),
        ("/usr/lib/scipy/libblas.so", True),
        ("/env/lib/python3.11/site-packages/scipy.libs/libscipy_openblas-1.so", False),
        ("/env/lib/python3.11/site-packages/scikit_learn.libs/libgomp-1.so", False),
        ("C:\\env\\Lib\\site-packages\\sklearn\\.libs\\vcomp140.dll", False),
    ],
)
def test_libraries_that_other_packages_bring_do_not_count(file: str, counts: bool) -> None:
    """The packages load them at their first use, which differs between runs of one config."""
    assert threads._is_ours(file) is counts


@pytest.mark.parametrize(
    ("then", "now", "named"),
    [
        (
            {"numpy_blas_kernel": "SkylakeX"},
            {"numpy_blas_kernel": "Haswell"},
            ["numpy_blas_kernel"],
        ),
        ({}, {"numpy_blas_kernel": "Haswell"}, []),  # a run of before
        ({"numpy_blas_kernel": "Haswell"}, {}, []),
        ({"OPENBLAS_CORETYPE": ""}, {"OPENBLAS_CORETYPE": "Haswell"}, []),  # its kernel is the same
        (
            {"MKL_ENABLE_INSTRUCTIONS": ""},
            {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
            ["MKL_ENABLE_INSTRUCTIONS"],
        ),
        ({"mkl_cbwr": "COMPATIBLE"}, {"mkl_cbwr": "AVX2"}, ["mkl_cbwr"]),
        ({"cpus": "2", "threads": "1"}, {"cpus": "4", "threads": "1"}, []),
        ({"cpus": "2", "threads": "2"}, {"cpus": "4", "threads": "2"}, ["cpus"]),
        ({"threads": 1}, {"threads": "1"}, []),
    ],
)
def test_what_may_change_bits_is_named(
    then: dict[str, Any], now: dict[str, Any], named: list[str]
) -> None:
    assert list(environment.compare_environments(then, now)) == named
    found = environment_diff.list_changes({"machine": then}, {"machine": now})
    assert [(change.kind, change.key) for change in found] == [("machine", key) for key in named]


def test_what_a_tag_leaves_out_is_not_absent() -> None:
    """Of one run there is `environment.json`, of the other a tag."""
    whole = {
        "packages": {"click": "8"},
        "code": {"digest": "a", "files": {"x.py": "1"}},
        "machine": {"torch": "2", "scipy": "1"},
    }
    tag = {"code": {"digest": "a"}, "machine": {"torch": "2"}}
    assert (
        environment_diff.list_changes(whole, tag) == environment_diff.list_changes(tag, whole) == []
    )
    other = {**whole, "packages": {}, "machine": {"torch": "2", "scipy": "3"}}
    assert [(change.key, change.now) for change in environment_diff.list_changes(whole, other)] == [
        ("click", "absent"),
        ("scipy", "3"),
    ]


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the kernels are this processor's"
)
def test_what_a_variable_has_chosen_is_named() -> None:
    here = environment.collect_environment(1)
    chosen = {
        "OPENBLAS_CORETYPE": "Nehalem",
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "SSE4_2",
        "DNNL_MAX_CPU_ISA": "SSE41",
    }
    program = (
        "import json; from linfit.tracking.provenance.environment import collect_environment; "
        "print(json.dumps(collect_environment(1)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **chosen},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    there = json.loads(ran.stdout)
    named = {key: now for key, (_, now) in environment.compare_environments(here, there).items()}
    assert named == {
        "cpu_capability": "DEFAULT",
        "mkl_cbwr": "SSE4_2",
        "numpy_blas_kernel": "Nehalem",
        "DNNL_MAX_CPU_ISA": "SSE41",
    }
    assert there["OPENBLAS_CORETYPE"] == "Nehalem"


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (
            "processor: 0\nmodel name\t: Some CPU @ 3 GHz\nflags: a\nmodel name\t: other\n",
            "Some CPU @ 3 GHz",
        ),
        (None, None),
        ("x: y\n", None),
    ],
)
def test_the_processor_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: str | None, name: str | None
) -> None:
    file = tmp_path / "cpuinfo"
    if info is not None:
        file.write_text(info)
    monkeypatch.setattr(host, "CPU_INFO", file)
    assert host.describe_cpu.__wrapped__() == (name or platform.processor() or platform.machine())


# ---- code ----

SOURCE = (
    '"""A module."""\n\nclass A:\n    """Text."""\n\n    '
    'def f(self, x):\n        """More."""\n        return [x + 1, ""]  # a comment\n'
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
    assert (code_digest._syntax(one) == code_digest._syntax(two)) is same


def test_empty_fields_which_differ_between_pythons_are_left_out() -> None:
    function = ast.parse("def f(): pass").body[0]
    before = code_digest._dump(function)
    function.type_params = []  # type: ignore[attr-defined]
    assert code_digest._dump(function) == before
    assert "type_params" not in before and "decorator_list" not in before


def test_the_files_behind_the_digest_are_named() -> None:
    files = code_digest.compute_file_digests()
    assert {"problem/losses/squares.py", "method/optimizers/base.py", "engine/single.py"} <= set(
        files
    )
    assert not [name for name in files if name.startswith(("tracking", "views", "sweeps"))]
    assert len({files["problem/losses/squares.py"], files["engine/single.py"]}) == 2


# ---- git ----

EXPERIMENT = "experiments/mine.yaml"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with an experiment and something that decides no run."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / EXPERIMENT, "steps: 1\n")
    write(tmp_path / "file.txt", "one\n")
    run_git("init", "-q", "-b", "trunk")
    commit()
    git.forget_git_state()
    yield tmp_path
    git.forget_git_state()


def run_git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def commit() -> None:
    run_git("add", ".")
    run_git(
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "commit.gpgsign=false",
        "commit",
        "-qm",
        "one",
    )


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="\n")
    git.forget_git_state()


def test_a_clean_repository_has_a_commit_and_no_diff(repository: Path) -> None:
    head = run_git("rev-parse", "HEAD")
    assert git.read_git_state() == {"commit": head, "branch": "trunk", "dirty": "false"}
    assert git.read_git_diff() == ""
    assert git.collect_git_tags() == {
        "mlflow.source.git.commit": head,
        "mlflow.source.git.branch": "trunk",
        "linfit.git.dirty": "false",
    }
    run_git("checkout", "-q", head)
    git.forget_git_state()
    assert git.read_git_state()["branch"] == "(detached)"


def test_what_is_uncommitted_is_kept_with_secrets_masked_on_both_sides(repository: Path) -> None:
    write(
        repository / EXPERIMENT,
        f"steps: 1\npassword: |\n  {CANARY}\nlr: 1\nname: a\nseed: 0\nsteps_: 2\n",
    )
    commit()
    write(
        repository / EXPERIMENT,
        f"steps: 1\npassword: |\n  other{CANARY}\nlr: 1\nname: a\nseed: 0\nsteps_: 3\n",
    )
    assert git.read_git_state()["dirty"] == "true" and len(git.read_git_state()["diff"]) == 16
    head, text = git.read_git_diff().split("@@ ", 1)
    assert head == f"--- a/{EXPERIMENT}\n+++ b/{EXPERIMENT}\n"
    assert "-steps_: 2\n+steps_: 3\n" in text and CANARY not in text and "+  " not in text


def test_the_diff_can_be_applied(repository: Path) -> None:
    for before, after in (("a\nb\n", "a\nc"), ("a\nb", "a\nb\nc\n"), ("a\n", ""), ("a", "a\n")):
        write(repository / EXPERIMENT, before)
        run_git("add", ".")
        commit() if run_git("status", "--porcelain") else None
        write(repository / EXPERIMENT, after)
        text = git.read_git_diff()
        write(repository / EXPERIMENT, before)
        subprocess.run(["git", "apply", "-"], input=text.encode(), check=True)
        assert (repository / EXPERIMENT).read_text() == after


def test_a_file_that_was_deleted_is_in_the_diff(repository: Path) -> None:
    (repository / EXPERIMENT).unlink()
    git.forget_git_state()
    assert git.read_git_diff() == f"--- a/{EXPERIMENT}\n+++ /dev/null\n@@ -1 +0,0 @@\n-steps: 1\n"


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("file.txt", False),
        ("new.txt", False),
        (".env", False),
        ("experiments/notes.md", False),
        ("experiments/deep/new.yaml", True),
    ],
)
def test_what_decides_no_run_does_not_count(repository: Path, name: str, counts: bool) -> None:
    write(repository / name, f"token = {CANARY}\n")
    assert (
        git.read_git_state()["dirty"] == str(counts).lower() and git.read_git_diff() == ""
    )  # what HEAD does not have is not kept


def test_a_plug_in_counts_where_it_is_used(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository / "my_part_4711.py", "x = 1\n")
    commit()
    write(repository / "my_part_4711.py", "x = 2\n")
    monkeypatch.syspath_prepend(str(repository))
    assert git.read_git_state()["dirty"] == "false"
    assert git.read_git_state(("my_part_4711",))["dirty"] == "true"
    assert "-x = 1\n+x = 2\n" in git.read_git_diff(("my_part_4711",))


def test_linfit_counts_where_it_is_part_of_the_repository(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = repository / "linfit"
    monkeypatch.setattr(code_digest, "LINFIT_FOLDER", package)
    for name in ("version.py", "problem/losses/squares.py"):
        write(package / name, "x = 1\n")
    assert git.read_git_state()["dirty"] == "false"  # it is installed there
    commit()
    write(package / "problem/losses/squares.py", "x = 2\n")
    assert (
        "b/linfit/problem/losses/squares.py" in git.read_git_diff()
        and git.read_git_state()["dirty"] == "true"
    )


def test_line_endings_do_not_count(repository: Path) -> None:
    (repository / EXPERIMENT).write_bytes(b"steps: 1\r\n")
    git.forget_git_state()
    assert git.read_git_state()["dirty"] == "false"


def test_no_link_is_followed(repository: Path) -> None:
    write(repository / "elsewhere" / "secret.yaml", CANARY)
    (repository / EXPERIMENT).unlink()
    (repository / EXPERIMENT).symlink_to(repository / "elsewhere" / "secret.yaml")
    (repository / "conf").symlink_to(repository / "elsewhere")
    git.forget_git_state()
    assert git.read_git_state()["dirty"] == "true" and CANARY not in git.read_git_diff()


@pytest.mark.parametrize("size", [git.MAX_DIFF_CHARACTERS + 1, 3 * git.MAX_DIFF_CHARACTERS])
def test_a_large_diff_is_not_kept(repository: Path, size: int) -> None:
    write(repository / EXPERIMENT, "x" * size)
    assert git.read_git_diff() == "" and "diff" in git.read_git_state()


def test_no_repository_and_one_without_a_commit_have_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ([], ["init", "-q"]):
        if command:
            run_git(*command)
        git.forget_git_state()
        assert (git.read_git_state(), git.collect_git_tags(), git.read_git_diff()) == ({}, {}, "")
    git.forget_git_state()


# ---- what a run keeps ----


def test_a_run_keeps_it_in_tags_and_files(
    linfit: Linfit, workdir: Path, client: Any, repository: Path
) -> None:
    write(repository / EXPERIMENT, f"token: {CANARY}\ntwo: 2\n")
    assert linfit("run", "steps=2", "threads=2").code == 0
    assert linfit("run", "-m", "steps=2", "seed=0,1").code == 0
    for run in client.search_runs(["1"], filter_string=f"tags.`{mlflow_names.CODE}` LIKE '%'"):
        machine = json.loads(run.data.tags[mlflow_names.ENVIRONMENT])
        stored = json.loads(
            Path(
                client.download_artifacts(run.info.run_id, mlflow_names.ENVIRONMENT_FILE)
            ).read_text()
        )
        assert environment.has_own_hash(stored)
        assert stored["machine"] == machine
        assert stored["packages"] == environment.list_packages()
        assert stored["code"]["digest"] == run.data.tags[mlflow_names.CODE]
        assert stored["git"]["branch"] == run.data.tags["mlflow.source.git.branch"] == "trunk"
        assert (
            "+token: ***\n+two: 2\n"
            in Path(client.download_artifacts(run.info.run_id, mlflow_names.GIT_DIFF)).read_text()
        )
    kept = [file for file in (workdir / "outputs").rglob("*") if file.is_file()]
    assert [file for file in kept if CANARY.encode() in file.read_bytes()] == []
    assert linfit("run", "steps=3", "tracking.git_diff=false").code == 0
    newest = max((workdir / "outputs" / "runs").iterdir(), key=lambda folder: folder.name)
    assert {mlflow_names.ENVIRONMENT_FILE} == {file.name for file in newest.iterdir()} & {
        mlflow_names.ENVIRONMENT_FILE,
        mlflow_names.GIT_DIFF,
    }


def test_a_document_that_was_changed_does_not_match(tmp_path: Path) -> None:
    [file, *_] = environment.write_environment(tmp_path, FitConfig())
    stored = json.loads(file.read_text())
    assert environment.has_own_hash(stored)
    assert not environment.has_own_hash({**stored, "linfit": "0"})
    assert not environment.has_own_hash([]) and not environment.has_own_hash({})
