"""Ends of which no run is kept are settled once too, and every group counts to its end."""

from __future__ import annotations

import json

import pytest

from taskq import states
from taskq.engines import for_alias
from taskq.models import Group, Message, Node, TaskRun
from taskq.records import NewGroup, NewNode
from taskq.store.claim import claim
from taskq.store.enqueue import enqueue
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from taskq.store.workflow_rows import insert
from tests.support.envelopes import ending, envelope

from .workflow_rows import bodies, chord, counting, held, member, signature, state_of

IGNORED = '{"exc_type": "Ignore", "exc_message": [], "exc_module": "celery.exceptions"}'


@pytest.mark.parametrize("tracked", [True, False])
def test_second_delivery_of_a_member_with_ignored_value_changes_nothing(alias: str, tracked: bool) -> None:
    token, messages = chord(alias, "a", tracked=tracked)
    enqueue([member("a", tracked=tracked)])
    messages += claim("taskq", 10, token)
    for message in messages:
        settle(token, [counting(message, keep=False, follow_ups=(envelope("callback", reset=False),))])
    assert len(bodies(alias)) == 1
    assert state_of(alias, "a") is None
    assert Message.objects.using(alias).filter(task_id="callback").count() == 1
    assert Group.objects.using(alias).get().remaining == 0


@pytest.mark.parametrize("tracked", [True, False])
def test_second_delivery_of_an_ignored_failure_changes_nothing(alias: str, tracked: bool) -> None:
    token, messages = chord(alias, "a", "b", tracked=tracked)
    enqueue([member("a", tracked=tracked)])
    messages += claim("taskq", 10, token)
    for message in messages:
        if message.task_id == "a":
            errback = envelope("errback", reset=False)
            settle(token, [counting(message, states.FAILURE, keep=False, follow_ups=(errback,))])
    assert Message.objects.using(alias).filter(task_id="errback").count() == 1
    assert Group.objects.using(alias).get().remaining == 1


def test_second_delivery_of_a_member_that_raised_ignore_does_not_count(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    enqueue([member("a")])
    messages += claim("taskq", 10, token)
    for message in messages:
        if message.task_id == "a":
            settle(token, [counting(message, states.IGNORED, result=IGNORED)])
    assert Group.objects.using(alias).get().remaining == 1


def test_revoking_a_member_that_raised_ignore_changes_nothing(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(messages[0], states.IGNORED, result=IGNORED)])
    assert not TaskRun.objects.using(alias).filter(task_id="a").exists()
    assert Node.objects.using(alias).get(task_id="a").state == states.IGNORED
    revoke(["a"])
    assert state_of(alias, "a") is None
    assert Group.objects.using(alias).get().remaining == 1


def test_members_revoked_before_their_group_was_sent_are_counted(alias: str) -> None:
    nodes = [NewNode("root", "a", "shop.add")]
    nodes += [NewNode("root", i, "shop.add", group_id="g", position=n, waits_for="a") for n, i in enumerate("bc")]
    insert(for_alias(alias), [], nodes)
    enqueue([member("a", chain=[])])
    revoke(["b"])
    token, (message,) = held()
    group = NewGroup("g", 2, None, "root")
    members = (member("b", "g", 0), member("c", "g", 1))
    settle(token, [ending(message, follow_ups=members, groups=(group,))])
    (c,) = claim("taskq", 10, token)
    assert c.task_id == "c"
    settle(token, [counting(c)])
    assert Group.objects.using(alias).get().remaining == 0


def test_missing_nodes_are_written_with_the_follow_ups(alias: str) -> None:
    """As for a chord in a chain of another producer."""
    enqueue([envelope("a")])
    token, (message,) = held()
    insert(for_alias(alias), [], [NewNode("root", "b", "as.it.was")])
    nodes = tuple(NewNode("root", i, "shop.add", group_id="g", position=n) for n, i in enumerate("bc"))
    group = NewGroup("g", 2, json.dumps(signature("body")), "root")
    settle(token, [ending(message, follow_ups=(member("b"), member("c", index=1)), groups=(group,), nodes=nodes)])
    assert dict(Node.objects.using(alias).values_list("task_id", "name")) == {"b": "as.it.was", "c": "shop.add"}
