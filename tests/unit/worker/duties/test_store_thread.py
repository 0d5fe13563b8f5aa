"""The store thread, with duties that a test makes and a listener without a database."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import DatabaseError, OperationalError, connections

from taskq.engines import for_alias
from taskq.engines.listeners import Listener
from taskq.worker.duties import store_thread
from taskq.worker.duties.store_thread import StoreThread
from tests.support.waiting import wait_until


class Duty:
    """Does what a test says."""

    def __init__(self, work: Callable[[], bool] = lambda: False) -> None:
        self.turns = 0
        self.heard: list[set[str] | None] = []
        self.done = True
        self._work = work

    def work(self) -> bool:
        self.turns += 1
        return self._work()

    def due(self) -> float | None:
        return None

    def on_notification(self, names: set[str] | None) -> None:
        self.heard.append(names)

    def end(self) -> None:
        self.done = True


@pytest.fixture
def listeners(monkeypatch: pytest.MonkeyPatch) -> list[Listener]:
    """Give the thread listeners that hear nothing, and note how many it took."""
    made: list[Listener] = []

    def listener() -> Listener:
        made.append(Listener())
        made[-1].poll = lambda: set()  # type: ignore[method-assign]
        return made[-1]

    monkeypatch.setattr(for_alias("default"), "store_thread_listener", listener)
    monkeypatch.setattr(store_thread, "_LONGEST_PAUSE", 0.001)
    return made


@pytest.fixture
def thread(listeners: list[Listener]) -> Iterator[StoreThread]:
    thread = StoreThread("default")
    yield thread
    thread.finish(0.0, lambda: None)
    if thread.is_alive():
        thread.join(60)


def test_posted_call_wakes_the_store_thread_and_runs_on_it(thread: StoreThread) -> None:
    duty = Duty()
    thread.duties = [duty]
    thread.start()
    wait_until(lambda: duty.turns, what="a first turn")
    names: list[str] = []
    thread.calls.post(lambda: names.append(threading.current_thread().name))
    wait_until(lambda: names, what="the call")
    assert names == ["taskq-store"]
    assert duty.heard == [None]


def test_database_error_ends_a_turn_and_not_the_store_thread(
    thread: StoreThread, listeners: list[Listener], caplog: pytest.LogCaptureFixture
) -> None:
    errors = [OperationalError("gone"), ConnectionResetError("gone"), OperationalError("gone")]

    def work() -> bool:
        if errors:
            raise errors.pop()
        return False

    duty = Duty(work)
    thread.duties = [duty]
    thread.start()
    wait_until(lambda: duty.turns >= 4, what="a turn after the errors")
    wait_until(lambda: thread.failures == 0, what="the errors to be forgotten")
    assert len(listeners) == 4
    assert caplog.text.count("The database gave an error") == 3


def test_lock_timeout_keeps_the_connections(thread: StoreThread, listeners: list[Listener]) -> None:
    errors = [OperationalError("database is locked")]

    def work() -> bool:
        if errors:
            raise errors.pop()
        return False

    duty = Duty(work)
    thread.duties = [duty]
    thread.start()
    wait_until(lambda: duty.turns >= 2, what="a turn after the error")
    assert len(listeners) == 1


class Told(Listener):
    """Has a descriptor, which a test makes readable; ``heard`` is what a poll tells of, in turns."""

    interval = None

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self.heard: list[set[str] | None] = []
        self.polls = 0

    def tell(self, heard: set[str] | None) -> None:
        self.heard.append(heard)
        os.write(self._write, b"x")

    def fileno(self) -> int:
        return self._read

    def poll(self) -> set[str] | None:
        if not self.heard:
            return set()
        os.read(self._read, 1)
        self.polls += 1
        return self.heard.pop(0)

    def close(self) -> None:
        os.close(self._read)
        os.close(self._write)


@pytest.mark.parametrize("news", [{"mark"}, None])
def test_thread_sleeps_on_though_something_was_written_and_wakes_when_it_is_news(
    thread: StoreThread, monkeypatch: pytest.MonkeyPatch, news: set[str] | None
) -> None:
    listener, duty = Told(), Duty()
    monkeypatch.setattr(for_alias("default"), "store_thread_listener", lambda: listener)
    monkeypatch.setattr(duty, "due", lambda: 3600.0)
    thread.duties = [duty]
    thread.start()
    wait_until(lambda: duty.turns == 1, what="a first turn")
    for polls in (1, 2):
        listener.tell(set())
        wait_until(lambda polls=polls: listener.polls == polls, what="a look")
    listener.tell(news)
    wait_until(lambda: duty.heard == [None, news], what="news")
    wait_until(lambda: duty.turns == 2, what="the turn of the news")
    assert listener.polls == 3
    thread.calls.wake()
    wait_until(lambda: duty.turns == 3, what="the turn of a call, and no other before it")


def test_unexpected_error_ends_the_thread_and_is_told(thread: StoreThread, caplog: pytest.LogCaptureFixture) -> None:
    told = threading.Event()
    thread.on_failure = told.set
    thread.duties = [Duty(lambda: bool(1 // 0))]
    thread.start()
    assert told.wait(60)
    thread.join(60)
    assert "The store thread failed" in caplog.text


def test_finish_waits_until_duties_are_done_and_then_makes_the_last_call(thread: StoreThread) -> None:
    duty = Duty(lambda: True)
    duty.done = False
    thread.duties = [duty]
    thread.start()
    last: list[int] = []
    thread.finish(10.0, lambda: last.append(duty.turns))
    wait_until(lambda: duty.turns > 2, what="it to go on")
    assert not last
    duty.done = True
    thread.join(60)
    assert last


def test_finish_ends_the_store_thread_while_there_is_no_database(
    thread: StoreThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def listener() -> Listener:
        raise OperationalError("no server")

    def last() -> None:
        raise OperationalError("no server")

    monkeypatch.setattr(for_alias("default"), "store_thread_listener", listener)
    thread.duties = [Duty()]
    thread.start()
    wait_until(lambda: thread.failures >= 2, what="it to try again")
    thread.finish(60.0, last)
    thread.join(60)
    assert not thread.is_alive()
    assert "The database was not there at the end" in caplog.text


def test_finish_gives_up_duties_that_are_not_done_in_time(thread: StoreThread) -> None:
    duty = Duty(lambda: True)
    duty.done = False
    thread.duties = [duty]
    thread.start()
    thread.finish(0.01, lambda: None)
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sqlite_listener_raises_django_errors(alias: str) -> None:
    listener = for_alias(alias).message_listener()
    listener._connection.close()  # type: ignore[attr-defined]
    with pytest.raises(DatabaseError, match="closed"):
        listener.poll()


def test_on_turn_is_called_after_each_turn_even_a_failed_one(thread: StoreThread) -> None:
    turns: list[str] = []
    errors = [OperationalError("gone")] * 3

    def work() -> bool:
        if errors:
            raise errors.pop()
        return False

    duty = Duty(work)
    thread.duties = [duty]
    thread.on_turn = lambda: turns.append(threading.current_thread().name)
    thread.start()
    wait_until(lambda: len(turns) >= 3, what="the turns that failed")
    thread.calls.wake()
    wait_until(lambda: len(turns) >= 4, what="a turn that did not")
    assert set(turns) == {"taskq-store"}


@pytest.mark.parametrize("error", [None, OperationalError("gone")])
def test_it_has_begun_when_each_duty_has_worked_or_met_an_error(thread: StoreThread, error: Exception | None) -> None:
    begun: list[bool] = []

    def work() -> bool:
        begun.append(thread.has_begun)
        if error is not None and len(begun) == 1:
            raise error
        return False

    thread.duties = [Duty(work)]
    assert not thread.has_begun
    thread.start()
    wait_until(lambda: thread.has_begun, what="the first turn")
    thread.calls.wake()
    wait_until(lambda: len(begun) >= 2, what="the second turn")
    assert begun[:2] == [False, True]


def test_query_log_of_debug_mode_does_not_grow(thread: StoreThread) -> None:
    noted: list[int] = []

    def work() -> bool:
        log = connections["default"].queries_log
        noted.append(len(log))
        log.append({"sql": "UPDATE ... with all that a task has returned", "time": "0"})
        return len(noted) < 3

    thread.duties = [Duty(work)]
    thread.start()
    wait_until(lambda: len(noted) >= 3)
    assert noted[:3] == [0, 0, 0]


def test_duty_that_meets_a_locked_row_pauses_alone(thread: StoreThread, monkeypatch: pytest.MonkeyPatch) -> None:
    def meet_lock() -> bool:
        raise OperationalError("locked")

    monkeypatch.setattr(for_alias("default"), "gave_up", lambda error: True)
    stuck, other = Duty(meet_lock), Duty(lambda: True)
    thread.duties = (stuck, other)
    thread.start()
    wait_until(lambda: stuck.turns > 2)
    assert other.turns > stuck.turns
    assert thread.failures == 0
