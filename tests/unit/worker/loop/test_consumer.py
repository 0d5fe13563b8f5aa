"""What the consumer does with a message, without processes and without a database."""

from __future__ import annotations

import logging
import time
from typing import Any
from unittest.mock import Mock

import pytest
from django.test import override_settings

from taskq import signals, task
from taskq.records import LOOK_UP_IN_ROWS
from taskq.worker.loop import intake
from taskq.worker.loop.prefetch import PrefetchPolicy
from taskq.worker.loop.redelivered import read_alone
from taskq.worker.loop.request import Limits, read
from taskq.worker.pools.base import LostChild
from tests.support.fake_pool import Bench, claimed


@task(name="consumer.plain")
def plain() -> None: ...


@task(name="consumer.early", acks_late=False)
def early() -> None: ...


@task(name="consumer.late")
def late() -> None: ...


@task(name="consumer.limited", time_limit=5)
def limited() -> None: ...


def _short() -> PrefetchPolicy:
    """A policy that knows the tasks to be short."""
    policy = PrefetchPolicy()
    for name in ("consumer.plain", "consumer.early", "consumer.limited"):
        for _ in range(20):
            policy.observe(name, 0.001)
    return policy


@pytest.fixture
def bench() -> Bench:
    return Bench(2, _short())


# -- handing over


def test_tasks_of_unknown_runtime_are_handed_over_one_at_a_time() -> None:
    bench = Bench(2)
    bench.consumer.receive([claimed("consumer.plain") for _ in range(4)])
    assert [len(slot) for slot in bench.pool.handed] == [1, 1]


def test_short_tasks_are_handed_over_several_at_a_time_and_spread(bench: Bench) -> None:
    messages = [claimed("consumer.plain") for _ in range(4)]
    bench.consumer.receive(messages)
    assert bench.pool.handed == [[m.task_id for m in messages[:2]], [m.task_id for m in messages[2:]]]


def test_no_task_starts_while_the_lease_is_not_sure(bench: Bench) -> None:
    bench.lease_valid = False
    bench.consumer.receive([claimed("consumer.plain")])
    assert bench.pool.handed == [[], []]
    bench.lease_valid = True
    bench.consumer.dispatch()
    assert len(bench.pool.handed[0]) == 1


def test_task_with_a_time_limit_has_a_slot_to_itself(bench: Bench) -> None:
    alone = claimed("consumer.limited")
    others = [claimed("consumer.plain") for _ in range(6)]
    bench.consumer.receive([alone, *others])
    assert bench.pool.handed[0] == [alone.task_id]
    assert set(bench.pool.handed[1]) <= {m.task_id for m in others}
    bench.end(0)
    assert len(bench.pool.handed[0]) > 0


@pytest.mark.parametrize(
    ("task", "sent", "wanted"),
    [
        ("plain", None, 7),  # the worker's own
        ("plain", 300, 7),  # in the message, but the setting's
        ("plain", 20, 20),
        ("limited", None, 5),
        ("limited", 300, 7),
        ("limited", 0, 0),
    ],
)
def test_limit_of_a_worker_is_for_tasks_that_have_only_that_of_the_setting(task: str, sent: Any, wanted: float) -> None:
    message = claimed(f"consumer.{task}", headers={"timelimit": [sent, sent]})
    with override_settings(TASKQ_TIME_LIMIT=300.0, TASKQ_SOFT_TIME_LIMIT=300.0):
        found = read(message, Limits(7, 7))
    assert found.time_limit == wanted
    assert found.soft_time_limit == (7 if task == "limited" and sent is None else wanted)


def test_time_limits_change_from_the_next_start_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for option in ("time_limit", "soft_time_limit"):
        monkeypatch.setattr(limited, option, getattr(limited, option))
    first, waits, own = (
        claimed("consumer.limited", headers={"timelimit": [hard, None]}) for hard in (5, 5, 20)
    )  # a sender that knows the task writes its limits into the message
    bench.pool.slots[1].accepting = False
    bench.consumer.receive([first, waits, own])
    bench.consumer.set_time_limits(limited, 9.0, 3.0)
    assert bench.pool.slots[0].deliveries[0].time_limit == 5
    bench.end(0)
    (delivery,) = bench.pool.slots[0].deliveries
    assert (delivery.task_id, delivery.time_limit, delivery.soft_time_limit) == (waits.task_id, 9.0, 3.0)
    bench.end(0)
    (delivery,) = bench.pool.slots[0].deliveries
    assert (delivery.time_limit, delivery.soft_time_limit) == (20, 3.0)


