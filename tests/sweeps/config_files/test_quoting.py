"""Names and numbers in config files and on the command line: only decimal digits are numbers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

import linfit
from linfit.errors import ConfigError
from linfit.sweeps.config_files.quoting import correct_quoting, quote_column_names
from linfit.sweeps.plan.enumerate import enumerate_jobs

BARE = "defaults: [/linfit, override /tracking: none, _self_]\n"
TABLE = "defaults: [/linfit, override /dataset: npy, override /tracking: none, _self_]\n"
GIVEN = ["dataset=csv", "dataset.path=x.csv", "dataset.features=a"]

#: Names of columns that YAML 1.1, Hydra or Python's int would read as other numbers.
NAMES = [
    "010",
    "0x10",
    "1_0",
    "+5",
    "-0",
    "0b1",
    "0o7",
    "1_0.5",
    "1:30.5",
    "2024-01-01",
    "2nd",
    "٣",
]
#: Settings that YAML 1.1 would read as numbers.
NUMBERS = {
    "steps: 1:10": "steps: got '1:10', choose a whole number",
    "steps: 1_000": "steps: got '1_000', choose a whole number",
    "seed: 0x10": "seed: got '0x10', choose a whole number",
    "seed: 010": "seed: got '010', choose a whole number",
    "threads: 0b1": "threads: got '0b1', choose a whole number",
    "dataset: {noise: 1:30}": "dataset.noise: got '1:30', choose a number",
    "optimizer: {lr: 1_0.5}": "optimizer.lr: got '1_0.5', choose a number",
    "optimizer: {lr: 1:30.5}": "optimizer.lr: got '1:30.5', choose a number",
}
#: What is a number or a truth value, and no name.
NO_NAMES = {"1e3": "1000.0", "1.5": "1.5", "yes": "true", "off": "false", ".nan": "nan"}


@pytest.fixture
def experiment(bare: Path) -> Path:
    (bare / "experiments").mkdir()
    return bare / "experiments" / "own.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_a_config_file_is_text(name: str, experiment: Path) -> None:
    experiment.write_text(
        f"{TABLE}dataset: {{path: x.npy, features: [{name}, 7], target: {name}, weight: {name}}}\n"
    )
    dataset = linfit.compose(["own"]).dataset
    assert dataset.features == (name, "7")  # type: ignore[attr-defined]
    assert dataset.target == (name,)  # type: ignore[attr-defined]
    assert dataset.weight == name  # type: ignore[attr-defined]


def test_a_range_of_columns_in_a_config_file_is_one(experiment: Path) -> None:
    experiment.write_text(f"{TABLE}dataset: {{path: x.npy, features: 1:4, target: 120}}\n")
    dataset = linfit.compose(["own"]).dataset
    assert dataset.features == ("1", "2", "3")  # type: ignore[attr-defined]
    assert dataset.target == ("120",)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [name for name in NAMES if name.isascii()])
def test_a_name_on_the_command_line_is_text(name: str) -> None:
    for written in ("{}", "[{},7]", "[ {} , 7 ]"):
        assert_text(name, written)


def assert_text(name: str, written: str) -> None:
    given = [*GIVEN, f"dataset.target={written.format(name)}"]
    if name == "1_0.5":
        with pytest.raises(ConfigError, match="needs quotes"):
            linfit.compose(given)
    else:
        dataset = linfit.compose(given).dataset
        assert dataset.target == (name, "7")[: 1 + ("7" in written)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("dataset.features=[1_0,10,'1_0',a-1_0]", "dataset.features=['1_0',10,'1_0',a-1_0]"),
        ("+dataset.weight=1_0", "+dataset.weight='1_0'"),
        ("dataset.target=choice(1_0,+5)", "dataset.target=choice('1_0','+5')"),
        (
            "dataset={name: npy, features: [1_0], target: +5}",
            "dataset={name: npy, features: ['1_0'], target: '+5'}",
        ),
        ("dataset.target=1:1_0", "dataset.target=1:1_0"),
        ("dataset.target=Größe", "dataset.target=Größe"),
        ("steps=1_000", "steps=1_000"),
    ],
)
def test_names_are_quoted_where_hydra_would_read_a_number(override: str, kept: str) -> None:
    assert quote_column_names(override) == kept


def test_each_list_of_a_sweep_is_quoted_by_itself() -> None:
    assert correct_quoting("a=[ä,b],[c]") == """'a=["ä","b"],["c"]'"""


def test_the_values_of_a_sweep_keep_their_names(experiment: Path) -> None:
    experiment.write_text(
        TABLE + "dataset: {path: x.npy, features: a}\nhydra:\n  mode: MULTIRUN\n  sweeper:\n"
        "    params: {dataset.target: '1_0,010'}\n"
        "    pairs: [{keys: [dataset.weight, seed], values: [[1_0, 1], [0x10, 2]]}]\n"
    )
    jobs = enumerate_jobs(["own"]).jobs
    datasets: list[Any] = [job.config.dataset for job in jobs]
    found = [(dataset.target[0], dataset.weight) for dataset in datasets]
    assert sorted(found) == [("010", "0x10"), ("010", "1_0"), ("1_0", "0x10"), ("1_0", "1_0")]


@pytest.mark.parametrize(("line", "words"), NUMBERS.items(), ids=NUMBERS)
def test_a_number_in_a_config_file_is_decimal(line: str, words: str, experiment: Path) -> None:
    experiment.write_text(f"{BARE}{line}\n")
    with pytest.raises(ConfigError, match=re.escape(words)):
        linfit.compose(["own"])


@pytest.mark.parametrize("lr", ["1e-3", ".001", "+0.001", "1.e-3", "0.10e-2"])
def test_fractions_in_a_config_file_are_numbers(lr: str, experiment: Path) -> None:
    experiment.write_text(f"{BARE}optimizer: {{lr: {lr}}}\nseed: 12\n")
    config = linfit.compose(["own"])
    assert (config.optimizer.model_dump()["lr"], config.seed) == (0.001, 12)


@pytest.mark.parametrize(("name", "came"), NO_NAMES.items(), ids=NO_NAMES)
def test_a_fraction_or_truth_value_is_no_name(name: str, came: str, experiment: Path) -> None:
    for key in ("target", "weight", "features"):
        assert_no_name(key, name, came, experiment)


def assert_no_name(key: str, name: str, came: str, experiment: Path) -> None:
    dataset = {"path": "x.npy", "features": "a", "target": "b", key: name}
    experiment.write_text(
        f"{TABLE}dataset: {{{', '.join(f'{key}: {value}' for key, value in dataset.items())}}}\n"
    )
    with pytest.raises(
        ConfigError, match=rf"^dataset\.{key}: {came} is no text; a name that looks so needs quotes"
    ):
        linfit.compose(["own"])


@pytest.mark.parametrize(
    "name",
    [
        "a b", "it's", "it's a \"b\"", "a,b", "$HOME", "`ls`", "Größe", "a[0]", "(a)", "f(x)",
        "a=b", "1e3", "1_0", "true", "nan", "{x}", "a#b", "a;b & c", "x^2", "a:b", "2nd",
        "höhe [m], max", "!ä", "ä\\", "ä*", "~ä", "<ä>",
    ],
)  # fmt: skip
def test_the_argument_that_is_printed_can_be_typed(name: str) -> None:
    for key in ("dataset.target", "dataset.features"):
        assert_can_be_typed(key, name)


def assert_can_be_typed(key: str, name: str) -> None:
    given = GIVEN if key == "dataset.target" else [*GIVEN[:2], "dataset.target=y"]
    try:
        dataset = linfit.compose([*given, f"{key}={name}"]).dataset
    except ConfigError as error:
        hint = str(error)
        printed = re.split("needs quotes: |in quotes, |for a list, ", hint)[-1].removesuffix(
            " for one text"
        )
        typed = subprocess.run(
            ["bash", "-c", f"printf %s {printed}"], capture_output=True, text=True, check=True
        )
        dataset = linfit.compose([*given, typed.stdout]).dataset
    assert getattr(dataset, key.removeprefix("dataset.")) == (name,)


def test_the_list_that_is_printed_can_be_typed() -> None:
    with pytest.raises(ConfigError) as refusal:
        linfit.compose([*GIVEN, "dataset.target=[Größe,a b,'c,d',1_0]"])
    typed = subprocess.run(
        ["bash", "-c", f"printf %s {str(refusal.value).partition('in quotes, ')[2]}"],
        capture_output=True,
        text=True,
        check=True,
    )
    dataset: Any = linfit.compose([*GIVEN, typed.stdout]).dataset
    assert dataset.target == ("Größe", "a b", "c,d", "1_0")


@pytest.mark.parametrize("where", [["--config-dir", "{}"], ["hydra.searchpath=[file://{}]"]])
def test_files_of_other_folders_are_read_alike(where: list[str], bare: Path) -> None:
    (bare / "more" / "dataset").mkdir(parents=True)
    (bare / "more" / "dataset" / "mine.yaml").write_text(
        "name: npy\npath: x.npy\nfeatures: 1:3\ntarget: 010\n"
    )
    arguments = [
        "linfit",
        *(part.format(bare / "more") for part in where),
        "dataset=mine",
        "tracking=none",
    ]
    (job,) = enumerate_jobs(arguments).jobs
    dataset = job.config.dataset
    assert dataset.features == ("1", "2")  # type: ignore[attr-defined]
    assert dataset.target == ("010",)  # type: ignore[attr-defined]


def test_a_byte_order_mark_hides_no_header(bare: Path) -> None:
    (bare / "experiments" / "mine").mkdir(parents=True)
    (bare / "experiments" / "mine" / "a.yaml").write_text(
        "\ufeff# @package _global_\n" + BARE + "steps: 7\n", encoding="utf-8"
    )
    assert linfit.compose(["mine/a"]).steps == 7
