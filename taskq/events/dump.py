"""The dump of events: a line for each, in the form of ``celery events --dump``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any

from taskq.log_escapes import escaped

from .stamps import Event

#: Reads values of an event, as a tuple.
Values = Callable[[Event], Any]

#: How many tasks' names are remembered.
_MOST = 4096
#: Words for the types that are not their own.
_WORDS = {"worker-online": "started", "worker-offline": "shutdown", "worker-heartbeat": "heartbeat"}
#: The fields that have a place of their own in a line: those of all events, of events of tasks, and of the first ones.
_PLACED = frozenset({"timestamp", "type", "hostname"})
_PLACED_OF_TASK = _PLACED | {"uuid"}
_PLACED_OF_FIRST = _PLACED_OF_TASK | {"name", "args", "kwargs"}
#: The types that say what a task is: other events of a task have its id alone.
_FIRST = frozenset({"task-received", "task-sent"})


class Dump:
    """Makes the lines of events, in their order."""

    def __init__(self) -> None:
        self._labels: OrderedDict[str, str] = OrderedDict()

    def lines(self, events: Iterable[Event]) -> list[str]:
        """Return a line for each event."""
        found = []
        for event in events:
            kind = event["type"].lower()
            words, form, values, escaped_values = _rest(kind, tuple(event), event.get("local_received"))
            label = self._label(kind, event) if kind.startswith("task-") else ""
            rest = form % values(event)
            if not rest.isprintable():
                rest = form % escaped_values(event)
            about = f"{label} {rest}" if label and rest else label or rest
            found.append(f"{_host(str(event.get('hostname', '')))} [{_moment(event.get('timestamp'))}] {words} {about}")
        return found

    def _label(self, kind: str, event: Event) -> str:
        """Return the name of an event's task with its id, and remember it for the events that have the id alone."""
        uuid = str(event.get("uuid", ""))
        if kind in _FIRST:
            name, args, kwargs = (event.get(field, "") for field in ("name", "args", "kwargs"))
            self._labels[uuid] = _safe(f"{name}({uuid}) args={args} kwargs={kwargs}")
            if len(self._labels) > _MOST:
                self._labels.popitem(last=False)
        return self._labels.get(uuid) or _safe(f"({uuid})")


@lru_cache(maxsize=256)  # Events of one type have mostly the same fields, and those of one message this time.
def _rest(kind: str, names: tuple[str, ...], received: float | None) -> tuple[str, str, Values, Values]:
    """Return the words for a type, and the end of a line as a text to fill in, with what reads its values by field.

    The first reads them as they are, which is quicker, the second so that nothing in them acts on the terminal.
    """
    placed = _PLACED_OF_FIRST if kind in _FIRST else _PLACED_OF_TASK if kind.startswith("task-") else _PLACED
    others = sorted(name for name in names if name not in placed)
    known = {"local_received": str(received)}  # which takes as long as the rest of a line
    form = ", ".join(_safe(name).replace("%", "%%") + "=" + known.get(name, "%s") for name in others)
    read = [name for name in others if name not in known]
    shown = [(name, _indented if name == "traceback" else _safe) for name in read]
    words = (_WORDS.get(kind) or _safe(kind.replace("-", " "))) + (":" if others else "")
    return words, form, _getter(read), lambda event: tuple([show(event[name]) for name, show in shown])


def _getter(names: list[str]) -> Values:
    """Return a function that reads these fields of an event, as they are."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda event: tuple([event[name] for name in names])


def _safe(value: object) -> str:
    """Return a value as text. Anybody may send events: nothing in them acts on the terminal, or begins a line."""
    return escaped(str(value), "\t")


@lru_cache(maxsize=64)
def _host(value: str) -> str:
    return _safe(value)


def _indented(value: object) -> str:
    """Return a traceback with its lines: none of them can be taken for the line of an event."""
    return escaped(str(value), "\n\t").replace("\n", "\n  ")


def _moment(timestamp: object) -> str:
    return _text_of(timestamp if isinstance(timestamp, int | float) else 0)


@lru_cache(maxsize=64)  # Many events of one message have the same time.
def _text_of(timestamp: float) -> str:
    seconds, rest = divmod(round(timestamp * 1e6), 1_000_000)
    return f"{_second(seconds)}.{rest:06}+00:00" if rest else f"{_second(seconds)}+00:00"


@lru_cache(maxsize=64)  # And those of most tasks the same second.
def _second(at: int) -> str:
    return str(datetime.fromtimestamp(at, UTC)).removesuffix("+00:00")
