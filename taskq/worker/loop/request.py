"""``Request``: a claimed message with its headers read. Its body is not decoded in the main process."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps

from taskq import clock
from taskq.calls.definition import TaskDefinition
from taskq.calls.registry import tasks
from taskq.conf import settings
from taskq.exceptions import ContentDisallowed, DecodeError, InvalidTaskError
from taskq.handover import Delivery
from taskq.messages.parking import parking
from taskq.messages.protocol import MOST_IN_MAIN, TaskHeaders, load_body, mapping_of, read_headers, upgrade
from taskq.messages.protocol.options import is_limit
from taskq.records import Claimed
from taskq.value_kinds import WAIT

#: The longest delay in seconds: clocks and columns can hold it, and nobody waits for longer.
_LONGEST_DELAY = 1000 * 365 * 86400
#: Both limits of a message, of its task and of the worker, where nobody has set one.
_NO_LIMITS = (None,) * 6
#: Seconds by which the clock of a sender may be ahead of the database's: the schedule goes by the database's alone.
_CLOCKS_DIFFER = 1.0
_TOO_LARGE_TO_UPGRADE = f"its headers name none, and a body of more than {MOST_IN_MAIN} bytes is not read for it."


@dataclass(slots=True)
class Request:
    """A message that this worker holds. ``starts`` counts this start too, once the message is handed over."""

    message: Claimed
    headers: TaskHeaders
    #: The task's name.
    name: str
    task: TaskDefinition | None
    time_limit: float | None
    soft_time_limit: float | None
    acks_late: bool
    #: Whether it is handed over alone, and nothing else to its slot until it has ended.
    alone: bool
    #: Whether only a revocation can forbid its start: it has no ETA, expiry or rate limit, its task is known, and it is
    #: delivered for the first time.
    unconditional: bool = False
    job: int = 0
    starts: int = 0
    #: The method of the ledger that commits before the start: "count", "acknowledge", or none.
    before_start: str = ""
    handed_at: float = 0.0
    #: Its expected seconds when it was handed over.
    cost: float = 0.0
    revoked: str = ""
    #: Whether it has to wait for the rate limit of its task.
    limited: bool = False
    #: Whether its TaskRun was told that it runs.
    shown: bool = False
    #: The exception of a failure without an Outcome: the task's handlers are still to be called.
    failure: BaseException | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a header of the message for receivers of signals, as ``request.root_id``."""
            return getattr(object.__getattribute__(self, "headers"), name)

    @property
    def id(self) -> str:
        """The task's id."""
        return self.message.task_id

    #: Celery's names.
    task_id = id

    @property
    def task_name(self) -> str:
        """Celery's word for the name."""
        return self.name

    @property
    def sender(self) -> TaskDefinition | str:
        """The sender of signals about the task."""
        return self.name if self.task is None else self.task

    @property
    def max_deliveries(self) -> int:
        """How often the message may start."""
        return self.task.max_deliveries if self.task else settings.MAX_DELIVERIES

    def expired(self) -> bool:
        """Tell whether the task was to start before now."""
        left = self.message.expires_in
        return left is not None and left <= 0

    def delay(self) -> float:
        """Return the seconds until the message is due: a foreign producer may have sent it before its ``eta``.

        Any other message waits in the schedule, and is due when it comes. With ``TASKQ_SIGNING`` its sealed ``eta``
        holds too: somebody may have moved the row.
        """
        eta, message = self.headers.eta, self.message
        if eta is None:
            return 0.0
        scheduled = message.tracked or message.promoted
        if scheduled and not settings.SIGNING:
            return 0.0
        early = eta.timestamp() - clock.now()
        return 0.0 if scheduled and early < _CLOCKS_DIFFER else min(early, _LONGEST_DELAY)

    def delivery(self, hostname: str, measure: float | None) -> Delivery:
        """Return the delivery, for the pool. ``measure`` is that of ``taskq.clock``."""
        m = self.message
        return Delivery(
            self.job, m.task_id, self.name, m.headers, m.body, m.content_type, m.content_encoding,
            m.properties, m.exchange, m.routing_key or m.queue, m.priority, m.redelivered, self.starts, hostname,
            self.time_limit, self.soft_time_limit, not m.tracked, m.expires_by, measure,
            m.id if m.in_row else 0,
        )  # fmt: skip


