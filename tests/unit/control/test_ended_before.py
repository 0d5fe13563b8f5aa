"""Commands that end tasks, of which the database has told the worker before the command came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskq.control.commands import tasks as commands
from taskq.control.state import WorkerState
from taskq.worker.loop import holdings
from taskq.worker.pools.base import LostChild
from tests.support.fake_pool import Bench, claimed
from tests.unit.worker.loop.short import plain, short_tasks


@pytest.fixture
def state() -> WorkerState:
    """A worker that held a task with a stamp, which was terminated because its message was flagged."""
    bench = Bench(2, short_tasks())
    message = claimed(plain.name, headers={"stamps": {"order": ["7"]}}, task_id="ended")
    bench.consumer.receive([message])
    bench.consumer.revoke({message.id: "SIGTERM"})
    ((delivery, *_),) = [slot.deliveries for slot in bench.pool.slots if slot.deliveries]
    bench.consumer.lost(LostChild([delivery], [], "", killed_for="terminate:SIGTERM"))
    assert bench.settled() == [("ended", "REVOKED")]
    node: Any = SimpleNamespace(consumer=bench.consumer, options=SimpleNamespace(name="w@h"))
    return WorkerState(node)


def ended(state: WorkerState, *, written: bool = True) -> tuple[str, str]:
    """Return what is replied of the task, by its id and by its stamp."""
    by_id = commands.terminate(state, "TERM", ["ended", "other"], written=written)
    by_stamp = commands.revoke_by_stamped_headers(state, {"order": "7"}, terminate=True, written=written)
    return by_id["ok"], by_stamp["ok"].partition("} ")[2]


def test_a_task_that_has_ended_by_it_is_named(state: WorkerState, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ended(state) == ("terminate: ended", "revoked")
    other = commands.terminate(state, "TERM", ["other"], written=True)
    assert other == {"ok": "terminate: tasks unknown"}
    monkeypatch.setattr(holdings, "_LATELY", 0.0)
    assert ended(state) == ("terminate: tasks unknown", "were not terminated")
