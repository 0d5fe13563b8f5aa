"""``TASKQ_ROUTES`` as routers, made once per settings: patterns are compiled, import paths imported."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from kombu.entity import Exchange, Queue

from taskq.messages.protocol import MessageOptions

#: A route as a router returns it: options of the message.
Options = Mapping[str, Any]
#: ``router(name, args, kwargs, options, task=None)`` returns options, or ``None``: the next router is asked.
Router = Callable[..., Options | None]


#: The keys of a route: the destination, and options of a message that do not belong to one call.
ROUTE_KEYS = frozenset(MessageOptions.__annotations__) - {
    *("callbacks", "errbacks", "chain", "chord", "root_id", "parent_id", "group_id", "group_index", "retries"),
    *("argsrepr", "kwargsrepr", "encoded", "shown", "positions", "reset", "origin", "replaced_task_nesting"),
} | {"queue", "exchange_type", "link", "link_error"}
_NO_QUEUE = "TASKQ_ROUTES: {} must be a name or a kombu {}, not {!r}."


def checked_route(value: Any) -> Options | None:
    """Return a route, also the return value of a callable, as options; ``None`` if it is empty.

    Raises ``ImproperlyConfigured`` for an invalid route.
    """
    if not value:
        return None
    if isinstance(value, str | Queue):
        return {"queue": value}
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"TASKQ_ROUTES: a route is a queue's name, a dictionary or None, not {value!r}.")
    if not value.keys() <= ROUTE_KEYS:
        unknown = ", ".join(sorted(map(repr, value.keys() - ROUTE_KEYS)))
        raise ImproperlyConfigured(
            f"TASKQ_ROUTES: the route {value!r} has unknown keys: {unknown}. There are {', '.join(sorted(ROUTE_KEYS))}."
        )
    if not isinstance(queue := value.get("queue"), str | Queue | None):
        raise ImproperlyConfigured(_NO_QUEUE.format("the queue of a route", "Queue", queue))
    if not isinstance(exchange := value.get("exchange"), str | Exchange | None):
        raise ImproperlyConfigured(_NO_QUEUE.format("the exchange of a route", "Exchange", exchange))
    return value


@dataclass(slots=True, frozen=True)
class RouteEntry:
    """One entry of ``TASKQ_ROUTES``: the name of a task or a pattern, as it is written, and its route."""

    text: str
    pattern: re.Pattern[str] | None
    route: Options | None

    def matches(self, name: str) -> bool:
        """Tell whether the entry is for the task ``name``."""
        return name == self.text if self.pattern is None else self.pattern.match(name) is not None


def _entry(pattern: Any, value: Any) -> RouteEntry:
    if isinstance(pattern, re.Pattern):
        return RouteEntry(str(pattern.pattern), pattern, checked_route(value))
    if not isinstance(pattern, str):
        raise ImproperlyConfigured(f"TASKQ_ROUTES: {pattern!r} is not a task's name or a pattern.")
    is_pattern = any(sign in pattern for sign in "*?[")
    return RouteEntry(pattern, re.compile(fnmatch.translate(pattern)) if is_pattern else None, checked_route(value))


class PatternRouter:
    """The router of a dictionary or a list of pairs: exact names come first, then patterns in their order."""

    __slots__ = ("entries", "exact", "patterns")

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self.entries = [_entry(pattern, value) for pattern, value in pairs]
        self.exact: dict[str, Options | None] = {}
        self.patterns: list[tuple[re.Pattern[str], Options | None]] = []
        for entry in self.entries:
            if entry.pattern is None:
                self.exact.setdefault(entry.text, entry.route)
            else:
                self.patterns.append((entry.pattern, entry.route))

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Options | None:
        """Return the route of the task ``name``."""
        if name in self.exact:
            return self.exact[name]
        return next((answer for pattern, answer in self.patterns if pattern.match(name)), None)


def _with_checked_routes(router: Callable[..., Any]) -> Router:
    """Return the project's ``router`` with its return values checked and turned into options."""
    return lambda *args, **kwargs: checked_route(router(*args, **kwargs))


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str | re.Pattern)


def _router(entry: Any) -> Router:
    """Return the router of one entry of ``TASKQ_ROUTES``."""
    if callable(entry):
        return _with_checked_routes(entry)
    if isinstance(entry, str):
        try:
            return _router(import_string(entry))
        except ImportError as exc:
            raise ImproperlyConfigured(
                f"TASKQ_ROUTES names the router {entry!r}, which can't be imported: {exc}"
            ) from exc
    if isinstance(entry, Mapping):
        return PatternRouter(entry.items())
    if _is_pair(entry):
        return PatternRouter([entry])
    if isinstance(entry, list | tuple) and all(_is_pair(pair) for pair in entry):
        return PatternRouter(entry)
    raise ImproperlyConfigured(f"TASKQ_ROUTES: {entry!r} is not a dictionary, a pair, a callable or the path of one.")


def make_routers(value: Any) -> tuple[Router, ...]:
    """Return the routers of a value of ``TASKQ_ROUTES``. Raises ``ImproperlyConfigured`` for an invalid value."""
    if not value:
        return ()
    return tuple(_router(entry) for entry in value) if isinstance(value, list | tuple) else (_router(value),)
