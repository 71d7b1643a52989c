"""The output of `linfit show`: a recorded run or sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.output import print_data
from linfit.tracking import layout
from linfit.tracking.reading import Reader, Record
from linfit.tracking.store import Store
from linfit.views.markup import escape
from linfit.views.sketch import MARGIN, sketch
from linfit.views.tables import (
    Line,
    console,
    curve,
    final_weights,
    in_words,
    leaderboard,
    number,
    numbers,
)

#: Metrics of a fit that are printed each on a line.
_METRICS = (
    "validation_loss",
    "distance_to_optimum",
    "distance_to_truth",
    "steps_to_tolerance",
    "diverged_at_step",
)


def show_run(store: Store, reference: str, all_rows: bool, as_json: bool) -> None:
    """Print the run that `reference` names; LinfitError if there is none."""
    record = Reader(store).find(reference)
    children = record.find_children() if record.kind == layout.SWEEP else []
    if as_json:
        found = {
            **record.as_dict(),
            "schema": _schema(record),
            "curves": record.curves(),
            "theory": theory_for(record),
            "children": [child.as_dict() for child in children],
        }
        print_data(json.dumps(found))
        return

    out = console()
    _header(record)
    if (schema := _schema(record)) is not None:
        out.print(f"config schema  {escape(str(schema))}")
    if record.kind == layout.SWEEP:
        by = layout.compared_by(record.tags)
        out.print(leaderboard([Line.of_record(child, by) for child in children], all_rows))
    else:
        _fit(record)
    files = record.artifacts()
    if files:
        out.print(f"files          {escape(', '.join(files))}")


def _header(record: Record) -> None:
    out, tags = console(), record.tags
    run = f"{escape(record.kind or 'run')} {record.run_id}"
    status = f"{escape(record.status)} {escape(tags.get(layout.STATUS, ''))}"
    out.print(f"[bold]{escape(record.name)}[/]: {run}, {status}")
    if layout.REPRODUCES in tags:
        verdict = tags.get(layout.VERDICT)
        verdict = f", {escape(verdict)}" if verdict else ""
        out.print(f"reproduces     {escape(tags[layout.REPRODUCES])}{verdict}")
    out.print(f"experiment     {escape(record.experiment)}")
    took = f", {(record.end - record.start) / 1000:.1f} s" if record.end else ""
    out.print(f"began          {_when(record.start)}{took}")
    for note in tags.get(layout.NOTES, "").splitlines():
        out.print(f"note           {escape(note)}")


def _schema(record: Record) -> object:
    """Return the schema of a fit's or a sweep's config, None if unknown."""
    if record.kind != layout.SWEEP:
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


def _fit(record: Record) -> None:
    out = console()
    error = record.tags.get(layout.ERROR)
    if error:
        out.print(escape(error))
    _curves(record)
    if record.weights:
        out.print(f"weights        {numbers(final_weights(record))}")
    if record.own_weights:
        own = numbers([number(weight) for weight in record.own_weights])
        out.print(f"in own terms   {own}")
    for key in _METRICS:
        if key in record.metrics:
            out.print(f"{key.replace('_', ' '):<20} {number(record.metrics[key])}")
    _theory(theory_for(record))
    for key, value in sorted(record.params.items()):
        out.print(f"  {escape(key)} = {escape(value)}")


def _curves(record: Record) -> None:
    """Print a table of the losses, and a sketch of the excess loss if it is recorded."""
    curves = record.curves()
    losses = curves.get(layout.LOSS)
    if not losses:
        return

    out = console()
    excess = dict(curves.get(layout.EXCESS, []))
    out.print(curve([(step, loss, excess.get(step)) for step, loss in losses], None))
    drawn = excess or dict(losses)
    braille = out.encoding.startswith("utf")
    for line in sketch(list(drawn), list(drawn.values()), braille, out.width):
        out.print(escape(line))
    name = "excess loss" if excess else "loss"
    out.print(f"{'':>{MARGIN}} {name} over steps, both on logarithmic axes")


def _theory(theory: Mapping[str, float]) -> None:
    out = console()
    optimum = [number(value) for key, value in theory.items() if key.startswith("optimum/")]
    if optimum:
        loss = number(theory.get("minimal_loss"))
        out.print(f"exact optimum  {numbers(optimum)}  with loss {loss}")
    if theory:
        out.print(f"{'theory':<20} {in_words(theory)}")


def theory_for(record: Record) -> dict[str, float]:
    """Return the theory of a run.

    As it was logged, or computed for a fit of a sweep.

    Of a fit of a sweep little is logged: its config tells the rest, as far as it can be read.
    """
    logged = {}
    for key, value in record.metrics.items():
        if key.startswith(layout.THEORY):
            logged[key.removeprefix(layout.THEORY)] = value
    failed = record.tags.get(layout.STATUS) == Status.FAILED.value
    if failed or layout.sweep_of(record.tags) is None:
        return logged

    from linfit.engine.prediction import theory_before
    from linfit.tracking.access import Permits
    from linfit.tracking.originals import from_run

    try:
        config = from_run(record, Permits()).originals[0].config
        return logged if config is None else theory_before(config).numbers()
    except Exception:  # data or plug-ins are gone, not to be opened, or raise what they like
        return logged
