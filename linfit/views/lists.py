"""`linfit list`: what there is to choose from."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict

from linfit.output import print_data
from linfit.sweeps import catalogue
from linfit.views.markup import escape
from linfit.views.tables import console, fitted

EXPERIMENTS = "experiments"


def show_list(what: str | None, as_json: bool) -> None:
    """Prints everything, one group, or one component; ConfigError for a name that is not there."""
    if what is not None and "/" in what and what.split("/", 1)[0] != EXPERIMENTS:
        group, name = what.split("/", 1)
        _component(group, name, as_json)
        return
    lists = {EXPERIMENTS: catalogue.experiments(), **catalogue.groups()}
    if what is not None:
        lists = {what: lists[what] if what in lists else dict.fromkeys(catalogue.choices(what), "")}
    if as_json:
        print_data(json.dumps(lists))
        return
    for group, names in lists.items():
        _names(group, names)


def show_schema(what: str | None) -> None:
    """Prints the JSON schema of an experiment's YAML, or of a group's component files, the user's own components included."""
    from linfit.sweeps import schema

    catalogue.groups()  # plug-ins are loaded with it
    print_data(
        json.dumps(
            schema.of_experiment() if what in (None, EXPERIMENTS) else schema.of_group(str(what)),
            indent=1,
            ensure_ascii=False,
        )
    )


def _names(group: str, names: dict[str, str]) -> None:
    table = fitted({"name": [f"  {name}" for name in names], "about": list(names.values())}, ())
    table.show_header = False
    out = console()
    out.print(f"[bold]{group}[/]")
    out.print(table)


def _component(group: str, name: str, as_json: bool) -> None:
    about, fields = catalogue.component(group, name)
    if as_json:
        print_data(
            json.dumps(
                {
                    "group": group,
                    "name": name,
                    "about": about,
                    "fields": [asdict(field) for field in fields],
                }
            )
        )
        return
    out = console()
    out.print(f"[bold]{group}={escape(name)}[/]")
    out.print(escape(inspect.cleandoc(about)))
    rows = [(f"{group}.{field.key}", field.value, field.allowed, field.about) for field in fields]
    if rows:
        out.print(
            fitted(
                dict(
                    zip(("key", "value", "allowed", "about"), zip(*rows, strict=True), strict=True)
                ),
                (),
            )
        )
