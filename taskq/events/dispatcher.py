"""The dispatcher sends the events of one worker, on the thread of remote control.

Other threads only note what has happened, a batch at a time, and only while events of tasks are on and somebody hears
them. The texts of the events are made at once, and become messages every ``_GATHERED`` seconds, each a list of events.
"""

from __future__ import annotations

import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from signal import Signals
from typing import Any

from taskq import clock
from taskq.handover import Report
from taskq.records import Settlement
from taskq.worker.loop.request import Request
from taskq.worker.node import WorkerNode
from taskq.worker.remote.link import Link

from . import layout, log_lines, names
from .stamps import SOFTWARE, Stamp

#: Seconds in which events are gathered into one message: most of what a message costs does not depend on its events.
_GATHERED = 0.2
#: The same after ``_MANY`` events at once, which nobody can follow anyway.
_GATHERED_LONGER, _MANY = 0.5, 200
#: Seconds between two looks at who hears events, while there are some.
_LOOK = 1.0
#: The same while there are none, and nobody hears events: monitors ask for a heartbeat when they begin.
_SELDOM = 10.0
#: Events and characters in one message, at most.
_MOST, _MOST_TEXT = 6_000, 2_000_000
#: Characters from which on a message is compressed where it is a row.
_LONG = 2_000
#: kombu's name of the compression in the header of a message.
_ZLIB = "application/x-gzip"
#: Messages that are kept, at most, while they can't be sent, and for how many seconds: as in the queue of a monitor.
_MOST_UNSENT, _KEPT = 20, 5.0
#: Events at most that wait to be sent: what comes while so many wait is dropped.
_MOST_NOTED = 20_000

#: Makes events of a batch that was noted at a time: their texts, as in ``layout``.
Make = Callable[[Any, str], Iterable[str]]


