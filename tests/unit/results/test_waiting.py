"""Waiting, with rows that other threads commit on Django's test database."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, transaction

from taskq.exceptions import TimeoutError
from taskq.models import TaskRun
from taskq.results import listener, rows, waiting
from taskq.results.async_result import AsyncResult
from tests.support.waiting import wait_until
from tests.unit.results.listening import (
    get_in_thread,
    in_thread,
    listener_threads,
    listening,
    put,
    result_listeners,
    waited_for,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_wait_for_a_ready_result_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a")
    monkeypatch.setattr(listener, "join", lambda *args: pytest.fail("joined"))
    assert AsyncResult[int]("a").get(timeout=0) == 4


def test_get_returns_when_the_task_ends() -> None:
    put("a", "PENDING")
    ended = get_in_thread()
    wait_until(waited_for)
    put("a", "STARTED")
    put("a")
    assert ended() == [4]


def test_get_returns_when_the_row_appears_only_at_the_end() -> None:
    ended = get_in_thread()
    wait_until(waited_for)
    put("a")
    assert ended() == [4]


def test_end_between_first_look_and_listening_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task ends right after the first look, and no notification ever says so."""
    look = waiting._look

    def look_then_end(waiter: listener.Waiter) -> None:
        look(waiter)
        put("a")

    monkeypatch.setattr(waiting, "_look", look_then_end)
    monkeypatch.setattr(listener, "SLOW_LOOK", 3600)
    connection.ensure_connection()  # a thread without a connection has the listener look
    assert AsyncResult[int]("a").get(timeout=60) == 4


def test_a_waiter_that_joins_a_listening_thread_looks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    first = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(listening)
    put("b")
    monkeypatch.setattr(listener.ResultListener, "_look", lambda *args: None)
    assert AsyncResult[int]("b").get(timeout=60) == 4
    monkeypatch.undo()
    put("a")
    first.join()


def test_get_times_out_and_refuses_a_timeout_that_is_no_number() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError, match=r"Task a was not ready after 0\.05 s\.") as caught:
        AsyncResult[int]("a").get(timeout=0.05)
    assert time.monotonic() - started >= 0.05
    assert isinstance(caught.value, AsyncResult.TimeoutError)
    for wrong in ("1", float("nan")):
        with pytest.raises(TypeError, match="timeout must be a number of seconds"):
            AsyncResult[int]("a").get(timeout=wrong)  # type: ignore[arg-type]


def test_infinite_timeout_is_no_timeout() -> None:
    ended = get_in_thread(float("inf"))
    wait_until(waited_for)
    put("a")
    assert ended() == [4]


def test_timeout_of_zero_raises_at_once() -> None:
    with pytest.raises(TimeoutError):
        AsyncResult[int]("a").get(timeout=0)


def test_finished_task_is_read_while_the_listener_is_only_starting(monkeypatch: pytest.MonkeyPatch) -> None:
    put("a")
    monkeypatch.setattr(listener, "is_alive", lambda alias: True)
    monkeypatch.setattr(listener, "join", lambda waiter, alias: False)
    assert AsyncResult[int]("a").get(timeout=0) == 4


def test_waiting_threads_share_one_listener_thread_and_its_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    finished = rows.read_final

    def counted(ids: Any) -> Any:
        if threading.current_thread() in listener_threads():
            looks.append(len(ids))
        return finished(ids)

    monkeypatch.setattr(rows, "read_final", counted)
    got: list[int] = []
    ids = [f"t{n}" for n in range(20)]
    threads = [in_thread(lambda i=i: got.append(AsyncResult[int](i).get(timeout=60))) for i in ids]  # type: ignore[misc]
    wait_until(lambda: waited_for() == 20)
    assert len(listener_threads()) == 1
    wait_until(listening)
    looks.clear()
    with transaction.atomic():
        for task_id in ids:
            put(task_id)
    for thread in threads:
        thread.join()
    assert got == [4] * 20
    assert 20 in looks


def test_wait_for_many_ids_names_the_one_that_is_not_ready() -> None:
    ids = [f"t{n}" for n in range(1200)]
    now = datetime.now(UTC)
    rows = [TaskRun(task_id=i, state="SUCCESS", result="1", created_at=now) for i in ids]
    TaskRun.objects.bulk_create(rows[:-1])
    with pytest.raises(TimeoutError, match="Task t1199 was not ready"):
        list(waiting.arrivals(ids, timeout=0.01))
    rows[-1].save()
    assert set().union(*waiting.arrivals(ids, timeout=60)) == set(ids)


def test_several_waiters_for_one_task_all_get_its_value() -> None:
    got: list[int] = []
    threads = [in_thread(lambda: got.append(AsyncResult[int]("a").get(timeout=60))) for _ in range(3)]
    wait_until(lambda: sum(len(waiters) for w in result_listeners() for waiters in list(w._waiting.values())) == 3)
    put("a")
    for thread in threads:
        thread.join()
    assert got == [4] * 3


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Ctrl-C raises, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
def test_keyboard_interrupt_leaves_nobody_waiting() -> None:
    def interrupt() -> None:
        wait_until(waited_for)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        AsyncResult[int]("a").get(timeout=60)
    thread.join()
    assert waited_for() == 0


def test_exception_in_on_interval_ends_the_wait() -> None:
    class Enough(Exception):
        pass

    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            raise Enough

    with pytest.raises(Enough):
        AsyncResult[int]("a").get(interval=0.001, on_interval=tick)
    assert waited_for() == 0


# -- in a transaction


def test_waiting_in_a_transaction_is_an_error_at_once() -> None:
    with transaction.atomic():
        put("a", "PENDING")
        with pytest.raises(RuntimeError, match="on_commit"):
            AsyncResult[int]("a").get()


def test_ready_result_is_read_in_a_transaction() -> None:
    with transaction.atomic():
        put("a")
        assert AsyncResult[int]("a").get() == 4


def test_waiting_in_a_transaction_is_an_error_while_another_thread_listens() -> None:
    thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(listening)
    with transaction.atomic(), pytest.raises(RuntimeError, match="atomic"):
        AsyncResult[int]("b").get()
    put("a")
    thread.join()


def test_query_log_of_debug_mode_does_not_grow(settings: Any) -> None:
    settings.DEBUG = True
    logs: list[Any] = []
    finished = rows.read_final

    def noting(ids: Any) -> Any:
        if threading.current_thread() in listener_threads():
            logs.append(connection.queries_log)
        return finished(ids)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "read_final", noting)
        thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
        wait_until(lambda: logs, what="the listener to look")
        put("a")
        thread.join()
    wait_until(lambda: not logs[-1])


def test_all_rows_are_read_the_more_seldom_the_longer_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = listener.ResultListener("default")
    watch._waiting["a"] = set()
    for seconds, pause in ((0.01, listener.SLOW_LOOK), (5.0, 50.0)):
        clock = iter([0.0, seconds])
        with monkeypatch.context() as patched:
            patched.setattr(listener, "run_rows", SimpleNamespace(read_final=lambda ids: {}))
            patched.setattr(listener, "time", SimpleNamespace(monotonic=lambda clock=clock: next(clock)))
            watch._look(None)
        assert watch._slow_look() == pause
    watch._end()
