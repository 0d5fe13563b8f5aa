from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import states
from taskq.worker import log_lines
from taskq.worker.activity import MOST_BYTES, Activity, fold
from taskq.worker.loop.holdings import Running


def slot(number: int, since: float | None = None, name: str = "shop.tasks.fetch") -> dict[str, Any]:
    idle = {"slot": number, "pid": 4711}
    return idle if since is None else {**idle, "id": f"{number:036}", "name": name, "since": since}


def settlements(*ended: str) -> list[Any]:
    return [SimpleNamespace(state=state) for state in ended]


class Pool:
    """A pool and the holdings of its consumer, with two slots of which the second runs a task."""

    slots = (SimpleNamespace(index=0, pid=10), SimpleNamespace(index=1, pid=11))
    busy = True

    def running(self, pool: Any) -> list[Running]:
        if not self.busy:
            raise RuntimeError("dictionary changed size during iteration")
        request: Any = SimpleNamespace(id="x", name="n" * 300)
        return [Running(request, 0.0, 11, 1)]


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def activity(pool: Pool) -> Iterator[Activity]:
    consumer: Any = SimpleNamespace(pool=pool, holdings=pool)
    activity = Activity(consumer)
    activity.start(None)
    yield activity
    activity.stop()


def test_ends_are_counted_by_outcome(activity: Activity) -> None:
    assert activity.processed() == {"total": 0, "succeeded": 0, "failed": 0, "retried": 0, "revoked": 0}
    log_lines.tasks_settled(settlements(states.SUCCESS, states.SUCCESS, states.FAILURE, states.RETRY))
    log_lines.tasks_settled(settlements(states.REVOKED, states.IGNORED, states.REJECTED))
    (found,) = settlements(states.SUCCESS)
    found.name, found.task_id = "n", "x"
    log_lines.settlement_found(found)
    assert activity.processed() == {
        "total": 8, "succeeded": 3, "failed": 1, "retried": 1, "revoked": 1, "rejected": 1, "ignored": 1,
    }  # fmt: skip
    activity.stop()
    log_lines.tasks_settled(settlements(states.SUCCESS))
    assert activity.processed()["total"] == 8


def test_slots_are_told_with_what_they_run(activity: Activity, pool: Pool) -> None:
    idle, busy = activity.slots()
    assert idle == {"slot": 0, "pid": 10}
    assert (busy["slot"], busy["pid"], busy["id"], busy["name"]) == (1, 11, "x", "n" * 200)
    assert json.loads(json.dumps(activity.info())) == activity.info()
    pool.busy = False  # the loop changes what is read all the time
    assert activity.slots() == [{"slot": 0, "pid": 10}, {"slot": 1, "pid": 11}]


@pytest.mark.parametrize("name", ["a", "n" * 200, "\U0001f600" * 200])
def test_a_thousand_slots_fit_into_the_row(name: str) -> None:
    shown, folded = fold([slot(n, float(1000 - n), name) for n in range(900)] + [slot(n) for n in range(900, 1000)])
    assert len(json.dumps(shown)) <= MOST_BYTES
    assert len(json.dumps(folded)) < 1200
    assert len(shown) + folded["slots"] == 1000
    assert folded["running"] == 900 - len(shown)
    # The longest come first, and stand in the order of the slots.
    assert [each["slot"] for each in shown] == list(range(900 - len(shown), 900))


def test_few_slots_are_not_folded() -> None:
    slots = [slot(0), slot(1, 5.0), slot(2)]
    assert fold(slots) == (slots, {})
    assert fold([]) == ([], {})


def test_a_fold_names_the_most_frequent_tasks() -> None:
    many = [slot(n, 1.0, f"task{n % 300}" if n % 2 else "frequent") for n in range(2000)]
    _, folded = fold(many, most=0)
    assert folded["slots"] == folded["running"] == 2000
    assert next(iter(folded["tasks"].items())) == ("frequent", 1000)
