"""Workflows in rows, revoked: all that has not run goes, what has run stays, and nothing waits for what is gone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq import control, states
from taskq.engines import for_alias
from taskq.models import Group, Message, Node
from taskq.records import Envelope, NewGroup, NewNode
from taskq.store import revoke
from taskq.store.claim import claim
from taskq.store.consuming import purge
from taskq.store.enqueue import enqueue
from taskq.store.settle import settle
from taskq.store.workflow_rows import insert
from tests.support.envelopes import ending, envelope

from .workflow_rows import chain, chord, counting, error_of, held, member, signature, state_of, waiting


@pytest.mark.parametrize("revoked", ["a", "c"])
def test_revoking_the_first_or_last_link_revokes_the_whole_chain(alias: str, revoked: str) -> None:
    chain(alias, "a", "b", "c")
    revoke.revoke([revoked])
    assert [state_of(alias, i) for i in "abc"] == ["REVOKED"] * 3
    assert waiting(alias) == set()


def test_revoking_a_middle_link_revokes_the_later_links(alias: str) -> None:
    chain(alias, "a", "b", "c")
    revoke.revoke(["b"])
    assert [state_of(alias, i) for i in "abc"] == ["PENDING", "REVOKED", "REVOKED"]
    token, (message,) = held()
    settle(token, [ending(message, follow_ups=(envelope("b", reset=False),))])
    assert (state_of(alias, "a"), state_of(alias, "b"), waiting(alias)) == ("SUCCESS", "REVOKED", set())


def test_revoking_the_first_link_of_a_foreign_chain_ends_the_rest(alias: str) -> None:
    enqueue([member("a", chain=[signature("c"), signature("b")])])
    revoke.revoke(["a"])
    assert state_of(alias, "a") == "REVOKED"
    assert error_of(alias, "b") == error_of(alias, "c") == ("TaskRevokedError", "revoked")


def test_revoked_member_fails_the_body(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(messages[1])])
    Message.objects.using(alias).update(token="")
    revoke.revoke(["a"])
    assert error_of(alias, "body") == ("ChordError", "Dependency a raised TaskRevokedError('revoked')")


@pytest.mark.parametrize("revoked", ["g", "body"])
def test_revoking_the_group_or_body_revokes_the_whole_chord(alias: str, revoked: str) -> None:
    chord(alias, "a", "b")
    Message.objects.using(alias).update(token="")
    revoke.revoke([revoked])
    assert [state_of(alias, i) for i in ("a", "b", "body")] == ["REVOKED"] * 3
    assert waiting(alias) == set()


def test_revoking_a_chord_leaves_members_that_have_run(alias: str) -> None:
    token, messages = chord(alias, "a", "b")
    settle(token, [counting(messages[0])])
    Message.objects.using(alias).update(token="")
    revoke.revoke(["body"])
    assert [state_of(alias, i) for i in ("a", "b", "body")] == ["SUCCESS", "REVOKED", "REVOKED"]


def test_member_revoked_before_it_was_sent_fails_the_body(alias: str) -> None:
    nodes = [NewNode("root", "first", ""), NewNode("root", "body", "", waits_for="g")]
    nodes += [NewNode("root", i, "", "task", "g", n, "first") for n, i in enumerate("ab")]
    insert(for_alias(alias), [], nodes)
    enqueue([envelope("first")])
    token, (message,) = held()
    revoke.revoke(["a"])
    group = NewGroup("g", 2, json.dumps(signature("body")))
    settle(token, [ending(message, follow_ups=(member("a"), member("b", index=1)), groups=(group,))])
    assert waiting(alias) == {"b"}
    assert state_of(alias, "a") == "REVOKED"
    assert error_of(alias, "body")[1].startswith("Dependency a raised TaskRevokedError(")


def chord_after(alias: str, first: str = "first") -> tuple[NewGroup, tuple[Envelope, ...]]:
    """A chord of ``m1 | m2`` and ``n`` that ``first`` is to send; return its group and messages."""
    nodes = [
        NewNode("root", first, ""),
        NewNode("root", "m1", "", waits_for=first),
        NewNode("root", "m2", "", "task", "g", 0, "m1"),
        NewNode("root", "n", "", "task", "g", 1, first),
        NewNode("root", "body", "", "body", waits_for="g"),
    ]
    insert(for_alias(alias), [], nodes)
    enqueue([envelope(first)])
    messages = (member("m1", chain=[signature("m2", group_id="g", group_index=0)]), member("n", index=1))
    return NewGroup("g", 2, json.dumps(signature("body"))), messages


@pytest.mark.parametrize("revoked", ["m1", "m2"])
def test_link_of_a_member_revoked_before_there_was_a_group_fails_the_body(alias: str, revoked: str) -> None:
    group, messages = chord_after(alias)
    token, (message,) = held()
    revoke.revoke([revoked])
    settle(token, [ending(message, follow_ups=messages, groups=(group,))])
    assert error_of(alias, "body")[1].startswith("Dependency m2 raised TaskRevokedError(")
    assert Group.objects.using(alias).get().remaining == 1


def test_revoked_link_of_a_member_counts_once(alias: str) -> None:
    group, messages = chord_after(alias)
    token, (message,) = held()
    settle(token, [ending(message, follow_ups=messages, groups=(group,))])
    by_id = {message.task_id: message for message in claim("taskq", 10, token)}
    revoke.revoke(["m2"])
    assert error_of(alias, "body")[1].startswith("Dependency m2 raised TaskRevokedError(")
    m2 = envelope("m2", headers={"task": "x", "id": "m2", "group": "g", "group_index": 0}, reset=False)
    settle(token, [ending(by_id["m1"], follow_ups=(m2,)), counting(by_id["n"])])
    assert Group.objects.using(alias).get().remaining == 0
    assert waiting(alias) == set()


def test_replacement_is_revoked_with_the_replaced_task(alias: str) -> None:
    enqueue([envelope("a")])
    token, (message,) = held()
    nodes = (NewNode("root", "first", "shop.add"), NewNode("root", "a", "shop.add", waits_for="first"))
    settle(token, [ending(message, states.IGNORED, follow_ups=(envelope("first", reset=False),), nodes=nodes)])
    revoke.revoke(["a"])
    assert [state_of(alias, i) for i in ("first", "a")] == ["REVOKED"] * 2
    assert waiting(alias) == set()


def test_revoking_a_chain_leaves_a_success_with_ignored_result(alias: str) -> None:
    chain(alias, "a", "b")
    token, (message,) = held()
    settle(token, [ending(message, keep=False, root_id="root", follow_ups=(envelope("b", reset=False),))])
    revoke.revoke(["b"])
    assert [state_of(alias, i) for i in "ab"] == [None, "REVOKED"]
    assert Node.objects.using(alias).get(task_id="a").state == "SUCCESS"


def test_revoking_an_ended_last_link_with_ignored_result_changes_nothing(alias: str) -> None:
    chain(alias, "a", "b")
    token, (message,) = held()
    settle(token, [ending(message, follow_ups=(envelope("b", reset=False),))])
    (message,) = claim("taskq", 1, token)
    settle(token, [ending(message, keep=False, root_id="a")])
    revoke.revoke(["b"])
    assert state_of(alias, "b") is None
    assert Node.objects.using(alias).get(task_id="b").state == "SUCCESS"


def test_purging_a_queue_revokes_its_tasks_and_fails_the_body(alias: str) -> None:
    chord(alias, "a", "b")
    Message.objects.using(alias).update(token="")
    enqueue([envelope("plain"), envelope("unknown", tracked=False)])
    assert purge("taskq", alias) == 4
    assert [state_of(alias, i) for i in ("a", "b", "plain")] == ["REVOKED"] * 3
    assert error_of(alias, "body")[0] == "ChordError"
    assert state_of(alias, "unknown") is None


@pytest.mark.parametrize("size", [1, 2, 500])
def test_whole_workflow_is_revoked_part_by_part(alias: str, size: int) -> None:
    """Whatever the parts are: what has run stays, what a worker holds is asked for, and nothing fails."""
    nodes = [NewNode("root", "first", ""), NewNode("root", "m2", "", "task", "g", 0, "m1")]
    nodes += [NewNode("root", "body", "", "body", waits_for="g"), NewNode("root", "last", "", waits_for="body")]
    nodes += [NewNode("root", "m1", "", waits_for="first"), NewNode("root", "n", "", "task", "g", 1, "first")]
    insert(for_alias(alias), [], nodes)
    enqueue([envelope("first")])
    token, (message,) = held()
    group = NewGroup("g", 2, json.dumps(signature("body")))
    messages = (member("m1", chain=[signature("m2", group_id="g", group_index=0)]), member("n", index=1))
    settle(token, [ending(message, follow_ups=messages, groups=(group,))])
    Message.objects.using(alias).filter(task_id="n").update(token=token)
    parts = control.workflow_parts("root", size)
    assert sum(control.revoke_workflow_part(ids) for ids in parts) == 2
    assert state_of(alias, "first") == "SUCCESS"
    assert [state_of(alias, i) for i in ("m1", "m2", "body", "last")] == ["REVOKED"] * 4
    assert Message.objects.using(alias).get().revoked, "the worker that holds it was told"

    assert sum(control.revoke_workflow_part(ids) for ids in control.workflow_parts("root")) == 1


@pytest.mark.parametrize("whole", [True, False], ids=["part", "cascade"])
@pytest.mark.parametrize("step", ["_sent", "_ended", "_revoke"])
def test_task_that_is_sent_and_succeeds_while_it_is_looked_for_stays(
    alias: str, monkeypatch: pytest.MonkeyPatch, whole: bool, step: str
) -> None:
    """Its result is ignored: before and after that it has neither a message nor a run."""
    chain(alias, "a", "b", "c")
    token, (first,) = held()
    original = getattr(revoke, step)

    def late(*args: Any) -> Any:
        monkeypatch.setattr(revoke, step, original)
        settle(token, [ending(first, keep=False, root_id="root", follow_ups=(envelope("b", reset=False),))])
        (second,) = claim("taskq", 1, token)
        settle(token, [ending(second, keep=False, root_id="root")])
        return original(*args)

    monkeypatch.setattr(revoke, step, late)
    if whole:
        control.revoke_workflow_part(["c", "b", "a"])
    else:
        revoke.revoke(["c"])
    assert [state_of(alias, i) for i in "abc"] == [None, None, "REVOKED"]
    assert Node.objects.using(alias).get(task_id="b").state == "SUCCESS"
