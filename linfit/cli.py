"""The command line. Results go to stdout, progress and log to stderr; heavy imports happen in the command that needs them."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from linfit.component import unknown
from linfit.errors import LinfitError
from linfit.version import __version__

if TYPE_CHECKING:
    from linfit.tracking.store import Store

FAILED, WRONG, INTERRUPTED, TERMINATED = 1, 2, 130, 143


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a sweep as Ctrl-C does."""


class Commands(click.Group):
    """A group that offers the nearest name for a typo."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], list(self.commands)))
        return super().resolve_command(ctx, args)


def main() -> NoReturn:
    """The entry point: what the user can mend is one line on stderr and exit code 2."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        code = WRONG
    except click.ClickException as error:
        code = _complain(error.format_message())
    except LinfitError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        code = _complain(str(error))
    except click.Abort as abort:  # what click makes of a KeyboardInterrupt
        code = TERMINATED if isinstance(abort.__cause__, Terminated) else INTERRUPTED
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> int:
    print("linfit: " + " ".join(message.split()), file=sys.stderr)
    return WRONG


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="linfit")
def cli() -> None:
    """Runs, compares and reproduces gradient-descent fits of linear-in-parameter models.

    \b
    linfit run article/linear_adam                      one fit, recorded in MLflow
    linfit run optimizer=adam,sgd seed=0,1,2 -m         a sweep
    linfit ui                                           browse what was recorded

    Shell completion: eval "$(_LINFIT_COMPLETE=bash_source linfit)", likewise zsh_source; for fish,
    _LINFIT_COMPLETE=fish_source linfit | source.
    """


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from linfit.sweeps.completion import complete

    return complete(list(ctx.params.get(str(param.name)) or ()), incomplete)


@cli.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[EXPERIMENT] [KEY=VALUE …] [-m] [--json]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="", shell_complete=_complete)
def run(arguments: tuple[str, ...]) -> int:
    """Run a fit, or a sweep of fits. Every Hydra flag works: `linfit run --help` lists them, with what there is to choose."""
    from linfit.sweeps.app import execute
    from linfit.sweeps.runner import Runner
    from linfit.views.outcome import report
    from linfit.views.progress import ProgressBar

    as_json = "--json" in arguments
    runner = Runner(ProgressBar())
    try:
        execute([argument for argument in arguments if argument != "--json"], runner, configure_logging=True)
    except KeyboardInterrupt:
        kept = f"; {len(runner.done)} finished fits are kept, run {runner.killed} is KILLED in MLflow" if runner.killed else ""
        print(f"linfit: interrupted{kept}", file=sys.stderr)
        raise
    return FAILED if report(runner, as_json) else 0


@cli.command(context_settings={"ignore_unknown_options": True}, options_metavar="[EXPERIMENT] [KEY=VALUE …] [-m] [--json]")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="", shell_complete=_complete)
def plan(arguments: tuple[str, ...]) -> int:
    """Say what `linfit run` would do, and run nothing: fits, stacks, memory, time, and which learning rates are unstable."""
    from linfit.sweeps.plan import plan as plan_of
    from linfit.views.plan import show_plan

    planned = plan_of([argument for argument in arguments if argument != "--json"])
    return FAILED if show_plan(planned, "--json" in arguments) else 0


@cli.command("list")
@click.argument("what", required=False)
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def list_(what: str | None, as_json: bool) -> None:
    """List experiments and components, one line each, or a component's fields: GROUP or GROUP/NAME."""
    from linfit.views.lists import show_list

    show_list(what, as_json)


_uri = click.option("--uri", help="MLflow tracking URI; default MLFLOW_TRACKING_URI, or sqlite:///outputs/mlflow.db.")


@cli.command()
@click.argument("reference", metavar="RUN", default="last")
@_uri
@click.option("--all", "all_rows", is_flag=True, help="Every fit of a sweep, not the best hundred.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def show(reference: str, uri: str | None, all_rows: bool, as_json: bool) -> None:
    """Show a run or a sweep: an MLflow run id, the beginning of one, or `last`."""
    from linfit.views.show import show_run

    show_run(_store(uri), reference, all_rows, as_json)


@cli.command()
@click.argument("reference", metavar="SWEEP", default="last")
@_uri
@click.option("--sample", type=click.IntRange(min=1), default=20, show_default=True, help="How many fits, drawn at random.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the draw.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def verify(reference: str, uri: str | None, sample: int, seed: int, as_json: bool) -> int:
    """Refit some fits of a sweep, each alone, and in the other engine: alone the bits must agree.

    Exit code 0: all of them agree; 1: some differ; 2: some cannot be refitted.
    """
    from linfit.verification import verify as verification
    from linfit.views.verification import show_verification

    return show_verification(verification(_store(uri), reference, sample, seed), as_json)


@cli.command()
@_uri
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
def ui(uri: str | None, port: int) -> int:
    """Open the MLflow UI on what linfit wrote, on this machine only."""
    from linfit.views.ui import serve

    return serve(_store(uri), port)


def _store(uri: str | None) -> Store:
    from linfit.tracking.store import locate

    return locate(uri)
