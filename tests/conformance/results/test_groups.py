"""Groups of results on each database: waiting for many at once, and what is kept of a group."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import mail
from django.db import connections

from taskq import group, signature, states
from taskq.engines import for_alias
from taskq.messages.exception_data import encode_exception
from taskq.records import Settlement
from taskq.results import bulk, listener
from taskq.results.async_result import AsyncResult
from taskq.results.group_result import GroupResult
from taskq.store.settle import write_ends


@pytest.fixture(autouse=True)
def _leave_at_once(alias: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    yield
    watch = listener._listeners.get(alias)
    assert watch is None or watch.gone.wait(60)


def end(alias: str, *ids: str, state: str = states.SUCCESS) -> None:
    engine = for_alias(alias)
    boom = encode_exception(ValueError("boom"))
    with engine.atomic():
        write_ends(
            engine,
            [
                Settlement(
                    0, i, state, result=boom if state == states.FAILURE else f'"{i}"', finished=1.0, tracked=False
                )
                for i in ids
            ],
        )


def of(ids: list[str]) -> GroupResult[Any]:
    return GroupResult("g", [AsyncResult(task_id) for task_id in ids])


def ending(alias: str, batches: list[list[str]]) -> threading.Thread:
    """End tasks on a thread, a batch in a transaction, as soon as somebody listens."""

    def run() -> None:
        while not any(watch._listening for watch in list(listener._listeners.values())):
            threading.Event().wait(0.001)
        for batch in batches:
            end(alias, *batch)
        connections[alias].close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_large_group_is_waited_for_while_its_members_end(alias: str) -> None:
    ids = [f"t{number}" for number in range(2500)]
    end(alias, *ids[:100])
    thread = ending(alias, [ids[start : start + 400] for start in range(100, 2500, 400)])
    assert of(ids).get(timeout=60) == ids
    thread.join()
    assert of(ids).successful()


def test_iterate_yields_values_in_order_as_members_end(alias: str) -> None:
    ids = [f"t{number}" for number in range(20)]
    thread = ending(alias, [[task_id] for task_id in reversed(ids)])
    assert list(of(ids).iterate(timeout=60)) == ids
    thread.join()


def test_aiterate_yields_values_as_members_end(alias: str) -> None:
    ids = [f"t{number}" for number in range(20)]

    async def gather() -> list[str]:
        return [value async for value in of(ids).aiterate(timeout=60)]

    thread = ending(alias, [ids])
    assert async_to_sync(gather)() == ids
    thread.join()


def test_rows_of_a_group_share_what_is_alike(alias: str) -> None:
    end(alias, "a", "b")
    results = of(["a", "b"])
    assert results.ready()
    first, second = (leaf._row for leaf in results.leaves())
    assert first is not None
    assert second is not None
    assert (first.state, first.content_type) == ("SUCCESS", "application/json")
    assert first.state is second.state
    assert first.content_type is second.content_type


def test_join_with_a_callback_searches_a_group_for_failures_once(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    first_failed = bulk.first_failed
    monkeypatch.setattr(bulk, "first_failed", lambda leaves: searched.append(1) or first_failed(leaves))
    ids = ["a", "b", "c", "d"]
    called: list[str] = []

    def end_next(task_id: str, value: Any) -> None:
        called.append(task_id)
        if following := ids[len(called) : len(called) + 1]:
            end(alias, *following, state=states.FAILURE if following == ["d"] else states.SUCCESS)

    end(alias, "a")
    with pytest.raises(ValueError, match="boom"):
        of(ids).join(timeout=60, callback=end_next)
    assert called == ["a", "b", "c"]
    # At the beginning and for the error, which the last member may raise by itself; not with each arrival.
    assert len(searched) in (1, 2)


def test_group_result_is_saved_restored_and_deleted(alias: str) -> None:
    result = GroupResult[Any]("G", [GroupResult("ü", [AsyncResult("a")]), AsyncResult("A")], AsyncResult("first"))
    for _ in range(2):
        result.save()
        again = GroupResult.restore("G")
        assert again is not None
        assert again.as_tuple() == result.as_tuple()
    assert GroupResult.restore("g") is None
    result.delete()
    assert GroupResult.restore("G") is None


@pytest.mark.parametrize("saved", [True, False])
def test_sent_group_is_restored_with_all_members(alias: str, saved: bool) -> None:
    task = signature("shop.add")
    for canvas in (group(task, task), group(task, task | group(task, task)), group(task | group(task, task))):
        result = canvas.apply_async()
        if saved:
            result.save()
        for _ in range(2):
            again = GroupResult.restore(result.id)
            assert again is not None
            assert again == result
            assert [type(each) for each in again] == [type(each) for each in result]
            result.delete()


def test_group_with_the_longest_id_is_saved_and_restored(alias: str) -> None:
    result = GroupResult[Any]("g" * 255, [AsyncResult("a")])
    result.save()
    assert GroupResult.restore(result.id) == result
