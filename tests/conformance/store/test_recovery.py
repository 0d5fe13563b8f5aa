"""Leases: what a worker holds while it lives, and who gets it afterwards."""

from __future__ import annotations

import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections

from taskq import states
from taskq.engines import for_alias
from taskq.messages.parking import parking
from taskq.models import Attempt, Lease, Message, ScheduledMessage, TaskRun, Worker
from taskq.records import Progress
from taskq.store import leadership, promote, requeue, retention, workers
from taskq.store.claim import acknowledge, claim
from taskq.store.consuming import CONSUMER
from taskq.store.enqueue import enqueue
from taskq.store.progress import write
from taskq.store.recover import recover, recover_orphans
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from tests.support.envelopes import ending, envelope
from tests.support.retention import expire


def test_messages_of_a_dead_worker_are_requeued_as_redelivered(alias: str) -> None:
    enqueue([envelope(), envelope()])
    token = workers.register("w")
    claim("taskq", 1, token)
    assert recover(token, 0) == 1
    assert sorted(Message.objects.using(alias).values_list("token", "redelivered")) == [("", False), ("", True)]
    assert workers.peers("") == []
    assert not workers.heartbeat(token)


def test_dead_worker_is_listed_as_lost_until_its_name_starts_again(alias: str) -> None:
    token = workers.register("w", info={"queues": ["mails"]})
    other = workers.register("v")
    assert recover(token, 0) == 0
    rows = Worker.objects.using(alias)
    assert sorted(rows.values_list("name", "state")) == [("v", "running"), ("w", "lost")]
    assert not rows.filter(token=token).exists(), "its row is no lease any more"
    assert workers.readers("mails") == 0
    assert [peer.name for peer in workers.peers(other)] == []
    assert recover(token, 0) is None
    again = workers.register("w")
    assert set(rows.values_list("token", flat=True)) == {other, again}


def test_lost_worker_is_forgotten_after_an_hour(alias: str) -> None:
    assert recover(workers.register("w"), 0) == 0
    assert workers.forget_lost() == 0
    lost = Worker.objects.using(alias)
    lost.update(seen_at=lost.get().seen_at - timedelta(seconds=workers.KEEP_LOST + 1))
    workers.register("living")
    assert workers.forget_lost() == 1
    assert lost.get().name == "living"


def test_dead_start_of_a_name_that_runs_again_and_dead_connections_leave_no_row(alias: str) -> None:
    dead, connection = workers.register("w"), workers.register("program", state=CONSUMER)
    again = workers.register("w")
    assert recover(dead, 0) == recover(connection, 0) == 0
    assert Worker.objects.using(alias).get().token == again


def test_worker_that_has_beaten_since_is_not_dead(alias: str) -> None:
    token = workers.register("w")
    assert workers.heartbeat(token, state="stopping")
    assert recover(token, 0) is None
    assert [(b.name, b.beats) for b in workers.peers("")] == [("w", 1)]
    assert recover(token, 1) == 0
    assert recover(token, 1) is None


def test_acknowledged_messages_of_a_dead_worker_fail(alias: str) -> None:
    enqueue([envelope("x"), envelope("y", tracked=False), envelope("z")])
    token = workers.register("w")
    x, y, _ = claim("taskq", 3, token)
    acknowledge(token, [x.id, y.id])
    assert recover(token, 0) == 3
    ends = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert ends == {"x": states.FAILURE, "y": states.FAILURE, "z": states.PENDING}
    assert list(Message.objects.using(alias).values_list("task_id", flat=True)) == ["z"]


def test_messages_held_under_an_unknown_token_are_requeued(alias: str) -> None:
    enqueue([envelope(), envelope()])
    living = workers.register("w")
    claim("taskq", 1, living)
    claim("taskq", 1, "gone")
    assert recover_orphans() == 1
    assert sorted(Message.objects.using(alias).values_list("token", flat=True)) == ["", living]


def test_leaving_worker_releases_its_messages(alias: str) -> None:
    enqueue([envelope()])
    token = workers.register("w")
    claim("taskq", 1, token)
    workers.deregister(token)
    assert Message.objects.using(alias).get().token == ""


