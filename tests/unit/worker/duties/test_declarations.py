"""Which queues a worker declares, how it keeps them in use, and which go with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from kombu import Exchange, Queue
from kombu.common import Broadcast

from taskq.models import Binding
from taskq.models import Queue as QueueRow
from taskq.store import exchanges, topology, workers
from taskq.worker.duties import declarations
from taskq.worker.duties.declarations import FORGOTTEN_AFTER, Declarations

pytestmark = pytest.mark.django_db

DIRECT = Exchange("d", type="direct")


def made(*queues: Queue) -> Declarations:
    declared = Declarations(queues, "default")
    declared.work()
    return declared


def names() -> list[str]:
    return sorted(QueueRow.objects.values_list("name", flat=True))


def test_queues_of_direct_exchanges_need_no_declaration_and_no_query(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        declared = made(Queue("a", DIRECT, "k"), Queue("b", DIRECT, "k", auto_delete=True))
    assert declared.made
    assert declared.due() is None


def test_topic_exclusive_and_broadcast_queues_are_declared() -> None:
    queues = [
        Queue("t", Exchange("topics", type="topic"), "a.#", message_ttl=5),
        Queue("x", DIRECT, "k", exclusive=True),
        Broadcast("news", queue="mine"),
    ]
    declared = Declarations(queues, "default")
    assert not declared.made
    declared.work()
    assert declared.made
    assert names() == ["mine", "t", "x"]
    assert set(Binding.objects.values_list("queue", "exchange", "routing_key")) == {
        ("t", "topics", "a.#"),
        ("x", "d", "k"),
        ("mine", "news", ""),
    }
    assert exchanges.route("topics", "a.b", "default") == [exchanges.Target("t", 5.0)]


def test_expiring_queue_is_renewed_and_declared_anew_when_it_expired(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 1000.0
    monkeypatch.setattr(declarations.time, "monotonic", lambda: clock)
    declared = made(Broadcast("news"))
    assert declared.due() == FORGOTTEN_AFTER / 4
    QueueRow.objects.update(used_at=F("used_at") - timedelta(seconds=FORGOTTEN_AFTER + 1))
    assert exchanges.route("news", "", "default") == []
    topology.sweep("default")
    assert names() == []
    clock += FORGOTTEN_AFTER / 4
    declared.work()
    assert len(exchanges.route("news", "", "default") or ()) == 1


def test_remove_deletes_only_queues_that_no_other_worker_reads() -> None:
    shared = Broadcast("news", queue="shared")
    declared = made(Broadcast("news", queue="own"), shared, Queue("t", Exchange("topics", type="topic"), "#"))
    workers.register("other", info={"queues": ["shared", "t"]})
    declared.remove()
    assert names() == ["shared", "t"]


def test_declaring_an_exchange_with_another_type_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    made(Queue("t", Exchange("x", type="topic"), "#"))
    made(Queue("f", Exchange("x", type="fanout")))
    assert "The exchange 'x' was declared with another type" in caplog.text


def test_a_queue_that_is_added_is_declared_if_senders_would_not_find_it() -> None:
    declared = made()
    declared.add(Queue("plain", Exchange("plain", type="direct"), "plain"))
    assert names() == []
    declared.add(Queue("other", Exchange("media", type="direct"), "image"))
    assert names() == ["other"]
    assert declared.due() is not None
    declared.cancel("other")
    assert declared.due() is None


def test_a_queue_with_wrong_options_is_not_added() -> None:
    declared = made()
    with pytest.raises((ValueError, TypeError)):
        declared.add(Queue("q", Exchange("t", type="topic"), "#", expires="never"))
    assert declared.due() is None
