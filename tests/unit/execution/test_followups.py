"""What follows from a run in a workflow: messages, rows, and what will never run."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from taskq import chain, chord, group, signals, states, task
from taskq.exceptions import Ignore, Reject
from taskq.execution.builtins import errback as errback_task
from taskq.handover import Outcome
from taskq.messages.protocol import decode_body
from taskq.messages.values import decode_exception
from taskq.records import LOOK_UP_IN_ROWS, NO_FOLLOW_UPS, Envelope, FollowUps, NewGroup, Unreachable
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Limits, read
from taskq.workflows import followups
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


@task
def add(x: int, y: int) -> int:
    return x + y


@task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@task
def boom(*args: Any) -> None:
    raise ValueError("boom")


@task(bind=True)
def again(self: Any, value: int) -> int:
    raise self.retry(countdown=0)


def follow_ups(outcome: Outcome) -> list[Envelope]:
    return list(outcome.follow_ups.envelopes)


def call_of(envelope: Envelope) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    """Arguments, keyword arguments and what is to follow."""
    return decode_body(
        envelope.body, envelope.content_type, envelope.content_encoding, envelope.headers, envelope.properties
    )


def dependents(outcome: Outcome) -> list[Unreachable]:
    return list(outcome.follow_ups.unreachable)


# -- success


def test_task_outside_of_a_workflow_has_no_follow_ups(sent: list[Envelope], worker: Worker) -> None:
    add.delay(1, 1)
    outcome = worker.run()
    assert outcome.follow_ups == NO_FOLLOW_UPS


def test_next_link_gets_the_value_and_the_rest_of_the_chain(sent: list[Envelope], worker: Worker) -> None:
    result: Any = chain(add.s(1, 1), add.s(2), add.s(3))()
    outcome = worker.run()
    (following,) = follow_ups(outcome)
    args, _, embed = call_of(following)
    assert (following.task_id, args) == (result.parent.id, [2, 2])
    assert [sig["options"]["task_id"] for sig in embed["chain"]] == [result.id]
    assert following.headers["parent_id"] == outcome.task_id
    assert following.headers["root_id"] == sent[0].headers["root_id"]
    assert not following.reset
    (last,) = follow_ups(worker.run(following))
    assert (last.task_id, call_of(last)[0], call_of(last)[2]["chain"]) == (result.id, [4, 3], None)


def test_before_task_publish_receivers_may_add_headers_to_follow_ups(sent: list[Envelope], worker: Worker) -> None:
    (add.s(1, 1) | add.s(2))()

    def receiver(headers: dict[str, Any], **_: Any) -> None:
        headers["trace"] = "abc"

    signals.before_task_publish.connect(receiver)
    try:
        (following,) = follow_ups(worker.run())
    finally:
        signals.before_task_publish.disconnect(receiver)
    assert following.headers["trace"] == "abc"


def test_callbacks_are_follow_ups_and_children(sent: list[Envelope], worker: Worker) -> None:
    add.apply_async((1, 1), link=[add.s(5), add.si(7, 7)])
    outcome = worker.run()
    first, second = follow_ups(outcome)
    assert (call_of(first)[0], call_of(second)[0]) == ([2, 5], [7, 7])
    assert [child[0][0] for child in json.loads(outcome.children or "")] == [first.task_id, second.task_id]


def test_chord_next_in_a_chain_is_sent_with_its_group_counter(sent: list[Envelope], worker: Worker) -> None:
    result: Any = (add.s(1, 1) | group(add.s(1), add.s(2)) | total.s())()
    outcome = worker.run()
    members = follow_ups(outcome)
    (counter,) = outcome.follow_ups.groups
    assert [call_of(member)[0] for member in members] == [[2, 1], [2, 2]]
    assert (counter.size, {m.headers["group"] for m in members}) == (2, {counter.group_id})
    assert [m.headers["group_index"] for m in members] == [0, 1]
    assert json.loads(counter.body or "")["options"]["task_id"] == result.id


def test_outcome_with_follow_ups_survives_marshal(sent: list[Envelope], worker: Worker) -> None:
    import marshal

    (add.s(1, 1) | group(add.s(1), add.s(2)) | total.s())()
    outcome = worker.run()
    assert Outcome.from_wire(marshal.loads(marshal.dumps(outcome.to_wire()))) == outcome


def test_ignored_result_is_encoded_for_members_of_a_chord_only(sent: list[Envelope], worker: Worker) -> None:
    chord([add.s(1, 1).set(ignore_result=True)], total.s())()
    assert worker.run().result == "2"
    group([add.s(1, 1).set(ignore_result=True)])()
    assert worker.run().result is None


def test_next_link_that_can_not_be_sent_fails_the_task(sent: list[Envelope], worker: Worker, settings: Any) -> None:
    result: Any = chain(task(name="large")(lambda: "x" * 2000).s(), add.s("c"))()
    settings.TASKQ_MAX_MESSAGE_SIZE = 1500
    outcome = worker.run()
    assert outcome.state == "FAILURE"
    assert isinstance(decode_exception(outcome.result), ValueError)
    assert [d.task_id for d in dependents(outcome)] == [result.id]
    assert list(outcome.follow_ups.envelopes) == []


# -- retry, replace, add_to_chord


def test_retry_keeps_body_and_ends_no_dependents(sent: list[Envelope], worker: Worker) -> None:
    body = total.s()
    chord([again.s(1).on_error(boom.s()) | add.s(1)], body)()
    first = sent[0]
    outcome = worker.run()
    (following,) = follow_ups(outcome)
    assert (outcome.state, dependents(outcome)) == ("RETRY", [])
    assert following.body == first.body
    assert following.headers["retries"] == 1


def test_replacement_takes_over_chord_membership_and_errbacks(sent: list[Envelope], worker: Worker) -> None:
    @task(bind=True, name="replaced")
    def replaced(self: Any) -> None:
        self.replace(add.s(1, 1) | add.s(2))

    chord([replaced.s().on_error(boom.s())], total.s())()
    member = sent[0]
    outcome = worker.run()
    (first,) = follow_ups(outcome)
    assert outcome.state == states.IGNORED
    assert first.task_id != member.task_id
    assert (first.headers["group"], first.headers["replaced_task_nesting"]) == (None, 1)
    (last,) = follow_ups(worker.run(first))
    assert last.task_id == member.task_id
    assert (last.headers["group"], last.headers["group_index"]) == (member.headers["group"], 0)
    assert call_of(last)[2]["chord"] == call_of(member)[2]["chord"]
    assert len(call_of(last)[2]["errbacks"]) == 1


def test_a_replacement_that_was_caught_is_not_sent(sent: list[Envelope], worker: Worker) -> None:
    @task(bind=True, name="caught")
    def caught(self: Any) -> None:
        try:
            self.replace(add.s(1, 1))
        except Ignore:
            raise ValueError("no") from None

    result: Any = chain(caught.s(), add.s(1))()
    outcome = worker.run()
    assert (outcome.state, follow_ups(outcome)) == ("FAILURE", [])
    assert [d.task_id for d in dependents(outcome)] == [result.id]


def test_added_chord_members_are_counted_and_dropped_when_the_task_fails(sent: list[Envelope], worker: Worker) -> None:
    @task(bind=True, name="adds")
    def adds(self: Any, fails: bool) -> None:
        self.add_to_chord(add.s(1, 1))
        self.add_to_chord(add.s(2, 2))
        if fails:
            raise ValueError

    chord([adds.s(False)], total.s())()
    group_id = sent[0].headers["group"]
    outcome = worker.run()
    ids = [node.task_id for node in outcome.follow_ups.nodes]
    assert list(outcome.follow_ups.groups) == [NewGroup(group_id, 2, added=ids)]
    assert [node.group_id for node in outcome.follow_ups.nodes] == [group_id] * 2
    assert [e.headers["group"] for e in follow_ups(outcome)] == [group_id] * 2
    chord([adds.s(True)], total.s())()
    assert worker.run().follow_ups == FollowUps([], [], [], [], [])


# -- failure


@pytest.mark.parametrize("error", [ValueError("no"), Reject("no"), Ignore()])
def test_failed_rejected_or_ignored_link_ends_the_rest_of_the_chain(
    sent: list[Envelope], worker: Worker, error: Exception
) -> None:
    @task(name="ends")
    def ends() -> None:
        raise error

    result: Any = chain(ends.s(), group(add.s(1), add.s(2)), total.s(), add.s(1))()
    outcome = worker.run()
    found = [d.task_id for d in dependents(outcome)]
    header = result.parent.parent
    assert found == [*(member.id for member in header), result.parent.id, result.id]
    assert outcome.result is not None


def test_failure_names_the_group_that_counts_the_last_link(sent: list[Envelope], worker: Worker) -> None:
    result: Any = chord([boom.s() | add.si(1, 1)], total.s())()
    outcome = worker.run()
    assert dependents(outcome) == [Unreachable(result.parent[0].id, add.name, result.parent.id)]


def test_errbacks_of_both_styles_are_sent_with_the_failure(sent: list[Envelope], worker: Worker) -> None:
    heard: list[Any] = []

    @task(name="new_style")
    def new_style(request: Any, exc: BaseException, traceback: Any, extra: int = 0) -> None:
        heard.append((request.id, request.task, request.args, repr(exc), "ValueError" in traceback, extra))

    @task(name="old_style")
    def old_style(task_id: str) -> None: ...

    from taskq import signature

    result = boom.apply_async((1,), link_error=[new_style.s(9), old_style.s(), signature("not.known.here")])
    new, old, unknown = follow_ups(worker.run())
    assert heard == []
    assert (old.name, call_of(old)[0], old.headers["parent_id"]) == ("old_style", [result.id], result.id)
    assert (unknown.name, call_of(unknown)[0]) == ("not.known.here", [result.id])
    assert (new.name, new.headers["parent_id"], new.priority) == (errback_task.name, result.id, 9)
    assert worker.run(new).state == "SUCCESS"
    assert heard == [(result.id, boom.name, [1], "ValueError('boom')", True, 9)]


def test_errback_that_raises_is_logged_and_changes_no_outcome(
    sent: list[Envelope], worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    @task(name="bad_errback")
    def bad_errback(request: Any, exc: BaseException, traceback: Any) -> None:
        raise SystemExit(3)

    boom.apply_async(link_error=bad_errback.s())
    with caplog.at_level(logging.ERROR):
        outcome = worker.run()
        (called,) = follow_ups(outcome)
        assert worker.run(called).state == "SUCCESS"
    assert decode_exception(outcome.result).args == ("boom",)
    assert f"The errback bad_errback of {boom.name}[{outcome.task_id}] raised" in caplog.text


def test_errbacks_are_sent_for_the_final_failure_and_not_for_retries(sent: list[Envelope], worker: Worker) -> None:
    @task(name="counted")
    def counted(*args: Any) -> None: ...

    again.apply_async((1,), link_error=counted.s())
    outcome = worker.run()
    while outcome.state == "RETRY":
        (following,) = follow_ups(outcome)
        assert following.name == again.name
        outcome = worker.run(following)
    assert (outcome.state, [e.name for e in follow_ups(outcome)]) == ("FAILURE", [errback_task.name])


@task(name="tells")
def tells(request: Any, exc: BaseException, traceback: Any) -> None: ...


def errback_of(worker: Worker, failing: Any, *args: Any, **options: Any) -> Envelope:
    failing.apply_async(args, link_error=tells.s(), **options)
    (called,) = follow_ups(worker.run())
    return called


def test_errback_goes_to_its_tasks_queue_unless_routed_or_given_one(
    sent: list[Envelope], worker: Worker, settings: Any
) -> None:
    assert errback_of(worker, boom, queue="q").queue == "q"
    assert errback_of(worker, boom).queue == "taskq"
    settings.TASKQ_ROUTES = {"tells": {"queue": "errors", "priority": 2}}
    routed = errback_of(worker, boom, queue="q")
    assert (routed.queue, routed.priority) == ("errors", 2)
    boom.apply_async(link_error=tells.s().set(queue="mine", priority=0))
    (named,) = follow_ups(worker.run())
    assert (named.queue, named.priority) == ("mine", 0)


def test_errback_gets_arguments_as_sent_and_sensitive_ones_unshown(sent: list[Envelope], worker: Worker) -> None:
    @task(name="spoils", sensitive=("secret",))
    def spoils(given: list[Any], secret: str) -> None:
        given.append(object())
        raise ValueError("boom")

    called = errback_of(worker, spoils, [1], "hidden")
    assert call_of(called)[0][3] == [[1], "hidden"]
    assert "hidden" not in f"{called.arguments} {called.headers}"


def test_errback_message_drops_large_arguments_to_fit_the_traceback(
    sent: list[Envelope], worker: Worker, settings: Any
) -> None:
    settings.TASKQ_MAX_MESSAGE_SIZE = 4000
    called = errback_of(worker, boom, "x" * 3500)
    assert call_of(called)[0][3] == []
    assert "ValueError: boom" in call_of(called)[0][5]


def test_errback_message_uses_the_serializer_of_its_task(sent: list[Envelope], worker: Worker, settings: Any) -> None:
    settings.TASKQ_ACCEPT_CONTENT = ["json", "pickle"]
    called = errback_of(worker, boom, {1, 2}, serializer="pickle")
    assert call_of(called)[0][3] == [{1, 2}]


def test_expired_link_ends_the_rest_of_the_chain_without_errbacks(sent: list[Envelope], worker: Worker) -> None:
    result: Any = chain(add.si(1, 1).set(expires=-1, link_error=boom.s()), add.s(1))()
    outcome = worker.run()
    assert outcome.state == "REVOKED"
    assert [d.task_id for d in dependents(outcome)] == [result.id]
    assert list(outcome.follow_ups.envelopes) == []


# -- ends that no process can tell of


def test_loss_and_revocation_read_dependents_from_the_message(sent: list[Envelope], worker: Worker) -> None:
    @task(name="told_of_loss")
    def told_of_loss(request: Any, exc: BaseException, traceback: Any) -> None: ...

    result: Any = chord([add.s(1, 1).on_error(told_of_loss.s()) | add.s(1)], total.s())()
    request = read(_claimed(sent[0]), Limits())
    lost = settlements.lost(request, "gone", "w@host")
    assert [(d.task_id, d.group_id) for d in lost.follow_ups.unreachable] == [(result.parent[0].id, result.parent.id)]
    (message,) = lost.follow_ups.envelopes
    args = call_of(message)[0]
    assert (message.name, args[0]["task"], args[1]["id"]) == (errback_task.name, "told_of_loss", sent[0].task_id)
    assert args[3:] == [[1, 1], {}, None]
    revoked = settlements.revoked(request, "revoked", "w@host")
    assert (len(revoked.follow_ups.unreachable), list(revoked.follow_ups.envelopes)) == (1, [])


def test_only_a_message_with_group_index_is_a_member(sent: list[Envelope]) -> None:
    chord([add.s(1, 1)], total.s())()
    member = read(_claimed(sent[0]), Limits())
    assert settlements.revoked(member, "revoked", "w@host").member
    del sent[0].headers["group_index"]
    assert not settlements.revoked(read(_claimed(sent[0]), Limits()), "revoked", "w@host").member


def test_errback_task_calls_errback_with_request_rebuilt_from_its_message(sent: list[Envelope], worker: Worker) -> None:
    heard: list[Any] = []

    @task(name="hears")
    def hears(request: Any, exc: BaseException, traceback: Any) -> None:
        heard.append((request.id, request.args, request.retries, request.root_id, repr(exc), traceback))

    headers = {"task": add.name, "id": "x", "retries": 2, "root_id": "r"}
    error = '{"exc_type": "KeyError", "exc_message": ["k"], "exc_module": "builtins"}'
    errback_task.delay(dict(hears.s()), headers, error, [1, 2], {})
    assert worker.run().state == "SUCCESS"
    assert heard == [("x", [1, 2], 2, "r", "KeyError('k')", None)]


@pytest.mark.parametrize("body", ["", "[", "[1]", "[[], {}, 5]", '[[], {}, {"chain": [5]}]'])
def test_follow_ups_of_unreadable_body_are_looked_up_in_the_rows(sent: list[Envelope], body: str) -> None:
    add.delay(1, 1)
    message = _claimed(sent[0])
    message.body = body
    found = followups.of_message(message, "FAILURE", "{}")
    assert (list(found.unreachable), list(found.envelopes)) == ([LOOK_UP_IN_ROWS], [])


def test_run_of_unreadable_body_fails_with_dependents_from_the_rows(sent: list[Envelope], worker: Worker) -> None:
    chain(add.s(1, 1), add.s(1))()
    outcome = worker.run(body="[")
    assert (outcome.state, dependents(outcome)) == ("FAILURE", [LOOK_UP_IN_ROWS])


def _claimed(e: Envelope) -> Any:
    from taskq.records import Claimed

    headers, properties = json.dumps(e.headers), json.dumps(e.properties)
    assert isinstance(e.body, str)
    received = (e.queue, e.task_id, headers, e.body, e.content_type, e.content_encoding, properties, "", "")
    return Claimed(1, *received, priority=0, deliveries=0, redelivered=False, tracked=True)
