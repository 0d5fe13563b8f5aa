"""Kills workers and their children while a test waits, and starts others in their places."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random

from . import trees
from .patience import Patience
from .processes import Process


class Killer:
    """Strikes about every ``interval`` seconds once ``turn`` is called often; ``start`` starts a worker by name.

    It strikes less often where some strikes were in vain: on a machine that is slower or
    busier few workers would come so far as to end anything. ``workers`` is the share of
    strikes that hit a whole worker and not one of its children, ``young`` how likely one is
    hit that has none yet. ``progress`` is for ``Patience``. After ``seconds`` it strikes no
    more: what is left ends in peace, and the test with it, however slow the machine.
    """

    def __init__(
        self,
        start: Callable[[str], Process],
        count: int,
        dice: Random,
        *,
        interval: float,
        seconds: float,
        progress: Callable[[], int],
        workers: float = 0.5,
        young: float = 0.0,
    ) -> None:
        self._start = start
        self._patience = Patience(progress)
        self._young = young
        self._dice = dice
        self._share = workers
        self._started = count
        self._interval = interval
        self._workers = [start(f"w{n}") for n in range(count)]
        self._next = time.monotonic()
        self._end = self._next + seconds
        #: How many strikes hit a worker, and how many a child.
        self.killed = {"workers": 0, "children": 0}

    def turn(self) -> None:
        """Strike if it is time, and replace workers that are gone."""
        if self._next < time.monotonic() < self._end and self._patience.may_strike():
            self._next = time.monotonic() + self._dice.uniform(0.3, 1.7) * self._interval
            self._strike(self._dice.choice(self._workers))
        for place, worker in enumerate(self._workers):
            if not worker.running:
                self._workers[place] = self._start(f"w{self._started}")
                self._started += 1

    def _strike(self, worker: Process) -> None:
        children = trees.pool_children(worker.pid)
        if not children and self._dice.random() >= self._young:
            # It is left to get there.
            return
        self._patience.struck()
        if not self._patience.may_strike():
            self._interval *= 2
        if not children or self._dice.random() < self._share:
            self.killed["workers"] += 1
            worker.kill()
            return
        self.killed["children"] += 1
        with suppress(ProcessLookupError):
            os.kill(self._dice.choice(children), signal.SIGKILL)
