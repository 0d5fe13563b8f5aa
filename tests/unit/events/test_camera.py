"""Cameras: how often, and with what."""

from __future__ import annotations

import pytest

from taskq.events import Camera, ClusterState
from taskq.events import camera as module


class Snapshots(Camera):
    def __init__(self) -> None:
        self.counts: list[int] = []

    def on_shutter(self, state: ClusterState) -> None:
        self.counts.append(state.event_count)


def test_a_camera_is_called_with_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    def itercapture(receiver: module.Receiver) -> object:
        while True:
            receiver.handlers["*"]({"type": "worker-heartbeat", "hostname": "w1@h"})
            yield 1

    monkeypatch.setattr(module.Receiver, "itercapture", itercapture)
    snapshots = Snapshots()
    module.shoot(snapshots, 0.0, limit=3)
    assert snapshots.counts == [1, 2, 3]
