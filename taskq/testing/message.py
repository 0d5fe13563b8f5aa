"""``SentTask``: a message that was sent while a test keeps messages in memory."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, overload

from taskq.messages import protocol
from taskq.messages.serializers import to_json
from taskq.records import Claimed, Envelope
from taskq.results.async_result import AsyncResult

from .transactions import TransactionState


class SentTask:
    """One sent task, as a worker would read its message. ``due`` is a Unix time; ``number`` grows with each message."""

    def __init__(self, envelope: Envelope, number: int, committed: Callable[[], object]) -> None:
        self.envelope = envelope
        self.number = number
        self.sent_at = time.time()
        self.due = self.sent_at + envelope.delay
        self.transaction = TransactionState(committed)
        # A message that can't be written into a row must fail here, as with the database.
        self._claimed = _claimed(envelope, number)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.envelope.name

    @property
    def id(self) -> str:
        """The task's id."""
        return self.envelope.task_id

    @property
    def queue(self) -> str:
        """The queue."""
        return self.envelope.queue

    @property
    def priority(self) -> int:
        """The priority, 0 to 9, larger is sooner."""
        return self.envelope.priority

    @property
    def headers(self) -> dict[str, Any]:
        """The message's headers, including the caller's own."""
        return self.envelope.headers

    @property
    def delay(self) -> float:
        """The seconds from sending until the task is due; 0 is at once."""
        return self.envelope.delay

    @property
    def eta(self) -> datetime | None:
        """The time when the task is due, in UTC; ``None`` is at once."""
        return datetime.fromtimestamp(self.due, UTC) if self.envelope.delay > 0 else None

    @property
    def expires(self) -> datetime | None:
        """The time when the message expires, in UTC."""
        moment = self.envelope.expires
        return None if moment is None else datetime.fromtimestamp(moment, UTC)

    @property
    def args(self) -> list[Any]:
        """The positional arguments, read from the message."""
        return self._arguments[0]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments, read from the message."""
        return self._arguments[1]

    @property
    def result(self) -> AsyncResult[Any]:
        """The task's result."""
        return AsyncResult(self.id)

    @cached_property
    def _arguments(self) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs, _ = protocol.decode_message(self._claimed, self.envelope.headers)
        return args, kwargs

    def requeue(self) -> None:
        """Mark the message as redelivered: its task has rejected it."""
        self._claimed.redelivered = True

    def claimed(self) -> Claimed:
        """Return the message as a worker claims it from the database."""
        return replace(self._claimed)

    def __repr__(self) -> str:
        arguments = [repr(value) for value in self.args] + [f"{key}={value!r}" for key, value in self.kwargs.items()]
        later = f", due at {self.eta:%Y-%m-%d %H:%M:%S}" if self.eta else ""
        return f"{self.name}({', '.join(arguments)}) to {self.queue}{later}"


def _claimed(e: Envelope, number: int) -> Claimed:
    """Return a message as claimed from its row in the database broker."""
    body, properties = e.body, e.properties
    if isinstance(body, bytes):
        body, properties = base64.b64encode(body).decode(), {**properties, "body_encoding": "base64"}
    return Claimed(
        id=number,
        queue=e.queue,
        task_id=e.task_id,
        headers=to_json(e.headers),
        body=body,
        content_type=e.content_type,
        content_encoding=e.content_encoding,
        properties=to_json(properties),
        exchange=e.exchange,
        routing_key=e.routing_key,
        priority=e.priority,
        deliveries=0,
        redelivered=False,
        tracked=e.tracked,
    )


class SentTasks(Sequence[SentTask]):
    """The tasks that were sent and not rolled back, in order: a live view that grows."""

    def __init__(self, read: Callable[[], list[SentTask]]) -> None:
        self._read = read

    @overload
    def __getitem__(self, index: int) -> SentTask: ...
    @overload
    def __getitem__(self, index: slice) -> list[SentTask]: ...
    def __getitem__(self, index: int | slice) -> SentTask | list[SentTask]:
        return self._read()[index]

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return repr(self._read())
