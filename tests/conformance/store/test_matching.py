"""Tasks to revoke are found by name and by stamp: over gaps between ids, and while messages move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from taskq.control import revoking, stamps
from taskq.models import Message, ScheduledMessage
from taskq.store import matching
from taskq.store.enqueue import enqueue
from taskq.store.promote import promote
from tests.support.envelopes import envelope


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_STEP", 2)


def named(alias: str) -> Iterator[list[str]]:
    return revoking.by_name("shop.*", alias)


def found(batches: Iterator[list[str]]) -> set[str]:
    return {task_id for batch in batches for task_id in batch}


def stamped(task_id: str, key: str, value: Any = "7") -> Any:
    return envelope(task_id, headers={"task": "shop.add", "id": task_id, "stamps": {key: [value]}})


def test_all_that_wait_are_scheduled_or_are_held_are_found(alias: str) -> None:
    enqueue([envelope(f"a{n}") for n in range(5)] + [envelope(f"b{n}", delay=600.0) for n in range(5)])
    enqueue([envelope("other", name="crm.add"), envelope("no task", queue="q", name="")])
    Message.objects.using(alias).filter(task_id="a1").update(token="w")
    assert found(named(alias)) == {f"{letter}{n}" for letter in "ab" for n in range(5)}
    assert found(revoking.by_name("shop.ad[!d]", alias)) == set()


def test_gaps_between_ids_cost_no_statements(alias: str) -> None:
    enqueue([envelope(f"a{n}") for n in range(3)])
    Message.objects.using(alias).filter(task_id="a2").update(id=2**40)
    with CaptureQueriesContext(connections[alias]) as statements:
        assert found(named(alias)) == {"a0", "a1", "a2"}
    assert len(statements) < 20


def test_a_table_that_grows_faster_than_it_is_read_is_left_in_the_end(alias: str) -> None:
    enqueue([envelope() for _ in range(3)])
    for steps, _ in enumerate(named(alias)):
        enqueue([envelope() for _ in range(3)])
        assert steps < 50


def test_what_is_promoted_meanwhile_is_found(alias: str) -> None:
    # One before and one after the place that is read.
    enqueue([envelope(f"a{n}", delay=0.001 if n in (0, 5) else 600.0) for n in range(6)])
    batches, got = named(alias), set()  # type: ignore[var-annotated]
    while not promote(alias=alias):
        pass
    for batch in batches:
        got.update(batch)
        promote(alias=alias)
    assert got == {f"a{n}" for n in range(6)}


@pytest.mark.parametrize("delay", [0.0, 600.0])
def test_a_running_task_that_is_retried_meanwhile_is_found(alias: str, delay: float) -> None:
    enqueue([envelope("waits"), envelope("waits too"), envelope("runs")])
    batches = named(alias)
    got = set(next(batches))
    assert "runs" not in got
    # The message of the next attempt takes the place of the message that is held.
    Message.objects.using(alias).filter(task_id="runs").delete()
    enqueue([envelope("runs", delay=delay)])
    assert (ScheduledMessage if delay else Message).objects.using(alias).filter(task_id="runs").exists()
    assert "runs" in got | found(batches)


@pytest.mark.parametrize(
    "key", ["order", 'quo"ted', "back\\slash", "größe", "日本", "new\nline", "100%", "under_score", "\x7f"]
)
def test_stamps_are_found_whatever_their_key(alias: str, key: str) -> None:
    enqueue([stamped("yes", key), stamped("no", key, "8"), stamped("other", "x")])
    enqueue([envelope("later", delay=600.0, headers={"task": "t", "id": "later", "stamps": {key: 7}})])
    assert found(revoking.by_stamps(stamps.wanted({key: "7"}), alias)) == {"yes", "later"}
