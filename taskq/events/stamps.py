"""The fields that all events have, and the fields of workers' own events."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from typing import Any

import taskq
from taskq import clock
from taskq.worker.remote.lamport import lamport

Event = dict[str, Any]

#: What sends the events, as monitors show it.
SOFTWARE = {"sw_ident": "taskq", "sw_ver": taskq.__version__, "sw_sys": platform.system()}


def utc_offset() -> int:
    """Return the whole hours by which local time is behind UTC now; half hours are cut, as Celery does."""
    summer = time.daylight and time.localtime().tm_isdst > 0
    return (time.altzone if summer else time.timezone) // 3600


class Stamp:
    """Stamps the events of one sender, the node ``hostname``."""

    def __init__(self, hostname: str) -> None:
        self.hostname = hostname

    def message(self, texts: Sequence[str]) -> str:
        """Return the JSON text of a list of events, of each of which ``texts`` has the start."""
        common = f'"hostname":{json.dumps(self.hostname)},"pid":{os.getpid()},"utcoffset":{utc_offset()}}}'
        clocks = enumerate(texts, lamport.forward_by(len(texts)))
        return "[" + ",".join([f'{text},"clock":{clock},{common}' for clock, text in clocks]) + "]"

    def all(self, events: list[Event]) -> list[Event]:
        """Add the common fields to events, which may have a ``timestamp`` already."""
        common = {"hostname": self.hostname, "pid": os.getpid(), "utcoffset": utc_offset()}
        now = clock.now()
        for event in events:
            event.setdefault("timestamp", now)
            event["clock"] = lamport.forward()
            event.update(common)
        return events
