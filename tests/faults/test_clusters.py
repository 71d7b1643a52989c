"""Sweeps on dask and ray clusters, and in PostgreSQL.

Real servers on loopback give the same bits as one process.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from pyarrow import parquet

from linfit.config import FitConfig
from linfit.engine.dispatch import fit_as_completed
from linfit.engine.fit import Fit, Status
from linfit.sweeps.executors.clusters import run_on_cluster
from linfit.sweeps.executors.processes import ExecutorSpec
from linfit.sweeps.folder.sweep_folder import SweepInfo
from tests.conftest import Ran
from tests.faults.conftest import answers, dask, free_port, running, wait_until
from tests.faults.harness import (
    FITS,
    FOLDER,
    PAIRS,
    assert_whole,
    end,
    log,
    missing,
    need,
    need_package,
    one_line,
    run,
    start,
    tables,
    until,
)
from tests.helpers import started

# The clusters' libraries emit many warnings.
pytestmark = pytest.mark.filterwarnings("default")
Linfit = Callable[..., Ran]
ROOT = Path(__file__).parents[2]

RAY = """
import json, sys
from tests.faults.test_clusters import bits, configs
from linfit.engine.dispatch import fit_as_completed
from linfit.sweeps.executors.clusters import run_on_cluster
from linfit.sweeps.executors.processes import ExecutorSpec
here = dict(fit_as_completed(configs()))
there = dict(run_on_cluster(configs(), ExecutorSpec(2, "ray", None)))
different = sorted(place for place in here if bits(here[place]) != bits(there[place]))
json.dump([len(there), different], sys.stdout)
"""
#: Of two nodes of one CPU the newest is killed, with its workers, when the first fit is there and
#: both compute others.
LOSS = """
import json, os, signal, subprocess, sys, time
import ray
from tests.faults.test_clusters import bits, configs
from linfit.engine.dispatch import fit_as_completed
from linfit.sweeps.executors.clusters import run_on_cluster
from linfit.sweeps.executors.processes import ExecutorSpec
def pids(*options):
    found = subprocess.run(["pgrep", *options], capture_output=True, text=True)
    return [int(pid) for pid in found.stdout.split()]
def alive():
    return sum(node["Alive"] for node in ray.nodes())
def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
there, seen = {}, []
for place, fit in run_on_cluster(configs(3000), ExecutorSpec(2, "ray", None)):
    if not there:
        until(lambda: ray.available_resources().get("CPU", 0) == 0)
        seen.append(alive())
        [raylet] = pids("-n", "-x", "raylet")
        for pid in (raylet, *pids("-P", str(raylet))):
            os.kill(pid, signal.SIGKILL)
        until(lambda: alive() == 1)
        seen.append(alive())
    there[place] = fit
here = dict(fit_as_completed(configs(3000)))
different = sorted(place for place in here if bits(here[place]) != bits(there[place]))
json.dump([len(there), different, seen], sys.stdout)
"""


def configs(steps: int = 50) -> list[FitConfig]:
    parts: list[dict[str, Any]] = [
        {"optimizer": "adam"},
        {"optimizer": "rmsprop", "dtype": "float64"},
        {"engine": "single"},
    ]
    return [
        FitConfig(seed=seed, steps=steps, **part).resolved(several=True)
        for seed in range(12)
        for part in parts
    ]


def bits(fit: Fit) -> tuple[Any, ...]:
    assert fit.path is not None, fit.error
    return (
        fit.status.value,
        fit.path.steps.tolist(),
        fit.path.losses.tobytes(),
        fit.path.weights.tobytes(),
    )


def test_dask_gives_the_bits_of_one_process(dask_cluster: str) -> None:
    here = dict(fit_as_completed(configs()))
    with closing(
        run_on_cluster(configs(), ExecutorSpec(backend="dask", address=dask_cluster))
    ) as fits:
        there = dict(fits)
    assert {place: bits(fit) for place, fit in there.items()} == {
        place: bits(fit) for place, fit in here.items()
    }


def test_the_fits_of_a_lost_dask_worker_run_again(dask_cluster: str) -> None:
    from distributed import Client

    worker = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        dask_cluster,
        "--nthreads",
        "4",
        "--no-nanny",
        "--no-dashboard",
    ]
    with started([*worker, "--name", "doomed"], stderr=subprocess.PIPE, text=True) as doomed:
        assert doomed.stderr is not None
        assert any("Starting established connection" in line for line in doomed.stderr)
        fits = run_on_cluster(configs(3000), ExecutorSpec(backend="dask", address=dask_cluster))
        first = next(fits)
        with Client(dask_cluster, set_as_default=False) as client:
            [lost] = [address for address, threads in client.nthreads().items() if threads == 4]
            assert client.processing()[lost], "it had nothing to lose"
            doomed.kill()
        found = dict([first, *fits])
    assert sorted(found) == list(range(len(configs())))
    assert {fit.status for fit in found.values()} == {Status.COMPLETED}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the key, certificate and settings of docs/beyond-one-machine.md."""
    return make_keys(tmp_path_factory.mktemp("keys") / "dask")


