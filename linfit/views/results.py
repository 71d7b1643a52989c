"""A sweep in Python: `linfit.sweep` runs one, `linfit.load` reads one back, and both give its `Results`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linfit.component import unknown
from linfit.engine.surroundings import isolated
from linfit.errors import ConfigError, LinfitError
from linfit.tracking import layout
from linfit.tracking.objective import INCOMPARABLE
from linfit.views.comparison import Comparison, compare
from linfit.views.swept import Swept

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Results:
    """What came out of a sweep.

    >>> results = linfit.sweep(["optimizer=adam,sgd", "seed=0,1"])  # doctest: +SKIP
    >>> results.best["name"]  # doctest: +SKIP
    'sgd seed=0'
    """

    def __init__(self, swept: Swept) -> None:
        self.swept = swept

    @property
    def run_id(self) -> str:
        """The id of the sweep's parent run; empty where nothing was recorded."""
        return self.swept.run_id

    @property
    @isolated
    def table(self) -> pd.DataFrame:
        """A pandas frame with one row for each fit, in the order in which the sweep lists them.

        Columns: row, name, run_id; each key that the sweep varies; status, loss, excess_loss, validation_loss,
        objective (what a job returns), distance_to_optimum, distance_to_truth, steps_to_tolerance, diverged_at_step, dtype,
        weights, error.
        """
        return self.swept.table.copy()

    @property
    @isolated
    def best(self) -> pd.Series[Any]:
        """The row of the best fit, by the sweep's `objective`; of equals the first. LinfitError if none finished.

        `auto` compares by validation loss where all fits hold samples out. Otherwise it compares the fits of one problem by
        excess loss, and problems that differ in features alone by training loss. LinfitError where it cannot compare them.
        """
        if (place := self.swept.best) is not None:
            return self.swept.table.iloc[place]
        if self.swept.by is None and self.swept.finished.any():
            raise LinfitError(f"{self.swept.name} has no best fit. {INCOMPARABLE}")
        raise LinfitError(
            f"no fit of {self.swept.name} finished: all {len(self.swept.table)} diverged or failed"
        )

    @cached_property
    @isolated
    def comparison(self) -> Comparison:
        """The honest comparison of the sweep's methods, each at the setting chosen for it on one half of the seeds."""
        return compare(self.swept)

    @property
    @isolated
    def leaderboard(self) -> pd.DataFrame:
        """One row for each method, the best first: its setting, the geometric mean of its excess loss, and how it differs from the first."""
        return self.comparison.frame()

    def leaderboard_rows(self) -> list[dict[str, Any]]:
        """The leaderboard as plain data, None where there is no number."""
        rows = self.leaderboard.to_dict("records")
        return [
            {
                key: None if isinstance(value, float) and value - value != 0 else value
                for key, value in row.items()
            }
            for row in rows
        ]

    @isolated
    def plot(
        self, name: str = "learning_rate", x: str | None = None, y: str | None = None
    ) -> Figure:
        """One of the sweep's pictures as a matplotlib figure, which a notebook shows.

        `name` is learning_rate, curves, profile, paths, heat_map or trials; a heat map takes the two swept keys `x` and `y`.
        ConfigError for another name, and where the picture makes no sense for what the sweep varies.
        """
        from linfit.views.drawing import draw, style
        from linfit.views.heat_map import heat_map
        from linfit.views.sweep_charts import CHARTS

        if name not in CHARTS:
            raise ConfigError(unknown("picture", name, list(CHARTS)))
        if name != "heat_map" and (x or y):
            raise ConfigError(f"{name} takes no x and y: they are for heat_map")
        once = self.swept.distinct
        made = (
            heat_map(once, self.comparison, x, y)
            if name == "heat_map"
            else CHARTS[name](once, self.comparison)
        )
        if made is None:
            raise ConfigError(
                f"{name} makes no sense for a sweep that varies {', '.join(self.swept.varying) or 'nothing'}"
            )
        with style():
            return draw(made)

    @isolated
    def report(self, file: str | Path = "report.html") -> Path:
        """Writes the sweep as one HTML page that fetches nothing, and returns its path."""
        from linfit.views.illustration import charts_of, write_report

        return write_report(
            Path(file), self.swept, self.comparison, charts_of(self.swept, self.comparison)
        )

    def __repr__(self) -> str:
        return f"<linfit.Results of {self.swept.name}: {len(self.swept.results)} fits, run {self.run_id or 'not recorded'}>"

    @isolated
    def _repr_html_(self) -> str:
        """What a notebook shows: the answer, and the leaderboard."""
        from linfit.views.board import cells

        board = cells(self.comparison)
        head = "".join(f"<th>{escape(title)}</th>" for title in board.titles)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in board.rows
        )
        said = f"<p><b>{escape(self.swept.name)}</b>: {escape(self.comparison.sentence())}</p>"
        return f"{said}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p><small>{escape(self.comparison.note)}</small></p>"


@isolated
def sweep(arguments: Sequence[str]) -> Results:
    """Runs a sweep as `linfit run -m` does, records it, draws it, and returns its results.

    >>> results = linfit.sweep(["optimizer=adam,sgd", "seed=0,1"])  # doctest: +SKIP
    >>> results.table  # doctest: +SKIP

    `pictures=false` among the arguments skips pictures, leaderboard and report. Raises ConfigError before anything runs if the
    config is wrong.
    """
    from linfit.sweeps.app import execute
    from linfit.views.attempts import attempt
    from linfit.views.description import describe
    from linfit.views.illustration import illustrate, swept_of

    result = execute(["--multirun", *arguments])
    if result.recorded is None or result.sweep_id is None:
        raise LinfitError("nothing was swept: `linfit run` takes what this is")
    attempt("the description", describe, result, illustrate(result))
    return Results(swept_of(result.recorded))


@isolated
def load(reference: str = "last", uri: str | None = None) -> Results:
    """The results of a sweep that MLflow keeps: its run id, the beginning of one, or `last`.

    `uri` is an MLflow tracking URI; default MLFLOW_TRACKING_URI, or `sqlite:///outputs/mlflow.db`. LinfitError where there is no
    such sweep, or where it was interrupted before its tables were joined.
    """
    from linfit.tracking.reading import Reader
    from linfit.tracking.store import locate

    reader = Reader(locate(uri))
    record = reader.find(reference, layout.SWEEP)
    if record.kind != layout.SWEEP:
        raise LinfitError(
            f"run {record.run_id} is no sweep: give a sweep's id, the beginning of one, or last"
        )
    tables = record.tables()
    files: dict[str, Path] = {
        file.name: file for file in (tables.manifest, tables.results, tables.curves)
    }
    if layout.TWINS in record.artifacts():
        files[layout.TWINS] = record.file(layout.TWINS)
    return Results(
        Swept(
            record.name,
            record.experiment,
            record.run_id,
            files,
            record.tags,
            record.start,
            record.end,
            reader.store,
            hashes=tables.hashes,
            is_stored=True,
        )
    )
