"""The threads of a child with an event loop, and the leases of its runs."""

from __future__ import annotations

import threading

import pytest

from taskq.worker.pools import child_threads
from taskq.worker.pools.child_threads import Lease, Threads


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(child_threads._Thread, "start", start)


def test_lease_waits_for_another_thread_if_the_system_starts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads(2)
    first, second = Lease(threads), Lease(threads)
    one = first.submit(threading.get_ident).result(60)
    with monkeypatch.context() as refused:
        refuse_threads(refused)
        waiting = second.submit(threading.get_ident)
        assert (waiting.done(), second.has_thread, threads.started) == (False, False, 1)
    first.release()
    assert waiting.result(60) == one
    # The next one is tried again.
    assert Lease(threads).submit(threading.get_ident).result(60) != one
    assert threads.started == 2


def test_call_fails_if_there_is_no_thread_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, called = Threads(2), []
    lease = Lease(threads, lambda: called.append("first"))
    with monkeypatch.context() as refused:
        refuse_threads(refused)
        failed = lease.submit(called.append, "failed")
        assert isinstance(failed.exception(60), RuntimeError)
    lease.submit(called.append, "later").result(60)
    assert (called, threads.started) == (["first", "later"], 1)


def test_coroutine_that_outlives_its_run_takes_no_thread() -> None:
    threads = Threads(1)
    ended = Lease(threads)
    ended.submit(threading.get_ident).result(60)
    ended.release()
    assert isinstance(ended.submit(threading.get_ident).exception(60), RuntimeError)
    assert Lease(threads).submit(threading.get_ident).result(60)
