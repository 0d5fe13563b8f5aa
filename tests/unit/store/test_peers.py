"""The rule by which a peer is taken for dead, without a database: looks at given times by the monotonic clock."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest

from taskq.processes import host_identity, process_started
from taskq.store.peers import PeerWatch
from taskq.store.workers import PeerStatus

PEER = PeerStatus("token", "w@host", "another host", 1, 1, beats=3, lease=30.0)


class Clock:
    """The monotonic clock and a watch whose own lease is 30 seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.watch = PeerWatch(30.0)

    def look_after(self, *gaps: float, peer: PeerStatus = PEER) -> list[bool]:
        """Look once after each of the gaps; return whether the peer was dead then."""
        dead = []
        for gap in gaps:
            self.now += gap
            dead.append(self.watch.dead([peer]) == [peer])
        return dead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_peer_is_dead_after_more_than_its_lease_without_a_heartbeat(clock: Clock) -> None:
    assert clock.look_after(0, 10, 10, 10, 1) == [False, False, False, False, True]


def test_a_heartbeat_begins_the_peers_lease_again(clock: Clock) -> None:
    clock.look_after(0, 10, 10)
    assert clock.look_after(9, 10, 10, 10, 1, peer=replace(PEER, beats=4)) == [False, False, False, False, True]


def test_the_lease_that_counts_is_the_peers(clock: Clock) -> None:
    assert clock.look_after(0, 2, 2, 2, peer=replace(PEER, lease=5.0)) == [False, False, False, True]
    assert not any(clock.look_after(0, *[20] * 4, peer=replace(PEER, token="other", lease=90.0)))


def test_single_look_never_proves_a_death(clock: Clock) -> None:
    """The gap counts as half of the peer's lease: the database may have been away for all of it."""
    assert clock.look_after(0, 29, 14, 2) == [False, False, False, True]
    short = replace(PEER, token="other", lease=1.0)
    assert clock.look_after(0, 29, 29, 29, peer=short) == [False, False, False, True]


def test_a_watcher_that_did_not_look_for_its_own_lease_starts_again(clock: Clock) -> None:
    clock.look_after(0, 10, 10, 10)
    assert clock.look_after(31, 10, 10, 10, 1) == [False, False, False, False, True]


def test_a_watcher_whose_database_was_away_starts_again(clock: Clock) -> None:
    clock.look_after(0, 10, 10, 10)
    clock.watch.reset_peers()
    assert clock.look_after(10, 10, 10, 10, 1) == [False, False, False, False, True]


def test_a_peer_that_comes_back_under_its_token_starts_again(clock: Clock) -> None:
    clock.look_after(0, 10, 10, 10)
    clock.watch.dead([])
    assert clock.look_after(10) == [False]


@pytest.mark.parametrize("leap", [1e9, -1e9])
def test_the_wall_clock_proves_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch, leap: float) -> None:
    clock.look_after(0)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + leap)
    assert clock.look_after(10) == [False]


def test_a_peer_whose_process_has_exited_on_this_host_is_dead_at_once(clock: Clock) -> None:
    started = process_started(os.getpid()) or 0
    here = replace(PEER, host=host_identity(), pid=os.getpid(), process_started=started)
    exited = replace(here, process_started=started + 1)
    assert clock.look_after(0, peer=here) == [False]
    assert clock.look_after(0, peer=exited) == [True]
    assert clock.look_after(0, peer=replace(exited, host="")) == [False], "an unknown host is not this one"


def test_a_peer_is_new_until_it_was_looked_at(clock: Clock) -> None:
    assert clock.watch.unseen([PEER]) == [PEER]
    clock.look_after(0)
    assert clock.watch.unseen([PEER]) == []
