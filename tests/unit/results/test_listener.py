"""The thread that listens for ends: lost notifications, errors of the database, interrupts, forks."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection, connections

from taskq.exceptions import TimeoutError
from taskq.results import listener, rows
from taskq.results.async_result import AsyncResult
from tests.support.waiting import wait_until
from tests.unit.results.listening import Deaf, get_in_thread, in_thread, listener_threads, put, waited_for

pytestmark = pytest.mark.django_db(transaction=True)


def test_result_whose_notification_is_lost_is_found_by_the_slow_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SLOW_LOOK", 0.01)
    monkeypatch.setattr(listener.ResultListener, "_open_listener", lambda self: Deaf())
    thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(waited_for)
    put("a")
    thread.join(60)
    assert not thread.is_alive()


def test_wait_outlasts_errors_of_database(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(listener, "RETRY", 0.01)
    finished = rows.read_final
    failures: list[int] = []

    def failing(ids: Any) -> Any:
        if threading.current_thread() in listener_threads() and len(failures) < 3:
            failures.append(1)
            raise OperationalError("server closed the connection")
        return finished(ids)

    monkeypatch.setattr(rows, "read_final", failing)
    ended = get_in_thread()
    wait_until(waited_for)
    put("a")
    assert ended() == [4]
    assert len(failures) == 3
    assert "trying again" in caplog.text


def test_error_on_closing_a_broken_connection_ends_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "RETRY", 0.01)
    finished = rows.read_final
    failures: list[int] = []

    def failing(ids: Any) -> Any:
        if threading.current_thread() in listener_threads() and not failures:
            failures.append(1)
            # Of this thread's own connection: it is gone with the thread.
            monkeypatch.setattr(connections["default"], "close", broken)
            raise OperationalError("server closed the connection")
        return finished(ids)

    def broken() -> None:
        failures.append(2)
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(rows, "read_final", failing)
    ended = get_in_thread()
    wait_until(lambda: 2 in failures)
    put("a")
    assert ended() == [4]
    wait_until(lambda: not listener_threads())
    assert failures == [1, 2, 2]


def test_listener_polls_when_listening_fails(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(alias: str) -> Any:
        raise OperationalError("no more connections")

    monkeypatch.setattr("taskq.engines.for_alias", refuse)
    thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(waited_for)
    put("a")
    thread.join(60)
    assert "polled for" in caplog.text


def test_listener_thread_lingers_for_the_next_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_linger", lambda: 20.0)
    thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(waited_for)
    put("a")
    thread.join()
    (watch,) = listener_threads()
    with pytest.raises(TimeoutError):
        AsyncResult[int]("b").get(timeout=0.01)
    assert listener_threads() == [watch]
    monkeypatch.setattr(listener, "_linger", lambda: 0.0)
    with pytest.raises(TimeoutError):
        AsyncResult[int]("b").get(timeout=0.01)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_waits_with_a_listener_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # The parent's thread sleeps at the fork: one that is just then inside of SQLite would leave it locked in the child.
    monkeypatch.setattr(listener.ResultListener, "_open_listener", lambda self: Deaf())
    monkeypatch.setattr(listener, "SLOW_LOOK", 3600)
    look, looked = listener.ResultListener._look, threading.Event()

    def noted(self: listener.ResultListener, ended: set[str] | None) -> None:
        look(self, ended)
        looked.set()

    monkeypatch.setattr(listener.ResultListener, "_look", noted)
    thread = in_thread(lambda: AsyncResult[int]("a").get(timeout=60))
    wait_until(looked.is_set)
    connection.close()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            assert listener._listeners == {}
            listener.SLOW_LOOK = 0.01
            assert AsyncResult[int]("b").get(timeout=60) == 4
            code = 0
        finally:
            os._exit(code)
    put("b")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    put("a")
    listener.SLOW_LOOK = 0.01
    in_thread(lambda: AsyncResult[int]("b").get()).join()
    thread.join(60)
    assert not thread.is_alive()
