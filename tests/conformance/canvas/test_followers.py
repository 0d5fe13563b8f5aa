"""Canvases as callbacks and errbacks, and those of other producers, run from the rows of each database."""

from __future__ import annotations

import json
from typing import Any

import pytest
from kombu.utils.json import dumps

from taskq import GroupResult, chain, chord, group
from taskq.canvas.signature import Signature
from taskq.models import Group
from tests.support.jobs.flows import boom, same
from tests.support.worker_here import WorkerHere


def a_chord() -> Signature[Any]:
    return chord([same.s(1), same.s(2)], same.s(3))


def a_chain() -> Signature[Any]:
    return chain(same.s("x"), group(same.s(1), same.s(2)), same.s(3))


def values(result: Any) -> Any:
    """Return the values of results that are there."""
    if isinstance(result, GroupResult):
        return [values(member) for member in result.results]
    assert result.successful(), f"{result.id} is {result.state}"
    return result.result


FOLLOWERS = [
    (a_chord, lambda value: [[[value, 1], [value, 2]], 3]),
    (a_chain, lambda value: [[[[value, "x"], 1], [[value, "x"], 2]], 3]),
    (lambda: group(same.s(1), same.s(2)), lambda value: [[value, 1], [value, 2]]),
]


@pytest.mark.parametrize(("make", "expected"), FOLLOWERS)
def test_frozen_canvas_as_a_callback_runs(alias: str, make: Any, expected: Any) -> None:
    callback = make()
    result = callback.freeze()
    first = same.s(0)
    first.link(callback)
    first.delay()
    WorkerHere(alias).work()
    assert values(result) == expected([0])
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()


@pytest.mark.parametrize(("make", "expected"), FOLLOWERS)
def test_canvas_as_an_errback_runs_with_the_failed_id(alias: str, make: Any, expected: Any) -> None:
    errback = make()
    result = errback.freeze()
    failed = boom.s().on_error(errback).delay()
    WorkerHere(alias).work()
    assert values(result) == expected(failed.id)


@pytest.mark.parametrize(("make", "expected"), FOLLOWERS)
def test_canvas_as_an_errback_of_an_unknown_task_runs(alias: str, make: Any, expected: Any) -> None:
    errback = make()
    result = errback.freeze()
    failed = Signature("no.such.task").on_error(errback).delay()
    WorkerHere(alias).work()
    assert values(result) == expected(failed.id)


@pytest.mark.parametrize(("make", "expected"), FOLLOWERS)
def test_canvas_as_an_errback_of_a_body_runs(alias: str, make: Any, expected: Any) -> None:
    errback = make()
    result = errback.freeze()
    body = chord([boom.s()], same.s().on_error(errback)).delay()
    WorkerHere(alias).work()
    assert values(result) == expected(body.id)


@pytest.mark.parametrize(("make", "expected"), FOLLOWERS)
def test_canvas_in_the_chain_of_a_foreign_message_runs(alias: str, make: Any, expected: Any) -> None:
    """Its message has the ids, and nobody has written rows for it."""
    canvas = make()
    result = canvas.freeze()
    same.s(0).apply_async(chain=[json.loads(dumps(canvas))])
    WorkerHere(alias).work()
    assert values(result) == expected([0])
