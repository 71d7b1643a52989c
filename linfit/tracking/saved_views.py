"""Two views of an MLflow experiment that its UI offers under "Views": the fits as a leaderboard, and their curves on log axes.

MLflow keeps a view as a tag of the experiment, `mlflow.sharedViewState.ID`: a name, and the state of the page, as JSON that is
deflated and in base64. An MLflow that does not know such a view leaves the tag alone.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from linfit.tracking.accounts import UNNAMED
from linfit.tracking.layout import EXCESS, FIT, HPARAM, KIND, LOSS, STATUS, THEORY, WEIGHT
from linfit.tracking.notes import WORKFLOW

PREFIX = "mlflow.sharedViewState."
LEADERBOARD, CURVES = "linfit-leaderboard", "linfit-curves"
#: The UI then shows runs, and does not ask whether this is about language models.
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}
#: What tells fits apart where no sweep says what varies.
USUAL = ("model", "gradient", "optimizer", "optimizer.lr", "seed")
SEED = "seed"
#: The sections that the UI makes of metrics that are no curves, by what the metrics' names begin with.
NUMBERS = (*(prefix.rstrip("/") for prefix in (HPARAM, WEIGHT, THEORY)), "Model metrics")
MOST_KEYS, WIDTH, NAME_WIDTH = 20, 170, 260

_FITS = {
    "searchFilter": f"tags.`{KIND}` = '{FIT}'",
    "orderByKey": f"metrics.`{EXCESS}`",
    "orderByAsc": True,
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "modelVersionFilter": "All Runs",
    "datasetsFilter": [],
}


def views(now: int, varying: Sequence[str], numeric: Sequence[str]) -> dict[str, str]:
    """The tags of both views, for a sweep over the `varying` keys, of which the `numeric` ones are numbers."""
    keys = [key for key in varying if key.split(".")[0] not in UNNAMED][:MOST_KEYS] or list(USUAL)
    return {
        PREFIX + LEADERBOARD: _tag("Leaderboard", _leaderboard(keys, numeric), now),
        PREFIX + CURVES: _tag("Curves, log axes", _curves(keys), now),
    }


def news(tags: Mapping[str, str], old: Mapping[str, str], keep: bool) -> dict[str, str]:
    """Those views that are not there yet, or with `keep` false, that show another page than those that are."""
    return {
        key: tag
        for key, tag in tags.items()
        if key not in old or not (keep or _state(tag) == _state(old[key]))
    }


def address(experiment_id: str, view: str = "") -> str:
    """The page of an MLflow experiment, or of one of its views, below the address of a server."""
    share = f"&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment_id}/runs?{WORKFLOW}{share}{'&compareRunsMode=CHART' if view == CURVES else ''}"


def _leaderboard(keys: Sequence[str], numeric: Sequence[str]) -> dict[str, Any]:
    settings = [f"metrics.`{HPARAM}{key}`" if key in numeric else f"params.`{key}`" for key in keys]
    ends = [
        f"metrics.`{key}`" for key in (EXCESS, LOSS, "distance_to_optimum", "steps_to_tolerance")
    ]
    name, columns = "attributes.`Run Name`", [*ends[:1], *settings, *ends[1:], f"tags.`{STATUS}`"]
    widths = {name: NAME_WIDTH, **dict.fromkeys(columns, WIDTH)}
    return {
        **_FITS,
        "selectedColumns": columns,
        "columnOrder": [name, *columns],
        "columnWidths": widths,
    }


def _curves(keys: Sequence[str]) -> dict[str, Any]:
    """The ten best fits; where seeds vary among other things the ten best settings, each as the mean of its seeds."""
    settings = [key for key in keys if key.rsplit(".", 1)[-1] != SEED]
    grouped = settings if 0 < len(settings) < len(keys) else []
    groups = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": key} for key in grouped],
    }
    return {
        **_FITS,
        "runsHiddenMode": "FIRST_10_RUNS",
        "compareRunCharts": [_chart(EXCESS), _chart(LOSS)],
        "compareRunSections": [
            _section("linfit-curves", "Curves on log axes", True),
            *map(_closed, NUMBERS),
        ],
        "isAccordionReordered": True,
        "groupBy": groups if grouped else None,
    }


def _chart(metric: str) -> dict[str, Any]:
    scales = {
        "scaleType": "log",
        "xAxisScaleType": "log",
        "xAxisKey": "step",
        "useGlobalXaxisKey": False,
        "displayPoints": False,
    }
    shown = {
        "type": "LINE",
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "runsCountToCompare": 10,
        "lineSmoothness": 0,
    }
    return {
        "uuid": f"linfit-{metric}",
        "metricSectionId": "linfit-curves",
        "deleted": False,
        "isGenerated": False,
        **shown,
        **scales,
    }


def _section(uuid: str, name: str, display: bool) -> dict[str, Any]:
    shape = {"columns": 2, "cardHeight": 460}
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
        **shape,
    }


def _closed(name: str) -> dict[str, Any]:
    return _section(f"linfit-{name}", name, False)


def _tag(name: str, state: Mapping[str, Any], now: int) -> str:
    packed = base64.b64encode(
        zlib.compress(json.dumps(state, separators=(",", ":")).encode(), 9)
    ).decode()
    return json.dumps(
        {"name": name, "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    )


def _state(tag: str) -> Any:
    try:
        return json.loads(tag)["state"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
