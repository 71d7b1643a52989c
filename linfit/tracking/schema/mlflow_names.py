"""Name everything that linfit writes into MLflow, and read the tags that say what a run is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from linfit.errors import LinfitError, shorten
from linfit.problem.measures import find_measure
from linfit.tracking.schema import limits

# ---- tags ----

KIND = "linfit.kind"
FINGERPRINT = "linfit.fingerprint"
STATUS = "linfit.status"
CONFIG = "linfit.config"
CODE = "linfit.code"
VERSION = "linfit.version"
ENVIRONMENT = "linfit.environment"
DIRTY = "linfit.git.dirty"
ERROR = "linfit.error"
ROW = "linfit.row"
VARYING = "linfit.varying"
REPRODUCES = "linfit.reproduces"
ID = "linfit.id"
OWNER = "linfit.owner"
FOLDER = "linfit.folder"
RETRIES = "linfit.retries"
CHANGES = "linfit.changes"
CHANGED = "linfit.changed"
VERDICT = "linfit.verdict"
FILES = "linfit.files"
NOTES = "linfit.notes"
#: The classes of the target, sorted, as JSON.
CLASSES = "linfit.classes"
HORIZON = "linfit.horizon"
COMPARED_BY = "linfit.compared_by"
BEST_METHOD = "linfit.best_method"
PARENT = "mlflow.parentRunId"

# ---- values of tags ----

FIT = "fit"
SWEEP = "sweep"
#: A kind of its own, because searches in MLflow 3.10 cannot ask whether a tag is absent.
REPRODUCTION = "reproduction"
#: The value of COMPARED_BY where fits cannot be compared.
NOT_COMPARABLE = "nothing"

# ---- metrics ----

LOSS, EXCESS, VALIDATION = LOSSES = "loss", "excess_loss", "validation_loss"
#: The excess loss of a sweep's best fit.
BEST_EXCESS = "best_excess_loss"
WEIGHT = "weight/"
OWN_WEIGHT = "weight_raw/"
HPARAM = "hparam/"
THEORY = "theory/"
#: The number of weights of a fit that become metrics.
MAX_WEIGHTS = 32

# ---- artifacts ----

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.safetensors"
ENVIRONMENT_FILE = "environment.json"
GIT_DIFF = "git.diff"
MANIFEST = "manifest.parquet"
RESULTS = "results.parquet"
CURVES = "curves.parquet"
MODEL = "model"
#: The tag of a logged model that linfit has logged; before it, its name was `MODEL`.
OWN_MODEL = "linfit.model"
PICTURES = "pictures"
REPORT = "report.html"
TWINS = "twins.json"
LEADERBOARD = "leaderboard"


def tag_reproduction(run_id: str) -> dict[str, str]:
    """Return the tags of a run that reproduces another one."""
    return {KIND: REPRODUCTION, REPRODUCES: run_id}


def tag_varying(keys: Sequence[str]) -> dict[str, str]:
    """Return the tag with the keys that a sweep varies."""
    return {VARYING: json.dumps(list(keys))}


def tag_notes(notes: Iterable[str]) -> dict[str, str]:
    """Return the tag with remarks on the data, one a line.

    Empty if there are none.
    """
    text = "\n".join(notes)
    if text:
        return {NOTES: shorten(text, limits.MAX_TAG - 100)}
    return {}


def read_kind(tags: Mapping[str, str]) -> str:
    """Return `fit` or `sweep`, also for the reproduction of one."""
    kind = tags.get(KIND, "")
    if kind != REPRODUCTION:
        return kind
    return SWEEP if VARYING in tags else FIT


def read_sweep_id(tags: Mapping[str, str]) -> str | None:
    """Return the id of the sweep that contains a run.

    None for a single run and for a sweep, also below a run of the caller's.
    """
    # single runs and sweeps have the tag CODE, fits of sweeps do not
    return None if CODE in tags else tags.get(PARENT)


def parse_row_number(text: str) -> int:
    """Return the row of a sweep's fit from its tag.

    LinfitError where the tag is no number.
    """
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise LinfitError(f"the tag {ROW} is no number: {shorten(repr(text))}")
    return int(text)


def read_ranking_loss(tags: Mapping[str, str]) -> str | None:
    """Return the loss or measure that compares a sweep's fits.

    None where they cannot be compared. `tags` are those of the parent. Earlier parents lack the
    tag: their fits compare by excess loss.
    """
    by = tags.get(COMPARED_BY, EXCESS)
    return by if by in LOSSES or find_measure(by) is not None else None
