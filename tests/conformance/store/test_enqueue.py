"""Sending: rows in the caller's transaction."""

from __future__ import annotations

import time

import pytest
from django.db import transaction

from taskq import states
from taskq.engines import for_alias
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq.store import workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue, enqueue_one
from taskq.store.promote import next_due, promote
from taskq.store.settle import settle
from testproject.arithmetic.tasks import add
from tests.support.envelopes import ending, envelope
from tests.support.waiting import wait_until


def test_a_sent_message_waits_and_its_run_is_pending(alias: str) -> None:
    sent = envelope(priority=3, queue="hipri", expires=2_000_000_000.0)
    enqueue_one(sent)
    message = Message.objects.using(alias).get()
    run = TaskRun.objects.using(alias).get()
    assert (message.queue, message.task_id, message.priority, message.token) == ("hipri", sent.task_id, 3, "")
    assert message.expires_at is not None
    assert message.expires_at.timestamp() == 2_000_000_000
    assert (run.task_id, run.state, run.arguments, run.queue) == (
        sent.task_id, states.PENDING, "[[1, 2], {}]", "hipri",
    )  # fmt: skip
    assert abs(run.created_at.timestamp() - time.time()) < 60


def test_enqueue_one_and_enqueue_write_the_same_rows(alias: str) -> None:
    alone, together = envelope(), envelope()
    enqueue_one(alone)
    enqueue([together, envelope(), envelope(tracked=False)])
    hidden = {"id", "task_id", "created_at", "root_id", "headers"}
    for model in (Message, TaskRun):
        one, many = (
            {
                k: v
                for k, v in model.objects.using(alias).filter(task_id=e.task_id).values()[0].items()
                if k not in hidden
            }
            for e in (alone, together)
        )
        assert one == many
    assert (Message.objects.using(alias).count(), TaskRun.objects.using(alias).count()) == (4, 3)


def test_an_untracked_message_has_no_run(alias: str) -> None:
    enqueue_one(envelope(tracked=False))
    assert Message.objects.using(alias).count() == 1
    assert not TaskRun.objects.using(alias).exists()


def test_a_rollback_leaves_no_row_of_any_kind(alias: str) -> None:
    with pytest.raises(RuntimeError), transaction.atomic(using=alias):
        enqueue_one(envelope())
        enqueue_one(envelope(delay=60))
        enqueue([envelope() for _ in range(3)])
        raise RuntimeError
    for model in (Message, ScheduledMessage, TaskRun):
        assert not model.objects.using(alias).exists()


def test_rolled_back_savepoint_drops_only_its_own_messages(alias: str) -> None:
    kept = envelope()
    with transaction.atomic(using=alias):
        enqueue_one(kept)
        with pytest.raises(RuntimeError), transaction.atomic(using=alias):
            enqueue_one(envelope())
            raise RuntimeError
    assert list(Message.objects.using(alias).values_list("task_id", flat=True)) == [kept.task_id]
    assert list(TaskRun.objects.using(alias).values_list("task_id", flat=True)) == [kept.task_id]


def test_more_messages_than_a_chunk_are_all_sent(alias: str) -> None:
    count = for_alias(alias).chunk * 2 + 7
    enqueue([envelope() for _ in range(count)])
    assert Message.objects.using(alias).count() == TaskRun.objects.using(alias).count() == count


def test_text_of_any_characters_is_claimed_unchanged(alias: str) -> None:
    text = '[["π ☃ 😀 \\u0000 \\" \' % %s\\n"], {}]'
    body = text[:-1] + ", {}]"
    enqueue_one(envelope("id 'π' %s", body=body, arguments=text))
    enqueue([envelope("id 2 'π' %s", body=body, arguments=text), envelope()])
    token = workers.register("w")
    claimed = {m.task_id: m for m in claim("taskq", 10, token)}
    assert claimed["id 'π' %s"].body == claimed["id 2 'π' %s"].body == body
    assert TaskRun.objects.using(alias).get(task_id="id 2 'π' %s").arguments == text


def test_bytes_are_stored_as_base64(alias: str) -> None:
    enqueue_one(envelope(body=b"\x80\x81"))
    message = Message.objects.using(alias).get()
    assert message.body == "gIE="
    assert '"body_encoding": "base64"' in message.properties


def test_ids_differ_by_case_and_by_every_byte(alias: str) -> None:
    enqueue([envelope("a"), envelope("A"), envelope("ä")])
    assert set(TaskRun.objects.using(alias).values_list("task_id", flat=True)) == {"a", "A", "ä"}


def test_sending_under_an_id_that_is_not_final_changes_no_run(alias: str) -> None:
    enqueue_one(envelope("x", arguments="first"))
    enqueue_one(envelope("x", arguments="second"))
    assert TaskRun.objects.using(alias).get().arguments == "first"
    assert Message.objects.using(alias).count() == 2


@pytest.mark.parametrize("many", [False, True])
def test_sending_under_a_settled_id_resets_the_run(alias: str, many: bool) -> None:
    enqueue_one(envelope("x"))
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    settle(token, [ending(message, traceback="text", children="[]")])
    again = envelope("x", arguments="again")
    enqueue([again]) if many else enqueue_one(again)
    run = TaskRun.objects.using(alias).get()
    assert (run.state, run.arguments) == (states.PENDING, "again")
    assert (run.result, run.traceback, run.children, run.started_at, run.finished_at, run.runtime) == (None,) * 6


def test_delayed_message_is_scheduled_and_promoted_when_due(alias: str) -> None:
    early, late = envelope(delay=0.05), envelope(delay=60)
    enqueue([late, early])
    enqueue_one(envelope(delay=3600))
    assert not Message.objects.using(alias).exists()
    seconds = next_due()
    assert seconds is not None
    assert seconds <= 0.05
    assert len(wait_until(promote)) == 1
    assert list(Message.objects.using(alias).values_list("task_id", flat=True)) == [early.task_id]
    seconds = next_due()
    assert seconds is not None
    assert 50 < seconds <= 60
    assert promote() == []


def test_promotion_keeps_all_columns_and_goes_in_batches(alias: str) -> None:
    columns = ("task_id", "priority", "tracked", "headers", "body")
    enqueue([envelope(delay=0.001, priority=n % 10, tracked=n % 2 == 0) for n in range(20)])
    before = sorted(ScheduledMessage.objects.using(alias).values_list(*columns))
    assert len(wait_until(lambda: promote(7))) == 7
    while promote(7):
        pass
    assert sorted(Message.objects.using(alias).values_list(*columns)) == before
    assert not ScheduledMessage.objects.using(alias).exists()


def test_without_scheduled_messages_nothing_is_due(alias: str) -> None:
    assert next_due() is None
    assert promote() == []


def test_delay_many_takes_arguments_from_an_open_query_on_its_connection(alias: str) -> None:
    enqueue([envelope() for _ in range(5)])
    rows = Message.objects.using(alias).order_by("id").iterator(chunk_size=2)
    results = add.delay_many((row.id, 0) for row in rows)
    assert Message.objects.using(alias).filter(name=add.name).count() == len(results) == 5
