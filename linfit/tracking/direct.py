"""The recorder that writes to MLflow from the process it is in. MLflow is imported when it is opened."""

from __future__ import annotations

from linfit.settings import MLflowTracking
from linfit.tracking.recorder import Recorder
from linfit.tracking.store import locate


def open_store(tracking: MLflowTracking, experiment: str, parent: int | None = None) -> Recorder:
    """The fastest that the store allows, which works for this process, or for its `parent`; RecordingError where the store cannot be opened."""
    from linfit.tracking.client import ClientRecorder

    client = ClientRecorder(locate(tracking.uri, tracking.artifacts), experiment)
    if client.store.is_server:
        return client
    from linfit.tracking.database import fastest

    return fastest(client, parent)
