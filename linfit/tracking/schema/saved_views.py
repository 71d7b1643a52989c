"""Write views of an MLflow experiment that its UI offers under "Views".

They are the sweeps, the fits as a leaderboard, and their curves on log axes. MLflow keeps a view as
a tag of the experiment, `mlflow.sharedViewState.ID`: a name, and the state of the page as deflated
JSON in base64. An MLflow that does not know such a view leaves the tag alone.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from linfit.tracking.schema.config_record import UNNAMED_KEYS
from linfit.tracking.schema.descriptions import WORKFLOW_QUERY
from linfit.tracking.schema.mlflow_names import (
    BEST_EXCESS,
    BEST_METHOD,
    EXCESS,
    FIT,
    HPARAM,
    KIND,
    LOSS,
    PARENT,
    STATUS,
    SWEEP,
    THEORY,
    VARYING,
    WEIGHT,
)

VIEW_TAG_PREFIX = "mlflow.sharedViewState."
SWEEPS_VIEW = "linfit-sweeps"
LEADERBOARD_VIEW = "linfit-leaderboard"
CURVES_VIEW = "linfit-curves"
#: With this tag the UI shows runs, and does not ask whether the experiment is about language
#: models.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
#: The keys that are shown where no sweep says what varies.
USUAL_KEYS = ("model", "gradient", "optimizer", "optimizer.lr", "seed")
#: The sections that the UI makes of metrics without a curve, by the prefixes of their names.
NUMBER_SECTIONS = (*(prefix.rstrip("/") for prefix in (HPARAM, WEIGHT, THEORY)), "Model metrics")
MAX_VIEW_KEYS = 20
COLUMN_WIDTH = 170
NAME_COLUMN_WIDTH = 260

#: The counts of fits that a sweep's run may have.
COUNTS = ("num_completed", "num_converged", "num_diverged", "num_failed")
_NAME = "attributes.`Run Name`"
_CREATED = "attributes.`Created`"
_RUNS: dict[str, Any] = {
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
}


def build_views(
    now: int, varying: Sequence[str], numeric: Sequence[str], sweep_id: str = ""
) -> dict[str, str]:
    """Return the tags of the views of a sweep.

    The sweep varies these keys; those in `numeric` are numbers. The fits are those of the sweep
    `sweep_id`: a sweep that is run again would show each twice. If it is empty, they are all fits.
    """
    keys = [key for key in varying if key.split(".")[0] not in UNNAMED_KEYS][:MAX_VIEW_KEYS]
    keys = keys or list(USUAL_KEYS)
    fits = _select_fits(sweep_id)
    return {
        VIEW_TAG_PREFIX + SWEEPS_VIEW: _tag("Sweeps", _sweeps(), now),
        VIEW_TAG_PREFIX + LEADERBOARD_VIEW: _tag(
            "Leaderboard", {**_leaderboard(keys, numeric), **fits}, now
        ),
        VIEW_TAG_PREFIX + CURVES_VIEW: _tag("Curves, log axes", {**_curves(), **fits}, now),
    }


def select_new_views(tags: Mapping[str, str], old: Mapping[str, str], keep: bool) -> dict[str, str]:
    """Return the new views; without `keep`, also those that show another page than before."""
    return {
        key: tag
        for key, tag in tags.items()
        if key not in old or (not keep and _state(tag) != _state(old[key]))
    }


def format_page_address(experiment_id: str, view: str = "") -> str:
    """Return the page of an MLflow experiment, or of a view of it, below a server's address."""
    page = f"#/experiments/{experiment_id}/runs?{WORKFLOW_QUERY}"
    if view:
        page += f"&viewStateShareKey={view}"
    if view == CURVES_VIEW:
        page += "&compareRunsMode=CHART"
    return page


def format_run_address(experiment_id: str, run_id: str) -> str:
    """Return the page of a run, below a server's address."""
    return f"#/experiments/{experiment_id}/runs/{run_id}?{WORKFLOW_QUERY}"


def _select_fits(sweep_id: str) -> dict[str, Any]:
    """Return the part of a page that has the fits of a sweep, the best first."""
    of_sweep = f" AND tags.`{PARENT}` = '{sweep_id}'" if sweep_id else ""
    return {
        "searchFilter": f"tags.`{KIND}` = '{FIT}'{of_sweep}",
        "orderByKey": f"metrics.`{EXCESS}`",
        "orderByAsc": True,
    }


def _sweeps() -> dict[str, Any]:
    """Return the page with the sweeps alone, the newest first: how they ended, what was best."""
    columns = [
        f"tags.`{STATUS}`",
        f"tags.`{BEST_METHOD}`",
        f"metrics.`{BEST_EXCESS}`",
        *(f"metrics.`{count}`" for count in COUNTS),
        f"tags.`{VARYING}`",
    ]
    newest_first = {"orderByKey": _CREATED, "orderByAsc": False}
    return {
        **_RUNS,
        "searchFilter": f"tags.`{KIND}` = '{SWEEP}'",
        **newest_first,
        **_arrange(columns),
    }


def _leaderboard(keys: Sequence[str], numeric: Sequence[str]) -> dict[str, Any]:
    """Return the page with the fits in a table, the status beside the name.

    MLflow's own mark shows that a run is finished, which one that diverged is too.
    """
    settings = []
    for key in keys:
        column = f"params.`{key}`"
        if key in numeric:
            column = f"metrics.`{HPARAM}{key}`"
        settings.append(column)
    columns = [
        f"tags.`{STATUS}`",
        f"metrics.`{EXCESS}`",
        *settings,
        f"metrics.`{LOSS}`",
        "metrics.`distance_to_optimum`",
        "metrics.`steps_to_tolerance`",
    ]
    return {**_RUNS, **_arrange(columns)}


def _arrange(columns: Sequence[str]) -> dict[str, Any]:
    """Return the part of a page that has these columns after the name."""
    return {
        "selectedColumns": list(columns),
        "columnOrder": [_NAME, *columns],
        "columnWidths": {_NAME: NAME_COLUMN_WIDTH, **dict.fromkeys(columns, COLUMN_WIDTH)},
    }


def _curves() -> dict[str, Any]:
    """Return the page with the curves of the twenty best fits, each of them a line.

    Runs are not grouped: MLflow draws a group as an arithmetic mean, minimum or maximum, and
    linfit compares medians.
    """
    return {
        **_RUNS,
        "runsHiddenMode": "FIRST_20_RUNS",
        "compareRunCharts": [_chart(EXCESS), _chart(LOSS)],
        "compareRunSections": [
            _section("linfit-curves", "Curves on log axes", True),
            *[_section(f"linfit-{name}", name, False) for name in NUMBER_SECTIONS],
        ],
        "isAccordionReordered": True,
        "groupBy": None,
    }


def _chart(metric: str) -> dict[str, Any]:
    return {
        "uuid": f"linfit-{metric}",
        "metricSectionId": "linfit-curves",
        "deleted": False,
        "isGenerated": False,
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "runsCountToCompare": 20,
        "lineSmoothness": 0,
        "scaleType": "log",
        "xAxisScaleType": "log",
        "xAxisKey": "step",
        "useGlobalXaxisKey": False,
        "displayPoints": False,
    }


def _section(uuid: str, name: str, display: bool) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
        "columns": 2,
        "cardHeight": 460,
    }


def _tag(name: str, state: Mapping[str, Any], now: int) -> str:
    compact = json.dumps(state, separators=(",", ":"))
    packed = base64.b64encode(zlib.compress(compact.encode(), 9)).decode()
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    )


def _state(tag: str) -> Any:
    try:
        return json.loads(tag)["state"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
