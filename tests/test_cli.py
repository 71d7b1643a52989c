"""The command line as users meet it: results on stdout, one line for an error, exit codes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
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

from linfit.tracking.schema import mlflow_names
from linfit.tracking.write.client import ClientRecorder
from tests.helpers import TABLES, started

Linfit = Callable[..., Any]

LEVELS = ("levels", "linear_adam", "linear_manual_update", "tensor_autograd", "tensor_manual")
TROUBLE = '''
import sys
from typing import Literal
from linfit.method.optimizers import ManualSGD

class Exits(ManualSGD):
    """Calls sys.exit(0) in the middle of a fit."""
    name: Literal["exits"] = "exits"
    def build(self, parameter, n): sys.exit(0)

class Raises(ManualSGD):
    """Raises in the middle of a fit."""
    name: Literal["raises"] = "raises"
    def build(self, parameter, n): raise RuntimeError("boom [bold]")
'''


@pytest.fixture
def trouble(workdir: Path) -> Any:
    from linfit.method.optimizers import Optimizer

    (workdir / "trouble.py").write_text(TROUBLE)
    (workdir / "conf" / "optimizer").mkdir(parents=True)
    for name in ("exits", "raises"):
        (workdir / "conf" / "optimizer" / f"{name}.yaml").write_text(f"name: {name}\nlr: 0.1\n")
    path = list(sys.path)
    yield workdir
    sys.path[:] = path
    sys.modules.pop("trouble", None)
    Optimizer.choices.pop("exits", None)
    Optimizer.choices.pop("raises", None)


def runs(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("adhoc")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


@pytest.mark.matrix
@pytest.mark.read_only
def test_a_fit_prints_the_articles_table(linfit: Linfit, workdir: Path) -> None:
    done = linfit("run", "article/linear_adam")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "linear_adam: completed after 1001 updates"
    assert [line.split()[0] for line in lines[2:8]] == ["0", "250", "500", "750", "1000", "1001"]
    losses = [float(line.split()[1]) for line in lines[2:7]]
    assert losses == pytest.approx(
        [
            1616.8270263671875,
            135.70327758789062,
            6.169807434082031,
            2.1447134017944336,
            1.1137772798538208,
        ],
        rel=1e-5,
    )
    weights = next(line for line in lines if line.startswith("weights")).split()[1:]
    assert [float(weight) for weight in weights] == pytest.approx([2.1352127, 2.7306306], rel=1e-5)
    assert "browse         linfit ui" in lines


@pytest.mark.matrix
def test_a_sweep_prints_each_run_best_first(linfit: Linfit, workdir: Path) -> None:
    done = linfit("run", "-m", "optimizer=sgd,adam", "optimizer.lr=0.001,0.1", "steps=100")
    assert done.code == 0
    names = [line.split("  ")[0] for line in done.out.splitlines()[2:6]]
    assert set(names) == {"sgd lr=0.001", "sgd lr=0.1", "adam lr=0.001", "adam lr=0.1"}
    assert names[-1] == "sgd lr=0.1"
    assert "! diverged at" in done.out
    assert "4 fits: 3 completed, 1 diverged" in done.out
    assert "4/4" in done.err


@pytest.mark.matrix
@pytest.mark.read_only
def test_a_study_is_a_sweep_by_itself(linfit: Linfit, workdir: Path, client: Any) -> None:
    (workdir / "experiments").mkdir()
    (workdir / "experiments" / "study.yaml").write_text(
        "# @package _global_\n# Does the seed matter?\ndefaults: [/linfit, _self_]\nsteps: 3\n"
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      seed: 0,1\n"
    )
    assert linfit("run", "study").code == 0
    experiment = client.get_experiment_by_name("study")
    assert len(client.search_runs([experiment.experiment_id])) == 3
    listed = linfit("list", "experiments").out
    assert "study" in listed
    assert "Does the seed matter?" in listed


@pytest.mark.read_only
def test_null_is_a_value(linfit: Linfit, bare: Path) -> None:
    done = linfit(
        "run",
        "article/linear_adam",
        "record.every=null",
        "dataset=parabola",
        "dataset.seed=null",
        "tracking=none",
    )
    assert done.code == 0, done.err
    assert "optimizer.lr: got None, choose a number > 0" in linfit("run", "optimizer.lr=null").err


def refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def test_json_of_a_diverged_fit_has_no_infinity(linfit: Linfit, workdir: Path) -> None:
    diverging = ("optimizer=sgd", "optimizer.lr=1e38", "steps=9", "pictures=false")
    ran = linfit("run", *diverging, "--json")
    [row] = json.loads(ran.out, parse_constant=refuse_constant)
    assert (row["status"], row["loss"], row["weights"]) == ("diverged", None, [None, None])
    for command in (("show", "last"), ("reproduce", "last")):
        json.loads(linfit(*command, "--json").out, parse_constant=refuse_constant)


@pytest.mark.matrix
@pytest.mark.read_only
def test_json_is_for_programs(linfit: Linfit, workdir: Path) -> None:
    rows = json.loads(linfit("run", "-m", "seed=0,1", "steps=20", "--json").out)
    assert [row["name"] for row in rows] == ["seed=0", "seed=1"]
    assert all(row["status"] == "completed" and len(row["weights"]) == 2 for row in rows)
    shown = json.loads(linfit("show", "last", "--json").out)
    assert shown["tags"][mlflow_names.KIND] == "sweep"
    assert {child["run_id"] for child in shown["children"]} == {row["run_id"] for row in rows}
    assert "optimizer" in json.loads(linfit("list", "--json").out)


@pytest.mark.matrix
def test_one_failing_run_does_not_stop_the_others(
    linfit: Linfit, trouble: Path, client: Any
) -> None:
    done = linfit("run", "-m", "plugins=[trouble]", "optimizer=sgd,exits,raises,adam", "steps=5")
    assert done.code == 1
    assert (
        "2 of 4 fits failed: exits (SystemExit: 0); raises (RuntimeError: boom [bold])" in done.err
    )
    by_name = {
        run.info.run_name: run for run in runs(client) if mlflow_names.PARENT in run.data.tags
    }
    assert {name: run.info.status for name, run in by_name.items()} == {
        "sgd": "FINISHED", "adam": "FINISHED", "exits": "FAILED", "raises": "FAILED"
    }  # fmt: skip
    assert (
        by_name["raises"]
        .data.tags[mlflow_names.ERROR]
        .rstrip()
        .endswith("RuntimeError: boom [bold]")
    )
    [parent] = [run for run in runs(client) if mlflow_names.PARENT not in run.data.tags]
    assert parent.info.status == "FAILED"
    assert parent.data.metrics["num_failed"] == 2


@pytest.mark.parametrize("component", ["exits", "raises"])
def test_a_failing_single_run_is_failed(
    component: str, linfit: Linfit, trouble: Path, client: Any
) -> None:
    done = linfit("run", "plugins=[trouble]", f"optimizer={component}")
    assert done.code == 1
    assert "1 of 1 fits failed" in done.err
    [run] = runs(client)
    assert run.info.status == "FAILED"
    assert "trouble.py" in run.data.tags[mlflow_names.ERROR]


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("run optimizer.lr=0", "optimizer.lr: got 0, choose a number > 0"),
        ("run optimizer.lr=nan", "optimizer.lr: got nan, choose a finite number > 0"),
        ("run optimizer.lr=a", "optimizer.lr: got 'a', choose a number > 0"),
        ("run optimizer.lrr=1", "no key 'lrr': did you mean 'lr'?"),
        ("run optimizer=adm", "no optimizer 'adm': did you mean 'adam'?"),
        ("run optimizer=null", "optimizer=null chooses no optimizer: there are adadelta"),
        (
            "run artcle/linear_adam",
            "no experiment 'artcle/linear_adam': did you mean 'article/linear_adam'?",
        ),
        ("run --nonsense", "unrecognized arguments: --nonsense"),
        ("run optimizer=[adam,sgd]", "optimizer is one component, not a list"),
        ("run optimizer.lr", "optimizer.lr has no value: an override is KEY=VALUE"),
        ("run plugins=my_parts", "plugins=my_parts is no list: write plugins=[my_parts]"),
        (
            "run hydra.sweeper.sample=5",
            "hydra.sweeper says how to sweep, and this is one fit: add -m",
        ),
        ("run hydra.job.nmae=x", "no key 'nmae': did you mean 'name'?"),
        ("run hydra.run.dir=/dev/null/x", "/dev/null/x cannot be written: Not a directory"),
        (
            "run -m seed=0,1 hydra.sweep.dir=/dev/null/x",
            "/dev/null/x cannot be written: Not a directory",
        ),
        (
            "run tracking.artifacts=/dev/null/x",
            "the folder for artifacts, /dev/null/x/adhoc, cannot be written: "
            "Not a directory; name another",
        ),
        (
            "run -m seed=0,1 tracking.artifacts=/dev/null/x",
            "the folder for artifacts, /dev/null/x/adhoc, cannot be written",
        ),
        (
            "run tracking.uri=sqlite:///x.db tracking.artifacts=/dev/null/x",
            "the folder for artifacts, /dev/null/x, cannot be written",
        ),
        ("run tracking.uri=foo://x", "'foo://x' is no MLflow store: it begins with one of sqlite"),
        (
            "run tracking.uri=sqlite:////dev/null/x.db",
            "the store /dev/null/x.db cannot be made: File exists",
        ),
        (
            "run tracking.uri=http://u:p4711@h&x",
            "tracking.uri=http://u:***@h&x cannot be read: "
            "text with special characters stands in quotes",
        ),
        (
            "run -m tracking.uri=http://h?a=1",
            "cannot be read: = stands in the value too; text with special characters",
        ),
        ("run tracking.runs=bset:3", "tracking.runs: got 'bset:3', there are all and best:K"),
        ("ui --uri foo://x", "'foo://x' is no MLflow store"),
        (
            "run -m optimizer.lr=0.1,-1",
            "optimizer.lr: got -1, choose a number > 0 (in optimizer.lr=-1)",
        ),
        ("run -m optimizer=sgd,adm", "no optimizer 'adm': did you mean 'adam'?"),
        ("run -m hydra/launcher=nope", "no hydra/launcher 'nope': there are basic"),
        ("run -m name=a,b", "name cannot be swept"),
        ("run --run --multirun", "only one of --run and --multirun at a time"),
        ("run --config-dir nowhere", "--config-dir 'nowhere' is no folder"),
        (
            "run --experimental-rerun config.pickle",
            "--experimental-rerun reads a pickle, which linfit never does",
        ),
        ("run -sc install=csh", "no shell 'csh': did you mean 'zsh'?"),
        (
            "run dataset=csv dataset.path=nowhere.csv dataset.features=[a] dataset.target=y "
            "init=zeros",
            "'nowhere.csv' cannot be read",
        ),
        (
            "run batch=minibatch batch.size=3000000",
            "batch.size=3000000 is more than the 30 samples that are fitted: "
            "choose at most 30, or batch=full",
        ),
        (
            "run -m batch=minibatch batch.size=27,28 batch.replacement=true split.validation=0.1",
            "batch.size=28 is more than the 27 samples",
        ),
        ("list optimzer", "no group 'optimzer': did you mean 'optimizer'?"),
        ("list optimizer/adm", "no optimizer 'adm': did you mean 'adam'?"),
        ("show ffff", "no run in sqlite:////"),
        ("show x'OR'1'='1", "\"x'OR'1'='1\" is no run id"),
        ("shwo", "no command 'shwo': did you mean 'show'?"),
        ("ui --port many", "'many' is not a valid integer range"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: str, said: str, linfit: Linfit, workdir: Path
) -> None:
    before = sorted(workdir.rglob("*"))
    done = linfit(*arguments.split(" "))
    assert done.code == 2
    assert done.err.startswith("linfit: ")
    assert said in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert sorted(workdir.rglob("*")) == before
    with closing(sqlite3.connect("outputs/mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs").fetchall() == [(0,)]


def test_a_device_that_is_absent_is_named_with_what_is_there(linfit: Linfit, workdir: Path) -> None:
    import torch

    absent = "mps" if torch.cuda.is_available() else "cuda"
    done = linfit("run", f"device={absent}")
    assert done.code == 2
    assert f"device {absent} is not there: this machine has cpu" in done.err
    assert linfit("run", "device=auto", "steps=2").code == 0


def test_outputs_that_cannot_be_written_are_said(linfit: Linfit, bare: Path) -> None:
    (bare / "outputs").write_text("a file where a folder should be")
    done = linfit("run", "steps=2")
    assert done.code == 2
    assert "cannot be written: Not a directory" in done.err
    assert done.err.count("\n") == 1


def test_artifacts_that_cannot_be_written_are_said_before_the_fit(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    assert linfit("run", "steps=2").code == 0
    shutil.rmtree(workdir / "outputs" / "artifacts")
    (workdir / "outputs" / "artifacts").write_text("a file where a folder should be")
    for arguments in (["steps=3"], ["-m", "seed=0,1"]):
        done = linfit("run", *arguments)
        assert done.code == 2
        assert (
            "adhoc, cannot be written: Not a directory; "
            "the MLflow experiment 'adhoc' keeps them there: choose another" in done.err
        )
        assert done.err.count("\n") == 1
    assert len(runs(client)) == 1


def test_a_fit_that_cannot_be_recorded_is_failed(
    linfit: Linfit, workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linfit.tracking.write.client import ClientRecorder

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ClientRecorder, "log_model", full)
    assert linfit("run", "steps=2").code == 2
    [run] = runs(client)
    assert (run.info.status, run.data.tags[mlflow_names.STATUS]) == ("FAILED", "failed")
    assert "No space left on device" in run.data.tags[mlflow_names.ERROR]


@pytest.mark.parametrize(
    "flags",
    [
        *(["--cfg", which] for which in ("job", "all")),
        *(["--info", which] for which in ("all", "defaults-tree", "searchpath")),
        ["--help"],
        ["--version"],
        ["--cfg", "job", "--resolve", "-p", "optimizer"],
        ["--config-name", "article/linear_adam", "--cfg", "job"],
    ],
    ids=" ".join,
)
def test_hydras_flags_work(flags: list[str], linfit: Linfit, bare: Path) -> None:
    done = linfit("run", *flags)
    assert done.code == 0
    assert done.out
    assert list(bare.iterdir()) == []


@pytest.mark.matrix
@pytest.mark.read_only
def test_cfg_shows_the_config_of_an_experiment(linfit: Linfit, bare: Path) -> None:
    out = linfit("run", "article/linear_adam", "--cfg", "job", "optimizer.lr=0.5").out
    assert "lr: 0.5" in out
    assert "path: linfit:article.csv" in out


@pytest.mark.matrix
@pytest.mark.read_only
def test_completion_offers_experiments_groups_options_and_keys(bare: Path) -> None:
    from linfit.sweeps.catalogue.completion import suggest_completions

    assert suggest_completions([], "article/linear") == [
        "article/linear_adam",
        "article/linear_manual_update",
    ]
    assert suggest_completions([], "optim") == ["optimizers", "optimizer.", "optimizer="]
    assert suggest_completions([], "art") == [
        f"article/{name}" for name in LEVELS
    ]  # a folder of experiments is no group
    assert suggest_completions(["seed=1", "optimizer=sgd"], "optimizer.mom") == [
        "optimizer.momentum="
    ]
    assert suggest_completions(["article/linear_adam"], "optimizer=ada") == [
        "optimizer=adadelta",
        "optimizer=adagrad",
        "optimizer=adam",
        "optimizer=adamax",
        "optimizer=adamw",
    ]
    assert "optimizer.betas." in suggest_completions(["article/linear_adam"], "optimizer.be")


def test_completion_offers_flags_our_own_and_hydras() -> None:
    from click.shell_completion import ShellComplete

    from linfit.cli import cli

    def offered(*words: str) -> list[str]:
        return [
            item.value
            for item in ShellComplete(cli, {}, "linfit", "").get_completions(
                list(words[:-1]), words[-1]
            )
        ]

    assert offered("run", "seed=1", "--skip") == ["--skip-done", "--skip-unstable"]
    assert offered("run", "--c") == ["--cfg", "--config-path", "--config-name", "--config-dir"]
    assert offered("plan", "--") == ["--skip-unstable", "--json", "--multirun"]


def test_a_half_written_line_is_no_mistake(bare: Path) -> None:
    from linfit.sweeps.catalogue.completion import suggest_completions

    assert suggest_completions(["optimizer.betas."], "") == []
    assert suggest_completions(["optimizer=nope"], "optimizer.l") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_hydras_flag_installs_a_completion_of_linfits_own(
    shell: str, linfit: Linfit, bare: Path
) -> None:
    script = linfit("run", "--shell-completion", f"install={shell}").out
    assert f"_LINFIT_COMPLETE={shell}_complete" in script
    assert "linfit" in linfit("run", "--shell-completion", f"uninstall={shell}").out


def test_hydras_help_says_how_to_install_a_completion(linfit: Linfit, bare: Path) -> None:
    assert "linfit run -sc install=bash" in linfit("run", "--hydra-help").out


@pytest.fixture
def command(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`linfit` on the path of other processes."""
    code = "import sys; sys.argv[0] = 'linfit'; from linfit.cli import main; main()"
    call = shlex.join([sys.executable, "-c", code])
    (bare / "linfit").write_text(f'#!/bin/sh\nexec {call} "$@"\n', encoding="utf-8")
    (bare / "linfit").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bare}{os.pathsep}{os.environ['PATH']}")


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


