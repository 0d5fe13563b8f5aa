"""A site with ``TASKQ_SIGNING``, and an attacker who can write to taskq's tables but has no ``SECRET_KEY``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from taskq import Task, task
from taskq.models import Attempt, Group, Message, Node, ScheduledMessage, TaskRun
from taskq.testing import running_worker
from tests.support.waiting import wait_until

#: What tasks did, in their order.
ran: list[str] = []


@task(name="security.act")
def act(name: str) -> str:
    """Act, which the attacker wants to happen."""
    ran.append(name)
    return name


def exploit(name: str) -> str:
    """Act, as code in a pickle."""
    ran.append(name)
    return name


@task(name="security.ignored", ignore_result=True)
def act_ignored(name: str) -> None:
    """Act, and leave no row."""
    ran.append(name)


@task(name="security.fail")
def fail(name: str) -> None:
    """Act, and fail."""
    ran.append(name)
    raise ValueError(name)


@task(name="security.retry", bind=True, max_retries=1)
def act_twice(self: Task[..., Any], name: str) -> str:
    """Act, and act again at the second try, from a queue that nobody reads yet."""
    ran.append(f"{name} {self.request.retries}")
    if not self.request.retries:
        raise self.retry(countdown=0, queue="elsewhere")
    return name


@task(name="security.become", bind=True)
def become(self: Task[..., Any], sig: Any) -> Any:
    """Let another signature take this task's place."""
    return self.replace(sig)


@task(name="security.extend", bind=True)
def extend(self: Task[..., Any], name: str, *more: Any) -> str:
    """Add members to this task's chord."""
    ran.append(name)
    for sig in more:
        self.add_to_chord(sig)
    return name


@task(name="security.join")
def join(values: list[str]) -> str:
    """Act with the values of a chord's members."""
    ran.append(f"join {values}")
    return "joined"


@pytest.fixture
def signed(alias: str, settings: Any) -> str:
    """The alias of a database on which messages are signed."""
    settings.TASKQ_SIGNING = True
    ran.clear()
    return alias


@pytest.fixture
def work(signed: str) -> Callable[..., list[str]]:
    """A function that has a worker take everything from ``queues``, and returns what tasks did meanwhile."""

    def work(*queues: str) -> list[str]:
        before = len(ran)
        queues = queues or ("taskq",)
        with running_worker(queues):
            # Lower than any other: it comes last.
            last = [act.apply_async(("last",), queue=queue, priority=0) for queue in queues]
            for result in last:
                result.get(timeout=60)
            # A follow-up may have come after the last of its queue.
            wait_until(lambda: not Message.objects.using(signed).filter(queue__in=queues).exists(), what="empty queues")
        done = [what for what in ran[before:] if what != "last"]
        for result in last:
            result.forget()
        return done

    return work


def snapshot(alias: str, but: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return all rows that tell of tasks, but for those of the tasks ``but``."""
    rows = [
        row for model in (TaskRun, Attempt, Node) for row in model._base_manager.using(alias).order_by("id").values()
    ]
    rows = [row for row in rows if row["task_id"] not in but]
    return rows + list(Group.objects.using(alias).order_by("id").values())


def waiting(alias: str) -> list[dict[str, Any]]:
    """Return the rows of all messages, for a copy of them."""
    return [row for row in Message.objects.using(alias).order_by("id").values() if row.pop("id")]


def put(alias: str, *rows: dict[str, Any]) -> None:
    """Insert messages as an attacker does."""
    Message.objects.using(alias).bulk_create(Message(**row) for row in rows)


def scheduled(alias: str, task_id: str) -> bool:
    """Tell whether a message waits in the schedule."""
    return ScheduledMessage.objects.using(alias).filter(task_id=task_id).exists()
