"""A worker without processes, on the rows of a database: it claims, runs here, and settles."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from taskq.models import Message
from taskq.records import Claimed, Settlement
from taskq.store import claim, parts, workers
from taskq.store.recover import requeue_held
from taskq.store.settle import settle
from taskq.testing import runner

#: Chooses a number below ``n``; the text says what for.
Choose = Callable[[int, str], int]


def smoothly(n: int, what: str) -> int:
    """Choose so that nothing goes wrong and one message is taken at a time."""
    return 0


class WorkerHere:
    """``choose`` decides how much is taken at a time and what goes wrong, ``luck`` times at most: runs have an end."""

    def __init__(self, alias: str, choose: Choose = smoothly, luck: int = 10) -> None:
        self.alias = alias
        self._choose = choose
        self._luck = luck
        self._names = itertools.count()
        self.begin()

    def begin(self) -> None:
        """Begin as another worker."""
        self.token = workers.register(f"w{next(self._names)}", alias=self.alias)

    def _goes_wrong(self, what: str) -> bool:
        wrong = self._luck > 0 and self._choose(6, what) == 5
        self._luck -= wrong
        return wrong

    def work(self, most: int = 1_000_000) -> None:
        """Work until nothing waits, or ``most`` messages have been taken."""
        while most > 0 and ((held := self.take()) or self.work_off()):
            if not held:
                continue
            most -= len(held)
            self._duplicate(held)
            ends = self.run(held)
            if self._goes_wrong("lost"):
                # It dies before it settles: what it ran runs again.
                self.die()
                continue
            settle(self.token, ends, self.alias)

    def work_off(self) -> bool:
        """Work off parts of follow-ups; tell whether there were any."""
        rows = parts.pending_rows(self.alias)
        for row in rows:
            parts.work_off(row, self.alias)
        return bool(rows)

    def take(self) -> list[Claimed]:
        """Claim some messages."""
        return claim.claim("taskq", 1 + self._choose(4, "claimed"), self.token, self.alias)

    def run(self, held: list[Claimed]) -> list[Settlement]:
        """Run messages and return how they ended, which is not settled yet."""
        return [end for message in held if (end := runner.run(message, _not_asked).settlement) is not None]

    def die(self) -> None:
        """Give back what is held, and begin as another worker."""
        requeue_held(self.token, self.alias)
        self.begin()

    def _duplicate(self, held: list[Claimed]) -> None:
        """Deliver some messages a second time."""
        for message in held:
            if self._goes_wrong("twice"):
                (copy,) = Message.objects.using(self.alias).filter(id=message.id)
                copy.id, copy.token, copy.redelivered = None, "", True
                copy.save(using=self.alias, force_insert=True)


def _not_asked(*_: object) -> None:
    raise AssertionError("no task here reports a state")
