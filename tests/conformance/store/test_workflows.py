"""Workflows in rows: members count once, bodies are sent once, and what can't run any more ends at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connections

import taskq
from taskq import states
from taskq.engines import for_alias
from taskq.models import Group, Message, Node, TaskRun
from taskq.records import Claimed, Envelope, NewGroup, NewNode
from taskq.sending.publisher import publish_plan
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.retention import forget
from taskq.store.settle import settle
from taskq.workflows.plan import Plan
from testproject.arithmetic.tasks import add
from testproject.arithmetic.tasks import fail as fails
from tests.support.envelopes import ending, envelope
from tests.support.retention import expire, expire_workflows
from tests.support.worker_here import WorkerHere

from .workflow_rows import FAILED, bodies, chord, counting, error_of, held, member, signature, state_of, waiting

# -- counting


def test_last_member_sends_the_body_with_values_in_header_order(alias: str) -> None:
    token, messages = chord(alias, "a", "b", "c")
    settle(token, [counting(messages[2], result="3"), counting(messages[1], result="2")])
    assert bodies(alias) == []
    settle(token, [counting(messages[0], result="1")])
    assert bodies(alias) == [[[1, 2, 3]]]
    assert state_of(alias, "body") == "PENDING"


def test_members_in_one_batch_complete_their_group(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(m) for m in messages])
    assert bodies(alias) == [[[3, 3]]]
    body = Message.objects.using(alias).get(task_id="body")
    assert json.loads(body.headers)["parent_id"] == "b", "the last one that was counted"


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_second_delivery_of_a_member_does_not_count(alias: str, tracked: bool, together: bool) -> None:
    token, messages = chord(alias, "a", "b", tracked=tracked)
    enqueue([member("a", tracked=tracked)])
    messages += claim("taskq", 10, token)
    first = [counting(m) for m in messages if m.task_id == "a"]
    for batch in [first] if together else [[s] for s in first]:
        settle(token, batch)
    assert Group.objects.using(alias).get().remaining == 1
    settle(token, [counting(m) for m in messages if m.task_id == "b"])
    assert bodies(alias) == [[[3, 3]]]


def test_second_delivery_after_the_body_was_sent_sends_no_second_body(alias: str) -> None:
    token, messages = chord(alias, "a")
    enqueue([member("a")])
    messages += claim("taskq", 10, token)
    for message in messages:
        settle(token, [counting(message)])
    assert len(bodies(alias)) == 1


def test_retry_of_a_member_does_not_count(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    again = member("a")
    settle(token, [counting(messages[0], "RETRY", follow_ups=(again,)), counting(messages[1])])
    assert Group.objects.using(alias).get().remaining == 1
    (again_held,) = claim("taskq", 10, token)
    settle(token, [counting(again_held, result="5", retries=1)])
    assert bodies(alias) == [[[5, 3]]]


@pytest.mark.parametrize("tracked", [True, False])
def test_ignored_values_are_kept_until_the_body_has_them(alias: str, tracked: bool) -> None:
    token, messages = chord(alias, "a", "b", tracked=tracked)
    settle(token, [counting(messages[0], result="1", keep=False)])
    settle(token, [counting(messages[1], result="2", keep=False)])
    assert bodies(alias) == [[[1, 2]]]
    assert not TaskRun.objects.using(alias).filter(task_id__in=["a", "b"]).exists()


# SQLite has one writer at a time.
@pytest.mark.parametrize("database", ["postgresql", "mariadb"], indirect=True)
def test_two_workers_settling_the_last_two_members_send_one_body(alias: str) -> None:
    for round_ in range(10):
        group_id, ids = f"g{round_}", [f"{round_}a", f"{round_}b"]
        token, messages = chord(alias, *ids, body=signature(f"body{round_}"), group_id=group_id)
        barrier = threading.Barrier(2)

        def end(message: Claimed, token: str = token, barrier: Any = barrier, group_id: str = group_id) -> None:
            barrier.wait()
            settle(token, [counting(message, group_id=group_id)], alias)
            connections[alias].close()

        threads = [threading.Thread(target=end, args=(m,)) for m in messages]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(bodies(alias)) == round_ + 1
        Message.objects.using(alias).filter(name="shop.total").update(queue="elsewhere")


def test_members_added_by_a_member_are_waited_for(alias: str) -> None:
    token, messages = chord(alias, "a")
    added = NewNode("root", "late", "shop.add", "task", "g", 2**31 - 1)
    grown = NewGroup("g", 1, added=["late"])
    settle(token, [counting(messages[0], result="1", follow_ups=(member("late"),), groups=(grown,), nodes=(added,))])
    assert bodies(alias) == []
    (late,) = claim("taskq", 10, token)
    settle(token, [counting(late, result="2")])
    assert bodies(alias) == [[[1, 2]]]


def test_a_member_that_was_revoked_is_not_counted_again_when_another_one_is_added(alias: str) -> None:
    token, messages = chord(alias, "a", "b", "c")
    settle(token, [counting(messages[1], "REVOKED")])
    Node.objects.using(alias).filter(task_id="b").update(revoked=True)
    added = NewNode("root", "late", "shop.add", "task", "g", 2**31 - 1)
    grown = NewGroup("g", 1, added=["late"])
    settle(token, [counting(messages[0], result="1", follow_ups=(member("late"),), groups=(grown,), nodes=(added,))])
    assert Group.objects.using(alias).get().remaining == 2, "the one that was added, and c"


def test_replaced_member_counts_when_its_replacement_ends(alias: str) -> None:
    token, messages = chord(alias, "a")
    settle(token, [counting(messages[0], states.IGNORED, follow_ups=(member("a"),))])
    assert bodies(alias) == []
    assert state_of(alias, "a") == "PENDING"
    (again,) = claim("taskq", 10, token)
    settle(token, [counting(again, result="7")])
    assert bodies(alias) == [[[7]]]


def test_body_that_can_not_be_sent_fails_with_the_tasks_behind_it(alias: str, settings: Any) -> None:
    token, messages = chord(alias, "a", body=signature("body", chain=[signature("after")]))
    settings.TASKQ_MAX_MESSAGE_SIZE = 300
    settle(token, [counting(messages[0], result='"' + "x" * 400 + '"')])
    assert error_of(alias, "body")[0] == "ValueError"
    assert state_of(alias, "after") == "FAILURE"
    assert bodies(alias) == []


def test_values_of_a_large_group_are_read_in_parts(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(for_alias(alias)), "chunk", 2)
    token, messages = chord(alias, *"abcdef")
    settle(token, [counting(m, result=f'"{m.task_id}"') for m in reversed(messages)])
    assert bodies(alias) == [[list("abcdef")]]


def test_values_that_no_message_can_carry_are_not_read(
    alias: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = type(for_alias(alias))
    read: list[Any] = []
    members = engine.members
    monkeypatch.setattr(engine, "members", lambda *given: read.append(given) or members(*given))
    monkeypatch.setattr(engine, "chunk", 2)
    token, messages = chord(alias, *"abcdefgh")
    settings.TASKQ_MAX_MESSAGE_SIZE = 1_000
    settle(token, [counting(m, result='"' + "x" * 300 + '"') for m in messages])
    kind, text = error_of(alias, "body")
    assert kind == "ValueError"
    assert "larger than a message may be (TASKQ_MAX_MESSAGE_SIZE, 1000 bytes)" in text
    assert len(read) == 2


def test_missing_value_of_a_member_fails_the_body(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(messages[0])])
    TaskRun.objects.using(alias).filter(task_id="a").delete()
    settle(token, [counting(messages[1])])
    assert error_of(alias, "body") == ("ChordError", "The result of dependency a is gone")


def test_forgotten_member_value_is_kept_until_the_body_has_it(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(messages[0], result="1")])
    assert forget(["a"]) == 1
    settle(token, [counting(messages[1], result="2")])
    assert bodies(alias) == [[[1, 2]]]
    assert state_of(alias, "a") is None


def test_a_member_that_had_ended_does_not_count_when_the_link_before_it_fails(alias: str) -> None:
    late = add.si(2, 2).set(queue="late")
    taskq.chord([fails.si() | late.clone().set(task_id="ended"), late], add.si(1, 1))()
    now = datetime.now(UTC)
    TaskRun.objects.using(alias).create(task_id="ended", state=states.REVOKED, created_at=now, finished_at=now)
    WorkerHere(alias).work()
    assert TaskRun.objects.using(alias).get(name=fails.name).state == states.FAILURE
    assert Group.objects.using(alias).get().remaining == 2


# -- chains


def test_second_delivery_of_a_link_sends_no_second_next_link(alias: str) -> None:
    enqueue([envelope("a"), envelope("a")])
    token, messages = held()
    for message in messages:
        settle(token, [ending(message, follow_ups=(envelope("b", reset=False),))])
    assert Message.objects.using(alias).filter(task_id="b").count() == 1


def test_second_delivery_of_a_link_with_ignored_result_sends_no_next_link(alias: str) -> None:
    enqueue([envelope("a"), envelope("a")])
    token, messages = held()
    for message in messages:
        settle(token, [ending(message, keep=False, follow_ups=(envelope("b", reset=False),))])
    assert Message.objects.using(alias).filter(task_id="b").count() == 1


# -- what is left


def test_body_is_kept_until_it_was_sent(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(m) for m in messages])
    assert Group.objects.using(alias).get().body is None
    token, messages = chord(alias, "c", body=signature("other"), group_id="h")
    settle(token, [counting(messages[-1], states.FAILURE, group_id="h", result=FAILED)])
    assert Group.objects.using(alias).get(group_id="h").body, "for a retry of the member"


def test_body_fails_when_no_end_of_the_member_it_waits_for_can_be_stored(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, messages = chord(alias, "a", "b")
    engine = type(for_alias(alias))
    write = engine.end_runs

    def refuse(self: Any, settlements: Any) -> set[str]:
        if any(s.task_id == "a" for s in settlements):
            raise ValueError("no row of this one")
        return write(self, settlements)

    monkeypatch.setattr(engine, "end_runs", refuse)
    settle(token, [counting(messages[0])])
    assert error_of(alias, "body")[1].startswith("Dependency a raised EncodeError(")
    assert waiting(alias) == set()


# -- sending


def test_plan_whose_encoding_fails_halfway_leaves_no_rows(alias: str) -> None:
    def envelopes() -> Iterator[Envelope]:
        yield member("a")
        raise ValueError("no")

    group = NewGroup("g", 2, json.dumps(signature("body")))
    with pytest.raises(ValueError, match="no"):
        publish_plan(Plan(None, envelopes(), [group], [NewNode("root", "a", "shop.add", group_id="g")]))
    assert not (Group.objects.using(alias).exists())
    assert not (Node.objects.using(alias).exists())
    assert not (waiting(alias))


def test_workflow_sent_again_under_its_ids_runs_again(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(m) for m in messages])
    (body,) = claim("taskq", 10, token)
    settle(token, [ending(body)])
    nodes = [NewNode("root", i, "shop.add", "task", "g", n) for n, i in enumerate("ab")]
    nodes.append(NewNode("root", "body", "shop.total", "body", waits_for="g"))
    group = NewGroup("g", 2, json.dumps(signature("body")), "root")
    members = [replace(member(i, "g", n), reset=True) for n, i in enumerate("ab")]
    publish_plan(Plan(None, iter(members), [group], nodes))
    assert (state_of(alias, "a"), state_of(alias, "body")) == ("PENDING", None)
    messages = claim("taskq", 10, token)
    settle(token, [counting(m, result="4") for m in messages])
    assert bodies(alias) == [[[4, 4]]]


# -- retention


def age(alias: str) -> None:
    """Make everything old."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    Node.objects.using(alias).update(created_at=past)
    Group.objects.using(alias).update(created_at=past)
    TaskRun.objects.using(alias).exclude(finished_at=None).update(finished_at=past)