@pytest.fixture(scope="module")
def guarded_dask(keys: Path) -> Iterator[str]:
    """The address of a scheduler and a worker that have the key."""
    need_package("distributed", "dask")
    port = free_port()
    address = f"tls://127.0.0.1:{port}"
    where = ("--host", "127.0.0.1", "--port", str(port), "--protocol", "tls", "--no-dashboard")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_CONFIG", str(keys))
        stack.enter_context(running(sys.executable, "-m", "distributed.cli.dask_scheduler", *where))
        wait_until(lambda: answers(port))
        stack.enter_context(running(sys.executable, *WORKER, address))
        wait_until(lambda: "1" in ask_workers(address))
        patch.undo()
        yield address


WORKER = (
    "-m",
    "distributed.cli.dask_worker",
    "--nthreads",
    "1",
    "--no-nanny",
    "--no-dashboard",
    "--death-timeout",
    "4",
)
COUNT = (
    "import sys, distributed; "
    "print(len(distributed.Client(sys.argv[1], timeout=4, set_as_default=False)"
    ".scheduler_info()['workers']))"
)


def ask_workers(address: str) -> str:
    """Return how many workers a scheduler has.

    A process with this one's environment asks it. Return an empty text if it is refused.
    """
    ask = [sys.executable, "-c", COUNT, address]
    return subprocess.run(
        ask, capture_output=True, text=True, check=False, timeout=60
    ).stdout.strip()


def make_keys(folder: Path) -> Path:
    """Do what the page says."""
    need("openssl")
    page = (ROOT / "docs" / "beyond-one-machine.md").read_text(encoding="utf-8")
    folder.mkdir()
    [command] = re.findall(r"^\$ (openssl .*)$", page, re.MULTILINE)
    subprocess.run(shlex.split(command), cwd=folder, check=True, capture_output=True)
    [settings] = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (folder / "dask.yaml").write_text(settings.replace("/home/me/dask", str(folder)))
    return folder


def test_a_sweep_on_a_dask_cluster_with_keys(
    guarded_dask: str, keys: Path, stored: Path, reference: str
) -> None:
    where = ("hydra.launcher.backend=dask", f"hydra.launcher.address={guarded_dask}")
    assert run(stored, *FITS, *where, DASK_CONFIG=str(keys)) == 0, log(stored)
    assert_whole(stored, PAIRS, reference)


