"""A sweep in Python: `linfit.sweep` runs one, `linfit.load` reads one back, both give `Results`."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linfit.component import describe_unknown
from linfit.engine.caller_settings import isolate_from_caller
from linfit.errors import ConfigError, LinfitError
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import INCOMPARABLE_HINT
from linfit.views.analysis.compare import compare_methods
from linfit.views.analysis.comparison import Comparison
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.json_data import replace_infinities

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Results:
    """The outcome of a sweep.

    >>> results = linfit.sweep(["optimizer=adam,sgd", "seed=0,1"])  # doctest: +SKIP
    >>> results.best["name"]  # doctest: +SKIP
    'sgd seed=0'
    """

    def __init__(self, swept: SweepData, comparison: Comparison | None = None) -> None:
        self.swept = swept
        if comparison is not None:  # computed already, for the report
            self.comparison = comparison

    @property
    def run_id(self) -> str:
        """The id of the sweep's parent run.

        Empty where nothing was recorded.
        """
        return self.swept.run_id

    @property
    @isolate_from_caller
    def table(self) -> pd.DataFrame:
        """A pandas frame with one row for each fit, in the order in which the sweep lists them.

        Columns: row, name, run_id; each key that the sweep varies; status, loss, excess_loss,
        validation_loss, objective (what a job returns), distance_to_optimum, distance_to_truth,
        steps_to_tolerance, diverged_at_step, dtype, weights, error.
        """
        return self.swept.table.copy()

    @property
    @isolate_from_caller
    def best(self) -> pd.Series[Any]:
        """The row of the best fit, by the sweep's `objective`.

        Of equals the first.

        `auto` compares by validation loss where all fits hold samples out. Otherwise it compares
        the fits of one problem by excess loss, and problems that differ in features alone by
        training loss. LinfitError if none finished, or where it cannot compare them.
        """
        if (index := self.swept.best) is not None:
            return self.swept.table.iloc[index]
        if self.swept.compared_by is None and self.swept.finished.any():
            raise LinfitError(f"{self.swept.name} has no best fit. {INCOMPARABLE_HINT}")
        raise LinfitError(
            f"no fit of {self.swept.name} finished: all {len(self.swept.table)} diverged or failed"
        )

    @cached_property
    @isolate_from_caller
    def comparison(self) -> Comparison:
        """The sweep's methods, each at the setting chosen for it on one half of the seeds."""
        return compare_methods(self.swept)

    @property
    @isolate_from_caller
    def leaderboard(self) -> pd.DataFrame:
        """One row for each method, the best first.

        Its setting, the geometric mean of its excess loss, and how it differs from the first.
        """
        return self.comparison.to_frame()

    def leaderboard_rows(self) -> list[dict[str, Any]]:
        """Return the leaderboard as plain data.

        None where there is no number.
        """
        rows: list[dict[str, Any]] = replace_infinities(self.leaderboard.to_dict("records"))
        return rows

    @isolate_from_caller
    def plot(
        self, name: str = "learning_rate", x: str | None = None, y: str | None = None
    ) -> Figure:
        """Return one of the sweep's pictures as a matplotlib figure, which a notebook shows.

        `name` is learning_rate, curves, profile, paths, heat_map or trials; a heat map takes the
        two swept keys `x` and `y`. ConfigError for another name, and where the picture makes no
        sense for what the sweep varies.
        """
        from linfit.views.charts.heat_map import plot_heat_map
        from linfit.views.charts.matplotlib_charts import draw_chart, use_chart_style
        from linfit.views.charts.sweep_charts import SWEEP_CHARTS

        if name not in SWEEP_CHARTS:
            raise ConfigError(describe_unknown("picture", name, list(SWEEP_CHARTS)))
        if name != "heat_map" and (x or y):
            raise ConfigError(f"{name} takes no x and y: they are for heat_map")

        once = self.swept.distinct
        if name == "heat_map":
            chart = plot_heat_map(once, self.comparison, x, y)
        else:
            chart = SWEEP_CHARTS[name](once, self.comparison)
        if chart is None:
            varied = ", ".join(self.swept.varying) or "nothing"
            raise ConfigError(f"{name} makes no sense for a sweep that varies {varied}")
        with use_chart_style():
            return draw_chart(chart)

    @isolate_from_caller
    def report(self, file: str | Path = "report.html") -> Path:
        """Write the sweep as one HTML page that fetches nothing, and return its path."""
        from linfit.views.report.artifacts import plot_sweep, write_report

        charts = plot_sweep(self.swept, self.comparison)
        return write_report(Path(file), self.swept, self.comparison, charts)

    def __repr__(self) -> str:
        fits = f"{len(self.swept.results)} fits"
        return f"<linfit.Results of {self.swept.name}: {fits}, run {self.run_id or 'not recorded'}>"

    @isolate_from_caller
    def _repr_html_(self) -> str:
        """Return what a notebook shows: the answer, and the leaderboard."""
        from linfit.views.report.leaderboard import format_leaderboard

        board = format_leaderboard(self.comparison)
        name = escape(self.swept.name)
        answer = escape(self.comparison.summarize())
        head = "".join(f"<th>{escape(title)}</th>" for title in board.titles)
        body = "".join(f"<tr>{_html_cells(row)}</tr>" for row in board.rows)
        return (
            f"<p><b>{name}</b>: {answer}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p><small>{escape(self.comparison.note)}</small></p>"
        )


def _html_cells(row: list[str]) -> str:
    return "".join(f"<td>{escape(cell)}</td>" for cell in row)


@isolate_from_caller
def load(reference: str = "last", uri: str | None = None) -> Results:
    """Return the results of a recorded sweep.

    Its run id, the beginning of one, or `last`.

    `uri` is an MLflow tracking URI; default MLFLOW_TRACKING_URI, or `sqlite:///outputs/mlflow.db`.
    LinfitError where there is no such sweep, or where it was interrupted before its tables were
    joined.
    """
    from linfit.tracking.read.reader import RunReader
    from linfit.tracking.store.store import resolve_store

    reader = RunReader(resolve_store(uri))
    record = reader.find_run(reference, mlflow_names.SWEEP)
    if record.kind != mlflow_names.SWEEP:
        raise LinfitError(
            f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, or last"
        )

    tables = record.find_tables()
    files: dict[str, Path] = {}
    for file in (tables.manifest, tables.results, tables.curves):
        files[file.name] = file
    if mlflow_names.TWINS in record.list_artifacts():
        files[mlflow_names.TWINS] = record.fetch_file(mlflow_names.TWINS)
    names = {name: key for key, name in reader.experiments.items()}
    swept = SweepData(
        record.name,
        record.experiment,
        record.run_id,
        files,
        record.tags,
        record.start,
        record.end,
        reader.store,
        sha256=tables.hashes,
        is_stored=True,
        experiment_id=names.get(record.experiment, ""),
    )
    return Results(swept)
