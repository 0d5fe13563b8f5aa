"""The backlog: what waits in the queues, whatever their number."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from taskq.messages.parking import parking
from taskq.models import Message
from taskq.store.backlog import Waiting, counted, waiting
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from tests.support.envelopes import envelope


def counts(found: dict[str, Waiting]) -> dict[str, int]:
    return {name: load.count for name, load in found.items()}


def test_counts_and_names_of_what_waits(alias: str) -> None:
    assert waiting(10, 10) == {}
    assert waiting(10, 10, ["empty"]) == {"empty": Waiting("empty", 0, None)}
    enqueue([envelope(f"{queue}{n}", queue=queue) for queue, k in (("a", 3), ("b", 1), ("Z", 2)) for n in range(k)])
    enqueue([envelope("p", queue=parking("a", "shop.mail"))])
    assert claim("b", 1, "t", alias)
    assert counts(waiting(10, 10, ["empty"])) == {"Z": 2, "a": 4, "empty": 0}
    assert counts(waiting(10, 2)) == {"Z": 2, "a": 2}
    assert set(waiting(1, 10)) == {"Z", "a"}  # a queue and a parking


def test_oldest_is_found_in_every_priority(alias: str) -> None:
    enqueue([envelope(f"t{n}", priority=priority) for n, priority in enumerate((9, 0, 4))])
    rows = Message.objects.using(alias)
    for seconds, priority in ((10, 9), (900, 0), (60, 4)):
        row = rows.get(priority=priority)
        enqueue([envelope(f"new{priority}", priority=priority)])
        moved = row.created_at.timestamp() - seconds
        rows.filter(id=row.id).update(created_at=type(row.created_at).fromtimestamp(moved, row.created_at.tzinfo))
    oldest = waiting(10, 10)["taskq"].oldest
    assert oldest == pytest.approx(900, abs=20)


def test_statements_do_not_grow_with_the_queues(alias: str) -> None:
    enqueue([envelope(f"t{n}", queue=f"queue-{n}") for n in range(120)])
    with CaptureQueriesContext(connections[alias]) as queries:
        assert len(waiting(100, 10)) == 100
    assert len(queries) == 2


def test_parkings_hide_no_queue(alias: str) -> None:
    enqueue([envelope(f"p{n}", queue=parking("mails", f"shop.task{n}")) for n in range(5)])
    enqueue([envelope(f"t{n}", queue=queue) for n, queue in enumerate(("a", "b"))])
    assert counts(waiting(2, 10)) == {"a": 1, "b": 1, "mails": 2}
    assert counts(waiting(10, 10)) == {"a": 1, "b": 1, "mails": 5}


def test_messages_of_parkings_are_counted_within_what_is_counted_together(alias: str) -> None:
    enqueue([envelope(f"t{n}", queue=parking("mails", f"shop.task{n % 4}")) for n in range(12)])
    enqueue([envelope("a", queue="a")])
    found, cap = counted(10, lambda names: 10 // names)
    assert (counts(found), cap) == ({"a": 1, "mails": 2}, 2)
