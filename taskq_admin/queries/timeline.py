"""A task's life as moments and as bars, from its row and its earlier attempts. Pure: it queries nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.functional import Promise
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from taskq import states
from taskq.models import Attempt, TaskEvent, TaskRun

from . import durations

#: The width that a strip of bars is drawn in; the picture is stretched to its place.
WIDTH = 1000
#: The width of a run that was short beside the whole.
_LEAST = 4.0
_SAME = timedelta(milliseconds=1)
#: A label, and the time of what it names, if that has happened.
Known = tuple[str | Promise, datetime | None]
#: The clock of a worker follows the database's, from which the time of a row's creation is, this closely.
_CLOCKS = timedelta(milliseconds=50)


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at ``at``, ``since`` seconds after the moment before it."""

    label: str | Promise
    at: datetime
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Bar:
    """A piece of the strip: ``kind`` is ``wait``, ``run`` or a final state in small letters."""

    kind: str
    title: str
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Try:
    """One start of the task: a past attempt, or the row's own.

    ``earlier`` says that it belongs to a run that had ended before the task was retried, or was sent again.
    """

    number: int
    state: str
    worker: str
    started: datetime | None
    finished: datetime | None
    earlier: bool = False

    @property
    def runtime(self) -> float | None:
        """Seconds from its start to its end."""
        return durations.between(self.started, self.finished)


def tries(run: TaskRun, attempts: Sequence[Attempt]) -> list[Try]:
    """Return every start of the task, the oldest first; the last is the row's own if it started again."""
    ended = _lives_ended(run, attempts)
    found = [
        Try(number, attempt.state, attempt.worker, attempt.started_at, attempt.finished_at, number <= ended)
        for number, attempt in enumerate(attempts, 1)
    ]
    last = found[-1].started if found else None
    # A row that waits for its next attempt still has the start of the one before, but for the clock's resolution.
    if run.started_at and (last is None or run.started_at - last > _SAME):
        found.append(Try(len(found) + 1, run.state, run.worker, run.started_at, run.finished_at))
    return found


def _lives_ended(run: TaskRun, attempts: Sequence[Attempt]) -> int:
    """Return how many of the attempts belong to earlier runs: they are final, or the task was sent after them."""
    last = 0
    for number, attempt in enumerate(attempts, 1):
        at = attempt.finished_at or attempt.started_at
        before = at is not None and run.started_at is not None and run.created_at <= run.started_at
        if attempt.state in states.READY_STATES or (before and at is not None and at < run.created_at - _CLOCKS):
            last = number
    return last


def moments(run: TaskRun, starts: Sequence[Try], events: Sequence[TaskEvent] = ()) -> list[Moment]:
    """Return the events of the task in order, each with the time since the event before it.

    ``events`` are those that were kept; the row and its attempts have most.
    """
    before = [each for start in starts if start.earlier for each in _of_start(start, len(starts))]
    # The sort is stable: its creation stays first, also of a task that ended with the one it was to follow (its row
    # is made after that end was noted), or that was due before it was sent.
    since_sent = sorted(_dated(_since_sent(run, starts, events)), key=lambda pair: max(pair[1], run.created_at))
    dated = [*_dated(before), *since_sent]
    return [Moment(label, at, _since(dated, index)) for index, (label, at) in enumerate(dated)]


def _since_sent(run: TaskRun, starts: Sequence[Try], events: Sequence[TaskEvent]) -> list[Known]:
    """Return what is known of the task since it was sent, the last time if it was sent again."""
    latest = [start for start in starts if not start.earlier]
    # A row that is sent again gets the time of that.
    sent = _("Sent again") if len(latest) < len(starts) else _("Created")
    known: list[Known] = [(sent, run.created_at), (_("Due"), run.eta)]
    for start in latest:
        known += _of_start(start, len(starts))
    if run.finished_at and not any(start.finished == run.finished_at for start in starts):
        known.append((run.state.capitalize(), run.finished_at))
    known += [(_told(event), event.at) for event in events]
    if run.expires_at and run.finished_at is None:
        known.append((_("Expires"), run.expires_at))
    return known


def _dated(known: Iterable[Known]) -> list[tuple[str | Promise, datetime]]:
    return [(label, at) for label, at in known if at is not None]


def _of_start(start: Try, total: int) -> list[Known]:
    return [(_started(start, total), start.started), (start.state.capitalize(), start.finished)]


def _since(dated: Sequence[tuple[object, datetime]], index: int) -> float | None:
    """Return the seconds since the moment before, if that was before."""
    seconds = durations.between(dated[index - 1][1], dated[index][1]) if index else None
    return seconds if seconds is not None and seconds >= 0 else None


def _told(event: TaskEvent) -> str | Promise:
    if event.kind == "received":
        return format_lazy(_("Received by {worker}"), worker=event.worker)
    what = f"{event.kind.capitalize()} {event.detail}".strip()
    return format_lazy(_("{what} by {worker}"), what=what, worker=event.worker)


def _started(start: Try, total: int) -> str | Promise:
    return _("Attempt %d started") % start.number if total > 1 else _("Started")


def bars(run: TaskRun, starts: Sequence[Try], now: datetime) -> list[Bar]:
    """Return the strip: waiting and running, from when the task was sent, the last time, to its end or to ``now``."""
    end = run.finished_at or now
    total = durations.between(run.created_at, end)
    if not total or total <= 0:
        return []
    found: list[Bar] = []
    position = 0.0
    for start in starts:
        if start.earlier:
            continue
        begin = _clamped(durations.between(run.created_at, start.started), position, total)
        stop = _clamped(durations.between(run.created_at, start.finished or end), begin, total)
        found += [_bar("wait", position, begin, total), _bar(_kind(start), begin, stop, total)]
        position = stop
    found.append(_bar("wait", position, total, total))
    return [bar for bar in found if bar.width > 0]


def drawn(found: Sequence[Bar]) -> list[Bar]:
    """Return bars in the order in which they are drawn: a short run over the wait behind it."""
    return sorted(found, key=lambda bar: bar.kind != "wait")


def _kind(start: Try) -> str:
    return start.state.lower() if start.state in states.ALL_STATES and start.finished else "run"


def _clamped(seconds: float | None, low: float, high: float) -> float:
    return low if seconds is None else min(max(seconds, low), high)


def _bar(kind: str, begin: float, stop: float, total: float) -> Bar:
    scale = WIDTH / total
    title = f"{kind} {durations.words(stop - begin)}"
    width = (stop - begin) * scale
    if kind != "wait" and width < _LEAST:
        return Bar(kind, title, round(min(begin * scale, WIDTH - _LEAST), 2), _LEAST)
    return Bar(kind, title, round(begin * scale, 2), round(width, 2))
