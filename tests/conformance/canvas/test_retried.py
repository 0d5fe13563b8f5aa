"""A failed task of a workflow is retried in its place: what depends on it goes on, and each task runs once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from taskq import chord, control, group, states
from taskq.exceptions import CannotRetry, QueueNotFound
from taskq.models import Attempt, Failure, Group, KeptMessage, Message, Node, TaskRun
from taskq.store import retry_workflow
from tests.support.jobs.flows import add, becomes, fragile, mended, same, total
from tests.support.worker_here import WorkerHere

from .conftest import ends, retry_one

two, plus, twice = add.s(1, 1), add.s(1), add.s(5)


@pytest.fixture(autouse=True)
def broken() -> Iterator[set[str]]:
    """All fragile tasks are broken when a test begins."""
    mended.clear()
    yield mended
    mended.clear()


def a(sig: Any = None, key: str = "a") -> Any:
    """Return a fragile task with an id."""
    return (sig or fragile.s(2, key)).clone().set(task_id=key)


def work(alias: str) -> None:
    WorkerHere(alias).work()
    assert not Message.objects.using(alias).exists()


def state_of(alias: str, task_id: str) -> str:
    """Return the state of a task as a new result would read it: one that has read an end keeps it."""
    row = TaskRun.objects.using(alias).filter(task_id=task_id).values_list("state", flat=True).first()
    return row or states.PENDING


def mend_and_retry(alias: str, *keys: str) -> None:
    """Retry tasks, each at once after the one before, and work until nothing waits."""
    mended.update(keys)
    for key in keys:
        retry_one(key, alias=alias)
    work(alias)


inner = total.s().set(task_id="inner")
#: Canvases in which ``a`` fails at first, and how all tasks end after its retry.
CANVASES = {
    "first_of_a_chain": (a() | plus, (2, 3)),
    "middle_of_a_chain": (two | a(fragile.s("a")) | plus, (2, 2, 3)),
    "before_a_group": (a() | group(plus, twice), (2, [3, 7])),
    "before_a_chord": (a() | group(plus, twice) | total.s(), (2, [3, 7], 10)),
    "member_of_a_group": (group(two, a()), [2, 2]),
    "member_of_a_chord": (chord([two, a(), add.s(3, 3)], same.s()), ([2, 2, 6], [[2, 2, 6]])),
    "only_member": (chord([a()], total.s() | plus), ([2], 2, 3)),
    "chain_in_a_header": (chord([two, a() | plus], same.s()), ([2, (2, 3)], [[2, 3]])),
    "end_of_a_chain_in_a_header": (chord([two, two | a(fragile.s("a"))], same.s()), ([2, (2, 2)], [[2, 2]])),
    "chord_in_a_header": (chord([chord([a(), two], inner), two], same.s()), ([([2, 2], 4), 2], [[4, 2]])),
    "group_for_a_body": (chord([a(), two], group(total.s(), same.s())), ([2, 2], [4, [[2, 2]]])),
    "groups_in_a_row": (group(two, a()) | group(total.s(), total.s()) | same.s(), ([2, 2], [4, 4], [[4, 4]])),
    "body": (chord([two, two], fragile.s("a").set(task_id="a") | same.s()), ([2, 2], [2, 2], [[2, 2]])),
    "ignored_members": (chord([two.clone().set(ignore_result=True), a()], same.s()), None),
}  # fmt: skip


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("sig", "expected"), CANVASES.values(), ids=CANVASES)
def test_retried_in_its_place(alias: str, sig: Any, expected: Any) -> None:
    result = sig.apply_async()
    work(alias)
    mend_and_retry(alias, "a")
    if expected is None:
        assert result.get() == [[2, 2]]
    else:
        assert ends(result) == expected
    assert not KeptMessage.objects.using(alias).exists()
    assert not Group.objects.using(alias).exclude(remaining=0, failed=False).exists()
    assert not TaskRun.objects.using(alias).exclude(state=states.SUCCESS).exists()
    assert list(Attempt.objects.using(alias).values_list("task_id", "state")) == [("a", states.FAILURE)]


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_body_waits_until_every_failed_member_has_been_retried(alias: str, order: tuple[str, str]) -> None:
    result = chord([a(), two, a(key="b")], same.s())()
    work(alias)
    mend_and_retry(alias, order[0])
    assert state_of(alias, result.id) == states.FAILURE, "the other member is a failure still"
    mend_and_retry(alias, order[1])
    assert result.get() == [[2, 2, 2]]


def test_members_retried_one_after_the_other_while_none_has_ended(alias: str) -> None:
    result = chord([a(), two, a(key="b")], same.s())()
    work(alias)
    mend_and_retry(alias, "b", "a")
    assert result.get() == [[2, 2, 2]]


def test_some_arguments_are_replaced_in_a_workflow(alias: str) -> None:
    result = (a(fragile.s(2, key="a")) | plus).apply_async()
    work(alias)
    mended.add("other")
    with pytest.raises(CannotRetry, match="unexpected keyword"):
        control.retry("a", update_kwargs={"no_such": 1})
    control.retry("a", update_kwargs={"key": "other", "value": 7})
    work(alias)
    assert result.get() == 8
    assert TaskRun.objects.using(alias).get(task_id="a").arguments == '[[7], {"key": "other"}]'


def test_retried_while_other_members_wait(alias: str) -> None:
    late = two.clone().set(queue="late")
    result = chord([a(), late, late], same.s())()
    work_but_late = WorkerHere(alias)
    work_but_late.work()
    mended.add("a")
    retry_one("a", alias=alias)
    work_but_late.work()
    assert Group.objects.using(alias).get().remaining == 2
    Message.objects.using(alias).update(queue="taskq")
    work(alias)
    assert result.get() == [[2, 2, 2]]


def test_retried_and_failed_again(alias: str) -> None:
    result = (two | chord([a(fragile.s("a")), plus], same.s())).apply_async()
    work(alias)
    for _ in range(2):
        retry_one("a", alias=alias)
        assert state_of(alias, result.id) == states.PENDING
        work(alias)
        assert state_of(alias, result.id) == states.FAILURE
    mend_and_retry(alias, "a")
    assert result.get() == [[2, 3]]
    assert Attempt.objects.using(alias).count() == 3


def test_second_of_two_retries_is_refused(alias: str) -> None:
    result = chord([a(), two], same.s())()
    work(alias)
    mended.add("a")

    def retry(_: int) -> str:
        try:
            retry_one("a", alias=alias)
            return "retried"
        except CannotRetry as error:
            return str(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        said = sorted(threads.map(retry, range(2)))
    assert said[1] == "retried"
    assert "PENDING" in said[0] or "not kept" in said[0]
    work(alias)
    assert result.get() == [[2, 2]]


def test_whole_workflow_from_its_failed_tasks(alias: str) -> None:
    result = chord([a(), two, a(key="b") | plus], same.s() | fragile.s("c").set(task_id="c")).apply_async()
    work(alias)
    root = TaskRun.objects.using(alias).get(task_id="a").root_id
    mended.update("ab")
    assert control.retry_workflow(root).done == 2
    work(alias)
    assert state_of(alias, "c") == states.FAILURE
    mended.add("c")
    assert control.retry_workflow(root).done == 1, "nothing waits for it, but it failed itself"
    work(alias)
    assert result.get() == [[2, 2, 3]]
    assert control.retry_workflow(root).done == 0


def test_whole_workflow_is_revoked(alias: str) -> None:
    late = two.clone().set(queue="late")
    result = (chord([two, late], same.s()) | plus).apply_async()
    WorkerHere(alias).work()
    root = TaskRun.objects.using(alias).get(queue="late").root_id
    assert control.revoke_workflow(root) == 1
    found = TaskRun.objects.using(alias).values_list("state", flat=True)
    assert sorted(found) == [states.REVOKED] * 3 + [states.SUCCESS]
    assert state_of(alias, result.id) == states.REVOKED
    assert control.revoke_workflow("no such workflow") == 0


def test_replaced_task(alias: str) -> None:
    """The task fails because a task that replaces it does: the retry goes on under its id."""
    result = chord([becomes.s(a() | plus), two], same.s()).apply_async()
    work(alias)
    mend_and_retry(alias, "a")
    assert result.get() == [[3, 2]]


def test_rest_of_a_long_chain_goes_on(alias: str) -> None:
    chain = a()
    for _ in range(50):
        chain |= plus
    result = chain.apply_async()
    work(alias)
    assert TaskRun.objects.using(alias).filter(state=states.FAILURE).count() == 51
    mend_and_retry(alias, "a")
    assert result.get() == 52


def test_callbacks_and_errbacks_are_kept(alias: str) -> None:
    a().apply_async(link=same.s().set(task_id="after"), link_error=same.si().set(task_id="told"))
    work(alias)
    mend_and_retry(alias, "a")
    assert TaskRun.objects.using(alias).get(task_id="after").result == "[2]"


def test_changed_arguments_keep_the_workflow(alias: str) -> None:
    result = (a() | plus).apply_async()
    work(alias)
    mended.add("other")
    retry_one("a", args=(5, "other"), kwargs={}, alias=alias)
    work(alias)
    assert result.get() == 6
    assert TaskRun.objects.using(alias).get(task_id="a").arguments == '[[5, "other"], {}]'


def test_signed_message_is_sealed_anew_and_an_altered_one_is_refused(alias: str) -> None:
    with override_settings(TASKQ_SIGNING=True):
        result = chord([a(), two, a(key="b")], same.s())()
        work(alias)
        KeptMessage.objects.using(alias).filter(task_id="b").update(body='[[9, "b"], {}, {}]')
        mended.update("ab")
        with pytest.raises(CannotRetry, match="altered"):
            retry_one("b", alias=alias)
        mend_and_retry(alias, "a")
        assert TaskRun.objects.using(alias).get(task_id="a").state == states.SUCCESS
        assert state_of(alias, result.id) == states.FAILURE


def test_nothing_is_kept_of_tasks_without_followers_and_of_successes(alias: str) -> None:
    a().apply_async()
    (two | plus).apply_async()
    work(alias)
    assert not KeptMessage.objects.using(alias).exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_refused(alias: str) -> None:
    result = (two | a(fragile.s("a")) | plus).apply_async()
    work(alias)
    for task_id, why in {"none": "no task", result.parent.parent.id: "SUCCESS", result.id: "not kept"}.items():
        with pytest.raises(CannotRetry, match=why):
            retry_one(task_id, alias=alias)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_body_whose_values_are_gone_does_not_wait_again(alias: str) -> None:
    result = chord([a(), two, two.clone().set(task_id="gone")], same.s())()
    work(alias)
    TaskRun.objects.using(alias).filter(task_id="gone").delete()
    with pytest.raises(CannotRetry, match="have expired"):
        retry_one("a", alias=alias)
    assert (state_of(alias, "a"), state_of(alias, result.id)) == (states.FAILURE, states.FAILURE)
    grouped = group(a(key="b"), two.clone().set(task_id="gone")).apply_async()
    work(alias)
    TaskRun.objects.using(alias).filter(task_id="gone").delete()
    mend_and_retry(alias, "b")
    assert grouped.results[0].get() == 2, "no body needs the values"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_one_retry_has_so_many_tasks_wait_again(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = a()
    for _ in range(50):
        chain |= plus
    chain.apply_async()
    work(alias)
    for most in (5, 49):
        monkeypatch.setattr(retry_workflow, "MOST_REOPENED", most)
        counts = control.retry_many(["a"])
        assert (counts.done, counts.refused) == (0, {"refused": 1})
    assert TaskRun.objects.using(alias).filter(state=states.FAILURE).count() == 51
    monkeypatch.setattr(retry_workflow, "MOST_REOPENED", 50)
    assert control.retry_many(["a"]).done == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"serializer": "pickle"}], ids=str)
@override_settings(TASKQ_ACCEPT_CONTENT=["json", "pickle"])
def test_of_compressed_and_other_messages_too_those_with_followers_are_kept(
    alias: str, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskq.calls.registry import tasks

    monkeypatch.setattr(tasks, "guarded", set())
    for key, more in {"a": {}, "b": {"link": same.s()}, "c": {"link_error": same.si()}}.items():
        a(key=key).apply_async(**options, **more)
    (a(key="d").set(**options) | plus).apply_async()
    work(alias)
    assert {*KeptMessage.objects.using(alias).values_list("task_id", flat=True)} == {"b", "c", "d"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_failures_of_what_waits_again_are_deleted(alias: str) -> None:
    (a() | plus | plus).apply_async()
    work(alias)
    assert Failure.objects.using(alias).count() == 3
    retry_one("a", alias=alias)
    run = TaskRun.objects.using(alias).get(task_id="a")
    assert [*Failure.objects.using(alias).values_list("run_id", flat=True)] == [run.pk]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_sensitive_arguments_are_not_kept(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from taskq.calls.registry import tasks

    (a() | plus).apply_async()
    chord([a(key="b"), two], total.s())()
    monkeypatch.setattr(tasks, "guarded", {add.name, total.name})
    work(alias)
    assert not KeptMessage.objects.using(alias).filter(task_id="a").exists()
    assert Group.objects.using(alias).get().body is None
    mended.add("b")
    with pytest.raises(CannotRetry, match="sensitive"):
        retry_one("b", alias=alias)
    # Nor do they run without their followers.
    counts = control.retry_many(["a", "b"])
    assert (counts.done, counts.refused) == (0, {"unkept": 2})
    assert "as a new task" in counts.examples["unkept"]
    assert not Message.objects.using(alias).exists()
    assert control.retry("a", new=True).new


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_without_its_message_a_task_runs_in_place_only_if_none_follows_it(alias: str) -> None:
    result = (chord([a(), two], same.s().set(task_id="body")) | fragile.s("c").set(task_id="c")).apply_async()
    late = (a(key="d").set(queue="late") | plus).apply_async()
    work_but_late = WorkerHere(alias)
    work_but_late.work()
    mended.add("a")
    retry_one("a", alias=alias)
    work_but_late.work()
    assert state_of(alias, result.id) == states.FAILURE
    control.revoke_workflow("d")
    Node.objects.using(alias).filter(task_id="c").update(revoked=True, state=states.FAILURE)
    counts = control.retry_many(["c", "d"])
    assert (counts.done, counts.refused) == (1, {"unkept": 1})
    node = Node.objects.using(alias).get(task_id="c")
    assert (node.revoked, node.state) == (False, "")
    assert state_of(alias, late.id) == states.REVOKED


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_changes_in_a_workflow_are_checked_as_those_of_any_retry(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragile, "typing", True)
    (a() | plus).apply_async()
    work(alias)
    with override_settings(TASKQ_CREATE_MISSING_QUEUES=False), pytest.raises(QueueNotFound):
        control.retry("a", queue="undeclared")
    with pytest.raises(TypeError):
        control.retry("a", args=[])
    with pytest.raises(TypeError):
        control.retry("a", kwargs={"unknown": 1})
    KeptMessage.objects.using(alias).update(headers="[]")
    counts = control.retry_many(["a"])
    assert (counts.done, counts.refused) == (0, {"refused": 1})
    assert state_of(alias, "a") == states.FAILURE


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_rest_of_a_long_chain_behind_a_body_goes_on(alias: str) -> None:
    """The body of a replacement carries the chain of the replaced task."""
    chain = becomes.s(chord([a(), two], total.s()))
    for _ in range(50):
        chain |= plus
    result = chain.apply_async()
    work(alias)
    assert TaskRun.objects.using(alias).filter(state=states.FAILURE).count() == 52
    mend_and_retry(alias, "a")
    assert result.get() == 54
