"""How much of large messages a source holds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from taskq.messages.protocol import MOST_OUTSIDE, seal
from taskq.messages.serializers import to_json
from taskq.models import Message
from taskq.store.enqueue import enqueue
from taskq.store.large import body_of
from tests.support.envelopes import envelope
from tests.unit.worker.duties.taken import Taken

pytestmark = pytest.mark.django_db(transaction=True)


@override_settings(TASKQ_MAX_PREFETCH_SIZE=100_000)
def test_large_messages_are_held_up_to_a_number_of_bytes() -> None:
    for queue in ("a", "b"):
        enqueue([envelope(queue=queue, body="x" * 40_000) for _ in range(6)])
    taken = Taken("a", "b")
    waiting = Message.objects.filter(token="")

    def work(held: int, waits: int) -> None:
        while taken.source.work():
            pass
        assert (taken.lease.held, waiting.count()) == (held, waits)
        assert {message.body for message in taken.messages} == {"x" * 40_000}

    work(3, 9)
    assert waiting.filter(redelivered=True).count() == 0, "they have not been looked at"
    assert taken.lease.size > 100_000
    with CaptureQueriesContext(connection) as queries:
        work(3, 9)
    assert not [query for query in queries if "UPDATE" in query["sql"]], "there is room for none: none is claimed"
    ends = iter(list(taken.messages))
    for held, waits in ((3, 8), (3, 7), (3, 6)):
        taken.lease.drop(next(ends).id)
        work(held, waits)
    for message in taken.messages:
        taken.lease.drop(message.id)
    assert taken.lease.size == 0
    work(3, 3)
    assert len({message.id for message in taken.messages}) == len(taken.messages) == 9


@override_settings(TASKQ_MAX_PREFETCH_SIZE=1)
def test_one_message_is_held_however_large_it_is() -> None:
    enqueue([envelope(queue="a", body="x" * size) for size in (40_000, 10, 40_000)])
    taken = Taken()
    for held in (1, 2, 3):
        taken.source.work()
        assert len(taken.messages) == held
        taken.lease.drop(taken.messages[-1].id)


@pytest.mark.parametrize("signing", [False, True])
def test_bodies_that_only_a_task_opens_stay_in_their_rows(signing: bool) -> None:
    with override_settings(TASKQ_SIGNING=signing, TASKQ_MAX_PREFETCH_SIZE=1):
        large = envelope("large", queue="a", body="x" * (MOST_OUTSIDE + 1))
        large.headers |= {"root_id": "large", "padding": "x" * 10_000}
        seal([large])
        headers = to_json(large.headers)
        enqueue([large])
        taken = Taken()
        taken.source.work()
        (message,) = taken.messages
        assert (message.in_row, message.body) == (True, "")
        # What was read of it counts: its headers.
        assert message.size == taken.lease.size < 2 * len(headers)
        assert message.headers == headers
        assert body_of(message.id, headers, "{}") == large.body
        Message.objects.update(body="y")
        assert body_of(message.id, headers, "{}") == (None if signing else "y")
        Message.objects.all().delete()
        assert body_of(message.id, headers, "{}") is None


@override_settings(TASKQ_MAX_MESSAGE_SIZE=50_000, TASKQ_MAX_HEADERS_SIZE=20_000)
def test_messages_above_the_limits_are_delivered_unread() -> None:
    fits = enqueue_unchecked(body="x" * 50_000, headers="[" * 19_998)
    texts = [{"body": "x" * 50_001}, {"headers": "x" * 20_001}, {"headers": "x" * 9_000, "properties": "x" * 11_001}]
    ids = [fits, *(enqueue_unchecked(**each) for each in texts)]
    taken = Taken()
    taken.source.work()
    assert [message.id for message in taken.messages] == ids
    read, *refused = taken.messages
    assert (len(read.body), len(read.headers), read.refused) == (50_000, 19_998, "")
    assert [(m.body, m.headers, m.properties, m.size) for m in refused] == [("", "{}", "{}", 0)] * 3
    assert [re.search(r"TASKQ_\w+", m.refused)[0] for m in refused] == [  # type: ignore[index]
        "TASKQ_MAX_MESSAGE_SIZE", "TASKQ_MAX_HEADERS_SIZE", "TASKQ_MAX_HEADERS_SIZE",
    ]  # fmt: skip


def enqueue_unchecked(**texts: str) -> int:
    """Write a message past all that checks what is sent; return its id."""
    values = {"queue": "a", "headers": "{}", "properties": "{}", "body": "[]", "created_at": datetime.now(UTC)}
    return Message.objects.create(**values | texts).id