@pytest.mark.read_only
@needs_bash
@pytest.mark.usefixtures("command")
def test_bash_completes_behind_the_script_that_it_sourced() -> None:
    """Call the function as bash does: words split at `=` and `:`, and the one with the cursor."""
    line = """
        eval "$(linfit run -sc install=bash)"
        complete -p linfit
        COMP_WORDS=(linfit run optimizer = ada) COMP_CWORD=4 COMPREPLY=()
        _linfit_completion linfit
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(linfit run seed = 1 dataset = ) COMP_CWORD=6 COMPREPLY=()
        _linfit_completion linfit
        echo "${COMPREPLY[@]}"
        COMP_WORDS=(linfit list optimizer/ada) COMP_CWORD=2 COMPREPLY=()
        _linfit_completion linfit
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", line], capture_output=True, text=True, check=True
    )
    registered, overrides, datasets, components = done.stdout.splitlines()
    assert registered.endswith("-F _linfit_completion linfit")
    assert overrides == "adadelta adagrad adam adamax adamw"
    assert datasets.split() == sorted(row.name for row in TABLES["dataset"])
    assert components == " ".join(f"optimizer/{name}" for name in overrides.split())
    assert done.stderr == ""


@pytest.mark.slow
@needs_bash
@pytest.mark.usefixtures("command")
def test_a_user_of_bash_who_types_tabs_gets_the_whole_command() -> None:
    """In a terminal: a finished value is followed by a space, a key is not."""
    terminal, inside = os.openpty()
    environment = {**os.environ, "TERM": "dumb"}
    with started(
        ["bash", "--norc", "-i"], stdin=inside, stdout=inside, stderr=inside, env=environment
    ) as bash:
        os.close(inside)
        to_the_beginning = "\x01"
        typed = f"linfit run seed=1 optimizer=rms\toptimizer.al\t0.9{to_the_beginning}echo \r"
        os.write(terminal, f'eval "$(_LINFIT_COMPLETE=bash_source linfit)"\r{typed}exit\r'.encode())
        assert bash.wait(timeout=120) == 0
    shown = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert "\nlinfit run seed=1 optimizer=rmsprop optimizer.alpha=0.9\r\n" in shown


def test_a_reader_who_has_seen_enough_is_no_mistake(bare: Path) -> None:
    code = "from linfit.cli import main; main()"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_tracking_mlflow_is_not_imported(bare: Path) -> None:
    code = (
        "import sys; from linfit.cli import main\n"
        "sys.argv = ['linfit', 'run', 'tracking=none', 'steps=1']\n"
        "try: main()\nexcept SystemExit as end: print('code', end.code, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "code 0 False" in done.stdout
    assert not (bare / "outputs" / "mlflow.db").exists()


@pytest.mark.matrix
def test_help_imports_neither_torch_nor_mlflow_nor_hydra() -> None:
    code = (
        "import sys; from linfit.cli import main; sys.argv = ['linfit', '--help']\n"
        "names = ('torch', 'mlflow', 'hydra', 'pandas')\n"
        "try: main()\nexcept SystemExit: print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_global_state_is_as_it_was(linfit: Linfit, workdir: Path) -> None:
    import random

    import numpy as np
    import rich.style  # draws a number when it is imported  # noqa: F401
    import torch

    def state() -> tuple[Any, ...]:
        return (
            random.getstate(),
            repr(np.random.get_state()),
            torch.get_rng_state().numpy().tobytes(),
            torch.get_num_threads(),
        )

    before = state()
    assert (
        linfit("run", "-m", "init=normal,torch_default", "model=tensor,linear", "steps=3").code == 0
    )
    assert state() == before


HUGE = ("dataset=random_linear", "dataset.n=1000000000", "dataset.p=1000", "batch=minibatch")


def test_data_that_cannot_be_had_fail_their_fit_alone_and_can_be_shown(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    ran = linfit("run", "-m", *HUGE, "steps=5,6")
    assert (ran.code, "2 of 2 fits failed" in ran.err) == (1, True)
    child = next(run for run in runs(client) if mlflow_names.PARENT in run.data.tags)
    assert linfit("show", child.info.run_id).code == 0


@pytest.mark.parametrize("given", ["abc", "-1", "nan"])
def test_seconds_that_are_none_are_said_in_one_line(
    given: str, linfit: Linfit, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINFIT_GRACE", given)
    done = linfit("run", "steps=3", "tracking=none")
    assert (
        done.code == 2
        and done.err.strip() == f"linfit: LINFIT_GRACE: got {given!r}, must be a number of seconds"
    )


@pytest.mark.parametrize(
    ("signalled", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_an_interrupted_run_is_killed_in_mlflow(
    signalled: signal.Signals, code: int, workdir: Path, client: Any
) -> None:
    command = [
        sys.executable,
        "-c",
        "from linfit.cli import main; main()",
        "run",
        "steps=100000000",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "LINFIT_GRACE": "25"}
    with started(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        deadline = time.monotonic() + 60
        while not list((workdir / "outputs").glob("runs/*/.hydra/overrides.yaml")):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signalled)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    [run] = runs(client)
    assert (run.info.status, run.data.tags[mlflow_names.STATUS]) == ("KILLED", "killed")
    assert f"run {run.info.run_id} is KILLED in MLflow" in err


@pytest.mark.parametrize(
    ("sweep", "right_behind"),
    [
        (["-m", "seed=0,1"], "linfit.sweeps.folder.sweep_folder.SweepFolder.release_lock"),
        ([], "linfit.sweeps.preflight.data_notes.DataNotes.add_notes"),
    ],
)
def test_a_run_interrupted_right_behind_its_end_stays_finished(
    sweep: list[str],
    right_behind: str,
    workdir: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    linfit: Linfit,
) -> None:
    def interrupt(*_: Any) -> None:
        monkeypatch.undo()
        monkeypatch.chdir(workdir)
        raise KeyboardInterrupt

    monkeypatch.setattr(right_behind, interrupt)
    done = linfit("run", *sweep, "steps=3", "pictures=false")
    assert done.code == 130
    assert "KILLED" not in done.err
    assert ("all 2 fits are kept" in done.err) == bool(sweep)
    assert {run.info.status for run in runs(client)} == {"FINISHED"}


@pytest.mark.parametrize("sweep", [["-m", "seed=0,1"], []])
def test_a_run_interrupted_between_its_end_and_the_news_of_it_stays_finished(
    sweep: list[str],
    workdir: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    linfit: Linfit,
) -> None:
    end_run = ClientRecorder.end_run
    ends = []

    def interrupt(*arguments: Any) -> None:
        end_run(*arguments)
        ends.append(arguments)
        if len(ends) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ClientRecorder, "end_run", interrupt)
    done = linfit("run", *sweep, "steps=3", "pictures=false")
    assert done.code == 130
    assert "KILLED" not in done.err
    assert ("all 2 fits are kept" in done.err) == bool(sweep)
    assert {run.info.status for run in runs(client)} == {"FINISHED"}
    folders = (workdir / "outputs" / "sweeps").glob("*")
    assert [(folder / "results").exists() for folder in folders] == [False] * bool(sweep)


def test_an_interrupted_sweep_keeps_what_is_finished(
    workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch, linfit: Linfit
) -> None:
    from linfit.engine.dispatch import fit_as_completed
    from linfit.sweeps.run import block_pipeline

    def interrupted(configs: Any, report: Any) -> Any:
        for place, fit in fit_as_completed(configs):
            if place == 3:
                raise KeyboardInterrupt
            yield place, fit

    monkeypatch.setattr(block_pipeline, "BLOCK", 2)
    monkeypatch.setattr("linfit.sweeps.executors.executor.fit_as_completed", interrupted)
    done = linfit("run", "-m", "seed=0,1,2,3", "steps=3")
    assert done.code == 130
    assert "3 finished fits are kept" in done.err
    found = runs(client)
    kept = sorted(
        (run.info.run_name, run.info.status)
        for run in found
        if mlflow_names.PARENT in run.data.tags
    )
    assert kept == [(f"seed={seed}", "FINISHED") for seed in (0, 1, 2)]
    [parent] = [run for run in found if mlflow_names.PARENT not in run.data.tags]
    assert parent.info.status == "KILLED"
    [folder] = (workdir / "outputs" / "sweeps").iterdir()
    assert {file.name for file in folder.iterdir()} == {
        ".lock",
        "multirun.yaml",
        mlflow_names.MANIFEST,
        mlflow_names.ENVIRONMENT_FILE,
        "results",
        "curves",
    }


@pytest.mark.parametrize(
    ("arguments", "command"), [(("steps=3",), "show"), (("-m", "seed=0,1", "steps=3"), "report")]
)
def test_interrupted_at_the_pictures_all_is_finished(
    arguments: tuple[str, ...],
    command: str,
    workdir: Path,
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    linfit: Linfit,
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("linfit.publication.publish_artifacts", interrupted)
        done = linfit("run", *arguments)
    assert done.code == 130 and "only pictures and report are missing" in done.err
    assert {run.info.status for run in runs(client)} == {"FINISHED"}
    assert linfit(*done.err.strip().rpartition(": linfit ")[2].split()).code == 0
    assert f": linfit {command} " in done.err
    pages = [*workdir.rglob(mlflow_names.REPORT)]
    folders = [*workdir.glob("outputs/sweeps/*")]
    assert [page.parent for page in pages] == folders


def test_interrupted_at_the_end_of_a_sweep_all_fits_are_kept(
    workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch, linfit: Linfit
) -> None:
    from linfit.tracking.tables.parts import SweepParts

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SweepParts, "merge", interrupted)
        done = linfit("run", "-m", "seed=0,1", "steps=3")
    assert done.code == 130
    assert "; all 2 fits are kept, run " in done.err
    command = done.err.strip().rpartition(": linfit ")[2]
    assert linfit(*command.split()).code == 0
    assert {run.info.status for run in runs(client)} == {"FINISHED"}


def test_a_store_that_fails_in_the_middle_is_one_line_and_what_it_has_is_whole(
    workdir: Path, client: Any, monkeypatch: pytest.MonkeyPatch, linfit: Linfit
) -> None:
    from linfit.errors import RecordingError
    from linfit.sweeps.run import block_pipeline
    from linfit.tracking.write.database import DatabaseRecorder

    submit = DatabaseRecorder.log_runs_async
    blocks: list[int] = []

    def fails(self: DatabaseRecorder, rows: Any) -> Any:
        blocks.append(len(rows))
        if len(blocks) > 1:
            raise RecordingError("the store is full: make room")
        return submit(self, rows)

    monkeypatch.setattr(block_pipeline, "BLOCK", 2)
    monkeypatch.setattr(DatabaseRecorder, "log_runs_async", fails)
    done = linfit("run", "-m", "seed=range(0,6)", "steps=3")
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(
        "linfit: the store is full: make room; go on with: linfit resume "
    )
    assert "Traceback" not in done.err
    children = [run for run in runs(client) if mlflow_names.PARENT in run.data.tags]
    assert sorted((run.info.run_name, run.info.status) for run in children) == [
        ("seed=0", "FINISHED"),
        ("seed=1", "FINISHED"),
    ]
    assert all("loss" in run.data.metrics for run in children)


@pytest.mark.matrix
def test_only_the_best_become_runs_where_that_is_asked_for(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    import pandas as pd

    done = linfit(
        "run",
        "-m",
        "optimizer=sgd",
        "optimizer.lr=0.0001,0.001,0.002,1.0",
        "steps=50",
        "tracking.runs=best:2",
    )
    assert done.code == 0, done.err
    children = [run for run in runs(client) if mlflow_names.PARENT in run.data.tags]
    assert {run.info.run_name for run in children} == {"lr=0.001", "lr=0.002"}
    [results] = (workdir / "outputs" / "sweeps").glob("*/results.parquet")
    table = pd.read_parquet(results)
    assert table["row"].tolist() == [0, 1, 2, 3]
    ids = dict(zip(table["name"], table["run_id"], strict=True))
    assert {name: ids[name] for name in ("lr=0.001", "lr=0.002")} == {
        run.info.run_name: run.info.run_id for run in children
    }
    assert pd.isna(ids["lr=0.0001"]) and pd.isna(ids["lr=1.0"])
    assert {run.data.tags[mlflow_names.ROW] for run in children} == {"1", "2"}


@pytest.mark.matrix
def test_python_sweeps_as_the_command_line_does(workdir: Path, client: Any) -> None:
    import linfit as package

    table = package.sweep(["optimizer=adam,sgd", "steps=10"]).table
    assert list(table["name"]) == ["adam", "sgd"]
    assert {run.info.run_id for run in runs(client)} >= set(table["run_id"])


@pytest.mark.matrix
def test_hydras_own_launcher_and_sweeper_still_work(
    linfit: Linfit, workdir: Path, client: Any
) -> None:
    assert (
        linfit(
            "run",
            "-m",
            "hydra/launcher=basic",
            "seed=0,1",
            "steps=3",
            "hydra.sweep.subdir=${hydra.job.num}",
        ).code
        == 0
    )
    assert linfit("run", "-m", "hydra/sweeper=basic", "seed=2,3", "steps=3").code == 0
    assert (
        len(
            [
                run
                for run in runs(client)
                if run.data.tags[mlflow_names.KIND] == "fit" and run.info.status == "FINISHED"
            ]
        )
        == 4
    )


@pytest.mark.matrix
@pytest.mark.read_only
def test_show_draws_what_was_kept(linfit: Linfit, workdir: Path) -> None:
    assert linfit("run", "article/linear_adam").code == 0
    shown = linfit("show")
    assert shown.code == 0
    assert "linear_adam: fit" in shown.out
    assert "weights        2.1352155 2.7306247" in shown.out
    assert "  optimizer.lr = 0.01" in shown.out


def test_a_run_is_found_by_the_beginning_of_its_id(linfit: Linfit, workdir: Path) -> None:
    rows = json.loads(linfit("run", "-m", "seed=0,1", "steps=2", "--json").out)
    assert rows[0]["run_id"] in linfit("show", rows[0]["run_id"][:12]).out


@pytest.mark.read_only
@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes streams")
@pytest.mark.parametrize(
    "closed",
    [
        "<&- >&- 2>&-",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("<&-", ">&-", "2>&-")),
    ],
)
def test_streams_that_are_closed_are_no_harm(closed: str, workdir: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m linfit run steps=5 pictures=false {closed}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=workdir, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ("completed after 5 updates" in done.stdout) == (closed in ("<&-", "2>&-"))
    with closing(sqlite3.connect("outputs/mlflow.db")) as store:
        assert store.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
