"""``Order``: one message of the mailbox, read and checked; whether it is for this worker. Pure.

A message may hold anything. What can't be read is a ``ValueError``; nothing in it is run, imported or unpickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from taskq.messages.protocol.options import is_storable

#: The most bytes of a body. Celery's largest commands, lists of ids to revoke, are far below.
MOST = 1024 * 1024
#: Seconds by which the clock of a caller may be behind this machine's.
_CLOCKS_DIFFER = 1.0
#: Seconds to wait for another thread of the worker, at least and at most, and those that a reply is on its way.
_SHORTEST, _LONGEST, _ON_THE_WAY = 0.6, 30.0, 0.4
#: The most bytes of a routing key of AMQP. A ticket of that size fits into the headers of a reply.
_LONGEST_KEY = 255
#: The most characters of a pattern: compiled ones are kept.
_LONGEST_PATTERN = 255
#: The commands that hold whenever they are read: an old one is as true as a new one.
_LASTING = frozenset({"revoke", "terminate", "revoke_by_stamped_headers", "revoke_by_name"})


@dataclass(frozen=True, slots=True)
class Order:
    """A command with its arguments, for the workers that it names. ``expires`` is a Unix time, 0 is never."""

    method: str
    arguments: Mapping[str, Any]
    destination: Sequence[Any]
    pattern: str
    matcher: str
    ticket: str
    #: The exchange and the routing key of the reply; empty if none is wanted.
    reply_to: tuple[str, str] | None
    expires: float
    clock: Any

    def is_for(self, node: str) -> bool:
        """Tell whether the worker ``node`` is meant. Raises ``ValueError`` for a pattern that can't be matched."""
        if self.destination:
            return node in self.destination
        if self.pattern and self.matcher:
            # A regular expression of a stranger may run for hours, and hold up all threads meanwhile.
            if self.matcher != "glob" or len(self.pattern) > _LONGEST_PATTERN:
                raise ValueError(
                    f"pattern {self.pattern!r:.100}, matcher {self.matcher!r:.100}: only glob, and at most "
                    f"{_LONGEST_PATTERN} characters"
                )
            return fnmatchcase(node, self.pattern)
        return True

    def has_expired(self) -> bool:
        """Tell whether nobody waits for the reply any more, and the command is not one that holds for good."""
        late = self.expires > 0 and time.time() > self.expires + _CLOCKS_DIFFER
        return late and not self.is_lasting

    @property
    def is_lasting(self) -> bool:
        """Whether the command holds for good, so that an old one is as true as a new one: it revokes."""
        return self.method in _LASTING

    @property
    def patience(self) -> float:
        """The seconds in which a reply reaches the caller: 0.6 of the second that callers wait by default."""
        return min(max(_SHORTEST, self.expires - time.time() - _ON_THE_WAY), _LONGEST)


def read_order(body: str | bytes, content_type: str | None, headers: Mapping[str, Any]) -> Order:
    """Read a message. Raises ``ValueError`` if it is no command; JSON is the only form that is read."""
    if content_type != "application/json":
        raise ValueError(f"content type {content_type!r:.100}: commands are JSON")
    if len(body) > MOST:
        raise ValueError(f"{len(body)} bytes: at most {MOST}")
    try:
        found = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object is needed, not {type(found).__name__}")
    method, arguments, destination = found.get("method"), found.get("arguments") or {}, found.get("destination") or ()
    if not isinstance(method, str) or not isinstance(arguments, dict):
        raise ValueError("method has to be a text, and arguments an object")
    if not isinstance(destination, list | tuple):
        destination = (destination,)
    expires = headers.get("expires")
    return Order(
        method,
        arguments,
        destination,
        _text(found.get("pattern")),
        _text(found.get("matcher")),
        _key(found.get("ticket")),
        _reply_to(found.get("reply_to")),
        float(expires) if isinstance(expires, int | float) else 0.0,
        headers.get("clock"),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _key(value: Any) -> str:
    """Return a text that any broker can carry as a routing key or in a header, else an empty one."""
    text = _text(value)
    return text if is_storable(text) and len(text.encode()) <= _LONGEST_KEY else ""


def _reply_to(found: Any) -> tuple[str, str] | None:
    if not isinstance(found, dict):
        return None
    exchange, key = _key(found.get("exchange")), _key(found.get("routing_key"))
    return (exchange, key) if exchange and key else None
