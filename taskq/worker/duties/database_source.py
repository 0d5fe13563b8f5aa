"""The database as a source of messages: a duty of the store thread that claims and promotes.

Claims are in batches, one statement a queue, and queues take turns. A queue that gave fewer
messages than were asked for is not read again until the database notifies, or until the next poll.
Of several queues that may have messages without being named, one statement finds those that have some.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from taskq.conf import settings
from taskq.engines import for_alias
from taskq.engines.claim_columns import CLAIMED_SIZE
from taskq.engines.marks import SCHEDULED_NAME, mark
from taskq.messages.parking import home
from taskq.rates import Starts
from taskq.records import Claimed
from taskq.store import large, rates
from taskq.store.authenticity import runnable
from taskq.store.claim import claim, held, newest, with_messages
from taskq.store.parking import parkings
from taskq.store.requeue import requeue
from taskq.worker import log_lines

from .lease import WorkerLease
from .pace import Pace
from .promotion import Promotion
from .queue_front import QueueFront
from .rate_limits import RateLimits
from .store_thread import Duty

#: The pause after a look at all that the worker holds which was slow, as a multiple of its duration.
_PAUSES = 50.0
#: The most messages of a claim.
_MOST_CLAIMED = 10_000
#: Seconds between two looks for parkings, where the database only notifies that something has changed.
_PARKINGS_EVERY = 0.5


class DatabaseSource(Duty):
    """Claims messages for one worker, and promotes due messages. Used on the store thread only.

    ``deliver`` gets the claimed messages, ``redeliver`` those that a worker had before. ``poll`` is the seconds after
    which a queue is read without a notification.
    """

    def __init__(
        self,
        lease: WorkerLease,
        alias: str,
        queues: Sequence[str],
        deliver: Callable[[list[Claimed]], None],
        redeliver: Callable[[list[Claimed]], None],
        *,
        poll: float,
    ) -> None:
        self._lease = lease
        self._alias = alias
        self._deliver = deliver
        self._redeliver = redeliver
        self._poll = poll
        # Set by the loop:
        #: How many unfinished messages the worker should hold, and how many it can run.
        self.target, self.slots = 0, 1
        #: How many of the held messages have ended and wait to be settled.
        self.ended: Callable[[], int] = lambda: 0
        #: Called when a claim got messages: a listener that polls comes back sooner.
        self.mark_useful: Callable[[], None] = lambda: None
        # Which queues are read:
        self._queues = list(queues)
        #: All paused queues of the cluster; and the queues of this worker that are not read because they are paused.
        self._paused: frozenset[str] = frozenset()
        self._suspended: set[str] = set()
        # What is known of each queue. One that is in none of these three sets is taken for empty until a notification
        # names it, or until the next poll:
        #: It had messages when it was looked at, or a notification has named it since. The next claims are from these.
        self._filled: set[str] = set()
        #: It may have messages: no notification has named it, and nobody has looked.
        self._unread = set(queues)
        #: It was empty behind its front (see ``QueueFront``). Before the front there may be messages.
        self._empty_behind_front: set[str] = set()
        self._fronts: dict[str, QueueFront] = {}
        self._next_poll = 0.0
        # How messages are claimed:
        #: Counts the claims: each begins with another queue.
        self._turn = 0
        #: How many messages a claim may take: fewer after large messages that found no room.
        self._claim_size = _MOST_CLAIMED
        #: The bytes of held messages above which no more is claimed.
        self._most_bytes = settings.MAX_PREFETCH_SIZE
        #: Claimed messages that are held back, each with the token of its claim: see ``_without_deferred``.
        self._deferred: list[tuple[str, Claimed]] = []
        #: Whether a claim began, and did not end here: the database may have written this worker's token all the same.
        self._claim_in_doubt = False
        #: Whether there was a claim at all, and when to look for messages that one has left with this worker's token.
        self._has_claimed = False
        self._held_pace = Pace(_PAUSES)
        # Messages that wait elsewhere: in the schedule, and in the parkings of tasks with a rate limit.
        self._schedule = Promotion(alias)
        self.limits = RateLimits()
        #: The tasks whose limit is for all workers, with their limits in the code.
        self.shared: Mapping[str, float | None] = {}
        #: When to look for parkings that hold messages, and when that was done last.
        self._next_parkings, self._parkings_read = 0.0, 0.0
        self._parkings_pace = Pace()
        #: Queues and parkings by the marks that notifications have in place of their names.
        self._marks: dict[str, str] = {}
        self._schedules_mark = mark(SCHEDULED_NAME)
        self._mark_all()

    # -- the duty

    def work(self) -> bool:
        """Promote due messages, claim as many as there is room for; tell whether there may be more."""
        if self._claim_in_doubt or time.monotonic() >= self._next_poll:
            self._begin_poll()
        if self._empty_behind_front:
            self._read_from_start_again()
        if self._deferred:
            self._deliver_deferred()
        room = self._room()
        more = room > 0 and self._lease.is_valid and self._find_filled() and self._claim(room)
        # After the claim, which the first task of a worker waits for.
        if time.monotonic() >= self._next_parkings:
            self._find_parkings()
        # Tasks that are due already come before tasks that become due.
        if promoted := self._schedule.promote():
            self._unread.update(self._queues)
        return promoted or more

    def _begin_poll(self) -> None:
        """Look at everything of which no notification may have told, and requeue messages that nobody knows."""
        in_doubt, self._claim_in_doubt = self._claim_in_doubt, False
        self._next_poll = time.monotonic() + self._poll
        self._unread.update(self._queues)
        self._next_parkings = self._parkings_pace.next_look
        # In case nothing tells of what is scheduled, as behind a proxy that pools transactions.
        self._schedule.look_soon()
        # Last: it may meet a locked row. Before its first claim a worker holds nothing.
        if in_doubt or (self._has_claimed and self._held_pace.is_due):
            self._requeue_unknown()

    def _find_parkings(self) -> None:
        """Find the parkings that hold messages."""
        self._next_parkings = math.inf
        self._parkings_read = time.monotonic()
        self.limits.note_parked(parkings(self._queues, self._alias))
        self._parkings_pace.note(time.monotonic() - self._parkings_read)

    def due(self) -> float | None:
        """Return the seconds to the next poll, or to the next scheduled message."""
        looks = [self._fronts[queue].pace.next_look for queue in self._empty_behind_front]
        if self._room() > 0 and self._lease.is_valid:
            looks.append(self.limits.next_free)
        return min(self._next_poll, self._next_parkings, self._schedule.next_look, *looks) - time.monotonic()

    def on_notification(self, marks: set[str] | None) -> None:
        """Claim from the queues that were marked, or from all of them."""
        if marks is None:
            self._unread.update(self._queues)
            if self.limits.exist:
                soon = max(self._parkings_read + _PARKINGS_EVERY, self._parkings_pace.next_look)
                self._next_parkings = min(self._next_parkings, soon)
        else:
            named = {self._marks[name] for name in marks & self._marks.keys()}
            self._filled.update(named.intersection(self._queues))
            self.limits.note_parked(named.difference(self._queues))
        if marks is None or self._schedules_mark in marks:
            self._schedule.look_soon()

    def _room(self) -> int:
        target = min(self.target, max(1, self._most_bytes // CLAIMED_SIZE))
        room = target - (self._lease.held - self.ended())
        # Few claims of many messages rather than many of few, but no slot is left without a message.
        least = min(math.ceil(target / 4), max(1, target - self.slots + 1))
        return 0 if room < least or self._is_full() else min(room, self._claim_size)

    def _is_full(self) -> bool:
        """Tell whether the large messages that are held take all the room."""
        return self._lease.size >= self._most_bytes

    def _find_filled(self) -> bool:
        """Find out which of the queues that may have messages have some; tell whether any queue has."""
        self._unread -= self._filled
        # A claim behind the front is quicker than a look from the start, if that is slow.
        self._filled |= {
            queue for queue in self._unread & self._fronts.keys() if self._fronts[queue].after() is not None
        }
        self._unread -= self._filled
        if len(self._unread) > 1:
            self._filled |= with_messages(sorted(self._unread), self._alias)
        else:
            # The claim from one queue is as cheap as a look at it.
            self._filled |= self._unread
        self._unread.clear()
        return bool(self._filled) or time.monotonic() >= self.limits.next_free

    def _claim(self, room: int) -> bool:
        """Claim from the queues that have messages and from the parkings of tasks that may start, which take turns."""
        parked = self.limits.ready()
        names = [*self._queues, *parked]
        if not names:
            return False
        order = names[self._turn % len(names) :] + names[: self._turn % len(names)]
        asked = [name for name in order if name in self._filled or name in parked]
        self._turn += 1
        share = math.ceil(room / max(1, len(asked)))
        for name in asked:
            limit = min(share, room)
            if limit <= 0 or self._is_full():
                break
            room -= self._claim_parked(name, limit) if name in parked else self._claim_from(name, limit)
        return room > 0 and bool(self._filled)

    def _claim_from(self, queue: str, limit: int) -> int:
        """Claim up to ``limit`` messages; return how many are held now."""
        claimed, found, at_start = self._claim_behind_front(queue, limit)
        if found < limit:
            self._filled.discard(queue)
            if at_start:
                self._empty_behind_front.discard(queue)
            else:
                self._empty_behind_front.add(queue)
        self._adapt_claim_size(queue, len(claimed), found - len(claimed))
        return self._take(claimed)

    def _claim_parked(self, name: str, limit: int) -> int:
        """Claim from a parking as many messages as may start now, ``limit`` at most; return how many are held now."""
        if (limit := min(limit, self.limits.free(name))) <= 0:
            return 0
        claimed, found, at_start = self._claim_behind_front(name, limit)
        empty = found < limit and len(claimed) == found
        again: float | None = 0.0
        if empty:
            # Behind the front: there may be more before it.
            again = None if at_start else self._fronts[name].pace.next_look
        self.limits.note_claimed(name, len(claimed), again=again)
        if again is None:
            del self._fronts[name]
        for message in claimed:
            message.queue, message.granted = home(message.queue), True
        return self._take(claimed)

    def _claim_behind_front(self, name: str, limit: int) -> tuple[list[Claimed], int, bool]:
        """Claim from a queue or parking; return the messages, how many were found, and whether from the start."""
        front = self._fronts.get(name) or self._new_front(name)
        latest = newest(self._alias) if front.asks_for_newest else None
        after, began = front.after(), time.monotonic()
        take = claim if after is None else partial(claim, after=after)
        self._claim_in_doubt = self._has_claimed = True
        found = take(name, limit, self._lease.token, self._alias)
        seconds = time.monotonic() - began
        room = self._most_bytes - self._lease.size
        claimed = large.keep(found, self._lease.token, room, self._alias, in_rows=True)
        self._claim_in_doubt = False
        # Messages that went back wait again, before the newest.
        passed = latest if len(claimed) == len(found) else None
        front.note(claimed, seconds, after, found_less=len(found) < limit, newest=passed)
        return claimed, len(found), after is None

    def front(self, queue: str) -> Mapping[int, int] | None:
        """Return where the messages begin that still wait in ``queue``: see ``QueueFront.after``."""
        return self._fronts[queue].after() if queue in self._fronts else None

    def _take(self, claimed: list[Claimed]) -> int:
        if not claimed:
            return 0
        self.mark_useful()
        free = self._without_deferred(claimed)
        return len(claimed) - len(free) + self._hand_on(free)

    def _without_deferred(self, claimed: list[Claimed]) -> list[Claimed]:
        """Hold back messages that may still run here under a token that this worker lost, until the old run ends.

        Old and new delivery have the same id.
        """
        free = self._lease.not_held({message.id for message in claimed})
        if len(free) == len(claimed):
            return claimed
        self._deferred += [(self._lease.token, message) for message in claimed if message.id not in free]
        return [message for message in claimed if message.id in free]

    def _adapt_claim_size(self, queue: str, kept: int, requeued: int) -> None:
        """Claim fewer messages of a queue whose large messages found no room, and then slowly more."""
        if requeued:
            self._filled.add(queue)
            self._claim_size = max(1, kept)
        elif self._claim_size < _MOST_CLAIMED:
            self._claim_size *= 2

    def _new_front(self, queue: str) -> QueueFront:
        front = self._fronts[queue] = QueueFront(for_alias(self._alias).keeps_dead_entries)
        return front

    def _read_from_start_again(self) -> None:
        """Read the queues whose start may be looked at again."""
        ready = {queue for queue in self._empty_behind_front if self._fronts[queue].after() is None}
        self._empty_behind_front -= ready
        self._filled |= ready

    def _hand_on(self, claimed: list[Claimed]) -> int:
        if settings.SIGNING:
            # If this fails, the messages are not known here, and are requeued as after a claim without an answer.
            self._claim_in_doubt = True
            claimed = runnable(self._lease.token, claimed, self._alias)
            large.leave(claimed)
            self._claim_in_doubt = False
        self._lease.take([m.id for m in claimed], {m.id: m.size for m in claimed if m.size})
        if again := [message for message in claimed if message.redelivered]:
            self._redeliver(again)
            claimed = [message for message in claimed if not message.redelivered]
        self._deliver(claimed)
        return len(claimed) + len(again)

    def _deliver_deferred(self) -> None:
        """Deliver the messages that were held back and whose old run has ended."""
        ours = [(token, message) for token, message in self._deferred if token == self._lease.token]
        self._deferred = [(token, message) for token, message in ours if self._lease.holds(message.id)]
        if free := [message for _, message in ours if not self._lease.holds(message.id)]:
            self._hand_on(free)

    def _requeue_unknown(self) -> None:
        """Requeue messages that carry this worker's token and that it does not know: nobody else ever would.

        A claim leaves them whose answer was lost with its connection; the database may go on with it for a while.
        No claim or settlement is under way: those run on this thread, and a message is known until it is settled.
        """
        token, began = self._lease.token, time.monotonic()
        unknown = self._lease.not_held(held(token, self._alias)) if token else set()
        self._held_pace.note(time.monotonic() - began)
        if unknown := unknown.difference(message.id for _, message in self._deferred):
            requeue(token, sorted(unknown), self._alias)
            log_lines.messages_unknown(len(unknown))

    # -- which queues

    @property
    def queues(self) -> Collection[str]:
        """The queues that are claimed from: without those that are paused."""
        return self._queues

    def note_parked(self, queue: str, name: str) -> None:
        """Take note that messages of ``queue`` were parked in ``name``, if this reads the queue."""
        if queue in self._queues:
            self.limits.note_parked([name])

    def set_rate(self, task: str, rate: float | None) -> None:
        """Have a task start ``rate`` times a second, or without a limit: in this worker, or in all if it is shared."""
        if rate is None or task not in self.shared:
            self.limits.set(task, rate)
        elif not self.limits.renew(task):
            self.limits.share(task, partial(self._take_starts, task))
        self._mark_all()

    def _take_starts(self, task: str, late: float) -> Starts:
        return rates.take(task, self.shared[task], late, self._alias)

    def _mark_all(self) -> None:
        names = [name for queue in self._queues for name in (queue, *self.limits.names(queue))]
        self._marks = {mark(name): name for name in names}

    def pause(self, queues: frozenset[str]) -> None:
        """Claim from none of ``queues`` until they are named no more."""
        resumed, self._paused = self._suspended - queues, queues
        for queue in queues.intersection(self._queues):
            self.remove(queue)
            self._suspended.add(queue)
        for queue in sorted(resumed):
            self.add(queue)

    def add(self, queue: str) -> None:
        """Start to claim from ``queue``."""
        if queue in self._paused:
            self._suspended.add(queue)
            return
        self._suspended.discard(queue)
        if queue not in self._queues:
            self._queues.append(queue)
            self._mark_all()
            self._next_parkings = 0.0
        self._unread.add(queue)

    def remove(self, queue: str) -> None:
        """Stop claiming from ``queue``."""
        self._suspended.discard(queue)
        if queue in self._queues:
            self._queues.remove(queue)
            self.limits.forget(queue)
            self._mark_all()
        self._filled.discard(queue)
        self._unread.discard(queue)
        self._empty_behind_front.discard(queue)
        self._turn = 0
