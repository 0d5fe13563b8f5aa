"""Readers: who consumes from which queues, by the rows of living workers and kombu connections.

Also finds the queues and the tasks that nobody takes from. Only reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.db.models import Q

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.messages.parking import home
from taskq.models import Message, Node, Queue, ScheduledMessage, Worker

from .claim import with_messages
from .peers import process_exited
from .workers import queues_of

#: How many ids ``unread`` asks for in one statement, and how many queues and messages others look at.
MANY = 500


def read_queues(alias: str | None = None) -> set[str]:
    """Return the queues that living workers and kombu connections consume from.

    A worker lives if its last heartbeat is within its lease, and its process has not exited as far as can be seen.
    """
    alias = alias or settings.DATABASE
    rows = list(Worker.objects.using(alias).exclude(state=Worker.LOST))
    # The rows first: no heartbeat of theirs is later than this.
    now = for_alias(alias).now() if rows else 0.0
    living = (row for row in rows if now - row.seen_at.timestamp() < row.lease and not process_exited(row))
    return {queue for row in living for queue in queues_of(row.info)}


def unread(task_ids: Collection[str], alias: str | None = None) -> dict[str, str]:
    """Return the queues in which these tasks wait and from which nobody takes, each with the id of one such task.

    A task of a workflow that is not sent yet waits for the others, so their messages count too. Of very many tasks
    only ``MANY`` are looked at.
    """
    alias = alias or settings.DATABASE
    wanted = list(task_ids)[:MANY]
    waiting = _waiting(wanted, alias)
    nodes = Node.objects.using(alias)
    roots = nodes.filter(task_id__in=wanted).exclude(root_id="").values_list("root_id", flat=True).distinct()
    others = nodes.filter(root_id__in=list(roots)).order_by("-id").values_list("task_id", flat=True)
    waiting = {**_waiting(list(others[:MANY]), alias), **waiting}
    read = read_queues(alias) if waiting else set()
    return {queue: task_id for queue, task_id in waiting.items() if queue not in read}


def waiting_queues(alias: str | None = None) -> set[str]:
    """Return the queues in which messages wait, ``MANY`` at most, by one look into the claim's index for each.

    Queues that are deleted with their reader are left out: those of broadcasts and of remote control.
    """
    alias = alias or settings.DATABASE
    waiting = Message.objects.using(alias).filter(token="").order_by("queue").values_list("queue", flat=True)
    found: list[str] = []
    while len(found) < MANY and (queue := waiting.filter(queue__gt=found[-1] if found else "").first()) is not None:
        found.append(queue)
    passing = Queue.objects.using(alias).filter(Q(auto_delete=True) | Q(expires__isnull=False), name__in=found)
    return {home(queue) for queue in found} - set(passing.values_list("name", flat=True))


def without_messages(queues: Iterable[str], alias: str | None = None) -> set[str]:
    """Return those of ``queues`` in which nothing waits. Of the scheduled messages the next ``MANY`` are looked at."""
    alias = alias or settings.DATABASE
    left = set(queues)
    if left:
        scheduled = ScheduledMessage.objects.using(alias).order_by("due_at", "id").values_list("queue", flat=True)
        left -= set(scheduled[:MANY])
    return left - with_messages(sorted(left), alias) if left else left


def _waiting(task_ids: Iterable[str], alias: str) -> dict[str, str]:
    """Return the queues in which these tasks wait or for which they are scheduled, each with the id of one."""
    if not task_ids:
        return {}
    messages = Message.objects.using(alias).filter(task_id__in=task_ids, token__unindexed="")
    scheduled = ScheduledMessage.objects.using(alias).filter(task_id__in=task_ids)
    found = [*scheduled.values_list("queue", "task_id"), *messages.values_list("queue", "task_id")]
    return {home(queue): task_id for queue, task_id in found}
