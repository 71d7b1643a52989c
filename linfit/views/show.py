"""`linfit show`: a run or a sweep, as MLflow keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime

from rich.markup import escape

from linfit.tracking import layout
from linfit.tracking.reading import Reader, Record
from linfit.tracking.store import Store
from linfit.views.tables import Line, console, curve, final_weights, leaderboard, number, numbers


def show_run(store: Store, reference: str, all_rows: bool, as_json: bool) -> None:
    """Prints the run that `reference` names; LinfitError if there is none."""
    reader = Reader(store)
    record = reader.find(reference)
    children = reader.children(record) if record.kind == layout.SWEEP else []
    if as_json:
        print(json.dumps({**asdict(record), "curves": reader.curves(record), "children": [asdict(child) for child in children]}))
        return
    _header(record)
    if record.kind == layout.SWEEP:
        console().print(leaderboard([Line.of_record(child) for child in children], all_rows))
    else:
        _fit(reader, record)
    files = reader.artifacts(record)
    if files:
        console().print(f"files          {escape(', '.join(files))}")


def _header(record: Record) -> None:
    out = console()
    status = record.tags.get(layout.STATUS, "")
    began = datetime.fromtimestamp(record.start / 1000).astimezone()
    took = f", {(record.end - record.start) / 1000:.1f} s" if record.end else ""
    out.print(f"[bold]{escape(record.name)}[/]: {record.kind or 'run'} {record.run_id}, {record.status} {escape(status)}")
    out.print(f"experiment     {escape(record.experiment)}")
    out.print(f"began          {began:%Y-%m-%d %H:%M:%S %z}{took}")


def _fit(reader: Reader, record: Record) -> None:
    out = console()
    error = record.tags.get(layout.ERROR)
    if error:
        out.print(escape(error))
    curves = reader.curves(record)
    if losses := curves.get(layout.LOSS):
        excess = dict(curves.get(layout.EXCESS, []))
        out.print(curve([(step, loss, excess.get(step)) for step, loss in losses], None))
    if record.weights:
        out.print(f"weights        {numbers(final_weights(record))}")
    for key in ("distance_to_optimum", "distance_to_truth", "steps_to_tolerance", "diverged_at_step"):
        if key in record.metrics:
            out.print(f"{key.replace('_', ' '):<20} {number(record.metrics[key])}")
    for key, value in sorted(record.params.items()):
        out.print(f"  {escape(key)} = {escape(value)}")
