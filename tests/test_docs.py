"""The documentation agrees with the code.

Generated pages are current, schemas fit the YAML, links and commands exist.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from omegaconf import OmegaConf

import linfit
from linfit.config import GROUPS
from linfit.sweeps.catalogue import catalogue, json_schema
from tests.helpers import TABLES

ROOT = Path(linfit.__file__).parents[1]
MARKDOWN = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


@cache
def generator() -> ModuleType:
    spec = spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def validator(kind: str) -> Any:
    made = (
        json_schema.build_experiment_schema()
        if kind == json_schema.EXPERIMENT_SCHEMA
        else json_schema.build_group_schema(kind)
    )
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(made)


def complaints(kind: str, content: Any) -> list[str]:
    return [error.message for error in validator(kind).iter_errors(content)]


def load(file: Path) -> Any:
    """As Hydra reads it: 1e-3 is a number, interpolations stay."""
    return OmegaConf.to_container(OmegaConf.load(file), resolve=False)


# ---- what is generated ----


def test_generated_pages_schemas_and_headers_are_current() -> None:
    files = generator().generated()
    stale = [
        str(file.relative_to(ROOT))
        for file, text in files.items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `make docs`"
    written = {*(ROOT / "docs" / "reference").glob("*.md"), *(ROOT / "schema").glob("*.json")}
    assert written <= set(files), "run `make docs`"


def test_the_reference_has_a_section_for_every_component_with_every_field() -> None:
    for group in GROUPS:
        page = (ROOT / "docs" / "reference" / f"{group}.md").read_text(encoding="utf-8")
        for name in catalogue.list_components(group):
            assert f"## `{group}={name}`" in page
            for field in GROUPS[group].choices[name].model_fields:
                assert field == "name" or f"| `{group}.{field}` |" in page


def test_a_header_for_editors_keeps_the_header_for_hydra_first(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("# @package _global_\n# Why?\nsteps: 3\n")
    lines = generator().with_modeline(file).splitlines()
    assert lines[0] == "# @package _global_"
    assert lines[1].startswith("# yaml-language-server: $schema=")
    file.write_text("\n".join(lines) + "\n")
    assert generator().with_modeline(file).splitlines() == lines
    assert catalogue.read_headline(file) == "Why?"


# ---- schemas ----


def test_every_shipped_yaml_fits_the_schema_that_it_names() -> None:
    files = [*ROOT.glob("conf/**/*.yaml"), *ROOT.glob("experiments/**/*.yaml")]
    assert {str(file): found for file in files if (found := complaints_of_its_schema(file))} == {}


def complaints_of_its_schema(file: Path) -> list[str]:
    found = re.search(
        r"^# yaml-language-server: \$schema=(\S+)$", file.read_text(encoding="utf-8"), re.M
    )
    assert found is not None
    named = (file.parent / found[1]).resolve()
    assert named.is_file()
    return complaints(named.stem, load(file))


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_the_schema_takes_every_setting_of_the_tables(group: str) -> None:
    for row in TABLES[group]:
        for settings in row.settings():
            assert complaints(group, settings) == []
            assert (
                complaints(
                    json_schema.EXPERIMENT_SCHEMA,
                    {"defaults": [{f"override /{group}": row.name}], group: settings},
                )
                == []
            )


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("optimizer", {"name": "adam", "lr": -1.0}),
        ("optimizer", {"name": "adam", "momentum": 0.9}),
        ("optimizer", {"name": "adan"}),
        ("optimizer", {"lr": 0.1}),
        ("dataset", {"name": "csv", "path": "data.csv"}),
        ("experiment", {"stepps": 3}),
        ("experiment", {"steps": -1}),
        ("experiment", {"steps": "many"}),
        ("experiment", {"dtype": "float16"}),
        ("experiment", {"record": {"often": 3}}),
        ("experiment", {"optimizer": {"learning_rate": 0.1}}),
        (
            "experiment",
            {"defaults": [{"override /optimizer": "adam"}], "optimizer": {"momentum": 0.9}},
        ),
        ("experiment", {"hydra": {"sweeper": {"sample": 0}}}),
        ("experiment", {"hydra": {"sweeper": {"parms": {}}}}),
        (
            "experiment",
            {
                "defaults": [{"override /hydra/sweeper": "linfit"}],
                "hydra": {"sweeper": {"n_trials": 3}},
            },
        ),
    ],
)
def test_the_schema_refuses_what_linfit_refuses(kind: str, content: Any) -> None:
    assert complaints(kind, content) != []


def test_the_schema_leaves_another_sweeper_its_keys() -> None:
    assert (
        complaints(
            json_schema.EXPERIMENT_SCHEMA,
            {
                "defaults": [{"override /hydra/sweeper": "optuna"}],
                "hydra": {"sweeper": {"n_trials": 3}},
            },
        )
        == []
    )


@pytest.mark.parametrize(
    "content",
    [
        {"name": None, "steps": "${oc.env:STEPS}", "optimizer": {"lr": "${a.b}"}},
        {
            "defaults": ["/linfit", {"override /optimizer": "sgd"}, "_self_"],
            "optimizer": {"momentum": 0.9},
        },
        {"optimizer": {"momentum": 0.9}, "dataset": {"path": "???"}},
    ],
)
def test_the_schema_takes_what_hydra_resolves_later(content: Any) -> None:
    assert complaints(json_schema.EXPERIMENT_SCHEMA, content) == []


# ---- what is written by hand ----


def test_links_lead_somewhere() -> None:
    assert {str(page): found for page in MARKDOWN if (found := dead_links(page))} == {}


#: The answer of the demo. On another processor other settings may be nothing but rounding.
ANSWER = re.compile(
    r"adam lr=[\d.]+ came nearest to the optimum: "
    r"median excess loss ≤ \S+ \(float32(; 5 seeds: up to \S+)?\)"
    r"(; [\w.= ]+ had no more than that)?; "
    r"\w+ lr=\S+ had (at least )?\S+ times that, (a gap within rounding"
    r"|which these seeds cannot tell apart)\. "
    r"\w+ lr=\S+ was the quickest: \d+(\.5)? steps to 1e-06 of the initial excess loss\."
)


@pytest.mark.slow
@pytest.mark.pictures
def test_readme_quotes_what_the_demo_answers(bare: Path) -> None:
    [quoted] = re.findall(r"^> (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)
    results = linfit.sweep(["optimizers", "tracking=none"])
    for answer in (quoted, results.comparison.summarize()):
        assert ANSWER.fullmatch(answer), answer


def dead_links(page: Path) -> list[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = [
        target.split("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in target and not target.startswith("#")
    ]
    return [target for target in targets if not (page.parent / target).exists()]


# ---- what is guarded ----


def test_every_sentence_about_security_names_its_test() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "tested by" not in line]
    named = [re.search(r"\| `(tests/[\w/]+\.py)::(test_\w+)` \|$", row) for row in rows]
    assert len(rows) > 30
    for row, found in zip(rows, named, strict=True):
        assert found is not None, row
        source = (ROOT / found[1]).read_text(encoding="utf-8")
        assert f"def {found[2]}(" in source, row
