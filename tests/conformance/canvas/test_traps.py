"""Traps of other implementations: members that are early, tried again, or fail in a chunk; times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskq import GroupResult, chain, chord, group
from taskq.models import Group, Message, ScheduledMessage, TaskRun
from taskq.store.enqueue import insert_messages
from taskq.store.promote import promote
from taskq.testing import override
from tests.support.jobs.flows import add, same, second_try, total
from tests.support.worker_here import WorkerHere


def test_group_row_counts_all_members_before_the_first_message(alias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A21: whatever is sent of a header, the row that counts it is there, and counts all of it."""
    counts: list[int] = []

    def looked_at(*args: Any) -> None:
        counts.append(Group.objects.using(alias).get().remaining)
        insert_messages(*args)

    monkeypatch.setattr("taskq.store.enqueue.insert_messages", looked_at)
    result = chord((add.s(n, 0) for n in range(600)), total.s()).delay()
    assert set(counts) == {600}
    monkeypatch.undo()
    WorkerHere(alias).work()
    assert result.result == sum(range(600))


def test_large_header_runs_in_inline_mode_as_it_is_sent() -> None:
    with override("inline"):
        assert chord((add.s(n, 0) for n in range(600)), total.s()).delay().get() == sum(range(600))


def test_retried_member_keeps_its_place_and_is_counted_at_its_end(alias: str) -> None:
    """A23: and is counted when it has ended, not before."""
    result = chord([add.s(1, 1), second_try.s(5), second_try.s(6)], same.s()).delay()
    worker = WorkerHere(alias)
    worker.work(3)
    (group_row,) = Group.objects.using(alias).all()
    assert (group_row.remaining, TaskRun.objects.using(alias).filter(state="RETRY").count()) == (2, 2)
    worker.work()
    assert result.result == [[2, 5, 6]]


def test_failed_chunk_fails_alone(alias: str) -> None:
    """A32."""
    result = add.chunks([(1, 1), (2, 2), (3, None), (4, 4), (5, 5)], 2).delay()
    WorkerHere(alias).work()
    assert [part.state for part in result.results] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert [result.results[0].result, result.results[2].result] == [[2, 4], [10]]
    assert isinstance(result.results[1].result, TypeError)


@pytest.mark.parametrize("option", ["countdown", "eta"])
@pytest.mark.parametrize(
    ("canvas", "later", "expected"),
    [
        (chain(same.s(1), same.s(2)), 1, [[1], 2]),
        (group(same.s(1), same.s(2)), 2, [[1], [2]]),
        (chord([same.s(1), same.s(2)], same.s(3)), 2, [[[1], [2]], 3]),
    ],
    ids=["chain", "group", "chord"],
)
def test_countdown_and_eta_of_a_canvas_delay_its_first_tasks_only(
    alias: str, option: str, canvas: Any, later: int, expected: Any
) -> None:
    """A31: what follows is sent at once."""
    when = {"countdown": 3600} if option == "countdown" else {"eta": datetime.now(UTC) + timedelta(hours=1)}
    result = canvas.apply_async(**when)
    assert ScheduledMessage.objects.using(alias).count() == later
    assert not Message.objects.using(alias).exists()
    ScheduledMessage.objects.using(alias).update(due_at=datetime.now(UTC) - timedelta(seconds=9))
    assert len(promote()) == later
    WorkerHere(alias).work()
    assert not ScheduledMessage.objects.using(alias).exists()
    found = [one.result for one in result.results] if isinstance(result, GroupResult) else result.result
    assert found == expected
