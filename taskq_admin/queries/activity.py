"""What a worker's ``info`` says of its work: load, ended tasks, and its slots. Anything may be written there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

#: The keys of ``info`` that this module reads.
KEYS = ("loadavg", "memory", "processed", "events", "slots", "folded")
#: Slots that are shown at most; a worker writes fewer.
_MOST = 200
_NAMES = 20
#: A number that no load and no time reaches, and every float can hold.
_LARGEST = 1e12


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of a pool. ``task_id`` is empty if it is idle; ``run_pk`` is that of its task's row, if there is one."""

    number: str
    pid: str
    task_id: str = ""
    name: str = ""
    since: datetime | None = None
    run_pk: int | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """A worker's activity as of its last heartbeat. ``events`` is ``None`` if it does not say."""

    load: tuple[float, ...] = ()
    #: Of the worker and its pool, in bytes.
    memory: int = 0
    processed: tuple[tuple[str, int], ...] = ()
    events: bool | None = None
    slots: tuple[Slot, ...] = ()
    #: Slots that the worker has folded, how many of them run a task, and which tasks these are, with their numbers.
    folded: int = 0
    folded_running: int = 0
    folded_tasks: tuple[tuple[str, int], ...] = ()

    @property
    def total(self) -> int | None:
        """How many tasks have ended since the worker's start."""
        return dict(self.processed).get("total")

    def with_runs(self, runs: dict[str, tuple[int, str]]) -> Activity:
        """Return the same, whose slots have the keys of the rows of their tasks; ``runs`` is by task id."""
        return replace(self, slots=tuple(replace(s, run_pk=runs.get(s.task_id, (None, ""))[0]) for s in self.slots))


def read(said: dict[str, Any]) -> Activity:
    """Read the activity from a worker's ``info``; whatever is not as expected is left out."""
    folded = said.get("folded")
    folded = folded if isinstance(folded, dict) else {}
    events = said.get("events")
    return Activity(
        load=tuple(float(each) for each in _list(said.get("loadavg"))[:3] if _is_number(each)),
        memory=1024 * _count(said.get("memory")),
        processed=_counts(said.get("processed")),
        events=events if isinstance(events, bool) else None,
        slots=tuple(_slot(each) for each in _list(said.get("slots"))[:_MOST] if isinstance(each, dict)),
        folded=_count(folded.get("slots")),
        folded_running=_count(folded.get("running")),
        folded_tasks=_counts(folded.get("tasks")),
    )


def _slot(said: dict[str, Any]) -> Slot:
    task_id = said.get("id")
    return Slot(
        number=_word(said.get("slot")),
        pid=_word(said.get("pid")),
        task_id=_word(task_id) if isinstance(task_id, str) else "",
        name=_word(said.get("name")),
        since=_moment(said.get("since")),
    )


def _moment(at: Any) -> datetime | None:
    try:
        return datetime.fromtimestamp(at, UTC) if _is_number(at) else None
    except (OverflowError, OSError, ValueError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _counts(value: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict):
        return ()
    return tuple((_word(name), n) for name, n in list(value.items())[:_NAMES] if type(n) is int)


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _is_number(value: Any) -> bool:
    # What is no number is not smaller than one either.
    return type(value) in (int, float) and abs(value) < _LARGEST


def _word(value: Any) -> str:
    """Return a value as text that a page and a database can take."""
    return "" if value is None else str(value).encode("utf-8", "backslashreplace").decode().replace("\0", "")
