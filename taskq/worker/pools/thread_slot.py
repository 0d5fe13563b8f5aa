"""One slot of the threads pool: a thread and the deliveries it has."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from taskq.execution import outcomes
from taskq.handover import Delivery, Outcome

from .base import MAX_IN_FLIGHT, RunFn

logger = logging.getLogger("taskq.worker")


class ThreadSlot:
    """A slot; see ``base.Slot``. ``say(slot, outcome or report)`` is called in the slot's thread.

    The loop's thread calls all methods but those that begin with ``_``.
    """

    def __init__(self, index: int, run: RunFn, say: Callable[..., None]) -> None:
        self.index = index
        self.pid: int | None = os.getpid()
        self.busy_since: float | None = None
        #: Nothing is accepted any more.
        self.closing = False
        self._run = run
        self._say = say
        self._pending: deque[Delivery] = deque()
        # What the two threads share.
        self._condition = threading.Condition(threading.Lock())
        self._waiting: deque[Delivery] = deque()
        self._stopping = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._work, name=f"taskq-{index}", daemon=True)
        self._thread.start()

    @property
    def in_flight(self) -> int:
        """How many deliveries were handed over and have given no outcome."""
        return len(self._pending)

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight."""
        return not self._pending

    @property
    def accepting(self) -> bool:
        """Whether deliveries may be handed over."""
        return self.room > 0

    @property
    def room(self) -> int:
        """How many deliveries may be handed over now."""
        return 0 if self.closing else MAX_IN_FLIGHT - len(self._pending)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Have the thread run these, in this order."""
        if not deliveries:
            return
        if not self._pending:
            self.busy_since = time.monotonic()
        self._pending.extend(deliveries)
        with self._condition:
            self._waiting.extend(deliveries)
            self._condition.notify()

    def take_back(self, limit: int | None = None) -> list[Delivery]:
        """Take back the last deliveries that have not started, at most ``limit``, and return them in order."""
        with self._condition:
            count = len(self._waiting) if limit is None else min(limit, len(self._waiting))
            for _ in range(count):
                self._waiting.pop()
        back = [self._pending.pop() for _ in range(count)]
        if not self._pending:
            self.busy_since = None
        back.reverse()
        return back

    def answered(self) -> None:
        """The delivery at the head has given its outcome."""
        self._pending.popleft()
        self.busy_since = time.monotonic() if self._pending else None

    def remains(self) -> list[tuple[Delivery, bool]]:
        """Return what has given no outcome, each with whether it began."""
        with self._condition:
            started = len(self._pending) - len(self._waiting)
        return [(delivery, number < started) for number, delivery in enumerate(self._pending)]

    def ask_to_stop(self) -> None:
        """End the thread when it has run what it has."""
        with self._condition:
            self._stopping = True
            self._condition.notify()

    def abandon(self) -> None:
        """End the thread after what it runs now; what waits stays in ``remains``."""
        with self._condition:
            self._abandoned = self._stopping = True
            self._condition.notify()

    @property
    def alive(self) -> bool:
        """Whether the thread has not come to its end."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, at most ``timeout`` seconds."""
        self._thread.join(timeout)

    def _work(self) -> None:
        try:
            while (delivery := self._next()) is not None:
                self._say(self, self._perform(delivery))
        finally:
            _close_connections()

    def _next(self) -> Delivery | None:
        with self._condition:
            while not self._waiting and not self._stopping:
                self._condition.wait()
            if self._abandoned or not self._waiting:
                return None
            return self._waiting.popleft()

    def _perform(self, delivery: Delivery) -> Outcome:
        try:
            return self._run(delivery, self._report)
        except BaseException as error:
            logger.exception("Task %s[%s] could not be run.", delivery.name, delivery.task_id)
            return outcomes.crashed(delivery, error)

    def _report(self, report: Any) -> None:
        self._say(self, report)


def _close_connections() -> None:
    """Close the connections to databases that this thread has opened."""
    from django.db import connections

    connections.close_all()
