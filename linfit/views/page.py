"""`report.html`: a sweep as one file that fetches nothing. Everything that a user named is escaped.

Plotly's script stands in the page compressed, and the browser unpacks it when the text is shown. It is the bundle of cartesian
charts, which a browser reads in a third of the time of the whole.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from linfit.engine.fit import Status
from linfit.errors import LinfitError
from linfit.problem.files import SHIPPED
from linfit.system import quote_word
from linfit.tracking import layout
from linfit.tracking.environment import tagged
from linfit.tracking.objective import OBJECTIVE
from linfit.tracking.store import command
from linfit.views.attempts import attempt
from linfit.views.board import cells
from linfit.views.charts import Chart
from linfit.views.comparison import Comparison, best_places, few
from linfit.views.floor import get_floors, write_bound
from linfit.views.interactive import plotly
from linfit.views.prediction import stable_rate
from linfit.views.swept import Swept

PAGES = Path(__file__).parent / "pages"
PLOTLY = "plotly-cartesian.min.js.gz"
MOST_TROUBLE, MOST_WEIGHTS, DIGITS = 100, 4, 7
#: Columns of the table of all fits that stand before what is varied, and those behind everything.
FIRST, LAST = ("row", "name", "excess_loss", "status", "loss"), ("weights", "run_id")


def page(swept: Swept, comparison: Comparison, charts: Sequence[Chart], question: str = "") -> str:
    """The whole page as text."""
    environment = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    attempts = (
        attempt(f"the picture {chart.name} of the report", plotly, chart) for chart in charts
    )
    drawn = [made for made in attempts if made is not None]
    trouble = np.flatnonzero(
        ~swept.results["status"].isin([Status.COMPLETED, Status.CONVERGED]).to_numpy()
    ).tolist()
    columns = table_columns(swept)
    return environment.get_template("report.html").render(
        name=swept.name,
        experiment=swept.experiment,
        run_id=swept.run_id,
        num_fits=len(swept.results),
        question=question,
        answer=comparison.sentence(),
        counts=counts(swept),
        varies=", ".join(swept.varying),
        when=f"{datetime.fromtimestamp(swept.start / 1000).astimezone():%Y-%m-%d %H:%M %z}"
        if swept.start
        else "",
        note=comparison.note,
        trust=comparison.trust,
        board=cells(comparison),
        best=_bests(swept),
        robust=few(comparison.robust),
        charts=charts,
        trouble=grouped([why(swept, place) for place in trouble[:MOST_TROUBLE]]),
        more_trouble=max(0, len(trouble) - MOST_TROUBLE),
        commands=commands(swept),
        environment=environment_of(swept),
        data={
            "table": {"titles": list(columns), "columns": list(columns.values())},
            "charts": drawn,
            "sorted": list(columns).index("excess_loss"),
        },
        plotly=Markup(packed_plotly()),
        css=Markup((PAGES / "report.css").read_text(encoding="utf-8")),
        script=Markup((PAGES / "report.js").read_text(encoding="utf-8")),
    )


@cache
def packed_plotly() -> str:
    """Plotly's script as `make plotly` keeps it, compressed, and in base64, which no tag can end."""
    return base64.b64encode((PAGES / PLOTLY).read_bytes()).decode()


def counts(swept: Swept) -> str:
    """How many fits ended how: `90 fits: 72 completed, 18 diverged`."""
    ended = Counter(swept.results["status"])
    return f"{len(swept.results)} fits: " + ", ".join(
        f"{ended[status]} {status}" for status in Status if ended[status]
    )


def table_columns(swept: Swept) -> dict[str, list[Any]]:
    """The columns of the table of all fits, what came out first, as JSON has them: null where there is no number."""
    table = swept.table.drop(columns=["dtype", "error", OBJECTIVE], errors="ignore")
    order = dict.fromkeys((*FIRST, *table.columns.drop(list(LAST)), *LAST))
    columns = {
        name: [(_weights if name == "weights" else _plain)(value) for value in table[name].tolist()]
        for name in order
    }
    used = {
        name: column
        for name, column in columns.items()
        if any(value is not None for value in column) or name == "excess_loss"
    }
    return {
        name.replace(" ", "_"): column for name, column in used.items()
    }  # blanks part the words of the filter


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if np.isfinite(value) else None
    return value


def _weights(value: Any) -> str | None:
    if value is None or np.ndim(value) == 0:
        return None
    return " ".join(f"{weight:.6g}" for weight in value[:MOST_WEIGHTS]) + (
        " …" if len(value) > MOST_WEIGHTS else ""
    )


def _bests(swept: Swept) -> list[str]:
    """Return what is said of the best fit of each problem, and first of the best of all where that is not one by excess loss."""
    said = few([_best(swept, place, problem) for problem, place in best_places(swept).items()])
    if swept.best is None or swept.by in (None, layout.EXCESS):
        return said
    row = swept.results.iloc[swept.best]
    return [
        f"{row['name']}: the lowest {swept.by.replace('_', ' ')}, {swept.compared[swept.best]:.7g}",
        *said,
    ]


