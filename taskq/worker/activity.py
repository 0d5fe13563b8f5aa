"""``Activity``: a worker's load, how its tasks have ended, and what its slots run. Kept in its row, shown by ``stats``.

The store thread writes it with each heartbeat, the thread of remote control reads it. Arguments and results of tasks
are never a part of it.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

from taskq import clock, states
from taskq.records import Settlement

from . import log_lines
from .loop.consumer import Consumer
from .loop.holdings import Running
from .process.system import resident_kib

#: The bytes that slots have in a worker's row; the slots beyond that are folded.
MOST_BYTES = 8192
#: The bytes that names of tasks have in a fold.
_MOST_FOLDED = 1024
#: How many characters of a task's name are kept.
_MOST_NAME = 200

_WORDS = {
    states.SUCCESS: "succeeded",
    states.FAILURE: "failed",
    states.RETRY: "retried",
    states.REVOKED: "revoked",
    states.REJECTED: "rejected",
    states.IGNORED: "ignored",
}
_ALWAYS = ("succeeded", "failed", "retried", "revoked")
_state = attrgetter("state")

Slot = dict[str, Any]


class Activity:
    """The activity of one worker, from its start on. ``events``: whether events of tasks are on."""

    def __init__(self, consumer: Consumer) -> None:
        self.events = False
        self._consumer = consumer
        #: Settlements that were committed, by state. Only the store thread writes it.
        self._ended: Counter[str] = Counter(dict.fromkeys(_WORDS, 0))

    def start(self, node: object) -> None:
        """Count the tasks that end from now on."""
        log_lines.tasks_settled.subscribe(self._count)
        log_lines.settlement_found.subscribe(self._count_one)

    def stop(self) -> None:
        """Count no more."""
        log_lines.tasks_settled.unsubscribe(self._count)
        log_lines.settlement_found.unsubscribe(self._count_one)

    def _count(self, settlements: Sequence[Settlement]) -> None:
        self._ended.update(map(_state, settlements))

    def _count_one(self, settlement: Settlement) -> None:
        self._count((settlement,))

    def info(self) -> dict[str, Any]:
        """Return what the worker's row says of it now: plain values, of at most some ``MOST_BYTES``."""
        shown, folded = fold(self.slots())
        return {**self.summary(), "slots": shown, **({"folded": folded} if folded else {})}

    def summary(self) -> dict[str, Any]:
        """Return load averages, memory, numbers of ended tasks, and whether events of tasks are on."""
        return {
            "loadavg": load_averages(),
            "memory": self.memory(),
            "processed": self.processed(),
            "events": self.events,
        }

    def memory(self) -> int:
        """Return the resident memory of the worker and of its pool in KiB; what processes share counts for each."""
        pids = {slot.pid for slot in list(self._consumer.pool.slots) if slot.pid}
        return sum(map(resident_kib, {os.getpid(), *pids}))

    def processed(self) -> dict[str, int]:
        """Return how many tasks have ended since the worker's start, in all and by outcome."""
        by_outcome = {word: self._ended[state] for state, word in _WORDS.items()}
        by_outcome = {word: n for word, n in by_outcome.items() if n or word in _ALWAYS}
        return {"total": sum(by_outcome.values()), **by_outcome}

    def slots(self) -> list[Slot]:
        """Return each slot of the pool with its process, and with the task that it runs: since when, in Unix time."""
        pool = self._consumer.pool
        running: list[Running] = []
        with suppress(RuntimeError):  # the loop is too busy to be read: the next heartbeat has another try
            running = self._consumer.holdings.running(pool)
        by_slot = {each.slot: each for each in running}
        idle = [{"slot": s.index, "pid": s.pid} for s in list(pool.slots) if s.index not in by_slot]
        return sorted([*idle, *_busy(by_slot.values())], key=lambda slot: slot["slot"])


def _busy(running: Iterable[Running]) -> Iterator[Slot]:
    now, passed = clock.now(), time.monotonic()
    for each in running:
        yield {
            "slot": each.slot,
            "pid": each.pid,
            "id": each.request.id,
            "name": each.request.name[:_MOST_NAME],
            "since": round(now - (passed - each.since), 3),
        }


def fold(slots: Sequence[Slot], most: int = MOST_BYTES) -> tuple[list[Slot], dict[str, Any]]:
    """Return the slots that fit into ``most`` bytes of JSON, and a summary of the others.

    The slots that have run a task for the longest time come first, idle slots last.

    >>> fold([{"slot": 0, "pid": 7}, {"slot": 1, "pid": 7, "id": "a", "name": "add", "since": 1.0}], most=60)
    ([{'slot': 1, 'pid': 7, 'id': 'a', 'name': 'add', 'since': 1.0}], {'slots': 1, 'running': 0, 'tasks': {}})
    """
    shown: list[Slot] = []
    hidden: list[Slot] = []
    for slot in sorted(slots, key=lambda slot: (slot.get("since", float("inf")), slot["slot"])):
        most -= len(json.dumps(slot)) + 2
        (shown if most >= 0 else hidden).append(slot)
    shown.sort(key=lambda slot: slot["slot"])
    return shown, _summary(hidden) if hidden else {}


def _summary(hidden: Sequence[Slot]) -> dict[str, Any]:
    names = Counter(slot["name"] for slot in hidden if "name" in slot)
    told: dict[str, int] = {}
    room = _MOST_FOLDED
    for name, count in names.most_common():
        room -= len(json.dumps(name)) + 10
        if room < 0:
            break
        told[name] = count
    return {"slots": len(hidden), "running": names.total(), "tasks": told}


def load_averages() -> list[float]:
    """Return the load averages of this machine over 1, 5 and 15 minutes; none where the system has none."""
    try:
        return [round(load, 2) for load in os.getloadavg()]
    except OSError:
        return []
