"""Who sends a canvas: a transaction that is rolled back, and a task that runs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from django.db import transaction

from taskq import AsyncResult, chain, chord, group
from taskq.models import Group, Message, Node, ScheduledMessage, TaskRun
from tests.support.jobs.flows import add, double, sends, total
from tests.support.worker_here import WorkerHere

ROWS: list[Any] = [Group, Message, Node, ScheduledMessage, TaskRun]
CANVASES = {
    "chain": chain(add.s(1, 1), double.s()),
    "group": group(add.s(1, 1), add.s(2, 2)),
    "chord": chord([add.s(1, 1), add.s(2, 2)], total.s()),
    "later": chord([add.s(1, 1)], total.s()).set(countdown=9),
}


class RolledBack(Exception):
    pass


@pytest.mark.parametrize("what", CANVASES)
def test_rolled_back_canvas_leaves_no_rows(alias: str, what: str) -> None:
    with suppress(RolledBack), transaction.atomic(using=alias):
        result = CANVASES[what].delay()
        assert Message.objects.using(alias).exists() or ScheduledMessage.objects.using(alias).exists()
        raise RolledBack
    assert [rows.objects.using(alias).count() for rows in ROWS] == [0] * len(ROWS)
    assert not result.ready()


@pytest.mark.parametrize(("what", "value"), [("chain", 4), ("group", [2, 4]), ("chord", 6)])
def test_canvas_sent_by_a_task_is_its_child(alias: str, what: str, value: Any) -> None:
    result = sends.delay(CANVASES[what])
    WorkerHere(alias).work()
    own_id, root_id, sent_id = result.result
    assert own_id == root_id == result.id
    (child,) = result.children
    assert child.id == sent_id
    assert child.get(timeout=1) == value
    rows = TaskRun.objects.using(alias).exclude(task_id=result.id)
    assert set(rows.values_list("root_id", flat=True)) == {result.id}
    first = rows.order_by("id")[0]
    assert first.parent_id == result.id
    assert AsyncResult[Any](first.task_id).successful()