def _best(swept: Swept, place: int, problem: str) -> str:
    row = swept.results.iloc[place]
    where = f" (on {problem})" if problem else ""
    run = f", run {row['run_id']}" if isinstance(row["run_id"], str) else ""
    floor = get_floors(swept)[place]
    excess = write_bound(max(row["excess_loss"], floor), row["excess_loss"] <= floor)
    return f"{row['name']}{where}: excess loss {excess}, loss {row['loss']:.7g}{run}"


@dataclass(frozen=True)
class Trouble:
    """Fits without a result that counts, and why: several where all but the step is the same."""

    names: tuple[str, ...]
    status: str
    why: str
    details: str = ""
    steps: tuple[int, ...] = ()

    @property
    def when(self) -> str:
        """At which step it happened, in words."""
        if not self.steps:
            return ""
        first, last = min(self.steps), max(self.steps)
        return f"at step {first}: " if first == last else f"at steps {first} to {last}: "


def why(swept: Swept, place: int) -> Trouble:
    """Why the fit at a place of the table diverged or failed."""
    result = swept.results.iloc[place]
    name, status = str(result["name"]), str(result["status"])
    if status == Status.FAILED:
        error = str(result["error"] or "").strip()
        return Trouble(
            (name,), status, error.splitlines()[-1] if error else "nothing was kept of it", error
        )
    limit = swept.configs[place]["stop"]["divergence"]
    said = f"the loss was not finite, or above {limit:g} times the initial loss"
    return Trouble(
        (name,), status, said + _too_large(swept, place), steps=(int(result["diverged_at_step"]),)
    )


def grouped(trouble: Sequence[Trouble]) -> list[Trouble]:
    """The same trouble once, with all fits that had it."""
    groups: dict[tuple[str, ...], list[Trouble]] = {}
    for one in trouble:
        groups.setdefault((one.status, one.why, one.details), []).append(one)
    return [
        replace(
            own[0],
            names=tuple(name for one in own for name in one.names),
            steps=tuple(step for one in own for step in one.steps),
        )
        for own in groups.values()
    ]


def _too_large(swept: Swept, place: int) -> str:
    try:
        config, problem, optimum = swept.instance(int(swept.results["row"][place]))
    except (LinfitError, ValueError, OSError):
        return ""
    bound, lr = stable_rate(config, problem, optimum), config.as_dict()["optimizer"].get("lr")
    if bound is None or lr is None or lr <= bound:
        return ""
    return f"; the learning rate {lr:g} is above the largest stable one, {bound:.4g}"


def commands(swept: Swept) -> str:
    """What to type: the whole sweep again, or a sample of it, or only a look."""
    needed = _needed_options(swept)
    lines = {
        _command(
            swept, "reproduce", needed
        ): "runs a sample of it again, from what was stored: the same bits?",
        _command(
            swept, "verify", needed
        ): "refits a sample, each fit alone and in the other engine",
        _command(swept, "show"): "what MLflow keeps of it",
    }
    again = (
        {swept.said["typed"]: "the whole sweep again, from the YAML as it is now"}
        if swept.said["typed"]
        else {}
    )
    width = max(map(len, lines))
    return "\n".join(f"{line:<{width}}    # {about}" for line, about in {**again, **lines}.items())


def _command(swept: Swept, name: str, options: str = "") -> str:
    """Return a command on the sweep, in its store."""
    named = f"{name} {swept.run_id or 'last'}"
    return (f"linfit {named}" if swept.store is None else command(swept.store, named)) + options


def _needed_options(swept: Swept) -> str:
    """Return the options without which the sweep's fits cannot be run again: its plug-ins are not imported, its data not read."""
    trust = " --trust" if any(config.get("plugins") for config in swept.configs) else ""
    paths = {str(config["dataset"].get("path") or SHIPPED) for config in swept.configs}
    files = {Path(path).resolve() for path in paths if not path.startswith(SHIPPED)}
    folders = {str(file.parent) for file in files if not file.is_relative_to(Path.cwd().resolve())}
    return f"{trust} --data {quote_word(os.path.commonpath(folders))}" if folders else trust


def environment_of(swept: Swept) -> list[tuple[str, str]]:
    """Versions, machine and code, as the parent run keeps them."""
    own = {"linfit": swept.tags.get(layout.VERSION), "code": swept.tags.get(layout.CODE)}
    git = {
        "git commit": swept.tags.get("mlflow.source.git.commit"),
        "uncommitted changes": swept.tags.get("linfit.git.dirty"),
    }
    return [
        (key, str(value))
        for key, value in {**own, **git, **(tagged(swept.tags) or {})}.items()
        if value
    ]
