"""What others do to the messages that a consumer has: revocations, a lost lease, a stop, a pause, a broken pool."""

from __future__ import annotations

import logging

import pytest

from tests.support.fake_pool import Bench, claimed

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
