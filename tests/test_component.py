"""The registry of components, and that classes, YAML files and test tables are one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from linfit.component import Component, Frozen, describe_unknown
from linfit.config import GROUPS, FitConfig
from linfit.config_errors import explain_validation_errors
from linfit.method.optimizers import Adam, ManualSGD, Optimizer
from linfit.problem.datasets.synthetic import Dataset
from tests.helpers import (
    CONF,
    EXPERIMENTS,
    TABLES,
    Row,
    config,
    scratch_registry,
)

MISSING = "???"


def own(group: str) -> set[str]:
    """The components of a group that linfit itself defines, not a plug-in."""
    return {
        name
        for name, choice in GROUPS[group].choices.items()
        if choice.__module__.startswith("linfit.")
    }


def yaml(group: str, name: str) -> dict[str, Any]:
    data = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


# ---- one class, one YAML, one row ----


def test_every_group_has_a_table_and_a_folder() -> None:
    assert (
        set(TABLES) == set(GROUPS) == {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    )


@pytest.mark.parametrize("group", GROUPS)
def test_classes_yaml_files_and_rows_are_the_same_components(group: str) -> None:
    names = [row.name for row in TABLES[group]]
    assert len(names) == len(set(names))
    assert own(group) == set(names) == {file.stem for file in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_called_as_its_base_class(group: str) -> None:
    assert GROUPS[group].group == group
    assert group in FitConfig.model_fields


@pytest.mark.parametrize("group", GROUPS)
def test_rows_say_what_the_classes_and_the_yaml_files_say(group: str) -> None:
    for row in TABLES[group]:
        assert_a_row_varies_every_field(group, row)
        assert_yaml_states_the_defaults_of_the_class(group, row)
        assert_a_component_says_in_one_line_what_it_is(group, row)


def assert_a_row_varies_every_field(group: str, row: Row) -> None:
    fields = GROUPS[group].choices[row.name].model_fields
    needed = {name for name, field in fields.items() if field.is_required()}
    varied = {key for variation in row.variations for key in variation}
    assert set(row.needed) == needed
    assert needed | varied == set(fields) - {"name"}
    plain = GROUPS[group].choose(row.plain).model_dump()
    for variation in row.variations:
        other = GROUPS[group].choose({**row.plain, **variation}).model_dump()
        assert all(other[key] != plain[key] for key in variation), variation


def assert_yaml_states_the_defaults_of_the_class(group: str, row: Row) -> None:
    chosen = GROUPS[group].choices[row.name]
    stated = yaml(group, row.name)
    assert next(iter(stated)) == "name"
    assert set(stated) == set(chosen.model_fields)
    assert {key for key, value in stated.items() if value == MISSING} == set(row.needed)
    assert chosen.model_validate({**stated, **row.needed}) == chosen.model_validate(row.plain)


def test_every_yaml_begins_with_a_comment_and_every_value_has_one() -> None:
    files = sorted([*CONF.rglob("*.yaml"), *EXPERIMENTS.rglob("*.yaml")])
    assert {str(file): found for file in files if (found := uncommented(file))} == {}


def uncommented(file: Path) -> list[str]:
    """The lines of a config file whose values have no comment, the first line among them."""
    first, *lines = file.read_text(encoding="utf-8").splitlines()
    if not re.match(r"# \S", first):
        return [first]
    if file.parent == CONF:  # which components there are, and what is Hydra's, is no value of ours
        lines = lines[lines.index("  - _self_") : lines.index("hydra:")]
    values = [
        line
        for line in lines
        if re.match(r"(\s|- )*[\w.]+: \S", line) and line != f"name: {file.stem}"
    ]
    return [line for line in values if not re.search(r" # \S", line)]


def assert_a_component_says_in_one_line_what_it_is(group: str, row: Row) -> None:
    doc = GROUPS[group].choices[row.name].__doc__
    assert doc is not None, row.name
    assert doc.strip().splitlines()[0].endswith((".", ":")) or "\n\n" in doc, row.name


# ---- chosen by name ----


@pytest.mark.parametrize("group", GROUPS)
def test_a_component_is_chosen_by_name_and_keeps_its_fields(group: str) -> None:
    base = GROUPS[group]
    for row in TABLES[group]:
        for given in row.settings():
            chosen = base.choose(given)
            assert type(chosen) is base.choices[given["name"]]
            assert base.choose(chosen) is chosen
            assert base.choose(chosen.model_dump(mode="json")) == chosen
            assert get_args(type(chosen).model_fields["name"].annotation) == (chosen.name,)


@pytest.mark.parametrize("group", GROUPS)
def test_a_component_never_changes_and_refuses_an_unknown_key(group: str) -> None:
    for row in TABLES[group]:
        assert_frozen(group, row)
        with pytest.raises(ValidationError, match="no key 'momentun'"):
            GROUPS[group].choose({**row.plain, "momentun": 1})


def assert_frozen(group: str, row: Row) -> None:
    chosen = GROUPS[group].choose(row.plain)
    for key in type(chosen).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(chosen, key, getattr(chosen, key))
    with pytest.raises(ValidationError, match="frozen"):
        chosen.another = 1  # type: ignore[attr-defined]
    assert {chosen: "a frozen record can be a key"}[GROUPS[group].choose(row.plain)]


def test_python_builds_a_component_with_keywords() -> None:
    assert Adam(lr=1).lr == 1.0
    assert isinstance(Adam(lr=1).lr, float)
    assert FitConfig(optimizer=Adam(lr=0.5)).optimizer == Adam(lr=0.5)
    with pytest.raises(ValidationError, match="greater than 0"):
        Adam(lr=0)


# ---- one more component ----


def test_a_subclass_is_a_choice_from_the_moment_it_is_defined() -> None:
    with scratch_registry():

        class Tiger(ManualSGD):
            """A plug-in."""

            name: Literal["tiger"] = "tiger"  # type: ignore[assignment]
            boldness: float = 2.0

        assert Optimizer.choices["tiger"] is Tiger
        assert Optimizer.choices["manual_sgd"] is ManualSGD
        assert "tiger" in Optimizer.list_names()
        chosen = config(optimizer={"name": "tiger", "boldness": 3})
        assert isinstance(chosen.optimizer, Tiger)
        assert chosen.as_dict()["optimizer"] == {
            "name": "tiger",
            "lr": 1e-3,
            "average": False,
            "boldness": 3.0,
        }
        assert FitConfig.model_validate(chosen.as_dict()) == chosen
        assert (
            chosen.fingerprint()
            != config(optimizer="tiger").fingerprint()
            != config(optimizer="manual_sgd").fingerprint()
        )
    assert "tiger" not in Optimizer.choices


def test_a_name_that_is_taken_is_refused() -> None:
    with (
        scratch_registry(),
        pytest.raises(
            ValueError,
            match=r"optimizer 'adam' exists already, in linfit\.method\.optimizers\.adam: give",
        ),
    ):

        class Other(Optimizer):
            """Wants the name of another."""

            name: Literal["adam"] = "adam"


def test_a_module_that_is_imported_again_may_define_its_component_again() -> None:
    with scratch_registry():

        def define() -> type[Dataset]:
            class Again(Dataset):
                """The same class, twice."""

                name: Literal["again"] = "again"

            return Again

        first, second = define(), define()
        assert first is not second
        assert Dataset.choices["again"] is second


def test_a_class_without_a_name_of_its_own_is_no_choice() -> None:
    with scratch_registry():
        before = set(Optimizer.choices)

        class Family(Optimizer):
            """What several optimizers share."""

            lr: float = 0.1

        assert set(Optimizer.choices) == before
        assert Family.choices is Optimizer.choices


def test_a_direct_subclass_of_component_is_a_group_of_its_own() -> None:
    class Regularizer(Component):
        """A group."""

    class MaxNorm(Regularizer):
        """A choice of it."""

        name: Literal["max_norm"] = "max_norm"

    assert Regularizer.group == "regularizer"
    assert Regularizer.choices == {"max_norm": MaxNorm}
    assert all("max_norm" not in base.choices for base in GROUPS.values())


# ---- rules of a class ----


def test_a_rule_is_of_the_class_that_states_it_or_keeps_it() -> None:
    with scratch_registry():

        class Changed(Adam):
            """States nothing."""

            name: Literal["changed"] = "changed"  # type: ignore[assignment]

        class Kept(Adam, keeps=[Adam.stacked]):
            """Steps as its parent does."""

            name: Literal["kept"] = "kept"  # type: ignore[assignment]

    assert Adam.supports_stacking() and Adam.has_script()
    assert (
        not Changed.supports_stacking()
        and not Changed.has_script()
        and not Changed.scales_with_lr()
    )
    assert Kept.supports_stacking() and not Kept.has_script() and Kept.scales_with_lr()
    assert Changed.stacked is Optimizer.stacked
    assert ManualSGD().linear_constants(1) is not None
    assert Adam().linear_constants(1) is None


def test_a_rule_that_the_parent_does_not_state_cannot_be_kept() -> None:
    with (
        scratch_registry(),
        pytest.raises(
            ValueError, match="Hopeful keeps linear_constants, which its parent does not"
        ),
    ):

        class Hopeful(Adam, keeps=[Optimizer.linear_constants]):
            """Adam is not linear."""


# ---- values that a float or an integer is not ----


class Sample(Frozen):
    """One field of each kind."""

    number: float = 1.0
    count: int = 1
    flag: bool = False
    text: str = ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", float("nan")),
        ("number", float("inf")),
        ("number", float("-inf")),
        ("number", True),
        ("number", "1.0"),
        ("number", None),
        ("count", True),
        ("count", 1.0),
        ("count", "1"),
        ("flag", 1),
        ("flag", "true"),
        ("text", 1),
        ("text", None),
    ],
)
def test_nothing_is_converted_but_an_integer_to_a_float(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        Sample.model_validate({field: value})
    assert explain_validation_errors(refusal.value).startswith(f"{field}: got {value!r}, ")


def test_an_integer_passes_as_a_float() -> None:
    number = Sample.model_validate({"number": 2}).number
    assert (number, type(number)) == (2.0, float)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    assert (
        describe_unknown("loss", "mes", ["sse", "mse"])
        == "no loss 'mes': did you mean 'mse'? there are mse, sse"
    )
    assert (
        describe_unknown("loss", "huber", ["sse", "mse"]) == "no loss 'huber': there are mse, sse"
    )
    assert describe_unknown("loss", "huber", []) == "no loss 'huber': there are none"
