"""The database as a source of messages: a duty of the store thread that claims.

Claims are in batches, one statement a queue, and queues take turns. A queue that gave
less than it was asked for is left alone until the database calls, or for a slow poll.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from taskq.engines.base import SCHEDULED_NAME
from taskq.records import Claimed
from taskq.store.claim import claim, held
from taskq.store.promote import BATCH, next_due, promote
from taskq.store.release import release

from .lease import Lease

logger = logging.getLogger("taskq.worker")
#: Seconds between looks at the schedule when nothing is known to be due.
_SCHEDULE_POLL = 30.0
#: Seconds before another look at a schedule whose due messages somebody else has locked.
_CONTENDED = 0.05
#: Seconds for which a database may go on with a statement whose connection broke.
_DOUBTFUL = 300.0


class DatabaseSource:
    """Claims for one worker, and promotes what is due. Its methods are called on the store thread."""

    def __init__(
        self,
        lease: Lease,
        alias: str,
        queues: Sequence[str],
        deliver: Callable[[list[Claimed]], None],
        *,
        poll: float,
    ) -> None:
        self._lease = lease
        self._alias = alias
        self._queues = list(queues)
        self._deliver = deliver
        self._poll = poll
        self._worth_a_look = set(queues)
        #: Claimed, and not handed on yet, with the token under which that was.
        self._aside: list[tuple[str, Claimed]] = []
        self._turn = 0
        self._next_poll = 0.0
        self._next_due = 0.0
        #: A claim was begun, and it is not known what became of it; until then it may still be committed.
        self._claiming = False
        self._doubtful_until = 0.0
        #: How many unfinished messages the worker should hold; the loop sets it.
        self.target = 0
        #: How many of those that are held have ended and only wait to be settled; the loop sets it.
        self.ended: Callable[[], int] = lambda: 0
        #: Called when a look found something: a listener that polls comes back sooner.
        self.found: Callable[[], None] = lambda: None

    # -- the duty

    def work(self) -> bool:
        """Promote what is due and claim what there is room for; tell whether there may be more."""
        if self._claiming:
            self._doubtful_until = time.monotonic() + _DOUBTFUL
            self._give_back_strays()
        if time.monotonic() >= self._next_poll:
            self._next_poll = time.monotonic() + self._poll
            if time.monotonic() < self._doubtful_until:
                self._give_back_strays()
            self._worth_a_look.update(self._queues)
        if self._aside:
            self._look_aside()
        room = self._room()
        more = room > 0 and bool(self._worth_a_look) and self._lease.surely_ours and self._claim(room)
        # After the claim: who waits for a task that is due now comes first.
        return self._promote() or more

    @property
    def done(self) -> bool:
        """Nothing here must be written before the end."""
        return True

    def due(self) -> float | None:
        """Return the seconds to the next poll, or to what is due next."""
        return min(self._next_poll, self._next_due) - time.monotonic()

    def news(self, names: set[str] | None) -> None:
        """Look at the queues that were named, or at all of them."""
        self._worth_a_look |= set(self._queues) if names is None else names.intersection(self._queues)
        if names is None or SCHEDULED_NAME in names:
            self._next_due = 0.0

    def _room(self) -> int:
        room = self.target - (self._lease.held - self.ended())
        # Few large claims rather than many small ones.
        return room if room * 4 >= self.target else 0

    def _claim(self, room: int) -> bool:
        order = self._queues[self._turn :] + self._queues[: self._turn]
        asked = [queue for queue in order if queue in self._worth_a_look]
        self._turn = (self._turn + 1) % len(self._queues)
        share = -(-room // len(asked))
        for queue in asked:
            limit = min(share, room)
            if limit <= 0:
                break
            room -= self._claim_from(queue, limit)
        return room > 0 and bool(self._worth_a_look)

    def _claim_from(self, queue: str, limit: int) -> int:
        self._claiming = True
        claimed = claim(queue, limit, self._lease.token, self._alias)
        self._claiming = False
        if len(claimed) < limit:
            self._worth_a_look.discard(queue)
        if claimed:
            # What still runs here from before a lease that was lost waits for that run's end: by its id
            # alone the one could not be told from the other.
            self._aside += [(self._lease.token, m) for m in claimed if self._lease.knows(m.id)]
            self._hand_on([message for message in claimed if not self._lease.knows(message.id)])
            self.found()
        return len(claimed)

    def _hand_on(self, claimed: list[Claimed]) -> None:
        self._lease.take([message.id for message in claimed])
        self._deliver(claimed)

    def _look_aside(self) -> None:
        """Hand on what was set aside and has nobody in its way any more."""
        ours = [(token, message) for token, message in self._aside if token == self._lease.token]
        self._aside = [(token, message) for token, message in ours if self._lease.knows(message.id)]
        if free := [message for _, message in ours if not self._lease.knows(message.id)]:
            self._hand_on(free)

    def _give_back_strays(self) -> None:
        """Give back what a claim took whose answer was lost with its connection: nobody else would."""
        token = self._lease.token
        if token and (strays := self._lease.unknown(held(token, self._alias))):
            release(token, sorted(strays), self._alias)
            self._worth_a_look.update(self._queues)
            logger.warning("A claim was cut off; %s messages that it took went back.", len(strays))
        self._claiming = False

    def _promote(self) -> bool:
        if time.monotonic() < self._next_due:
            return False
        seconds = next_due(self._alias)
        if seconds is None or seconds > 0:
            self._next_due = time.monotonic() + min(seconds or _SCHEDULE_POLL, _SCHEDULE_POLL)
            return False
        if not promote(BATCH, self._alias):
            # Another worker was quicker, or holds it.
            self._next_due = time.monotonic() + _CONTENDED
            return False
        self._worth_a_look.update(self._queues)
        return True

    # -- which queues

    def add(self, queue: str) -> None:
        """Claim from ``queue`` too, from now on."""
        if queue not in self._queues:
            self._queues.append(queue)
        self._worth_a_look.add(queue)

    def remove(self, queue: str) -> None:
        """Claim from ``queue`` no more."""
        if queue in self._queues:
            self._queues.remove(queue)
        self._worth_a_look.discard(queue)
        self._turn = 0