@dataclass(slots=True)
class Limits:
    """The worker's own time limits, in seconds, for tasks and messages that have none, or only the setting's.

    ``replaced`` has, for tasks whose limits were changed live, the hard and the soft limit of the definition. A message
    that carries these two was sent before the change, and gets the new limits.
    """

    hard: float | None = None
    soft: float | None = None
    #: The tasks with a rate limit in this worker.
    rated: set[str] = field(default_factory=set)
    replaced: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def read(message: Claimed, limits: Limits) -> Request:
    """Make a request of a claimed message.

    Raises ``InvalidTaskError`` if the message is no task, or a time limit is invalid; an unknown task is no error here.
    """
    headers = _headers(message)
    name = headers.task
    if headers.expires is not None or message.expires_by is not None:
        _set_expiry(message, headers)
    task = tasks.get(name)
    hard, soft = time_limits(headers, task, limits)
    acks_late = task.acks_late if task else settings.ACKS_LATE
    before = ""
    if not acks_late:
        # A redelivered message was never started: it is acknowledged as a new one is.
        before = "acknowledge"
    elif message.redelivered:
        before = "count"
    alone = bool(hard or soft or before or (task and task.track_started))
    limited = bool(limits.rated) and is_limited(message, name, limits)
    conditional = (
        limited or message.expires_by is not None or headers.eta is not None or message.revoked or message.redelivered
    )
    return Request(
        message, headers, name, task, hard, soft, acks_late, alone, not conditional and task is not None,
        before_start=before, limited=limited,
    )  # fmt: skip


def is_limited(message: Claimed, name: str, limits: Limits) -> bool:
    """Tell whether a message of the task ``name`` has to wait for a rate limit, and can."""
    return name in limits.rated and not message.granted and bool(parking(message.queue, name))


def _set_expiry(message: Claimed, headers: TaskHeaders) -> None:
    """Set when the task expires: its header says whether, the row, if it knows, when by the database's clock.

    With ``TASKQ_SIGNING`` the header alone says when: the row is not sealed.
    """
    if headers.expires is None:
        message.expires_by = None
    elif message.expires_by is None or settings.SIGNING:
        message.expires_by = time.monotonic() + headers.expires.timestamp() - clock.now()


def time_limits(headers: TaskHeaders, task: TaskDefinition | None, limits: Limits) -> tuple[float | None, float | None]:
    """Return the hard and the soft time limit. Raises ``InvalidTaskError`` for one that is invalid."""
    hard, soft = (task.time_limit, task.soft_time_limit) if task else (None, None)
    sent_hard, sent_soft = headers.time_limit, headers.soft_time_limit
    if limits.replaced and (before := limits.replaced.get(headers.task)):
        sent_hard, sent_soft = (None if s == b else s for s, b in zip((sent_hard, sent_soft), before, strict=True))
    given = (sent_hard, sent_soft, hard, soft, limits.hard, limits.soft)
    if given == _NO_LIMITS:
        return None, None
    hard = _limit(sent_hard, hard, settings.TIME_LIMIT, limits.hard)
    soft = _limit(sent_soft, soft, settings.SOFT_TIME_LIMIT, limits.soft)
    _check_limits(headers.task, hard, soft)
    return hard, soft


def _check_limits(name: str, hard: Any, soft: Any) -> None:
    """Refuse invalid limits, which a task can get after its definition: in a pool they would stop the worker."""
    for option, value in (("time_limit", hard), ("soft_time_limit", soft)):
        if value is not None and not is_limit(value):
            raise InvalidTaskError(f"{name}: {option} must be {WAIT.words}, not {value!r:.200}.")


def _headers(message: Claimed) -> TaskHeaders:
    decoded = mapping_of(message.headers)
    if "task" not in decoded:
        decoded = _upgraded(message, decoded)
    headers = read_headers(decoded)
    # A message of another kombu program has its id in the headers only.
    message.task_id = message.task_id or headers.id
    return headers


def _upgraded(message: Claimed, headers: dict[str, Any]) -> dict[str, Any]:
    """Turn a message of protocol 1, which has everything in its body, into protocol 2; return the headers.

    A large body is refused: it would be decoded in the main process. So is a message that was too large to be read.
    """
    if message.refused or message.in_row:
        raise InvalidTaskError(message.refused or f"A message that is no task: {_TOO_LARGE_TO_UPGRADE}")
    try:
        properties = mapping_of(message.properties)
        received = (message.body, message.content_type, message.content_encoding)
        body = load_body(*received, headers, properties, MOST_IN_MAIN)
        headers, parts = upgrade(headers, body)
    except (ValueError, DecodeError, ContentDisallowed) as error:
        raise InvalidTaskError(f"A message that is no task: {error}") from error
    message.headers, message.body = dumps(headers), dumps(parts)
    message.content_type, message.content_encoding, message.properties = "application/json", "utf-8", "{}"
    return headers


def _limit(sent: float | None, own: float | None, setting: float | None, of_worker: float | None) -> float | None:
    """Return the limit of the message or of the task. If it is only the setting's, the worker's own replaces it."""
    limit = own if sent is None else sent
    return of_worker if limit is None or (limit == setting and of_worker is not None) else limit