class Dispatcher:
    """Sends events while somebody hears them. ``interval`` is that of heartbeats, in seconds; ``None`` is none."""

    def __init__(self, node: WorkerNode, interval: float | None) -> None:
        self._node = node
        self._interval = interval
        self._stamp = Stamp(node.options.name)
        self._link: Link | None = None
        self._channel: Any = None
        #: Whether somebody hears events; read by all threads.
        self.heard = False
        self._looked = 0.0
        self._noted: deque[list[str]] = deque()
        self._waiting = 0
        self._gathering = False
        #: Whether many events were gathered last.
        self._many = False
        #: The messages that are still to be sent: the one that is sent now, and those behind it.
        self._unsent: deque[tuple[Any, str]] = deque(maxlen=_MOST_UNSENT)
        #: When the connection was found to be gone; 0 while it is there.
        self._gone = 0.0
        #: The ids of messages whose ``task-started`` was sent. Threads that note ends change it too, an id at a time.
        self._started: set[int] = set()
        self._signals: dict[int, Signals] = {}
        #: Whether the worker ends. Its last tasks may take a while, and events of them are sent still.
        self._ending = False

    # -- noted by other threads

    def received(self, requests: Sequence[Any]) -> None:
        """Note requests that were received."""
        self._note(self._received, requests, len(requests))

    def handed_over(self, requests: Sequence[Any], begins: bool) -> None:
        """See to it that the task that begins is told of."""
        if begins and self.heard:
            self._gather()

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """Note ends that are committed."""
        self._note(self._ended, settlements, len(settlements))

    def settled_before(self, settlement: Settlement) -> None:
        """Note an end whose commit was not known."""
        self.settled([settlement])

    def put_back(self, request: Any) -> None:
        """Note a message that its task has put back."""
        self._note(self._put_back, request, 1)

    def sent_by_task(self, request: Any, report: Report) -> None:
        """Note an event that a running task has sent."""
        self._note(self._sent_by_task, report, 1)

    def revoked(self, request: Any, reason: str, signum: Signals | None) -> None:
        """Keep the signal for the event that comes when the end is committed."""
        if signum and self.heard:
            self._signals[request.message.id] = signum

    def ending(self, how: str, sig: str, count: int) -> None:
        """Tell that the worker ends, as Celery's does: when it begins to end, before its last tasks."""
        self._node.remote.post(self._end)

    def revoked_unheld(self, settlements: Sequence[Settlement]) -> None:
        """Note tasks that this process has revoked while no worker held them."""
        self._note(self._revoked_unheld, settlements, len(settlements))

    def _note(self, make: Make, batch: Any, count: int) -> None:
        if self.heard:
            if count and self._waiting < _MOST_NOTED:
                # At once: what a busy worker keeps until the texts are sent costs it more than to make them.
                try:
                    events = [*make(batch, layout.moment(clock.now()))]
                except Exception as error:  # the others are sent all the same
                    log_lines.events_not_sent(error)
                    return
                self._waiting += len(events)
                self._noted.append(events)
                self._gather()
        elif time.monotonic() - self._looked > _LOOK:
            self._looked = time.monotonic()
            self._node.remote.post(self._look)

    def _gather(self) -> None:
        if not self._gathering:
            self._gathering = True
            self._node.remote.post(self._flush_soon)

    # -- the part

    def connected(self, link: Link) -> None:
        """Announce the worker, and send its heartbeats."""
        if self._gone and time.monotonic() - self._gone > _KEPT:
            self._forget()
        self._link, self._channel, self._gathering, self._gone = link, None, False, 0.0
        self._look()
        self._send_worker_event("worker-offline" if self._ending else "worker-online")
        if self._noted or self._unsent:
            self._gather()
        if self._interval is not None:
            link.every(self._interval, self._beat_in_time)

    def leaving(self, link: Link) -> None:
        """Send what is noted, and that the worker ends: for monitors an event of a last task has revived it."""
        self._end()

    def _end(self) -> None:
        self._ending = True
        self._flush()
        self._look()
        self._send_worker_event("worker-offline")

    def beat(self) -> None:
        """Look who hears events, and send a heartbeat unless the worker ends."""
        self._look()
        if not self._ending:
            self._send_worker_event("worker-heartbeat")
        self._started &= self._node.consumer.holdings.ids()
        if not self.heard:
            self._signals.clear()

    def _beat_in_time(self) -> None:
        if self.heard or time.monotonic() - self._looked > _SELDOM:
            self.beat()

    # -- sending

    def _look(self) -> None:
        link = self._link
        if link is None or not self._node.remote.link:
            self.heard = False
            return
        if self._channel is None:
            self._channel = link.connection.channel()
        self.heard = names.is_heard(link.connection, self._channel)
        self._looked = time.monotonic()
        if not self.heard:
            self._forget()

    def _forget(self) -> None:
        self._noted.clear()
        self._unsent.clear()
        self._waiting = 0

    def _flush_soon(self) -> None:
        if self._node.remote.link is None or self._link is None:
            self._gathering = False
            self._gone = self._gone or time.monotonic()
            if time.monotonic() - self._gone > _KEPT:
                self.heard = False
                self._forget()
        else:
            self._link.after(_GATHERED_LONGER if self._many else _GATHERED, self._flush)

    def _flush(self) -> None:
        self._gathering = False
        if time.monotonic() - self._looked > _LOOK:
            self._look()
        events: list[str] = []
        while self._noted:
            noted = self._noted.popleft()
            self._waiting -= len(noted)
            events += noted
        if self.heard:
            events += self._begun()
            self._many = len(events) >= _MANY
            for part in _parts(events):
                self._add(self._stamp.message(part), "task.multi")
            self._send()

    def _add(self, body: Any, key: str) -> None:
        """Have a message sent behind those that wait. While there is a connection, none of them is lost."""
        if len(self._unsent) == _MOST_UNSENT:
            self._send()
        self._unsent.append((body, key))

    def _send(self) -> None:
        """Send what is to be sent. What an error of the connection leaves is sent over the next one."""
        while self._unsent:
            body, key = self._unsent[0]
            self._publish(body, key, encoded=True)
            self._unsent.popleft()

    def _publish(self, body: Any, key: str, *, encoded: bool = False) -> None:
        """Send one message. Raises the errors of the connection; a message with another error is dropped."""
        if self._link is None:
            return
        exchange = names.event_exchange(self._link.connection)
        headers = {"hostname": self._node.options.name}
        if encoded and len(body) > _LONG and self._link.connection.transport.driver_type == "django":
            body, headers["compression"] = _compressed(body), _ZLIB
        try:
            self._link.publish(body, exchange, key, headers=headers, encoded=encoded)
        except self._link.connection_errors:
            raise
        except Exception as error:
            log_lines.events_not_sent(error)

    def _send_worker_event(self, kind: str) -> None:
        if self.heard and self._interval is not None:
            (event,) = self._stamp.all([{"type": kind, "freq": self._interval, **self._load(), **SOFTWARE}])
            self._publish(event, kind.replace("-", "."))

    def _load(self) -> dict[str, Any]:
        consumer = self._node.consumer
        return {
            "active": len(consumer.holdings.running(consumer.pool)),
            "processed": sum(list(consumer.holdings.totals.values())),
            "loadavg": [round(load, 2) for load in os.getloadavg()],
        }

    # -- the texts of events, made on the thread that notes them

    def _received(self, requests: Sequence[Request], at: str) -> Iterable[str]:
        # A message may come a second time, after its process was lost.
        self._started.difference_update([request.message.id for request in requests])
        return layout.received(requests, at)

    def _ended(self, settlements: Sequence[Settlement], at: str) -> Iterable[str]:
        for settlement in settlements:
            if settlement.message_id in self._started:
                self._started.discard(settlement.message_id)
            elif settlement.started:
                yield layout.started(settlement.task_id, layout.moment(settlement.started))
            signum = self._signals.pop(settlement.message_id, None) if self._signals else None
            if (event := layout.ended(settlement, at, signum)) is not None:
                yield event

    def _revoked_unheld(self, settlements: Sequence[Settlement], at: str) -> Iterable[str]:
        return [layout.start_of(layout.revoked_unheld(settlement), at) for settlement in settlements]

    def _put_back(self, request: Request, at: str) -> Iterable[str]:
        yield layout.put_back(request, at)

    def _sent_by_task(self, report: Report, at: str) -> Iterable[str]:
        text = layout.sent_by_task(report)
        if report.event.startswith("task-"):
            yield text
        else:
            self._node.remote.post(self._add_other, text, report.event.replace("-", "."))

    def _add_other(self, text: str, key: str) -> None:
        """Have an event sent in a message of its own: one of another type than those of tasks."""
        self._add(self._stamp.message([text])[1:-1], key)

    def _begun(self) -> Iterable[str]:
        """Yield ``task-started`` of those tasks that run now and were not told of: the heads of the slots' loads."""
        consumer, now = self._node.consumer, time.monotonic()
        for running in consumer.holdings.running(consumer.pool):
            message = running.request.message
            if message.id not in self._started:
                self._started.add(message.id)
                yield layout.started(message.task_id, layout.moment(clock.now() - (now - running.since)))


def _compressed(text: str) -> bytes:
    """Return a text compressed, at the quickest level: PostgreSQL compresses long rows too, and is 20 times slower."""
    return zlib.compress(text.encode(), 1)


def _parts(events: list[str]) -> Iterator[list[str]]:
    """Yield the events in lists that one message can carry."""
    first = size = 0
    for place, event in enumerate(events):
        if place - first >= _MOST or (place > first and size + len(event) > _MOST_TEXT):
            yield events[first:place]
            first, size = place, 0
        size += len(event)
    if first < len(events):
        yield events[first:]
