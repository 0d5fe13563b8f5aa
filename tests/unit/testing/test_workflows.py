"""Chains, groups and chords in memory: the worker's code and the store's rules without a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from taskq import AsyncResult, states
from taskq.canvas.chain import chain
from taskq.canvas.chord import chord
from taskq.canvas.group import group
from taskq.canvas.signature import Signature, signature
from taskq.exceptions import ChordError, NotRegistered, TaskRevokedError, TimeoutError, WorkerLostError
from taskq.results.group_result import GroupResult
from taskq.testing import FOREVER, Memory, override

from . import tasks


@pytest.fixture
def memory() -> Iterator[Memory]:
    tasks.seen.clear()
    with override("memory") as made:
        yield made


def s(name: str, *args: Any) -> Signature[Any]:
    return signature(tasks.NAME + name, args=args)


def header(*more: Any) -> list[Any]:
    return [s("add", 1, 1), s("add", 2, 2), *more]


def all_states(result: GroupResult[Any]) -> list[str]:
    return [one.state for one in result.leaves()]


def test_chain_gives_values_of_all_links(memory: Memory) -> None:
    result = chain(s("add", 1, 1), s("add", 2), s("add", 3)).delay()
    assert len(memory.sent) == 1
    memory.drain()
    assert result.get() == 7
    assert (result.parent.get(), result.parent.parent.get()) == (4, 2)
    assert len(memory.sent) == 3


def test_group_is_waiting_until_drained(memory: Memory) -> None:
    result = group(s("add", n, n) for n in range(10)).delay()
    assert result.waiting()
    with pytest.raises(RuntimeError, match=r"taskq\.testing\.drain\(\)"):
        result.get()
    with pytest.raises(TimeoutError):
        result.get(timeout=1)
    memory.drain()
    assert result.get() == list(result.iterate()) == [n + n for n in range(10)]
    assert result.completed_count() == 10


def test_chord_gives_values_of_body_and_header(memory: Memory) -> None:
    result = chord(header(), s("total")).delay()
    memory.drain()
    assert result.get() == 6
    assert result.parent.get() == [2, 4]


def test_body_gets_values_in_document_order(memory: Memory) -> None:
    result = chord([s("add", 1, 1).set(priority=0), s("add", 2, 2).set(priority=9)], s("same")).delay()
    ended = memory.drain()
    assert [one.state for one in ended] == ["SUCCESS"] * 3
    assert result.get() == [2, 4]


def test_nested_chords_give_their_value(memory: Memory) -> None:
    result = (chord(header(chord(header(), s("total"))), s("total")) | s("add", 5)).delay()
    memory.drain()
    assert result.get() == 17


def test_chord_runs_in_inline_mode() -> None:
    with override("inline"):
        assert (group(header()) | s("total")).delay().get() == 6


@pytest.mark.parametrize(
    ("name", "error"),
    [("fail", ValueError), ("leaves", WorkerLostError), ("nobody", NotRegistered), ("unstorable", Exception)],
)
def test_failed_member_fails_the_body_and_the_next_link(memory: Memory, name: str, error: type[Exception]) -> None:
    result = (chord(header(s(name)), s("total")) | s("add", 1)).delay()
    memory.drain()
    with pytest.raises(ChordError) as caught:
        result.get(follow_parents=False)
    assert isinstance(caught.value.__cause__, error)
    with pytest.raises(error):
        result.get()
    assert result.state == result.parent.state == states.FAILURE
    assert all_states(result.parent.parent) == ["SUCCESS", "SUCCESS", "FAILURE"]


def test_failed_inner_chord_fails_the_outer_body(memory: Memory) -> None:
    result = chord(header(chord(header(s("fail")), s("total"))), s("total")).delay()
    memory.drain()
    with pytest.raises(ChordError) as caught:
        result.get(follow_parents=False)
    assert isinstance(caught.value.__cause__, ChordError)
    assert isinstance(caught.value.__cause__.__cause__, ValueError)
    with pytest.raises(ValueError, match="boom"):
        result.get()


def test_failed_link_fails_the_rest_of_the_chain(memory: Memory) -> None:
    result = chain(s("add", 1, 1), s("boom"), s("add", 1), s("add", 1)).delay()
    memory.drain()
    with pytest.raises(ValueError, match="boom"):
        result.get()
    assert [one.state for one in (result, result.parent, result.parent.parent)] == ["FAILURE"] * 3
    assert result.parent.parent.parent.get() == 2


def test_retried_member_counts_once(memory: Memory) -> None:
    result = chord([s("retry"), s("add", 1, 1)], s("total")).delay()
    memory.drain()
    assert result.state == states.PENDING
    memory.drain(until=FOREVER)
    assert result.get() == 4


def test_body_gets_values_of_members_with_ignored_results(memory: Memory) -> None:
    result = chord([s("ignored"), s("add", 1, 1)], s("total")).delay()
    memory.drain()
    assert result.get() == 3
    assert not result.parent[0].exists()


def test_body_of_an_empty_header_runs(memory: Memory) -> None:
    result = chord([], s("total")).delay()
    memory.drain()
    assert result.get() == 0


@pytest.mark.parametrize("propagate", [True, False])
@pytest.mark.parametrize("mode", ["memory", "inline"])
def test_errback_is_called_with_request_error_and_traceback(mode: str, propagate: bool) -> None:
    tasks.seen.clear()
    canvas = chain(s("add", 1, 1), s("boom"), s("add", 1)).on_error(s("note"))
    with override(mode, propagate=propagate) as memory, suppress(ValueError):
        canvas.delay()
        memory.drain()
    (((request, error, traceback), _),) = tasks.seen
    assert (request.task, request.args, repr(error)) == (tasks.NAME + "boom", [2], "ValueError('boom')")
    assert "ValueError: boom" in traceback


# -- revoked


def test_revoking_the_result_of_a_chain_revokes_all_links(memory: Memory) -> None:
    result = chain(s("add", 1, 1), s("add", 2), s("add", 3)).delay()
    result.revoke()
    assert memory.drain() == []
    assert [one.state for one in (result, *result.ancestors())] == ["REVOKED"] * 3
    with pytest.raises(TaskRevokedError):
        result.get()


def test_revoking_the_result_of_a_chord_revokes_members_and_body(memory: Memory) -> None:
    result = chord(header(), s("total")).delay()
    result.revoke()
    assert memory.drain() == []
    assert result.state == "REVOKED"
    assert all_states(result.parent) == ["REVOKED", "REVOKED"]


def test_revoking_a_group_revokes_its_members(memory: Memory) -> None:
    result = group(header()).delay()
    result.revoke()
    assert memory.drain() == []
    assert all_states(result) == ["REVOKED", "REVOKED"]
    assert result.ready()


def test_revoked_member_fails_the_body(memory: Memory) -> None:
    result = chord(header(), s("total")).delay()
    result.parent[0].revoke()
    memory.drain()
    with pytest.raises(ChordError, match="TaskRevokedError") as caught:
        result.get(follow_parents=False)
    assert isinstance(caught.value.__cause__, TaskRevokedError)
    with pytest.raises(TaskRevokedError):
        result.get()
    assert all_states(result.parent) == ["REVOKED", "SUCCESS"]


# -- what is kept


def test_link_revoked_before_its_member_was_sent_fails_the_body(memory: Memory) -> None:
    result = chord(header(chain(s("add", 1, 1), s("add", 2))), s("xsum")).delay()
    result.parent.results[-1].parent.revoke()
    memory.drain()
    assert all_states(result.parent) == [states.SUCCESS, states.SUCCESS, states.REVOKED]
    assert isinstance(result.result, ChordError)


def test_revoking_an_ended_task_without_a_result_revokes_tasks_behind_it(memory: Memory) -> None:
    later = [s("total").set(queue="later"), s("total").set(queue="later")]
    result = chord([s("add", 1, 1).set(ignore_result=True)], chord(later, s("total"))).delay()
    memory.drain(queue="taskq")
    AsyncResult(memory.sent[0].id).revoke()
    assert [AsyncResult(sent.id).state for sent in memory.sent[1:]] == ["REVOKED"] * 2
    assert result.state == "REVOKED"


def test_sent_group_is_restored_without_save(memory: Memory) -> None:
    result = group(header()).delay()
    memory.drain()
    again = GroupResult.restore(result.id)
    assert again is not None
    assert again.get() == [2, 4]
    assert GroupResult.restore("nothing") is None


@pytest.mark.parametrize("saved", [True, False])
def test_group_with_members_that_end_in_groups_is_restored(memory: Memory, saved: bool) -> None:
    result = group(s("add", 1, 1), s("add", 2, 2) | group(s("add", 1), s("add", 2))).delay()
    memory.drain()
    if saved:
        result.save()
    again = GroupResult.restore(result.id)
    assert again is not None
    assert again.get() == [2, [5, 6]]


def test_saved_group_result_is_restored_and_deleted(memory: Memory) -> None:
    one = tasks.add.delay(1, 1)
    saved = GroupResult[Any]("by-hand", [one, GroupResult("inner", [one])])
    saved.save()
    again = GroupResult.restore("by-hand")
    assert again is not None
    assert again.as_tuple() == saved.as_tuple()
    saved.delete()
    assert GroupResult.restore("by-hand") is None


def test_then_calls_back_when_the_group_ended(memory: Memory) -> None:
    seen: list[Any] = []
    result = group(header()).delay()
    result.then(lambda ended: seen.append(ended.get()))
    AsyncResult[Any]("never").then(seen.append)
    assert seen == []
    memory.drain()
    assert seen == [[2, 4]]


def test_group_can_be_awaited_and_iterated(memory: Memory) -> None:
    import asyncio

    result = group(header()).delay()
    memory.drain()

    async def ask() -> list[Any]:
        assert await result == [2, 4]
        return [value async for value in result]

    assert asyncio.run(ask()) == [2, 4]


def test_collect_leaf_and_graph_of_a_chain(memory: Memory) -> None:
    result = chain(s("add", 1, 1), s("add", 2)).delay()
    memory.drain()
    assert [value for _, value in result.parent.collect()] == [2, 4]
    assert result.parent.get_leaf() == 4
    assert len(result.parent.graph.edges()) == 1
