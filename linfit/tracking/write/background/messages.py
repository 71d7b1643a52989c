"""Messages between linfit and its recording process: pickles in the frames of
`multiprocessing.connection`.

A request is the name of a recorder's method with its arguments. An answer is a kind with its
content. Log records of the recording process come before the answer. `Connection.send` is not used:
torch teaches its pickler to share the memory of tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: Kinds of answers: a result, an error to raise, the traceback of an error that nobody expects; and
#: a log record.
DONE = "done"
RAISED = "raised"
BROKEN = "broken"
LOGGED = "logged"
#: The request that opens the recorder.
OPEN = "open"


def receive_frame(connection: Connection) -> bytes | None:
    """Return the next message; None if the other process has ended.

    It may have ended within a message.
    """
    try:
        return connection.recv_bytes()
    except (EOFError, OSError):
        return None
