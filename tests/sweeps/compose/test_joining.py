"""Sections that were joined equal what Hydra composes, whatever the user's own files reach for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from pprint import pformat
from typing import Any

import pytest
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from linfit.sweeps.compose.compose import create_loader, resolve_composed, validate_data
from linfit.sweeps.compose.expansion import JobComposer
from linfit.sweeps.compose.origin import Origin

#: Components of the user's own, some of which reach beyond their section, or look at others.
COMPONENTS = {
    "optimizer/derived": "defaults: [adam, _self_]\nlr: 0.5",
    "optimizer/self_first": "defaults: [_self_, adam]\nlr: 0.5\nnew: 1",
    "optimizer/outside": "# @package _global_\noptimizer: {name: sgd, lr: 0.2}\nsteps: 77",
    "optimizer/packaged": "# @package init\nstd: 3.0",
    "optimizer/overriding": "defaults: [sgd, override /init: zeros, _self_]",
    "optimizer/grouped": "defaults: [/penalty@_global_.penalty: ridge, _self_]\nname: sgd\nlr: 0.1",
    "optimizer/chosen": "defaults: ['/optimizer/${gradient}', _self_]\nlr: 0.4",
    "optimizer/manual": "name: manual_sgd\nlr: 0.3\naverage: true",
    "optimizer/references": "name: sgd\nlr: ${init.std}\nmomentum: ${optimizer.lr}",
    "optimizer/data": "name: adam\nlr: 0.1\nbetas: [0.5, 0.6]\nextra: {a: {b: 1}}",
    "init/references": "name: normal\nstd: ${optimizer.lr}\nseed: ${dataset.seed}",
    "init/whole": "${optimizer}",
    "init/inside": "name: normal\nstd: 1.0\nextra: ${optimizer}",
    "dataset/seeded": "name: parabola\nn: 30\nnoise: 0.1\nseed: ${seed}",
    "dataset/secret": "name: parabola\nn: ${oc.env:HOME}",
    "schedule/missing": "???",
    "schedule/empty": "",
    "schedule/broken": "[1, 2]",
    "combined/sgd_manual": "# @package _global_\nsteps: 5",
    "preset/small": "# @package _global_\nsteps: 3\noptimizer: {lr: 0.9}",
    "preset/large": "# @package _global_\nsteps: 3000\ninit: {std: 0.9}",
    "preset/none": "",
}
LINFIT = "# @package _global_\ndefaults: [/linfit, {}_self_]\n"
EXPERIMENTS = {
    "ours": LINFIT.format(""),
    "values": LINFIT.format("override /optimizer: sgd, ")
    + "optimizer: {lr: 0.25, momentum: 0.9}\ninit: {std: 0.5}",
    "inheriting": "# @package _global_\n"
    "defaults: [values, override /optimizer: adam, override /gradient: manual, _self_]",
    "self_first": "# @package _global_\ndefaults: [_self_, /linfit]\noptimizer: {lr: 0.25}\nnew: 1",
    "by_choice": LINFIT.format("optional /combined@_global_: '${optimizer}_${gradient}', "),
    "presets": LINFIT.format("/preset: none, "),
    "appended": LINFIT.format("/optimizer@second: sgd, /init/extra: null, "),
    "required": LINFIT.format("override /dataset: '???', "),
    "references": LINFIT.format("")
    + "dataset: {seed: '${seed}'}\ninit: {std: '${optimizer.lr}'}\nrecord: {every: '${steps}'}",
    "whole": LINFIT.format("") + "schedule: ${init}\npenalty: {extra: '${optimizer}'}",
    "followed": "# @package _global_\ndefaults: [whole, _self_]\n"
    "schedule: {more: 1}\npenalty: {extra: {more: 1}}",
    "overtaken": "# @package _global_\ndefaults: [followed, _self_]\n"
    "schedule: 3\npenalty: {extra: null}",
    "numbered": LINFIT.format("") + "seed: ${hydra:job.num}",
}
CHOICES = {
    "optimizer": [
        "sgd",
        "adam",
        "manual_sgd",
        *(name.partition("/")[2] for name in COMPONENTS if name.startswith("optimizer/")),
        "nope",
    ],
    "gradient": ["manual", "autograd", "func_grad"],
    "init": ["zeros", "normal", "references", "whole", "inside"],
    "dataset": ["parabola", "random_linear", "seeded", "secret", "csv"],
    "schedule": ["none", "step", "missing", "empty", "broken"],
    "penalty": ["none", "ridge"],
    "loss": ["mse", "sse"],
    "preset": ["small", "large", "none"],
}
MERGED = [
    "seed=${steps}",
    "init.std=${optimizer.lr}",
    "++init.std=${optimizer.lr}",
    "+init.new=${optimizer}",
    "init.new.lr=7",
    "~init.new",
    "~init.std",
    "~init.std=0.001",
    "+init.std=3",
    "+init.std={a:1}",
    "optimizer={lr:0.5}",
    "optimizer={lr:'${seed}'}",
    "+optimizer.momentum=0.5",
    "~optimizer.momentum",
    "~stop",
    "+dataset.deep.key=1",
    "+init[std]=1",
    "plugins=[]",
    "name=null",
    "~gradient",
    "~gradient=manual",
    "optimizer=${gradient}",
    "loss@init=sse",
    "+preset=small",
    "optimizer@second=adam",
    "hydra.job.num=3",
    "hydra/launcher=basic",
    "optimizer.name=adam",
]
VALUES = [
    "seed=3",
    "steps=9",
    "optimizer.lr=0.125",
    "optimizer.momentum=0.5",
    "init.std=2",
    "dataset.seed=5",
    "++optimizer.lr=0.75",
]
EXAMPLES = int(os.environ.get("EXAMPLES", "5"))  # 1000 for a long search


@pytest.fixture(scope="module")
def expansions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, JobComposer]]:
    folder = tmp_path_factory.mktemp("joining")
    for name, written in COMPONENTS.items():
        write(folder / "conf" / f"{name}.yaml", written)
    for name, written in EXPERIMENTS.items():
        write(folder / "experiments" / f"{name}.yaml", written)
    before = Path.cwd()
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("linfit.sweeps.compose.expansion.WHOLE_BASES", 0)
        yield {name: expansion(name) for name in EXPERIMENTS}
    os.chdir(before)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def expansion(experiment: str) -> JobComposer:
    loader = create_loader()
    return JobComposer(
        loader.load_configuration(experiment, ["hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN),
        loader,
    )


def jobs() -> st.SearchStrategy[list[str]]:
    """Several choices and some overrides of other kinds, in any order."""
    choices = [
        st.builds("{}={}".format, st.just(group), st.sampled_from(names))
        for group, names in CHOICES.items()
    ]
    chosen = st.lists(
        st.one_of(choices), min_size=2, max_size=5, unique_by=lambda text: text.partition("=")[0]
    )
    others = st.lists(st.sampled_from(MERGED) | st.sampled_from(VALUES), max_size=3)
    return st.tuples(chosen, others).flatmap(lambda both: st.permutations([*both[0], *both[1]]))


def outcome(compute: Any, *arguments: Any) -> str:
    """What is computed, exactly; or the error."""
    try:
        return pformat(compute(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def compose(short: JobComposer, job: list[str], number: int) -> tuple[str, str]:
    """The data and the fit config as Hydra composes them."""
    try:
        data = resolve_composed(short.compose_job(job, number))
    except Exception as error:
        return (f"{type(error).__name__}: {error}",) * 2
    return pformat(data), outcome(
        validate_data, data, Origin(short.experiment, job, short.loader), lambda _: None
    )


def check(short: JobComposer, job: list[str]) -> None:
    data, config = compose(short, job, 4)
    if short.experiment != "numbered":  # of which `data` knows no number
        assert outcome(short.resolve_job, job) == data
    assert outcome(short.validate_job, job, 4) == config


#: A job for each way in which a section may reach for another one, beside an ordinary choice.
JOBS = [
    ("ours", "optimizer=derived init=normal optimizer.lr=0.125"),
    ("ours", "optimizer=self_first loss=mse"),
    ("ours", "optimizer=outside loss=mse"),
    ("ours", "optimizer=packaged init=normal"),
    ("ours", "optimizer=overriding loss=mse"),
    ("ours", "optimizer=grouped penalty=none"),
    ("ours", "optimizer=chosen gradient=manual"),
    ("ours", "optimizer=references init=references dataset=seeded"),
    ("ours", "optimizer=adam init=references dataset=seeded seed=3"),
    ("ours", "optimizer=sgd init=references dataset=seeded optimizer.lr=0.5"),
    ("ours", "init=whole optimizer=sgd"),
    ("ours", "init=inside optimizer=sgd"),
    ("ours", "optimizer=${gradient} gradient=manual"),
    ("ours", "+init.std=3 init.std=${optimizer.lr} optimizer=sgd"),
    ("ours", "+init.new=${optimizer} init.new.lr=7 ~init.new optimizer=sgd"),
    ("ours", "~optimizer.momentum optimizer=sgd loss=mse"),
    ("ours", "optimizer={lr:0.5} optimizer=sgd plugins=[] loss=mse"),
    ("ours", "~gradient=manual gradient=manual optimizer=sgd"),
    ("values", "optimizer=adam loss=mse init.std=2"),
    ("inheriting", "loss=mse init=zeros"),
    ("by_choice", "optimizer=sgd gradient=manual"),
    ("presets", "preset=small optimizer=sgd"),
    ("appended", "optimizer@second=adam optimizer=sgd"),
    ("required", "dataset=parabola optimizer=sgd"),
    ("references", "optimizer=sgd init=normal seed=3 steps=9"),
    ("references", "~init.std=0.001 optimizer=sgd"),
    ("followed", "init=zeros schedule=step"),
    ("followed", "optimizer=sgd penalty=none"),
    ("numbered", "optimizer=sgd loss=mse"),
]


@pytest.mark.parametrize(("experiment", "job"), JOBS)
def test_a_section_that_reaches_for_another_is_composed_with_it(
    expansions: dict[str, JobComposer], experiment: str, job: str
) -> None:
    check(expansions[experiment], job.split())


@given(experiment=st.sampled_from(list(EXPERIMENTS)), job=jobs())
@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_a_job_equals_what_hydra_composes(
    expansions: dict[str, JobComposer], experiment: str, job: list[str]
) -> None:
    check(expansions[experiment], job)


def test_combinations_of_choices_cost_no_composition(
    expansions: dict[str, JobComposer], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = JobComposer(expansions["values"].config, expansions["values"].loader)
    composed: list[list[str]] = []
    load = short.loader.load_sweep_config

    def count(config: DictConfig, given: list[str]) -> DictConfig:
        composed.append(given)
        return load(config, given)

    monkeypatch.setattr("linfit.sweeps.compose.expansion.WHOLE_BASES", 3)
    monkeypatch.setattr(short.loader, "load_sweep_config", count)
    choices = product(
        ["sgd", "derived"], ["mse", "sse"], ["manual", "autograd"], ["zeros", "normal"]
    )
    configs = [
        short.validate_job([f"optimizer={o}", f"loss={lo}", f"gradient={g}", f"init={i}", "seed=3"])
        for o, lo, g, i in choices
    ]
    assert len(set(configs)) == 16
    assert len(composed) == 3 + 1 + 2 * 4


def test_experiments_are_asked_once_for_what_a_replaced_component_left_behind(
    expansions: dict[str, JobComposer],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = JobComposer(expansions["inheriting"].config, expansions["inheriting"].loader)
    asked = 0
    compute = short.loader.compute_defaults_list

    def count(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return compute(*arguments)

    monkeypatch.setattr(short.loader, "compute_defaults_list", count)
    for loss, gradient in product(["mse", "sse"], ["manual", "autograd"]):
        assert short.validate_job([f"loss={loss}", f"gradient={gradient}"]).optimizer.name == "adam"
    assert asked == 1
    assert capsys.readouterr().err.count("adam has no momentum") == 1
