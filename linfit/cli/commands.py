"""The command line. Results go to stdout, progress and log to stderr.

Expensive imports happen in the command that needs them.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from linfit.cli.options import (
    CommandGroup,
    ComposingCommand,
    artifacts_option,
    complete_listed_name,
    composing_arguments,
    json_option,
    trust_option,
)
from linfit.cli.store_commands import STORE_COMMANDS
from linfit.errors import LinfitError, escape_unprintable, shorten
from linfit.system.output import find_write_error, open_streams, print_to_stderr
from linfit.system.signals import exit_within_grace_period, install_signal_handlers
from linfit.system.version import __version__
from linfit.tracking.write.background import prestart

if TYPE_CHECKING:
    from collections.abc import Callable

    from linfit.sweeps.run.result import RunResult
    from linfit.sweeps.run.session import RunSession

#: Exit codes: a run failed; the input is wrong; Ctrl-C; SIGTERM.
EXIT_FAILED = 1
EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


def main() -> NoReturn:
    """Run a command. An error that the user can mend is one line on stderr, and exit code 2."""
    open_streams()
    install_signal_handlers()
    if "_LINFIT_COMPLETE" in os.environ:
        import linfit.sweeps.catalogue.shell_completion  # noqa: F401 - click finds there how bash is completed
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print_to_stderr(error.format_message())
        code = EXIT_WRONG_INPUT
    except click.ClickException as error:
        code = _print_error(error.format_message())
    except LinfitError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        code = _print_error(str(error))
    except click.Abort:  # a KeyboardInterrupt before the command began
        code = EXIT_INTERRUPTED

    # An interrupted process may be one that nobody reads from: flushing would wait for that again.
    if code not in (EXIT_INTERRUPTED, EXIT_TERMINATED):
        lost = find_write_error()
        if lost is not None:
            code = _print_error(f"stdout cannot be written: {lost.strerror or lost}") or code
    sys.exit(code if isinstance(code, int) else 0)


def _print_error(message: str) -> int:
    from linfit.tracking.secrets.masking import mask_error

    print_to_stderr(
        "linfit: " + escape_unprintable(shorten(mask_error(" ".join(message.split())), 4000))
    )
    return EXIT_WRONG_INPUT


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
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


@cli.command(
    "run",
    cls=ComposingCommand,
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    options_metavar=(
        "[EXPERIMENT] [KEY=VALUE …] [-m] [--skip-done] [--skip-unstable] [--all] [--json]"
    ),
)
@composing_arguments
def run_command(arguments: tuple[str, ...]) -> int:
    """Run a fit, or a sweep of fits. `linfit run --help` shows what there is to choose,
    `linfit run --hydra-help` every flag.

    --skip-done leaves out fits that the MLflow experiment has already, finished and by the same
    code; --skip-unstable those whose learning rate is above the largest stable one. --all prints
    every fit of a sweep, not the ten best alone.
    """
    prestart.prestart_process(arguments)
    from linfit.sweeps.run.hydra_app import execute
    from linfit.sweeps.run.options import RunOptions
    from linfit.sweeps.run.session import RunSession
    from linfit.views.terminal.progress import ProgressBar

    session = RunSession(ProgressBar())
    options = RunOptions("--skip-done" in arguments, "--skip-unstable" in arguments)
    own = _without(arguments, "--json", "--all", "--skip-done", "--skip-unstable")
    work = partial(execute, own, options, session, configure_logging=True)
    try:
        return _run_and_report(session, work, "--json" in arguments, "--all" in arguments)
    finally:
        prestart.discard_process()


def _without(arguments: tuple[str, ...], *flags: str) -> list[str]:
    return [argument for argument in arguments if argument not in flags]


def _run_and_report(
    session: RunSession, work: Callable[[], RunResult], as_json: bool, all_fits: bool = False
) -> int:
    """Do a session's work and report it; if it is interrupted, print how to resume."""
    from linfit.publication import compare_sweep, publish_artifacts, publish_description
    from linfit.views.report.artifacts import show_artifacts
    from linfit.views.terminal.outcome import (
        explain_missing_pictures,
        show_outcome,
        show_where_kept,
    )

    last_words: Callable[[], str] = session.describe_end
    with exit_within_grace_period(lambda: last_words()):
        try:
            result = work()
        except LinfitError as error:
            raise type(error)(f"{error}{session.describe_resumption()}") from error
        last_words = partial(explain_missing_pictures, result)
        compared = compare_sweep(result)
        failed = show_outcome(result, as_json, compared, all_fits)
        if compared is not None and sys.stderr.isatty():
            print_to_stderr("linfit: drawing pictures and the report; Ctrl-C leaves them out")
        made = publish_artifacts(result, compared)
        publish_description(result, made)
        show_artifacts(made.files, as_json)
    if find_write_error() is not None:
        show_where_kept(result)
    return EXIT_FAILED if failed else 0


