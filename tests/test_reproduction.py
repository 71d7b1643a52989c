"""`linfit reproduce` and `linfit diff`: repeated, changed, and secretly changed runs."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

import linfit as package
from linfit.config import FitConfig
from linfit.errors import ConfigError, LinfitError
from linfit.reproduction import Repetition, Reproduction
from linfit.sweeps.run.hydra_app import execute
from linfit.tracking.provenance import code_digest, environment, git
from linfit.tracking.read.comparison import Verdict, compare_outcomes
from linfit.tracking.read.outcome import Outcome
from linfit.tracking.read.reader import RunReader, StoredRun
from linfit.tracking.schema import mlflow_names, saved_views
from linfit.tracking.store.store import Store, resolve_store
from linfit.views.terminal.reproduction import show_reproduction
from tests.helpers import forget_mlflow
from tests.stores.write import move

Linfit = Callable[..., Any]
DATA = ("dataset=csv", "dataset.path=data.csv", "dataset.features=[a]", "dataset.target=b")
SWEPT = (
    "optimizer=sgd,adam,rmsprop",
    "optimizer.lr=0.001,1.0",
    "dtype=float32,float64",
    "steps=40",
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """A working directory in which were run: a fit of a data file, a sweep, and last a fit."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "outputs").mkdir()
    shutil.copy(migrated_store, folder / "outputs" / "mlflow.db")
    (folder / "data.csv").write_text("a,b\n1,2\n2,3\n4,4\n")
    with pytest.MonkeyPatch.context() as patch:
        forget_mlflow(patch)
        patch.chdir(folder)
        git.forget_git_state()  # of this folder, which is in no repository
        execute([*DATA, "steps=20", "name=data"])
        execute(
            ["-m", *SWEPT, "hydra.sweep.dir=outputs/sweeps/one", "hydra.launcher.workers=1"],
        )
        execute(
            [
                "optimizer=adam",
                "optimizer.lr=0.1",
                "steps=40",
                "seed=1",
                "hydra.run.dir=outputs/runs/one",
            ],
        )
    return folder


@pytest.fixture
def here(recorded: Path, bare: Path) -> Path:
    """A copy of it, elsewhere, as the working directory."""
    git.forget_git_state()  # of this folder, which is in no repository
    shutil.copytree(recorded, bare, dirs_exist_ok=True)
    move(bare / "outputs" / "mlflow.db", str(recorded), str(bare))
    return bare


def reader() -> RunReader:
    return RunReader(resolve_store(None))


def ids(kind: str, experiment: str = "adhoc") -> list[str]:
    return [
        record.run_id
        for record in everything()
        if record.kind == kind and record.experiment == experiment
    ]


def everything() -> list[Any]:
    read = reader()
    return [read.read_run(run) for run in read._search("attributes.status != 'none'")]


def children() -> list[str]:
    return [record.run_id for record in everything() if mlflow_names.PARENT in record.tags]


# ---- again, the same ----


@pytest.mark.matrix
@pytest.mark.read_only
def test_a_single_run_has_the_same_bits_and_its_repetition_points_at_it(
    linfit: Linfit, here: Path
) -> None:
    before = reader().find_run("last")
    said = linfit("reproduce")
    assert (said.code, said.err) == (0, "")
    assert f": run {before.run_id}\n" in said.out
    assert "verdict    identical: " in said.out and "2 weights have the same bits" in said.out
    assert "changed    nothing" in said.out
    [again] = [record for record in everything() if mlflow_names.REPRODUCES in record.tags]
    assert f"beside     run {again.run_id}" in said.out
    assert again.tags[mlflow_names.REPRODUCES] == before.run_id
    assert (again.tags[mlflow_names.VERDICT], again.status, again.experiment) == (
        "identical",
        "FINISHED",
        before.experiment,
    )
    assert again.metrics == before.metrics
    assert again.params == before.params
    assert reader().find_run("last") == before
    assert (
        linfit("reproduce", again.run_id, "--exact").code == 0
    )  # what was repeated can be repeated


@pytest.mark.matrix
def test_a_fit_of_a_sweep_is_run_again_in_the_engine_that_ran_it(here: Path) -> None:
    for run_id in children()[:3]:
        done = package.reproduce(run_id)
        assert (done.verdict, done.reproduces, done.changes) == (Verdict.IDENTICAL, run_id, [])
        assert reader().find_run(done.run_id).tags[mlflow_names.REPRODUCES] == run_id
        assert (
            json.loads(reader().find_run(done.run_id).fetch_file("config.json").read_text())[
                "config"
            ]["engine"]["name"]
            == "stacked"
        )


