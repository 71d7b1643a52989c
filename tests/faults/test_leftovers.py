"""Killed processes leave nothing, at the latest after the next command.

Nothing of others is touched.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from linfit.system.process_owner import process_identity, short_identity
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.leftovers import remove_leftovers
from tests.helpers import started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes, on Linux")

#: A process that notes what it may leave, leaves it, and is killed. It says who it was.
KILLED = """
import os, signal
from pathlib import Path
from linfit.system import scratch
from linfit.system.process_owner import process_identity
scratch.create_temporary_folder().joinpath("data").write_text("x")
for name in ("half", "part"):
    scratch.name_temporary_file(Path(name)).write_text("x")
scratch.name_temporary_file(Path("tables")).mkdir(exist_ok=True)
for name, inside in (("unplanned", "multirun.yaml"), ("planned", "manifest.parquet")):
    scratch.note_leftover(Path(name), "manifest.parquet")
    Path(name).mkdir(exist_ok=True)
    Path(name, inside).touch()
for name in ("empty", "full"):
    scratch.note_leftover(Path(name), "*")
    Path(name).mkdir(exist_ok=True)
Path("full", ".hydra").mkdir(exist_ok=True)
scratch.note_store(Path("outputs/mlflow.db"))
Path(f"/dev/shm/sem.loky-{os.getpid()}-a").touch()
print(process_identity(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
RUNS = {"dead": "RUNNING", "alive": "RUNNING", "ended": "FINISHED"}


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, of this process and of those that it starts."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr("linfit.system.scratch._Scratch.folder", None)
    return folder


def killed(code: str, *arguments: str) -> str:
    """What a Python program has printed that ends by SIGKILL."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.strip()


def add_runs(owners: dict[str, str]) -> None:
    with closing(sqlite3.connect("outputs/mlflow.db")) as store, store:
        for name, status in RUNS.items():
            store.execute(
                "INSERT INTO runs (run_uuid, status, lifecycle_stage, experiment_id) "
                "VALUES (?, ?, 'active', 0)",
                (name, status),
            )
            store.execute(
                "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
                (mlflow_names.OWNER, owners[name], name),
            )


def test_what_a_killed_process_noted_is_removed(temporary: Path, workdir: Path) -> None:
    process = killed(KILLED)
    add_runs({"dead": process, "ended": process, "alive": process_identity()})
    assert {file.name.rpartition(".")[0] for file in workdir.glob(".*")} == {
        ".half",
        ".part",
        ".tables",
    }
    remove_leftovers()
    assert (
        list(temporary.iterdir())
        == list(workdir.glob(".*"))
        == list(Path("/dev/shm").glob(f"sem.loky-{process.split()[-2]}-*"))
        == []
    )
    assert {folder.name for folder in workdir.iterdir()} == {"outputs", "planned", "full"}
    with closing(sqlite3.connect("outputs/mlflow.db")) as store:
        assert dict(store.execute("SELECT run_uuid, status FROM runs")) == {
            "dead": "KILLED",
            "alive": "RUNNING",
            "ended": "FINISHED",
        }
        assert store.execute(
            "SELECT run_uuid, value FROM tags WHERE key = ?", (mlflow_names.STATUS,)
        ).fetchall() == [("dead", "killed")]


def test_a_store_that_is_locked_or_gone_stops_nothing(temporary: Path, workdir: Path) -> None:
    with closing(sqlite3.connect("outputs/mlflow.db", isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        killed(KILLED)
        remove_leftovers()
        store.execute("ROLLBACK")
    killed(KILLED)
    Path("outputs/mlflow.db").write_bytes(b"no database")
    remove_leftovers()
    assert list(temporary.iterdir()) == []


def test_nothing_else_is_touched(temporary: Path, workdir: Path) -> None:
    """Folders that are not removed.

    Those of living processes, of other machines and users, links, and what only looks like a folder
    of linfit's.
    """
    killed(
        "from linfit.system.scratch import create_temporary_folder; create_temporary_folder(); "
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    [dead] = temporary.iterdir()
    place, number, began, mark = dead.name.removeprefix("linfit-").split("-")
    kept = [
        temporary / f"linfit-{short_identity()}-abc",
        temporary / f"linfit-{'0' * 8}-{number}-{began}-{mark}",
        temporary / f"linfit-{place}-{number}-?-{mark}",
        temporary / f"linfit-{place}-x{number}-{began}-{mark}",
        temporary / f"linfit-{place}-{number}",
        *(temporary / name for name in ("linfit-", "linfit-data", f"linfit-{place}", "other")),
    ]
    for folder in kept:
        folder.mkdir()
    link, file = dead.with_name(f"{dead.name}l"), dead.with_name(f"{dead.name}f")
    link.symlink_to(workdir)
    file.touch()
    if os.getuid() == 0:
        other = dead.with_name(f"{dead.name}o")
        other.mkdir()
        os.chown(other, 65534, 65534)
        kept.append(other)
    remove_leftovers()
    assert set(temporary.iterdir()) == {*kept, link, file}


#: A command that is killed when it gives a file of this name its name.
DIES = """
import os, signal, sys
from pathlib import Path
from linfit.tracking.write.background import prestart as head_start
replace, sys.argv[0] = Path.replace, "linfit"
last = sys.argv.pop(1)
def dies(self, target):
    if Path(target).name == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace, head_start.prestart_process = dies, lambda words: None
from linfit.cli import main
main()
"""


@pytest.mark.parametrize(
    ("last", "tracking", "kept"),
    [("manifest.parquet", "none", set()), ("mlflow.db", "mlflow", {"mlflow.db.lock", "artifacts"})],
)
def test_a_command_that_is_killed_leaves_nothing_behind_the_next(
    last: str,
    tracking: str,
    kept: set[str],
    temporary: Path,
    bare: Path,
    linfit: Callable[..., Any],
) -> None:
    killed(
        DIES,
        last,
        "run",
        "-m",
        "seed=0,1",
        "steps=2",
        f"tracking={tracking}",
        "hydra.sweep.dir=outputs/sweeps/one",
    )
    assert [file for file in bare.glob("outputs/**/.*") if last in file.name]
    assert linfit("list").code == 0
    assert list(temporary.iterdir()) == []
    assert {file.name for file in bare.glob("outputs/*")} - {"sweeps"} == kept
    assert (bare / "outputs/sweeps/one").exists() == (last == "mlflow.db")
    assert [file.name for file in bare.glob("outputs/**/.*")] == [".lock"] * (last == "mlflow.db")


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT,) * 2, (signal.SIGTERM, signal.SIGINT), (signal.SIGINT,) * 3]
)
def test_no_further_signal_is_a_traceback(
    numbers: tuple[signal.Signals, ...], temporary: Path, bare: Path
) -> None:
    command = [sys.executable, "-m", "linfit", "run", "steps=100000000", "tracking=none"]
    with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not list(bare.glob("outputs/runs/*/.hydra/overrides.yaml")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        time.sleep(0.3)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.005)
        out, err = process.communicate(timeout=30)
    # Of two signals at once, Python handles the one with the lower number first.
    assert process.returncode in {128 + number for number in numbers}
    assert out == ""
    assert "Traceback" not in err and "ignored" not in err, err
