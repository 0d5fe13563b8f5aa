"""Authenticity: while ``TASKQ_SIGNING`` is on, only messages with a valid seal, of tasks that are to run, are acted on.

Whoever can write rows can put any message under any task's id. So nothing is settled because of a message before its
seal is verified. A message without a valid seal, or of a task that has ended, is deleted, and no other row is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from django.db.models import QuerySet

from taskq import states
from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.claim_columns import CLAIMED_SIZE
from taskq.exceptions import SignatureMismatch
from taskq.messages.protocol import StoredMessage, mapping_of, verify
from taskq.models import Attempt, Message, ScheduledMessage, TaskRun
from taskq.records import Claimed

from . import log_lines
from .claim import copying_exchanges
from .texts import whole, without_texts

M = TypeVar("M", bound=StoredMessage)
R = TypeVar("R", TaskRun, Attempt, Message)
S = TypeVar("S", Message, ScheduledMessage, Message | ScheduledMessage)
#: Rows that are read at once.
_AT_ONCE = 500


def runnable(token: str, claimed: Sequence[Claimed], alias: str) -> list[Claimed]:
    """Return the messages that may run; delete the others, which ``token`` holds."""
    sealed = authentic(claimed)
    again = _replayed(sealed, alias) if sealed else set()
    for message in sealed:
        if message.id in again:
            log_lines.message_replayed(message)
    found = [message for message in sealed if message.id not in again]
    if len(found) < len(claimed):
        kept = {message.id for message in found}
        for_alias(alias).delete_held(token, sorted({message.id for message in claimed} - kept))
    return found


def authentic(messages: Iterable[M]) -> list[M]:
    """Return the messages with a valid seal, all of them while ``TASKQ_SIGNING`` is off; log the others."""
    return [message for message in messages if _is_authentic(message)]


def authentic_ids(rows: QuerySet[Message]) -> list[str]:
    """Return the ids of the tasks whose messages are among ``rows``; with ``TASKQ_SIGNING`` those with a valid seal."""
    if not settings.SIGNING:
        return list(rows.values_list("task_id", flat=True))
    numbers = list(rows.values_list("id", flat=True))
    batches = (numbers[start : start + _AT_ONCE] for start in range(0, len(numbers), _AT_ONCE))
    found = (authentic(without_texts(rows.filter(id__in=batch), CLAIMED_SIZE)) for batch in batches)
    return [message.task_id for messages in found for message in messages]


def readable(message: S) -> S:
    """Return the message of a task that ends in any case, with unreadable texts if its seal is not valid.

    Then the follow-ups of the task are looked up in the rows of its workflow.
    """
    if not _is_authentic(message):
        message.headers = message.body = "unreadable"
    return message


def _is_authentic(message: StoredMessage) -> bool:
    if settings.SIGNING:
        if (sealed := whole(message)) is None:
            return False
        try:
            verify(sealed)
        except SignatureMismatch as error:
            log_lines.message_not_authentic(message, error)
            return False
    return True


def _replayed(messages: Sequence[Claimed], alias: str) -> set[int]:
    """Return the ids of messages that have been delivered before, as another row.

    A message runs if the row of its task exists and is not final, if no later try of the task was sent, and if no older
    message of the task is held. Copies that an exchange has put into several queues run each.
    """
    copying = copying_exchanges({message.exchange for message in messages if message.exchange}, alias)
    single = [message for message in messages if message.exchange not in copying]
    ids = [message.task_id for message in single]
    runs = {run.task_id: run for run in _of(TaskRun, ids, alias).only("task_id", "state", "created_at")}
    tried = _tries(ids, runs, alias)
    oldest = dict(_of(Message, ids, alias).exclude(token="").order_by("-id").values_list("task_id", "id"))
    return {
        message.id
        for message in single
        if _has_ended(message, runs.get(message.task_id))
        or _retries(message) <= tried.get(message.task_id, -1)
        or message.id > oldest.get(message.task_id, message.id)
    }


def _of(model: type[R], task_ids: Sequence[str], alias: str) -> QuerySet[R]:
    return model._base_manager.using(alias).filter(task_id__in=task_ids)


def _has_ended(message: Claimed, run: TaskRun | None) -> bool:
    """Tell whether the task has ended. The row of a tracked task is deleted only after its end."""
    return message.tracked if run is None else run.state in states.READY_STATES


def _retries(message: Claimed) -> int:
    return mapping_of(message.headers).get("retries") or 0


def _tries(task_ids: Sequence[str], runs: Mapping[str, TaskRun], alias: str) -> dict[str, int]:
    """Return for each task the number of its last try that has ended in a retry."""
    rows = _of(Attempt, task_ids, alias).filter(state=states.RETRY).order_by("retries")
    return {
        task_id: retries
        for task_id, retries, finished in rows.values_list("task_id", "retries", "finished_at")
        # An id may have been used again since: attempts of the task before say nothing.
        if task_id in runs and finished and finished >= runs[task_id].created_at
    }