@pytest.mark.matrix
@pytest.mark.read_only
def test_a_sample_of_a_sweep_in_other_processes(linfit: Linfit, here: Path) -> None:
    [sweep] = ids("sweep")
    said = linfit("reproduce", sweep, "--sample", "12", "--workers", "2", "--json")
    done = json.loads(said.out)
    assert (said.code, done["verdict"], done["reproduces"], done["changes"]) == (
        0,
        "identical",
        sweep,
        [],
    )
    assert {found["verdict"] for found in done["repetitions"]} == {"identical"}
    assert {found["now"]["status"] for found in done["repetitions"]} == {"completed", "diverged"}
    originals = set(children()) - {found["run_id"] for found in done["repetitions"]}
    assert {found["reproduces"] for found in done["repetitions"]} == originals
    for found in done["repetitions"]:
        tags = reader().find_run(found["run_id"]).tags
        assert (tags[mlflow_names.REPRODUCES], tags[mlflow_names.PARENT]) == (
            found["reproduces"],
            done["run_id"],
        )
    assert reader().find_run("last", "sweep").run_id == sweep
    text = linfit("reproduce", sweep, "--sample", "2").out
    assert "2 fits of sweep" in text and "verdict    2 identical\n" in text


def searched(condition: str) -> list[str]:
    """The ids that MLflow's own search finds in all experiments."""
    read = reader()
    return sorted(
        run.info.run_id for run in read.client.search_runs(list(read.experiments), condition)
    )


