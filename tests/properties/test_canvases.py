"""Random canvases give what the reference evaluator says: eagerly, in memory, and from the rows of each database.

On the rows a worker's parts are driven in this process, one message after the other in an order
that hypothesis chooses; messages are delivered twice, and runs are lost before they are settled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connections
from hypothesis import HealthCheck, assume, example, given, note, settings
from hypothesis import strategies as st

from taskq import AsyncResult, chain, states
from taskq.models import Group, Message, Node, TaskRun
from taskq.results.group_result import GroupResult
from taskq.testing import override
from taskq.workflows import large_bodies, rests
from tests.support.audit import audit, times_final
from tests.support.canvases import Canvas, Failed, built, drawn, expected
from tests.support.databases import Database
from tests.support.length import FULL
from tests.support.worker_here import WorkerHere

START = 5


@st.composite
def canvases(draw: st.DrawFn) -> Canvas:
    return drawn(lambda n: draw(st.integers(0, n - 1)))


def form(sig: Any) -> Any:
    """Return a signature as plain data."""
    return json.loads(json.dumps(sig))


def shown(value: Any) -> Any:
    """Return a value of the reference, or of results, in a form that can be compared."""
    if isinstance(value, list):
        return [shown(each) for each in value]
    return f"failed: {value.kind}" if isinstance(value, Failed) else value


def found(result: Any) -> Any:
    """Return what results say, in the form of ``shown``."""
    if isinstance(result, GroupResult):
        return [found(member) for member in result.results]
    assert result.ready(), f"{result.id} is {result.state}"
    return f"failed: {type(result.result).__name__}" if result.failed() else result.result


#: What a group with a nested group's end in it hung on: it was the body of a chord, and something followed it.
GROUPS_IN_A_ROW: Canvas = (
    "chain",
    [
        ("group", [("identity", 8), ("add", 1)]),
        ("group", [("chain", [("add", 1), ("group", [("add", 2), ("mul", 2)])]), ("chord", [], ("identity", 0))]),
        ("group", [("identity", 0), ("add", 2)]),
    ],
)
#: A group of one that is first in its chain is a group, however deep the chain is nested.
FIRST_OF_ONE: Canvas = (
    "chain",
    [("identity", 0), ("chain", [("chain", [("group", [("fail", 6)])]), ("group", [("fail", 7)])])],
)


@given(canvases())
@example(GROUPS_IN_A_ROW)
@example(FIRST_OF_ONE)
def test_eager_canvases_give_the_values_of_the_reference(canvas: Canvas) -> None:
    assert found(built(canvas).apply((START,))) == shown(expected(canvas, START))


@given(canvases())
@example(GROUPS_IN_A_ROW)
@example(FIRST_OF_ONE)
def test_canvases_in_memory_give_the_values_of_the_reference(canvas: Canvas) -> None:
    with override() as memory:
        result = built(canvas).apply_async((START,))
        memory.drain()
        assert found(result) == shown(expected(canvas, START))


@given(st.lists(canvases(), min_size=1, max_size=5))
def test_chain_has_the_form_that_the_operator_gives(steps: list[Canvas]) -> None:
    assume(("group", []) not in steps)
    made = [built(step) for step in steps]
    assert form(chain(*made)) == form(chain(reduce(or_, made)))


# -- on the rows


@pytest.fixture
def audited(clean_database: Database) -> Iterator[Database]:
    with audit(clean_database.alias):
        yield clean_database


# The fixture's database is emptied for each example, here and not by the fixture.
@settings(
    max_examples=300 if FULL else 25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(canvas=canvases(), data=st.data())
def test_canvases_on_rows_give_the_values_of_the_reference_despite_lost_runs(
    audited: Database, canvas: Canvas, data: st.DataObject
) -> None:
    alias = audited.alias
    audited.clear()
    with connections[alias].cursor() as cursor:
        cursor.execute("DELETE FROM test_audit")
    note(f"{canvas}")
    # Long chains travel in parts: here short ones do too. Large bodies have a task of their own: here small ones too.
    with (
        patch.object(rests, "MOST_STEPS", data.draw(st.sampled_from([1, 2, rests.MOST_STEPS]), label="a part")),
        patch.object(large_bodies, "MOST_BYTES", data.draw(st.sampled_from([-1, large_bodies.MOST_BYTES]), label="b")),
    ):
        result = built(canvas).apply_async((START,))
        WorkerHere(alias, lambda n, what: data.draw(st.integers(0, n - 1), label=what)).work()
    assert found(result) == shown(expected(canvas, START))
    assert not Message.objects.using(alias).exists()
    ends = times_final(alias)
    assert set(ends.values()) <= {1}, ends
    assert ends.keys() == set(TaskRun.objects.using(alias).values_list("task_id", flat=True))
    assert not TaskRun.objects.using(alias).exclude(state__in=states.READY_STATES).exists()
    nodes = Counter(Node.objects.using(alias).values_list("task_id", flat=True))
    assert set(nodes) <= ends.keys()
    assert not Group.objects.using(alias).filter(remaining__gt=0).exists()
    # A failed chain keeps its rest for a retry.
    if not TaskRun.objects.using(alias).filter(state=states.FAILURE).exists():
        assert not Group.objects.using(alias).filter(group_id__startswith="rest:", body__isnull=False).exists()
    assert all(AsyncResult(task_id).ready() for task_id in nodes)
