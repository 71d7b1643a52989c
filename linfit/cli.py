"""The command line. Results go to stdout, progress and log to stderr; heavy imports happen in the command that needs them."""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from linfit.component import unknown
from linfit.errors import LinfitError, brief, printable
from linfit.interrupts import exit_code, listen, within_seconds
from linfit.output import open_streams, tell, unwritten
from linfit.scratch import temporary_files_in_scratch
from linfit.tracking import head_start
from linfit.tracking.leftovers import remove_leftovers
from linfit.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from linfit.sweeps.runner import Runner
    from linfit.tracking.store import Store

FAILED, WRONG, INTERRUPTED, TERMINATED = 1, 2, 130, 143


class Commands(click.Group):
    """A group that offers the nearest name for a typo."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(unknown("command", args[0], list(self.commands)))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            remove_leftovers()
            with temporary_files_in_scratch():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:  # click would print an empty line
            raise click.exceptions.Exit(exit_code(stop)) from stop


class Composing(click.Command):
    """A command whose flags are read behind click, its own and Hydra's: it tells click what they are when they are completed."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        from linfit.sweeps.completion import hydra_flags

        own = re.findall(r"\[(--[\w-]+)\]", self.options_metavar or "")
        flags = [*own, *(hydra_flags() if self.name == "run" else ["--multirun"])]
        return [CompletionItem(flag) for flag in flags if flag.startswith(incomplete)]


def main() -> NoReturn:
    """The entry point: what the user can mend is one line on stderr and exit code 2."""
    open_streams()
    listen()
    if "_LINFIT_COMPLETE" in os.environ:
        import linfit.shell  # noqa: F401 - click finds there how bash is completed
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        tell(error.format_message())
        code = WRONG
    except click.ClickException as error:
        code = _complain(error.format_message())
    except LinfitError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        code = _complain(str(error))
    except click.Abort:  # of a KeyboardInterrupt before the command began
        code = INTERRUPTED
    interrupted = code in (
        INTERRUPTED,
        TERMINATED,
    )  # perhaps because nobody reads: what is left to write would wait for that again
    if not interrupted and (lost := unwritten()) is not None:
        code = _complain(f"stdout cannot be written: {lost.strerror or lost}") or code
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> int:
    from linfit.tracking.masking import mask_error

    tell("linfit: " + printable(brief(mask_error(" ".join(message.split())), 4000)))
    return WRONG


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
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
    cls=Composing,
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    options_metavar="[EXPERIMENT] [KEY=VALUE …] [-m] [--skip-done] [--skip-unstable] [--json]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="", shell_complete=_complete)
def run(arguments: tuple[str, ...]) -> int:
    """Run a fit, or a sweep of fits. `linfit run --help` shows what there is to choose, `linfit run --hydra-help` every flag.

    --skip-done leaves out fits that the MLflow experiment has already, finished and by the same code; --skip-unstable
    those whose learning rate is above the largest stable one.
    """
    head_start.begin(arguments)
    from linfit.sweeps.app import execute
    from linfit.sweeps.runner import Runner
    from linfit.views.progress import ProgressBar

    runner = Runner(
        ProgressBar(),
        skip_done="--skip-done" in arguments,
        skip_unstable="--skip-unstable" in arguments,
    )
    own = [
        argument
        for argument in arguments
        if argument not in ("--json", "--skip-done", "--skip-unstable")
    ]
    try:
        return _run(
            runner, lambda: execute(own, runner, configure_logging=True), "--json" in arguments
        )
    finally:
        head_start.dismiss()


def _run(runner: Runner, work: Callable[[], object], as_json: bool) -> int:
    """Does the work of a runner, says how to go on where it was broken off, and reports."""
    from linfit.publication import publish_artifacts, publish_description
    from linfit.views.illustration import show_made
    from linfit.views.outcome import finished, show_outcome, show_where_kept

    def go_on() -> str:
        return f"; go on with: {command}" if (command := runner.command()) else ""

    def broken_off() -> str:
        fits = f"{len(runner.done)} finished fits are kept, " if runner.folder is not None else ""
        kept = f"; {fits}run {runner.killed} is KILLED in MLflow" if runner.killed else ""
        return kept + go_on()

    last_words = broken_off
    with within_seconds(lambda: last_words()):
        try:
            work()
        except LinfitError as error:
            raise type(error)(f"{error}{go_on()}") from error
        last_words = partial(finished, runner)
        failed = show_outcome(runner, as_json)
        made = publish_artifacts(runner)
        publish_description(runner, made)
        show_made(made.files, as_json)
    if unwritten() is not None:
        show_where_kept(runner)
    return FAILED if failed else 0


