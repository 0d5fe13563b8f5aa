"""With ``TASKQ_SIGNING`` on, the row of a large result that is not settled yet gives nobody another value."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.models import Value
from django.db.models.functions import Replace

from taskq import AsyncResult, chord
from taskq.exceptions import EncodeError, SignatureMismatch
from taskq.models import Group, Message
from taskq.records import Settlement
from taskq.store.settle import settle
from tests.support.jobs.endings import repeat
from tests.support.jobs.flows import same
from tests.support.worker_here import WorkerHere

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


class Ran:
    """Tasks that have run, and whose ends are not settled."""

    def __init__(self, alias: str, *letters: str) -> None:
        self._worker = WorkerHere(alias)
        self.results = [repeat.delay(letter, 300_000) for letter in letters]
        held = [message for _ in letters for message in self._worker.take()]
        self.ends = sorted(self._worker.run(held), key=lambda end: [r.id for r in self.results].index(end.task_id))
        assert all(end.result_row for end in self.ends)

    def rows(self, alias: str, end: Settlement) -> Any:
        return Group.objects.using(alias).filter(group_id=end.result_row)

    def settle(self, alias: str) -> None:
        settle(self._worker.token, self.ends, alias)


def test_altered_text_is_not_read(signed: str) -> None:
    ran = Ran(signed, "x", "y")
    altered, untouched = ran.ends
    ran.rows(signed, altered).update(body=Replace("body", Value("xx"), Value("zz")))
    ran.settle(signed)
    with pytest.raises(SignatureMismatch, match="altered"):
        AsyncResult(altered.task_id).get(timeout=60)
    assert AsyncResult(untouched.task_id).get(timeout=60) == "y" * 300_000


def test_deleted_row_fails_the_task(signed: str) -> None:
    ran = Ran(signed, "x")
    ran.rows(signed, ran.ends[0]).delete()
    ran.settle(signed)
    with pytest.raises(EncodeError, match="is gone"):
        AsyncResult(ran.ends[0].task_id).get(timeout=60)


def test_result_of_another_task_is_not_read(signed: str) -> None:
    ran = Ran(signed, "x", "y")
    one, other = ran.ends
    ran.rows(signed, one).update(group_id="mine")
    ran.rows(signed, other).update(group_id=one.result_row)
    Group.objects.using(signed).filter(group_id="mine").update(group_id=other.result_row)
    ran.settle(signed)
    for end in ran.ends:
        with pytest.raises(SignatureMismatch, match="altered"):
            AsyncResult(end.task_id).get(timeout=60)


def test_altered_text_of_a_member_reaches_no_body(signed: str) -> None:
    result = chord([repeat.s("x", 300_000)], same.s()).delay()
    worker = WorkerHere(signed)
    ends = worker.run(worker.take())
    Group.objects.using(signed).filter(group_id=ends[0].result_row).update(body='"forged"')
    settle(worker.token, ends, signed)
    worker.work()
    with pytest.raises(SignatureMismatch, match="altered"):
        result.get(timeout=60)
    assert not Message.objects.using(signed).exists()
