"""List what MLflow's tables hold of each thing, and what linfit does with longer ones.

| thing | characters at most | longer ones |
|---|---|---|
| name of a run | 250 | are cut, with a digest that keeps them apart; the sweep's tables have them |
| value of a param | 6,000 | are cut in the same way |
| value of a tag | 8,000 | are cut in the same way; a config is in the sweep's manifest instead |
| digest of a dataset | 36 | are cut |
| schema of a dataset | 1,048,575 | are left out, and a note says so |
| name of an MLflow experiment | 256 | are refused before anything runs |
| address of a run's artifacts | 200 | are refused before anything runs |

SQLite holds longer addresses and names than its tables say; other databases do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from linfit.errors import RecordingError, shorten

MAX_RUN_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 8000
MAX_DATASET_DIGEST = 36
MAX_DATASET_SCHEMA = 1_048_575
MAX_EXPERIMENT_NAME = 256
MAX_ARTIFACT_URI = 200
#: What MLflow appends to the address of an experiment's artifacts for those of a run.
RUN_SUFFIX_LENGTH = len(f"/{'0' * 32}/artifacts")


def shorten_with_digest(text: str, most: int) -> str:
    """Return the text, shortened with a digest if too long.

    It then is the text's beginning with a digest of all of it.
    """
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: most - 10]}… {digest}"


def shorten_all(texts: Mapping[str, str], most: int) -> dict[str, str]:
    """Return the texts, each shortened."""
    return {key: shorten_with_digest(text, most) for key, text in texts.items()}


@lru_cache(maxsize=8)
def format_dataset_schema(columns: tuple[str, ...]) -> str | None:
    """Return the schema of a dataset with these columns.

    None where MLflow has no room for it.
    """
    fields = [{"type": "double", "name": name, "required": True} for name in columns]
    schema = json.dumps({"mlflow_colspec": fields})
    return schema if len(schema) <= MAX_DATASET_SCHEMA else None


def note_missing_schema(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note on a dataset whose schema is left out.

    Empty for others.
    """
    if format_dataset_schema(columns) is not None:
        return ()
    return (
        f"MLflow holds no schema of {len(columns):,} columns: "
        "the names stand in weights.safetensors and in the model alone",
    )


class LimitedStore(Protocol):
    """A store, as far as its limits depend on what it is."""

    @property
    def file(self) -> Path | None: ...
    @property
    def is_server(self) -> bool: ...


def require_room(store: LimitedStore, experiment: str, artifacts: str | None) -> None:
    """Raise RecordingError if a name or address is too long.

    How much the store can hold depends on its kind.
    """
    if store.file is not None:
        return
    if len(experiment) > MAX_EXPERIMENT_NAME:
        raise RecordingError(
            f"the MLflow experiment {shorten(experiment, 40)!r} has a name of {len(experiment)} "
            f"characters, {MAX_EXPERIMENT_NAME} at most: "
            "choose a shorter one with name=… or MLFLOW_EXPERIMENT_NAME"
        )
    if (
        not store.is_server
        and artifacts is not None
        and len(artifacts) + RUN_SUFFIX_LENGTH > MAX_ARTIFACT_URI
    ):
        raise RecordingError(
            "artifacts of runs would have addresses of "
            f"{len(artifacts) + RUN_SUFFIX_LENGTH} characters "
            f"at {shorten(artifacts)}, "
            f"{MAX_ARTIFACT_URI} at most: name a shorter place with tracking.artifacts, "
            "or for runs that are there already with name=…"
        )
