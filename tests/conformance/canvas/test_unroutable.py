"""Canvases of which some tasks can't be sent, for no queue is bound for them: what depends on these ends at once."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import AsyncResult, chain, chord, group, states
from taskq.canvas.signature import Signature
from taskq.models import Group, Message, Node, TaskRun
from taskq.store import workers
from tests.support.jobs.flows import becomes, boom, brings, same
from tests.support.worker_here import WorkerHere

#: Where no message can go: that is seen when it is stored, or when it is made.
EXCHANGE, QUEUE = {"exchange": "nowhere", "routing_key": "none"}, {"queue": "nowhere"}


def a_chord(where: Any) -> Signature[Any]:
    return chord([same.s(1), same.s("nowhere").set(**where)], same.s(2))


CANVASES = [
    lambda: a_chord(EXCHANGE),
    lambda: a_chord(QUEUE),
    lambda: chord([a_chord(EXCHANGE), chain(same.s(2).set(**EXCHANGE), same.s(3))], chain(same.s(3), same.s(4))),
    lambda: chain(same.s(1), a_chord(EXCHANGE)),
    lambda: group(same.s(1), same.s(2).set(**EXCHANGE)),
]


@pytest.fixture(autouse=True)
def _only_queues_that_are_there(settings: Any) -> None:
    settings.TASKQ_CREATE_MISSING_QUEUES = False


def end_all(alias: str) -> None:
    """Work until nothing is left, and see that all has ended."""
    WorkerHere(alias).work()
    ended = set(TaskRun.objects.using(alias).filter(state__in=states.READY_STATES).values_list("task_id", flat=True))
    assert set(Node.objects.using(alias).values_list("task_id", flat=True)) <= ended
    assert not Group.objects.using(alias).exclude(remaining=0).exists()
    assert not Message.objects.using(alias).exists()


@pytest.mark.parametrize("make", CANVASES)
@pytest.mark.parametrize("failing", [boom.s(), Signature("no.such.task"), chord([boom.s()], same.s())], ids=str)
def test_unroutable_errback_canvas_ends(alias: str, make: Any, failing: Any) -> None:
    errback = make()
    result = errback.freeze()
    failed = failing.clone().on_error(errback).delay()
    end_all(alias)
    assert failed.state == "FAILURE"
    assert result.ready()


@pytest.mark.parametrize("make", CANVASES)
def test_unroutable_errback_canvas_of_a_lost_task_ends(alias: str, make: Any) -> None:
    errback = make()
    result = errback.freeze()
    failed = same.s(1).on_error(errback).delay()
    worker = WorkerHere(alias)
    worker.take()
    Message.objects.using(alias).update(acked=True)
    workers.deregister(worker.token, alias)
    end_all(alias)
    assert failed.state == "FAILURE"
    assert result.ready()


@pytest.mark.parametrize("make", CANVASES)
def test_unroutable_callback_canvas_fails(alias: str, make: Any) -> None:
    callback = make()
    result = callback.freeze()
    first = same.s(0)
    first.link(callback)
    first.delay()
    end_all(alias)
    assert result.failed()


@pytest.mark.parametrize("make", CANVASES)
def test_unroutable_canvas_as_the_next_link_fails(alias: str, make: Any) -> None:
    result = chain(same.s(0), make()).delay()
    end_all(alias)
    assert result.failed()


@pytest.mark.parametrize("make", CANVASES)
def test_unroutable_canvas_as_the_next_link_of_a_member_fails_the_body(alias: str, make: Any) -> None:
    result = chord([chain(same.s(0), make()), same.s(1)], same.s()).delay()
    end_all(alias)
    assert result.failed()


@pytest.mark.parametrize("make", CANVASES)
def test_unroutable_canvas_as_a_body_fails(alias: str, make: Any) -> None:
    result = chord([same.s(0), same.s(1)], make()).delay()
    end_all(alias)
    assert result.failed()


@pytest.mark.parametrize("make", CANVASES)
@pytest.mark.parametrize("taking", ["becomes", "brings"])
def test_unroutable_replacement_or_added_member_fails_the_body(alias: str, make: Any, taking: str) -> None:
    first = {"becomes": becomes, "brings": brings}[taking].s(make())
    result = chord([first, same.s(1)], same.s()).delay()
    end_all(alias)
    assert result.failed()


def test_errback_of_a_task_whose_next_link_is_unroutable_is_called(alias: str) -> None:
    first = same.s(0).on_error(same.si("told").set(task_id="errback"))
    result = chain(first, same.s().set(**EXCHANGE)).delay()
    end_all(alias)
    assert result.failed()
    assert AsyncResult("errback").result == ["told"]


def test_unroutable_errback_without_a_node_leaves_no_run(alias: str) -> None:
    failed = boom.s().on_error(same.si(1).set(task_id="errback", **EXCHANGE)).delay()
    end_all(alias)
    assert failed.failed()
    assert [*TaskRun.objects.using(alias).values_list("task_id", flat=True)] == [failed.id]
