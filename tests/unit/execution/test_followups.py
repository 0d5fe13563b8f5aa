"""What follows from a run in a workflow: messages, rows, and what will never run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import chain, chord, group, signals, states, task
from taskq.exceptions import Ignore
from taskq.execution.builtins import errback as errback_task
from taskq.handover import Outcome
from taskq.messages.values import decode_exception
from taskq.records import LOOK_UP_IN_ROWS, NO_FOLLOW_UPS, Envelope, FollowUps, NewGroup
from taskq.worker.loop import settlements
from taskq.worker.loop.request import Limits, read
from taskq.workflows import followups
from tests.unit.execution.following import add, again, boom, call_of, dependents, follow_ups, total
from tests.unit.tasks.fixtures import Worker, registry, sent, worker

__all__ = ["registry", "sent", "worker"]


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


def test_large_arguments_travel_once_with_their_message(sent: list[Envelope], worker: Worker) -> None:
    add.apply_async(("x" * 100_000, "y"), link=[add.s("z"), add.si(7, 7)])
    outcome = worker.run()
    wire = json.dumps(outcome.to_wire())
    # The value is the result too.
    assert 200_000 < len(wire) < 210_000
    assert Outcome.from_wire(json.loads(wire)) == outcome


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
