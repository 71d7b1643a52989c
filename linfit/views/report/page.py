"""`report.html`: a sweep as one file that fetches nothing. Text from users is escaped.

Without a script the page shows its pictures as SVG, and the first of the fits. It holds Plotly's
script compressed, which the browser unpacks when the text is shown: charts to be pointed at then
cover the pictures, which are printed. Plotly's bundle is that of cartesian charts, which a browser
reads in a third of the time of the whole.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from linfit.engine.fit import Status
from linfit.errors import count_things
from linfit.problem.datasets.tabular_file import SHIPPED_PREFIX
from linfit.system.host import quote_word
from linfit.tracking.provenance.environment import read_machine_tag
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import describe_objective
from linfit.tracking.store.store import format_store_command
from linfit.views.analysis.compare import find_best_fits, measure_losses
from linfit.views.analysis.comparison import Comparison, shorten_lines
from linfit.views.analysis.rounding_floor import format_bound, format_rounded
from linfit.views.analysis.sweep_data import FINISHED_STATUSES, SweepData
from linfit.views.charts.chart import Chart
from linfit.views.charts.drawing.plotly_charts import convert_to_plotly
from linfit.views.report.attempts import try_to_make
from linfit.views.report.column_terms import (
    LEADERBOARD_WORDS,
    explain_fit_columns,
    explain_leaderboard,
)
from linfit.views.report.failures import explain_failure, group_failures
from linfit.views.report.fit_table import collect_fit_table
from linfit.views.report.leaderboard import format_leaderboard

PAGE_ASSETS = Path(__file__).parents[1] / "pages"
PLOTLY_BUNDLE = "plotly-cartesian.min.js.gz"
#: Fits without a result that are explained; the table of all fits has all.
MOST_FAILURES = 100


@dataclass(frozen=True)
class Picture:
    """A chart as the page shows it."""

    title: str
    note: str
    still: str
    """The address of its picture, empty if it could not be drawn."""
    plot: dict[str, Any] | None
    """Plotly's traces and layout, None if they could not be made."""


