"""Write two views of an MLflow experiment that its UI offers under "Views".

They are the fits as a leaderboard, and their curves on log axes. MLflow keeps a view as a tag of
the experiment, `mlflow.sharedViewState.ID`: a name, and the state of the page as deflated JSON in
base64. An MLflow that does not know such a view leaves the tag alone.
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
    EXCESS,
    FIT,
    HPARAM,
    KIND,
    LOSS,
    STATUS,
    THEORY,
    WEIGHT,
)

VIEW_TAG_PREFIX = "mlflow.sharedViewState."
LEADERBOARD_VIEW = "linfit-leaderboard"
CURVES_VIEW = "linfit-curves"
#: With this tag the UI shows runs, and does not ask whether the experiment is about language
#: models.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
#: The keys that are shown where no sweep says what varies.
USUAL_KEYS = ("model", "gradient", "optimizer", "optimizer.lr", "seed")
SEED_KEY = "seed"
#: The sections that the UI makes of metrics without a curve, by the prefixes of their names.
NUMBER_SECTIONS = (*(prefix.rstrip("/") for prefix in (HPARAM, WEIGHT, THEORY)), "Model metrics")
MAX_VIEW_KEYS = 20
COLUMN_WIDTH = 170
NAME_COLUMN_WIDTH = 260

_FITS = {
    "searchFilter": f"tags.`{KIND}` = '{FIT}'",
    "orderByKey": f"metrics.`{EXCESS}`",
    "orderByAsc": True,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
}


def build_views(now: int, varying: Sequence[str], numeric: Sequence[str]) -> dict[str, str]:
    """Return the tags of both views, for a sweep that varies these keys; `numeric` are numbers."""
    keys = [key for key in varying if key.split(".")[0] not in UNNAMED_KEYS][:MAX_VIEW_KEYS]
    keys = keys or list(USUAL_KEYS)
    return {
        VIEW_TAG_PREFIX + LEADERBOARD_VIEW: _tag("Leaderboard", _leaderboard(keys, numeric), now),
        VIEW_TAG_PREFIX + CURVES_VIEW: _tag("Curves, log axes", _curves(keys), now),
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


def _leaderboard(keys: Sequence[str], numeric: Sequence[str]) -> dict[str, Any]:
    settings = [f"metrics.`{HPARAM}{key}`" if key in numeric else f"params.`{key}`" for key in keys]
    name = "attributes.`Run Name`"
    columns = [
        f"metrics.`{EXCESS}`",
        *settings,
        f"metrics.`{LOSS}`",
        "metrics.`distance_to_optimum`",
        "metrics.`steps_to_tolerance`",
        f"tags.`{STATUS}`",
    ]
    return {
        **_FITS,
        "selectedColumns": columns,
        "columnOrder": [name, *columns],
        "columnWidths": {name: NAME_COLUMN_WIDTH, **dict.fromkeys(columns, COLUMN_WIDTH)},
    }


def _curves(keys: Sequence[str]) -> dict[str, Any]:
    """Return the page with the ten best fits.

    Where seeds vary among other keys, it has the ten best settings, each as the mean over its
    seeds.
    """
    settings = [key for key in keys if key.rsplit(".", 1)[-1] != SEED_KEY]
    groups = None
    if 0 < len(settings) < len(keys):
        grouped = [{"mode": "param", "groupByData": key} for key in settings]
        groups = {"aggregateFunction": "average", "groupByKeys": grouped}
    return {
        **_FITS,
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunCharts": [_chart(EXCESS), _chart(LOSS)],
        "compareRunSections": [
            _section("linfit-curves", "Curves on log axes", True),
            *[_section(f"linfit-{name}", name, False) for name in NUMBER_SECTIONS],
        ],
        "isAccordionReordered": True,
        "groupBy": groups,
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
        "runsCountToCompare": 10,
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
