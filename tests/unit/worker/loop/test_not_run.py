"""Messages that end, or go back, without being run."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
from django.test import override_settings

from taskq import signals
from taskq.records import LOOK_UP_IN_ROWS
from taskq.worker.loop import intake
from taskq.worker.loop.redelivered import read_alone
from taskq.worker.loop.request import Limits, read
from taskq.worker.loop.settlements import after_loss
from taskq.worker.pools.base import LostChild
from tests.support.fake_pool import Bench, claimed
from tests.unit.worker.loop.short import limited, plain


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


@override_settings(TASKQ_UNKNOWN_TASK_GRACE=0.0)
def test_what_ends_without_a_run_has_the_name_that_is_shown(bench: Bench) -> None:
    shown: dict[str, Any] = {"headers": {"shadow": "shown"}}
    bench.consumer.receive([
        claimed("consumer.plain", revoked="revoke", **shown), claimed("consumer.nowhere", **shown),
        claimed("consumer.plain", redelivered=True, deliveries=3, **shown), claimed("consumer.nowhere"),
    ])  # fmt: skip
    ends = [end for (settlements,) in bench.asked("add") for end in settlements]
    assert [end.shadow for end in ends] == ["shown", "shown", "shown", None]


@pytest.mark.parametrize("asked", ["SIGTERM", "15", "term"])
def test_terminated_task_is_told_of_with_the_number_of_the_signal(asked: str) -> None:
    heard, request = Mock(), read(claimed("consumer.plain"), Limits())
    signals.task_revoked.connect(heard)
    try:
        after_loss(request, LostChild([], [], "", killed_for=f"terminate:{asked}"), "w@h")
    finally:
        signals.task_revoked.disconnect(heard)
    told = heard.call_args.kwargs
    assert (told["terminated"], told["signum"], told["expired"]) == (True, 15, False)


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
