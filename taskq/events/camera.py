"""Cameras take a snapshot of the cluster's state again and again, for example to keep it elsewhere."""

from __future__ import annotations

import time
from typing import Any

from .receiving import Receiver
from .state import ClusterState


class Camera:
    """Base class of cameras, for ``manage.py taskevents --camera``."""

    def on_shutter(self, state: ClusterState) -> None:
        """Look at the state, which goes on to change after the return."""
        raise NotImplementedError


def shoot(camera: Any, frequency: float, connection: Any = None, *, limit: int | None = None) -> None:
    """Call ``camera.on_shutter`` every ``frequency`` seconds, ``limit`` times. Raises the errors of the connection."""
    state = ClusterState()
    receiver = Receiver({"*": state.event}, connection, wait=min(1.0, frequency))
    due, taken = time.monotonic() + frequency, 0
    for _ in receiver.itercapture():
        if time.monotonic() >= due:
            due = time.monotonic() + frequency
            camera.on_shutter(state)
            taken += 1
            if taken == limit:
                return
