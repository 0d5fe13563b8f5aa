"""The lease: under which tokens this worker holds which messages, and its heartbeat.

A duty of the store thread. The worker's row is the lease of all it holds; one small
update a beat renews it. A worker that finds its row gone was taken for dead: it
goes on under a new token, and what it held under the old one settles nothing.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from taskq.engines import for_alias
from taskq.processes import host_identity, is_gone, process_started
from taskq.store import claim, workers
from taskq.store.recover import give_back, recover
from taskq.store.revoke import REVOKED_NAME

logger = logging.getLogger("taskq.worker")
#: How often the lease is renewed in the time that it lasts.
BEATS_A_LEASE = 4
#: Seconds between looks for what was revoked, where the database only says that something has changed.
_LOOK_AGAIN = 1.0


@dataclass(slots=True)
class Seen:
    """When this worker, by its own monotonic clock, last saw another one beat."""

    beats: int
    at: float


@dataclass(slots=True)
class Lease:
    """One worker's token and what it holds. Used on the store thread only."""

    name: str
    seconds: float
    alias: str
    info: Callable[[], dict[str, Any]]
    on_revoked: Callable[[dict[int, str]], None]
    on_lost: Callable[[set[int]], None]
    token: str = ""
    state: str = "running"
    _holders: dict[int, str] = field(default_factory=dict)
    _seen: dict[str, Seen] = field(default_factory=dict)
    _next_beat: float = 0.0
    _beaten_at: float = 0.0
    _looked_at: float = 0.0
    #: When to look next for what was revoked, and when that was done last.
    _revoked_due: float = math.inf
    _revoked_seen: float = 0.0

    # -- what is held

    @property
    def held(self) -> int:
        """How many messages this worker holds."""
        return len(self._holders)

    def take(self, message_ids: list[int]) -> None:
        """Note messages that were claimed under the present token."""
        self._holders.update(dict.fromkeys(message_ids, self.token))

    def drop(self, message_id: int) -> None:
        """Forget a message that is settled or given back."""
        self._holders.pop(message_id, None)

    def holder(self, message_id: int) -> str:
        """Return the token under which a message was claimed."""
        return self._holders.get(message_id, self.token)

    def knows(self, message_id: int) -> bool:
        """Tell whether this worker has a message of this id in hand: under the present token, or one that it lost."""
        return message_id in self._holders

    def unknown(self, message_ids: set[int]) -> set[int]:
        """Return those of ``message_ids`` of which this worker does not know that it holds them."""
        return message_ids - self._holders.keys()

    # -- the duty

    def work(self) -> bool:
        """Beat when it is time, and see who else does."""
        if time.monotonic() >= self._next_beat:
            self.beat()
            self._look_for_the_dead()
            self._revoked_due = 0.0
        if time.monotonic() >= self._revoked_due:
            self._look_for_the_revoked()
        return False

    def _look_for_the_revoked(self) -> None:
        if self._holders and (revoked := claim.asked_to_stop(self.token, self.alias)):
            self.on_revoked(revoked)
        self._revoked_due, self._revoked_seen = math.inf, time.monotonic()

    @property
    def done(self) -> bool:
        """Nothing here must be written before the end."""
        return True

    def due(self) -> float | None:
        """Return the seconds to the next beat, or the next look for what was revoked."""
        return min(self._next_beat, self._revoked_due) - time.monotonic()

    def news(self, names: set[str] | None) -> None:
        """Look for what was revoked when the database says that something was, soon when it does not say what was."""
        if names is None:
            self._revoked_due = min(self._revoked_due, self._revoked_seen + _LOOK_AGAIN)
        elif REVOKED_NAME in names:
            self._revoked_due = 0.0

    @property
    def surely_ours(self) -> bool:
        """Whether the lease was renewed so lately that nobody can have taken it."""
        return bool(self.token) and time.monotonic() - self._beaten_at < self.seconds * 0.8

    def beat(self) -> None:
        """Renew the lease, or begin a new one if there is none."""
        before = time.monotonic()
        if self.token and not workers.beat(self.token, state=self.state, alias=self.alias):
            self._begin_anew()
        if not self.token:
            self._register()
        # Counted from before the statement: others count from when they see it.
        self._beaten_at = before
        self._next_beat = before + self.seconds / BEATS_A_LEASE

    def leave(self) -> None:
        """Give up the lease and all that is held."""
        if self.token:
            workers.leave(self.token, self.alias)
            self.token = ""

    def _register(self) -> None:
        self.token = workers.register(
            self.name,
            host=host_identity(),
            pid=os.getpid(),
            process_started=process_started(os.getpid()) or 0,
            lease=self.seconds,
            info=self.info(),
            state=self.state,
            alias=self.alias,
        )

    def _begin_anew(self) -> None:
        lost, self.token = self.token, ""
        logger.warning("%s was taken for dead by another worker and begins a new lease.", self.name)
        # Told first: should the database fail now, housekeeping finds what is left, but nobody would tell.
        self.on_lost({message_id for message_id, token in self._holders.items() if token == lost})
        with for_alias(self.alias).atomic():
            give_back(lost, self.alias)  # what a claim that was under way took after all

    # -- others

    def look_anew(self) -> None:
        """Forget what was seen of others: the database was away, and who comes back to it first sees nobody's beat."""
        self._seen.clear()

    def _look_for_the_dead(self) -> None:
        now = time.monotonic()
        if now - self._looked_at > self.seconds:
            # Nobody was looked at for so long (the database was away, or this worker was
            # frozen): nobody else may have been able to beat either.
            self._seen.clear()
        self._looked_at = now
        others = workers.others(self.token, self.alias)
        self._look_for_its_name([other for other in others if other.token not in self._seen])
        self._seen = {o.token: self._seen.get(o.token) or Seen(o.beats, now) for o in others}
        for other in others:
            seen = self._seen[other.token]
            if other.beats != seen.beats:
                self._seen[other.token] = Seen(other.beats, now)
            elif now - seen.at > other.lease or _is_gone(other):
                self._recover(other)

    def _look_for_its_name(self, others: list[workers.Beat]) -> None:
        for other in others:
            # On another host it may be what a container has left behind that had this name.
            if other.name == self.name and other.host == host_identity() and not _is_gone(other):
                logger.warning("The worker with pid %s is named %s too: see the option -n.", other.pid, self.name)

    def _recover(self, other: workers.Beat) -> None:
        count = recover(other.token, other.beats, self.alias)
        if count is not None:
            logger.warning("%s (pid %s) is dead; %s messages that it held went back.", other.name, other.pid, count)


def _is_gone(other: workers.Beat) -> bool:
    """Tell whether a worker ran on this host and its process is there no more."""
    return bool(other.host) and other.host == host_identity() and is_gone(other.pid, other.process_started)