@pytest.mark.parametrize("has", ["nothing", "another key", "no encryption"])
def test_who_has_not_dask_s_key_is_refused(
    has: str,
    guarded_dask: str,
    keys: Path,
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker does not join, and a sweep says in one line that it cannot begin.

    The worker is handed no fit and sends nothing back.
    """
    address = guarded_dask.replace("tls", "tcp") if has == "no encryption" else guarded_dask
    settings = make_keys(tmp_path / "other") if has == "another key" else tmp_path / "none"
    monkeypatch.setenv("DASK_CONFIG", str(settings))
    joined = subprocess.run(
        [sys.executable, *WORKER, address], capture_output=True, timeout=60, check=False
    )
    assert joined.returncode != 0
    assert ask_workers(address) == ""
    where = ("hydra.launcher.backend=dask", f"hydra.launcher.address={address}")
    assert run(stored, *FITS, *where, DASK_CONFIG=str(settings)) == 2, log(stored)
    one_line(stored, f"no dask cluster answers at {address}")
    assert not (stored / FOLDER / "manifest.parquet").exists()
    monkeypatch.setenv("DASK_CONFIG", str(keys))
    assert ask_workers(guarded_dask) == "1"


def test_who_asks_for_encryption_speaks_to_no_cluster_without(
    dask_cluster: str, keys: Path, stored: Path
) -> None:
    where = ("hydra.launcher.backend=dask", f"hydra.launcher.address={dask_cluster}")
    assert run(stored, *FITS, *where, DASK_CONFIG=str(keys)) == 2, log(stored)
    one_line(stored, f"no dask cluster answers at {dask_cluster}")


def test_ray_gives_the_bits_of_one_process() -> None:
    assert on_ray(RAY, cpus=2) == [len(configs()), []]


def test_the_fits_of_a_lost_ray_node_run_again() -> None:
    need("pgrep")
    assert on_ray(
        LOSS,
        cpus=1,
        more="{ray} start --address=127.0.0.1:26379 --num-cpus=1 --disable-usage-stats",
    ) == [
        len(configs()),
        [],
        [2, 1],
    ]


def on_ray(program: str, cpus: int, more: str = "true") -> Any:
    """Return what a program prints beside a ray cluster of one node with `cpus` CPUs.

    `more` starts more of the cluster. All run in a network namespace that has loopback only: ray
    listens on the machine's own address otherwise.
    """
    need("unshare", "ip")
    need_package("ray", "ray")
    python, ray = (
        shlex.quote(sys.executable),
        shlex.quote(str(Path(sys.executable).with_name("ray"))),
    )
    head = (
        f"{ray} start --head --port=26379 --num-cpus={cpus} --include-dashboard=false "
        "--disable-usage-stats --temp-dir=$FOLDER"
    )
    begin = f"ip link set lo up && {head} >&2 && {more.format(ray=ray)} >&2"
    commands = f"{begin} && {python} -c '{program}'; code=$?; {ray} stop --force >&2; exit $code"
    inside = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "sh", "-c", commands]
    # The path has to be short: ray makes sockets below it.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        (Path(folder) / "token").write_text(secrets.token_hex(32))
        # This token replaces the user's own.
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": f"{folder}/token"}
        environment = {**os.environ, **token, "FOLDER": folder}
        done = subprocess.run(
            inside,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=ROOT,
            env=environment,
            check=False,
        )
    if "Operation not permitted" in done.stderr:
        missing("a network namespace needs privileges that are not there")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_sweep_in_postgresql(postgresql: str, bare: Path, linfit: Linfit) -> None:
    ran = linfit(
        "run",
        "-m",
        "seed=range(0,40)",
        "optimizer=adam,sgd",
        "steps=20",
        f"tracking.uri={postgresql}",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert len({row["run_id"] for row in json.loads(ran.out)}) == 80
    shown = linfit("show", "last", "--uri", postgresql, "--json")
    assert [child["status"] for child in json.loads(shown.out)["children"]] == ["FINISHED"] * 80
    assert linfit("verify", "last", "--uri", postgresql, "--sample", "5").code == 0
    assert "canary" not in ran.out + ran.err + shown.out + shown.err


@pytest.mark.parametrize("kills", [1, 2])
def test_a_killed_sweep_in_postgresql_goes_on(
    kills: int, postgresql: str, stored: Path, reference: str
) -> None:
    name = f"killed-{kills}"
    arguments: tuple[str, ...] = (*FITS, f"tracking.uri={postgresql}", f"name={name}")
    for kill in range(kills):
        process = start(stored, *arguments, block=5)
        until(
            (stored / FOLDER / "results" / f"part-{5 * kill + 2}.parquet").exists, process, stored
        )
        process.kill()
        process.join()
        arguments = "resume", FOLDER, "--uri", postgresql
    assert run(stored, *arguments) == 0, log(stored)
    assert reference.startswith(tables(stored))
    assert_once_in(postgresql, name, stored)


def assert_once_in(uri: str, name: str, workdir: Path) -> None:
    """Assert that each fit of the sweep is there once and finished, with its own loss.

    Nothing else is there, and no number is there twice.
    """
    results = {
        row["run_id"]: row
        for row in parquet.read_table(workdir / FOLDER / "results.parquet").to_pylist()
    }
    with need_package("psycopg", "postgres").connect(uri) as store:
        own = "JOIN experiments e USING (experiment_id) WHERE e.name = %s"
        statuses = dict(
            store.execute(f"SELECT r.run_uuid, r.status FROM runs r {own}", (name,)).fetchall()
        )
        losses = store.execute(
            "SELECT run_uuid, m.value FROM runs r JOIN latest_metrics m USING (run_uuid) "
            f"{own} AND m.key = 'loss'",
            (name,),
        )
        assert dict(losses.fetchall()) == {run_id: row["loss"] for run_id, row in results.items()}
        assert (
            len(results) == PAIRS
            and set(statuses.values()) == {"FINISHED"}
            and len(statuses.keys() - results.keys()) == 1
        )
        twice = (
            "SELECT run_uuid, key, step FROM metrics "
            "GROUP BY run_uuid, key, step HAVING count(*) > 1"
        )
        assert store.execute(twice).fetchall() == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["hydra.launcher.backend=dusk"], "did you mean 'dask'"),
        (
            ["hydra.launcher.backend=dask"],
            "hydra.launcher.address: null, must be a dask scheduler's",
        ),
        (
            ["hydra.launcher.backend=dask", "hydra.launcher.address=127.0.0.1:1"],
            "no dask cluster answers at 127.0.0.1:1",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(
    workdir: Path, linfit: Linfit, overrides: list[str], said: str
) -> None:
    need_package("distributed", "dask")
    ran = linfit("run", "-m", "seed=0,1", "steps=1", *overrides)
    assert ran.code == 2 and said in ran.err and len(ran.err.strip().splitlines()) == 1


def test_a_sweep_goes_on_where_it_ran(dask_cluster: str, stored: Path, reference: str) -> None:
    """A killed sweep says that the cluster is gone, and is resumed on another one.

    It ends as if nothing had been.
    """
    process = start(
        stored,
        *FITS,
        "hydra.launcher.backend=dask",
        f"hydra.launcher.address={dask_cluster}",
        block=5,
    )
    until((stored / FOLDER / "results" / "part-0.parquet").exists, process, stored)
    process.kill()
    process.join()
    about = SweepInfo.read_manifest(stored / FOLDER)
    assert about.executor == ExecutorSpec(1, "dask", dask_cluster)
    assert run(stored, "resume", FOLDER, "--address", "tcp://127.0.0.1:1") == 2
    one_line(stored, "no dask cluster answers at tcp://127.0.0.1:1")
    assert run(stored, "resume", FOLDER) == 0, log(stored)
    assert_whole(stored, PAIRS, reference)


def test_a_scheduler_that_dies_is_one_line_and_resume_completes(
    dask_cluster: str, stored: Path, reference: str
) -> None:
    with dask() as (address, scheduler):
        where = ("hydra.launcher.backend=dask", f"hydra.launcher.address={address}")
        process = start(
            stored, *FITS, *where, block=1, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="3s"
        )
        until((stored / FOLDER / "results" / "part-0.parquet").exists, process, stored)
        scheduler.kill()
        code = end(process)
    assert code == 2, log(stored)
    one_line(stored, f"the dask cluster at {address} is gone")
    assert run(stored, "resume", FOLDER, "--address", dask_cluster) == 0, log(stored)
    assert_whole(stored, PAIRS, reference)
