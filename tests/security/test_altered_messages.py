"""The writer of messages: alters one part of a message, sends unsigned ones under others' ids, and delivers copies."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from taskq import chord
from taskq.models import Message, ScheduledMessage, TaskRun
from taskq.store import consuming, recover, workers
from taskq.store.authenticity import runnable
from taskq.store.claim import claim
from taskq.store.revoke import revoke

from .conftest import act, act_ignored, act_twice, fail, join, put, scheduled, snapshot, waiting

pytestmark = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
Work = Callable[..., list[str]]

#: Other values than the messages of ``whole`` have, each of which would have an effect.
HEADERS = {
    "task": "security.fail", "eta": None, "expires": None, "retries": 0, "timelimit": [None, 1], "group": "other",
    "group_index": 0, "root_id": "other", "parent_id": "other", "ignore_result": True, "stamps": {"s": 2},
    "stamped_headers": [], "shadow": "other", "origin": "other", "argsrepr": "other", "kwargsrepr": "other",
    "replaced_task_nesting": 1, "lang": "js", "compression": "application/x-bz2", "own": "other", "added": 1,
    "taskq_signature": "0" * 64,
}  # fmt: skip
PROPERTIES = {
    "correlation_id": "other", "reply_to": "other", "delivery_mode": 1, "priority": 5, "expiration": "9999999",
    "body_encoding": "base64", "app_id": "other", "added": 1,
}  # fmt: skip
COLUMNS = {
    "queue": "taskq", "body": '[["altered"], {}, {}]', "content_type": "application/x-python-serialize",
    "content_encoding": "binary", "priority": 5, "exchange": "amq.direct", "routing_key": "other", "tracked": False,
    "headers": "{}", "properties": "{}",
}  # fmt: skip


def whole(name: str, queue: str = "taskq", **options: Any) -> str:
    """Send a message that uses every header and property; return its id."""
    given = {
        "expires": 3600, "retries": 1, "time_limit": 600, "stamps": {"s": 1}, "stamped_headers": ["s"], "priority": 4,
        "headers": {"own": "h"}, "app_id": "shop", "ignore_result": False,
    }  # fmt: skip
    return str(act.apply_async((name,), queue=queue, **{**given, **options}).id)


def alter(alias: str, task_id: str, /, **changes: Any) -> None:
    assert Message.objects.using(alias).filter(task_id=task_id).update(**changes) == 1


def altered_json(alias: str, task_id: str, column: str, name: str, value: Any) -> None:
    text = Message.objects.using(alias).values_list(column, flat=True).get(task_id=task_id)
    decoded = json.loads(text)
    assert name not in decoded or decoded[name] != value or name == "eta"
    alter(alias, task_id, **{column: json.dumps({**decoded, name: "x" if name == "eta" else value})})


def test_each_part_altered_alone_is_refused(signed: str, work: Work) -> None:
    victim = chord([act.s("victim").set(queue="elsewhere")], join.s()).delay()
    member = victim.parent[0].id
    for name, value in HEADERS.items():
        altered_json(signed, whole(f"header {name}"), "headers", name, value)
    for name, value in PROPERTIES.items():
        altered_json(signed, whole(f"property {name}"), "properties", name, value)
    for column, value in COLUMNS.items():
        alter(signed, whole(f"column {column}", "unread" if column == "queue" else "taskq"), **{column: value})
    # Under the id of another task, in one of the two places or in both.
    alter(signed, whole("id"), task_id=member)
    altered_json(signed, whole("header id"), "headers", "id", member)
    both = whole("both ids")
    altered_json(signed, both, "headers", "id", member)
    alter(signed, both, task_id=member)
    before = snapshot(signed)
    assert work() == []
    assert snapshot(signed) == before
    assert [row["queue"] for row in waiting(signed)] == ["elsewhere"]
    assert work("elsewhere", "taskq") == ["victim", "join ['victim']"]


@pytest.mark.parametrize("recovered", [False, True])
def test_unsigned_message_under_anothers_id_settles_nothing(
    signed: str, work: Work, settings: Any, recovered: bool
) -> None:
    """Whether it is claimed, or found with a dead worker's token as if its task had been acknowledged."""
    victim = chord([act.s("victim").set(queue="elsewhere"), act.s("second").set(queue="elsewhere")], join.s()).delay()
    member = victim.parent[0].id
    TaskRun.objects.using(signed).filter(task_id=member).update(state="STARTED", started_at=timezone.now())
    (row, *_) = waiting(signed)
    headers = {name: value for name, value in json.loads(row["headers"]).items() if name != "taskq_signature"}
    embed = {
        "callbacks": None,
        "errbacks": [act.s("errback")],
        "chain": [join.s().set(task_id=victim.id)],
        "chord": None,
    }
    settings.TASKQ_MAX_MESSAGE_SIZE = 100_000
    forged = [
        {},
        {"headers": json.dumps({**headers, "task": "security.unknown"})},
        {"headers": json.dumps({**headers, "retries": -1})},
        {"headers": json.dumps({**headers, "expires": "2001-01-01T00:00:00+00:00"})},
        {"headers": json.dumps({**headers, "timelimit": "x"})},
        {"headers": "{", "body": "{"},
        {"headers": "{}", "body": json.dumps({"task": "security.act", "id": member, "args": ["protocol 1"]})},
        {"body": json.dumps([["altered"], {}, embed])},
        {"body": "x" * 100_001},
        {"content_type": "application/x-python-serialize"},
        {"deliveries": 99, "redelivered": True},
        {"revoked": "revoke"},
    ]
    unsigned = {**row, "queue": "taskq", "headers": json.dumps(headers)}
    if recovered:
        unsigned |= {"token": "dead", "acked": True}
    put(signed, *({**unsigned, **changes} for changes in forged))
    before = snapshot(signed)
    if recovered:
        put(signed, {**unsigned, "acked": False})
        recover.recover_orphans(signed)
    assert work() == []
    assert snapshot(signed) == before
    assert sorted(row["queue"] for row in waiting(signed)) == ["elsewhere", "elsewhere"]


