"""`linfit show`: a run or a sweep, as MLflow keeps it."""

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


def show_run(store: Store, reference: str, all_rows: bool, as_json: bool) -> None:
    """Prints the run that `reference` names; LinfitError if there is none."""
    record = Reader(store).find(reference)
    children = record.find_children() if record.kind == layout.SWEEP else []
    if as_json:
        more = {
            "schema": _schema(record),
            "curves": record.curves(),
            "theory": theory_for(record),
        }
        print_data(
            json.dumps(
                {**record.as_dict(), **more, "children": [child.as_dict() for child in children]}
            )
        )
        return
    _header(record)
    if (schema := _schema(record)) is not None:
        console().print(f"config schema  {escape(str(schema))}")
    if record.kind == layout.SWEEP:
        by = layout.compared_by(record.tags)
        console().print(leaderboard([Line.of_record(child, by) for child in children], all_rows))
    else:
        _fit(record)
    files = record.artifacts()
    if files:
        console().print(f"files          {escape(', '.join(files))}")


def _header(record: Record) -> None:
    out = console()
    status = record.tags.get(layout.STATUS, "")
    took = f", {(record.end - record.start) / 1000:.1f} s" if record.end else ""
    out.print(
        f"[bold]{escape(record.name)}[/]: {escape(record.kind or 'run')} {record.run_id}, {escape(record.status)} {escape(status)}"
    )
    if layout.REPRODUCES in record.tags:
        verdict = record.tags.get(layout.VERDICT)
        out.print(
            f"reproduces     {escape(record.tags[layout.REPRODUCES])}{f', {escape(verdict)}' if verdict else ''}"
        )
    out.print(f"experiment     {escape(record.experiment)}")
    out.print(f"began          {_when(record.start)}{took}")
    for note in record.tags.get(layout.NOTES, "").splitlines():
        out.print(f"note           {escape(note)}")


def _schema(record: Record) -> object:
    """Return the schema of the config under which a fit or a sweep was recorded, None if unknown."""
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
    curves = record.curves()
    if losses := curves.get(layout.LOSS):
        excess = dict(curves.get(layout.EXCESS, []))
        out.print(curve([(step, loss, excess.get(step)) for step, loss in losses], None))
        drawn = list(excess.items()) or losses
        for line in sketch(
            [step for step, _ in drawn],
            [value for _, value in drawn],
            out.encoding.startswith("utf"),
            out.width,
        ):
            out.print(escape(line))
        out.print(
            f"{'':>{MARGIN}} {'excess loss' if excess else 'loss'} over steps, both on logarithmic axes"
        )
    if record.weights:
        out.print(f"weights        {numbers(final_weights(record))}")
    if record.own_weights:
        out.print(f"in own terms   {numbers([number(weight) for weight in record.own_weights])}")
    for key in (
        "validation_loss",
        "distance_to_optimum",
        "distance_to_truth",
        "steps_to_tolerance",
        "diverged_at_step",
    ):
        if key in record.metrics:
            out.print(f"{key.replace('_', ' '):<20} {number(record.metrics[key])}")
    _theory(theory_for(record))
    for key, value in sorted(record.params.items()):
        out.print(f"  {escape(key)} = {escape(value)}")


def _theory(theory: Mapping[str, float]) -> None:
    out = console()
    if optimum := [value for key, value in theory.items() if key.startswith("optimum/")]:
        out.print(
            f"exact optimum  {numbers([number(weight) for weight in optimum])}  with loss {number(theory.get('minimal_loss'))}"
        )
    if theory:
        out.print(f"{'theory':<20} {in_words(theory)}")


def theory_for(record: Record) -> dict[str, float]:
    """What theory says of a run: as it was logged, or of a fit of a sweep, of which little is, from its config as far as that is to be had."""
    logged = {
        key.removeprefix(layout.THEORY): value
        for key, value in record.metrics.items()
        if key.startswith(layout.THEORY)
    }
    if (
        layout.sweep_of(record.tags) is None
        or record.tags.get(layout.STATUS) == Status.FAILED.value
    ):
        return logged
    from linfit.engine.prediction import theory_before
    from linfit.tracking.access import Permits
    from linfit.tracking.originals import from_run

    try:
        config = from_run(record, Permits()).originals[0].config
        return logged if config is None else theory_before(config).numbers()
    except Exception:  # data or plug-ins are gone, not to be opened, or raise what they like
        return logged
