"""What the probes say of a worker, by what they read of it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings

from taskq.metrics.probes import Probes


def node(**changed: Any) -> Any:
    slots = [SimpleNamespace(pid=1), SimpleNamespace(pid=2)]
    parts = {"failures": 0, "is_valid": True, "queues": ["taskq"], "slots": slots, "stopping": False, **changed}
    return SimpleNamespace(
        consumer=SimpleNamespace(stopping=parts["stopping"], pool=SimpleNamespace(slots=parts["slots"])),
        store=SimpleNamespace(failures=parts["failures"]),
        lease=SimpleNamespace(is_valid=parts["is_valid"]),
        options=SimpleNamespace(queues=parts["queues"]),
    )


def ready(**changed: Any) -> tuple[bool, str]:
    probes = Probes(node(**changed))
    probes.announced("w1")
    return probes.ready()


def test_a_worker_is_ready_once_it_was_announced() -> None:
    probes = Probes(node())
    assert probes.ready() == (False, "The worker is starting.")
    probes.announced("w1")
    assert probes.ready() == (True, "The worker takes tasks.")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stopping": True}, "The worker is stopping."),
        ({"failures": 3}, "The database does not answer: 3 attempts have failed."),
        ({"is_valid": False}, "The worker could not renew its lease"),
        ({"queues": []}, "The worker reads no queue."),
        ({"slots": []}, "0 of 0 processes of the pool are up."),
        ({"slots": [SimpleNamespace(pid=1), SimpleNamespace(pid=None)]}, "1 of 2 processes of the pool are up."),
    ],
)
def test_a_worker_is_not_ready_with_a_reason(changed: dict[str, Any], said: str) -> None:
    good, sentence = ready(**changed)
    assert not good
    assert sentence.startswith(said)


def test_one_child_is_enough_once_all_were_up() -> None:
    worker = node()
    probes = Probes(worker)
    probes.announced("w1")
    assert probes.ready().good
    worker.consumer.pool.slots[0].pid = None
    assert probes.ready().good
    worker.consumer.pool.slots[1].pid = None
    assert probes.ready() == (False, "0 of 2 processes of the pool are up.")


@pytest.mark.parametrize(("watchdog", "limit"), [(60.0, 15), (None, 15), (10.0, 5), (0.1, 2)])
def test_a_loop_without_a_turn_is_not_live(
    watchdog: float | None, limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.monotonic()
    with override_settings(TASKQ_WATCHDOG_TIMEOUT=watchdog):
        probes = Probes(node())
    probes.announced("w1")
    probes.beat()
    monkeypatch.setattr(time, "monotonic", lambda: now + limit - 1)
    assert probes.live() == (True, "The loop makes progress.")
    monkeypatch.setattr(time, "monotonic", lambda: now + limit + 1)
    assert probes.live() == (False, f"The loop has made no progress for {limit + 1:.0f} s.")
    assert not probes.ready().good
    probes.beat()
    assert probes.live().good
