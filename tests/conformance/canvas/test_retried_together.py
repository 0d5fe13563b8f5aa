"""Failed tasks of a workflow that are retried many at a time: in few statements, and each as if it were alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.db.models import QuerySet

from taskq import chord, control, states
from taskq.engines import for_alias
from taskq.models import Attempt, Group, KeptMessage, Node, TaskRun
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


@pytest.mark.parametrize("inside", [False, True])
def test_a_transaction_that_keeps_others_waiting_is_small_and_a_pause_follows(
    alias: str, inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a transaction of the caller a pause would only make that one longer."""
    chord([fragile.s(n, "key").set(task_id=f"m{n}") for n in range(5)], same.s())()
    work(alias)
    mended.add("key")
    done: list[int | str] = []
    retry = retry_workflow._retry

    def one(engine: Any, task_ids: Sequence[str], changes: Any) -> Any:
        done.append(len(task_ids))
        return retry(engine, task_ids, changes)

    monkeypatch.setattr(retry_workflow, "_AT_ONCE_ALONE", 2)
    monkeypatch.setattr(retry_workflow, "_retry", one)
    pausing = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: done.append("pause"))
    monkeypatch.setattr(retry_workflow, "time", pausing)
    with for_alias(alias).atomic() if inside else nullcontext():
        assert control.retry_many([f"m{n}" for n in range(5)]).done == 5
    if for_alias(alias).skip_locked:
        assert done == [5]
    else:
        assert done == ([2, 2, 1] if inside else [2, "pause", 2, "pause", 1, "pause"])


def test_what_failed_in_a_workflow_is_found_without_holding_all_of_it(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_workflow, "_AT_ONCE", 2)
    sigs = [fragile.s(n, "key").set(task_id=f"m{n}") if n % 3 else two.clone() for n in range(7)]
    chord(sigs, same.s())()
    work(alias)
    root = Node.objects.using(alias).get(task_id="m1").root_id
    at_once: list[int] = []
    whole = QuerySet.__iter__

    def read(rows: Any) -> Any:
        at_once.append(len(rows))
        return whole(rows)

    monkeypatch.setattr(QuerySet, "__iter__", read)
    assert retry_workflow.failed_in(root, alias) == ["m1", "m2", "m4", "m5"]
    assert at_once
    assert max(at_once) <= 4, "the runs of a part, and what has failed"
