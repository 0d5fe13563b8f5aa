"""Warns in the log, once for each queue and process, that an awaited task waits in a queue that no worker reads."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from taskq.conf import database_broker_alias
from taskq.log_escapes import get_logger
from taskq.messages.protocol.options import is_storable

#: Not "taskq.results": the line is about the project's workers.
logger = get_logger("taskq")

#: Seconds for which a task is awaited before its queue is checked.
PATIENCE = 5.0

_told: set[tuple[str, str]] = set()


def tell(task_ids: Collection[str]) -> None:
    """Warn of the queues in which these tasks wait and that no living worker reads."""
    from taskq.store import readers

    alias = database_broker_alias()
    if alias is None:
        # Only another broker knows its consumers.
        return
    for queue, task_id in readers.unread([each for each in task_ids if is_storable(each)], alias).items():
        if (alias, queue) in _told:
            continue
        _told.add((alias, queue))
        logger.warning(
            "Task %s waits in the queue %r, and no living worker takes from it. Start one: "
            "python manage.py taskworker -Q %s",
            task_id,
            queue,
            shlex.quote(queue),
        )
