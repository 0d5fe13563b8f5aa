"""The dump of events: a line for each, in the form of ``celery events --dump``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from .stamps import Event

#: How many tasks' names are remembered.
_MOST = 4096
#: Words for the types that are not their own.
_WORDS = {"worker-online": "started", "worker-offline": "shutdown", "worker-heartbeat": "heartbeat"}


class Dump:
    """Writes a line for each event with ``say``."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._labels: OrderedDict[str, str] = OrderedDict()

    def event(self, event: Event) -> None:
        """Write an event."""
        left = dict(event)
        moment = datetime.fromtimestamp(_number(left.pop("timestamp", None)), UTC)
        kind = left.pop("type").lower()
        host = left.pop("hostname", "")
        label = self._label(kind, left) if kind.startswith("task-") else ""
        rest = ", ".join(f"{name}={left[name]}" for name in sorted(left))
        words = _WORDS.get(kind, kind.replace("-", " "))
        about = " ".join(part for part in (label, rest) if part)
        self._say(f"{host} [{moment}] {words}{':' if rest else ''} {about}")

    def _label(self, kind: str, left: Event) -> str:
        """Take the task's id and description out of an event; return its name, which other events don't carry."""
        uuid = str(left.pop("uuid", ""))
        if kind in ("task-received", "task-sent"):
            name, args, kwargs = (left.pop(field, "") for field in ("name", "args", "kwargs"))
            self._labels[uuid] = f"{name}({uuid}) args={args} kwargs={kwargs}"
            if len(self._labels) > _MOST:
                self._labels.popitem(last=False)
        return self._labels.get(uuid, f"({uuid})")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
