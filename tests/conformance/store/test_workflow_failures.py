"""Workflows in rows: failures and what could not be sent or stored end all that waits for it, once."""

from __future__ import annotations

import json
from dataclasses import replace

from taskq import states
from taskq.engines import for_alias
from taskq.models import Group, Message
from taskq.records import LOOK_UP_IN_ROWS, NewGroup, NewNode, Unreachable
from taskq.store import workers
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from taskq.store.workflow_rows import insert
from tests.support.envelopes import ending, envelope

from .workflow_rows import FAILED, bodies, chain, chord, counting, error_of, held, member, signature, state_of


def test_failed_member_fails_the_body_and_the_tasks_behind_it_once(alias: str) -> None:
    token, messages = chord(alias, "a", "b", "c", body=signature("body", chain=[signature("after")]))
    settle(token, [counting(messages[0], "FAILURE", result=FAILED)])
    assert error_of(alias, "body") == ("ChordError", "Dependency a raised ValueError('boom')")
    assert error_of(alias, "after") == ("ChordError", "Dependency a raised ValueError('boom')")
    settle(token, [counting(messages[1], "FAILURE", result=FAILED), counting(messages[2])])
    assert error_of(alias, "body")[1].startswith("Dependency a ")
    assert bodies(alias) == []


def test_body_names_the_first_of_the_members_that_failed_together(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(message, "FAILURE", result=FAILED) for message in reversed(messages)])
    assert error_of(alias, "body") == ("ChordError", "Dependency a raised ValueError('boom')")


def test_of_two_ends_of_one_member_the_first_counts(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    ended = counting(messages[0])
    settle(token, [ended, replace(ended, state="FAILURE", result=FAILED)])
    assert (state_of(alias, "a"), state_of(alias, "body")) == ("SUCCESS", None)
    assert Group.objects.using(alias).get().remaining == 1


def test_failed_member_with_ignored_result_fails_the_body(alias: str) -> None:
    token, messages = chord(alias, "a")
    settle(token, [counting(messages[0], "FAILURE", result=FAILED, keep=False)])
    assert error_of(alias, "body") == ("ChordError", "Dependency a raised ValueError('boom')")


def test_member_that_raised_ignore_fails_the_body(alias: str) -> None:
    token, messages = chord(alias, "a")
    ignored = '{"exc_type": "Ignore", "exc_message": [], "exc_module": "celery.exceptions"}'
    settle(token, [counting(messages[0], states.IGNORED, result=ignored)])
    assert error_of(alias, "body") == ("ChordError", "Dependency a raised Ignore()")


def test_failed_first_link_of_a_member_fails_the_body(alias: str) -> None:
    frozen = signature("body")
    nodes = [NewNode("root", "a", "shop.add"), NewNode("root", "b", "shop.add", group_id="g", waits_for="a")]
    insert(for_alias(alias), [NewGroup("g", 1, json.dumps(frozen))], nodes)
    enqueue([member("a", chain=[signature("b", group_id="g", group_index=0)])])
    token, (message,) = held()
    settle(token, [ending(message, "FAILURE", result=FAILED, unreachable=(Unreachable("b", "shop.add", "g"),))])
    assert error_of(alias, "b") == ("ValueError", "boom")
    assert error_of(alias, "body") == ("ChordError", "Dependency b raised ValueError('boom')")


def test_failure_in_an_inner_chord_fails_the_outer_body(alias: str) -> None:
    inner = signature("inner-body", group_id="outer", group_index=0)
    engine = for_alias(alias)
    insert(engine, [NewGroup("outer", 2, json.dumps(signature("outer-body")))], [])
    token, messages = chord(alias, "a", body=inner)
    settle(token, [counting(messages[0], "FAILURE", result=FAILED)])
    assert error_of(alias, "inner-body")[1] == "Dependency a raised ValueError('boom')"
    text = error_of(alias, "outer-body")[1]
    assert text.startswith("Dependency inner-body raised ChordError(")
    assert dict(Group.objects.using(alias).values_list("group_id", "remaining")) == {"outer": 1, "g": 0}


def test_errbacks_of_a_body_are_sent_once(alias: str) -> None:
    errback = {**signature(""), "task": "shop.complain", "options": {}}
    token, messages = chord(alias, "a", "b", body=signature("body", link_error=[errback]))
    for message in messages:
        settle(token, [counting(message, "FAILURE", result=FAILED)])
    sent = Message.objects.using(alias).filter(name="shop.complain")
    assert [json.loads(m.body)[0] for m in sent] == [["body"]]


def test_member_value_that_the_database_refuses_fails_the_body(alias: str) -> None:
    token, messages = chord(alias, "a")
    settle(token, [counting(messages[0], result="\ud800")])
    assert error_of(alias, "body")[1].startswith("Dependency a raised EncodeError(")


def test_lost_acknowledged_member_fails_the_body(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    Message.objects.using(alias).filter(id=messages[0].id).update(acked=True)
    workers.deregister(token)
    assert error_of(alias, "body")[1].startswith("Dependency a raised WorkerLostError(")


def test_dependents_of_a_failure_fail_with_its_exception(alias: str) -> None:
    enqueue([envelope("a")])
    token, (message,) = held()
    settle(token, [ending(message, "FAILURE", result=FAILED, unreachable=(Unreachable("b"), Unreachable("c")))])
    assert error_of(alias, "b") == error_of(alias, "c") == ("ValueError", "boom")


def test_dependents_of_an_unreadable_message_are_found_in_the_rows(alias: str) -> None:
    chain(alias, "a", "b", "c")
    token, (message,) = held()
    settle(token, [ending(message, "FAILURE", result=FAILED, unreachable=(LOOK_UP_IN_ROWS,))])
    assert [state_of(alias, i) for i in "abc"] == ["FAILURE"] * 3


def test_group_of_an_unreadable_member_is_found_in_the_rows(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [ending(messages[0], "FAILURE", result=FAILED, unreachable=(LOOK_UP_IN_ROWS,))])
    assert error_of(alias, "body")[1] == "Dependency a raised ValueError('boom')"
