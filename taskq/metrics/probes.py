"""Whether a worker lives, and whether it is ready, each with a sentence. HTTP threads ask: nothing here waits."""

from __future__ import annotations

import time
from typing import NamedTuple

from taskq.conf import settings
from taskq.worker.node import WorkerNode

#: Seconds between two turns of the loop that are noted.
BEAT = 1.0
#: A loop without a turn for so many seconds makes no progress; or for half of ``TASKQ_WATCHDOG_TIMEOUT``.
_MOST_SILENT = 15.0


class Answer(NamedTuple):
    """The answer to a probe."""

    good: bool
    sentence: str


class Probes:
    """Looks at one worker. The loop calls ``beat`` every ``BEAT`` seconds, and ``announced`` when it takes tasks."""

    def __init__(self, node: WorkerNode) -> None:
        self._node = node
        self._beaten_at = time.monotonic()
        self._is_announced = self._was_up = False
        self._most_silent = min(_MOST_SILENT, (settings.WATCHDOG_TIMEOUT or 2 * _MOST_SILENT) / 2)

    def beat(self) -> None:
        """Note that the loop has made a turn."""
        self._beaten_at = time.monotonic()

    def announced(self, name: str) -> None:
        """Note that the worker takes tasks from now on."""
        self._is_announced = True

    def live(self) -> Answer:
        """Tell whether the loop makes progress."""
        silent = time.monotonic() - self._beaten_at
        if silent > max(self._most_silent, 2 * BEAT):
            return Answer(False, f"The loop has made no progress for {silent:.0f} s.")
        return Answer(True, "The loop makes progress.")

    def ready(self) -> Answer:
        """Tell whether the worker takes tasks and can run and settle them."""
        why = self._why_not()
        return Answer(not why, why or "The worker takes tasks.")

    def _why_not(self) -> str:
        node = self._node
        if node.consumer.stopping:
            return "The worker is stopping."
        if not self._is_announced:
            return "The worker is starting."
        if not (alive := self.live()).good:
            return alive.sentence
        if node.store.failures:
            return f"The database does not answer: {node.store.failures} attempts have failed."
        if not node.lease.is_valid:
            return "The worker could not renew its lease: the database does not answer, or the store thread hangs."
        if not node.options.queues:
            return "The worker reads no queue."
        return self._why_no_pool()

    def _why_no_pool(self) -> str:
        """Once all children have come up, one of them is enough: others may be replaced at the moment."""
        slots = list(self._node.consumer.pool.slots)
        up = sum(slot.pid is not None for slot in slots)
        self._was_up = self._was_up or up == len(slots) > 0
        return "" if self._was_up and up else f"{up} of {len(slots)} processes of the pool are up."