def test_the_labels_of_grids_and_the_names_of_options_are_kept(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    (workdir / "conf" / "optimizer").mkdir(parents=True)
    (workdir / "conf" / "optimizer" / "quick.yaml").write_text("name: adam\nlr: 0.001\n")
    grids = "[{label: 'plain 梯度', optimizer: sgd, optimizer.lr: 0.001},{optimizer: quick}]"
    names = [
        "plain 梯度 seed=0",
        "plain 梯度 seed=1",
        "quick lr=0.001 seed=0",
        "quick lr=0.001 seed=1",
    ]
    asked = ["-m", f"hydra.sweeper.grids={grids}", "seed=0,1", "steps=5", "pictures=false"]
    assert linfit("run", *asked).code == 0
    assert linfit("reproduce", "last").code == 0
    found = client.search_runs(["1"], order_by=["attributes.start_time ASC"])
    children = [run for run in found if mlflow_names.PARENT in run.data.tags]
    assert sorted(run.info.run_name for run in children) == sorted([*names, *names])
    assert len({run.data.tags[mlflow_names.FINGERPRINT] for run in children}) == 4


def test_no_search_for_fits_and_sweeps_finds_a_repetition(linfit: Linfit, here: Path) -> None:
    board = saved_views.build_views(0, [], [])[
        saved_views.VIEW_TAG_PREFIX + saved_views.LEADERBOARD_VIEW
    ]
    state = json.loads(
        zlib.decompress(base64.b64decode(json.loads(board)["state"].partition(";")[2]))
    )
    conditions = [state["searchFilter"], "tags.`linfit.kind` = 'fit'", "tags.linfit.kind = 'sweep'"]
    before = [searched(condition) for condition in conditions]
    assert [len(found) for found in before] == [14, 14, 1]
    [sweep] = ids("sweep")
    again = [
        package.reproduce(reference, sample=sample)
        for reference, sample in (("last", None), (children()[0], None), (sweep, 2))
    ]
    assert [searched(condition) for condition in conditions] == before
    assert len(searched("tags.`linfit.kind` = 'reproduction'")) == 1 + 1 + (1 + 2)
    assert [reader().find_run(one.run_id).kind for one in again] == ["fit", "fit", "sweep"]
    for one in again:
        shown = linfit("show", one.run_id)
        assert shown.code == 0 and f"reproduces     {one.reproduces}" in shown.out
    assert len(package.load(again[2].run_id).table) == 2
    assert [reader().find_run("last", kind).run_id for kind in ("fit", "sweep")] == [
        reader().find_run("last").run_id,
        sweep,
    ]


@pytest.mark.parametrize("through_client", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_repetition_does_not_stand_in_for_its_original(
    through_client: bool, linfit: Linfit, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if through_client:
        monkeypatch.setattr(
            "linfit.tracking.write.database.best_recorder_for", lambda opened, parent=None: opened
        )
    [sweep] = ids("sweep")
    single = reader().find_run("last").run_id
    originals = [single, sweep, *children()]
    package.reproduce(single)
    package.reproduce(sweep, sample=12)
    fits = ["seed=1", "optimizer.lr=0.1", "steps=40", "--skip-done"]
    assert "finished already" in linfit("run", *fits).err
    assert "12 of 12 fits are finished already" in linfit("run", "-m", *SWEPT, "--skip-done").err
    for run_id in originals:
        reader().client.delete_run(run_id)
    assert "finished already" not in linfit("run", *fits).err
    assert "finished already" not in linfit("run", "-m", *SWEPT, "--skip-done").err


@pytest.mark.read_only
def test_config_files_and_folders(linfit: Linfit, here: Path) -> None:
    [sweep] = ids("sweep")
    last = reader().find_run("last").run_id
    for place in ("outputs/runs/one", "outputs/runs/one/config.json"):
        done = package.reproduce(place)
        assert (done.verdict, done.reproduces, done.changes) == (Verdict.IDENTICAL, last, [])
    assert package.reproduce(here / "outputs" / "sweeps" / "one", sample=1).reproduces == sweep
    shutil.copy(
        "outputs/runs/one/config.json", "alone.json"
    )  # compared with the run of its fingerprint
    assert package.reproduce("alone.json").reproduces == last
    changed = json.loads(Path("alone.json").read_text())
    changed["config"]["seed"] = 77
    changed["sha256"] = package.config.hash_data(changed["config"])
    Path("stranger.json").write_text(json.dumps(changed))
    for place, message in (
        ("stranger.json", "there is nothing to compare with"),
        ("outputs", "outputs has no config.json"),
        ("no/such.json", "has no config.json"),
        ("no-such-run", "is no run id"),
    ):
        said = linfit("reproduce", place)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert message in said.err


def test_a_folder_is_enough_where_the_store_is_gone(linfit: Linfit, here: Path) -> None:
    shutil.copytree("outputs/runs/one", "kept")
    shutil.rmtree("outputs/artifacts")
    Path("outputs/mlflow.db").rename("gone.db")
    shutil.copy("gone.db", "outputs/mlflow.db")
    done = package.reproduce("kept/config.json")
    assert done.verdict is Verdict.IDENTICAL
    [found] = done.repetitions
    assert found.then is not None and found.now is not None
    assert found.then.losses.tobytes() == found.now.losses.tobytes() and len(found.now.losses) > 20
    assert done.known
    Path("kept/environment.json").unlink()
    said = linfit("reproduce", "kept")
    assert (said.code, "changed    unknown: no environment.json" in said.out) == (0, True)
    assert "version" not in said.out


def test_the_folder_of_a_sweep_is_enough_without_a_store(
    linfit: Linfit, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = here / "alone"
    shutil.copytree("outputs/sweeps/one", alone / "sweep")
    monkeypatch.chdir(alone)
    said = linfit("reproduce", "sweep", "--sample", "3", "--set", "tracking=none")
    assert (said.code, said.err) == (0, "")
    assert (
        "3 identical" in said.out and "changed    nothing" in said.out and "beside" not in said.out
    )
    assert [entry.name for entry in alone.iterdir()] == ["sweep"]
    done = package.reproduce("sweep", sample=3)
    assert (done.verdict, done.reproduces, done.known) == (Verdict.IDENTICAL, "sweep", True)
    assert reader().find_run(done.run_id).experiment == "adhoc"
    Path("sweep", "results.parquet").unlink()
    assert "has no results.parquet: the sweep was interrupted" in linfit("reproduce", "sweep").err


def test_the_folder_of_a_sweep_is_compared_with_the_hashes_that_its_run_has(
    linfit: Linfit, here: Path
) -> None:
    file = Path("outputs/sweeps/one/manifest.parquet")
    table = parquet.read_table(file)
    parquet.write_table(table, file)  # the same rows as other bytes
    said = linfit("reproduce", "outputs/sweeps/one")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "manifest.parquet was changed after it was written" in said.err


@pytest.mark.parametrize("kind", ["fit", "sweep", "folder"])
def test_without_tracking_there_is_a_verdict_and_nothing_is_recorded(
    kind: str, linfit: Linfit, here: Path
) -> None:
    reference = {"fit": "last", "sweep": ids("sweep")[0], "folder": "outputs/runs/one"}[kind]
    before = len(everything())
    done = package.reproduce(reference, overrides=["tracking=none"])
    assert (done.verdict, done.run_id, done.overrides, done.changes) == (
        Verdict.IDENTICAL,
        "",
        (),
        [],
    )
    changed = package.reproduce(reference, overrides=["tracking=none", "steps=7"])
    assert changed.verdict is Verdict.DIFFERS
    assert changed.overrides == ("steps=7",)
    assert len(everything()) == before


@pytest.mark.parametrize("name", ["config.json", "weights.safetensors", "environment.json"])
def test_a_link_in_a_folder_is_not_followed(linfit: Linfit, here: Path, name: str) -> None:
    file = Path("outputs/runs/one", name)
    file.symlink_to(file.rename(here / name))
    said = linfit("reproduce", "outputs/runs/one")
    assert (said.code, said.out) == (2, "")
    assert f"{name} is a link to somewhere else, which is not followed" in said.err


def test_failed_and_diverged_runs_end_so_again(linfit: Linfit, here: Path) -> None:
    execute(["optimizer=sgd", "optimizer.lr=1e30"])
    assert package.reproduce().verdict is Verdict.IDENTICAL
    execute(["dataset=polynomial", "dataset.range=[0,1e39]"])
    said = linfit("reproduce")
    assert (said.code, "identical: it is failed again" in said.out) == (0, True)


def test_a_repetition_that_fails_says_why_and_is_no_difference(linfit: Linfit, here: Path) -> None:
    said = linfit("reproduce", "--set", "dataset=polynomial", "--set", "dataset.range=[0,1e39]")
    assert (said.code, "verdict    refused: it could not be run again: " in said.out) == (2, True)
    assert "float32" in said.out


def test_what_a_failed_fit_has_not_is_not_shown_as_equal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = outcome([], status="failed")
    found = compare_outcomes(failed, failed)
    again = [
        Repetition(name, "1", found.verdict, difference=found, then=failed, now=failed)
        for name in "ab"
    ]
    assert show_reproduction(Reproduction("x", "1", "2", [], again), as_json=False) == 0
    assert capsys.readouterr().out.count("\N{EN DASH}") == 8


# ---- changed on purpose ----


def test_losses_recorded_at_other_steps_are_compared_where_both_were(
    linfit: Linfit, here: Path
) -> None:
    said = linfit("reproduce", "--set", "record.every=7", "--exact")
    assert (said.code, "verdict    identical: " in said.out) == (0, True)
    [again] = [record.run_id for record in everything() if mlflow_names.REPRODUCES in record.tags]
    assert linfit("diff", reader().find_run("last").run_id, again).code == 0


def test_what_is_set_is_shown_beside_the_original(linfit: Linfit, here: Path) -> None:
    said = linfit("reproduce", "--set", "optimizer.lr=0.2", "--set", "steps=50")
    assert said.code == 1
    for line in ("config   optimizer.lr  0.1   0.2", "config   steps         40    50"):
        assert line in said.out
    assert "by more than 0.0001 from step 1 on" in said.out
    assert "loss then" in said.out
    [again] = [record for record in everything() if mlflow_names.REPRODUCES in record.tags]
    assert again.tags[mlflow_names.CHANGED] == "optimizer.lr=0.2 steps=50"
    assert again.params["optimizer.lr"] == "0.2"


def test_another_component_has_its_defaults(here: Path) -> None:
    done = package.reproduce(overrides=["optimizer=sgd", "optimizer.lr=0.01"])
    assert {change.key for change in done.changes} >= {
        "optimizer",
        "optimizer.lr",
        "optimizer.betas",
        "optimizer.momentum",
    }
    assert all(change.kind == "config" for change in done.changes)


def test_another_number_of_threads_is_named(linfit: Linfit, here: Path) -> None:
    said = linfit("reproduce", "--set", "threads=2")
    assert said.code == 0
    assert "config   threads  1     2" in said.out


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.lr", "is no KEY=VALUE"),
        ("optimizer.lrr=1", "no key 'lrr': did you mean 'lr'"),
        ("optimizer.lr=-1", "optimizer.lr: got -1"),
        ("optimizer.lr=1,2", "one value for one key"),
        ("+optimizer.lr=1", "one value for one key"),
        ("opt.lr=1", "no key 'opt.lr'"),
        ("device=cuda", "device cuda is not there"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(here: Path, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        package.reproduce(overrides=[setting])
    assert len(everything()) == 15


# ---- the machine and the code are not what they were ----


def test_an_unchanged_machine_has_no_changes(here: Path) -> None:
    assert package.reproduce().changes == []


@pytest.mark.matrix
def test_packages_code_git_and_machine_are_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "site" / "safetensors-99.1.dist-info").mkdir(parents=True)
    (here / "site" / "a_new.one-2.dist-info").mkdir()
    (here / "site" / "safetensors-99.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: safetensors\nVersion: 99.1\n"
    )
    monkeypatch.syspath_prepend(here / "site")
    monkeypatch.setattr(
        code_digest, "_syntax", lambda file: "changed" if file.name == "losses.py" else file.name
    )
    monkeypatch.setattr(environment, "describe_cpu", lambda: "another processor")
    monkeypatch.setattr(
        git, "read_git_state", lambda *_: {"commit": "abc", "branch": "main", "dirty": "false"}
    )
    for cached in (
        environment.list_packages,
        environment._version,
        code_digest.compute_code_digest,
    ):
        cached.cache_clear()
    try:
        found = package.reproduce().changes
    finally:
        for cached in (
            environment.list_packages,
            environment._version,
            code_digest.compute_code_digest,
        ):
            cached.cache_clear()
    named = {(change.kind, change.key): change.now for change in found}
    assert named["package", "safetensors"] == "99.1"
    assert named["package", "a-new-one"] == "2"
    assert named["machine", "cpu"] == "another processor"
    assert ("code", "digest") in named and ("code", "problem/losses/squares.py") in named
    assert [change.kind for change in found] == sorted(
        (change.kind for change in found), key=["code", "package", "git", "machine"].index
    )


@pytest.mark.slow
def test_another_cpu_capability_in_another_process_is_named(here: Path) -> None:
    """Differences are within the tolerance, or their step is named; with these sizes, within."""
    command = [sys.executable, "-c", "from linfit.cli import main; main()", "reproduce", "--json"]
    surroundings = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    printed = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=surroundings, check=False
    )
    done = json.loads(printed.stdout)
    then = json.loads(reader().find_run("last").tags[mlflow_names.ENVIRONMENT])["cpu_capability"]
    if then != "DEFAULT":
        assert [(change["key"], change["then"], change["now"]) for change in done["changes"]] == [
            ("cpu_capability", then, "DEFAULT")
        ]
    assert printed.returncode == 0
    assert done["verdict"] in ("identical", "equal within tolerance")


# ---- what was changed behind linfit's back is refused ----


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("config.json", (3, 200, -5)),
        ("weights.safetensors", (200, -5)),
        ("environment.json", (99,)),
    ],
)
def test_a_flipped_bit_of_a_file_is_refused_with_its_name(
    linfit: Linfit, here: Path, name: str, places: tuple[int, ...]
) -> None:
    run = reader().find_run("last")
    for file, reference in (
        (run.fetch_file(name), run.run_id),
        (Path("outputs/runs/one", name), "outputs/runs/one"),
    ):
        for place in places:
            flip(file, place)
            said = linfit("reproduce", reference)
            flip(file, place)
            assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
            assert name in said.err
    assert len(everything()) == 15  # nothing was recorded


def test_bits_all_over_the_file_of_the_weights_count(tmp_path: Path) -> None:
    from linfit.tracking.model import read_weights, write_weights

    file = tmp_path / "weights.safetensors"
    write_weights(package.fit(package.FitConfig(steps=1)), file)
    read_weights(file)
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        flip(file, place)
        with pytest.raises(LinfitError, match=r"weights\.safetensors"):
            read_weights(file)
        file.write_bytes(content)


@pytest.mark.parametrize("name", ["manifest.parquet", "results.parquet", "curves.parquet"])
def test_a_flipped_bit_of_a_table_is_refused_with_its_name(
    linfit: Linfit, here: Path, name: str
) -> None:
    sweep = reader().find_run("last", "sweep")
    file = sweep.fetch_file(name)
    flip(file, file.stat().st_size // 2)
    said = linfit("reproduce", sweep.run_id)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert f"{name} was changed after it was written" in said.err
    if name == "results.parquet":
        assert name in linfit("reproduce", children()[0]).err


def test_a_flipped_bit_of_the_data_is_refused_with_its_name(linfit: Linfit, here: Path) -> None:
    [run] = ids("fit", "data")
    assert linfit("reproduce", run).code == 0
    flip(here / "data.csv", -2)
    said = linfit("reproduce", run)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "its data file 'data.csv' was changed since" in said.err


def test_data_are_read_below_the_working_directory_and_the_folder_that_is_named(
    linfit: Linfit, here: Path, tmp_path_factory: Any
) -> None:
    [run] = ids("fit", "data")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.move("data.csv", elsewhere / "data.csv")
    assert "data.csv" in linfit("reproduce", run).err
    said = linfit("reproduce", run, "--data", str(elsewhere))
    assert (said.code, said.err) == (0, "")
    Path("data.csv").symlink_to(elsewhere / "data.csv")
    assert "is not below the working directory" in linfit("reproduce", run).err


def test_a_tag_that_was_changed_is_refused(linfit: Linfit, here: Path) -> None:
    child = children()[0]
    read = reader()
    tag = read.find_run(child).tags[mlflow_names.CONFIG]
    read.client.set_tag(child, mlflow_names.CONFIG, tag.replace('"seed":0', '"seed":1'))
    assert "tag linfit.config of run" in linfit("reproduce", child).err
    read.client.set_tag(child, mlflow_names.CONFIG, tag)
    read.client.set_tag(child, mlflow_names.FINGERPRINT, "0" * 64)
    assert "its fingerprint is not as it was stored" in linfit("reproduce", child).err
    [sweep] = ids("sweep")
    read.client.set_tag(sweep, mlflow_names.FILES, "[")
    assert "tag linfit.files of run" in linfit("reproduce", sweep).err


@pytest.mark.parametrize("tag", [mlflow_names.ROW, mlflow_names.PARENT])
def test_a_child_that_is_said_to_be_another_fit_is_refused(
    linfit: Linfit, here: Path, tag: str
) -> None:
    other = package.reproduce(ids("sweep")[0], sample=12).run_id
    child = reader().find_run(children()[-1])
    given = {
        mlflow_names.ROW: str(int(child.tags[mlflow_names.ROW]) ^ 1),
        mlflow_names.PARENT: other,
    }[tag]
    reader().client.set_tag(child.run_id, tag, given)
    for command in (["reproduce", child.run_id], ["diff", child.run_id, "last"]):
        said = linfit(*command)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert (
            f"is another fit than run {child.run_id}: "
            "its tag linfit.row or mlflow.parentRunId was changed" in said.err
        )


def test_another_schema_is_the_work_of_another_version_or_of_a_flipped_bit(
    linfit: Linfit, here: Path
) -> None:
    file = here / "outputs" / "runs" / "one" / "config.json"
    file.write_text(file.read_text().replace('"schema": 2', '"schema": 3'))
    assert (
        f"linfit {package.__version__}, which wrote it, writes 2: it was changed"
        in linfit("reproduce", str(file)).err
    )
    child = reader().find_run(children()[0])
    for run, tag, value in (
        (child.run_id, mlflow_names.CONFIG, file.read_text()),
        (child.tags[mlflow_names.PARENT], mlflow_names.VERSION, "9.9"),
    ):
        reader().client.set_tag(run, tag, value)
    assert (
        "in schema 3, this linfit reads 1 to 2: use linfit 9.9, which wrote it"
        in linfit("reproduce", child.run_id).err
    )


def test_a_run_without_a_result_is_refused(linfit: Linfit, here: Path) -> None:
    run = reader().find_run("last").run_id
    with closing(sqlite3.connect("outputs/mlflow.db")) as database, database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run,))
    assert "has no losses to compare with: they were deleted" in linfit("reproduce", run).err
    reader().client.set_tag(run, mlflow_names.STATUS, "killed")
    assert "has no result to compare with: it is FINISHED killed" in linfit("reproduce", run).err


class Interrupted:
    """Reads a sweep whose tables were never joined."""

    store = Store("sqlite:///x.db", None)

    @property
    def client(self) -> Any:
        return self

    def find_run(self, run_id: str) -> StoredRun:
        return record_of(run_id, {}, {})

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=0, value=2.0), SimpleNamespace(step=1, value=1.0)]