def test_values_that_a_body_waits_for_do_not_expire(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(messages[0])])
    age(alias)
    assert expire("SUCCESS", timedelta(days=1)) == 0
    assert expire_workflows(timedelta(days=1)) == 0
    settle(token, [counting(messages[1])])
    assert bodies(alias) == [[[3, 3]]]
    age(alias)
    assert expire("SUCCESS", timedelta(days=1)) == 2


def test_old_workflow_rows_are_deleted_when_all_of_it_has_ended(alias: str) -> None:
    token, messages = chord(alias, "a")
    settle(token, [counting(messages[0])])
    age(alias)
    assert expire_workflows(timedelta(days=1)) == 0
    (body,) = claim("taskq", 10, token)
    settle(token, [ending(body)])
    assert expire_workflows(timedelta(days=1)) == 0
    age(alias)
    assert expire_workflows(timedelta(days=1)) == 2
    assert not (Group.objects.using(alias).exists())
    assert not (Node.objects.using(alias).exists())


# -- cost


def test_settling_tasks_outside_of_workflows_costs_no_extra_query(alias: str, django_assert_num_queries: Any) -> None:
    enqueue([envelope(f"t{n}") for n in range(20)])
    token, messages = held()
    with django_assert_num_queries(_PLAIN[connections[alias].vendor], connection=connections[alias]):
        assert len(settle(token, [ending(m) for m in messages])) == 20