@cli.command(
    cls=Composing,
    context_settings={"ignore_unknown_options": True},
    options_metavar="[EXPERIMENT] [KEY=VALUE …] [-m] [--skip-unstable] [--json]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="", shell_complete=_complete)
def plan(arguments: tuple[str, ...]) -> int:
    """Say what `linfit run` would do, and run nothing: fits, stacks, memory, time, what theory says, which learning rates are unstable.

    --skip-unstable leaves out fits as `linfit run` does, and shows which.
    """
    from linfit.sweeps.plan import plan as plan_of
    from linfit.views.plan import show_plan

    own = [argument for argument in arguments if argument not in ("--json", "--skip-unstable")]
    planned = plan_of(own, "--skip-unstable" in arguments)
    return FAILED if show_plan(planned, "--json" in arguments) else 0


_artifacts = click.option(
    "--artifacts", metavar="PLACE", help="Where artifacts may be written, if not beside the store."
)


@cli.command()
@click.argument("reference", metavar="[SWEEP]", required=False)
@click.option(
    "--uri", help="MLflow tracking URI, instead of the one that the sweep was started with."
)
@_artifacts
@click.option("--plan", "only_plan", is_flag=True, help="Say what is left, and run nothing.")
@click.option(
    "--retry-failed",
    is_flag=True,
    help="Run failed fits again; the new run names the failed one in linfit.retries.",
)
@click.option(
    "--allow-changes",
    is_flag=True,
    help="Go on although code, data or environment are not as they were.",
)
@click.option("--trust", is_flag=True, help="Import the plug-ins that the sweep's manifest names.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes of this machine; default as the sweep was started.",
)
@click.option(
    "--backend",
    type=click.Choice(["loky", "dask", "ray"]),
    help="Where it goes on; default as the sweep was started.",
)
@click.option(
    "--address", help="Of the dask scheduler or ray cluster; default as the sweep was started."
)
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def resume(reference: str | None, only_plan: bool, as_json: bool, **asked: Any) -> int:
    """Go on with a sweep that was interrupted: a run id, the beginning of one, `last`, or its folder; by itself the newest unfinished.

    It runs what its manifest has and MLflow has not, never what the YAML says now.
    """
    from linfit.sweeps.finding import end_dead, find
    from linfit.sweeps.planned import Asked
    from linfit.sweeps.resuming import look, opened, resume
    from linfit.sweeps.runner import Runner
    from linfit.views.progress import ProgressBar
    from linfit.views.resume import show_left

    wanted = Asked(**asked)
    path = find(reference, wanted)
    if path is None:
        if not only_plan:
            end_dead(wanted.uri)
        tell(
            "linfit: no sweep in outputs/sweeps is unfinished: to look at another, name its folder or its run"
        )
        return 0
    if only_plan:
        show_left(look(path, opened(path, wanted), wanted), as_json)
        return 0
    runner = Runner(ProgressBar())
    return _run(runner, lambda: resume(path, runner, wanted), as_json)


_trust = click.option(
    "--trust", is_flag=True, help="Import the plug-ins that the stored config names."
)


@cli.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[RUN or EXPERIMENT] [KEY=VALUE …]",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="", shell_complete=_complete)
@click.option(
    "--uri",
    help="MLflow tracking URI in which RUN is; default MLFLOW_TRACKING_URI, or sqlite:///outputs/mlflow.db.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    help="A folder, beside the working one, whose data RUN may read.",
)
@_trust
def script(arguments: tuple[str, ...], uri: str | None, data: str | None, trust: bool) -> None:
    """Print the plain torch program, without linfit, that does a fit: the same operations, and so the same bits.

    RUN is a run id, the beginning of one, or `last`; otherwise arguments are as for `linfit run`.
    """
    from linfit.views.script import show_script

    show_script(arguments, uri, data, trust)


def _complete_what(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from linfit.sweeps.catalogue import names

    return [name for name in names() if name.startswith(incomplete)]


@cli.command("list")
@click.argument("what", required=False, shell_complete=_complete_what)
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
@click.option(
    "--schema",
    is_flag=True,
    help="The JSON schema of an experiment's YAML, or with GROUP of its components', for an editor.",
)
def list_(what: str | None, as_json: bool, schema: bool) -> None:
    """List experiments and components, one line each, or a component's fields: GROUP or GROUP/NAME."""
    from linfit.views.lists import show_list, show_schema

    show_schema(what) if schema else show_list(what, as_json)


_uri = click.option(
    "--uri",
    help="MLflow tracking URI; default MLFLOW_TRACKING_URI, or sqlite:///outputs/mlflow.db.",
)


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
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many fits, drawn at random.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the draw."
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    help="A folder of data files that may be read.",
)
@_trust
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def verify(
    reference: str,
    uri: str | None,
    sample: int,
    seed: int,
    data: str | None,
    trust: bool,
    as_json: bool,
) -> int:
    """Refit some fits of a sweep, each alone, and in the other engine: alone the bits must agree.

    Exit code 0: all of them agree; 1: some differ; 2: some cannot be refitted.
    """
    from linfit.verification import verify as verification
    from linfit.views.verification import show_verification

    return show_verification(
        verification(_store(uri), reference, sample, seed, trust, data), as_json
    )


@cli.command()
@click.argument("reference", metavar="RUN", default="last")
@_uri
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="Of a sweep: how many fits, drawn at random; default 20.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the draw."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that a sample runs in.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change this on purpose; tracking=none records nothing.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    help="A folder of data files that may be read.",
)
@_artifacts
@_trust
@click.option("--exact", is_flag=True, help="Exit code 0 for identical bits only.")
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def reproduce(reference: str, as_json: bool, exact: bool, **options: Any) -> int:
    """Run a run again from what was stored of it, and say whether losses and weights have the same bits, and what changed since.

    RUN is a run id, the beginning of one, `last`, a config.json, or a folder below outputs/runs or outputs/sweeps.
    Exit code 0: identical, or equal within 1e-9 in float64, 1e-4 in float32; 1: differs; 2: it cannot be run again.
    """
    from linfit.reproduction import reproduce as reproduction
    from linfit.views.reproduction import show_reproduction

    return show_reproduction(reproduction(reference, **options), as_json, exact)


