"""Open the recorder that a config asks for.

MLflow is imported only if the recorder of this process needs it.
"""

from __future__ import annotations

from linfit.errors import RecordingError
from linfit.settings import MLflowTracking, NoTracking, Tracking
from linfit.system.scratch import note_store
from linfit.tracking.store.leftovers import remove_leftovers
from linfit.tracking.store.migrations import require_current
from linfit.tracking.store.store import resolve_store
from linfit.tracking.write.background.prestart import discard_process, take_process
from linfit.tracking.write.background.remote import RemoteRecorder
from linfit.tracking.write.null import NullRecorder
from linfit.tracking.write.recorder import Recorder


def open_recorder(tracking: Tracking, experiment: str) -> Recorder:
    """Return the recorder for `tracking`, with its store.

    The store is created if absent. RecordingError if that fails, here or in the recorder's
    `wait_until_open`.
    """
    if isinstance(tracking, NoTracking):
        discard_process()
        return NullRecorder()
    if not isinstance(tracking, MLflowTracking):
        discard_process()
        raise RecordingError(
            f"tracking {tracking.name!r} has no recorder: choose tracking=mlflow or tracking=none"
        )

    store = resolve_store(tracking.uri, tracking.artifacts)
    # Other databases need MLflow for this check: the recorder makes it when it opens them.
    if store.file is not None:
        require_current(store)
        # A caller's script is no command, and has not removed them.
        remove_leftovers()
        note_store(store.file)
        child = take_process()
        if child is not None:
            resolved = tracking.model_copy(update={"uri": store.uri, "artifacts": store.artifacts})
            return RemoteRecorder(child, store, resolved, experiment, open_recorder_here)
    discard_process()
    return open_recorder_here(tracking, experiment)


def open_recorder_here(
    tracking: MLflowTracking, experiment: str, parent: int | None = None
) -> Recorder:
    """Return the fastest recorder that writes from this process.

    It is the fastest that the store allows. `parent` is the process that this one records for, if
    any. RecordingError if the store cannot be opened.
    """
    from linfit.tracking.write.client import ClientRecorder

    client = ClientRecorder(resolve_store(tracking.uri, tracking.artifacts), experiment)
    if client.store.is_server:
        return client
    from linfit.tracking.write.database import best_recorder_for

    return best_recorder_for(client, parent)
