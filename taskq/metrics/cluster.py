"""Figures of the whole cluster, from its rows: any process that reaches the database can give them.

They cost the same whatever the tables hold: counts stop, names of queues and states come from probes of an index, and
of the messages of a queue only the head of each priority is looked at. Times are by the clock of the database.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import QuerySet

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.look_ups import look_ups
from taskq.messages.parking import home
from taskq.models import DUE_ORDER, Message, ScheduledMessage, TaskRun, Worker
from taskq.store import backlog
from taskq.worker.health import look

from .exposition import Family
from .names import OTHER, TaskNames

#: The most waiting messages that are counted, of one queue and of all. Each of many queues is counted to ``LEAST``:
#: that of ``MANY_QUEUES``, and of as many in which messages wait for a rate limit, is no more than of all.
MOST, MOST_TOGETHER, LEAST = 10_000, 20_000, 100
#: The most rows that are read: messages that are held, messages of the schedule, and tasks of one state.
MOST_CLAIMED, MOST_SCHEDULED, MOST_TASKS = 10_000, 1_000, 1_000
#: Queues, states and workers with samples of their own, at most.
MANY_QUEUES, MANY_STATES, MANY_WORKERS = 100, 20, 1_000


def families() -> list[Family]:
    """Return all figures of the cluster. Raises the database's errors."""
    with look_ups(for_alias(settings.DATABASE)):
        return [*_of_queues(), _scheduled(), _tasks(), *_workers()]


# -- queues


def _of_queues() -> Iterator[Family]:
    waiting = Family(
        "taskq_queue_messages", "gauge", "Messages that wait in the queue, counted to taskq_queue_messages_limit."
    )
    limit = Family(
        "taskq_queue_messages_limit", "gauge", "Where counting stopped: a queue with so many messages may have more."
    )
    oldest = Family(
        "taskq_queue_oldest_message_age_seconds",
        "gauge",
        "How long the message that has waited longest has waited; 0 if none waits.",
    )
    held = Family(
        "taskq_queue_claimed_messages", "gauge", f"Messages of the queue that workers hold, {MOST_CLAIMED} at most."
    )
    claimed = _claimed()
    found, most = backlog.counted(MANY_QUEUES, _most, {*_read_queues(), *claimed})
    limit.add(most)
    for queue, load in list(found.items())[:MANY_QUEUES]:
        waiting.add(load.count, queue=queue)
        oldest.add(load.oldest or 0.0, queue=queue)
        held.add(claimed[queue], queue=queue)
    yield from (waiting, limit, oldest, held)


def _most(queues: int) -> int:
    """Return to how many the messages of each of so many queues are counted."""
    return max(LEAST, min(MOST, MOST_TOGETHER // max(1, queues)))


def _claimed() -> Counter[str]:
    rows = Message.objects.using(settings.DATABASE).filter(token__gt="").order_by("token", "queue")
    return Counter(home(queue) for queue in rows.values_list("queue", flat=True)[:MOST_CLAIMED])


def _read_queues() -> set[str]:
    """Return the queues that workers say they read: one that is empty has its zeros."""
    rows = Worker.objects.using(settings.DATABASE).exclude(state__in=[Worker.LOST, Worker.CONSUMER])
    queues = (_info(text).get("queues") for text in rows.values_list("info", flat=True)[:MANY_WORKERS])
    return {queue for each in queues if isinstance(each, list) for queue in each if isinstance(queue, str)}


def _scheduled() -> Family:
    family = Family(
        "taskq_scheduled_messages",
        "gauge",
        f"Messages that are due later, by queue, among the {MOST_SCHEDULED} that are due next.",
    )
    rows = ScheduledMessage.objects.using(settings.DATABASE).order_by(*DUE_ORDER).values_list("queue", flat=True)
    for queue, count in _folded(Counter(home(queue) for queue in rows[:MOST_SCHEDULED]), MANY_QUEUES):
        family.add(count, queue=queue)
    return family


# -- tasks


def _tasks() -> Family:
    family = Family(
        "taskq_tasks",
        "gauge",
        f"Tasks that have a row, by state and name, among the newest {MOST_TASKS} of each state.",
    )
    names = TaskNames()
    runs = TaskRun.objects.using(settings.DATABASE)
    for state in _distinct(runs.all(), "state", MANY_STATES):
        newest = runs.filter(state=state).order_by("state", "-id").values_list("name", flat=True)[:MOST_TASKS]
        counts: Counter[str] = Counter()
        for name, count in Counter(newest).most_common():
            counts[names.label(name)] += count
        for name, count in counts.items():
            family.add(count, state=state, name=name)
    return family


# -- workers


def _workers() -> Iterator[Family]:
    count = Family("taskq_workers", "gauge", "Workers by state: running, stopping, silent beyond their lease, or lost.")
    slots = Family("taskq_workers_slots", "gauge", "Tasks that the workers that live can run at a time.")
    health = look()
    states = Counter(worker.state if worker.alive else _why_dead(worker.state) for worker in health)
    for state in sorted({"running", "stopping", "silent", Worker.LOST, *states}):
        count.add(states[state], state=state)
    alive = {(worker.name, worker.pid) for worker in health if worker.alive}
    rows = Worker.objects.using(settings.DATABASE).exclude(state__in=[Worker.LOST, Worker.CONSUMER])
    infos = (_info(text) for name, pid, text in rows.values_list("name", "pid", "info") if (name, pid) in alive)
    slots.add(sum(found for info in infos if type(found := info.get("concurrency")) is int))
    yield from (count, slots)


def _why_dead(state: str) -> str:
    return Worker.LOST if state == Worker.LOST else "silent"


def _info(text: str) -> dict[str, Any]:
    """Return what a worker wrote about itself; one of another version may write anything."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# -- counting


def _distinct(rows: QuerySet[Any, Any], column: str, most: int) -> list[str]:
    """Return the first ``most`` values of a column: each probe asks the index for the next one."""
    found: list[str] = []
    values = rows.order_by(column).values_list(column, flat=True)
    value = values.first()
    while value is not None and len(found) < most:
        found.append(value)
        value = values.filter(**{f"{column}__gt": value}).first()
    return found


def _folded(counts: Counter[str], most: int) -> Iterable[tuple[str, int]]:
    """Return the ``most`` frequent values with their counts; the others are counted together."""
    ordered: Sequence[tuple[str, int]] = counts.most_common()
    yield from ordered[:most]
    if rest := sum(count for _, count in ordered[most:]):
        yield OTHER, rest
