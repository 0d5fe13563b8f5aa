"""Peers: the one rule by which a worker, or a consuming connection of kombu, is taken for dead.

Used by both kinds of lease: ``worker.duties.lease`` and ``transport.lease``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from taskq.models import Worker
from taskq.processes import host_identity, is_gone

from .workers import PeerStatus


@dataclass(slots=True, frozen=True)
class LastBeat:
    """The heartbeat counter that a peer last showed, and for how many seconds it was watched unchanged."""

    beats: int
    silent: float = 0.0


class PeerWatch:
    """Watches the heartbeats of peers. ``lease`` is the watcher's own, in seconds.

    A peer is dead

    - at once, if it ran on this host and its process has exited;
    - else when this watcher has seen its heartbeat counter unchanged for more than the peer's lease.

    Silence is measured by this process's monotonic clock alone: neither a jump of a clock nor the difference between
    two hosts' clocks can end a lease. Time in which the watcher itself did not look proves little, because the database
    may have been away and no peer able to renew: the time between two looks counts as half of a peer's lease at most,
    so that one look never proves a death. A watcher that has not looked for its own lease, or that calls
    ``reset_peers`` because the database was away, starts to measure again.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._last: dict[str, LastBeat] = {}
        self._looked_at = time.monotonic()

    def reset_peers(self) -> None:
        """Measure all silences from the next look on: the database was away, no peer could renew its lease."""
        self._last.clear()

    def unseen(self, peers: Sequence[PeerStatus]) -> list[PeerStatus]:
        """Return the peers that the last look did not see."""
        return [peer for peer in peers if peer.token not in self._last]

    def dead(self, peers: Sequence[PeerStatus]) -> list[PeerStatus]:
        """Look at the ``peers`` that there are now, and return those that are dead."""
        now = time.monotonic()
        gap, self._looked_at = now - self._looked_at, now
        if gap > self._lease:
            self.reset_peers()
        self._last = {peer.token: self._seen(peer, gap) for peer in peers}
        return [peer for peer in peers if self._last[peer.token].silent > peer.lease or process_exited(peer)]

    def _seen(self, peer: PeerStatus, gap: float) -> LastBeat:
        last = self._last.get(peer.token)
        if last is None or last.beats != peer.beats:
            return LastBeat(peer.beats)
        return LastBeat(peer.beats, last.silent + min(gap, peer.lease / 2))


def process_exited(peer: PeerStatus | Worker) -> bool:
    """Tell whether the peer ran on this host and its process has exited, as far as can be seen from here."""
    return bool(peer.host) and peer.host == host_identity() and is_gone(peer.pid, peer.process_started)
