"""Which failed tasks of a workflow can run again: those whose own messages were kept, or that nothing waits for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from taskq import chain, chord, control, states
from taskq.calls import never_again
from taskq.exceptions import CannotRetry
from taskq.messages.parking import parking
from taskq.models import Group, KeptMessage, Message, Node, TaskRun
from taskq.store import retry_workflow
from tests.support.jobs.flows import fragile, mended, same

from .conftest import retry_one
from .test_retried import a, broken, mend_and_retry, plus, state_of, two, work

__all__ = ["broken"]
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def failed_in_workflow(alias: str) -> list[str]:
    return retry_workflow.failed_in(Node.objects.using(alias).get(task_id="a").root_id, alias)


@pytest.mark.parametrize(
    ("sig", "found"),
    [(a() | plus, []), (chord([two, a()], same.s()), []), (two | a(fragile.s("a")), ["a"])],
    ids=["awaited", "member", "last"],
)
def test_without_its_message_only_a_task_that_nothing_waits_for_is_found(alias: str, sig: Any, found: Any) -> None:
    sig.apply_async()
    work(alias)
    assert failed_in_workflow(alias) == ["a"]
    KeptMessage.objects.using(alias).all().delete()
    assert failed_in_workflow(alias) == found


def test_the_message_of_an_earlier_task_of_the_same_id_is_not_sent_again(alias: str) -> None:
    (a() | plus).apply_async()
    work(alias)
    a().apply_async()
    work(alias)
    assert TaskRun.objects.using(alias).get(task_id="a").state == states.FAILURE
    assert KeptMessage.objects.using(alias).get().task_id == "a"
    assert retry_workflow.kept_among(["a"], alias) == set()
    with pytest.raises(CannotRetry, match="was not kept"):
        retry_one("a", alias=alias)


def change_headers(alias: str, **headers: Any) -> None:
    kept = KeptMessage.objects.using(alias).get()
    kept.headers = json.dumps(json.loads(kept.headers) | headers)
    kept.save(using=alias)


def test_a_kept_message_is_sent_as_a_first_try_that_does_not_expire(alias: str) -> None:
    (a() | plus).apply_async()
    work(alias)
    change_headers(alias, retries=2, expires="2020-01-01T00:00:00+00:00")
    KeptMessage.objects.using(alias).update(tracked=False)
    before = TaskRun.objects.using(alias).get(task_id="a").arguments
    mended.add("a")
    retry_one("a", alias=alias)
    message, run = Message.objects.using(alias).get(), TaskRun.objects.using(alias).get(task_id="a")
    assert json.loads(message.headers)["retries"] == 0
    assert (message.expires_at, run.expires_at, message.tracked) == (None, None, True)
    assert run.arguments == before != ""
    work(alias)
    assert state_of(alias, "a") == states.SUCCESS


@pytest.mark.parametrize("headers", [{}, {"root_id": None}], ids=["own", "foreign"])
def test_a_task_waits_until_what_was_to_follow_it_has_failed(alias: str, headers: dict[str, Any]) -> None:
    (a() | plus).apply_async()
    work(alias)
    change_headers(alias, **headers)
    parts = Group.objects.using(alias)
    parts.create(group_id="pending:x", size=0, remaining=0, root_id="a", created_at=datetime.now(UTC))
    with pytest.raises(CannotRetry, match="still failing") as error:
        retry_one("a", alias=alias)
    assert error.value.reason == "unfinished"
    parts.all().delete()
    assert retry_one("a", alias=alias).task_id == "a"


def test_tasks_of_some_names_are_never_run_again_in_a_workflow_either(
    alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(never_again, "_REASONS", {})
    (a() | plus).apply_async()
    work(alias)
    control.never_retry(fragile.name, "It is entered anew.")
    with pytest.raises(CannotRetry, match="entered anew"):
        retry_one("a", alias=alias)


def test_a_kept_message_goes_to_its_own_queue_not_where_it_was_parked_or_to_another_one(alias: str) -> None:
    (a() | plus).apply_async()
    work(alias)
    queues = Message.objects.using(alias).values_list("queue", flat=True)
    KeptMessage.objects.using(alias).update(queue=parking("taskq", fragile.name))
    retry_one("a", alias=alias)
    assert queues.get() == "taskq"
    work(alias)
    retry_one("a", alias=alias, queue="late")
    assert queues.get() == "late"


def test_what_was_revoked_before_does_not_wait_again(alias: str) -> None:
    (a() | plus.clone().set(task_id="b") | plus).apply_async()
    control.revoke("b")
    work(alias)
    assert (state_of(alias, "a"), state_of(alias, "b")) == (states.FAILURE, states.REVOKED)
    mend_and_retry(alias, "a")
    assert (state_of(alias, "a"), state_of(alias, "b")) == (states.SUCCESS, states.REVOKED)


def test_of_all_workflows_those_of_the_failed_tasks_asked_for_are_found(alias: str) -> None:
    for key in "ab":
        (a(key=key) | plus).apply_async()
    work(alias)
    assert failed_in_workflow(alias) == ["a"]
    assert retry_workflow.kept_among(["a"], alias) == {"a"}


def test_last_task_of_a_workflow_is_not_found_if_it_has_not_failed(alias: str) -> None:
    (two | a(fragile.s("a"))).apply_async()
    work(alias)
    TaskRun.objects.using(alias).filter(task_id="a").update(state=states.SUCCESS)
    assert failed_in_workflow(alias) == []


def test_task_that_has_not_failed_is_not_found_by_its_kept_message(alias: str) -> None:
    (a() | plus).apply_async()
    work(alias)
    runs = TaskRun.objects.using(alias).filter(task_id="a")
    KeptMessage.objects.using(alias).update(created_at=runs.get().created_at)
    assert retry_workflow.kept_among(["a"], alias) == {"a"}
    for state, reason in {states.STARTED: "unfinished", states.SUCCESS: "succeeded"}.items():
        runs.update(state=state)
        assert retry_workflow.kept_among(["a"], alias) == set()
        with pytest.raises(CannotRetry) as caught:
            retry_one("a", alias=alias)
        assert caught.value.reason == reason


def test_retried_member_has_no_mark_of_a_revocation(alias: str) -> None:
    result = chord([a(), a(key="b")], same.s())()
    work(alias)
    Node.objects.using(alias).filter(task_id="a").update(revoked=True, state=states.FAILURE)
    mend_and_retry(alias, "a")
    mend_and_retry(alias, "b")
    assert result.get() == [[2, 2]]


def test_group_whose_body_is_gone_waits_for_nobody_again(alias: str) -> None:
    result = chord([a(), two], same.s())()
    work(alias)
    Group.objects.using(alias).update(body=None)
    with pytest.raises(CannotRetry, match="The body of the group") as caught:
        retry_one("a", alias=alias)
    assert caught.value.reason == "unkept"
    assert (state_of(alias, "a"), state_of(alias, result.id)) == (states.FAILURE, states.FAILURE)


def test_chain_whose_rest_is_gone_does_not_wait_again(alias: str) -> None:
    result = chain(a(), *(plus.clone() for _ in range(30))).apply_async()
    work(alias)
    Group.objects.using(alias).update(body=None)
    with pytest.raises(CannotRetry, match="The rest of the chain of a was not kept") as caught:
        retry_one("a", alias=alias)
    assert caught.value.reason == "unkept"
    assert state_of(alias, result.id) == states.FAILURE


def test_message_that_can_not_be_read_is_refused_while_others_would_wait_again(alias: str) -> None:
    (a() | plus).apply_async()
    work(alias)
    KeptMessage.objects.using(alias).update(body="{")
    with pytest.raises(CannotRetry, match="can't be read") as caught:
        retry_one("a", alias=alias)
    assert caught.value.reason == "unreadable"


def test_retried_body_is_no_member_of_its_own_header(alias: str) -> None:
    """The message of another producer names the header, without a position in it."""
    result = chord([two, two], a(fragile.s("a")) | same.s()).apply_async()
    work(alias)
    change_headers(alias, group=Group.objects.using(alias).get().group_id)
    mend_and_retry(alias, "a")
    assert result.get() == [[2, 2]]
    assert Group.objects.using(alias).get().remaining == 0
