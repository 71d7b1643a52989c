"""The report's table of all fits, as data for its script and as text for its first rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from linfit.tracking.schema.objective import OBJECTIVE_COLUMN
from linfit.tracking.schema.saved_views import format_run_address
from linfit.views.analysis.rounding_floor import format_rounded
from linfit.views.analysis.sweep_data import SweepData
from linfit.views.report.column_terms import ROUNDED_COLUMNS, explain_fit_columns

#: Rows that are shown without a script.
FIRST_ROWS = 100
MOST_LISTED_WEIGHTS = 4
#: Digits of a number in the table, which is filtered by them; results are shown with three.
TABLE_DIGITS = 7
#: Columns before what is varied, and after everything.
FIRST_COLUMNS = ("row", "name", "excess_loss", "status", "loss")
LAST_COLUMNS = ("weights", "run_id")
ORDER_COLUMN = "excess_loss"
#: The start of a run's id, which is all of it that is shown.
SHOWN_ID = 12
#: Where `linfit ui` serves unless another port is named.
USUAL_UI = "http://127.0.0.1:5000"


@dataclass(frozen=True)
class FitTable:
    """One row for each fit; None where a fit has no value."""

    columns: dict[str, list[Any]]
    run_address: tuple[str, str] | None = None
    """What stands before and after a run's id in the address of its page; None if unknown."""

    @property
    def titles(self) -> list[str]:
        return list(self.columns)

    @cached_property
    def numbers(self) -> list[str]:
        """Titles of the columns that hold numbers alone."""
        return [title for title, column in self.columns.items() if _is_numeric(column)]

    def to_json(self) -> dict[str, Any]:
        """Return what the page's script reads."""
        address = self.run_address
        return {
            "titles": self.titles,
            "columns": list(self.columns.values()),
            "numbers": [title in self.numbers for title in self.columns],
            "rounded": [title in ROUNDED_COLUMNS for title in self.columns],
            "terms": list(explain_fit_columns(self.columns).values()),
            "run": address and {"start": address[0], "end": address[1]},
        }

    def list_first_rows(self) -> list[list[str]]:
        """Return the first rows by excess loss, those without one last, as text.

        By loss if no fit has an excess loss.
        """
        values = self.columns[ORDER_COLUMN]
        if all(value is None for value in values):
            values = self.columns["loss"]
        order = sorted(range(len(values)), key=lambda index: _place_last(values[index]))
        return [
            [_format_cell(title, column[index]) for title, column in self.columns.items()]
            for index in order[:FIRST_ROWS]
        ]


def collect_fit_table(swept: SweepData) -> FitTable:
    """Return the table of all fits, results first.

    Columns without a value are left out, but for the excess loss.
    """
    table = swept.table.drop(columns=["dtype", "error", OBJECTIVE_COLUMN], errors="ignore")
    between = table.columns.drop(list(LAST_COLUMNS))
    columns = {}
    for name in dict.fromkeys((*FIRST_COLUMNS, *between, *LAST_COLUMNS)):
        write = _weights if name == "weights" else _plain
        column = [write(value) for value in table[name].tolist()]
        if name == ORDER_COLUMN or any(value is not None for value in column):
            columns[name.replace(" ", "_")] = column  # blanks part the words of the filter
    return FitTable(columns, find_run_address(swept))


def find_run_address(swept: SweepData) -> tuple[str, str] | None:
    """Return what stands before and after a run's id in the address of its page.

    Of a store without a server of its own it is the page that `linfit ui` serves on this machine.
    """
    if swept.store is None or not swept.experiment_id:
        return None
    server = USUAL_UI
    if swept.store.is_server:
        server = str(swept.store)
    before, after = format_run_address(swept.experiment_id, "\0").split("\0")
    return f"{server.rstrip('/')}/{before}", after


def _is_numeric(column: Sequence[Any]) -> bool:
    found = [value for value in column if value is not None]
    return bool(found) and all(type(value) in (int, float) for value in found)


def _place_last(value: float | None) -> tuple[bool, float]:
    return value is None, value or 0.0


def _format_cell(title: str, value: Any) -> str:
    if value is None:
        return ""
    if title in ROUNDED_COLUMNS:
        return format_rounded(value)
    return str(value)[:SHOWN_ID] if title == "run_id" else str(value)


def _plain(value: Any) -> Any:
    """Return a value with as many digits as the filter compares, None unless it is finite."""
    if isinstance(value, float):
        return float(f"{value:.{TABLE_DIGITS}g}") if np.isfinite(value) else None
    return value


def _weights(value: Any) -> str | None:
    if value is None or np.ndim(value) == 0:
        return None
    shown = " ".join(format_rounded(weight) for weight in value[:MOST_LISTED_WEIGHTS])
    return f"{shown} …" if len(value) > MOST_LISTED_WEIGHTS else shown
