"""Queues that a sender can't find by name: broadcasts, and those of topic exchanges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kombu import Exchange, Queue
from kombu.common import Broadcast

from taskq import chain
from taskq.exceptions import QueueNotFound
from taskq.models import Message, TaskRun
from taskq.models import Queue as QueueRow
from tests.support.jobs import tasks
from tests.support.length import mainly_on
from tests.support.waiting import wait_until

from .conftest import StartWorker

on_one_database = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def lines(notes: Path) -> list[str]:
    return [line.split()[0] for line in notes.read_text().splitlines()]


def nodes(notes: Path) -> set[str]:
    return {line.split()[-1] for line in notes.read_text().splitlines()}


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    # Comes first: what starts the workers copies the environment.
    monkeypatch.setenv("TEST_BROADCASTS", "news")
    settings.TASKQ_QUEUES = [Broadcast("news"), "plain"]


@mainly_on("postgresql")
def test_each_worker_runs_a_broadcast_once(alias: str, start_worker: StartWorker, notes: Path) -> None:
    workers = [start_worker("-n", name) for name in ("a", "b")]
    messages = Message.objects.using(alias)
    queues = QueueRow.objects.using(alias).exclude(name__endswith=".pidbox")
    sent = [tasks.note.apply_async((str(notes), number), queue="news") for number in range(3)]
    wait_until(lambda: len(lines(notes)) == 6 and not messages.exists(), what="both workers to have run all")
    assert sorted(lines(notes)) == ["0", "0", "1", "1", "2", "2"]
    assert len(nodes(notes)) == 2
    assert [result.get(timeout=60) for result in sent] == [0, 1, 2]
    # One row for an id, of whoever was first.
    assert TaskRun.objects.using(alias).count() == 3
    assert workers[0].stop() == 0
    assert queues.count() == 1
    tasks.note.apply_async((str(notes), 3), queue="news").get(timeout=60)
    wait_until(lambda: not messages.exists(), what="the last worker to have run it")
    assert lines(notes).count("3") == 1
    assert workers[1].stop() == 0
    assert not queues.exists()


@on_one_database
def test_broadcast_without_a_worker_is_dropped(alias: str, notes: Path) -> None:
    result = tasks.note.apply_async((str(notes), 1), queue="news")
    assert result.state == "PENDING"
    assert not Message.objects.using(alias).exists()
    assert not TaskRun.objects.using(alias).exists()
    # What another task waits for is not dropped like that.
    with pytest.raises(QueueNotFound, match="no worker reads the broadcast 'news'"):
        chain(tasks.note.si(str(notes), 1).set(queue="news"), tasks.note.si(str(notes), 2)).delay()


@on_one_database
def test_lost_copy_of_a_broadcast_runs_again_though_another_has_ended(
    alias: str, start_worker: StartWorker, notes: Path, go_on: Path
) -> None:
    for name in ("a", "b"):
        start_worker("-n", f"{name}@here")
    result = tasks.die_once_in_each.apply_async((str(notes), str(go_on)), queue="news")
    assert result.get(timeout=60) is None
    wait_until(lambda: len(lines(notes)) == 3, what="the other worker to run its copy")
    go_on.touch()
    wait_until(lambda: not Message.objects.using(alias).exists(), what="both copies to be settled")
    assert sorted(lines(notes)) == ["a@here"] * 2 + ["b@here"] * 2


@on_one_database
def test_topic_queue_of_a_worker_is_found_by_a_sender_that_does_not_declare_it(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    start_worker(QUEUES={"feeds": {"exchange": "feed", "exchange_type": "topic", "routing_key": "feed.#"}})
    result = tasks.note.apply_async((str(notes), 1), exchange="feed", exchange_type="topic", routing_key="feed.a.b")
    assert result.get(timeout=60) == 1
    with pytest.raises(QueueNotFound, match=r"feed.*other"):
        tasks.note.apply_async((str(notes), 1), exchange="feed", exchange_type="topic", routing_key="other")


@on_one_database
def test_queue_object_given_to_apply_async_gets_the_message(alias: str, start_worker: StartWorker, notes: Path) -> None:
    queue = Queue("q5", Exchange("e5", type="topic"), routing_key="a.#")
    result = tasks.note.apply_async((str(notes), 1), queue=queue)
    start_worker("-Q", "q5")
    assert result.get(timeout=60) == 1


@mainly_on("mariadb")
def test_worker_of_several_queues_of_one_exchange_runs_each_copy(
    alias: str, start_worker: StartWorker, notes: Path
) -> None:
    feed = {"exchange": "feed", "exchange_type": "topic", "routing_key": "feed.#"}
    start_worker(QUEUES={"one": feed, "two": feed, "three": feed})
    sent = [tasks.note.apply_async((str(notes), n), exchange="feed", routing_key="feed.a") for n in range(10)]
    assert [result.get(timeout=60) for result in sent] == list(range(10))
    wait_until(lambda: not Message.objects.using(alias).exists(), what="all copies to be settled")
    assert len(lines(notes)) == 30
    assert not TaskRun.objects.using(alias).exclude(state="SUCCESS").exists()
