"""From overrides to a FitConfig: composition, search path, and messages of refusals."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import linfit as package
from linfit.errors import ConfigError
from linfit.sweeps.config_files import search_path
from tests.helpers import ROOT

DOCUMENT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
YAMLS = sorted(
    f"{group.name}/{file.stem}"
    for group in search_path.shipped_folder("conf").iterdir()
    if group.is_dir()
    for file in group.glob("*.yaml")
)


def test_without_arguments_it_is_the_default_of_the_yaml() -> None:
    assert package.compose().as_dict() == package.FitConfig().as_dict()


@pytest.mark.matrix
def test_an_experiment_is_a_delta() -> None:
    config = package.compose(["article/linear_adam"])
    assert (config.name, config.steps, config.record.every) == ("article", 1001, 250)
    assert (config.model.name, config.gradient.name, config.optimizer.name) == (
        "linear",
        "autograd",
        "adam",
    )
    assert config.optimizer.model_dump() == {
        **package.compose(["optimizer=adam"]).optimizer.model_dump(),
        "lr": 0.01,
    }


def test_an_override_of_an_experiment_wins() -> None:
    config = package.compose(["article/linear_adam", "optimizer.lr=0.5", "seed=3", "dtype=float64"])
    assert (config.optimizer.model_dump()["lr"], config.seed, config.dtype) == (0.5, 3, "float64")


@pytest.mark.matrix
@pytest.mark.parametrize(
    "experiment",
    [
        name
        for name, file in search_path.find_experiments().items()
        if "MULTIRUN" not in file.read_text()
    ],
)
def test_every_shipped_experiment_of_one_fit_composes(experiment: str) -> None:
    assert package.compose([experiment]).name == "article"


def test_what_a_replaced_component_lacks_is_dropped_with_a_note(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = package.compose(["article/tensor_manual", "optimizer=adam"])
    assert config.optimizer.model_dump()["lr"] == 0.01  # the experiment's, which Adam has too
    assert (
        capsys.readouterr().err == "linfit: optimizer=adam has no average: "
        "the experiment's optimizer.average=True is left out\n"
    )
    with pytest.raises(ConfigError, match="no key 'average'"):
        package.compose(["optimizer=adam", "+optimizer.average=true"])  # asked for, not left over


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["artcle/linear_adam"],
            "no experiment 'artcle/linear_adam': did you mean 'article/linear_adam'?",
        ),
        (["optimizer=adm"], "no optimizer 'adm': did you mean 'adam'? there are adadelta, adagrad"),
        (["optimzer=adam"], "no key 'optimzer': did you mean 'optimizer'?"),
        (["optimizer.lrr=1"], "no key 'lrr': did you mean 'lr'?"),
        (["+optimizer.lrr=1"], "optimizer: no key 'lrr': did you mean 'lr'?"),
        (["+stepz=1"], "no key 'stepz': did you mean 'steps'?"),
        (["optimizer.lr=-1"], "optimizer.lr: got -1, choose a number > 0"),
        (["optimizer.lr=0"], "optimizer.lr: got 0, choose a number > 0"),
        (["optimizer.lr=nan"], "optimizer.lr: got nan, choose a finite number > 0"),
        (["optimizer.lr=inf"], "optimizer.lr: got inf, choose a finite number > 0"),
        (["optimizer.lr=fast"], "optimizer.lr: got 'fast', choose a number > 0"),
        (["optimizer.lr=true"], "optimizer.lr: got True, choose a number > 0"),
        (["steps=1.5"], "steps: got 1.5, choose a whole number ≥ 0 and ≤ 1000000000"),
        (["seed=-1"], "seed: got -1, choose a whole number ≥ 0 and ≤ 4294967295"),
        (["dtype=float16"], "dtype: got 'float16', choose one of float32, float64"),
        (
            ["optimizer.lr=1,2"],
            "optimizer.lr=1,2 has several values: add -m to sweep over them, "
            "or write 'optimizer.lr=[1,2]' for a list",
        ),
        (["optimizer.lr=["], "optimizer.lr=[ cannot be read: [ is not closed"),
        (["optimizer="], "no optimizer '': there are adadelta, adagrad"),
        (["device=gpu"], "no device 'gpu': did you mean 'cuda'?"),
        (
            ["optimizer=adam", "optimizer.betas=0.9"],
            "optimizer.betas: got 0.9, write a list",
        ),
        (["one", "two"], "one experiment at a time, got one and two"),
        (
            ["dataset=csv"],
            "dataset.path is required: give dataset.path=…; dataset.features is required: give ",
        ),
        (
            ["init=given", "init.weights=[1,2,3]"],
            "init.weights has 3 rows of 1 numbers, "
            "the problem needs 2 rows (features) of 1 (targets)",
        ),
        (
            ["optimizer=sgd", "optimizer.nesterov=true"],
            "optimizer: nesterov needs momentum above 0 and dampening 0",
        ),
        (["optimizer.lr=???"], "optimizer.lr is required"),
        (
            ["seed=???", "stop.divergence=???"],
            "seed is required: give seed=…; stop.",
        ),
        (
            ["~optimizer"],
            "~optimizer deletes what every such fit has: write the value that you want",
        ),
        (["~optimizer.lr"], "~optimizer.lr deletes what every such fit has"),
        (["~steps"], "~steps deletes what every such fit has"),
        (["~stop.divergence"], "~stop.divergence deletes what every such fit has"),
        (["plugins=[1]"], "plugins: got 1, must be the name of a module"),
        (["plugins=3"], "plugins: got 3, must be a list of modules"),
        (
            ["optimizer.name=[a]", "~optimizer.lr"],
            "optimizer: must be a name or a mapping with a name, one of adadelta",
        ),
        (
            ["plugins=[no_such_module]"],
            "plugins: 'no_such_module' cannot be imported (ModuleNotFoundError",
        ),
        (["name=${oc.env:HOME}"], "${oc.env:HOME} outside of tracking"),
        (["steps=${nowhere}"], "Interpolation key 'nowhere' not found"),
        (["+_target_=os.system"], "no key '_target_'"),
        (["+optimizer._target_=os.system"], "optimizer: no key '_target_'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        package.compose(arguments)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_references_to_the_environment_stay_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE", "sqlite:///canary.db")
    config = package.compose(
        ["tracking.uri=${oc.env:STORE}", "tracking.artifacts=${name}/x", "name=mine"]
    )
    assert config.tracking.model_dump()["uri"] == "${oc.env:STORE}"
    assert config.tracking.model_dump()["artifacts"] == "mine/x"


def test_the_users_own_files_come_before_the_shipped_ones(bare: Path) -> None:
    (bare / "conf" / "optimizer").mkdir(parents=True)
    (bare / "conf" / "optimizer" / "adam.yaml").write_text("# mine\nname: adam\nlr: 0.7 # mine\n")
    (bare / "experiments" / "mine").mkdir(parents=True)
    (bare / "experiments" / "mine" / "first.yaml").write_text(
        "# @package _global_\n# A question\ndefaults: [/linfit, _self_]\nsteps: 7\n"
    )
    assert package.compose().optimizer.model_dump()["lr"] == 0.7
    config = package.compose(["mine/first"])
    assert (config.steps, config.name, config.optimizer.model_dump()["lr"]) == (
        7,
        "mine/first",
        0.7,
    )
    assert "mine/first" in search_path.find_experiments()
    assert package.compose(["article/linear_adam"]).steps == 1001


def test_an_error_names_the_users_file_that_hides_ours(bare: Path) -> None:
    (bare / "conf" / "optimizer").mkdir(parents=True)
    (bare / "conf" / "optimizer" / "adam.yaml").write_text("name: adam\nlearning_rate: 0.7\n")
    with pytest.raises(
        ConfigError, match=r"no key 'learning_rate'.*\(from .*conf/optimizer/adam.yaml\)"
    ):
        package.compose()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("experiments/own.yaml", b"steps: [1\n", "own.yaml, line 2: expected ',' or ']'"),
        (
            "experiments/own.yaml",
            b"steps: 3\nsteps: 4\n",
            "own.yaml, line 2: found duplicate key steps: mend the YAML there",
        ),
        (
            "experiments/own.yaml",
            b"loss: !!python/name:os.system\n",
            "own.yaml, line 1: could not determine a constructor for the tag",
        ),
        (
            "experiments/own.yaml",
            b"steps: 3 # caf\xe9\n",
            "own.yaml is not encoded in UTF-8: save it as UTF-8",
        ),
        ("experiments/own.yaml", b"name: \0\n", "unacceptable character #x0000"),
        ("experiments/own.yaml/x.yaml", b"steps: 3\n", "no experiment 'own': there are"),
        (
            "conf/optimizer/adam.yaml",
            b"name: adam\nlr: [\n",
            "adam.yaml, line 3: expected the node content",
        ),
        (
            "experiments/sub/own.yaml",
            b"steps: 3\n",
            "own.yaml stands in a folder, where its keys would be those of sub: "
            "begin it with # @package",
        ),
        (
            "experiments/sub/own.yaml",
            b"defaults: [/linfit, _self_]\nsteps: 3\n",
            "begin it with # @package _global_",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_said_in_one_line(
    file: str, text: bytes, said: str, bare: Path, linfit: Any
) -> None:
    (bare / file).parent.mkdir(parents=True)
    (bare / file).write_bytes(text)
    name = "sub/own" if "sub" in file else "own" if "own" in file else "article/levels"
    with pytest.raises(ConfigError) as refused:
        package.compose([name])
    assert said in str(refused.value)
    for command in ("run", "plan"):
        done = linfit(command, name)
        assert (done.code, done.err) == (2, f"linfit: {refused.value}\n")
    assert linfit("list", "experiments").code == 0
    assert sorted(path.name for path in bare.iterdir()) == [file.split("/")[0]]


def test_a_strangers_hydra_app_is_left_alone(bare: Path) -> None:
    from hydra import compose, initialize_config_dir

    (bare / "conf").mkdir()
    (bare / "conf" / "config.yaml").write_text("x: 1\n")
    (bare / "experiments").mkdir()
    (bare / "experiments" / "config.yaml").write_text("x: 2\n")
    with initialize_config_dir(str(bare / "conf"), version_base="1.3"):
        assert compose("config").x == 1


#: What docs/plugins.md shows: the class, and what is added to it for plain programs; the YAML.
PLUGIN, LINES = (code.strip() for code in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL))
[PLUGIN_YAML] = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def plugin(bare: Path) -> Any:
    from linfit.method.optimizers import Optimizer

    (bare / "my_parts.py").write_text(PLUGIN)
    (bare / "conf" / "optimizer").mkdir(parents=True)
    (bare / "conf" / "optimizer" / "sign_descent.yaml").write_text(PLUGIN_YAML)
    path = list(sys.path)
    yield bare
    sys.path[:] = path
    sys.modules.pop("my_parts", None)
    Optimizer.choices.pop("sign_descent", None)


@pytest.mark.matrix
def test_a_plug_in_is_a_component_like_ours(plugin: Path) -> None:
    config = package.compose(
        ["plugins=[my_parts]", "optimizer=sign_descent", "optimizer.lr=0.01", "steps=300"]
    )
    assert package.fit(config).status == "completed"
    assert config.as_dict()["optimizer"] == {"name": "sign_descent", "lr": 0.01}
    assert config.fingerprint() != package.compose(["steps=300"]).fingerprint()
    with pytest.raises(ConfigError, match=r"optimizer\.lr: got -1"):
        package.compose(["plugins=[my_parts]", "optimizer=sign_descent", "optimizer.lr=-1"])


def test_the_plug_in_of_the_documentation_runs_as_it_says(
    plugin: Path, linfit: Callable[..., Any]
) -> None:
    commands = re.findall(r"^\$ linfit (.*sign_descent.*)$", DOCUMENT, re.MULTILINE)
    one, sweep = map(shlex.split, commands)
    assert "completed after 1000 updates" in linfit(*one, "tracking=none").out
    assert linfit(*sweep, "steps=5", "tracking=none").out.count("sign_descent") >= 2


def test_the_plug_in_of_the_documentation_is_a_plain_program_too(plugin: Path) -> None:
    from linfit.script.program import render_script

    header, lines = LINES.split("class SignDescent(Optimizer):\n    ...  # as above\n")
    text = header + PLUGIN.replace("\n\nclass Step:", f"{lines}\n\n\nclass Step:")
    (plugin / "my_parts.py").write_text(text)
    config = package.compose(
        [
            "plugins=[my_parts]",
            "optimizer=sign_descent",
            "optimizer.lr=0.01",
            "steps=30",
            "record.every=1",
        ]
    )
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(render_script(config, "a test"), {"__name__": "__main__"})
    *table, _ = printed.getvalue().splitlines()
    assert [float(line.split()[1]) for line in table] == package.fit(config).losses.tolist()


def test_a_plug_in_changes_the_code_digest(plugin: Path) -> None:
    from linfit.tracking.provenance.code_digest import _syntax, compute_code_digest

    package.compose(["plugins=[my_parts]"])
    before = compute_code_digest(("my_parts",))
    assert before != compute_code_digest()
    compute_code_digest.cache_clear()
    _syntax.cache_clear()
    (plugin / "my_parts.py").write_text(PLUGIN + "\n# a comment\n")
    assert compute_code_digest(("my_parts",)) == before
    compute_code_digest.cache_clear()
    _syntax.cache_clear()
    (plugin / "my_parts.py").write_text(PLUGIN.replace("0.1", "0.2"))
    assert compute_code_digest(("my_parts",)) != before


def test_the_whole_package_of_a_plug_in_counts(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from linfit.tracking.provenance.code_digest import compute_file_digests

    for name, text in (
        ("__init__.py", ""),
        ("part.py", "from parts_4711 import shared"),
        ("shared.py", "x = 1"),
        ("no.py", "no module"),
    ):
        (bare / "parts_4711").mkdir(exist_ok=True)
        (bare / "parts_4711" / name).write_text(text)
    monkeypatch.syspath_prepend(bare)
    ours = compute_file_digests().keys()
    whole = {f"parts_4711:{name}" for name in ("__init__.py", "part.py", "shared.py", "no.py")}
    for plugin in ("parts_4711", "parts_4711.part"):
        assert compute_file_digests((plugin,)).keys() - ours == whole
    install(bare, "parts", "parts_4711.part")
    assert compute_file_digests().keys() - ours == whole  # no config names it
    sys.modules.pop("parts_4711")


def install(folder: Path, name: str, module: str) -> None:
    """Write the files that pip leaves of a package that declares the module as a plug-in."""
    left = folder / f"{name}-1.0.dist-info"
    left.mkdir()
    (left / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (left / "entry_points.txt").write_text(f"[linfit.components]\nx = {module}\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit(0)", "plugins: 'my_parts' cannot be imported (SystemExit: 0): mend it"),
        ("1 / 0", "plugins: 'my_parts' cannot be imported (ZeroDivisionError: division by zero)"),
        (
            PLUGIN.replace("build", "biuld"),
            "optimizer: SignDescent of my_parts lacks build: write what every optimizer has",
        ),
    ],
)
def test_a_broken_plug_in_is_said_in_one_line(text: str, said: str, plugin: Path) -> None:
    (plugin / "my_parts.py").write_text(text)
    with pytest.raises(ConfigError) as refused:
        package.compose(["plugins=[my_parts]", "optimizer=sign_descent"])
    assert said in str(refused.value)


def test_a_broken_plug_in_of_an_installed_package_is_named(
    bare: Path, monkeypatch: pytest.MonkeyPatch, linfit: Any
) -> None:
    install(bare, "gone", "no_such_module")
    monkeypatch.syspath_prepend(bare)
    for command in (["run"], ["list"], ["list", "optimizer/adam"], ["plan"]):
        done = linfit(*command)
        assert done.code == 2
        assert (
            "the plug-in 'no_such_module' of the installed package gone cannot be imported "
            "(ModuleNotFoundError" in done.err
        )
        assert done.err.count("\n") == 1


def test_the_code_of_compiled_and_frozen_plug_ins_is_their_bytes_or_none(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from linfit.tracking.provenance.code_digest import compute_file_digests

    (bare / "compiled_4711.py").write_bytes(b"\xf0\x00 no source")
    monkeypatch.syspath_prepend(bare)
    assert compute_file_digests(("compiled_4711",)).keys() - compute_file_digests().keys() == {
        "compiled_4711"
    }
    for frozen in ("builtins", "zipimport"):
        assert compute_file_digests((frozen,)) == compute_file_digests()
    assert "numpy.random.mtrand" in compute_file_digests(("numpy.random.mtrand",))


def test_a_name_is_not_taken_twice(plugin: Path) -> None:
    (plugin / "my_parts.py").write_text(PLUGIN.replace("sign_descent", "adam"))
    with pytest.raises(
        ConfigError, match=r"optimizer 'adam' exists already, in linfit\.method\.optimizers"
    ):
        package.compose(["plugins=[my_parts]"])


def test_list_shows_each_component_with_its_fields(linfit: Callable[..., Any]) -> None:
    for name in YAMLS:
        assert_listed(name, linfit)


def assert_listed(name: str, linfit: Callable[..., Any]) -> None:
    done = linfit("list", name)
    assert done.code == 0
    group, option = name.split("/")
    assert done.out.startswith(f"{group}={option}\n")
    keys = [
        line.split(":")[0]
        for line in (search_path.shipped_folder("conf") / f"{name}.yaml").read_text().splitlines()
        if line[0].isalpha()
    ]
    assert all(f"{group}.{key}" in done.out for key in keys if key != "name")