def render_page(
    swept: SweepData,
    comparison: Comparison,
    charts: Sequence[Chart],
    question: str = "",
    stills: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the whole page as text; `stills` are the pictures' addresses by name."""
    environment = Environment(
        loader=FileSystemLoader(PAGE_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    pictures = [prepare_picture(chart, stills) for chart in charts]
    board = format_leaderboard(comparison)
    table = collect_fit_table(swept, comparison.measure)
    lost = np.flatnonzero(~swept.results["status"].isin(FINISHED_STATUSES).to_numpy()).tolist()
    return environment.get_template("report.html").render(
        name=swept.name,
        experiment=swept.experiment,
        run_id=swept.run_id,
        num_fits=len(swept.results),
        question=question,
        answer=comparison.summarize(),
        counts=describe_counts(swept),
        varies=", ".join(swept.varying),
        when=_when(swept.start),
        note=comparison.note,
        trust=comparison.twins_note,
        board=board,
        board_terms=explain_leaderboard(comparison, board.titles),
        board_numbers=[title for title in board.titles if title not in LEADERBOARD_WORDS],
        best=describe_best_fits(swept, comparison),
        robust=shorten_lines(comparison.most_robust),
        charts=pictures,
        table=table,
        table_terms=explain_fit_columns(table.titles),
        first_rows=table.list_first_rows(),
        commands_of_run=list_run_commands(swept),
        trouble=group_failures([explain_failure(swept, at) for at in lost[:MOST_FAILURES]]),
        more_trouble=max(0, len(lost) - MOST_FAILURES),
        commands=list_commands(swept),
        environment=list_environment(swept),
        data={
            "table": table.to_json(),
            "charts": [picture.plot for picture in pictures],
            "sorted": table.titles.index(table.order),
            "descending": table.descending,
        },
        plotly=Markup(pack_plotly()),
        css=Markup((PAGE_ASSETS / "report.css").read_text(encoding="utf-8")),
        script=Markup((PAGE_ASSETS / "report.js").read_text(encoding="utf-8")),
    )


def prepare_picture(chart: Chart, stills: Mapping[str, str]) -> Picture:
    """Return a chart for the page, as far as it can be drawn."""
    what = f"the picture {chart.name} of the report"
    plot = try_to_make(what, convert_to_plotly, chart)
    return Picture(chart.title, chart.note, stills.get(chart.name, ""), plot)


def _when(milliseconds: int) -> str:
    if not milliseconds:
        return ""
    return f"{datetime.fromtimestamp(milliseconds / 1000).astimezone():%Y-%m-%d %H:%M %z}"


@cache
def pack_plotly() -> str:
    """Return Plotly's script from `make plotly`, compressed and in base64, which ends no tag."""
    return base64.b64encode((PAGE_ASSETS / PLOTLY_BUNDLE).read_bytes()).decode()


def describe_counts(swept: SweepData) -> str:
    """Return how many fits ended with which status: `90 fits: 72 completed, 18 diverged`."""
    number = Counter(swept.results["status"])
    named = ", ".join(f"{number[status]} {status}" for status in Status if number[status])
    return f"{count_things(len(swept.results), 'fit')}: {named}"


def describe_best_fits(swept: SweepData, comparison: Comparison) -> list[str]:
    """Return a line on the best fit of each problem by the loss that the leaderboard compares.

    The first line is the best fit of all, if another loss compares the problems.
    """
    bests = find_best_fits(swept).items()
    lines = [_describe_fit(swept, comparison, index, problem) for problem, index in bests]
    lines = shorten_lines(lines)
    if swept.best is None or swept.compared_by in (None, comparison.measure):
        return lines
    name = swept.results.iloc[swept.best]["name"]
    value = format_rounded(swept.compared_values[swept.best])
    lowest = f"the lowest {describe_objective(swept.compared_by)}, {value}"
    return [f"{name}: {lowest}", *lines]


def _describe_fit(swept: SweepData, comparison: Comparison, index: int, problem: str) -> str:
    row = swept.results.iloc[index]
    where = f" (on {problem})" if problem else ""
    run = f", run {row['run_id']}" if isinstance(row["run_id"], str) else ""
    value = format_rounded(measure_losses(swept, comparison.measure)[index])
    if comparison.measure == mlflow_names.EXCESS:
        floor = swept.floors[index]
        value = format_bound(max(row["excess_loss"], floor), row["excess_loss"] <= floor)
    loss = ""
    if comparison.measure != mlflow_names.LOSS:
        loss = f", training loss {format_rounded(row['loss'])}"
    return f"{row['name']}{where}: {comparison.measured} {value}{loss}{run}"


def list_commands(swept: SweepData) -> str:
    """Return commands that repeat the whole sweep, repeat a sample, refit a sample, or show it."""
    needed = _needed_options(swept)
    lines = {
        _command(swept, "reproduce") + needed: (
            "runs a sample of it again, from what was stored: the same bits?"
        ),
        _command(swept, "verify") + needed: (
            "refits a sample, each fit alone and in the other engine"
        ),
        _command(swept, "show"): "what MLflow keeps of it",
    }
    width = max(map(len, lines))
    typed = swept.request["typed"]
    if typed:
        lines = {typed: "the whole sweep again, from the YAML as it is now", **lines}
    return "\n".join(f"{line:<{width}}    # {about}" for line, about in lines.items())


def list_run_commands(swept: SweepData) -> dict[str, str]:
    """Return the commands that show a fit's run: one prints it, one opens MLflow's UI on it.

    Empty where fits have no run; no `ui` where the store's server is one.
    """
    store = swept.store
    if store is None or swept.results["run_id"].isna().all():
        return {}
    commands = {"show": format_store_command(store, "show ID")}
    return commands if store.is_server else {**commands, "ui": format_store_command(store)}


def _command(swept: SweepData, name: str) -> str:
    """Return a command on the sweep, in its store."""
    named = f"{name} {swept.run_id or 'last'}"
    return f"linfit {named}" if swept.store is None else format_store_command(swept.store, named)


def _needed_options(swept: SweepData) -> str:
    """Return the options that allow the sweep's plug-ins and data to be used again."""
    trust = " --trust" if any(config.get("plugins") for config in swept.configs) else ""
    paths = {str(config["dataset"].get("path") or SHIPPED_PREFIX) for config in swept.configs}
    files = {Path(path).resolve() for path in paths if not path.startswith(SHIPPED_PREFIX)}
    here = Path.cwd().resolve()
    folders = {str(file.parent) for file in files if not file.is_relative_to(here)}
    return f"{trust} --data {quote_word(os.path.commonpath(folders))}" if folders else trust


def list_environment(swept: SweepData) -> list[tuple[str, str]]:
    """Return versions, machine and code from the parent run."""
    tags = swept.tags
    known = {
        "linfit": tags.get(mlflow_names.VERSION),
        "code": tags.get(mlflow_names.CODE),
        "git commit": tags.get("mlflow.source.git.commit"),
        "uncommitted changes": tags.get("linfit.git.dirty"),
        **(read_machine_tag(tags) or {}),
    }
    return [(key, str(value)) for key, value in known.items() if value]