def record_of(run_id: str, tags: dict[str, str], metrics: dict[str, float]) -> StoredRun:
    reader: Any = Interrupted()
    return StoredRun(run_id, "run", "adhoc", "KILLED", "", 0, 1, tags, {}, metrics, reader)


@pytest.mark.parametrize("features", [{"name": "raw"}, {"name": "polynomial", "degree": 2}])
def test_a_fit_of_an_interrupted_sweep_has_as_many_weights_as_features(
    features: dict[str, Any],
) -> None:
    config = FitConfig.model_validate({"features": features})
    p, q = config.shape()
    metrics = {f"{mlflow_names.WEIGHT}{place}": float(place) for place in range(p * q)}
    tags = {mlflow_names.PARENT: "0" * 32, mlflow_names.STATUS: "completed"}
    for kept, expected in (
        (metrics, list(metrics.values())),
        ({mlflow_names.WEIGHT + "0": 0.0}, None),
    ):
        weights = (
            record_of("1" * 32, tags, {**kept, mlflow_names.LOSS: 1.0}).outcome(config).weights
        )
        assert (None if weights is None else weights.tolist()) == expected


def test_a_loss_that_was_changed_in_mlflow_differs(here: Path) -> None:
    run = reader().find_run("last")
    step, loss = run.read_curves()["loss"][5]
    reader().client.log_metric(run.run_id, "loss", loss * 1.5, step=step)
    done = package.reproduce(run.run_id)
    assert done.verdict is Verdict.DIFFERS


