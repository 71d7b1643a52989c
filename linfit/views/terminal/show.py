"""The output of `linfit show`: a recorded run or sweep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.measures import HELD_OUT_MEASURE_NAMES, MEASURE_NAMES
from linfit.tracking.read.reader import RunReader, StoredRun
from linfit.tracking.schema import mlflow_names
from linfit.tracking.store.store import Store
from linfit.views.report.json_data import print_json
from linfit.views.terminal.sketch import SKETCH_MARGIN, draw_sketch
from linfit.views.terminal.tables import (
    MOST_LISTED_FITS,
    FitLine,
    describe_theory,
    escape_markup,
    format_curve,
    format_fits,
    format_number,
    format_weights,
    open_console,
    read_final_weights,
)

#: Metrics of a fit that are printed each on a line.
_METRICS = (
    "validation_loss",
    *MEASURE_NAMES,
    *HELD_OUT_MEASURE_NAMES,
    "distance_to_optimum",
    "distance_to_truth",
    "steps_to_tolerance",
    "diverged_at_step",
)


def show_run(store: Store, reference: str, all_rows: bool, as_json: bool) -> None:
    """Print the run that `reference` names; LinfitError if there is none."""
    record = RunReader(store).find_run(reference)
    children = record.find_children() if record.kind == mlflow_names.SWEEP else []
    if as_json:
        found = {
            **record.as_dict(),
            "schema": _schema(record),
            "curves": record.read_curves(),
            "theory": find_theory(record),
            "children": [child.as_dict() for child in children],
        }
        print_json(found)
        return

    out = open_console()
    _header(record)
    if (schema := _schema(record)) is not None:
        out.print(f"config schema  {escape_markup(str(schema))}")
    if record.kind == mlflow_names.SWEEP:
        by = mlflow_names.read_ranking_loss(record.tags)
        lines = [FitLine.from_run(child, by) for child in children]
        out.print(format_fits(lines, None if all_rows else MOST_LISTED_FITS, by=by))
    else:
        _fit(record)
    files = record.list_artifacts()
    if files:
        out.print(f"files          {escape_markup(', '.join(files))}")
    if (address := record.find_model_address()) is not None:
        out.print(f"model          {escape_markup(address)}")


def _header(record: StoredRun) -> None:
    out = open_console()
    tags = record.tags
    run = f"{escape_markup(record.kind or 'run')} {record.run_id}"
    status = f"{escape_markup(record.status)} {escape_markup(tags.get(mlflow_names.STATUS, ''))}"
    out.print(f"[bold]{escape_markup(record.name)}[/]: {run}, {status}")
    if mlflow_names.REPRODUCES in tags:
        verdict = tags.get(mlflow_names.VERDICT)
        verdict = f", {escape_markup(verdict)}" if verdict else ""
        out.print(f"reproduces     {escape_markup(tags[mlflow_names.REPRODUCES])}{verdict}")
    out.print(f"experiment     {escape_markup(record.experiment)}")
    took = f", {(record.end - record.start) / 1000:.1f} s" if record.end else ""
    out.print(f"began          {_when(record.start)}{took}")
    for note in tags.get(mlflow_names.NOTES, "").splitlines():
        out.print(f"note           {escape_markup(note)}")


def _schema(record: StoredRun) -> object:
    """Return the schema of a fit's or a sweep's config, None if unknown."""
    if record.kind != mlflow_names.SWEEP:
        return record.read_schema()
    try:
        return record.provenance().get("schema")
    except LinfitError:
        return None


def _when(milliseconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000).astimezone():%Y-%m-%d %H:%M:%S %z}"
    except (ValueError, OverflowError, OSError):
        return f"at no time ({milliseconds} ms)"


def _fit(record: StoredRun) -> None:
    out = open_console()
    error = record.tags.get(mlflow_names.ERROR)
    if error:
        out.print(escape_markup(error))
    _curves(record)
    if record.weights:
        out.print(f"weights        {format_weights(read_final_weights(record))}")
    if record.own_weights:
        own = format_weights([format_number(weight) for weight in record.own_weights])
        out.print(f"in own terms   {own}")
    for key in _METRICS:
        if key in record.metrics:
            out.print(f"{key.replace('_', ' '):<20} {format_number(record.metrics[key])}")
    _theory(find_theory(record))
    for key, value in sorted(record.params.items()):
        out.print(f"  {escape_markup(key)} = {escape_markup(value)}")


def _curves(record: StoredRun) -> None:
    """Print a table of the losses, and a sketch of the excess loss if it is recorded."""
    curves = record.read_curves()
    losses = curves.get(mlflow_names.LOSS)
    if not losses:
        return

    out = open_console()
    excess = dict(curves.get(mlflow_names.EXCESS, []))
    out.print(format_curve([(step, loss, excess.get(step)) for step, loss in losses], None))
    drawn = excess or dict(losses)
    braille = out.encoding.startswith("utf")
    for line in draw_sketch(list(drawn), list(drawn.values()), braille, out.width):
        out.print(escape_markup(line))
    name = "excess loss" if excess else "loss"
    out.print(f"{'':>{SKETCH_MARGIN}} {name} over steps, both on logarithmic axes")


def _theory(theory: Mapping[str, float]) -> None:
    out = open_console()
    optimum = [format_number(value) for key, value in theory.items() if key.startswith("optimum/")]
    if optimum:
        loss = format_number(theory.get("minimal_loss"))
        out.print(f"exact optimum  {format_weights(optimum)}  with loss {loss}")
    if theory:
        out.print(f"{'theory':<20} {describe_theory(theory)}")


def find_theory(record: StoredRun) -> dict[str, float]:
    """Return the theory of a run.

    As it was logged, or computed for a fit of a sweep.

    Of a fit of a sweep little is logged: its config tells the rest, as far as it can be read.
    """
    logged = {}
    for key, value in record.metrics.items():
        if key.startswith(mlflow_names.THEORY):
            logged[key.removeprefix(mlflow_names.THEORY)] = value
    failed = record.tags.get(mlflow_names.STATUS) == Status.FAILED.value
    if failed or mlflow_names.read_sweep_id(record.tags) is None:
        return logged

    from linfit.engine.prediction.predict import predict_before_fit
    from linfit.tracking.read.access import ReadPolicy
    from linfit.tracking.read.original import read_run_source

    try:
        config = read_run_source(record, ReadPolicy()).originals[0].config
        if config is None or not config.has_answer():
            return logged
        return predict_before_fit(config).to_numbers()
    except Exception:  # data or plug-ins are gone, not to be opened, or raise what they like
        return logged