def test_released_message_is_uncounted_and_keeps_its_place(alias: str) -> None:
    sent = [envelope() for _ in range(3)]
    enqueue(sent)
    token = workers.register("w")
    first, *_ = claim("taskq", 2, token)
    assert requeue.requeue(token, [first.id]) == 1
    assert requeue.requeue("other", [first.id]) == 0
    message = Message.objects.using(alias).get(id=first.id)
    assert (message.token, message.redelivered, message.deliveries) == ("", False, 0)
    assert claim("taskq", 1, token)[0].id == first.id


def test_lost_run_is_counted_and_kept_as_an_attempt(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    lose = {"deliveries": 2, "reason": "signal 9", "worker": "w", "started": 1_700_000_000.0}
    assert not requeue.requeue_lost("other", message.id, **lose)
    assert requeue.requeue_lost(token, message.id, **lose)
    row = Message.objects.using(alias).get()
    assert (row.token, row.redelivered, row.deliveries) == ("", True, 2)
    attempt = Attempt.objects.using(alias).get()
    assert (attempt.task_id, attempt.state, attempt.traceback) == ("x", "LOST", "signal 9")


def test_interrupted_run_is_not_counted_and_kept_as_an_attempt(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    stopped = {"deliveries": 1, "reason": "stopped", "worker": "w", "started": 1_700_000_000.0, "counted": False}
    assert requeue.requeue_lost(token, message.id, **stopped)
    row = Message.objects.using(alias).get()
    assert (row.token, row.redelivered, row.deliveries) == ("", False, 0)
    assert Attempt.objects.using(alias).get().state == "INTERRUPTED"


def hastened(names: Collection[str], queues: Collection[str] = ("taskq",)) -> list[int]:
    """Look for all that is due within a minute; return how many each step has found."""
    found, after = promote.hasten_unknown(names, queues, 60.0)
    steps = [found]
    while after is not None:
        found, after = promote.hasten_unknown(names, queues, 60.0, after)
        steps.append(found)
    return steps


@pytest.mark.parametrize(("looked_at", "at_once", "steps"), [(100, 2, 3), (3, 100, 3), (3, 1, 5)])
def test_tasks_that_come_back_are_many_and_so_are_those_that_a_worker_knows(
    alias: str, looked_at: int, at_once: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promote, "_LOOKED_AT", looked_at)
    monkeypatch.setattr(promote, "_HASTENED", at_once)
    headers = {"task": "shop.added", "x-unknown-since": 1.0}
    # One transaction: some of them may be due at the same time. Others are between them.
    sent = [envelope(f"t{n}", name="shop.added", headers=headers, delay=15.0) for n in range(5)]
    for number in (1, 3, 5):
        sent.insert(number, envelope(f"other{number}", name="shop.other", headers=headers, delay=15.0))
    enqueue(sent)
    found = hastened({f"shop.t{n}" for n in range(70_000)} | {"shop.added"})
    assert (sum(found), max(found) <= at_once) == (5, True)
    assert len(found) >= steps
    assert len(promote.promote()) == 5


def test_worker_that_knows_a_task_has_it_come_back_at_once(alias: str) -> None:
    headers = {"task": "shop.added", "x-unknown-since": 1.0}
    enqueue([
        envelope("known", name="shop.added", headers=headers, delay=15.0),
        envelope("other", name="shop.other", headers=headers, delay=15.0),
        envelope("late", name="shop.added", headers=headers, delay=600.0),
        envelope("scheduled", name="shop.added", delay=15.0),
    ])  # fmt: skip
    assert hastened(["shop.added", "shop.more"]) == [1]
    assert len(promote.promote()) == 1
    message = Message.objects.using(alias).get()
    assert message.task_id == "known"
    # If another worker takes it first, it comes back soon: as if it had been unknown only since now.
    assert json.loads(message.headers)["x-unknown-since"] > 1_000_000_000
    assert hastened(["shop.added"]) == [0]


def test_only_messages_of_queues_that_the_worker_reads_come_back(alias: str) -> None:
    """Of others it would only keep the messages going round, from one worker without the task to the next."""
    headers = {"task": "shop.added", "x-unknown-since": 1.0}
    queues = ("mail", "reports", parking("mail", "shop.added"))
    enqueue([envelope(q, name="shop.added", queue=q, headers=headers, delay=15.0) for q in queues])
    assert hastened(["shop.added"], ["mail", "pictures"]) == [2]
    (left,) = ScheduledMessage.objects.using(alias).filter(headers__contains=": 1.0")
    assert left.task_id == "reports"


@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_messages_that_another_worker_moves_are_passed_over(alias: str) -> None:
    headers = {"task": "shop.added", "x-unknown-since": 1.0}
    enqueue([envelope(n, name="shop.added", headers=headers, delay=15.0) for n in ("a", "b")])
    with for_alias(alias).atomic():
        list(ScheduledMessage.objects.using(alias).select_for_update().filter(task_id="a"))
        with ThreadPoolExecutor(1) as other:
            assert other.submit(_hastened_apart, alias).result(timeout=60) == [2]
    (held,) = ScheduledMessage.objects.using(alias).filter(headers__contains=": 1.0")
    assert held.task_id == "a"


def _hastened_apart(alias: str) -> list[int]:
    try:
        return hastened(["shop.added"])
    finally:
        connections[alias].close()


def test_start_of_a_lost_run_is_forgotten(alias: str) -> None:
    enqueue([envelope("a"), envelope("b"), envelope("c")])
    token = workers.register("w")
    held = {message.task_id: message for message in claim("taskq", 3, token)}

    def since(task_id: str, state: str | None) -> Progress:
        return Progress(held[task_id].id, task_id, "shop.add", "taskq", state, None, "application/json", 1.7e9, "w")

    write(token, [since("a", None), since("b", "STARTED"), since("b", None), since("c", "BUSY"), since("c", None)])
    rows = TaskRun.objects.using(alias).order_by("task_id").values_list("task_id", "state", "worker")
    assert list(rows.filter(started_at__isnull=False)) == [
        ("a", "PENDING", "w"),
        ("b", "STARTED", "w"),
        ("c", "BUSY", "w"),
    ]
    requeue.requeue_lost(token, held["a"].id, deliveries=1, reason="signal 9", worker="w", started=None)
    workers.deregister(token)
    assert list(rows.filter(started_at=None)) == [("a", "PENDING", ""), ("b", "PENDING", ""), ("c", "BUSY", "")]


def test_postponed_message_is_scheduled_with_all_columns(alias: str) -> None:
    enqueue([envelope("x", priority=4)])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    assert requeue.postpone(token, message, 60)
    assert not Message.objects.using(alias).exists()
    row = ScheduledMessage.objects.using(alias).get()
    assert (row.task_id, row.priority, row.body) == ("x", 4, message.body)
    assert not requeue.postpone(token, message, 60)


def test_rejected_message_goes_behind_the_waiting_messages_and_pauses_longer_each_time(alias: str) -> None:
    enqueue([envelope("x", priority=4, expires=2_000_000_000.0), *(envelope(priority=4) for _ in range(2))])
    before = Message.objects.using(alias).get(task_id="x")
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    assert not requeue.requeue_rejected("other", message)
    assert requeue.requeue_rejected(token, message)
    row = Message.objects.using(alias).order_by("id").last()
    assert row is not None
    assert (row.task_id, row.redelivered, row.deliveries, row.token) == ("x", True, 0, "")
    assert (row.name, row.body) == (before.name, before.body)
    assert row.expires_at is not None
    assert before.expires_at is not None
    assert abs((row.expires_at - before.expires_at).total_seconds()) < 1
    for pause in (1, 2, 4):
        message = claim("taskq", 3, token)[-1]
        message.deliveries = 1  # an earlier start that was lost stays counted
        assert requeue.requeue_rejected(token, message)
        later = ScheduledMessage.objects.using(alias).get()
        assert abs((later.due_at - later.created_at).total_seconds() - pause) < 0.5
        assert (later.deliveries, later.redelivered) == (1, True)
        for_alias(alias).move_due([later.id])
        requeue.requeue(token, [m.id for m in Message.objects.using(alias).filter(token=token)])


def test_rejected_message_that_was_revoked_is_not_sent_again(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    revoke(["x"])
    assert requeue.requeue_rejected(token, message)
    row = Message.objects.using(alias).get()
    assert (row.id, row.token) == (message.id, "")
    assert row.revoked


def test_waiting_and_scheduled_messages_are_revoked_at_once(alias: str) -> None:
    enqueue([envelope("x"), envelope("y", delay=60), envelope("u", tracked=False), envelope("other")])
    assert revoke(["x", "y", "u", "unknown"]) == 3
    states_of = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert states_of == {"x": "REVOKED", "y": "REVOKED", "u": "REVOKED", "other": "PENDING"}
    assert list(Message.objects.using(alias).values_list("task_id", flat=True)) == ["other"]
    assert not ScheduledMessage.objects.using(alias).exists()


def test_revoking_an_ended_task_changes_nothing(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    settle(token, [ending(m) for m in claim("taskq", 1, token)])
    assert revoke(["x"]) == 0
    assert TaskRun.objects.using(alias).get().state == "SUCCESS"


def test_progress_is_written_only_for_the_holder_and_before_the_end(alias: str) -> None:
    enqueue([envelope("x"), envelope("u", tracked=False)])
    token = workers.register("w")
    x, u = claim("taskq", 2, token)

    def report(message_id: int, task_id: str, state: str, meta: str) -> Progress:
        return Progress(message_id, task_id, "shop.add", "taskq", state, meta, "application/json", 1.7e9, "w")

    write(token, [report(x.id, "x", "STARTED", "{}"), report(u.id, "u", "PROGRESS", "1")])
    write("other", [report(x.id, "x", "PROGRESS", "stolen")])
    states_of = dict(TaskRun.objects.using(alias).values_list("task_id", "state"))
    assert states_of == {"x": "STARTED", "u": "PROGRESS"}
    assert TaskRun.objects.using(alias).get(task_id="x").started_at is not None
    settle(token, [ending(x)])
    write(token, [report(x.id, "x", "PROGRESS", "late")])
    assert TaskRun.objects.using(alias).get(task_id="x").state == "SUCCESS"


def test_old_runs_are_deleted_by_state_and_age_in_batches(alias: str) -> None:
    enqueue([envelope() for _ in range(12)])
    token = workers.register("w")
    *done, failed, waiting = claim("taskq", 12, token)
    settle(token, [*(ending(m) for m in done), ending(failed, "FAILURE")])
    assert expire("SUCCESS", timedelta(days=36500)) == 0
    assert expire("SUCCESS", timedelta(days=1), limit=7) == 7
    assert expire("SUCCESS", timedelta(days=1), limit=7) == 3
    assert sorted(TaskRun.objects.using(alias).values_list("state", flat=True)) == ["FAILURE", "PENDING"]
    assert waiting.task_id in set(TaskRun.objects.using(alias).values_list("task_id", flat=True))


def test_forgetting_an_ended_task_deletes_run_and_attempts(alias: str) -> None:
    enqueue([envelope("x")])
    token = workers.register("w")
    (message,) = claim("taskq", 1, token)
    settle(token, [ending(message, "RETRY", follow_ups=(envelope("x", reset=False),))])
    # It is under way: there is nothing to forget yet.
    assert retention.forget(["x", "unknown"]) == 0
    (message,) = claim("taskq", 1, token)
    settle(token, [ending(message)])
    assert retention.forget(["x", "unknown"]) == 1
    assert not Attempt.objects.using(alias).exists()


def test_a_duty_has_one_holder_while_it_lives(alias: str) -> None:
    first, second = workers.register("a"), workers.register("b")
    assert leadership.lead("sweep", first)
    assert not leadership.lead("sweep", second)
    assert leadership.lead("sweep", first)
    workers.deregister(first)
    assert leadership.lead("sweep", second)
    assert Lease.objects.using(alias).get().holder == second


def test_worker_that_registers_during_the_search_for_orphans_keeps_its_messages(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue([envelope()])
    claim("taskq", 1, "late")
    registered: list[set[str]] = [set(), {"late"}]
    monkeypatch.setattr("taskq.store.recover._registered", lambda alias: registered.pop(0))
    assert recover_orphans() == 0
    assert Message.objects.using(alias).get().token == "late"


def test_acknowledged_message_that_is_settled_meanwhile_does_not_fail(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue([envelope("x", tracked=False), envelope("y")])
    token = workers.register("w")
    x, y = claim("taskq", 2, token)
    acknowledge(token, [x.id, y.id])

    def settled_first(messages: list[Message]) -> list[Message]:
        assert settle(token, [ending(x, keep=False)]) == {x.id}
        return messages

    monkeypatch.setattr("taskq.store.recover.authentic", settled_first)
    assert recover(token, 0) == 1
    assert list(TaskRun.objects.using(alias).values_list("task_id", "state")) == [("y", states.FAILURE)]
