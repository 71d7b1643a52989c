"""Fits in several processes: equal bits for any number of them, also when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from linfit.config import FitConfig
from linfit.engine.dispatch import fit_as_completed
from linfit.engine.fit import Fit, Status
from linfit.errors import ConfigError
from linfit.sweeps.compose.compose import load_plugins
from linfit.sweeps.executors.executor import choose_executor
from linfit.sweeps.executors.processes import (
    MAX_CHUNK,
    MAX_SINGLE_CHUNK,
    MIN_CHUNK,
    ExecutorSpec,
    describe_worker_death,
    run_in_workers,
    split_into_chunks,
)
from linfit.tracking.schema import mlflow_names
from tests.conftest import Ran
from tests.helpers import started

Linfit = Callable[..., Ran]

PLUGIN = """
import os
from typing import Literal
from linfit.problem.datasets.synthetic import Parabola
from linfit.method.optimizers import SGD

class Deadly(Parabola):
    name: Literal["{name}"] = "{name}"
    lethal: int = 10**9
    def load(self, seed):
        if seed >= self.lethal and os.getpid() != {parent}:
            {deed}
        return super().load(seed)
"""


def plugin(folder: Path, name: str, deed: str = "pass") -> str:
    """Write a module with a dataset that does `deed` in a worker, for seeds from `lethal` on."""
    (folder / f"{name}.py").write_text(PLUGIN.format(name=name, deed=deed, parent=os.getpid()))
    return name


@pytest.fixture
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`sys.path`, and the datasets there are, as they were."""
    from linfit.problem.datasets.synthetic import Dataset

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(Dataset, "choices", dict(Dataset.choices))


def bits(fit: Fit) -> tuple[Any, ...]:
    assert fit.path is not None and fit.optimum is not None
    numbers = (
        fit.path.steps,
        fit.path.losses,
        fit.path.weights,
        fit.excess_losses,
        fit.optimum.weights,
    )
    return (
        fit.config,
        fit.status,
        fit.steps_to_tolerance,
        fit.diverged_at_step,
        *(array.tobytes() for array in numbers),
    )


def in_workers(configs: list[FitConfig], workers: int) -> dict[int, Fit]:
    with closing(run_in_workers(configs, workers)) as fits:
        return dict(fits)


def resolved(**fields: Any) -> FitConfig:
    return FitConfig(**fields).resolved(several=True)


def mixed() -> list[FitConfig]:
    """Return fits of several stacks and both float types, some by the single engine.

    Every third fit diverges.
    """
    methods: list[dict[str, Any]] = [
        {"name": "adam"},
        {"name": "rmsprop"},
        {"name": "sgd", "lr": 10.0},
    ]
    large = [
        {"name": "random_linear", "n": n, "p": p, "q": q, "condition": 1.0}
        for n, p, q in ((5, 3, 2), (100, 33, 1), (10_000, 1, 3))
    ]
    parts: list[dict[str, Any]] = [
        {"dtype": "float32"},
        {"dtype": "float64", "model": "linear"},
        {"engine": "single"},
    ]
    parts += [
        {"dataset": dataset, "gradient": gradient}
        for dataset, gradient in zip(large, ("gram", "forward", "func_grad"), strict=True)
    ]
    return [
        resolved(seed=seed, steps=30, optimizer=methods[seed % 3], **part)
        for seed in range(9)
        for part in parts
    ]


# ---- chunks ----


@pytest.mark.parametrize("workers", [2, 3, 4, 16])
@pytest.mark.parametrize("count", [1, 7, 100, 3 * MAX_CHUNK])
def test_every_fit_is_in_one_chunk(count: int, workers: int) -> None:
    cut = split_into_chunks([resolved(seed=0)] * count, workers)
    assert sorted(place for chunk in cut for place in chunk) == list(range(count))
    assert max(map(len, cut)) <= MAX_CHUNK
    assert len(cut) >= min(workers, count // MIN_CHUNK)
    assert min(map(len, cut)) >= min(count, MIN_CHUNK // 2)


def test_a_stack_is_not_scattered() -> None:
    configs = mixed()
    cut = split_into_chunks(configs, 2)
    for chunk in cut:
        assert len({(configs[place].dtype, configs[place].engine.name) for place in chunk}) == 1
    assert (
        max(len(chunk) for chunk in cut if configs[chunk[0]].engine.name == "single")
        <= MAX_SINGLE_CHUNK
    )


# ---- bits ----


def test_bits_do_not_depend_on_the_number_of_workers() -> None:
    configs = mixed()
    alone = {place: bits(fit) for place, fit in fit_as_completed(configs)}
    assert {status for _, status, *_ in alone.values()} == {Status.COMPLETED, Status.DIVERGED}
    spread = in_workers(configs, 4)
    assert {place: bits(fit) for place, fit in spread.items()} == alone
    assert all(fit.config is configs[place] for place, fit in spread.items())


@pytest.mark.slow
@pytest.mark.matrix
def test_a_sweep_is_recorded_as_without_workers(linfit: Linfit, workdir: Path) -> None:
    from pyarrow.parquet import read_table

    of_this_time = {"run_id", "step_seconds"}
    tables = []
    for workers in (1, 2):
        folder = f"outputs/sweeps/{workers}"
        arguments = (
            "seed=range(0,9)",
            "optimizer=adam,sgd",
            "steps=20",
            f"hydra.launcher.workers={workers}",
            f"hydra.sweep.dir={folder}",
        )
        done = linfit("run", "-m", *arguments)
        assert done.code == 0, done.err
        found = [
            read_table(f"{folder}/{name}.parquet").sort_by("row").to_pylist()
            for name in ("results", "curves")
        ]
        tables.append(
            [
                [{key: row[key] for key in row if key not in of_this_time} for row in rows]
                for rows in found
            ]
        )
    assert len(tables[0][0]) == 18
    assert repr(tables[0]) == repr(tables[1])


def test_one_worker_is_this_process(linfit: Linfit, workdir: Path) -> None:
    code = "import sys, linfit; linfit.sweep(['seed=0,1', 'steps=2', 'tracking=none']); "
    code += "print('joblib.externals.loky' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "False"
    )


# ---- plug-ins and deaths ----


def test_only_the_fit_that_kills_its_worker_fails(
    linfit: Linfit, workdir: Path, own_path: None, client: Any
) -> None:
    name = plugin(workdir, "deadly_data", "os.kill(os.getpid(), 9)")
    arguments = (
        f"plugins=[{name}]",
        f"dataset.name={name}",
        "seed=range(0,9)",
        "+dataset.lethal=8",
        "steps=3",
    )
    done = linfit("run", "-m", *arguments, "hydra.launcher.workers=2")
    assert done.code == 1
    assert "9 fits: 8 completed, 1 failed" in done.out
    assert (
        "linfit: seed=8 FAILED\nthe worker process died (signal 9) while it ran this fit"
        in done.err
    )
    assert "1 of 9 fits failed: seed=8 (" in done.err and "run again, in halves" in done.err
    found = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()]
    )
    children = [run.info.status for run in found if mlflow_names.PARENT in run.data.tags]
    assert sorted(children) == ["FAILED"] + ["FINISHED"] * 8


