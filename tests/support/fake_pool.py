"""A pool that runs nothing, and claimed messages: a consumer's surroundings without processes or a database."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from taskq.handover import Delivery, Outcome
from taskq.records import Claimed
from taskq.worker import failure_handlers
from taskq.worker.loop.consumer import Consumer
from taskq.worker.loop.prefetch import PrefetchPolicy
from taskq.worker.loop.request import Limits
from taskq.worker.pools.base import Unfinished

_numbers = itertools.count(1)


def claimed(task: str, *, headers: dict[str, Any] | None = None, **changes: Any) -> Claimed:
    """Return a claimed message of a task, with an id of its own."""
    number = next(_numbers)
    all_headers = {"task": task, "id": f"id-{number}", "root_id": f"id-{number}", **(headers or {})}
    values: dict[str, Any] = {
        "id": number, "queue": "taskq", "task_id": all_headers["id"], "headers": json.dumps(all_headers),
        "body": "[[], {}, {}]", "content_type": "application/json", "content_encoding": "utf-8", "properties": "{}",
        "exchange": "", "routing_key": "taskq", "priority": 0, "deliveries": 0, "redelivered": False, "tracked": True,
    }  # fmt: skip
    return Claimed(**{**values, **changes})


@dataclass
class FakeSlot:
    """A place whose first delivery counts as started."""

    index: int
    deliveries: list[Delivery] = field(default_factory=list)
    accepting: bool = True
    busy_since: float | None = None
    pid: int | None = 1

    @property
    def in_flight(self) -> int:
        return len(self.deliveries)

    @property
    def idle(self) -> bool:
        return not self.deliveries

    @property
    def room(self) -> int:
        return 100 - len(self.deliveries)


class FakePool:
    """Keeps what it is handed until a test says how it ends."""

    name = "fake"
    supports_hard_limit = True
    supports_terminate = True
    shares_process = False

    def __init__(self, concurrency: int) -> None:
        self.slots = [FakeSlot(n) for n in range(concurrency)]
        self.concurrency = concurrency
        self.terminated: list[tuple[int, str]] = []
        self.killed = False

    @property
    def handed(self) -> list[list[str]]:
        """The ids of the tasks in each slot."""
        return [[d.task_id for d in slot.deliveries] for slot in self.slots]

    def hand_over(self, slot: FakeSlot, deliveries: Sequence[Delivery]) -> None:
        slot.deliveries += deliveries

    def take_back(self, slot: FakeSlot, limit: int | None = None) -> list[Delivery]:
        taken, slot.deliveries = slot.deliveries[1:], slot.deliveries[:1]
        return taken

    def terminate(self, job: int, signal: str = "SIGTERM") -> bool:
        self.terminated.append((job, signal))
        return self.supports_terminate

    def unfinished(self) -> list[Unfinished]:
        return [Unfinished(d, place == 0) for slot in self.slots for place, d in enumerate(slot.deliveries)]


class Bench:
    """A consumer with a fake pool, and a record of what it had the ledger do."""

    def __init__(self, concurrency: int = 2, policy: PrefetchPolicy | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.targets: list[int] = []
        self.lease_valid = True
        self.pool = FakePool(concurrency)
        self.consumer = Consumer(
            "w@host", policy or PrefetchPolicy(), Limits(), lease_valid=lambda: self.lease_valid, store=self._store,
            retarget=self.targets.append, on_failure=failure_handlers.schedule,
        )  # fmt: skip
        self.consumer.pool = self.pool  # type: ignore[assignment]
        self.consumer.call_later = lambda seconds, call: None

    def _store(self, method: str, *args: Any, **kwargs: Any) -> None:
        self.calls.append((method, args if not kwargs else (*args, kwargs)))

    def asked(self, method: str) -> list[tuple[Any, ...]]:
        """Return the arguments of each call of one of the ledger's methods."""
        self.consumer.post_ends()
        return [args for name, args in self.calls if name == method]

    def settled(self) -> list[tuple[str, str]]:
        """Return the task ids and states that were given to be settled."""
        return [(end.task_id, end.state) for (ends,) in self.asked("add") for end in ends]

    def released(self) -> list[int]:
        """Return the ids of messages that went back."""
        return [number for args in self.asked("requeue") for number in args[0]]

    def answer(self, method: str, held: bool | None) -> None:
        """Answer the last call for a commit before a start; ``None``: the message is locked."""
        then: Callable[[bool | None], None] = self.asked(method)[-1][1]
        then(held)

    def end(self, slot: int = 0, state: str = "SUCCESS", runtime: float = 0.001, **changes: Any) -> None:
        """End what runs in a slot."""
        delivery = self.pool.slots[slot].deliveries.pop(0)
        self.consumer.outcome(Outcome(delivery.job, delivery.task_id, state, "1", runtime=runtime, **changes))
        self.consumer.dispatch()
