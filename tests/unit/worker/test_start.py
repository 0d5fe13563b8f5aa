"""A worker of which a part can't be started: nothing of it goes on, and one sentence says why."""

from __future__ import annotations

import threading

import pytest
from django.test import override_settings

from taskq.conf import settings
from taskq.messages import routing
from taskq.models import Worker
from taskq.worker.node import WorkerNode
from taskq.worker.options import WorkerOptions
from tests.support.waiting import wait_until


class Part:
    """A service that notes what is asked of it, and may fail at its start or at its end."""

    def __init__(self, notes: list[str], fails: str = "") -> None:
        self.notes, self.fails = notes, fails

    def start(self, node: WorkerNode) -> None:
        self.notes.append("start")
        node.remote.add(self)
        if self.fails == "start":
            raise KeyError("a setting")

    def stop(self) -> None:
        self.notes.append("stop")
        if self.fails == "stop":
            raise ValueError("not now")

    def connected(self, link: object) -> None: ...

    def leaving(self, link: object) -> None: ...


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of threads that this system has no room for. A name that stands there twice has one that starts."""
    names: list[str] = []
    start = threading.Thread.start

    def start_unless_refused(thread: threading.Thread) -> None:
        if thread.name in names:
            names.remove(thread.name)
            if thread.name not in names:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_unless_refused)
    return names


def fail_to_start(*services: Part) -> str:
    """Run a worker with two threads that can't start; check that it left nothing, and return the error."""
    before = set(threading.enumerate())
    with override_settings(TASKQ_WATCHDOG_TIMEOUT=60.0):
        options = WorkerOptions("w@here", list(routing.select([]).values()), 2, pool="threads")
        node = WorkerNode(options, settings.DATABASE, services=services)
        with pytest.raises(RuntimeError) as caught:
            node.run()
    wait_until(lambda: not set(threading.enumerate()) - before, what="its threads to end")
    assert not Worker.objects.exists()
    assert caught.value.__cause__ is not None
    return str(caught.value)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "names",
    [["taskq-remote"], ["taskq-1"], ["taskq-store"], ["taskq-watchdog"], ["taskq-watchdog", "taskq-watchdog"]],
    ids=["remote", "pool", "store", "watchdog", "watchdog of the store"],
)
def test_thread_that_cannot_start_leaves_nothing_of_the_worker(refused: list[str], names: list[str]) -> None:
    refused += names
    notes: list[str] = []
    assert fail_to_start(Part(notes)) == "The worker can't start: can't start new thread"
    assert notes == ["start", "stop"]


@pytest.mark.django_db(transaction=True)
def test_worker_whose_row_is_written_leaves_none(refused: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    refused.append("taskq-watchdog")
    start = threading.Thread.start

    def start_late(thread: threading.Thread) -> None:
        if thread.name == "taskq-watchdog":
            wait_until(Worker.objects.exists, what="the row of the worker")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_late)
    fail_to_start()


@pytest.mark.django_db(transaction=True)
def test_services_are_stopped_in_reverse_order_though_one_fails(
    refused: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    notes: list[str] = []
    text = fail_to_start(Part(notes), Part(notes, "stop"), Part(notes, "start"), Part(notes))
    assert text == "The worker can't start: KeyError('a setting')"
    assert notes == ["start", "start", "start", "stop", "stop", "stop"]
    assert "A part of the worker, which can't start, did not end: ValueError('not now')" in caplog.text