@pytest.mark.slow
def test_chunks_are_given_up_whole_when_too_many_workers_die(
    workdir: Path, own_path: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linfit.sweeps.executors.processes.MAX_WORKER_DEATHS", 2)
    name = plugin(workdir, "plague", "os._exit(3)")
    load_plugins([name])
    done = in_workers(
        [
            resolved(seed=seed, plugins=(name,), dataset={"name": name, "lethal": 0})
            for seed in range(8)
        ],
        2,
    )
    assert [done[place].error for place in range(8)] == [
        "the worker process died (exit code 3) while it ran these 4 fits"
    ] * 8


def test_a_plugin_that_cannot_be_imported_by_a_worker_fails_its_fits(
    workdir: Path, own_path: None
) -> None:
    name = plugin(workdir, "here_only")
    load_plugins([name])
    (workdir / f"{name}.py").write_text("raise SystemExit(3)")
    done = in_workers([resolved(plugins=(name,), dataset=name)] * 2, 2)
    assert [fit.status for fit in done.values()] == [Status.FAILED] * 2
    assert all("SystemExit: 3" in str(fit.error) for fit in done.values())


def test_another_exception_is_no_death() -> None:
    assert describe_worker_death(ValueError("(-9)")) is None


# ---- bad input, interrupts ----


@pytest.mark.parametrize("workers", ["0", "-1", "x", "1.5", "null"])
def test_a_wrong_number_of_workers_is_one_line(workers: str, linfit: Linfit, bare: Path) -> None:
    done = linfit("run", "-m", "seed=0,1", f"hydra.launcher.workers={workers}")
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1 and "hydra.launcher.workers" in done.err
    assert list(bare.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(
    ("signalled", "code"), [(signal.SIGINT, 130), (getattr(signal, "SIGKILL", None), -9)]
)
@pytest.mark.slow
def test_no_worker_outlives_its_sweep(
    signalled: signal.Signals, code: int, workdir: Path, client: Any
) -> None:
    command = [sys.executable, "-c", "from linfit.cli import main; main()"]
    command += [
        "run",
        "-m",
        "seed=range(0,32)",
        "steps=100000000",
        "engine=single",
        "hydra.launcher.workers=2",
    ]
    environment = {**os.environ, "LINFIT_GRACE": "25"}
    with started(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        wait_for(
            lambda: (
                len([pid for pid in session(process.pid) if busy(pid)]) >= 3
                or process.poll() is not None
            )
        )
        assert process.poll() is None
        os.killpg(process.pid, signalled) if signalled is signal.SIGINT else process.kill()
        _, err = process.communicate(timeout=30)
        assert process.returncode == code
        wait_for(lambda: not session(process.pid))
    if signalled is signal.SIGINT:
        assert "Traceback" not in err and "is KILLED in MLflow" in err
        found = client.search_runs(
            [experiment.experiment_id for experiment in client.search_experiments()]
        )
        assert [run.info.status for run in found] == ["KILLED"]


def session(leader: int) -> list[int]:
    """The processes of a session that are not yet gone."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = file.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(sid) == leader and state != "Z":
            found.append(int(file.parent.name))
    return found


def busy(pid: int) -> bool:
    """Whether a process has torch loaded."""
    try:
        return "libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, ExecutorSpec(3)),
        ({"count": 2}, ExecutorSpec(2)),
        ({"backend": "loky"}, ExecutorSpec(3)),
        ({"backend": "loky", "count": 1}, ExecutorSpec(1)),
    ],
)
def test_a_sweep_goes_on_where_it_began_or_where_it_is_asked_to(
    asked: dict[str, Any], where: ExecutorSpec
) -> None:
    assert choose_executor(ExecutorSpec(3), **asked) == where


def test_a_sweep_of_a_cluster_that_is_gone_says_where_else_it_can_go_on() -> None:
    began = ExecutorSpec(1, "ray", "127.0.0.1:1")
    with pytest.raises(ConfigError, match=r"ray.*with --workers"):
        choose_executor(began)
    assert choose_executor(began, count=2) == ExecutorSpec(2)
    with pytest.raises(ConfigError, match="of which kind of cluster"):
        choose_executor(ExecutorSpec(), address="127.0.0.1:8786")