@cli.command(
    "plan",
    cls=ComposingCommand,
    context_settings={"ignore_unknown_options": True},
    options_metavar="[EXPERIMENT] [KEY=VALUE …] [-m] [--skip-unstable] [--json]",
)
@composing_arguments
def plan_command(arguments: tuple[str, ...]) -> int:
    """Say what `linfit run` would do, and run nothing: fits, stacks, memory, time, what theory
    says, which learning rates are unstable.

    --skip-unstable leaves out fits as `linfit run` does, and shows which.
    """
    from linfit.sweeps.plan.plan import plan_run as plan_of
    from linfit.views.terminal.plan import show_plan

    own = _without(arguments, "--json", "--skip-unstable")
    planned = plan_of(own, "--skip-unstable" in arguments)
    return EXIT_FAILED if show_plan(planned, "--json" in arguments) else 0


@cli.command("resume")
@click.argument("reference", metavar="[SWEEP]", required=False)
@click.option(
    "--uri", help="MLflow tracking URI, instead of the one that the sweep was started with."
)
@artifacts_option
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
@json_option
def resume_command(reference: str | None, only_plan: bool, as_json: bool, **asked: Any) -> int:
    """Go on with a sweep that was interrupted: a run id, the beginning of one, `last`, or its
    folder; by itself the newest unfinished.

    It runs what its manifest has and MLflow has not, never what the YAML says now.
    """
    from linfit.sweeps.folder.planned import ResumeOptions
    from linfit.sweeps.resume.find import end_dead_runs, find_sweep_folder
    from linfit.sweeps.resume.resume import find_remaining_work, open_sweep_recorder
    from linfit.sweeps.resume.resume import resume_sweep as resume_sweep
    from linfit.sweeps.run.session import RunSession
    from linfit.views.terminal.progress import ProgressBar
    from linfit.views.terminal.resume import show_remaining

    wanted = ResumeOptions(**asked)
    path = find_sweep_folder(reference, wanted)
    if path is None:
        if not only_plan:
            end_dead_runs(wanted.uri)
        print_to_stderr(
            "linfit: no sweep in outputs/sweeps is unfinished: "
            "to look at another, name its folder or its run"
        )
        return 0
    if only_plan:
        show_remaining(
            find_remaining_work(path, open_sweep_recorder(path, wanted), wanted), as_json
        )
        return 0
    session = RunSession(ProgressBar())
    work = partial(resume_sweep, path, wanted, session)
    return _run_and_report(session, work, as_json)


@cli.command(
    "script",
    context_settings={"ignore_unknown_options": True},
    options_metavar="[RUN or EXPERIMENT] [KEY=VALUE …]",
)
@composing_arguments
@click.option(
    "--uri",
    help="MLflow tracking URI in which RUN is; "
    "default MLFLOW_TRACKING_URI, or sqlite:///outputs/mlflow.db.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False),
    help="A folder, beside the working one, whose data RUN may read.",
)
@trust_option
def script_command(
    arguments: tuple[str, ...], uri: str | None, data: str | None, trust: bool
) -> None:
    """Print the plain torch program, without linfit, that does a fit: the same operations, and so
    the same bits.

    RUN is a run id, the beginning of one, or `last`; otherwise arguments are as for `linfit run`.
    """
    from linfit.views.terminal.script import show_script

    show_script(arguments, uri, data, trust)


@cli.command("list")
@click.argument("what", required=False, shell_complete=complete_listed_name)
@json_option
@click.option(
    "--schema",
    is_flag=True,
    help="The JSON schema of an experiment's YAML, or with GROUP of its components', "
    "for an editor.",
)
def list_command(what: str | None, as_json: bool, schema: bool) -> None:
    """List experiments and components, one line each, or a component's fields: GROUP or
    GROUP/NAME.
    """
    from linfit.views.terminal.choices import show_choices, show_schema

    if schema:
        show_schema(what)
    else:
        show_choices(what, as_json)


for _command in STORE_COMMANDS:
    cli.add_command(_command)
