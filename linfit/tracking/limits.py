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

from linfit.errors import RecordingError, brief

RUN_NAME, PARAM, TAG, DIGEST, SCHEMA = 250, 6000, 8000, 36, 1_048_575
EXPERIMENT_NAME, ARTIFACTS = 256, 200
#: What MLflow appends to the address of an experiment's artifacts for those of a run.
OF_A_RUN = len(f"/{'0' * 32}/artifacts")


def shortened(text: str, most: int) -> str:
    """Return the text, or if it is too long its beginning with a digest of all of it."""
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: most - 10]}… {digest}"


def shortened_values(texts: Mapping[str, str], most: int) -> dict[str, str]:
    """Return the texts, each shortened."""
    return {key: shortened(text, most) for key, text in texts.items()}


@lru_cache(maxsize=8)
def schema_of(columns: tuple[str, ...]) -> str | None:
    """Return the schema of a dataset with these columns, None where MLflow has no room for it."""
    fields = [{"type": "double", "name": name, "required": True} for name in columns]
    schema = json.dumps({"mlflow_colspec": fields})
    return schema if len(schema) <= SCHEMA else None


def schema_notes(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return a note on a dataset whose schema is left out; empty for others."""
    if schema_of(columns) is not None:
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
    """Raise RecordingError if the store cannot hold a name or an address."""
    if store.file is not None:
        return
    if len(experiment) > EXPERIMENT_NAME:
        raise RecordingError(
            f"the MLflow experiment {brief(experiment, 40)!r} has a name of {len(experiment)} "
            f"characters, {EXPERIMENT_NAME} at most: "
            "choose a shorter one with name=… or MLFLOW_EXPERIMENT_NAME"
        )
    if not store.is_server and artifacts is not None and len(artifacts) + OF_A_RUN > ARTIFACTS:
        raise RecordingError(
            f"artifacts of runs would have addresses of {len(artifacts) + OF_A_RUN} characters "
            f"at {brief(artifacts)}, "
            f"{ARTIFACTS} at most: name a shorter place with tracking.artifacts, "
            "or for runs that are there already with name=…"
        )
