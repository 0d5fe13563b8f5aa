"""Shared rates: a duty of the store thread that reads which limits hold for all workers.

A task whose limit is for all workers may have none now, and costs nothing then. The row of the limit can change at any
time, by a command to another worker or by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from taskq.store import rates

from .watch import Watch


class SharedRates(Watch):
    """Reads the limits of all workers for the tasks in ``defined``, which has their limits in the code.

    ``changed`` is called with a task and its new limit, ``None`` for no limit, but not for limits as in ``defined`` at
    the start. ``poll`` is the seconds after which the rows are read without a notification.
    """

    def __init__(
        self,
        defined: Mapping[str, float | None],
        alias: str,
        changed: Callable[[str, float | None], None],
        *,
        poll: float,
    ) -> None:
        super().__init__(rates.RATES_NAME, poll=poll, idle=not defined)
        self._defined = defined
        self._present = dict(defined)
        self._alias = alias
        self._changed = changed

    def read(self) -> None:
        """Read the limits, and tell which have changed."""
        present = rates.current(self._defined, self._alias)
        before, self._present = self._present, present
        for task, rate in present.items():
            if rate != before[task]:
                self._changed(task, rate)
