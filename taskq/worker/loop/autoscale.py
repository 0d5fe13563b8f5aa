"""Autoscaling: how many slots the pool should have, by how many requests the worker holds. Pure arithmetic.

The consumer holds as many messages as the largest pool could run. While it holds more than the pool has slots, the
pool grows at once; when some slots were not needed for ``keepalive`` seconds, it shrinks, one slot at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .prefetch import PER_CHILD

#: Seconds between two steps down.
STEP = 1.0


def growth(waiting: int, mean: float) -> int:
    """Return how many slots more are worth their start for ``waiting`` tasks, which take ``mean`` seconds each.

    A long task is worth a slot of its own. Short tasks share a slot, as many as a child is handed at a time: they end
    sooner than another process would start.
    """
    return min(waiting, int(waiting * mean / PER_CHILD))


@dataclass(slots=True)
class Autoscaler:
    """The limits of the pool's size, and since when the pool was larger than needed.

    ``most`` and ``least`` are numbers of slots, ``keepalive`` is in seconds. ``resize`` adds slots to the pool, or
    takes some away if its argument is negative.
    """

    most: int
    least: int
    keepalive: float
    resize: Callable[[int], None]
    #: ``time.monotonic()`` when all slots were needed, and of the last step down.
    _needed_at: float = 0.0
    _shrunk_at: float = 0.0

    def step(self, now: float, held: int, slots: int, mean: float) -> None:
        """Resize the pool if it is time: see ``change``."""
        if by := self.change(now, held, slots, mean):
            self.resize(by)

    def change(self, now: float, held: int, slots: int, mean: float) -> int:
        """Return by how many slots the pool should grow now, or shrink if the number is negative.

        ``now`` is ``time.monotonic()``, ``held`` the number of requests that run or wait in this worker, ``slots`` the
        size of the pool, ``mean`` the seconds that tasks take.
        """
        if held >= slots:
            self._needed_at = now
        if slots < self.least:
            return self.least - slots
        if slots >= self.most:
            return self.most - slots or self._step_down(now, slots)
        return min(self.most - slots, growth(held - slots, mean)) if held > slots else self._step_down(now, slots)

    def _step_down(self, now: float, slots: int) -> int:
        waited = now - self._needed_at > self.keepalive and now - self._shrunk_at >= STEP
        if slots <= self.least or not waited:
            return 0
        self._shrunk_at = now
        return -1

    def set_limits(self, most: int | None = None, least: int | None = None) -> None:
        """Change the limits; ``None`` leaves one as it is. Raises ``ValueError`` if they don't go together."""
        new_most = self.most if most is None else most
        new_least = self.least if least is None else max(1, least)
        if not new_least <= new_most:
            raise ValueError(f"max={new_most} is less than min={new_least}")
        self.most, self.least = new_most, new_least

    def info(self, held: int, slots: int) -> dict[str, Any]:
        """Return plain values for the statistics, with the keys that Celery's monitors know."""
        return {"max": self.most, "min": self.least, "current": slots, "qty": held}