@cli.command()
@click.argument("one", metavar="RUN")
@click.argument("other", metavar="RUN")
@_uri
@_trust
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def diff(one: str, other: str, uri: str | None, trust: bool, as_json: bool) -> int:
    """Show how two runs differ: config, code, environment, and the first step at which their curves part.

    Exit code 0: the same numbers, or within tolerance; 1: others; 2: one cannot be read.
    """
    from linfit.reproduction import compare
    from linfit.views.reproduction import show_diff

    return show_diff(compare(_store(uri), one, other, trust), as_json)


@cli.command()
@click.argument("reference", metavar="SWEEP", default="last")
@_uri
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="Where the page goes; default report.html in the working directory.",
)
@click.option("--json", "as_json", is_flag=True, help="The leaderboard for a program to read.")
def report(reference: str, uri: str | None, output: str | None, as_json: bool) -> None:
    """Print a sweep's leaderboard over seeds and write a page about it: one HTML file that fetches nothing."""
    from linfit.views.report import show_report

    show_report(reference, uri, output, as_json)


@cli.command()
@_uri
@click.option(
    "--from",
    "old",
    type=click.Path(path_type=Path),
    help="The recorded folder; by itself that in which the store lay before.",
)
@click.option(
    "--to",
    "new",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where it is now; default the store's folder.",
)
@click.option(
    "--yes", "write", is_flag=True, help="Rewrite; without it, only say what would be rewritten."
)
@click.option("--json", "as_json", is_flag=True, help="For a program to read.")
def relocate(
    uri: str | None, old: Path | None, new: Path | None, write: bool, as_json: bool
) -> None:
    """Rewrite the addresses in a store that was copied or moved, so that what is read and written lies beside it.

    They are those of experiments, runs, models and datasets below the folder in which the store lay before.
    """
    from linfit.tracking.relocation import relocate as relocation
    from linfit.views.relocation import show_relocation

    store = _store(uri)
    show_relocation(store, relocation(store, old, new, write), as_json)


@cli.command()
@_uri
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option(
    "--browser/--no-browser",
    default=None,
    help="Open the newest run's experiment; by default where there is a screen.",
)
@click.option(
    "--artifacts",
    metavar="PLACE",
    multiple=True,
    help="Also show artifacts below this folder or URL; may be repeated.",
)
@click.option(
    "--unguarded",
    is_flag=True,
    help="MLflow's own server: every page of this machine may use it, for all that the store names.",
)
def ui(
    uri: str | None, port: int, browser: bool | None, artifacts: tuple[str, ...], unguarded: bool
) -> int:
    """Open the MLflow UI on what linfit wrote, on this machine only, for its own pages only.

    It shows the artifacts that lie beside the store, starts no program and sends nothing.
    """
    from linfit.views.ui import has_browser, serve

    return serve(
        _store(uri), port, has_browser() if browser is None else browser, artifacts, unguarded
    )


def _store(uri: str | None) -> Store:
    from linfit.tracking.store import locate

    return locate(uri)
