"""The lease: a worker's heartbeat, its token, and the messages that it holds.

A duty of the store thread. The worker's row is the lease of all its messages; one small
update a heartbeat renews it. If a peer took the worker for dead, its row is gone: the
worker goes on under a new token, and messages of the old token are not settled by it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

from taskq import clock, signals
from taskq.engines import for_alias
from taskq.engines.marks import mark
from taskq.processes import host_identity, process_started
from taskq.records import Settlement
from taskq.store import claim, peers, workers
from taskq.store.recover import recover, requeue_free, requeue_held
from taskq.store.revoke import REVOKED_NAME
from taskq.worker import log_lines

from .pace import Pace
from .patience import Patience
from .store_thread import Duty

#: How many heartbeats there are in the time that a lease lasts. A lease outlives 20 s of a lock on its row.
BEATS_A_LEASE = 8
#: Seconds until the next heartbeat after the worker's row was locked.
_LOCKED = 0.25
#: Seconds between two reads of revocations, where the database only notifies that something has changed.
_REVOCATIONS_EVERY = 1.0
NO_SIZES: Mapping[int, int] = {}


@dataclass(slots=True, eq=False)
class WorkerLease(Duty):
    """One worker's token and the messages that it holds. Used on the store thread only.

    ``seconds`` is how long the lease lasts without a heartbeat. ``on_revoked`` gets the flags of revoked messages by
    their ids, ``on_lost`` the ids of the messages that this worker held when a peer took it for dead. While
    ``loop_hangs()`` is true the lease is not renewed, so that peers recover the messages.
    """

    name: str
    seconds: float
    alias: str
    info: Callable[[], dict[str, Any]]
    on_revoked: Callable[[dict[int, str]], None]
    on_lost: Callable[[set[int]], None]
    loop_hangs: Callable[[], bool] = lambda: False
    token: str = ""
    state: str = "running"
    #: The token under which each message was claimed.
    _holders: dict[int, str] = field(default_factory=dict)
    _sizes: dict[int, int] = field(default_factory=dict)
    #: Tokens of dead peers, or lost by this worker, whose locked messages are still to be requeued.
    _leftover_tokens: set[str] = field(default_factory=set)
    #: When to try these again: each try may wait for a lock, and everything else would wait with every heartbeat.
    _leftover_pace: Pace = field(default_factory=lambda: Pace(pauses=4.0))
    patience: Patience | None = None
    _watch: peers.PeerWatch = field(init=False)
    _next_beat: float = 0.0
    _beaten_at: float = 0.0
    #: When to read the revocations next, and when they were read last.
    _revocations_due: float = math.inf
    _revocations_read: float = 0.0

    def __post_init__(self) -> None:
        self._watch = peers.PeerWatch(self.seconds)

    # -- what is held

    @property
    def held(self) -> int:
        """How many messages this worker holds."""
        return len(self._holders)

    @property
    def size(self) -> int:
        """The bytes of the large messages that this worker holds."""
        return sum(self._sizes.values()) if self._sizes else 0

    def take(self, message_ids: list[int], sizes: Mapping[int, int] = NO_SIZES) -> None:
        """Note messages that were claimed under the present token, with the sizes of large messages."""
        self._holders.update(dict.fromkeys(message_ids, self.token))
        self._sizes.update(sizes)

    def drop(self, *message_ids: int) -> None:
        """Forget messages that are settled or requeued."""
        for message_id in message_ids:
            self._holders.pop(message_id, None)
        if self._sizes:
            for message_id in message_ids:
                self._sizes.pop(message_id, None)

    def holder(self, message_id: int) -> str:
        """Return the token under which a message was claimed."""
        return self._holders.get(message_id, self.token)

    def by_token(self, batch: Sequence[Settlement]) -> list[tuple[str, Sequence[Settlement]]]:
        """Return a batch in parts, each with the token of its messages. There is one, unless a lease was lost."""
        get, token = self._holders.get, self.token
        tokens = [get(settlement.message_id, token) for settlement in batch]
        if len(set(tokens)) == 1:
            return [(tokens[0], batch)]
        paired = groupby(zip(tokens, batch, strict=True), itemgetter(0))
        return [(token, [settlement for _, settlement in part]) for token, part in paired]

    def holds(self, message_id: int) -> bool:
        """Tell whether this worker has the message in hand, under its present token or a token that it lost."""
        return message_id in self._holders

    def not_held(self, message_ids: set[int]) -> set[int]:
        """Return those of ``message_ids`` that this worker does not have in hand."""
        return message_ids - self._holders.keys()

    # -- the duty

    def work(self) -> bool:
        """Renew the lease and look at the peers when it is time; read revocations when there may be some."""
        if time.monotonic() >= self._next_beat:
            self._beat()
            self._recover_dead_peers()
            self._revocations_due = 0.0
        if time.monotonic() >= self._revocations_due:
            self._check_revocations()
        return False

    def _beat(self) -> None:
        """Renew the lease. If the worker's row is locked, everything else goes on while the lease is valid."""
        if self.loop_hangs():
            self._next_beat = time.monotonic() + self.seconds / BEATS_A_LEASE
            return
        try:
            self.heartbeat()
        except Exception as error:
            if not self.token or not self._gave_up(error):
                raise
            self._next_beat = time.monotonic() + _LOCKED

    def _gave_up(self, error: Exception) -> bool:
        return self.patience is not None and self.patience.met_lock(error)

    def _check_revocations(self) -> None:
        if self._holders and (revoked := self._revoked()):
            self.on_revoked(revoked)
        self._revocations_due, self._revocations_read = math.inf, time.monotonic()

    def _revoked(self) -> dict[int, str]:
        return claim.revoke_requests(self.token, self._holders.keys(), self.alias)

    def due(self) -> float | None:
        """Return the seconds to the next heartbeat, or to the next read of revocations."""
        return min(self._next_beat, self._revocations_due) - time.monotonic()

    def on_notification(self, marks: set[str] | None) -> None:
        """Read revocations at once if the notification names them, soon if it names nothing."""
        if marks is None:
            self._revocations_due = min(self._revocations_due, self._revocations_read + _REVOCATIONS_EVERY)
        elif mark(REVOKED_NAME) in marks:
            self._revocations_due = 0.0

    @property
    def is_valid(self) -> bool:
        """Whether the lease was renewed so lately that no peer can have taken this worker for dead."""
        return bool(self.token) and time.monotonic() - self._beaten_at < self.seconds * 0.8

    def heartbeat(self) -> None:
        """Renew the lease, or register the worker if it has none."""
        before = time.monotonic()
        if self.token and not workers.heartbeat(self.token, state=self.state, info=self.info(), alias=self.alias):
            self._lose()
        if not self.token:
            self._register()
        for_alias(self.alias).measure_clock()
        # From before the statement: peers count from when they see the heartbeat, which is later.
        self._beaten_at = before
        self._next_beat = before + self.seconds / BEATS_A_LEASE
        signals.send(signals.heartbeat_sent, self)

    def write_info(self) -> None:
        """Write the worker's ``info``, which has changed, with a heartbeat that comes now."""
        self._next_beat = 0.0

    def deregister(self) -> None:
        """Give up the lease and requeue the messages that are still held."""
        if self.token:
            workers.deregister(self.token, self.alias)
            self.token = ""
            clock.use(None)

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

    def _lose(self) -> None:
        lost, self.token = self.token, ""
        log_lines.lease_lost(self.name)
        # Before the database, which may fail now: maintenance would requeue the messages, but nobody tell the consumer.
        self.on_lost({message_id for message_id, token in self._holders.items() if token == lost})
        try:
            with for_alias(self.alias).atomic():
                requeue_held(lost, self.alias)  # the messages of a claim that was under way when the row was deleted
        except Exception as error:
            if not self._gave_up(error):
                raise
            self._leftover_tokens.add(lost)

    # -- peers

    def reset_peers(self) -> None:
        """Start to watch the peers again: the database was away, no peer could renew its lease."""
        self._watch.reset_peers()

    def _recover_dead_peers(self) -> None:
        present = workers.peers(self.token, self.alias)
        self._warn_of_namesakes(self._watch.unseen(present))
        for peer in self._watch.dead(present):
            self._recover(peer)
        self._requeue_leftover()

    def _recover(self, peer: workers.PeerStatus) -> None:
        try:
            count = recover(peer.token, peer.beats, self.alias)
        except Exception as error:
            # The row of the peer is locked.
            if not self._gave_up(error):
                raise
            return
        if count is not None:
            log_lines.peer_recovered(peer.name, peer.pid, count)
            self._leftover_tokens.add(peer.token)

    def _requeue_leftover(self) -> None:
        if not self._leftover_pace.is_due:
            return
        began = time.monotonic()
        for token in list(self._leftover_tokens):
            requeue_free(token, self.alias)
            if not claim.held(token, self.alias):
                self._leftover_tokens.discard(token)
        self._leftover_pace.note(time.monotonic() - began)

    def _warn_of_namesakes(self, new: list[workers.PeerStatus]) -> None:
        for peer in new:
            # On this host only: on another it may be the row of a container that ended and had this name.
            if peer.name == self.name and peer.host == host_identity() and not peers.process_exited(peer):
                log_lines.name_in_use(peer.pid, self.name)
