"""The events of the store, each with its line of the log."""

from __future__ import annotations

from taskq.hooks import Hook
from taskq.log_escapes import get_logger
from taskq.records import Settlement

log = get_logger("taskq.store")

settlement_refused = Hook[Settlement, Exception](
    lambda s, error: log.error("the result of task %s can't be stored: %s", s.task_id, error)
)
failure_refused = Hook[Settlement](
    lambda s: log.exception("nothing can be stored of task %s: its message is dropped", s.task_id)
)
retry_revoked = Hook[Settlement](
    lambda s: log.info("Task %s[%s] was revoked while it ran and is not tried again.", s.name, s.task_id)
)
broadcast_unread = Hook[str, str](
    get_logger("taskq").warning, "%s is sent to nobody: no worker reads the broadcast %r now."
)
