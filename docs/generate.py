"""Write the documentation that follows from the code: `make docs`.

A test fails when it is no longer current. The reference pages come from the components' docstrings
and YAML, the command line's own help and the public functions' docstrings; the JSON schemas from
the components' types; and the YAML files' lines that point at the schemas.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Sequence
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import click

import linfit
from linfit.component import Component
from linfit.config import GROUPS
from linfit.method.optimizers import Optimizer
from linfit.sweeps.catalogue import catalogue, json_schema
from linfit.sweeps.config_files import search_path
from linfit.sweeps.search_space import sweeper

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
SCHEMAS = ROOT / "schema"
MODELINE = "# yaml-language-server: $schema="
PACKAGE_HEADER = "# @package"
WIDTH: dict[str, Any] = {"terminal_width": 100, "max_content_width": 100}
MEMBERS = (FunctionType, property, cached_property)
WRITTEN = "<!-- written by `make docs`: change the docstrings and the YAML instead -->"


def generated() -> dict[Path, str]:
    """Every generated file with its text."""
    pages = {
        "README": contents(),
        "config": config_page(),
        "commands": commands_page(),
        "python": python_page(),
    }
    pages |= {group: group_page(group) for group in GROUPS}
    files = {
        REFERENCE / f"{name}.md": f"{WRITTEN}\n\n{text.strip()}\n" for name, text in pages.items()
    }
    schemas = {
        json_schema.EXPERIMENT_SCHEMA: json_schema.build_experiment_schema(),
        **{group: json_schema.build_group_schema(group) for group in GROUPS},
    }
    files |= {
        SCHEMAS / f"{name}.json": json.dumps(text, indent=1, ensure_ascii=False) + "\n"
        for name, text in schemas.items()
    }
    return {**files, **{file: with_modeline(file) for file in yaml_files()}}


def yaml_files() -> list[Path]:
    """The YAML files that linfit ships."""
    return sorted([*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "experiments").rglob("*.yaml")])


def with_modeline(file: Path) -> str:
    """Return the file's text with the line by which an editor finds its schema.

    The line is the first, or the second after a header that Hydra reads: Hydra stops looking for
    `# @package` at the first line that is no header of its own.
    """
    kind = file.parent.name if file.parent.name in GROUPS else json_schema.EXPERIMENT_SCHEMA
    modeline = MODELINE + os.path.relpath(SCHEMAS / f"{kind}.json", file.parent).replace(
        os.sep, "/"
    )
    lines = [
        line
        for line in file.read_text(encoding="utf-8").splitlines()
        if not line.startswith(MODELINE)
    ]
    first = 1 if lines and lines[0].startswith(PACKAGE_HEADER) else 0
    return "\n".join([*lines[:first], modeline, *lines[first:]]) + "\n"


def contents() -> str:
    groups = "\n".join(
        f"- [{group}]({group}.md): {catalogue.summarize_component(base)}"
        for group, base in GROUPS.items()
    )
    return f"""# Reference

- [config](config.md): every key of a fit's config
- [commands](commands.md): the command line
- [python](python.md): the public functions

What there is to choose from, by config group:

{groups}
"""


def config_page() -> str:
    top = catalogue.read_settings(
        search_path.shipped_folder(search_path.CONF) / f"{search_path.TOP_CONFIG}.yaml"
    )
    rows = [
        (f"`{key}`", code(value), about)
        for key, value, about in top
        if about and not key.startswith("hydra")
    ]
    return f"""# Config

The keys beside the groups, as `conf/linfit.yaml` sets them. \
An experiment is a YAML file that changes some of them; on the
command line each is an override, `steps=100`, `record.every=10`.

{table(("key", "value", "meaning"), rows)}

The groups: {", ".join(f"[{group}]({group}.md)" for group in GROUPS)}.

`optimizer=adam` chooses a component of a group,
`optimizer.lr=0.1` sets one of its fields.

## `hydra.sweeper`

{prose(sweeper.__doc__)}
"""


def group_page(group: str) -> str:
    base = GROUPS[group]
    parts = "\n\n".join(component_section(group, name) for name in catalogue.list_components(group))
    return (
        f"# {group}\n\n{prose(base.__doc__)}\n\n"
        f"`{group}=NAME` chooses one, `{group}.KEY=VALUE` sets a field of it.\n\n{parts}\n"
    )


def component_section(group: str, name: str) -> str:
    documentation, fields = catalogue.read_component(group, name)
    rows = [
        (f"`{group}.{field.key}`", code(field.value), field.allowed, field.about)
        for field in fields
    ]
    known = GROUPS[group].choices[name]
    shown = table(("key", "value", "allowed", "meaning"), rows) if rows else "No fields."
    return "\n\n".join([f"## `{group}={name}`", prose(documentation), shown, *stable_lr(known)])


def stable_lr(component: type[Component]) -> Iterator[str]:
    """What an optimizer says of its largest stable learning rate."""
    if issubclass(component, Optimizer) and component.has_stable_lr():
        text = prose(component.largest_stable_lr.__doc__ or "")
        yield f"Largest stable `lr`: {text.removeprefix('Return ')}"


def commands_page() -> str:
    from linfit.cli import cli

    above = click.Context(cli, info_name="linfit", **{**cli.context_settings, **WIDTH})
    parts = ["# Commands", usage(above)]
    for name, command in cli.commands.items():
        settings = {**command.context_settings, **WIDTH}
        parts += [
            f"## `linfit {name}`",
            usage(click.Context(command, parent=above, info_name=name, **settings)),
        ]
    return "\n\n".join(parts)


def usage(context: click.Context) -> str:
    context.command._help_option = (
        None  # click keeps the one that was asked for first, whatever its names were there
    )
    return f"```text\n{context.get_help()}\n```"


def python_page() -> str:
    parts = ["# Python", prose(linfit.__doc__)]
    for name in sorted(linfit._PUBLIC):
        public = getattr(linfit, name)
        signature = f"{name}{inspect.signature(public)}" if inspect.isfunction(public) else name
        parts += [f"## `linfit.{signature}`", prose(public.__doc__), *members(public)]
    return "\n\n".join(parts)


def members(public: Any) -> list[str]:
    """A class's documented properties and methods, or an enumeration's values, one line each."""
    if not inspect.isclass(public):
        return []
    if issubclass(public, Enum):
        return ["\n".join(f"- `{member.value}`" for member in public)]
    own = {
        name: value
        for name, value in vars(public).items()
        if not name.startswith("_") and isinstance(value, MEMBERS)
    }
    return [
        "\n".join(
            f"- `{name}`: {headline(inspect.getdoc(value))}"
            for name, value in own.items()
            if value.__doc__
        )
    ]


def headline(documentation: str | None) -> str:
    return " ".join((documentation or "").split("\n\n")[0].split())


def prose(documentation: str | None) -> str:
    """A docstring as Markdown: its examples and its indented lines are code."""
    blocks = inspect.cleandoc(documentation or "").split("\n\n")
    return "\n\n".join(
        fence(block) if block.startswith((">>>", "    ")) else block for block in blocks
    )


def fence(block: str) -> str:
    lines = [line.split("  # doctest:")[0] for line in block.splitlines()]
    return "```{}\n{}\n```".format(
        "python" if block.startswith(">>>") else "yaml", inspect.cleandoc("\n" + "\n".join(lines))
    )


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines
    )


def code(value: str) -> str:
    return f"`{value}`" if value else ""


def main() -> None:
    files = generated()
    for stale in {*REFERENCE.glob("*.md"), *SCHEMAS.glob("*.json")} - set(files):
        stale.unlink()
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
