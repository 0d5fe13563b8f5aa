"""Large bodies of chords: a worker's main process neither reads nor plans them.

Such a body may be a group of 100,000 tasks. It goes into a message of the built-in task ``taskq.body``, as text, with
the values of the members or with the exception. The process that runs this task sends the body, or fails it, in parts
(``parts``). Called by ``advance``.
"""

from __future__ import annotations

import json

from taskq.conf import settings
from taskq.messages import protocol
from taskq.messages.announcing import announce
from taskq.messages.protocol import MOST_OUTSIDE
from taskq.messages.reprs import MASK
from taskq.records import Envelope, FollowUps

from .port import Body

#: The built-in task that sends or fails a large body.
TASK = "taskq.body"


def is_large(body: str, values: str = "") -> bool:
    """Tell whether ``body``, or the ``values`` that it is called with, are too large for a main process."""
    return len(body) + len(values) > MOST_OUTSIDE


def sent(body: Body, values: str, parent_id: str, queue: str) -> FollowUps:
    """Return the message whose task sends ``body`` with ``values``, the text of a JSON list.

    ``queue`` is that of the last member: its workers know the workflow's tasks. Raises ``ValueError`` if the message
    is above ``TASKQ_MAX_MESSAGE_SIZE``.
    """
    return _message(body, values, "null", parent_id, queue)


def failed(body: Body, error: str) -> FollowUps | None:
    """Return the message whose task fails ``body`` with ``error``, an exception as data.

    Return ``None`` for a body that is not large, or that no message can carry.
    """
    if not is_large(body.body):
        return None
    try:
        return _message(body, "null", json.dumps(error), "", "")
    except ValueError:
        return None


def _message(body: Body, values: str, error: str, parent_id: str, queue: str) -> FollowUps:
    check_size(body.body, values)
    envelope: Envelope = protocol.build(
        name=TASK,
        queue=queue or settings.DEFAULT_QUEUE,
        encoded=f"[[{body.body}, {values}, {error}], {{}}]",
        shown=([MASK, MASK, MASK], {}),
        serializer="json",
        ignore_result=True,
        root_id=body.root_id or None,
        parent_id=parent_id or None,
    )
    envelope.tracked = settings.TRACK_PENDING or settings.SIGNING
    announce([envelope])
    return FollowUps([envelope])


def check_size(body: str, values: str = "") -> None:
    """Raise ``ValueError`` if a chord's body does not fit into a message, without a copy of it."""
    most = settings.MAX_MESSAGE_SIZE
    if most is not None and len(body) + len(values) > most:
        raise ValueError(
            f"The body of the chord and its values have {len(body) + len(values)} characters, above "
            f"TASKQ_MAX_MESSAGE_SIZE ({most}): store the data and pass its key."
        )
