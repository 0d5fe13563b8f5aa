"""Each task starts clean."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, ClassVar

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.signals import request_finished
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone, translation

from taskq import states, task
from taskq.execution import execute, isolation
from taskq.execution.tracebacks import LONGEST, format_exception, release
from taskq.models import TaskRun
from taskq.records import Envelope
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]

variable: ContextVar[str] = ContextVar("variable", default="unset")


def define(function: Any, name: str = "defined", **options: Any) -> Any:
    return task(name=name, **options)(function)


def in_thread(call: Any) -> Any:
    """Call in a new thread, whose connections and caches are its own."""
    returned: list[Any] = []
    thread = threading.Thread(target=lambda: returned.append(call()))
    thread.start()
    thread.join()
    return returned[0]


def test_context_variables_language_and_time_zone_are_reset_for_each_task(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []

    def run() -> None:
        seen.append((variable.get(), translation.get_language(), timezone.get_current_timezone_name()))
        variable.set("set")
        translation.activate("de")
        timezone.activate("Asia/Tokyo")

    define(run).delay()
    with translation.override("fr"):
        variable.set("caller's")
        worker.run()
        worker.run()
        assert translation.get_language() == "fr"
    variable.set("unset")
    assert seen == [("unset", "en-us", "UTC")] * 2


class ConnectingCache(LocMemCache):
    """A cache that would hold a connection."""

    closed: ClassVar[list[ConnectingCache]] = []

    def close(self, **named: Any) -> None:
        self.closed.append(self)


@override_settings(CACHES={"default": {"BACKEND": f"{__name__}.ConnectingCache"}})
def test_caches_that_connect_are_reused_and_closed(
    sent: list[Envelope], worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(ConnectingCache, "closed", closed := [])
    define(lambda: seen.append(caches["default"])).delay()

    def twice() -> None:
        worker.run()
        worker.run()

    in_thread(twice)
    assert seen[0] is seen[1]
    assert closed == seen


def test_cache_without_a_connection_is_made_by_the_task_that_uses_it(
    sent: list[Envelope], worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(LocMemCache, "__init__", lambda self, *args: made.append(self))
    define(lambda: 1).delay()
    in_thread(worker.run)
    assert made == []


def test_broken_cache_is_logged_and_does_not_fail_tasks(
    sent: list[Envelope], worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    define(lambda: 1).delay()
    broken = {"default": {"BACKEND": "no.such.Cache"}}
    with override_settings(CACHES=broken):
        assert in_thread(worker.run).state == states.SUCCESS
    assert "The cache 'default' can't be set up" in caplog.text


def test_run_sends_no_request_finished_signal(sent: list[Envelope], worker: Worker) -> None:
    seen: list[Any] = []

    def receiver(**named: Any) -> None:
        seen.append(named)

    request_finished.connect(receiver)
    try:
        define(lambda: 1).delay()
        worker.run()
    finally:
        request_finished.disconnect(receiver)
    assert seen == []


@pytest.fixture
def max_age() -> Iterator[Any]:
    """Give the thread's connections another CONN_MAX_AGE."""
    settings = connection.settings_dict
    before = settings["CONN_MAX_AGE"]

    def set_to(seconds: int | None) -> None:
        settings["CONN_MAX_AGE"] = seconds

    yield set_to
    settings["CONN_MAX_AGE"] = before


@pytest.mark.django_db(transaction=True)
def test_conn_max_age_decides_if_connections_outlive_a_task(sent: list[Envelope], worker: Worker, max_age: Any) -> None:
    raw: list[Any] = []

    def run() -> None:
        connection.ensure_connection()
        raw.append(connection.connection)

    define(run).delay()

    def twice() -> bool:
        worker.run()
        worker.run()
        still_open = connection.connection is not None
        connection.close()
        return still_open

    max_age(0)
    assert in_thread(twice) is False
    assert raw[0] is not raw[1]
    raw.clear()
    max_age(60)
    assert in_thread(twice) is True
    assert raw[0] is raw[1]


@pytest.mark.django_db(transaction=True)
def test_transaction_left_open_by_a_task_is_rolled_back_and_logged(
    sent: list[Envelope], worker: Worker, max_age: Any, caplog: pytest.LogCaptureFixture
) -> None:
    max_age(None)

    def leave_open() -> None:
        transaction.atomic().__enter__()
        TaskRun.objects.create(task_id="left", created_at=timezone.now())

    def count() -> int:
        return TaskRun.objects.count()

    left = define(leave_open, "leave_open")
    counted = define(count, "count")
    left.delay()
    counted.delay()

    def both() -> Any:
        assert worker.run(sent[0]).state == states.SUCCESS
        atomic = connection.in_atomic_block
        outcome = worker.run(sent[1])
        connection.close()
        return atomic, outcome.result

    assert in_thread(both) == (False, "0")
    assert "left a transaction on 'default' open" in caplog.text


@pytest.mark.django_db(transaction=True)
def test_logged_queries_of_a_task_are_reset(sent: list[Envelope], worker: Worker, max_age: Any) -> None:
    max_age(None)

    def query() -> int:
        TaskRun.objects.count()
        return len(connection.queries)

    define(query).delay()

    def twice() -> list[Any]:
        connection.force_debug_cursor = True
        results = [worker.run().result, worker.run().result]
        left = len(connection.queries)
        connection.close()
        return [*results, left]

    assert in_thread(twice) == ["1", "1", 0]


def test_no_connection_is_opened_for_a_task_that_needs_none(sent: list[Envelope], worker: Worker) -> None:
    define(lambda: 1).delay()

    def run() -> Any:
        worker.run()
        return connection.connection

    assert in_thread(run) is None


def test_failed_tidying_is_logged_and_changes_no_outcome(
    sent: list[Envelope], worker: Worker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    define(lambda: 1).delay()
    delivery = worker.delivery()
    monkeypatch.setattr(isolation, "tidy_connections", lambda: 1 / 0)
    assert in_thread(lambda: execute(delivery)).state == states.SUCCESS
    assert "could not be tidied up" in caplog.text


# -- tracebacks


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_long_tracebacks_are_cut_in_the_middle() -> None:
    text = format_exception(raised(ValueError("x" * 200_000 + "end\0")))
    assert len(text) <= LONGEST
    assert text.startswith("Traceback")
    assert text.endswith("end\\x00\n")
    assert "characters left out" in text


def test_traceback_shows_causes() -> None:
    cause = raised(KeyError("first"))
    error = ValueError("second")
    error.__cause__ = cause
    text = format_exception(raised(error))
    assert text.index("KeyError: 'first'") < text.index("direct cause") < text.index("ValueError: second")


def test_exception_whose_traceback_can_not_be_formatted_has_a_stand_in() -> None:
    class Hiding(Exception):
        @property
        def __cause__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("hidden")

    assert format_exception(raised(Hiding())) == "Hiding: its traceback can't be shown\n"


def test_release_handles_circular_exception_contexts() -> None:
    first, second = raised(ValueError(1)), raised(ValueError(2))
    first.__context__, second.__context__ = second, first
    release(first)
    assert first.__traceback__ is second.__traceback__ is None
    release(None)
