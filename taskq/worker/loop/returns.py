"""Messages that go back to the database without an end: the ledger is asked to requeue or postpone them.

Called by the consumer, which has forgotten their requests by then. ``store(method, *args)`` calls the ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from kombu.utils.json import dumps

from taskq import clock
from taskq.conf import settings
from taskq.messages.protocol import mapping_of
from taskq.messages.protocol.wire import UNKNOWN_SINCE
from taskq.records import Claimed
from taskq.worker import log_lines

from .request import Request

Store = Callable[..., None]

#: Seconds until a message of an unknown task comes back for the first time.
_FIRST_UNKNOWN = 0.25
#: The next delay is longer by this share of the time since then.
_UNKNOWN_GROWTH = 0.25
#: Why tasks were interrupted.
BY_STOP = "The worker was stopped before the task had ended."
FOR_ANOTHER = "The process of the task was killed because another task in it did not end."


def requeue(requests: Sequence[Request], store: Store) -> None:
    """Requeue requests that have not started; a start that was counted already is taken back."""
    counted = [r.message.id for r in requests if r.message.redelivered and r.acks_late and not r.before_start]
    store("requeue", [request.message.id for request in requests], counted)


def requeue_lost(request: Request, reason: str, hostname: str, store: Store, *, counted: bool = True) -> None:
    """Requeue a request whose run died with its process; ``counted`` tells whether the start counts."""
    store(
        "requeue_lost",
        request.message.id,
        starts=request.starts,
        reason=reason,
        worker=hostname,
        started=clock.now() - (time.monotonic() - request.handed_at),
        counted=counted,
    )


def requeue_interrupted(request: Request, reason: str, hostname: str, store: Store) -> None:
    """Requeue a request that was interrupted through no fault of its own; the start does not count."""
    log_lines.task_interrupted(request, reason)
    requeue_lost(request, f"{reason} It runs again, and this start is not counted.", hostname, store, counted=False)


def with_unknown_since(request: Request) -> tuple[Claimed, float] | None:
    """Return a message of an unknown task as it goes back, and its delay in seconds; ``None`` if it does not go back.

    A worker of another version may know the task. So the message comes back for ``TASKQ_UNKNOWN_TASK_GRACE`` seconds,
    counted from the first worker that did not know it, whose time is put into its headers. A message whose texts were
    not read does not go back.
    """
    message, grace = request.message, settings.UNKNOWN_TASK_GRACE
    if request.task is not None or not grace or message.refused:
        return None
    headers, now = mapping_of(message.headers), clock.now()
    since = headers.get(UNKNOWN_SINCE)
    if not isinstance(since, float) or not since <= now:
        since = now
    left = since + grace - now
    if left <= 0:
        return None
    delay = min(left, _FIRST_UNKNOWN + _UNKNOWN_GROWTH * (now - since))
    if since == now:
        log_lines.task_unknown(request, grace)
    return replace(message, headers=dumps(headers | {UNKNOWN_SINCE: since})), delay
