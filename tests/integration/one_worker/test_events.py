"""Events of a running worker: what it sends while somebody listens, and that it writes nothing while nobody does."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.messages import SUCCESS

from taskq import control, signals
from taskq.events import Receiver
from taskq.events.sent import SentEvents
from taskq.models import Binding, Message, TaskEvent, Worker
from taskq.store import topology
from taskq_admin.actions.base import Who, get
from tests.support.databases import Database
from tests.support.jobs.endings import fail_with, wait_for_file
from tests.support.jobs.flows import add, tell
from tests.support.processes import Process, Processes
from tests.support.waiting import wait_until
from tests.support.workers import as_environment, start_worker


class Capture:
    """Reads events on a thread of its own."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.receiver = Receiver({"*": self.events.append})
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        from django.db import connections

        try:
            self.receiver.capture()
        finally:
            connections.close_all()

    def end(self) -> None:
        self.receiver.should_stop = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def of(self, task_id: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event.get("uuid") == task_id]

    def kinds(self, task_id: str) -> list[str]:
        return [event["type"] for event in self.of(task_id)]

    def hear_more(self) -> None:
        """Wait for two heartbeats: whatever was noted until now would have come before them."""
        heard = len(self.events)
        wait_until(lambda: [event["type"] for event in self.events[heard:]].count("worker-heartbeat") > 1)

    def has_from(self, hostname: str, kind: str) -> bool:
        return any((event["type"], event.get("hostname")) == (kind, hostname) for event in list(self.events))

    def has(self, kind: str) -> bool:
        return any(event["type"] == kind for event in list(self.events))


@pytest.fixture
def node(worker: Process) -> str:
    return worker.wait_for_log(r"(taskq@\S+) ready").group(1)


@pytest.fixture
def events(node: str) -> Iterator[None]:
    assert control.broadcast("enable_events", reply=True, limit=1, timeout=60) == [
        {node: {"ok": "task events enabled"}}
    ]
    yield
    assert control.broadcast("disable_events", reply=True, limit=1, timeout=60) == [
        {node: {"ok": "task events disabled"}}
    ]


@pytest.fixture
def capture(node: str) -> Iterator[Capture]:
    capture = Capture()
    try:
        wait_until(lambda: capture.has("worker-heartbeat"))
        yield capture
    finally:
        capture.end()


@pytest.fixture
def own_processes(database: Database, tmp_path: Path) -> Iterator[Processes]:
    """Processes beside the worker, which keeps its rows when they end."""
    processes = Processes(tmp_path, {"DATABASE_URL": database.url, "TASKQ_BROKER_URL": "django://"})
    try:
        yield processes
    finally:
        processes.end()


def test_events_of_tasks(events: None, capture: Capture, node: str) -> None:
    good, bad = add.delay(2, 2), fail_with.delay("no")
    good.get(timeout=60)
    bad.get(timeout=60, propagate=False)
    wait_until(lambda: len(capture.of(good.id)) == len(capture.of(bad.id)) == 3)
    assert capture.kinds(good.id) == ["task-received", "task-started", "task-succeeded"]
    assert capture.kinds(bad.id) == ["task-received", "task-started", "task-failed"]
    received, _, succeeded = capture.of(good.id)
    assert (received["args"], succeeded["result"], received["hostname"]) == ("(2, 2)", "4", node)
    assert "Traceback" in capture.of(bad.id)[2]["traceback"]
    clocks = [event["clock"] for event in capture.of(good.id)]
    assert clocks == sorted(clocks)


def test_events_of_a_tasks_own_are_in_the_dump(
    events: None, capture: Capture, own_processes: Processes, node: str
) -> None:
    dump = own_processes.start("taskevents", "--dump", **as_environment({}))
    dump.wait_for_log("worker-heartbeat|heartbeat")
    result = tell.delay(2)
    dump.wait_for_log(rf"^{re.escape(node)} .* task progress: .*{result.id}.* done=2, .*of=3")
    dump.stop(signal.SIGINT)
    wait_until(lambda: "task-progress" in capture.kinds(result.id))
    (event,) = [event for event in capture.of(result.id) if event["type"] == "task-progress"]
    assert (event["done"], event["of"], event["hostname"]) == (2, 3, node)


