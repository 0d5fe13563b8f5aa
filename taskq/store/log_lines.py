"""The events of the store, each with its line of the log."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.exceptions import SignatureMismatch
from taskq.hooks import Hook, silent
from taskq.log_escapes import get_logger
from taskq.messages.protocol import StoredMessage
from taskq.records import Claimed, Settlement

log = get_logger("taskq.store")

#: What a claim has brought, and the seconds that it took.
messages_claimed = Hook[Sequence[Claimed], float](silent)
#: How many settlements a transaction has written, and the seconds that it took.
batch_settled = Hook[int, float](silent)
settlement_refused = Hook[Settlement, Exception](
    lambda s, error: log.error("the result of task %s can't be stored: %s", s.task_id, error)
)
failure_refused = Hook[Settlement](
    lambda s: log.exception("nothing can be stored of task %s: its message is dropped", s.task_id)
)
retry_revoked = Hook[Settlement](
    lambda s: log.info("Task %s[%s] was revoked while it ran and is not tried again.", s.name, s.task_id)
)
message_not_authentic = Hook[StoredMessage, SignatureMismatch](
    lambda m, error: log.error(
        "A message in %r under the id %.100r is dropped, and no task's state is changed: %s", m.queue, m.task_id, error
    )
)
stored_text_altered = Hook[SignatureMismatch](log.error, "%s It is not used.")
message_replayed = Hook[Claimed](
    lambda m: log.error(
        "A message in %r under the id %.100r is dropped: its task, or this try of it, has run or runs already.",
        m.queue, m.task_id,
    )
)  # fmt: skip
#: A settlement has left follow-ups in the rows with these ids, in this database; committed.
parts_left = Hook[Sequence[str], str](silent)
#: Tasks that were revoked while no worker held them; committed.
tasks_revoked = Hook[Sequence[Settlement]](silent)
part_refused = Hook[str](
    lambda row: log.exception(
        "A part of follow-ups can't be read or written (%s): no task after it is sent or ends.", row
    )
)
broadcast_unread = Hook[str, str](
    get_logger("taskq").warning, "%s is sent to nobody: no worker reads the broadcast %r now."
)