def test_purging_and_revoking_settle_nothing_that_a_forged_message_names(signed: str) -> None:
    victim = chord([act.s("victim").set(queue="elsewhere")], join.s()).delay()
    own = act.apply_async(("own",), queue="taskq")
    (row,) = Message.objects.using(signed).filter(task_id=own.id).values()
    embed = {"callbacks": None, "errbacks": None, "chain": [join.s().set(task_id=victim.id)], "chord": None}
    del row["id"]
    put(
        signed,
        {**row, "task_id": victim.parent[0].id},
        {**row, "task_id": "forged", "body": json.dumps([["altered"], {}, embed])},
    )
    before = snapshot(signed, but=[own.id])
    consuming.purge("taskq", signed)
    assert snapshot(signed, but=[own.id]) == before
    assert own.state == "REVOKED"
    put(signed, {**row, "task_id": "forged", "body": json.dumps([["altered"], {}, embed])})
    revoke(["forged"])
    assert snapshot(signed, but=[own.id, "forged"]) == before


def test_lost_worker_touches_no_row_that_an_altered_column_names(signed: str) -> None:
    from taskq.store import requeue

    victim, own = act.delay("victim"), act.delay("own")
    TaskRun.objects.using(signed).filter(task_id=victim.id).update(state="STARTED", started_at=timezone.now())
    token = workers.register("w")
    Message.objects.using(signed).filter(task_id=own.id).update(token=token, task_id=victim.id)
    number = Message.objects.using(signed).get(token=token).id
    before = snapshot(signed)
    requeue.requeue_lost(token, number, deliveries=1, reason="killed", worker="w", started=None, alias=signed)
    assert snapshot(signed) == before


# -- copies


def test_copy_of_each_message_delivered_after_its_end_runs_nothing(signed: str, work: Work) -> None:
    tasks = [act.s("kept"), act_ignored.s("ignored"), fail.s("failed"), act_twice.s("retried"), act.s("forgotten")]
    tasks += [fail.s("linked").on_error(act.si("errback").set(queue="elsewhere"))]
    tasks += [act.s("chained") | act.si("next").set(queue="elsewhere")]
    tasks += [chord([act.s("member").set(ignore_result=True)], join.s().set(queue="elsewhere"))]
    results = [sig.delay() for sig in tasks]
    copies = waiting(signed)
    assert len(work()) == len(tasks)
    results[4].forget()
    # The first try of ``retried`` too, whose second try waits.
    put(signed, *copies)
    before = snapshot(signed)
    assert work() == []
    assert snapshot(signed) == before
    copies += waiting(signed)
    assert sorted(work("elsewhere")) == ["errback", "join ['member']", "next", "retried 1"]
    before = snapshot(signed)
    put(signed, *copies, *copies)
    assert work("taskq", "elsewhere") == []
    assert (snapshot(signed), waiting(signed)) == (before, [])


def test_of_two_copies_that_are_claimed_together_one_runs(signed: str) -> None:
    act.delay("once")
    put(signed, *waiting(signed))
    token = workers.register("w")
    claimed = claim("taskq", 10, token, signed)
    assert len(claimed) == 2
    assert runnable(token, claimed, signed) == claimed[:1]
    assert [row["token"] for row in waiting(signed)] == [token]


def test_task_that_is_sent_again_under_its_id_runs(signed: str, work: Work) -> None:
    act_twice.apply_async(("retried",), task_id="chosen")
    assert work() + work("elsewhere") == ["retried 0", "retried 1"]
    act_twice.apply_async(("again",), task_id="chosen")
    assert work() + work("elsewhere") == ["again 0", "again 1"]


def test_redelivered_message_runs(signed: str, work: Work) -> None:
    act.delay("redelivered")
    token = workers.register("dead")
    Message.objects.using(signed).update(token=token, redelivered=True)
    recover.requeue_held(token, signed)
    assert work() == ["redelivered"]


# -- times


def test_sealed_eta_holds_however_the_row_is_moved(signed: str, work: Work) -> None:
    past = timezone.now() - timedelta(hours=1)
    moved, due = act.apply_async(("moved",), countdown=3600), act.apply_async(("due",), countdown=3600)
    rows = ScheduledMessage.objects.using(signed)
    (row,) = rows.filter(task_id=moved.id).values()
    for column in ("id", "due_at"):
        del row[column]
    put(signed, {**row, "promoted": True, "expires_at": None})
    rows.filter(task_id=moved.id).delete()
    rows.filter(task_id=due.id).update(due_at=past)
    assert work() == []
    assert scheduled(signed, moved.id)
    assert scheduled(signed, due.id)
    assert not rows.filter(due_at__lt=timezone.now() + timedelta(minutes=50)).exists()


def test_sealed_expiry_holds_whatever_the_column_says(signed: str, work: Work) -> None:
    result = act.apply_async(("expired",), expires=timezone.now() - timedelta(seconds=1))
    Message.objects.using(signed).update(expires_at=timezone.now() + timedelta(hours=1))
    later = act.apply_async(("in time",), expires=3600)
    Message.objects.using(signed).filter(task_id=later.id).update(expires_at=timezone.now() - timedelta(hours=1))
    assert work() == ["in time"]
    assert result.state == "REVOKED"
