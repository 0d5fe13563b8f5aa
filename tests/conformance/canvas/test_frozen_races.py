"""Two tasks that send one frozen signature, settled in one batch or by two workers at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections

from taskq import chord, group, states
from taskq.models import Group, TaskRun
from taskq.store import claim
from taskq.store.settle import settle
from taskq.store.workflow_rows import DatabaseWorkflows
from tests.support.jobs.flows import add, becomes, brings, same
from tests.support.worker_here import WorkerHere

MADE = [
    pytest.param(lambda sig: chord([brings.s(sig), brings.s(sig)], same.s()), id="added"),
    pytest.param(lambda sig: group(becomes.s(sig), becomes.s(sig)), id="replaced"),
]
Make = Callable[[Any], Any]


def _send(make: Make) -> Any:
    sig = add.s(3, 4) | add.s(5)
    sig.freeze()
    return make(sig).apply_async()


def _check(alias: str, result: Any) -> None:
    """Work to the end: all tasks have ended, and exactly one was refused for its frozen signature."""
    WorkerHere(alias).work()
    runs = TaskRun.objects.using(alias)
    assert not runs.exclude(state__in=states.READY_STATES).exists()
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()
    assert runs.filter(state=states.FAILURE, result__contains='"ValueError"').count() == 1


@pytest.mark.parametrize("make", MADE)
def test_frozen_signature_of_two_tasks_in_one_batch_is_sent_once(alias: str, make: Make) -> None:
    result = _send(make)
    worker = WorkerHere(alias)
    held = claim.claim("taskq", 10, worker.token, alias)
    assert len(held) == 2
    settle(worker.token, worker.run(held), alias)
    _check(alias, result)


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
@pytest.mark.parametrize("make", MADE)
def test_frozen_signature_of_two_tasks_is_sent_once_by_two_workers(
    alias: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_looked = threading.Barrier(2, timeout=60)
    settled: list[str] = []
    looked = threading.local()
    known_nodes = DatabaseWorkflows.known_nodes

    def look(rows: DatabaseWorkflows, task_ids: Any) -> frozenset[str]:
        found = known_nodes(rows, task_ids)
        if not hasattr(looked, "once"):
            looked.once = True
            both_have_looked.wait()
        return found

    def work(token: str, ends: Any) -> None:
        try:
            settle(token, ends, alias)
            settled.append(token)
        finally:
            connections.close_all()

    result = _send(make)
    held = []
    for _ in range(2):
        worker = WorkerHere(alias)
        held.append((worker.token, worker.run(claim.claim("taskq", 1, worker.token, alias))))
    monkeypatch.setattr(DatabaseWorkflows, "known_nodes", look)
    threads = [threading.Thread(target=work, args=each) for each in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    monkeypatch.undo()
    assert sorted(settled) == sorted(token for token, _ in held), "both have looked before either has written"
    _check(alias, result)
