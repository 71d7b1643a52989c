"""Command lines: `linfit plan` and `linfit run` read them alike, each key once."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import linfit as package
from linfit.errors import ConfigError
from linfit.sweeps.config_files.overrides import settle_repeated_keys
from linfit.sweeps.plan.enumerate import enumerate_jobs
from linfit.sweeps.run.hydra_app import execute
from linfit.tracking.schema import mlflow_names
from tests.conftest import Ran

Linfit = Callable[..., Ran]

STUDIES = {
    "study": "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1', optimizer: 'sgd,adam'}}}",
    "referring": "batch: {size: 3}\nhydra: {mode: MULTIRUN, sweeper: "
    "{params: {steps: '1,2', batch.size: '${steps}'}}}",
    "pairs": """
hydra:
  mode: MULTIRUN
  sweeper:
    pairs:
      - keys: [optimizer, optimizer.lr, init.seed]
        values: [[sgd, 0.001, '${seed}'], [adam, 0.1, 3]]
    params: {seed: '4,5'}
""",
    "grids": "hydra: {mode: MULTIRUN, sweeper: "
    "{grids: [{steps: '1,2'}, {seed: '3,4', dtype: float64}]}}",
    "basic": "hydra: {mode: MULTIRUN, sweeper: {params: {steps: '1,2', seed: '3,4'}}}",
    "child": "optimizer: {momentum: 0.5}\n"
    "hydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}",
}
DEFAULTS = {
    "referring": "[/linfit, override /batch: minibatch, _self_]",
    "child": "[parent, override /optimizer: sgd, _self_]",
    "basic": "[/linfit, override hydra/sweeper: basic, _self_]",
}
PARENT = "defaults: [/linfit, _self_]\noptimizer: {lr: 0.05, betas: [0.5, 0.6]}\n"
FAST = "defaults: [adam, _self_]\nlr: 0.5\n"

#: Sweeps, with the number of fits that each has.
SWEEPS: list[tuple[int, str]] = [
    (2, "-m seed=0,1"),
    (2, "-m steps=1,2 batch=minibatch batch.size=${steps} init.seed=${steps}"),
    (2, "-m steps=1,2 record.every=${steps} init.seed=${dataset.seed} dataset.seed=${seed}"),
    (2, "-m seed=0,1 hydra.sweep.subdir=${hydra.job.num}"),
    (3, "-m optimizer.lr=0.1,0.2,0.3 init.seed=${hydra:job.num}"),
    (2, "-m optimizer={lr:0.01},{lr:1.0}"),
    (2, "-m optimizer=sgd optimizer={lr:0.01},{lr:1.0,momentum:0.5}"),
    (3, "-m seed=range(0,3) dtype='float64' name='my\\ own'"),
    (2, "-m ~stop.divergence +stop.divergence=30 seed=1,2"),
    (2, "-m optimizer=sgd,rmsprop optimizer.momentum=0.5"),
    (5, "-m optimizer=glob(ad*) seed=1"),
    (2, "-m optimizer=fast,adam"),
    (4, "-m optimizer.lr=interval(0.01,0.1) seed=shuffle(range(0,9)) hydra.sweeper.sample=4"),
    (3, "-m seed=0,1,2 optimizer.lr=0.1,0.2 hydra.sweeper.filter='seed*0.1<optimizer.lr-0.05'"),
    (4, "study"),
    (2, "study ++seed=7"),
    (1, "study hydra.mode=RUN"),
    (2, "referring"),
    (4, "pairs"),
    (4, "pairs ++optimizer.lr=0.5"),
    (4, "grids"),
    (2, "child"),
    (4, "-m hydra/sweeper=basic optimizer=adam,sgd seed=0,1"),
    (
        4,
        "-m hydra/sweeper=basic hydra.sweeper.max_batch_size=3 "
        "steps=1,2 record.every=${steps} seed=4,5",
    ),
    (4, "basic dataset.seed=${seed}"),
    (2, "basic ++steps=1"),
    (2, "-m hydra/launcher=basic seed=0,1 init.seed=${hydra:job.num}"),
    (2, "-m hydra/launcher=basic hydra/sweeper=basic name=one,two"),
    (1, "steps=2 batch=minibatch batch.size=${steps}"),
]


@pytest.fixture
def experiments(bare: Path) -> Path:
    (bare / "experiments").mkdir()
    (bare / "experiments" / "parent.yaml").write_text(PARENT)
    for name, text in STUDIES.items():
        defaults = DEFAULTS.get(name, "[/linfit, _self_]")
        (bare / "experiments" / f"{name}.yaml").write_text(
            f"defaults: {defaults}\n{text.strip()}\n"
        )
    (bare / "conf" / "optimizer").mkdir(parents=True)
    (bare / "conf" / "optimizer" / "fast.yaml").write_text(FAST)
    return bare


def recorded_configs(folder: Path) -> list[dict[str, Any]]:
    """Return the configs of single runs in the order in which they ran."""
    files = sorted(folder.rglob(mlflow_names.CONFIG_FILE), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text())["config"] for file in files]


@pytest.mark.parametrize(
    ("num_fits", "line"),
    [
        pytest.param(*case, marks=[pytest.mark.slow] if number % 3 else [])
        for number, case in enumerate(SWEEPS)
    ],
    ids=str,
)
def test_plan_and_run_are_one_path(num_fits: int, line: str, experiments: Path) -> None:
    arguments = [*shlex.split(line.replace("'", "\\'")), "tracking=none", "dataset.n=8"]
    if not any(word in line for word in ("steps", "basic ", "referring", "grids")):
        arguments.append("steps=1")
    planned = enumerate_jobs(arguments)
    assert not (experiments / "outputs").exists()
    result = execute(arguments)
    assert len(planned.jobs) == num_fits
    assert [done.name for done in result.completed] == list(planned.name_runs())
    if planned.sweep:
        assert [job.config for job in result.jobs] == [job.config for job in planned.jobs]
        assert [job.overrides for job in result.jobs] == [job.overrides for job in planned.jobs]
    else:
        own = [json.loads(job.config.resolved().model_dump_json()) for job in planned.jobs]
        assert [one["seed"] for one in recorded_configs(experiments)] == [
            one["seed"] for one in own
        ]
        assert [one["init"] for one in recorded_configs(experiments)] == [
            one["init"] for one in own
        ]


#: What gives a key twice, one of the two a sweep; and the key.
TWICE = [
    ("seed=0,1 seed=2,3", "seed"),
    ("seed=0,1 seed=2", "seed"),
    ("seed=2 seed=0,1", "seed"),
    ("optimizer.lr=0.1,0.2 ++optimizer.lr=0.3,0.4", "optimizer.lr"),
    ("++optimizer.lr=0.1 optimizer.lr=0.3,0.4", "optimizer.lr"),
    ("+optimizer.lr=range(1,3) optimizer.lr=3", "optimizer.lr"),
    ("~optimizer.lr=0.001 +optimizer.lr=0.1,0.2", "optimizer.lr"),
    ("optimizer=adam,sgd optimizer=rmsprop", "optimizer"),
    ("optimizer=adam,sgd optimizer@optimizer=rmsprop", "optimizer"),
    ("optimizer=glob(*) optimizer=adam", "optimizer"),
    ("optimizer={lr:0.1},{lr:0.2} optimizer.lr=0.3", "optimizer.lr"),
    ("optimizer.lr=0.3,0.4 optimizer={lr:0.1}", "optimizer.lr"),
    ("stop.divergence=10,20 stop={divergence:30,excess_loss:1e-6}", "stop.divergence"),
    ("seed=choice(1) seed=2", "seed"),
    ("seed=interval(1,3) seed=2", "seed"),
    ("hydra/sweeper=basic seed=0,1 ++seed=2,3", "seed"),
    ("hydra/launcher=basic seed=0,1 seed=2,3", "seed"),
]


@pytest.mark.parametrize(("line", "key"), TWICE)
def test_a_key_given_twice_and_swept_is_refused(line: str, key: str, bare: Path) -> None:
    *_, first, second = given = line.split()
    for does in (enumerate_jobs, lambda arguments: execute(arguments), package.sweep):
        with pytest.raises(ConfigError) as refused:
            does(["-m", *given])
        said = (
            f"{key} is given twice, by {first} and by {second}: "
            f"write one of them, with every value that you want"
        )
        assert str(refused.value) == said
    assert list(bare.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("seed=1 seed=2", "seed=2"),
        ("seed=1 seed=2 seed=3", "seed=3"),
        ("seed=1 ++seed=2", "++seed=2"),
        ("++seed=1 seed=2", "++seed=2"),
        ("optimizer=adam optimizer=sgd", "optimizer=sgd"),
        ("steps=${seed} steps=3", "steps=3"),
        ("optimizer={lr:1,eps:2} optimizer={lr:2}", "optimizer={lr:1,eps:2} optimizer={lr:2}"),
        ("hydra.sweep.dir=a hydra.sweep.dir=b", "hydra.sweep.dir=b"),
    ],
)
def test_of_two_plain_values_the_last_counts_with_a_note(
    line: str, kept: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = line.split()
    assert settle_repeated_keys(given) == kept.split()
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == len(given) - 1
    assert all(
        note.startswith("linfit: note: ") and note.endswith(": the last counts") for note in notes
    )
    assert given[-1] in notes[-1]


def test_what_gives_no_key_twice_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        ["optimizer=sgd", "optimizer={lr:1}", "optimizer.momentum=0,1"],
        ["optimizer.lr=0.1,0.2", "optimizer=adam,sgd"],
        ["~stop.divergence", "+stop.divergence=3"],
        ["optimizer@one=adam", "optimizer@two=adam,sgd"],
        ["no such thing", "seed=0,1", "seed=2"],
    ]
    assert [settle_repeated_keys(each) for each in given] == given
    assert capsys.readouterr().err == ""


def test_the_last_value_counts_everywhere(linfit: Linfit, bare: Path) -> None:
    note = "linfit: note: seed is given twice, by seed=1 and by seed=2: the last counts\n"
    assert package.compose(["seed=1", "seed=2"]).seed == 2
    for command in ("run", "plan", "script"):
        ran = linfit(
            command,
            "seed=1",
            "seed=2",
            "steps=2",
            *(["tracking=none"] if command != "script" else []),
        )
        assert (ran.code, ran.err.count(note)) == (0, 1)
    swept = enumerate_jobs(["-m", "seed=1", "seed=2", "steps=1,2"])
    assert [job.overrides for job in swept.jobs] == [("seed=2", "steps=1"), ("seed=2", "steps=2")]


@pytest.mark.parametrize(
    "line",
    [
        "seed=1",
        "-m seed=0,1",
        "-m seed=0,1 hydra/launcher=basic",
        "-m seed=0,1 hydra/sweeper=basic",
        "hydra.run.dir=outputs/${hydra.job.override_dirname}",
    ],
)
def test_no_value_from_the_environment_is_written(
    line: str, linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOK", "canary-4711")
    secret = "tracking.artifacts=" + str(workdir / "files-${oc.env:TOK}")
    ran = linfit("run", *line.split(), secret, "steps=2")
    assert ran.code == 0 and "canary" not in ran.out + ran.err
    left = [file for file in (workdir / "outputs").rglob("*") if "mlflow.db" not in file.name]
    assert [file for file in left if "canary" in str(file)] == []
    assert [file for file in left if file.is_file() and b"canary" in file.read_bytes()] == []
    assert any(
        "${oc.env:TOK}" in file.read_text()
        for file in left
        if file.name in ("overrides.yaml", "multirun.yaml")
    )


@pytest.mark.parametrize("more", [[], ["-m", "seed=0,1"]])
def test_no_value_from_the_environment_stands_in_an_error(
    more: list[str], linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOK", "canary-4711")
    (workdir / "canary-4711").write_text("no folder")
    ran = linfit("run", *more, "steps=1", f"tracking.artifacts={workdir}/${{oc.env:TOK}}/x")
    assert ran.code == 2
    assert "canary" not in ran.out + ran.err and "${oc.env:TOK}" in ran.err


@pytest.mark.parametrize("command", ["run", "plan", "script"])
def test_a_file_that_sweeps_without_saying_so_gets_a_note(
    command: str, linfit: Linfit, bare: Path
) -> None:
    (bare / "experiments").mkdir()
    own = (
        "defaults: [/linfit, _self_]\nsteps: 1\ntracking: {uri: null}\n"
        "hydra: {sweeper: {params: {seed: '0,1'}}}\n"
    )
    (bare / "experiments" / "own.yaml").write_text(own)
    said = (
        "note: own has hydra.sweeper.params, and this is one fit: "
        "to sweep, add -m, or write hydra.mode: MULTIRUN beside it"
    )
    assert (
        linfit(
            command, "own", *(["tracking.uri=sqlite:///x.db"] if command == "run" else [])
        ).err.count(said)
        == 1
    )
    if command != "script":
        assert said not in linfit(command, "own", "hydra.mode=RUN").err