def test_a_worker_is_offline_when_it_begins_to_end(capture: Capture, own_processes: Processes, tmp_path: Path) -> None:
    worker = start_worker(own_processes, "-E", "-c", "1", "-Q", "ending", "-n", "ending@here")
    result = wait_for_file.apply_async((str(tmp_path / "notes"), str(tmp_path / "go on")), queue="ending")
    wait_until(lambda: "task-started" in capture.kinds(result.id))
    worker.send(signal.SIGTERM)
    wait_until(lambda: capture.has_from("ending@here", "worker-offline"))
    assert not result.ready()
    (tmp_path / "go on").touch()
    assert result.get(timeout=60) == "done"
    wait_until(lambda: "task-succeeded" in capture.kinds(result.id))
    assert worker.wait() == 0


def test_disabled_means_disabled(capture: Capture) -> None:
    result = add.delay(2, 2)
    result.get(timeout=60)
    capture.hear_more()
    assert capture.of(result.id) == []


def test_nothing_is_written_while_nobody_listens(events: None, alias: str) -> None:
    # A monitor of another test that was killed is forgotten after a while.
    def nobody() -> bool:
        topology.sweep(alias)
        return not Binding.objects.using(alias).filter(exchange="taskqev").exists()

    wait_until(nobody, what="no monitor to be bound")
    last = Message.objects.using(alias).order_by("-id").values_list("id", flat=True).first() or 0
    add.delay(2, 2).get(timeout=60)
    control.broadcast("heartbeat")
    assert control.ping(limit=1, timeout=60)
    assert not Message.objects.using(alias).filter(id__gt=last, exchange="taskqev").exists()


def told(task_id: str, alias: str) -> list[tuple[str, str, str]]:
    rows = TaskEvent.objects.using(alias).filter(task_id=task_id).order_by("at")
    return list(rows.values_list("kind", "worker", "detail"))


@pytest.fixture
def untold(worker: Process) -> str:
    """The id of a task that ran while events were off."""
    result = add.delay(2, 2)
    result.get(timeout=60)
    return result.id


def test_the_timeline_is_kept_while_events_are_on(untold: str, events: None, alias: str, node: str) -> None:
    result = add.apply_async((2, 2))
    expired = add.apply_async((2, 2), expires=-1)
    result.get(timeout=60)
    expired.get(timeout=60, propagate=False)
    wait_until(lambda: told(result.id, alias) == [("received", node, "")])
    wait_until(lambda: told(expired.id, alias) == [("revoked", node, "expired")])
    assert told(untold, alias) == []


def test_the_sender_tells_what_it_has_sent(capture: Capture) -> None:
    sent = SentEvents()
    signals.after_task_publish.connect(sent.note, weak=False)
    try:
        result = add.delay(2, 2)
        wait_until(lambda: capture.kinds(result.id) == ["task-sent"])
    finally:
        signals.after_task_publish.disconnect(sent.note)
    (event,) = capture.of(result.id)
    assert (event["name"], event["args"], event["queue"]) == (add.name, "(2, 2)", "taskq")
    assert event["hostname"].startswith("gen")


def test_events_that_the_admin_turns_on_are_heard_and_then_no_more(
    node: str, alias: str, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq_admin.actions.workers.PATIENCE", 30.0)
    tokens = list(Worker.objects.using(alias).filter(name=node, state="running").values_list("token", flat=True))

    def switch(key: str) -> list[tuple[int, str]]:
        action = get("worker", key)
        assert action is not None
        return action.act(tokens, {}, Who(None)).messages

    assert switch("enable-events") == [(SUCCESS, f"{node}: task events enabled")]
    try:
        heard = add.delay(2, 2)
        wait_until(lambda: "task-succeeded" in capture.kinds(heard.id), what="the events of a task")
    finally:
        assert switch("disable-events") == [(SUCCESS, f"{node}: task events disabled")]
    unheard = add.delay(2, 2)
    assert unheard.get(timeout=60) == 4
    capture.hear_more()
    assert capture.of(unheard.id) == []
