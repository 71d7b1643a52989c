"""The fast composition of a job equals Hydra's own, key for key, for all overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from linfit.config import GROUPS
from linfit.sweeps.compose.compose import create_loader, resolve_composed, validate_data
from linfit.sweeps.compose.expansion import JobComposer
from linfit.sweeps.compose.fast_path import OverrideReader, PlacedValue
from linfit.sweeps.compose.origin import Origin
from linfit.sweeps.config_files import search_path
from linfit.sweeps.search_space.axes import render_value

EXPERIMENTS = {
    "delta": """
# @package _global_
defaults: [/linfit, override /optimizer: sgd, _self_]
optimizer: {momentum: 0.9, nesterov: true}
steps: 12
""",
    "references": """
# @package _global_
defaults: [/linfit, override /optimizer: sgd, _self_]
dataset: {seed: "${seed}"}
init: {seed: "${dataset.seed}"}
record: {every: "${steps}"}
optimizer: {momentum: 0.5, dampening: "${optimizer.momentum}"}
tracking: {uri: "${oc.env:LINFIT_NOWHERE}"}
""",
    "open": """
# @package _global_
defaults: [/linfit, _self_]
tracking: {artifacts: "below/${name}", uri: "${hydra:job.override_dirname}"}
""",
}
PROFILE = settings(
    max_examples=int(os.environ.get("EXAMPLES", "8")),
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)  # EXAMPLES=500 for a long search


@pytest.fixture(scope="module")
def expansions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, JobComposer]]:
    """One expansion for each experiment: no example may see the cache of another."""
    folder = tmp_path_factory.mktemp("expansion")
    (folder / search_path.EXPERIMENTS).mkdir()
    for name, written in EXPERIMENTS.items():
        (folder / search_path.EXPERIMENTS / f"{name}.yaml").write_text(written.lstrip())
    before = Path.cwd()
    os.chdir(folder)
    yield {name: expansion(name) for name in ("linfit", *EXPERIMENTS)}
    os.chdir(before)


def expansion(experiment: str, *overrides: str) -> JobComposer:
    loader = create_loader()
    config = loader.load_configuration(
        experiment, [*overrides, "hydra.mode=MULTIRUN"], run_mode=RunMode.MULTIRUN
    )
    return JobComposer(config, loader)


def keys() -> st.SearchStrategy[str]:
    leaves = [
        "seed",
        "steps",
        "name",
        "dtype",
        "plugins",
        "record.every",
        "stop.divergence",
        "dataset.noise",
        "dataset.seed",
    ]
    inside = [
        "optimizer.lr",
        "optimizer.momentum",
        "optimizer.betas",
        "optimizer.betas.0",
        "optimizer.name",
        "init.weights",
        "init.seed",
    ]
    nodes = [
        "optimizer",
        "record",
        "tracking.uri",
        "tracking.artifacts",
        "new",
        "new.key",
        "seed.below",
        "$odd",
        "hydra.job.name",
        "hydra.verbose",
    ]
    return st.sampled_from(leaves + inside + nodes)


def values() -> st.SearchStrategy[str]:
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-3, 2000)
        | st.floats(-10, 10)
        | st.sampled_from(["adam", "mse", "x y", "it's", "a\\", "${seed}"])
    )
    data = st.recursive(
        scalars,
        lambda part: (
            st.lists(part, max_size=3) | st.dictionaries(st.sampled_from("abc"), part, max_size=2)
        ),
        max_leaves=4,
    )
    odd = [
        "",
        "???",
        "${steps}",
        "${optimizer.lr}",
        "${now:%Y}",
        "${oc.env:HOME}",
        "1_000",
        "1e3",
        "+1",
        "-0",
        ".5",
        "017",
        "1:30",
        "nan",
        "-inf",
    ]
    more = [
        "NULL",
        "True",
        "a-b",
        "a/b",
        "[${seed},1]",
        "1,2",
        "range(1,3)",
        "'1'",
        '"a b"',
        " 3 ",
        "str(3)",
        "int(2.5)",
        "{",
        "a\\,b",
    ]
    return data.map(render_value) | st.sampled_from(odd + more)


def overrides() -> st.SearchStrategy[list[str]]:
    plain_values = st.builds("{}={}".format, keys(), values())
    prefixed = st.builds("{}{}={}".format, st.sampled_from(["+", "++", "~"]), keys(), values())
    deletions = keys().map("~{}".format)
    common = st.builds(
        "{}={}".format,
        st.sampled_from(["seed", "steps", "optimizer.lr", "dataset.noise"]),
        st.integers(0, 9).map(str),
    )
    groups = st.builds(
        "{}{}={}".format,
        st.sampled_from(["", "", "", "+", "++"]),
        st.sampled_from(sorted(GROUPS)),
        st.sampled_from(CHOICES),
    )
    odd = [
        "~optimizer",
        "~optimizer=adam",
        "optimizer@new=sgd",
        "+optimizer@new=sgd",
        "optimizer=[sgd]",
        "+optimizer=[sgd]",
        "optimizer=null",
    ]
    hydras = [
        "hydra/launcher=basic",
        "hydra.job.chdir=true",
        "optimizer@:=sgd",
        "seed@new=1",
        "no such thing",
    ]
    one = (
        common
        | common
        | groups
        | plain_values
        | prefixed
        | deletions
        | st.sampled_from(odd + hydras)
    )
    return st.lists(one, max_size=4)


def ordinary() -> st.SearchStrategy[list[str]]:
    """What sweeps are made of: components, and values for keys that are there."""
    numbers = st.builds(
        "{}{}={}".format,
        st.sampled_from(["", "", "++"]),
        st.sampled_from(NUMBERS),
        st.integers(0, 3) | st.floats(0, 1, width=16),
    )
    lists = st.builds(
        "optimizer.betas={}".format,
        st.lists(st.floats(0, 0.75, width=16), max_size=3).map(render_value),
    )
    optimizers = st.builds(
        "optimizer={}".format, st.sampled_from(sorted(GROUPS["optimizer"].choices))
    )
    others = st.sampled_from(
        [
            "init=normal",
            "init=zeros",
            "init=given",
            "init.weights=[1,2]",
            "record.every=null",
            "dtype=float64",
            "dtype='float32'",
        ]
    )
    unseen = st.sampled_from(
        [
            "+hydra.job.env_set.A=1",
            "++stop={divergence:20}",
            "stop.divergence=30",
            "seed=${steps}",
            "name=mine",
            "name=null",
        ]
    )
    return st.lists(numbers | numbers | lists | optimizers | others | unseen, max_size=5)


NUMBERS = [
    "seed",
    "steps",
    "optimizer.lr",
    "optimizer.momentum",
    "optimizer.eps",
    "dataset.noise",
    "dataset.seed",
    "init.std",
    "record.every",
]
CHOICES = [
    *sorted({name for group in GROUPS.values() for name in group.choices} - {"mps", "cuda"}),
    "nope",
]


def outcome(compute: Any, *arguments: Any) -> str:
    """What is computed, exactly: 1 is not 1.0 nor true, and NaN is NaN; or the error."""
    try:
        return pformat(compute(*arguments))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def quiet(_: str) -> None:
    return None


@pytest.mark.parametrize(
    "experiment", ["linfit", *(pytest.param(one, marks=pytest.mark.slow) for one in EXPERIMENTS)]
)
@given(job=ordinary() | overrides())
@PROFILE
def test_a_job_equals_what_hydra_composes(
    expansions: dict[str, JobComposer], experiment: str, job: list[str]
) -> None:
    short = expansions[experiment]
    long: list[dict[str, Any]] = []

    def compose() -> dict[str, Any]:
        long.append(resolve_composed(short.compose_job(job)))
        return long[0]

    composed = outcome(compose)
    assert outcome(short.resolve_job, job) == composed
    assert outcome(short.validate_job, job) == (
        outcome(validate_data, long[0], Origin(experiment, job, short.loader), quiet)
        if long
        else composed
    )


@given(
    st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), max_size=8)
    | st.from_regex(r"-?[0-9]{1,3}(\.[0-9]+)?(e-?[0-9]{1,2})?", fullmatch=True)
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_numbers_are_read_as_hydras_grammar_reads_them(
    expansions: dict[str, JobComposer], value: str
) -> None:
    parts: OverrideReader = expansions["linfit"]._parts
    read = parts.read(f"a.b={value}")
    if isinstance(read, PlacedValue):
        assert pformat(read.value) == pformat(
            OverridesParser.create().parse_override(f"a.b={value}").value()
        )


@pytest.mark.matrix
def test_hydra_composes_once_for_each_choice_of_components(
    expansions: dict[str, JobComposer], monkeypatch: pytest.MonkeyPatch
) -> None:
    expansion = JobComposer(expansions["delta"].config, expansions["delta"].loader)
    composed: list[list[str]] = []
    load = expansion.loader.load_sweep_config

    def counted(config: DictConfig, given: list[str]) -> DictConfig:
        composed.append(given)
        return load(config, given)

    monkeypatch.setattr(expansion.loader, "load_sweep_config", counted)
    for optimizer in ("adam", "sgd"):
        for lr in (0.1, 0.01):
            for seed in range(5):
                config = expansion.validate_job(
                    [f"optimizer={optimizer}", f"optimizer.lr={lr}", f"seed={seed}"]
                )
                numbers = config.numbers()
                assert (
                    numbers["optimizer"]["name"],
                    numbers["optimizer"]["lr"],
                    config.seed,
                    config.steps,
                ) == (optimizer, lr, seed, 12)
    assert composed == [["optimizer=adam"], ["optimizer=sgd"]]


def test_components_of_equal_overrides_are_the_same_object(
    expansions: dict[str, JobComposer],
) -> None:
    first, second = (
        expansions["linfit"].validate_job(["optimizer.lr=0.5", f"seed={seed}"]) for seed in (1, 2)
    )
    assert first.optimizer is second.optimizer
    assert first.dataset is second.dataset


def test_values_that_a_new_component_lacks_are_dropped_with_one_note(
    expansions: dict[str, JobComposer], capsys: pytest.CaptureFixture[str]
) -> None:
    expansion = JobComposer(expansions["delta"].config, expansions["delta"].loader)
    for seed in range(20):
        assert expansion.validate_job(["optimizer=adam", f"seed={seed}"]).optimizer.name == "adam"
        assert (
            expansion.validate_job(
                ["optimizer=adam", "seed=${steps}", f"optimizer.lr=0.{seed + 1}"]
            ).seed
            == 12
        )
    notes = capsys.readouterr().err.splitlines()
    assert notes == [
        "linfit: optimizer=adam has no momentum: "
        "the experiment's optimizer.momentum=0.9 is left out",
        "linfit: optimizer=adam has no nesterov: "
        "the experiment's optimizer.nesterov=True is left out",
    ]


@pytest.mark.matrix
def test_references_follow_what_is_put_in(expansions: dict[str, JobComposer]) -> None:
    data = expansions["references"].resolve_job(["seed=7", "steps=9", "optimizer.momentum=0.25"])
    assert (data["dataset"]["seed"], data["record"]["every"], data["optimizer"]["dampening"]) == (
        7,
        9,
        0.25,
    )
    assert data["tracking"]["uri"] == "${oc.env:LINFIT_NOWHERE}"
    assert (
        expansions["references"].resolve_job(["seed=7", "dataset.seed=8"])["dataset"]["seed"] == 8
    )
