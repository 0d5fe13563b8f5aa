"""``broadcast``: send a command to workers and collect their replies. Everything that calls workers goes through it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connections
from kombu.messaging import Consumer, Producer

from taskq.conf import settings
from taskq.ids import new_id
from taskq.worker.remote import connection as names
from taskq.worker.remote.lamport import lamport
from taskq.worker.remote.link import unopened

Replies = list[dict[str, Any]]
#: The most bytes of a reply. Those of taskq's workers are far below.
MOST = 16 * 1024 * 1024


def broadcast(
    command: str,
    arguments: dict[str, Any] | None = None,
    destination: str | Sequence[str] | None = None,
    connection: Any = None,
    reply: bool = False,
    timeout: float = 1.0,
    limit: int | None = None,
    callback: Callable[[dict[str, Any]], Any] | None = None,
    channel: Any = None,
    pattern: str | None = None,
    matcher: str | None = None,
    **more: Any,
) -> Replies | None:
    """Send a command to all workers; with ``reply`` return their replies, each as a dictionary of one node's.

    ``more`` are arguments too. ``destination`` names workers, by default all; an empty list is none, and nothing is
    sent. ``pattern`` and ``matcher`` (``glob``) choose them by name.

    Replies are collected for ``timeout`` seconds, or until there are ``limit`` of them, by default as many as
    destinations; ``callback`` gets each as it comes. Raises ``RuntimeError`` if replies are wanted inside of a
    transaction of the broker's database: workers would see the command after it.
    """
    if isinstance(destination, str):
        destination = [destination]
    wanted = None if destination is None else list(destination)
    if wanted is not None and not wanted:
        # Workers, as Celery's, take a message with an empty list for one to all.
        return [] if reply else None
    body = {
        "method": command,
        "arguments": {**(arguments or {}), **more},
        "destination": wanted,
        "pattern": pattern,
        "matcher": matcher,
    }
    with _channel(connection, channel) as on:
        if not reply:
            _publish(on, body, 0)
            return None
        _refuse_transaction(on)
        return list(_ask(on, body, timeout, limit or (len(wanted) if wanted else None), callback))


@contextmanager
def _channel(connection: Any, channel: Any) -> Iterator[Any]:
    """Open a channel on the caller's connection, or on a new one."""
    if channel is not None:
        yield channel
    elif connection is not None:
        with connection.channel() as opened:
            yield unopened(opened)
    else:
        with names.connect() as own, own.channel() as opened:
            yield unopened(opened)


def _refuse_transaction(channel: Any) -> None:
    alias = getattr(channel, "alias", None)
    if alias in connections.settings and connections[alias].in_atomic_block:
        raise RuntimeError(
            "Workers see the command when this transaction has ended, so no reply can come inside of it: "
            "ask outside of atomic(), or set TASKQ_CONTROL_URL to another broker."
        )


def _publish(channel: Any, body: dict[str, Any], timeout: float) -> None:
    exchange = names.mailbox_exchange()
    headers = {"clock": lamport.forward(), "expires": time.time() + timeout if timeout else 0}
    producer: Any = Producer(channel, auto_declare=False)
    producer.publish(
        body,
        exchange=exchange.name,
        declare=[exchange],
        headers=headers,
        delivery_mode=exchange.delivery_mode,
        serializer="json",
        retry=settings.PUBLISH_RETRY,
        # Without it kombu tries for ever.
        retry_policy=dict(settings.PUBLISH_RETRY_POLICY),
    )


def _ask(
    channel: Any,
    body: dict[str, Any],
    timeout: float,
    limit: int | None,
    callback: Callable[[dict[str, Any]], Any] | None,
) -> Replies:
    key, ticket = new_id(), new_id()
    asked = None if body["destination"] is None else set(body["destination"])
    replies: Replies = []

    def collect(message: Any) -> None:
        found = _read_reply(message, ticket)
        if found is not None and (asked is None or found.keys() <= asked):
            lamport.adjust(message.headers.get("clock"))
            replies.append(found)
            if callback is not None:
                callback(found)

    queue = names.reply_queue(key)
    consumer: Any = Consumer(channel, [queue], no_ack=True, on_message=collect, on_decode_error=_skip)
    consumer.consume()
    try:
        _publish(channel, body | {"ticket": ticket, "reply_to": _reply_to(key)}, timeout)
        _drain(channel.connection.client, replies, timeout, limit)
    finally:
        with suppress(Exception):
            consumer.cancel()
            # The database has deleted it with its last consumer.
            if channel.connection.client.transport.driver_type != "django":
                queue(channel).delete()
    return replies


def _read_reply(message: Any, ticket: str) -> dict[str, Any] | None:
    """Return the reply of one node, or ``None``: anybody may have sent anything, for another question or for none."""
    if not isinstance(message.headers, dict) or message.headers.get("ticket") != ticket:
        return None
    if len(message.body) > MOST:
        return None
    try:
        found = json.loads(message.body)
    except (ValueError, TypeError, RecursionError):
        return None
    return found if isinstance(found, dict) and len(found) == 1 else None


def _skip(message: Any, error: Exception) -> None:
    """Pass over a message that kombu can't read."""


def _reply_to(key: str) -> dict[str, str]:
    return {"exchange": names.reply_exchange().name, "routing_key": key}


def _drain(connection: Any, replies: Replies, timeout: float, limit: int | None) -> None:
    deadline = time.monotonic() + timeout
    while (limit is None or len(replies) < limit) and (left := deadline - time.monotonic()) > 0:
        with suppress(TimeoutError):
            connection.drain_events(timeout=left)