def test_redelivered_message_has_its_start_counted_before_it_starts(bench: Bench) -> None:
    message = claimed("consumer.plain", redelivered=True, deliveries=1)
    bench.consumer.receive([message])
    assert bench.pool.handed == [[], []]
    assert bench.consumer.busy
    assert bench.asked("count")[0][0] == message.id
    bench.answer("count", True)
    assert bench.pool.handed[0] == [message.task_id]
    assert bench.pool.slots[0].deliveries[0].deliveries == 2


def test_early_ack_message_is_acknowledged_before_it_starts(bench: Bench) -> None:
    message = claimed("consumer.early")
    bench.consumer.receive([message])
    assert bench.asked("acknowledge")[0][0] == message.id
    assert bench.pool.handed == [[], []]
    bench.answer("acknowledge", True)
    assert bench.pool.handed[0] == [message.task_id]


@pytest.mark.parametrize(("name", "commit"), [("consumer.early", "acknowledge"), ("consumer.plain", "count")])
def test_locked_message_leaves_its_slot_to_others_and_starts_when_it_is_committed(name: str, commit: str) -> None:
    bench = Bench(1, _short())
    locked, other = claimed(name, redelivered=True), claimed("consumer.plain")
    bench.consumer.receive([locked, other])
    bench.answer(commit, None)
    assert bench.pool.handed == [[other.task_id]]
    bench.answer(commit, True)
    bench.end()
    assert bench.pool.handed == [[locked.task_id]]
    assert len(bench.asked(commit)) == 1


def test_locked_message_goes_back_when_the_worker_stops() -> None:
    bench = Bench(1, _short())
    locked = claimed("consumer.early")
    bench.consumer.receive([locked])
    bench.answer("acknowledge", None)
    bench.consumer.stop()
    assert bench.released() == [locked.id]
    assert not bench.consumer.busy
    bench.answer("acknowledge", True)
    assert bench.pool.handed == [[]]


def test_redelivered_early_ack_message_is_acknowledged_and_not_counted(bench: Bench) -> None:
    bench.consumer.receive([claimed("consumer.early", redelivered=True)])
    assert len(bench.asked("acknowledge")) == 1
    assert not bench.asked("count")


def test_message_no_longer_held_at_its_start_is_dropped(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    message, other = claimed("consumer.plain", redelivered=True), claimed("consumer.plain")
    bench.consumer.receive([message, other])
    bench.answer("count", False)
    assert "no longer held" in caplog.text
    assert bench.asked("drop") == [(message.id,)]
    assert [message.task_id] not in bench.pool.handed
    assert not bench.settled()


# -- what does not run


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=0.0)
def test_revoked_expired_unknown_and_poison_messages_end_without_a_child(bench: Bench) -> None:
    revoked = claimed("consumer.plain", revoked="revoke")
    expired = claimed("consumer.plain", headers={"expires": "2001-01-01T00:00:00+00:00"})
    unknown = claimed("consumer.nowhere")
    poison = claimed("consumer.plain", redelivered=True, deliveries=3)
    bench.consumer.receive([revoked, expired, unknown, poison])
    assert bench.settled() == [
        (revoked.task_id, "REVOKED"), (expired.task_id, "REVOKED"), (unknown.task_id, "FAILURE"),
        (poison.task_id, "FAILURE"),
    ]  # fmt: skip
    assert bench.pool.handed == [[], []]
    assert bench.consumer.ended == 4


def test_start_of_a_rate_limit_is_given_back_if_its_task_does_not_start(bench: Bench) -> None:
    granted: dict[str, Any] = {"granted": True}
    revoked = claimed("consumer.plain", revoked="revoke", **granted)
    expired = claimed("consumer.plain", headers={"expires": "2001-01-01T00:00:00+00:00"}, **granted)
    other = claimed("consumer.plain", revoked="revoke")
    runs = [claimed("consumer.plain", **granted) for _ in range(9)]
    bench.consumer.receive([revoked, expired, other, *runs])
    assert bench.asked("start_unused") == [("consumer.plain",)] * 2
    assert len(bench.settled()) == 3
    bench.consumer.stop()
    assert len(bench.asked("start_unused")) == 2 + len(bench.released())
    assert bench.released()


