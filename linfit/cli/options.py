"""Parts that several commands share: command classes, options, and completion of arguments."""

from __future__ import annotations

import re
from typing import Any

import click

from linfit.component import describe_unknown
from linfit.system.scratch import redirect_temporary_files
from linfit.system.signals import exit_code
from linfit.tracking.store.leftovers import remove_leftovers


class CommandGroup(click.Group):
    """A group of commands that suggests the nearest name for a typo."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(describe_unknown("command", args[0], list(self.commands)))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            remove_leftovers()
            with redirect_temporary_files():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:  # click would print an empty line
            raise click.exceptions.Exit(exit_code(stop)) from stop


class ComposingCommand(click.Command):
    """A command that parses its flags itself, those of linfit and those of Hydra.

    Click learns about them here, to complete them.
    """

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from linfit.sweeps.catalogue.completion import list_hydra_flags

        own = re.findall(r"\[(--[\w-]+)\]", self.options_metavar or "")
        hydra = list_hydra_flags() if self.name == "run" else ["--multirun"]
        return [CompletionItem(flag) for flag in (*own, *hydra) if flag.startswith(incomplete)]


def complete_arguments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete an experiment or an override."""
    from linfit.sweeps.catalogue.completion import suggest_completions

    return suggest_completions(list(ctx.params.get(str(param.name)) or ()), incomplete)


def complete_listed_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete a group or a component, for `linfit list`."""
    from linfit.sweeps.catalogue.catalogue import list_entries

    return [name for name in list_entries() if name.startswith(incomplete)]


composing_arguments = click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="", shell_complete=complete_arguments
)
run_argument = click.argument("reference", metavar="RUN", default="last")
sweep_argument = click.argument("reference", metavar="SWEEP", default="last")

artifacts_option = click.option(
    "--artifacts", metavar="PLACE", help="Where artifacts may be written, if not beside the store."
)
data_option = click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    help="A folder of data files that may be read.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="For a program to read.")
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the draw."
)
trust_option = click.option(
    "--trust", is_flag=True, help="Import the plug-ins that the stored config names."
)
uri_option = click.option(
    "--uri",
    help="MLflow tracking URI; default MLFLOW_TRACKING_URI, or sqlite:///outputs/mlflow.db.",
)
