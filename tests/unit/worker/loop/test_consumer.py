"""What the consumer does with a message, without processes and without a database."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from taskq.handover import Report
from taskq.worker.loop.prefetch import PrefetchPolicy
from taskq.worker.loop.request import Limits, read
from taskq.worker.pools.base import LostChild
from tests.support.fake_pool import Bench, claimed
from tests.unit.worker.loop.short import limited, short_tasks

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
    bench = Bench(1, short_tasks())
    locked, other = claimed(name, redelivered=True), claimed("consumer.plain")
    bench.consumer.receive([locked, other])
    bench.answer(commit, None)
    assert bench.pool.handed == [[other.task_id]]
    bench.answer(commit, True)
    bench.end()
    assert bench.pool.handed == [[locked.task_id]]
    assert len(bench.asked(commit)) == 1


def test_locked_message_goes_back_when_the_worker_stops() -> None:
    bench = Bench(1, short_tasks())
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


@pytest.mark.parametrize("count", [3, 12])
def test_messages_are_requeued_when_all_slots_run_long(bench: Bench, count: int) -> None:
    messages = [claimed("consumer.plain") for _ in range(count)]
    bench.consumer.receive(messages)
    for slot in bench.pool.slots:
        slot.busy_since = time.monotonic() - 1
    bench.consumer.rebalance()
    assert [len(slot) for slot in bench.pool.handed] == [1, 1]
    running = {task_id for slot in bench.pool.handed for task_id in slot}
    back = {m.id for m in messages if m.task_id not in running}
    assert set(bench.released()) == back


def test_request_has_the_headers_of_its_message_for_receivers_of_signals() -> None:
    request = read(claimed("consumer.plain", headers={"root_id": "r", "replaced_task_nesting": 2}), Limits())
    assert (request.task_id, request.task_name) == (request.id, "consumer.plain")
    assert (request.root_id, request.replaced_task_nesting) == ("r", 2)  # type: ignore[attr-defined]
    assert not hasattr(request, "no_header")


@pytest.mark.parametrize(("tracked", "told"), [(True, 1), (False, 0)])
def test_progress_of_a_task_whose_result_is_ignored_goes_to_a_run_that_is_there(
    bench: Bench, tracked: bool, told: int
) -> None:
    bench.consumer.receive([claimed("consumer.plain", headers={"ignore_result": True}, tracked=tracked)])
    (delivery,) = bench.pool.slots[0].deliveries
    bench.consumer.report(Report(delivery.job, delivery.task_id, "PROGRESS", "{}", at=2.0))
    assert len(bench.asked("report")) == told


# -- posting ends


def test_ends_are_gathered_while_short_tasks_wait_for_a_slot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("taskq.worker.loop.intake.time", SimpleNamespace(monotonic=lambda: now))
    bench.consumer.receive([claimed("consumer.plain") for _ in range(400)])
    assert bench.consumer.ends_soon

    def post() -> int:
        bench.consumer.post_ends(gather=bench.consumer.ends_soon)
        return sum(len(ends) for method, (ends, *_) in bench.calls if method == "add")

    bench.end(0)
    assert post() == 1
    bench.end(0)
    bench.end(1)
    now += 0.009
    assert post() == 1
    now += 0.002
    assert post() == 3
    bench.end(0)
    bench.consumer.stop()  # nothing waits any more
    assert post() == 4


def test_gathered_ends_are_posted_in_time_though_nothing_else_wakes_the_loop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, timers = 100.0, []
    monkeypatch.setattr("taskq.worker.loop.intake.time", SimpleNamespace(monotonic=lambda: now))
    bench.consumer.call_later = lambda *timer: timers.append(timer)
    bench.consumer.receive([claimed("consumer.plain") for _ in range(400)])
    bench.consumer.post_ends(gather=True)
    assert not timers  # nothing has ended
    for _ in range(2):
        for _ in range(2):
            now += 0.004
            bench.end(0)
            bench.consumer.post_ends(gather=True)
        ((seconds, call),) = timers
        assert 0 < seconds <= 0.006 + 1e-9
        now += seconds
        timers.clear()
        call()
    assert [len(ends) for method, (ends, *_) in bench.calls if method == "add"] == [2, 2]


def test_ends_are_posted_at_once_if_the_next_come_later_than_a_transaction_waits(bench: Bench) -> None:
    bench.consumer.receive([claimed("consumer.plain") for _ in range(400)])
    assert bench.consumer.ends_soon
    for _ in range(20):
        bench.consumer.policy.observe("consumer.plain", 0.015)
    assert not bench.consumer.ends_soon


def test_ends_are_posted_at_once_if_little_waits_so_that_a_claim_can_follow() -> None:
    bench = Bench(2, PrefetchPolicy(fair=True))
    bench.consumer.policy.observe("consumer.plain", 0.001)
    bench.consumer.receive([claimed("consumer.plain") for _ in range(6)])
    assert len(bench.consumer.running) == 2
    assert not bench.consumer.ends_soon
    bench.consumer.receive([claimed("consumer.plain") for _ in range(60)])
    assert bench.consumer.ends_soon


def test_ends_of_long_tasks_and_of_the_last_ones_are_posted_at_once() -> None:
    bench = Bench(1)
    bench.consumer.receive([claimed("consumer.plain") for _ in range(3)])
    # What waits is of unknown length.
    assert len(bench.consumer.running) == 1
    assert not bench.consumer.ends_soon
    bench.end(runtime=0.001)
    assert not bench.consumer.ends_soon  # both fit into the slot


def test_gathered_ends_are_posted_when_the_worker_ends(bench: Bench) -> None:
    bench.consumer.receive([claimed("consumer.plain") for _ in range(400)])
    bench.consumer.post_ends(gather=True)
    bench.end(0)
    bench.consumer.post_ends(gather=True)
    assert not [call for call in bench.calls if call[0] == "add"]
    bench.consumer.post_ends()
    assert [len(ends) for method, (ends, *_) in bench.calls if method == "add"] == [1]