def test_unknown_task_goes_back_with_growing_delays_and_then_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    message, now = claimed("consumer.nowhere", redelivered=True, deliveries=3), 1000.0
    monkeypatch.setattr("taskq.worker.loop.returns.clock.now", lambda: now)
    delays = []
    for _ in range(100):
        bench.calls.clear()
        bench.consumer.receive([message])
        if not (postponed := bench.asked("postpone")):
            break
        message, delay = postponed[0]
        delays.append(delay)
        now += delay
    assert bench.settled() == [(message.task_id, "FAILURE")]
    assert delays[:-1] == sorted(delays[:-1])
    assert delays[0] < 0.5
    assert sum(delays) == pytest.approx(60.0)
    assert len(delays) < 25
    assert message.deliveries == 3
    assert caplog.text.count("It goes back for a worker that knows it") == 1


def test_unknown_task_that_is_due_later_waits_for_that_first(bench: Bench) -> None:
    bench.consumer.receive([claimed("consumer.nowhere", tracked=False, headers={"eta": "2990-01-01T00:00:00+00:00"})])
    ((message, delay),) = bench.asked("postpone")
    assert delay > 86400
    assert "unknown" not in message.headers


@pytest.mark.parametrize("since", ["x", None, float("inf"), float("nan"), True, [1]])
def test_unknown_task_with_a_strange_header_counts_as_new(bench: Bench, since: Any) -> None:
    bench.consumer.receive([claimed("consumer.nowhere", headers={"x-unknown-since": since})])
    assert bench.asked("postpone")[0][1] < 0.5


@pytest.mark.parametrize(("deliveries", "told", "ends"), [(2, 1, []), (3, 0, ["FAILURE"]), (4, 0, ["FAILURE"])])
def test_redelivered_message_is_signalled_then_refused_then_given_up_unread(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, deliveries: int, told: int, ends: list[str]
) -> None:
    received, answers, were_read = Mock(), [], []
    monkeypatch.setattr(intake, "read", lambda *a: were_read.append(a) or read(*a))
    message = claimed("consumer.plain", redelivered=True, deliveries=deliveries)
    signals.task_received.connect(received)
    try:
        read_alone(bench.consumer, message, "consumer.plain", answers.append)
    finally:
        signals.task_received.disconnect(received)
    assert received.call_count == told
    assert bench.settled() == [(message.task_id, state) for state in ends]
    assert [answer is None for answer in answers] == [bool(ends)]
    assert len(were_read) == (deliveries <= plain.max_deliveries)
    bench.consumer.receive([], [answer for answer in answers if answer])
    assert len(bench.asked("count")) == told


def test_message_that_is_given_up_ends_the_task_and_leaves_its_dependents_to_the_rows(bench: Bench) -> None:
    message = claimed("consumer.plain", redelivered=True, deliveries=4)
    read_alone(bench.consumer, message, "consumer.plain", lambda request: None)
    ((ends,),) = bench.asked("add")
    assert (ends[0].name, ends[0].follow_ups.unreachable) == ("consumer.plain", [LOOK_UP_IN_ROWS])
    assert "WorkerLostError" in ends[0].result


def test_invalid_max_deliveries_fails_a_redelivered_task(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "max_deliveries", "x")
    message = claimed("consumer.plain", redelivered=True, deliveries=1)
    read_alone(bench.consumer, message, "consumer.plain", lambda request: None)
    assert bench.settled() == [(message.task_id, "FAILURE")]


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=0.0)
def test_message_that_is_no_task_is_rejected(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.consumer.receive([claimed("x", headers={"task": 5}), claimed("x", task_id="t")])
    assert len(bench.settled()) == 2
    assert "rejected" in caplog.text


@pytest.mark.parametrize("wrong", ["5", float("inf"), -1, object()])
@pytest.mark.parametrize("option", ["time_limit", "soft_time_limit"])
def test_invalid_time_limit_fails_its_task_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, option: str, wrong: Any
) -> None:
    monkeypatch.setattr(limited, option, wrong)
    broken, other = claimed("consumer.limited"), claimed("consumer.plain")
    bench.consumer.receive([broken, other])
    assert bench.settled() == [(broken.task_id, "FAILURE")]
    assert f"{option} must be a number of seconds" in bench.asked("add")[0][0][0].result
    assert [other.task_id] in bench.pool.handed


