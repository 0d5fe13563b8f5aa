"""Rows that another transaction keeps locked: the worker goes on with everything that does not need them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from taskq import Signature, chain, chord, group, states
from taskq.models import Group, Message, Node, TaskRun, Worker
from taskq.results.async_result import AsyncResult
from tests.support.audit import audit, times_final
from tests.support.databases import Database
from tests.support.jobs import endings, pure
from tests.support.jobs import tasks as jobs
from tests.support.processes import Processes
from tests.support.waiting import wait_until

from .conftest import StartWorker

pytestmark = [
    pytest.mark.faults,
    # A transaction that writes locks the whole of SQLite.
    pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True),
]

#: What makes a transaction lock rows, given the database and the id of a task that runs.
Lock = Callable[[str, str], object]


@contextmanager
def _open_transaction(alias: str, lock: Callable[[], object]) -> Iterator[None]:
    """Call ``lock`` in a transaction of another thread, which stays open meanwhile and is rolled back."""
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        try:
            with suppress(_RollBack), transaction.atomic(using=alias):
                lock()
                locked.set()
                release.wait(200)
                raise _RollBack
        finally:
            connections[alias].close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert locked.wait(60)
        yield
    finally:
        release.set()
        thread.join(60)


class _RollBack(Exception):
    pass


def _rows(model: Any, alias: str, **condition: Any) -> list[Any]:
    return list(model.objects.using(alias).select_for_update().filter(**condition))


def _send_as(alias: str, task_id: str) -> None:
    pure.add.apply_async((1, 1), task_id=task_id)


LOCKS: dict[str, Lock] = {
    "message": lambda alias, task_id: _rows(Message, alias, task_id=task_id),
    "revoked": lambda alias, task_id: AsyncResult(task_id).revoke(),
    "run": lambda alias, task_id: _rows(TaskRun, alias, task_id=task_id),
    "deleted run": lambda alias, task_id: TaskRun.objects.using(alias).filter(task_id=task_id).delete(),
    "node of the next link": lambda alias, task_id: _rows(Node, alias, root_id=task_id),
    "group": lambda alias, task_id: _rows(Group, alias, remaining__gt=0),
    "id of a follow-up": lambda alias, task_id: _send_as(alias, f"after-{task_id}"),
    "worker": lambda alias, task_id: _rows(Worker, alias),
}


def _with_neighbours(kind: str, call: Signature[Any], task_id: str) -> Signature[Any]:
    """Return a canvas with the task whose settlement needs rows of this kind."""
    follow_up = pure.identity.s(1).set(task_id=f"after-{task_id}")
    if kind == "group":
        return chord([call, pure.add.si(1, 1)], follow_up)
    if kind in ("node of the next link", "id of a follow-up"):
        return chain(call, follow_up)
    return call


def _state(alias: str, task_id: str) -> str:
    return TaskRun.objects.using(alias).values_list("state", flat=True).get(task_id=task_id)


def _ended(alias: str, results: Any) -> bool:
    runs = TaskRun.objects.using(alias).filter(task_id__in=[r.id for r in results], state__in=states.READY_STATES)
    return runs.count() == len(results)


def test_other_tasks_are_settled_while_a_row_is_locked(alias: str, start_worker: StartWorker, notes: Path) -> None:
    worker = start_worker(LEASE=120.0)
    ids: list[str] = []
    with audit(alias):
        for number, (kind, lock) in enumerate(LOCKS.items()):
            go_on = notes.with_name(f"go-on-{number}")
            task_id = f"task-{number}"
            call = endings.tracked.si(str(notes), str(go_on)).set(task_id=task_id)
            _with_neighbours(kind, call, task_id).apply_async()
            wait_until(lambda n=number: len(notes.read_text().splitlines()) > n, what=f"{kind}: the task to run")
            with _open_transaction(alias, lambda lock=lock, task_id=task_id: lock(alias, task_id)):
                first = pure.add.delay_many([(n, 1) for n in range(5)])
                wait_until(lambda r=first: _ended(alias, r), what=f"{kind}: tasks to end")
                go_on.touch()
                others = pure.add.delay_many([(n, 1) for n in range(40)])
                others += [*group(pure.add.si(n, 1) for n in range(5)).apply_async()]
                wait_until(lambda r=others: _ended(alias, r), what=f"{kind}: other tasks to end")
                if kind not in ("worker", "deleted run"):
                    assert _state(alias, task_id) not in states.READY_STATES, kind
            wait_until(lambda t=task_id: _state(alias, t) == states.SUCCESS, what=f"{kind}: the task to end")
            ids += [task_id, *(r.id for r in others)]
        wait_until(lambda: not Message.objects.using(alias).exists(), what="follow-ups to end")
        counts = times_final(alias)
        assert {task_id: counts[task_id] for task_id in ids} == dict.fromkeys(ids, 1)
    assert worker.stop() == 0


def test_locked_message_keeps_no_slot_and_starts_afterwards(alias: str, start_worker: StartWorker, notes: Path) -> None:
    go_on = notes.with_name("go-on")
    start_worker("-c", "1", "--prefetch-multiplier", "4", LEASE=120.0)
    endings.wait_for_file.delay(str(notes), str(go_on))
    early = jobs.nap_early_acked.delay(str(notes), 0.0)
    claimed = Message.objects.using(alias).filter(task_id=early.id).exclude(token="")
    wait_until(claimed.exists, what="the message to be claimed")
    with _open_transaction(alias, lambda: _rows(Message, alias, task_id=early.id)):
        go_on.touch()
        others = pure.add.delay_many([(n, 1) for n in range(20)])
        wait_until(lambda: _ended(alias, others), what="other tasks to end")
        assert "early" not in notes.read_text()
    wait_until(lambda: _state(alias, early.id) == states.SUCCESS, what="the task to end")
    assert notes.read_text().count("early") == 1


def test_messages_of_a_dead_worker_are_recovered_but_for_a_locked_message(
    clean_database: Database, processes: Processes, start_worker: StartWorker, notes: Path
) -> None:
    alias = clean_database.alias
    go_on = notes.with_name("go-on")
    first = start_worker("-n", "first", "-c", "6")
    results = endings.wait_for_file.delay_many([(str(notes), str(go_on))] * 6)
    wait_until(lambda: len(notes.read_text().splitlines()) == 6, what="all tasks to run")
    with _open_transaction(alias, lambda: _rows(Message, alias, task_id=results[0].id)):
        first.kill()
        go_on.touch()
        start_worker("-n", "second")
        wait_until(lambda: _ended(alias, results[1:]), what="the other tasks to end")
        assert _state(alias, results[0].id) == states.PENDING
    wait_until(lambda: _ended(alias, results), what="the task to end")
