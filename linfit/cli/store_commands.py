"""Commands that read a store: what was recorded is shown, checked, repeated, or served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linfit.cli.options import (
    artifacts_option,
    data_option,
    json_option,
    run_argument,
    seed_option,
    sweep_argument,
    trust_option,
    uri_option,
)
from linfit.system.output import print_to_stderr

if TYPE_CHECKING:
    from linfit.tracking.store.store import Store


@click.command("show")
@run_argument
@uri_option
@click.option("--all", "all_rows", is_flag=True, help="Every fit of a sweep, not the best hundred.")
@json_option
def show_command(reference: str, uri: str | None, all_rows: bool, as_json: bool) -> None:
    """Show a run or a sweep: an MLflow run id, the beginning of one, or `last`."""
    from linfit.views.terminal.show import show_run

    show_run(_store(uri), reference, all_rows, as_json)


@click.command("verify")
@sweep_argument
@uri_option
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="How many fits, drawn at random.",
)
@seed_option
@data_option
@trust_option
@json_option
def verify_command(reference: str, uri: str | None, as_json: bool, **options: Any) -> int:
    """Refit some fits of a sweep, each alone, and in the other engine: alone the bits must agree.

    Exit code 0: all of them agree; 1: some differ; 2: some cannot be refitted.
    """
    from linfit.verification import verify_sweep
    from linfit.views.terminal.verification import show_verification

    return show_verification(verify_sweep(_store(uri), reference, **options), as_json)


@click.command("reproduce")
@run_argument
@uri_option
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="Of a sweep: how many fits, drawn at random; default 20.",
)
@seed_option
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
@data_option
@artifacts_option
@trust_option
@click.option("--exact", is_flag=True, help="Exit code 0 for identical bits only.")
@json_option
def reproduce_command(reference: str, as_json: bool, exact: bool, **options: Any) -> int:
    """Run a run again from what was stored of it, and say whether losses and weights have the same
    bits, and what changed since.

    RUN is a run id, the beginning of one, `last`, a config.json, or a folder below outputs/runs or
    outputs/sweeps.
    Exit code 0: identical, or equal within 1e-9 in float64, 1e-4 in float32; 1: differs; 2: it
    cannot be run again.
    """
    from linfit.reproduction import reproduce
    from linfit.views.terminal.reproduction import show_reproduction

    return show_reproduction(reproduce(reference, **options), as_json, exact)


@click.command("diff")
@click.argument("one", metavar="RUN")
@click.argument("other", metavar="RUN")
@uri_option
@trust_option
@json_option
def diff_command(one: str, other: str, uri: str | None, trust: bool, as_json: bool) -> int:
    """Show how two runs differ: config, code, environment, and the first step at which their curves
    part.

    Exit code 0: the same numbers, or within tolerance; 1: others; 2: one cannot be read.
    """
    from linfit.reproduction import compare_runs
    from linfit.views.terminal.reproduction import show_diff

    return show_diff(compare_runs(_store(uri), one, other, trust), as_json)


@click.command("model")
@run_argument
@uri_option
@data_option
@artifacts_option
@trust_option
@json_option
def model_command(reference: str, as_json: bool, **options: Any) -> None:
    """Log the MLflow model of a run, a fit of a sweep too, and print its address.

    A run that has one keeps it: a single run, and a sweep that of its best fit.
    """
    from linfit.publication import publish_model
    from linfit.views.terminal.store_changes import show_model

    made = publish_model(reference, **options)
    show_model(made.run_id, made.uri, made.place, made.is_new, as_json)


@click.command("predict")
@click.argument("reference", metavar="RUN", required=False)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path), required=False)
@uri_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The CSV or Parquet file to write; default CSV on stdout.",
)
@data_option
@trust_option
def predict_command(
    reference: str | None, file: Path | None, out: Path | None, **options: Any
) -> None:
    """Predict the rows of a CSV, Parquet or numpy file with a run, of a sweep with its best fit.

    FILE has the columns of the run's data, by name, but for the target. The column `held_out` says
    which rows the fit has not seen, where FILE is the very data of the run.
    """
    from linfit.predictions import (
        explain_missing_arguments,
        predict_file,
        require_writable,
        write_predictions,
    )

    if reference is None or file is None:
        raise click.UsageError(explain_missing_arguments(reference))
    require_writable(out, file)
    predictions = predict_file(reference, file, **options)
    write_predictions(predictions, out)
    if predictions.best_of:
        print_to_stderr(
            f"linfit: predicted by {predictions.fit_name}, run {predictions.run_id}, "
            f"the best fit of sweep {predictions.best_of}"
        )
    if predictions.num_missing:
        print_to_stderr(
            f"linfit: note: {predictions.num_missing:,} of {len(predictions):,} rows lack a cell, "
            "and have no prediction"
        )
    if out is not None:
        print(f"{len(predictions):,} predictions of run {predictions.run_id} in {out}")


@click.command("report")
@sweep_argument
@uri_option
@click.option(
    "--output",
    type=click.Path(dir_okay=False),
    help="Where the page goes; default report.html in the working directory.",
)
@click.option("--json", "as_json", is_flag=True, help="The leaderboard for a program to read.")
def report_command(reference: str, uri: str | None, output: str | None, as_json: bool) -> None:
    """Print a sweep's leaderboard over seeds and write a page about it: one HTML file that fetches
    nothing.
    """
    from linfit.views.terminal.report import show_report

    show_report(reference, uri, output, as_json)


@click.command("relocate")
@uri_option
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
@json_option
def relocate_command(
    uri: str | None, old: Path | None, new: Path | None, write: bool, as_json: bool
) -> None:
    """Rewrite the addresses in a store that was copied or moved, so that what is read and written
    lies beside it.

    They are those of experiments, runs, models and datasets below the folder in which the store lay
    before.
    """
    from linfit.tracking.relocation import relocate_store
    from linfit.views.terminal.store_changes import show_relocation

    store = _store(uri)
    show_relocation(store, relocate_store(store, old, new, write), as_json)


@click.command("ui")
@uri_option
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
    help="MLflow's own server: every page of this machine may use it, "
    "for all that the store names.",
)
def ui_command(
    uri: str | None, port: int, browser: bool | None, artifacts: tuple[str, ...], unguarded: bool
) -> int:
    """Open the MLflow UI on what linfit wrote, on this machine only, for its own pages only.

    It shows the artifacts that lie beside the store, starts no program and sends nothing.
    """
    from linfit.views.ui.server import has_browser, serve_ui

    if browser is None:
        browser = has_browser()
    return serve_ui(_store(uri), port, browser, artifacts, unguarded)


def _store(uri: str | None) -> Store:
    from linfit.tracking.store.store import resolve_store

    return resolve_store(uri)


STORE_COMMANDS = (
    show_command,
    verify_command,
    reproduce_command,
    diff_command,
    model_command,
    predict_command,
    report_command,
    relocate_command,
    ui_command,
)