def test_a_sample_is_of_a_sweep(linfit: Linfit, here: Path) -> None:
    assert "is one fit: a sample is drawn from a sweep" in linfit("reproduce", "--sample", "2").err


# ---- plug-ins ----


@pytest.fixture
def plug_in(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (workdir / "witness.py").write_text("from pathlib import Path\nPath('imported').touch()\n")
    monkeypatch.syspath_prepend(workdir)
    yield workdir / "imported"
    sys.modules.pop("witness", None)


@pytest.mark.parametrize(
    "command",
    [("reproduce", "last"), ("diff", "last", "last"), ("script", "last")],
    ids=lambda words: words[0],
)
def test_plug_ins_are_imported_with_trust_only(
    command: tuple[str, ...], linfit: Linfit, plug_in: Path
) -> None:
    assert linfit("run", "steps=2", "plugins=[witness]").code == 0
    plug_in.unlink()
    sys.modules.pop("witness")
    said = linfit(*command)
    assert (said.code, plug_in.exists()) == (2, False)
    assert "needs plug-ins, which are not imported from what is stored without --trust" in said.err
    assert linfit(*command, "--trust").code == 0
    assert plug_in.exists()


# ---- last, diff ----


def test_last_is_never_a_reproduction_however_many_there_are(here: Path) -> None:
    before = reader().find_run("last")
    for _ in range(25):
        tags = {
            mlflow_names.KIND: "fit",
            mlflow_names.CODE: "0",
            mlflow_names.REPRODUCES: before.run_id,
        }
        reader().client.create_run("0", tags=tags)
    assert reader().find_run("last").run_id == before.run_id


def test_diff_names_what_two_runs_have_otherwise(linfit: Linfit, here: Path) -> None:
    run = reader().find_run("last").run_id
    again = package.reproduce(run).run_id
    said = linfit("diff", run, again)
    assert (said.code, "identical" in said.out, "differs    nothing" in said.out) == (0, True, True)
    other = package.reproduce(run, overrides=["optimizer.lr=0.2"]).run_id
    said = linfit("diff", run, other)
    assert said.code == 1
    assert re.search(r"config +optimizer.lr +0.1 +0.2", said.out)
    assert "from step 1 on" in said.out
    assert (
        re.search(rf"what +{run[:12]} +{other[:12]}", said.out) and f"loss {run[:12]}" in said.out
    )
    found = json.loads(linfit("diff", run, children()[0], "--json").out)
    assert {"optimizer.lr", "engine", "seed"} & {change["key"] for change in found["changes"]}
    [sweep] = ids("sweep")
    assert "is a sweep, which has no config of its own" in linfit("diff", run, sweep).err


def test_diff_names_two_runs_where_reproduce_says_then_and_now(linfit: Linfit, here: Path) -> None:
    run, fits = (
        reader().find_run("last"),
        [record for record in everything() if mlflow_names.PARENT in record.tags],
    )
    others = [
        record for record in fits if record.name in ("sgd lr=1.0 float64", "adam lr=0.001 float32")
    ]
    pairs = [(run, other) for other in others] + [(others[0], others[1]), (run, run)]
    for one, other in pairs:
        said = " ".join(linfit("diff", one.run_id, other.run_id).out.split())
        assert not re.search(r"\b(then|now|again|stored|changed|as they were)\b", said), said
        assert f"{one.name}: run {one.run_id}" in said and f"run {other.run_id}" in said
        assert one is other or f"what {one.name} {other.name}" in said
    said = linfit("reproduce", run.run_id, "--set", "optimizer.lr=0.2").out
    assert (
        re.search(r"changed +what +then +now", said) and "loss then" in said and "loss now" in said
    )


# ---- verdicts ----


def outcome(
    losses: Any,
    dtype: str = "float64",
    weights: Any = (1.0, -2.0),
    status: str = "completed",
    whole: bool = True,
) -> Outcome:
    array = np.array(losses, float)
    return Outcome(status, dtype, np.arange(len(array)), array, np.array(weights, float), whole)


@pytest.mark.parametrize(
    ("then", "now", "verdict", "first", "parted"),
    [
        (outcome([4, 2, 1]), outcome([4, 2, 1]), "identical", None, None),
        (outcome([4, 2, 1]), outcome([4, 2 + 1e-12, 1]), "equal within tolerance", 1, None),
        (outcome([4, 2, 1]), outcome([4, 2 + 1e-12, 1 + 1e-6]), "differs", 1, 2),
        (
            outcome([4, 2, 1], "float32"),
            outcome([4, 2, 1 + 1e-6], "float32"),
            "equal within tolerance",
            2,
            None,
        ),
        (outcome([4, 2, 1], "float32"), outcome([4, 2.1, 1], "float32"), "differs", 1, 1),
        (
            outcome([4, 1e-30]),
            outcome([4, 2e-30]),
            "equal within tolerance",
            1,
            None,
        ),  # below what the initial loss leaves of digits
        (
            outcome([4, 2]),
            outcome([4, 2], weights=(1.0, -2.0 - 1e-12)),
            "equal within tolerance",
            None,
            None,
        ),
        (outcome([4, 2]), outcome([4, 2], weights=(1.0, -2.0 - 1e-6)), "differs", None, None),
        (outcome([4, 2]), outcome([4, 2], weights=(1.0,)), "differs", None, None),
        (outcome([4, 2, 1]), outcome([4, 2]), "differs", None, None),
        (
            outcome([4, 2, 1]),
            outcome([4, 2, 1]).select_steps(np.array([0, 2])),
            "differs",
            None,
            None,
        ),
        (outcome([4, 2], status="diverged"), outcome([4, 2]), "differs", None, None),
        (
            outcome([4, 8, np.inf], status="diverged"),
            outcome([4, 8, np.inf], status="diverged"),
            "identical",
            None,
            None,
        ),
        (
            outcome([4, 8], status="diverged", whole=False),
            outcome([4, 8, np.inf], status="diverged"),
            "identical",
            None,
            None,
        ),
        (
            outcome([4, 8, 16], status="diverged"),
            outcome([4, 8], status="diverged"),
            "equal within tolerance",
            None,
            None,
        ),
        (
            outcome([4, 8, 16, 32], status="diverged"),
            outcome([4, 8], status="diverged"),
            "differs",
            None,
            None,
        ),
        (outcome([], status="failed"), outcome([], status="failed"), "identical", None, None),
    ],
)
def test_the_verdict(
    then: Outcome, now: Outcome, verdict: str, first: int | None, parted: int | None
) -> None:
    found = compare_outcomes(then, now)
    assert (found.verdict, found.first_different, found.parted_at) == (verdict, first, parted)


def test_the_largest_difference_has_its_step() -> None:
    found = compare_outcomes(outcome([4, 2, 1, 1]), outcome([4, 2 * (1 + 1e-12), 1 + 4e-12, 1]))
    assert (found.largest_at, found.first_different) == (2, 1)
    assert found.losses == pytest.approx(4e-12, rel=1e-3)
    assert compare_outcomes(outcome([4, 2]), outcome([4, 2], weights=(1.0, -1.0))).weights == 0.5


def test_an_absent_store_and_an_absent_run_are_said(linfit: Linfit, bare: Path) -> None:
    assert "there is no store at" in linfit("reproduce").err
    with pytest.raises(LinfitError):
        package.reproduce("abc")
