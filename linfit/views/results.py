"""A sweep in Python: `linfit.sweep` runs one, `linfit.load` reads one back, both give `Results`."""

from __future__ import annotations

from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from linfit.component import describe_unknown
from linfit.config import FitConfig
from linfit.engine.caller_settings import isolate_from_caller
from linfit.engine.fit import find_held_out
from linfit.errors import ConfigError, LinfitError, shorten
from linfit.problem.linfit_model_1 import LinearPredictor
from linfit.problem.linfit_model_2 import TablePredictor
from linfit.tracking.read.config import require_same_numbers
from linfit.tracking.schema import mlflow_names
from linfit.tracking.schema.objective import INCOMPARABLE_HINT
from linfit.tracking.tables.swept_columns import name_column
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
        steps_to_tolerance, diverged_at_step, step_seconds, dtype, weights, error.
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

    @isolate_from_caller
    def top(self, k: int = 10, **only: Any) -> pd.DataFrame:
        """Return the rows of the k best fits, the best first, as a pandas frame.

        `only` are values of swept keys, by their short names: `results.top(3, optimizer="adam")`.
        Fits that diverged or failed are never among them. LinfitError where nothing compares the
        fits, ConfigError for a key that the sweep does not vary.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 0:
            raise ConfigError(f"top takes a number of fits, got {k!r}")
        if self.swept.compared_by is None:
            raise LinfitError(f"{self.swept.name} has no best fits. {INCOMPARABLE_HINT}")
        table = self.swept.table
        values = self.swept.compared_values
        chosen = np.isfinite(values)
        for key, value in only.items():
            chosen &= (table[name_column(self._find_key(key))] == value).to_numpy()
        order = np.argsort(values, kind="stable")
        return table.iloc[order[chosen[order]][:k]].copy()

    @isolate_from_caller
    def model(self, row: int | pd.Series[Any]) -> LinearPredictor | TablePredictor:
        """Return the model of a fit, which predicts: `results.model(results.best).predict(X)`.

        `row` is a row of the table, or its number. X is a frame with the columns of the data, or an
        array `[n, c]` of them. `linfit model RUN` makes it a model in MLflow. LinfitError where the
        fit did not finish, or its data are gone.
        """
        from linfit.tracking.read.trained import require_finished, train_again

        number, result = self._find_row(row)
        whose = f"row {number} of {self.swept.name}"
        require_finished(whose, result["status"], result["diverged_at_step"])
        weights = np.array(result["weights"], np.float64)
        none = np.array([], np.int64)
        config = self._load_config(number)
        return train_again(
            config, weights, none, none.astype(float), result["status"]
        ).create_predictor()

    @isolate_from_caller
    def held_out(self, row: int | pd.Series[Any]) -> NDArray[np.int64]:
        """Return the rows of the data that a fit held out, as `fit.held_out` of it."""
        config = self._load_config(self._find_row(row)[0])
        problem = config.problem()
        held = 0 if problem.validation is None else problem.validation.shape[0]
        return find_held_out(config, problem.shape[0] + held)

    def _find_row(self, row: Any) -> tuple[int, pd.Series[Any]]:
        """Return the number of a row of the table, and its results; ConfigError if it is none."""
        import pandas as pd

        number = row.get("row") if isinstance(row, pd.Series) else row
        results = self.swept.results
        is_number = isinstance(number, int | np.integer)
        found = results[results["row"] == (number if is_number else -1)]
        if len(found) != 1:
            raise ConfigError(
                f"sweep {self.swept.name} has no fit {shorten(repr(number))}: "
                f"give a row of its table, or its number, 0 to {len(results) - 1}"
            )
        return int(number), found.iloc[0]

    def _load_config(self, number: int) -> FitConfig:
        config = self.swept.load_config(number)
        require_same_numbers(config, self.swept.manifest["fingerprint"][number].as_py())
        return config

    def _find_key(self, key: str) -> str:
        """Return the swept key that `key` is, or is short for: `lr` for `optimizer.lr`."""
        varying = self.swept.varying
        if key in varying:
            return key
        longer = [full for full in varying if full.endswith(f".{key}")]
        if len(longer) == 1:
            return longer[0]
        if longer:
            raise ConfigError(f"{key} is short for {' and for '.join(longer)}: write the one meant")
        raise ConfigError(describe_unknown("swept key", key, list(varying)))

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

        `name` is leaderboard, learning_rate, curves, time, profile, paths, heat_map, trials,
        importance, parallel, or over_KEY for a swept key with three numbers or more, as
        over_batch_size; a heat map takes the two swept keys `x` and `y`: `lr` is short for
        `optimizer.lr` where no other key ends so. ConfigError for another name, and where the
        picture makes no sense for what the sweep varies.
        """
        from linfit.views.charts.chart import LeftOut
        from linfit.views.charts.drawing.matplotlib_charts import draw_chart, use_chart_style
        from linfit.views.charts.sweeps.heat_map import plot_heat_map
        from linfit.views.charts.sweeps.sweep_charts import list_sweep_charts

        once = self.swept.distinct
        makers = list_sweep_charts(once, self.comparison)
        if name not in makers:
            raise ConfigError(describe_unknown("picture", name, list(makers)))
        if name != "heat_map" and (x or y):
            raise ConfigError(f"{name} takes no x and y: they are for heat_map")

        if x or y:
            keys = [None if key is None else self._find_key(key) for key in (x, y)]
            chart = plot_heat_map(once, self.comparison, *keys)
        else:
            chart = makers[name](once, self.comparison)
        if isinstance(chart, LeftOut):
            raise ConfigError(f"{name} cannot be drawn: {chart.reason}")
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