def test_invalid_max_deliveries_fails_its_task_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plain, "max_deliveries", "x")
    again, first, other = (
        claimed("consumer.plain", redelivered=True),
        claimed("consumer.plain"),
        claimed("consumer.late"),
    )
    bench.consumer.receive([again, first, other])
    assert bench.settled() == [(again.task_id, "FAILURE")]
    assert "options of the task" in caplog.text
    (slot,) = [slot for slot in bench.pool.slots if slot.deliveries and slot.deliveries[0].task_id == first.task_id]
    started, *rest = slot.deliveries
    bench.consumer.lost(LostChild([started], rest, "signal 9"))
    assert bench.settled()[1:] == [(first.task_id, "FAILURE")]
    assert not bench.consumer.stopping


def test_message_with_a_far_eta_is_postponed_into_the_schedule(bench: Bench) -> None:
    message = claimed("consumer.plain", tracked=False, headers={"eta": "2990-01-01T00:00:00+00:00"})
    bench.consumer.receive([message])
    ((postponed, delay),) = bench.asked("postpone")
    assert postponed is message
    assert delay > 86400


# -- ends


def test_outcome_is_settled_once(bench: Bench) -> None:
    messages = [claimed("consumer.plain") for _ in range(40)]
    bench.consumer.receive(messages)
    first = bench.pool.handed[0][0]
    bench.end(0)
    assert bench.settled() == [(first, "SUCCESS")]


def test_delivery_rejected_with_requeue_is_requeued(bench: Bench) -> None:
    message = claimed("consumer.plain")
    bench.consumer.receive([message])
    bench.end(0, "REJECTED", requeue=True)
    assert bench.asked("requeue_rejected") == [(message,)]
    assert not bench.settled()


def test_childs_death_counts_for_its_running_task_and_not_for_waiting_ones(bench: Bench) -> None:
    ran, *waited = [claimed("consumer.plain") for _ in range(3)]
    bench.pool.slots[1].accepting = False
    bench.consumer.receive([ran, *waited])
    first, *others = bench.pool.slots[0].deliveries
    bench.pool.slots[0].deliveries = []
    bench.consumer.lost(LostChild([first], others, "signal 9"))
    ((number, details),) = bench.asked("requeue_lost")
    assert (number, details["starts"], details["reason"]) == (ran.id, 1, "signal 9")
    assert bench.pool.handed[0] == [m.task_id for m in waited]


def test_childs_death_fails_early_ack_task_and_task_at_max_deliveries(bench: Bench) -> None:
    early_acked = claimed("consumer.early")
    third = claimed("consumer.plain", redelivered=True, deliveries=2)
    for message, commit in ((early_acked, "acknowledge"), (third, "count")):
        bench.consumer.receive([message])
        bench.answer(commit, True)
        delivery = bench.pool.slots[0].deliveries.pop()
        bench.consumer.lost(LostChild([delivery], [], "signal 9"))
    assert bench.settled() == [(early_acked.task_id, "FAILURE"), (third.task_id, "FAILURE")]
    assert not bench.asked("requeue_lost")


# -- long ones


def test_deliveries_behind_a_task_that_runs_long_are_taken_back(bench: Bench) -> None:
    messages = [claimed("consumer.plain") for _ in range(4)]
    bench.consumer.receive(messages)
    slot = bench.pool.slots[0]
    slot.busy_since = time.monotonic() - 1
    bench.consumer.rebalance()
    assert len(bench.pool.handed[0]) == 1
    assert bench.targets[-1] == 2


def test_messages_are_requeued_when_all_slots_run_long(bench: Bench) -> None:
    messages = [claimed("consumer.plain") for _ in range(12)]
    bench.consumer.receive(messages)
    for slot in bench.pool.slots:
        slot.busy_since = time.monotonic() - 1
    bench.consumer.rebalance()
    assert [len(slot) for slot in bench.pool.handed] == [1, 1]
    running = {task_id for slot in bench.pool.handed for task_id in slot}
    back = {m.id for m in messages if m.task_id not in running}
    assert set(bench.released()) == back


# -- from outside


def test_message_revoked_before_its_start_ends_at_once(bench: Bench) -> None:
    bench.lease_valid = False
    message = claimed("consumer.plain")
    bench.consumer.receive([message])
    bench.consumer.revoke({message.id: "revoke", 999_999: "revoke"})
    assert bench.settled() == [(message.task_id, "REVOKED")]


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize(("name", "commit"), [("consumer.early", "acknowledge"), ("consumer.plain", "count")])
def test_message_revoked_while_its_start_is_committed_does_not_start(
    bench: Bench, name: str, commit: str, stopping: bool
) -> None:
    message, next_one = claimed(name, redelivered=True, deliveries=1), claimed("consumer.limited")
    bench.consumer.receive([message])
    bench.consumer.revoke({message.id: "revoke"})
    if stopping:
        bench.consumer.stop()
    bench.answer(commit, True)
    assert bench.settled() == [(message.task_id, "REVOKED")]
    assert not bench.asked("requeue")
    assert bench.pool.handed == [[], []]
    if not stopping:
        bench.pool.slots[1].accepting = False
        bench.consumer.receive([next_one])
        assert bench.pool.handed[0] == [next_one.task_id]


