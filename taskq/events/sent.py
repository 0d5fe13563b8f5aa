"""``task-sent``, and ``task-revoked`` of tasks that no worker has received, of the process that sends or revokes them.

Published on a thread of its own, so that sending waits for nothing.

It is off unless ``TASKQ_SEND_SENT_EVENT`` is on when Django starts. Events are sent once the message is committed.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from django.db import connections
from kombu.messaging import Producer

from taskq import signals
from taskq.messages.protocol.build import origin
from taskq.records import Settlement
from taskq.store.log_lines import tasks_revoked
from taskq.worker.remote.connection import connect

from . import layout, log_lines, names
from .stamps import Event, Stamp

#: Events that wait at most, and events in one message.
_MOST, _BATCH = 10_000, 500
#: Seconds between two looks at who hears events, of a pause after an error, and that the end of the process may wait.
_LOOK, _PAUSE, _END = 1.0, 5.0, 1.0


class SentEvents:
    """Sends the events of one process, while somebody hears them."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_MOST)
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def note(self, sender: Any, headers: Any, exchange: str, routing_key: str, **_: Any) -> None:
        """Receive ``after_task_publish``: note the event."""
        self._add(layout.sent(headers, exchange, routing_key))

    def note_revoked(self, settlements: Sequence[Settlement]) -> None:
        """Note tasks that this process has revoked before any worker received them: no worker tells of their end."""
        for settlement in settlements:
            self._add(layout.revoked_unheld(settlement))

    def _add(self, event: Event) -> None:
        self._idle.clear()
        self._events.append({**event, "timestamp": time.time()})
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskq-sent", daemon=True)
                self._thread.start()
        self._wake.set()

    def end(self) -> None:
        """Give the last events a moment to go out."""
        if self._thread is not None:
            self._idle.wait(_END)

    def _run(self) -> None:
        while True:
            try:
                with connect() as connection:
                    self._serve(connection)
            except Exception as error:
                log_lines.task_sent_failed(error)
            finally:
                connections.close_all()
            self._events.clear()
            time.sleep(_PAUSE)

    def _serve(self, connection: Any) -> None:
        channel = connection.channel()
        producer: Any = Producer(channel, auto_declare=False)
        heard, looked = False, float("-inf")
        while True:
            self._wake.wait()
            self._wake.clear()
            if time.monotonic() - looked > _LOOK:
                heard, looked = names.is_heard(connection, channel), time.monotonic()
            while self._events:
                batch = [self._events.popleft() for _ in range(min(_BATCH, len(self._events)))]
                if heard:
                    self._publish(producer, connection, batch)
            self._idle.set()

    def _publish(self, producer: Any, connection: Any, batch: list[Event]) -> None:
        exchange = names.event_exchange(connection)
        producer.publish(
            Stamp(origin()).all(batch),
            exchange=exchange.name,
            routing_key="task.multi",
            headers={"hostname": origin()},
            declare=[exchange],
            delivery_mode=exchange.delivery_mode,
            serializer="json",
            retry=False,
        )


_events = SentEvents()


def _reset_after_fork() -> None:
    global _events
    signals.after_task_publish.disconnect(_events.note)
    tasks_revoked.unsubscribe(_events.note_revoked)
    _events = SentEvents()
    _subscribe()


def _subscribe() -> None:
    signals.after_task_publish.connect(_events.note, weak=False)
    tasks_revoked.subscribe(_events.note_revoked)


def send_events() -> None:
    """Send the events of all tasks that this process and its forks send, or revoke, from now on."""
    _subscribe()
    os.register_at_fork(after_in_child=_reset_after_fork)
    atexit.register(lambda: _events.end())
