"""What needs attention: conditions that somebody should look into, each with a sentence and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from urllib.parse import urlencode

from django.core.checks import WARNING, run_checks
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from taskq.models import QueuePause, Worker
from taskq_admin.badges import short

from . import durations, workers
from .capped import CappedCount
from .queues import QueueLoad, Schedule
from .times import Failing

#: Seconds after which a scheduled message that is due is overdue, and waiting messages that nobody takes are.
LATE = 60.0
#: Retention makes a pass each minute; so long without one, it does not keep up or does not run.
_SWEPT = timedelta(hours=1)
#: At least so many failures of a task, and so large a share of its ends in the last hour, are a sentence, if the share
#: has grown at least so much.
FAILURES, _SHARE, _GROWTH = 5, 0.2, 1.5
#: Tasks and names that are told at most.
FEW = 5


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence, and the name of the list that shows more: ``queue``, ``worker`` or ``taskrun``."""

    text: str
    page: str
    query: str = ""


def of_queues(loads: list[QueueLoad], with_readers: bool, *, capped: bool = False) -> list[Notice]:
    """Return what is to be said of queues; ``with_readers`` also that nobody takes from one.

    ``FEW`` of each, and how many more; ``capped`` says that there are more queues than ``loads``.
    """
    paused = [load.pause for load in loads if load.pause is not None]
    unread = [load for load in loads if load.pause is None and load.waiting and not load.read and with_readers]
    found = list(map(_paused, paused[:FEW]))
    if (more := len(paused) - FEW) > 0:
        text = ngettext("%(count)s more queue is paused.", "%(count)s more queues are paused.", more)
        found.append(Notice(text % {"count": CappedCount(more, capped)}, "queue"))
    found += map(_unread, unread[:FEW])
    if (more := len(unread) - FEW) > 0:
        text = ngettext(
            "%(count)s more queue has messages, and no living worker takes from it.",
            "%(count)s more queues have messages, and no living worker takes from them.",
            more,
        )
        found.append(Notice(text % {"count": CappedCount(more, capped)}, "queue"))
    return found


def _unread(load: QueueLoad) -> Notice:
    text = ngettext(
        "%(count)s message waits in the queue %(queue)s, and no living worker takes from it: "
        "start one with -Q %(queue)s.",
        "%(count)s messages wait in the queue %(queue)s, and no living worker takes from it: "
        "start one with -Q %(queue)s.",
        load.waiting.value,
    )
    return Notice(text % {"count": load.waiting, "queue": short(load.name)}, "queue")


def _paused(pause: QueuePause) -> Notice:
    text = _("The queue %(queue)s is paused") % {"queue": short(pause.queue)}
    by = _(" by %s") % short(pause.by) if pause.by else ""
    return Notice(f"{text}{by}{f': {short(pause.reason)}' if pause.reason else '.'}", "queue")


def of_workers(rows: list[Worker], now: datetime) -> list[Notice]:
    """Return what is to be said of workers that were lost or are silent, and of there being none."""
    away = [row for row in rows if workers.is_away(row, now)]
    found = [
        Notice(
            _("The worker %(name)s was lost; its tasks went back.") % {"name": short(row.name)}
            if row.state == Worker.LOST
            else _("Nothing was heard of the worker %(name)s for %(time)s.")
            % {"name": short(row.name), "time": durations.words(workers.silence(row, now))},
            "worker",
        )
        for row in away
    ]
    if len(away) == len(rows):
        found.append(Notice(_("No worker runs: tasks wait until one is started."), "worker"))
    return found


def of_failures(failing: list[Failing]) -> list[Notice]:
    """Return the tasks that failed much more often within the last hour than in the day before."""
    return [_failing(each) for each in failing if _has_grown(each)][:FEW]


def _has_grown(task: Failing) -> bool:
    share, before = task.failed / max(1, task.ended), task.failed_before / max(1, task.ended_before)
    return task.failed >= FAILURES and share >= _SHARE and share >= _GROWTH * before


def _failing(task: Failing) -> Notice:
    if not task.name:
        text = _("%(failed)s tasks failed within the last hour whose names no worker knows.")
        return Notice(text % {"failed": task.failed}, "taskrun", "?tab=failed")
    text = ngettext(
        "%(failed)s of %(ended)s run of %(name)s failed within the last hour",
        "%(failed)s of %(ended)s runs of %(name)s failed within the last hour",
        task.ended,
    )
    text %= {"failed": task.failed, "ended": task.ended, "name": short(task.name)}
    if task.ended_before:
        text += _(", %(failed)s of %(ended)s in the day before") % {
            "failed": task.failed_before, "ended": task.ended_before,
        }  # fmt: skip
    return Notice(f"{text}.", "taskrun", f"?{urlencode({'tab': 'failed', 'name': task.name})}")


def of_schedule(schedule: Schedule, now: datetime, *, names: bool = True) -> list[Notice]:
    """Return what is overdue, and with ``names`` those that no worker knew whom such a message has reached."""
    found = []
    if schedule.first_due is not None and (late := (now - schedule.first_due).total_seconds()) > LATE:
        text = _("A scheduled task is %(time)s overdue: workers do not promote it.")
        found.append(Notice(text % {"time": durations.words(late)}, "queue"))
    for name in schedule.unknown[:FEW] if names else ():
        text = _("No worker that runs knows the task %(name)s: start one with the code that defines it.")
        query = f"?{urlencode({'name': name})}"
        found.append(Notice(text % {"name": short(name) or "-"}, "taskrun", query))
    return found


def of_retention(rows: Sequence[Worker], now: datetime) -> list[Notice]:
    """Return whether old rows are not deleted; nothing if there are no workers, of which more is said then."""
    swept: datetime | None = getattr(rows[0], "swept_at", None) if rows else None
    if swept is None or now - swept <= _SWEPT:
        return []
    text = _("Old rows were last deleted %(time)s ago: no worker keeps up with it.")
    return [Notice(text % {"time": durations.words((now - swept).total_seconds())}, "worker")]


def of_database() -> list[Notice]:
    """Return what harms in the settings of the database, and what to do, in the words of taskq's system checks."""
    return [Notice(text, "") for text in _checked(get_language())]


@cache
def _checked(language: str | None) -> list[str]:
    # Settings do not change while a process runs, and readers have languages. These checks ask no database.
    found = [each for each in run_checks(tags=["taskq"]) if each.level >= WARNING and not each.is_silenced()]
    return [f"{each.msg} {each.hint or ''}".strip() for each in found][:FEW]
