"""Experiments as files: their names, their headers, what they include, and what they inherit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import linfit as package
from linfit.config import GROUPS
from linfit.errors import ConfigError
from linfit.sweeps.plan.enumerate import enumerate_jobs
from linfit.sweeps.run.hydra_app import execute
from tests.conftest import Ran

Linfit = Callable[..., Ran]
Write = Callable[..., None]

OWN = "defaults: [/linfit, _self_]\nsteps: 7\n"
HEADED = f"# @package _global_\n{OWN}"
PARENT = (
    "defaults: [/linfit, override /optimizer: adam, _self_]\n"
    "optimizer: {lr: 0.05, betas: [0.5, 0.6]}\n"
)
CHILD = "defaults: [parent, override /optimizer: sgd, _self_]\n"
NOTE = (
    "linfit: optimizer=sgd has no betas: the experiment's optimizer.betas=[0.5, 0.6] is left out\n"
)


@pytest.fixture
def write(bare: Path) -> Write:
    """Write files: `write(**{"experiments/own.yaml": text})`."""

    def files(**texts: str | bytes) -> None:
        for name, text in texts.items():
            file = bare / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text if isinstance(text, bytes) else text.encode())

    return files


@pytest.mark.parametrize(
    "given",
    ["base", "base.yaml", "./base", ".//base.yaml", "experiments/base.yaml", "experiments/base"],
)
def test_an_experiment_given_as_a_file_has_its_name(given: str, write: Write) -> None:
    write(**{"experiments/base.yaml": OWN})
    config = package.compose([given])
    assert (config.name, config.steps) == ("base", 7)
    assert enumerate_jobs(["--config-name", given]).experiment == "base"


@pytest.mark.parametrize("name", [*GROUPS, "seed", "steps", "name", "stop", "hydra", "sub/loss"])
def test_an_experiment_may_be_called_as_a_group_or_a_key_is(name: str, write: Write) -> None:
    write(**{f"experiments/{name}.yaml": HEADED})
    config = package.compose([name, "seed=3"])
    assert (config.name, config.steps, config.seed) == (name, 7, 3)


def test_a_config_that_replaces_linfits_own_is_said_once(write: Write, linfit: Linfit) -> None:
    write(
        **{
            "conf/linfit.yaml": (
                Path(package.__file__).parents[1] / "conf" / "linfit.yaml"
            ).read_bytes()
        }
    )
    ran = linfit("run", "-m", "seed=0,1", "steps=3", "tracking=none")
    assert ran.code == 0, ran.err
    assert ran.err.count("conf/linfit.yaml of the working directory replaces linfit's own") == 1


@pytest.mark.parametrize("argument", ["loss", "steps", "optimizer.lr", "+seed"])
def test_a_key_alone_that_is_no_experiment_lacks_its_value(argument: str, bare: Path) -> None:
    with pytest.raises(ConfigError, match="has no value: an override is KEY=VALUE"):
        package.compose([argument])


CIRCLES = {
    "one → two → one": {
        "experiments/one.yaml": "defaults: [two]\n",
        "experiments/two.yaml": "defaults: [one]\n",
    },
    "self → self": {"experiments/self.yaml": "defaults: [/linfit, self, _self_]\n"},
    "b → c → a → b": {
        "experiments/x.yaml": "defaults: [/linfit, b, _self_]\n",
        "experiments/a.yaml": "defaults: [b]\n",
        "experiments/b.yaml": "defaults: [c]\n",
        "experiments/c.yaml": "defaults: [a]\n",
    },
    "sub/p → sub/q → sub/p": {
        "experiments/sub/p.yaml": "# @package _global_\ndefaults: [q]\n",
        "experiments/sub/q.yaml": "# @package _global_\ndefaults: [/sub/p]\n",
    },
    "optimizer/mine → optimizer/yours → optimizer/mine": {
        "experiments/own.yaml": "defaults: [/linfit, override /optimizer: mine, _self_]\n",
        "conf/optimizer/mine.yaml": "defaults: [yours]\nname: sgd\n",
        "conf/optimizer/yours.yaml": "defaults: [mine]\nname: sgd\n",
    },
}


@pytest.mark.parametrize("circle", CIRCLES)
def test_files_that_include_one_another_are_named_in_one_line(
    circle: str, write: Write, linfit: Linfit
) -> None:
    write(**CIRCLES[circle])
    experiment = Path(next(iter(CIRCLES[circle])))
    name = experiment.relative_to("experiments").with_suffix("").as_posix()
    said = f"linfit: the defaults of {circle} go round in a circle: leave one of them out\n"
    for command in ("run", "plan", "script"):
        ran = linfit(command, name)
        assert (ran.code, ran.out, ran.err) == (2, "", said)
    if "optimizer" in circle:
        assert linfit("list", "optimizer/mine").err == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: &a [*a]\n", "own.yaml: an alias (*) stands within its own anchor (&)"),
        ("steps: ${seed}\nseed: ${steps}\n", "Recursive interpolation detected"),
        ("seed: ${seed}\n", "seed: Recursive interpolation detected"),
        ("seed: ${nowhere}\n", "seed: Interpolation key 'nowhere' not found"),
    ],
)
def test_other_circles_are_one_line(text: str, said: str, write: Write, linfit: Linfit) -> None:
    write(**{"experiments/own.yaml": f"defaults: [/linfit, _self_]\n{text}"})
    for arguments in (
        ["run", "own"],
        ["plan", "own"],
        ["plan", "own", "-m", "steps=1,2" if "steps" not in text else "threads=1,2"],
    ):
        ran = linfit(*arguments)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert said in ran.err


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (HEADED.encode(), True),
        (b"\xef\xbb\xbf" + HEADED.encode(), True),
        (HEADED.replace("\n", "\r\n").encode(), True),
        (b"\xef\xbb\xbf\r\n\r\n" + HEADED.replace("\n", "\r\n").encode(), True),
        (b"\n  \n#@package   _global_  \n" + OWN.encode(), True),
        (b"# A question?\n" + HEADED.encode(), False),
        (b"# @package: _global_\n" + OWN.encode(), False),
    ],
)
def test_a_header_is_seen_where_hydra_looks_and_behind_a_byte_order_mark(
    text: bytes, seen: bool, write: Write, linfit: Linfit
) -> None:
    write(**{"experiments/sub/own.yaml": text})
    if seen:
        assert package.compose(["sub/own"]).steps == 7
        return
    with pytest.raises(ConfigError, match="begin it with # @package _global_"):
        package.compose(["sub/own"])


def test_a_header_that_is_none_is_named_with_its_file(write: Write, linfit: Linfit) -> None:
    write(**{"experiments/sub/own.yaml": f"# @package _global_ more\n{OWN}"})
    for command in ("run", "plan", "script"):
        ran = linfit(command, "sub/own")
        assert (
            ran.code,
            "own.yaml: Too many components in '@package _global_ more'" in ran.err,
        ) == (2, True)


def test_a_question_behind_a_byte_order_mark_is_listed(write: Write, linfit: Linfit) -> None:
    write(**{"experiments/own.yaml": b"\xef\xbb\xbf# Which is it?\n" + OWN.encode()})
    assert (
        json.loads(linfit("list", "experiments", "--json").out)["experiments"]["own"]
        == "Which is it?"
    )


@pytest.mark.parametrize(
    "more", [[], ["-m", "seed=0,1"], ["-m", "seed=0,1", "hydra/launcher=basic"]]
)
def test_paths_may_begin_where_linfit_was_started(
    more: list[str], write: Write, bare: Path
) -> None:
    own = """
