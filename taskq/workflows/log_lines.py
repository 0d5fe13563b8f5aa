"""The events of workflows, each with its line of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskq.hooks import Hook
from taskq.log_escapes import get_logger
from taskq.records import Envelope, Settlement

log = get_logger("taskq.worker")

# -- planning

errback_not_planned = Hook[Mapping[str, Any], object](
    # Not the signature: its arguments may be sensitive.
    lambda errback, of: log.exception("The errback %r of task %s can't be sent.", errback.get("task"), of)
)
errbacks_too_large = Hook[object](
    log.error,
    "The last errbacks of task %s are not sent: with its arguments the messages would have together more than "
    "16 times TASKQ_MAX_MESSAGE_SIZE, or 256 MiB.",
)
chord_body_unreadable = Hook[()](log.exception, "The body of a chord can't be read, so its follow-ups are not known.")
rest_unreadable = Hook[str](
    log.exception, "The rest of a chain (%s) can't be read: its tasks are looked up in the rows."
)
message_body_unreadable = Hook[object](
    log.warning, "The body of %s can't be read: its dependents are looked up in the rows."
)

# -- advancing

follow_ups_not_sent = Hook[Settlement, Exception](
    lambda s, error: log.error("The follow-ups of %s[%s] can't be sent: %s", s.name, s.task_id, error)
)
errback_not_sent = Hook[Envelope, object, Exception](
    lambda e, of, error: log.error("%s[%s], an errback of %s, can't be sent: %s", e.name, e.task_id, of, error)
)
message_not_written = Hook[Envelope](
    lambda e: log.error(
        "The message of %s[%s] can't be written: the task fails, and what follows from it.", e.name, e.task_id
    )
)
chord_body_not_sent = Hook[str](log.exception, "The body of a chord of %s can't be sent: it fails.")
