"""Open the recorder that a config asks for.

MLflow is imported only if the recorder of this process needs it.
"""

from __future__ import annotations

from linfit.errors import RecordingError
from linfit.scratch import note_store
from linfit.settings import MLflowTracking, NoTracking, Tracking
from linfit.tracking.head_start import dismiss, waiting
from linfit.tracking.leftovers import remove_leftovers
from linfit.tracking.migrations import require_current
from linfit.tracking.null import NullRecorder
from linfit.tracking.recorder import Recorder
from linfit.tracking.remote import RemoteRecorder
from linfit.tracking.store import locate


def open_recorder(tracking: Tracking, experiment: str) -> Recorder:
    """Return the recorder that `tracking` asks for, with its store, which is created if absent.

    RecordingError if that fails, here or in the recorder's `wait`.
    """
    if isinstance(tracking, NoTracking):
        dismiss()
        return NullRecorder()
    if not isinstance(tracking, MLflowTracking):
        dismiss()
        raise RecordingError(
            f"tracking {tracking.name!r} has no recorder: choose tracking=mlflow or tracking=none"
        )

    store = locate(tracking.uri, tracking.artifacts)
    # Other databases need MLflow for this check: the recorder makes it when it opens them.
    if store.file is not None:
        require_current(store)
        # A caller's script is no command, and has not removed them.
        remove_leftovers()
        note_store(store.file)
        child = waiting()
        if child is not None:
            resolved = tracking.model_copy(update={"uri": store.uri, "artifacts": store.artifacts})
            return RemoteRecorder(child, store, resolved, experiment, open_recorder_here)
    dismiss()
    return open_recorder_here(tracking, experiment)


def open_recorder_here(
    tracking: MLflowTracking, experiment: str, parent: int | None = None
) -> Recorder:
    """Return the fastest recorder that the store allows, which writes to MLflow from this process.

    `parent` is the process that this one records for, if any. RecordingError if the store cannot be
    opened.
    """
    from linfit.tracking.client import ClientRecorder

    client = ClientRecorder(locate(tracking.uri, tracking.artifacts), experiment)
    if client.store.is_server:
        return client
    from linfit.tracking.database import fastest

    return fastest(client, parent)
