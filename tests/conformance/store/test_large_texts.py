"""Large bodies and arguments: whoever reads their rows sees them whole, and no text stays behind.

On SQLite they stand apart, in ``LargeText``. Elsewhere these tests say that nothing else is different.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Left, Right

from taskq.engines import storage
from taskq.models import LargeText, Message, ScheduledMessage, TaskRun
from taskq.models.fields import Octets
from taskq.records import Claimed
from taskq.store import large, retention, workers
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue, enqueue_one
from taskq.store.promote import promote
from taskq.store.reading import together
from taskq.store.requeue import postpone, requeue
from taskq.store.settle import settle
from taskq.store.texts import whole, without_texts
from tests.conformance.store.standing_apart import ON_SQLITE, emptied_log, migrated_back, texts
from tests.support.envelopes import ending, envelope

TEXT = "ä" * 50_000 + "x" * 100_000
ARGUMENTS = json.dumps([[TEXT], {}], ensure_ascii=False)
BODY = ARGUMENTS[:-1] + ', {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
ROOM = 1 << 24


def send(task_id: str | None = "x", **changes: Any) -> str:
    """Send a large message; return the id of its task."""
    values: dict[str, Any] = {"body": BODY, "arguments": ARGUMENTS} | changes
    one = envelope(task_id, **values)
    enqueue_one(one)
    return one.task_id


def claimed(alias: str) -> tuple[str, list[Claimed]]:
    token = workers.register("w")
    return token, large.keep(claim("taskq", 100, token), token, ROOM, alias)


def test_queries_give_the_whole_text(alias: str) -> None:
    send()
    runs, messages = TaskRun.objects.using(alias), Message.objects.using(alias)
    assert runs.get().arguments == runs.only("task_id").get().arguments == ARGUMENTS
    assert messages.get().body == BODY
    assert messages.values_list("body", flat=True).get() == BODY
    assert runs.values_list(Left("arguments", 10), Right("arguments", 10)).get() == (ARGUMENTS[:10], ARGUMENTS[-10:])
    assert runs.values_list(Octets("arguments"), flat=True).get() == len(ARGUMENTS.encode())
    assert runs.filter(arguments__contains="äxx", arguments__startswith='[["ä').exists()
    assert not runs.filter(arguments__contains="y").exists()
    assert together(messages.only("id", "body"), runs.values_list("arguments"), alias=alias) == [
        [messages.get()],
        [(ARGUMENTS,)],
    ]
    assert [m.body for m in together(messages.only("id", "body"), alias=alias)[0]] == [BODY]


def test_a_text_is_left_out_by_its_size_and_read_alone(alias: str) -> None:
    send()
    rows = Message.objects.using(alias)
    (short,), (full,) = without_texts(rows.all(), 1000), without_texts(rows.all())
    assert (short.body, short.shortened) == ("", True)
    assert (full.body, full.shortened) == (BODY, False)
    assert whole(short).body == BODY


@pytest.mark.parametrize("tracked", [True, False])
def test_a_message_and_its_run_share_a_text_that_goes_with_the_last_of_them(
    alias: str, apart: int, tracked: bool
) -> None:
    send(tracked=tracked)
    assert texts(alias) == apart
    token, (message,) = claimed(alias)
    assert message.body == BODY
    settle(token, [ending(message, keep=tracked)])
    assert texts(alias) == apart * tracked
    if tracked:
        assert TaskRun.objects.using(alias).get().arguments == ARGUMENTS
        retention.forget(["x"])
    assert texts(alias) == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"body": f"[{BODY}"}, 2),
        ({"body": "QQ" * 50_000}, 2),
        ({"body": "QQ"}, 1),
        ({"arguments": None}, 1),
        ({"arguments": "[[], {}]"}, 1),
        ({"body": BODY.replace("callbacks", "back\0")}, 1),
    ],
    ids=["nothing-alike", "compressed", "small-body", "none", "masked", "nul"],
)
@ON_SQLITE
def test_texts_that_have_nothing_alike(alias: str, changes: dict[str, Any], expected: int) -> None:
    values: dict[str, Any] = {"body": BODY, "arguments": ARGUMENTS} | changes
    send(**changes)
    assert Message.objects.using(alias).get().body == values["body"]
    assert TaskRun.objects.using(alias).get().arguments == values["arguments"]
    assert texts(alias) == expected
    token, (message,) = claimed(alias)
    settle(token, [ending(message, keep=False)])
    assert texts(alias) == 0


def test_many_at_once_and_a_message_that_is_due_later(alias: str, apart: int) -> None:
    values: dict[str, Any] = {"body": BODY, "arguments": ARGUMENTS}
    enqueue([envelope("a", **values), envelope("b", **values, eta=1.0), envelope("c", **values, delay=3600.0)])
    assert texts(alias) == 6 * apart
    scheduled = ScheduledMessage.objects.using(alias)
    assert {m.body for m in scheduled.all()} == {BODY}
    promote(10, alias)
    assert (scheduled.count(), texts(alias)) == (1, 6 * apart)
    token, messages = claimed(alias)
    assert {(m.task_id, m.body) for m in messages} == {("a", BODY), ("b", BODY)}
    settle(token, [ending(m, keep=False) for m in messages])
    scheduled.all().delete()
    assert texts(alias) == apart
    TaskRun.objects.using(alias).all().delete()
    assert texts(alias) == 0


def test_a_message_that_goes_back_keeps_its_text(alias: str, apart: int) -> None:
    send()
    token, (message,) = claimed(alias)
    requeue(token, [message.id])
    token, (message,) = claimed(alias)
    assert postpone(token, message, 3600.0)
    assert ScheduledMessage.objects.using(alias).get().body == BODY
    assert TaskRun.objects.using(alias).get().arguments == ARGUMENTS
    assert texts(alias) == 2 * apart


def test_a_task_that_is_sent_again_under_its_id(alias: str, apart: int) -> None:
    send()
    send(arguments=ARGUMENTS.replace("x", "y"))
    assert TaskRun.objects.using(alias).get().arguments == ARGUMENTS  # it has not ended
    token, messages = claimed(alias)
    settle(token, [ending(m) for m in messages])
    assert texts(alias) == apart
    send(arguments=ARGUMENTS.replace("x", "y"))
    assert TaskRun.objects.using(alias).get().arguments == ARGUMENTS.replace("x", "y")
    enqueue([envelope("x", body="[[], {}, {}]", arguments=ARGUMENTS)])  # waits already: no text without a row
    token, messages = claimed(alias)
    settle(token, [ending(m) for m in messages])
    assert texts(alias) == apart
    TaskRun.objects.using(alias).update(arguments="[[], {}]")
    assert texts(alias) == 0


@ON_SQLITE
def test_a_row_of_before_has_its_text(alias: str) -> None:
    Message.objects.using(alias).create(
        queue="old", task_id="old", headers="{}", properties="{}", body=BODY, created_at=datetime.now(UTC)
    )
    rows = Message.objects.using(alias)
    assert rows.values_list("body", Octets("body")).get() == (BODY, len(BODY.encode()))
    token = workers.register("w")
    (message,) = large.keep(claim("old", 10, token), token, ROOM, alias)
    assert message.body == BODY
    assert settle(token, [ending(message, tracked=False)])
    assert not rows.exists()


@ON_SQLITE
def test_a_text_that_is_gone_reads_as_an_empty_one(alias: str) -> None:
    send()
    LargeText.objects.using(alias).all().delete()
    _, (message,) = claimed(alias)
    assert message.body == Message.objects.using(alias).get().body == TaskRun.objects.using(alias).get().arguments == ""


@ON_SQLITE
def test_a_large_text_stays_out_of_what_a_worker_writes(alias: str) -> None:
    """A row that is written anew would add the text."""
    send()
    log = emptied_log(alias)
    token, (message,) = claimed(alias)
    requeue(token, [message.id])
    token, (message,) = claimed(alias)
    settle(token, [ending(message)])
    assert log.stat().st_size < len(BODY)


@ON_SQLITE
def test_no_migration_has_dropped_the_triggers(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'taskq%%text%%'")
        assert {name for (name,) in cursor.fetchall()} == {*storage.TRIGGERS_1, *storage.TRIGGERS_2}


@ON_SQLITE
def test_reversed_migration_writes_the_texts_back(alias: str) -> None:
    """As another version, which knows no ``LargeText``, reads the rows."""
    send("a")
    send("b", delay=3600.0)
    send("c", body="[[], {}, {}]", arguments=None)
    with migrated_back(alias, "0017"), connections[alias].cursor() as cursor:
        for column, table, expected in (
            ("body", "message", [BODY, "[[], {}, {}]"]),
            ("body", "scheduledmessage", [BODY]),
            ("arguments", "taskrun", [ARGUMENTS, ARGUMENTS, None]),
        ):
            cursor.execute(f"SELECT {column} FROM taskq_{table} ORDER BY task_id")
            assert [text for (text,) in cursor.fetchall()] == expected
    assert Message.objects.using(alias).get(task_id="a").body == BODY


def send_foreign(alias: str, *bodies: str) -> None:
    """Send messages without the id of a task."""
    for body in bodies:
        foreign = envelope(body=body, arguments=None, tracked=False)
        foreign.task_id = ""
        enqueue([foreign], alias)


@ON_SQLITE
def test_foreign_messages_without_an_id_go_each_with_its_text(alias: str) -> None:
    send_foreign(alias, BODY, f"[{BODY}")
    rows = Message.objects.using(alias)
    assert texts(alias) == 2
    rows.filter(id=rows.order_by("id")[0].id).delete()
    assert (rows.get().body, texts(alias)) == (f"[{BODY}", 1)
    rows.all().delete()
    assert texts(alias) == 0


@ON_SQLITE
def test_deleting_a_foreign_message_looks_at_no_others_without_an_id(alias: str) -> None:
    def steps_of_a_deletion() -> int:
        """Return how many hundreds of steps SQLite takes."""
        hundreds: list[None] = []
        connections[alias].connection.set_progress_handler(lambda: hundreds.append(None), 100)
        try:
            with connections[alias].cursor() as cursor:
                cursor.execute("DELETE FROM taskq_message WHERE id = (SELECT min(id) FROM taskq_message)")
        finally:
            connections[alias].connection.set_progress_handler(None, 100)
        return len(hundreds)

    send_foreign(alias, BODY, BODY)
    few = steps_of_a_deletion()
    send_foreign(alias, *[BODY] * 100)
    assert steps_of_a_deletion() <= few + 2
    assert texts(alias) == 100
