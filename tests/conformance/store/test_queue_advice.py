"""Queues that nobody takes from, and names of ``-Q`` that fit nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connections
from django.test.utils import CaptureQueriesContext

from taskq.calls.registry import tasks
from taskq.models import Worker
from taskq.store import readers, topology, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.worker.duties.queue_advice import tell_of_unnamed
from tests.support.envelopes import envelope


def checked(alias: str) -> str:
    out = io.StringIO()
    call_command("check", databases=[alias], stderr=out, stdout=out)
    return out.getvalue()


def test_waiting_queues_are_those_with_messages_that_nobody_holds(alias: str) -> None:
    enqueue([envelope("a", queue="x"), envelope("b", queue="x"), envelope("c", queue="y"), envelope("d", queue="held")])
    enqueue([envelope("later", queue="later", delay=600), envelope("e", queue="reply")])
    topology.declare_queue("reply", topology.queue_options(auto_delete=True), alias)
    claim("held", 1, workers.register("w", alias=alias), alias)
    assert readers.waiting_queues(alias) == {"x", "y"}
    assert readers.without_messages(["held", "later", "reply", "x", "z"], alias) == {"held", "z"}


def test_worker_whose_queues_are_named_asks_nothing(alias: str) -> None:
    with CaptureQueriesContext(connections[alias]) as queries:
        tell_of_unnamed(["taskq"], alias)
    assert len(queries) == 0


def test_check_of_the_database_names_the_queues_that_nobody_reads(alias: str) -> None:
    assert "W010" not in checked(alias)
    enqueue([envelope("a", queue="hipry")])
    workers.register("w", info={"queues": ["hipri"]}, alias=alias)
    assert "(taskq.W010) No living worker takes from the queue 'hipry', in which messages wait." in checked(alias)
    workers.register("v", info={"queues": ["hipry"]}, alias=alias)
    assert "W010" not in checked(alias)


def test_check_of_a_database_without_tables_is_quiet(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise DatabaseError("no such table")

    monkeypatch.setattr(Worker.objects, "using", refuse)
    assert "W010" not in checked(alias)


@contextmanager
def task_in(queue: str) -> Iterator[None]:
    tasks["of.this.test"] = SimpleNamespace(queue=queue, name="of.this.test")
    try:
        yield
    finally:
        del tasks["of.this.test"]


def test_worker_tells_of_names_that_fit_nothing(alias: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    settings.TASKQ_QUEUES = ["hipri"]
    settings.TASKQ_ROUTES = {"a.*": {"queue": "routed"}}
    enqueue([envelope("a", queue="filled"), envelope("b", queue="later", delay=600)])
    with task_in("mail"):
        tell_of_unnamed(["hipri", "routed", "filled", "later", "mail", "taskq"], alias)
        assert caplog.messages == []
        tell_of_unnamed(["hipry", "wwwww"], alias)
    assert caplog.messages == [
        "-Q names the queue 'hipry', which no route, no task and not TASKQ_QUEUES names, and in which nothing waits. "
        "Is 'hipri' meant?",
        "-Q names the queue 'wwwww', which no route, no task and not TASKQ_QUEUES names, and in which nothing waits.",
    ]
    caplog.clear()
    for routes in (lambda name, *args, **kwargs: None, {"a": 5}):
        settings.TASKQ_ROUTES = routes
        tell_of_unnamed(["hipry"], alias)
    assert caplog.messages == []
