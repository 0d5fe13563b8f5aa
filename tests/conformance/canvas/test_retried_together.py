"""Failed tasks of a workflow that are retried many at a time: in few statements, and each as if it were alone."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from taskq import chord, control, states
from taskq.models import Attempt, Group, KeptMessage, TaskRun
from taskq.store import retry_workflow
from tests.support.jobs.flows import fragile, mended, same

from .test_retried import broken, plus, state_of, two, work

__all__ = ["broken"]


@pytest.mark.parametrize("most", [500, 2])
def test_members_retried_together(alias: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one transaction, or in several: so many at a time, and by halves where all at once are refused."""
    monkeypatch.setattr(retry_workflow, "_AT_ONCE", most)
    members = [fragile.s(n, "key").set(task_id=f"m{n}") | plus for n in range(5)]
    result = chord([*members, two], same.s())()
    work(alias)
    assert TaskRun.objects.using(alias).filter(state=states.FAILURE).count() == 11
    KeptMessage.objects.using(alias).filter(task_id="m3").delete()
    mended.add("key")
    if most == 500:
        monkeypatch.setattr(retry_workflow, "MOST_REOPENED", 3)
    counts = control.retry_many([f"m{n}" for n in range(5)])
    assert (counts.done, counts.refused) == (4, {"unkept": 1})
    assert sorted(counts.ids) == ["m0", "m1", "m2", "m4"]
    work(alias)
    assert state_of(alias, result.id) == states.FAILURE, "the member whose message is gone is a failure still"
    assert [state_of(alias, f"m{n}") for n in range(5)] == [*[states.SUCCESS] * 3, states.FAILURE, states.SUCCESS]
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()
    assert Attempt.objects.using(alias).count() == 4


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_many_members_are_retried_without_reading_all_others_each_time(alias: str) -> None:
    members = [fragile.s(n, "key").set(task_id=f"m{n:02}") for n in range(30)]
    result = chord(members, same.s())()
    work(alias)
    mended.add("key")
    read: list[int] = []

    def count(execute: Any, sql: str, *rest: Any) -> Any:
        if "position" in sql and sql.startswith("SELECT") and "LIMIT" in sql:
            read.append(int(sql.rsplit("LIMIT", 1)[1].split()[0]))
        return execute(sql, *rest)

    with connections[alias].execute_wrapper(count):
        assert control.retry_many([f"m{n:02}" for n in range(30)]).done == 30
    assert read
    assert sum(read) <= 31, "the members that are retried together, and one more"
    work(alias)
    assert result.get() == [[*range(30)]]