defaults: [/linfit, override /dataset: csv, override /tracking: none, _self_]
dataset: {path: "${hydra:runtime.cwd}/d.csv", features: [x], target: y}
name: "${hydra:job.config_name}-${hydra:runtime.choices.optimizer}"
steps: 2
hydra:
  run: {dir: "${hydra:runtime.cwd}/outputs/runs/one"}
  sweep: {dir: "${hydra:runtime.cwd}/outputs/sweeps/one"}
"""
    write(**{"experiments/own.yaml": own, "d.csv": "x,y\n1,2\n2,4\n3,5\n"})
    config = package.compose(["own"])
    assert (config.name, config.as_dict()["dataset"]["path"]) == ("own-adam", f"{bare}/d.csv")
    assert all(
        job.config.as_dict()["dataset"] == config.as_dict()["dataset"]
        for job in enumerate_jobs(["own", *more]).jobs
    )
    result = execute(["own", *more])
    assert [done.status.value for done in result.completed] == ["completed"] * (2 if more else 1)
    assert (bare / "outputs" / ("sweeps" if more else "runs") / "one").is_dir()


def test_a_store_may_be_named_by_both_references(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORE", "mine")
    tracking: Any = package.compose(
        ["tracking.uri=sqlite:///${hydra:runtime.cwd}/${name}-${oc.env:STORE}.db", "name=own"]
    ).tracking
    assert tracking.uri == f"sqlite:///{bare}/own-${{oc.env:STORE}}.db"


@pytest.mark.parametrize(
    ("files", "experiment", "arguments", "momentum"),
    [
        ({"child": CHILD}, "child", [], 0.0),
        ({"child": CHILD + "optimizer: {momentum: 0.5}\n"}, "child", [], 0.5),
        (
            {"child": CHILD, "grand": "defaults: [child, _self_]\noptimizer: {momentum: 0.25}\n"},
            "grand",
            [],
            0.25,
        ),
        ({"child": CHILD.replace("/optimizer", "optimizer")}, "child", [], 0.0),
        (
            {"sub/child": "# @package _global_\n" + CHILD.replace("parent", "/parent")},
            "sub/child",
            [],
            0.0,
        ),
        ({}, "parent", ["optimizer=sgd"], 0.0),
    ],
)
def test_an_experiment_that_inherits_replaces_a_component_as_the_command_line_does(
    files: dict[str, str],
    experiment: str,
    arguments: list[str],
    momentum: float,
    write: Write,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(
        **{f"experiments/{name}.yaml": text for name, text in {"parent": PARENT, **files}.items()}
    )
    optimizer: Any = package.compose([experiment, *arguments]).optimizer
    assert (optimizer.name, optimizer.lr, optimizer.momentum) == ("sgd", 0.05, momentum)
    assert capsys.readouterr().err == NOTE
    swept = enumerate_jobs(["-m", experiment, *arguments, "seed=0,1"])
    assert [job.config.optimizer for job in swept.jobs] == [optimizer, optimizer]
    assert capsys.readouterr().err == NOTE
    execute([experiment, *arguments, "tracking=none", "steps=1"])
    assert capsys.readouterr().err.count(NOTE) == 1


@pytest.mark.parametrize(
    ("files", "experiment"),
    [
        ({"child": CHILD + "optimizer: {betas: [0.1, 0.2]}\n"}, "child"),
        (
            {
                "child": CHILD,
                "grand": "defaults: [child, _self_]\noptimizer: {betas: [0.1, 0.2]}\n",
            },
            "grand",
        ),
        (
            {"parent": PARENT.replace("betas", "betass"), "child": "defaults: [parent, _self_]\n"},
            "child",
        ),
    ],
)
def test_what_an_experiment_gives_its_own_component_stays_a_mistake(
    files: dict[str, str], experiment: str, write: Write
) -> None:
    write(
        **{f"experiments/{name}.yaml": text for name, text in {"parent": PARENT, **files}.items()}
    )
    with pytest.raises(ConfigError, match=r"optimizer: no key 'betass?'"):
        package.compose([experiment])


def test_a_component_built_on_another_is_listed_with_its_fields(
    write: Write, linfit: Linfit
) -> None:
    write(
        **{
            "conf/optimizer/fast.yaml": (
                "# Adam in a hurry\ndefaults: [adam, _self_]\nlr: 0.5 # fast\n"
            ),
            "conf/optimizer/faster.yaml": "defaults:\n  - fast\n  - _self_\nbetas: [0.5, 0.6]\n",
            "conf/optimizer/lost.yaml": "defaults: [nowhere]\n",
        }
    )
    adam, fast, faster = (
        json.loads(linfit("list", f"optimizer/{name}", "--json").out)
        for name in ("adam", "fast", "faster")
    )
    assert [field["key"] for field in fast["fields"]] == [field["key"] for field in adam["fields"]]
    assert fast["about"] == "Adam in a hurry" and faster["about"] == adam["about"]
    assert fast["fields"][0] == {
        "key": "lr",
        "value": "0.5",
        "allowed": "number > 0",
        "about": "fast",
    }
    assert faster["fields"][0] == fast["fields"][0]
    assert faster["fields"][1] == {**adam["fields"][1], "value": "[0.5, 0.6]"}
    lost = linfit("list", "optimizer/lost")
    assert (lost.code, "no optimizer 'nowhere': " in lost.err) == (2, True)
