"""The output of `linfit list`: the components and experiments to choose from."""

from __future__ import annotations

import inspect
from dataclasses import asdict

from linfit.sweeps.catalogue import catalogue
from linfit.views.report.json_data import print_json
from linfit.views.terminal.tables import escape_markup, format_table, open_console

EXPERIMENTS_LIST = "experiments"


def show_choices(what: str | None, as_json: bool) -> None:
    """Print everything, one group, or one component.

    ConfigError for an unknown name.
    """
    if what is not None and "/" in what and not what.startswith(f"{EXPERIMENTS_LIST}/"):
        group, name = what.split("/", 1)
        _print_component(group, name, as_json)
        return

    lists = {EXPERIMENTS_LIST: catalogue.describe_experiments(), **catalogue.describe_groups()}
    if what is not None:
        names = lists[what] if what in lists else dict.fromkeys(catalogue.list_components(what), "")
        lists = {what: names}
    if as_json:
        print_json(lists)
        return
    for group, names in lists.items():
        _print_group(group, names)


def show_schema(what: str | None) -> None:
    """Print the JSON schema of an experiment's YAML, or of a group's component files.

    The user's own components are included.
    """
    from linfit.sweeps.catalogue import json_schema

    catalogue.describe_groups()  # loads the plug-ins
    is_group = what is not None and what != EXPERIMENTS_LIST
    found = (
        json_schema.build_group_schema(str(what))
        if is_group
        else json_schema.build_experiment_schema()
    )
    print_json(found, indent=1)


def _print_group(group: str, names: dict[str, str]) -> None:
    table = format_table(
        {"name": [f"  {name}" for name in names], "about": list(names.values())}, ()
    )
    table.show_header = False
    out = open_console()
    out.print(f"[bold]{group}[/]")
    out.print(table)


def _print_component(group: str, name: str, as_json: bool) -> None:
    about, fields = catalogue.read_component(group, name)
    if as_json:
        listed = [asdict(field) for field in fields]
        print_json({"group": group, "name": name, "about": about, "fields": listed})
        return

    out = open_console()
    out.print(f"[bold]{group}={escape_markup(name)}[/]")
    out.print(escape_markup(inspect.cleandoc(about)))
    if fields:
        columns = {
            "key": [f"{group}.{field.key}" for field in fields],
            "value": [field.value for field in fields],
            "allowed": [field.allowed for field in fields],
            "about": [field.about for field in fields],
        }
        out.print(format_table(columns, ()))