#: BEGIN, DELETE, UPDATE, perhaps a notification, COMMIT.
_PLAIN = {"sqlite": 4, "postgresql": 5, "mysql": 4}


def test_settling_many_members_takes_few_statements(alias: str, django_assert_max_num_queries: Any) -> None:
    token, messages = chord(alias, *(f"m{n:04}" for n in range(400)))
    most = 420 if connections[alias].vendor == "sqlite" else 20
    with django_assert_max_num_queries(most, connection=connections[alias]):
        settle(token, [counting(m, result=str(n)) for n, m in enumerate(messages)])
    assert bodies(alias) == [[list(range(400))]]


def test_nodes_of_a_chord_have_kind_group_and_position(alias: str) -> None:
    chord(alias, "a", "b")
    nodes = Node.objects.using(alias).order_by("id").values_list("task_id", "kind", "group_id", "position", "waits_for")
    assert list(nodes) == [("a", "task", "g", 0, ""), ("b", "task", "g", 1, ""), ("body", "body", "", 0, "g")]


def test_database_that_is_away_fails_no_body(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token, messages = chord(alias, "a")
    with monkeypatch.context() as away:
        away.setattr("taskq.workflows.followups.of_body", Mock(side_effect=OperationalError("away")))
        with pytest.raises(OperationalError):
            settle(token, [counting(messages[0])])
    settle(token, [counting(messages[0])])
    assert waiting(alias) == {"body"}
