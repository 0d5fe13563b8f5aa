"""``Receiver`` reads the events of a cluster, from workers of taskq and of Celery alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from kombu.messaging import Consumer

from taskq.control.broadcasts import broadcast
from taskq.worker.remote.connection import connect
from taskq.worker.remote.lamport import lamport
from taskq.worker.remote.link import unopened

from . import log_lines
from .names import event_queue
from .stamps import Event, utc_offset

Handler = Callable[[Event], Any]

#: What is taken for a Unix time: from the year 5, which is a time of the calendar in each zone, to the year 5138.
_EARLIEST, _LATEST = -62e9, 1e11


class Receiver:
    """Calls handlers with events.

    ``handlers`` has a function for each type of event, such as ``task-failed``; that of ``"*"`` gets all others.
    ``connection`` is kombu's, by default a new one to ``TASKQ_CONTROL_URL``. ``routing_key`` is a pattern of topics,
    such as ``task.#``. ``wait`` is the longest wait for events in seconds; ``should_stop`` ends a capture after it.
    """

    def __init__(
        self, handlers: Mapping[str, Handler], connection: Any = None, *, routing_key: str = "#", wait: float = 1.0
    ) -> None:
        self.handlers = dict(handlers)
        self.connection = connection
        self.routing_key = routing_key
        self.wait = wait
        self.should_stop = False

    def capture(self, limit: int | None = None, timeout: float | None = None, *, wakeup: bool = True) -> int:
        """Read events until there were ``limit``, for ``timeout`` seconds at most; return how many there were.

        ``wakeup`` has workers send a heartbeat now. Raises the errors of the connection.
        """
        return sum(self.itercapture(limit, timeout, wakeup=wakeup))

    def itercapture(
        self, limit: int | None = None, timeout: float | None = None, *, wakeup: bool = True
    ) -> Iterator[int]:
        """Do ``capture``, and yield after each wait how many events came."""
        deadline = None if timeout is None else time.monotonic() + timeout
        own = self.connection is None
        connection = connect() if own else self.connection
        seen: list[int] = []
        try:
            connection.ensure_connection(max_retries=1)
            with connection.channel() as channel:
                yield from self._read(connection, channel, seen, limit, deadline, wakeup=wakeup)
        finally:
            if own:
                with suppress(Exception):
                    connection.close()

    def _read(
        self, connection: Any, channel: Any, seen: list[int], limit: int | None, deadline: float | None, *, wakeup: bool
    ) -> Iterator[int]:
        queue = event_queue(connection, self.routing_key)

        def receive(message: Any) -> None:
            seen.append(self._receive(message))

        def skip(message: Any, error: Exception) -> None:
            log_lines.event_unreadable(error)

        consumer: Any = Consumer(unopened(channel), [queue], no_ack=True, on_message=receive, on_decode_error=skip)
        consumer.consume()
        try:
            if wakeup:
                broadcast("heartbeat", connection=connection)
            total = 0
            while not self.should_stop and (limit is None or total < limit):
                left = self.wait if deadline is None else min(self.wait, deadline - time.monotonic())
                if left <= 0:
                    return
                with suppress(TimeoutError):
                    connection.drain_events(timeout=left)
                count = sum(seen)
                seen.clear()
                total += count
                yield count
        finally:
            with suppress(Exception):
                consumer.cancel()
                queue(channel).delete()

    def _receive(self, message: Any) -> int:
        """Hand the events of a message to their handlers; return how many they were."""
        try:
            found = _decoded(message)
            events = localized(found if isinstance(found, list) else [found])
        except Exception as error:
            # Anybody may send anything.
            log_lines.event_unreadable(error)
            return 0
        handlers, other = self.handlers, self.handlers.get("*")
        for event in events:
            if (handler := handlers.get(event["type"]) or other) is not None:
                handler(event)
        return len(events)


def _decoded(message: Any) -> Any:
    if message.content_type != "application/json":
        return None
    body = message.body
    mark = b"__type__" if isinstance(body, bytes) else "__type__"
    # kombu's decoder looks for its own types in each object: it is only used where there is one.
    return message.decode() if mark in body else json.loads(body)


def localized(events: list[Any]) -> list[Event]:
    """Return received events, with the time of their receipt, and their timestamps as this machine's zone has them.

    The clock of ``task-sent`` is this process's: senders have none. Raises ``ValueError`` if one is no event,
    or its timestamp no time of the calendar.
    """
    now, here, latest = time.time(), utc_offset(), 0
    for event in events:
        if not (isinstance(event, dict) and isinstance(event.get("type"), str)):
            raise ValueError(f"{event!r:.200} is no event.")
        if event["type"] == "task-sent":
            event["clock"] = lamport.value - 1
        elif type(clock := event.get("clock")) is int and clock > latest:
            latest = clock
        event["local_received"] = now
        if (at := event.get("timestamp")) is not None:
            offset = event.get("utcoffset")
            if offset != here and isinstance(offset, int) and isinstance(at, int | float):
                at = event["timestamp"] = at - (offset - here) * 3600
            if not (isinstance(at, int | float) and _EARLIEST < at < _LATEST):
                raise ValueError(f"The timestamp {at!r:.200} is no time.")
    lamport.adjust(latest)
    return events
