"""A task that was replaced by a canvas stands for that: what has not run is revoked with it, and it fails with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq import AsyncResult, chain, chord, signature, states, task
from taskq.models import Group, Message, Node, TaskRun
from taskq.store.revoke import revoke
from taskq.store.settle import settle
from taskq.testing import override
from tests.support.jobs.flows import add, boom, brings_along, double, same
from tests.support.worker_here import WorkerHere

NAME = "tests.conformance.canvas.becomes"


@task(name=NAME, bind=True)
def becomes(self: Any, _: Any, sig: Any) -> Any:
    raise self.replace(signature(sig))


def replaced(sig: Any) -> Any:
    return becomes.s(sig).set(task_id="replaced", priority=9)


def steps() -> Any:
    return chain(same.si(1).set(task_id="first"), same.s(2), same.s(3))


def by_chain() -> Any:
    return replaced(steps())


def by_chord() -> Any:
    return replaced(chord([same.si(1).set(task_id="first"), same.si(2)], same.s(3)))


def by_another() -> Any:
    return replaced(chain(same.si(0).set(priority=9), becomes.s(steps()).set(priority=9)))


CANVASES: list[Callable[[Any], Any]] = [
    lambda sig: sig.clone((0,)),
    lambda sig: chain(same.si(0).set(priority=9), sig, same.s(4)),
    lambda sig: chord([sig.clone((0,)), add.s(1, 2)], same.s()),
    lambda sig: chord([same.si(0).set(priority=9)], sig) | same.s(5),
]
REPLACEMENTS = [by_chain, by_chord, by_another]


def work_until(worker: WorkerHere, task_id: str) -> None:
    """Work until a message of a task waits, and nothing that is more urgent."""
    messages = Message.objects.using(worker.alias).filter(token="")
    for _ in range(20):
        if messages.filter(task_id=task_id).exists() and not messages.filter(priority=9).exists():
            return
        worker.work(1)
    raise AssertionError(f"{task_id} was not sent")


def all_ended(alias: str) -> bool:
    """Tell whether nothing waits any more, or is waited for."""
    ended = set(TaskRun.objects.using(alias).filter(state__in=states.READY_STATES).values_list("task_id", flat=True))
    left = set(Node.objects.using(alias).values_list("task_id", flat=True)) - ended
    groups = Group.objects.using(alias).filter(remaining__gt=0)
    return not (left or groups.exists() or Message.objects.using(alias).exists())


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_revoking_a_replaced_task_revokes_steps_that_have_not_run(alias: str, canvas: Any, replacement: Any) -> None:
    worker = WorkerHere(alias)
    canvas(replacement()).delay()
    work_until(worker, "first")
    revoke(["replaced"])
    assert [AsyncResult(i).state for i in ("first", "replaced")] == ["REVOKED"] * 2
    worker.work()
    assert all_ended(alias)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_revoking_a_replaced_task_lets_a_running_step_end(alias: str, canvas: Any, replacement: Any) -> None:
    worker = WorkerHere(alias)
    canvas(replacement()).delay()
    work_until(worker, "first")
    held = worker.take()
    while "first" not in [message.task_id for message in held]:
        settle(worker.token, worker.run(held), alias)
        held = worker.take()
    ends = worker.run(held)
    revoke(["replaced"])
    settle(worker.token, ends, alias)
    worker.work()
    assert [AsyncResult(i).state for i in ("first", "replaced")] == ["SUCCESS", "REVOKED"]
    assert all_ended(alias)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_revoking_a_replaced_task_after_its_end_changes_nothing(alias: str, canvas: Any, replacement: Any) -> None:
    worker = WorkerHere(alias)
    canvas(replacement()).delay()
    worker.work()
    revoke(["replaced"])
    assert set(TaskRun.objects.using(alias).values_list("state", flat=True)) == {"SUCCESS"}


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_unreadable_message_of_a_replacement_fails_the_replaced_task(alias: str, canvas: Any, replacement: Any) -> None:
    worker = WorkerHere(alias)
    canvas(replacement()).delay()
    work_until(worker, "first")
    Message.objects.using(alias).filter(task_id="first").update(body="{")
    worker.work()
    assert [AsyncResult(i).state for i in ("first", "replaced")] == ["FAILURE"] * 2
    assert all_ended(alias)


def test_revoking_a_replaced_task_with_an_ignored_end_changes_nothing(alias: str) -> None:
    replaced(chain(same.si(1), same.si(2).set(ignore_result=True))).clone((0,)).delay()
    WorkerHere(alias).work()
    assert Node.objects.using(alias).get(task_id="replaced").state == "SUCCESS"
    revoke(["replaced"])
    assert AsyncResult("replaced").state == "PENDING"


def test_second_delivery_of_a_replaced_task_leaves_nothing_waiting(alias: str) -> None:
    """What takes its place is sent twice, and its last step keeps no run."""
    result = chord([replaced(chain(same.si(1), boom.si().set(ignore_result=True))).clone((0,))], same.s()).delay()
    (message,) = Message.objects.using(alias)
    message.id = None
    message.save(using=alias, force_insert=True)
    worker = WorkerHere(alias)
    worker.work(3)
    late = worker.run(worker.take())
    worker.work()
    assert result.failed()
    settle(worker.token, late, alias)
    worker.work()
    assert not TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).exists()
    assert not Message.objects.using(alias).exists()


def test_revoking_a_task_to_be_replaced_leaves_its_predecessor(alias: str) -> None:
    worker = WorkerHere(alias)
    result = chain(same.s(1), by_chain(), double.s()).delay()
    revoke(["replaced"])
    worker.work()
    assert [one.state for one in (result.parent.parent, result.parent, result)] == ["SUCCESS", "REVOKED", "REVOKED"]


@pytest.mark.parametrize("canvas", CANVASES)
def test_revoking_a_replaced_task_in_memory_revokes_its_steps(canvas: Any) -> None:
    with override() as memory:
        result = canvas(replaced(chain(same.si(1).set(task_id="first", queue="later"), same.s(2)))).delay()
        memory.drain(queue="taskq")
        AsyncResult("replaced").revoke()
        memory.drain()
        assert [AsyncResult(i).state for i in ("first", "replaced")] == ["REVOKED"] * 2
        assert result.ready()


def test_a_running_task_that_adds_a_member_succeeds_although_it_was_revoked(alias: str) -> None:
    result = chord([brings_along.s(1).set(task_id="brings"), add.si(2, 3)], same.s())()
    worker = WorkerHere(alias)
    held = worker.take()
    assert revoke(["brings"], alias=alias) == 1
    settle(worker.token, worker.run(held), alias)
    assert AsyncResult("brings").state == states.SUCCESS
    worker.work()
    assert result.get(timeout=1) == [[1, 5, 101]]


def test_what_takes_the_place_of_a_task_waits_for_what_that_waited_for(alias: str) -> None:
    worker = WorkerHere(alias)
    result = chain(same.si(0).set(task_id="before", priority=9), by_chain(), same.s(4)).delay()
    work_until(worker, "first")
    assert revoke(["before"]) > 0
    assert [AsyncResult(i).state for i in ("before", "first", "replaced", result.id)] == ["SUCCESS", *["REVOKED"] * 3]
