"""Commands that end tasks, of which the database has told the worker before the command came."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from taskq.control.commands import tasks as commands
from taskq.control.state import WorkerState
from taskq.handover import Delivery
from taskq.worker.loop import holdings
from taskq.worker.pools.base import LostChild
from tests.support.fake_pool import Bench, claimed
from tests.unit.worker.loop.short import plain, short_tasks


@pytest.fixture
def bench() -> Bench:
    return Bench(2, short_tasks())


@pytest.fixture
def state(bench: Bench) -> WorkerState:
    node: Any = SimpleNamespace(consumer=bench.consumer, options=SimpleNamespace(name="w@h"))
    return WorkerState(node)


def run_flagged(bench: Bench, flag: str, task_id: str = "ended", stamps: Any = None) -> Delivery:
    """Have a worker run a task whose message is flagged."""
    message = claimed(plain.name, headers={"stamps": stamps or {"order": ["7"]}}, task_id=task_id)
    bench.consumer.receive([message])
    bench.consumer.revoke({message.id: flag})
    ((delivery,),) = [slot.deliveries for slot in bench.pool.slots if slot.deliveries]
    return delivery


def terminate(bench: Bench, **more: Any) -> None:
    """Have a worker run a task, which is terminated because its message is flagged."""
    delivery = run_flagged(bench, "SIGTERM", **more)
    bench.pool.slots[0].deliveries.clear()
    bench.consumer.lost(LostChild([delivery], [], "", killed_for="terminate:SIGTERM"))
    assert bench.settled()[-1][1] == "REVOKED"


def ended(state: WorkerState, *, written: bool = True) -> tuple[str, str]:
    """Return what is replied of the task, by its id and by its stamp."""
    by_id = commands.terminate(state, "TERM", ["ended", "other"], written=written)
    by_stamp = commands.revoke_by_stamped_headers(state, {"order": "7"}, terminate=True, written=written)
    return by_id["ok"], by_stamp["ok"].partition("} ")[2]


UNKNOWN = ("terminate: tasks unknown", "were not terminated")


def test_a_task_that_has_ended_by_it_is_named(
    bench: Bench, state: WorkerState, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminate(bench)
    assert ended(state) == ("terminate: ended", "revoked")
    other = commands.terminate(state, "TERM", ["other"], written=True)
    assert other == {"ok": "terminate: tasks unknown"}
    monkeypatch.setattr(holdings, "_LATELY", 0.0)
    assert ended(state) == UNKNOWN


def test_a_task_that_was_revoked_before_its_start_is_not_named(bench: Bench, state: WorkerState) -> None:
    bench.lease_valid = False
    message = claimed(plain.name, headers={"stamps": {"order": ["7"]}}, task_id="ended")
    bench.consumer.receive([message])
    bench.consumer.revoke({message.id: "SIGTERM"})
    assert bench.settled() == [("ended", "REVOKED")]
    assert ended(state) == UNKNOWN


@pytest.mark.parametrize(("flag", "can_terminate"), [("revoke", True), ("SIGTERM", False)])
def test_a_task_that_ran_to_its_end_is_not_named(
    bench: Bench, state: WorkerState, flag: str, can_terminate: bool
) -> None:
    bench.pool.supports_terminate = can_terminate
    run_flagged(bench, flag)
    bench.end()
    assert bench.settled() == [("ended", "SUCCESS")]
    assert ended(state) == UNKNOWN


def test_what_is_remembered_takes_little_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"order": ["7"], "large": [[] for _ in range(15_000)]}
    for number in range(60):
        terminate(bench, task_id=f"ended-{number}", stamps=many)
    kept = bench.consumer.holdings.lately_terminated()
    assert kept[-1][0] == "ended-59"
    assert 2**19 < sum(len(text) for _, text in kept) <= 2**20
    # What is old goes with the next one.
    monkeypatch.setattr(holdings, "_LATELY", 0.0)
    terminate(bench, task_id="last", stamps=many)
    monkeypatch.setattr(holdings, "_LATELY", 3600.0)
    assert [task_id for task_id, _ in bench.consumer.holdings.lately_terminated()] == ["last"]