def test_revoke_ends_waiting_delivery_and_leaves_running_one_unless_terminated(bench: Bench) -> None:
    bench.pool.slots[1].accepting = False
    running, behind = claimed("consumer.plain"), claimed("consumer.plain")
    bench.consumer.receive([running, behind])
    bench.consumer.revoke({running.id: "revoke", behind.id: "SIGTERM"})
    assert bench.settled() == [(behind.task_id, "REVOKED")]
    assert bench.pool.handed[0] == [running.task_id]
    assert not bench.pool.terminated
    bench.consumer.revoke({running.id: "SIGTERM"})
    assert bench.pool.terminated == [(bench.pool.slots[0].deliveries[0].job, "SIGTERM")]


def test_pool_that_can_not_kill_logs_unmet_limit_and_terminate(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.pool.supports_hard_limit = bench.pool.supports_terminate = False
    message = claimed("consumer.plain", headers={"timelimit": [1, None]})
    bench.consumer.receive([message])
    assert f"[{message.task_id}] starts without its time limit of 1 s: the fake pool can't kill a task" in caplog.text
    caplog.clear()
    for _ in range(2):  # every heartbeat brings it again
        bench.consumer.revoke({message.id: "SIGTERM"})
    assert caplog.text.count(f"[{message.task_id}] is not terminated and runs to its end: the fake pool") == 1


def test_lost_lease_drops_deliveries_not_started_and_leaves_running_ones(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.pool.slots[1].accepting = False
    messages = [claimed("consumer.plain") for _ in range(3)]
    bench.consumer.receive(messages)
    bench.consumer.lease_lost({messages[0].id, messages[1].id})
    assert bench.asked("drop") == [(messages[1].id,)]
    assert bench.pool.handed[0] == [messages[0].task_id, messages[2].task_id]
    assert "no longer held" in caplog.text


# -- the end


@pytest.mark.parametrize("redelivered", [False, True])
def test_stop_puts_back_what_runs_without_counting_its_start(
    bench: Bench, caplog: pytest.LogCaptureFixture, redelivered: bool
) -> None:
    bench.pool.slots[1].accepting = False
    message = claimed("consumer.plain", redelivered=redelivered, deliveries=2 * redelivered)
    bench.consumer.receive([message])
    if redelivered:
        bench.answer("count", True)
    bench.consumer.abandon()
    ((number, details),) = bench.asked("requeue_lost")
    assert (number, details["starts"] - 1, details["counted"]) == (message.id, message.deliveries, False)
    assert f"Task consumer.plain[{message.task_id}] was interrupted and runs again" in caplog.text
    assert not bench.asked("requeue")
    assert not bench.settled()


def test_stop_requeues_messages_that_have_not_started(bench: Bench) -> None:
    messages = [claimed("consumer.plain") for _ in range(30)]
    bench.consumer.receive(messages)
    bench.consumer.stop()
    running = {task_id for slot in bench.pool.handed for task_id in slot}
    assert len(running) == 2
    assert set(bench.released()) == {m.id for m in messages if m.task_id not in running}
    assert bench.targets[-1] == 0
    bench.end(0)
    bench.end(1)
    assert not bench.consumer.busy


def test_paused_queue_gives_back_what_has_not_started_and_takes_no_more(bench: Bench) -> None:
    messages = [claimed("consumer.plain", queue="a") for _ in range(6)]
    other = claimed("consumer.plain", queue="b")
    bench.consumer.receive([*messages, other])
    bench.consumer.pause(frozenset({"a"}))
    running = {delivery.task_id for slot in bench.pool.slots for delivery in slot.deliveries}
    assert len(running - {other.task_id}) == 2
    late = claimed("consumer.plain", queue="a")
    bench.consumer.receive([late])
    assert set(bench.released()) == {m.id for m in (*messages, late) if m.task_id not in running}
    bench.end(0)
    bench.end(1)
    assert any(other.task_id in handed for handed in bench.pool.handed)
    bench.consumer.pause(frozenset())
    again = claimed("consumer.plain", queue="a")
    bench.consumer.receive([again])
    assert any(again.task_id in handed for handed in bench.pool.handed)


@pytest.mark.parametrize("locked", [False, True])
def test_pause_while_a_start_is_counted_requeues_message_and_uncounts_it(bench: Bench, locked: bool) -> None:
    message = claimed("consumer.plain", queue="a", redelivered=True, deliveries=1)
    bench.consumer.receive([message])
    if locked:
        bench.answer("count", None)
    bench.consumer.pause(frozenset({"a"}))
    bench.answer("count", True)
    assert bench.asked("requeue")[-1] == ([message.id], [message.id])
    assert bench.pool.handed == [[], []]
    assert not bench.consumer.busy


def test_stop_while_a_start_is_counted_requeues_message_and_uncounts_it(bench: Bench) -> None:
    message = claimed("consumer.plain", redelivered=True, deliveries=1)
    bench.consumer.receive([message])
    bench.consumer.stop()
    bench.answer("count", True)
    assert bench.asked("requeue")[-1] == ([message.id], [message.id])
    assert bench.pool.handed == [[], []]
    assert not bench.consumer.busy


def test_stop_while_a_message_is_acknowledged_requeues_it_without_uncounting(bench: Bench) -> None:
    message = claimed("consumer.early", redelivered=True)
    bench.consumer.receive([message])
    bench.consumer.stop()
    bench.answer("acknowledge", True)
    assert bench.asked("requeue")[-1] == ([message.id], [])


def test_abandoned_pool_requeues_late_ack_task_and_fails_early_ack_task(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    late, early_acked = claimed("consumer.plain"), claimed("consumer.early")
    bench.consumer.receive([late, early_acked])
    bench.answer("acknowledge", True)
    with caplog.at_level(logging.ERROR):
        bench.consumer.abandon()
    assert [number for number, _ in bench.asked("requeue_lost")] == [late.id]
    assert bench.settled() == [(early_acked.task_id, "FAILURE")]


@pytest.mark.parametrize(("name", "commit"), [("consumer.early", "acknowledge"), ("consumer.plain", "count")])
def test_abandoned_pool_requeues_message_and_undoes_the_commit_of_its_start(
    bench: Bench, name: str, commit: str
) -> None:
    message = claimed(name, redelivered=True, deliveries=1)
    bench.consumer.receive([message])
    bench.consumer.stop()
    bench.consumer.abandon()
    counted = [message.id] if commit == "count" else []
    assert bench.asked("requeue") == [([message.id], counted)]
    assert not bench.consumer.busy
    bench.answer(commit, True)
    assert len(bench.asked("requeue")) == 1
    assert not bench.settled()


def test_messages_received_after_stop_are_requeued_at_once(bench: Bench) -> None:
    bench.consumer.stop()
    messages = [claimed("consumer.plain"), claimed("consumer.plain", redelivered=True, deliveries=1)]
    bench.consumer.receive(messages)
    assert bench.asked("requeue") == [([m.id for m in messages], [])]
    assert bench.pool.handed == [[], []]


def test_broken_pool_counts_a_start_for_running_task_and_requeues_waiting_one(bench: Bench) -> None:
    bench.pool.slots[1].accepting = False
    ran, waited = claimed("consumer.plain"), claimed("consumer.plain")
    bench.consumer.receive([ran, waited])
    bench.consumer.broken("The fork server ended.")
    ((number, details),) = bench.asked("requeue_lost")
    assert (number, details["starts"], details["reason"]) == (ran.id, 1, "The fork server ended.")
    assert bench.released() == [waited.id]
    assert not bench.consumer.busy


def test_task_that_broke_the_pool_max_deliveries_times_fails(bench: Bench) -> None:
    message = claimed("consumer.plain", redelivered=True, deliveries=2)
    bench.consumer.receive([message])
    bench.answer("count", True)
    bench.consumer.broken("The fork server ended.")
    assert bench.settled() == [(message.task_id, "FAILURE")]


def test_request_has_the_headers_of_its_message_for_receivers_of_signals() -> None:
    request = read(claimed("consumer.plain", headers={"root_id": "r", "replaced_task_nesting": 2}), Limits())
    assert (request.task_id, request.task_name) == (request.id, "consumer.plain")
    assert (request.root_id, request.replaced_task_nesting) == ("r", 2)  # type: ignore[attr-defined]
    assert not hasattr(request, "no_header")
